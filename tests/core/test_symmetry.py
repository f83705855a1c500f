"""Rows seen through a robot's symmetries: what is exchanged, what stays, and that improvement comes back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.config import Config, override
from ddiffpg_core.replay import EXPLORE
from ddiffpg_core.spec import ActionField, ActionSpec, ObservationField, Step, Symmetry, TaskSpec
from ddiffpg_core.symmetry import Symmetries

ENVS = 8
LEGS = np.array([[0.0, -1.0], [1.0, 0.0]])
"""A quarter turn of two legs: the first becomes the second, the second the first with its sign changed."""
SMALL = override(Config(), [
    f"train.num_envs={ENVS}", "train.warmup_iterations=0", "actor.hidden=[16]", "critic.hidden=[16]",
    "novelty.hidden=[16]", "replay.trajectories=40", "critic.batch_size=64", "critic.min_group_rows=32",
])


def two_legs() -> TaskSpec:
    """A place x, y (m) and two legs (rad) that are alike."""
    fields = (
        *(ObservationField(n, f"odom.position.{n}", "m") for n in "xy"),
        *(ObservationField(n, "joint.position", "rad", joint=n) for n in ("one", "other")),
    )
    action = ActionSpec("joint_effort", tuple(ActionField(n, "N m", -1.0, 1.0, n) for n in ("one", "other")))
    turns = [np.linalg.matrix_power(LEGS, k) for k in (1, 2, 3)]
    alike = tuple(Symmetry(np.block([[np.eye(2), np.zeros((2, 2))], [np.zeros((2, 2)), t]]), t) for t in turns)
    return TaskSpec("two-legs", "walker", 10.0, 5, fields, action, ("x", "y"), 0.6, symmetries=alike)


def lived(*settings: str) -> DDiffPG:
    """An agent whose robots have done and seen this and that."""
    spec, rng = two_legs(), np.random.default_rng(0)
    agent = DDiffPG(spec, override(SMALL, list(settings)), 0)
    agent.begin(rng.normal(size=(ENVS, 4)).astype(np.float32))
    for k in range(1, 21):
        last, obs = np.full(ENVS, k % 5 == 0), rng.normal(size=(ENVS, 4)).astype(np.float32)
        won = last & (np.arange(ENVS) < 4)
        step = Step(obs, won.astype(np.float32), won, last & ~won, won, obs)
        agent.observe(rng.uniform(-1, 1, (ENVS, 2)).astype(np.float32), step)
    return agent


def test_a_quarter_turn_by_hand():
    symmetries = Symmetries(two_legs().symmetries, 4, 2, torch.device("cpu"))
    which = torch.tensor([0, 1, 2, 3])
    obs, action = torch.tensor([5.0, 6.0, 0.1, 0.2]).expand(4, 4), torch.tensor([0.3, -0.4]).expand(4, 2)
    torch.testing.assert_close(symmetries.of_obs(obs, which), torch.tensor(
        [[5.0, 6.0, 0.1, 0.2], [5.0, 6.0, -0.2, 0.1], [5.0, 6.0, -0.1, -0.2], [5.0, 6.0, 0.2, -0.1]]))
    seen = symmetries.of_action(action, which)
    torch.testing.assert_close(seen[1], torch.tensor([0.4, 0.3]))
    torch.testing.assert_close(symmetries.back(seen, which), action)


def test_a_batch_is_seen_through_all_of_them_and_agrees_with_itself():
    agent = lived()
    batch = agent.sampler.draw(agent.bank.ids, agent._embeddings(), agent.rng)
    assert set(batch.seen.unique().tolist()) == {0, 1, 2, 3}
    replay, symmetries = agent.replay, agent.symmetries
    slot, time = batch.rows.slot, batch.rows.time
    expected = agent.features(symmetries.of_obs(replay.obs[slot, time], batch.seen))
    torch.testing.assert_close(batch.x, expected)
    torch.testing.assert_close(symmetries.back(batch.action, batch.seen), replay.action[slot, time])
    plain = agent.features(replay.obs[slot, time])
    path = agent.features.path_columns
    assert torch.equal(batch.x[..., path], plain[..., path])  # it is where it was
    assert not torch.equal(batch.x, plain)


def test_exploration_bootstraps_from_a_state_seen_the_same_way():
    agent = lived("novelty.n_step=1")
    batch = agent.sampler.draw(agent.bank.ids, agent._embeddings(), agent.rng)
    slot, time, seen = (part[EXPLORE] for part in (batch.rows.slot, batch.rows.time, batch.seen))
    expected = agent.features(agent.symmetries.of_obs(agent.replay.obs[slot, time + 1], seen))
    torch.testing.assert_close(batch.x_next[EXPLORE], expected)


def test_an_improved_action_is_stored_as_the_robot_does_it():
    agent = lived("improve.steps=1", "improve.learning_rate=0.05")
    before = agent.replay.target.clone()
    agent.update()
    moved = (agent.replay.target - before).abs()
    assert (moved > 0).any() and moved.max() <= 0.05 + 1e-4  # seen through another symmetry it would have jumped


@pytest.mark.parametrize("settings", [(), ("replay.symmetric=false",)], ids=["none named", "switched off"])
def test_without_symmetries_everything_stays(settings):
    agent = lived(*settings)
    if not settings:
        agent = DDiffPG(dataclasses.replace(agent.spec, symmetries=()), agent.config, 0)
    assert len(agent.symmetries) == 1
    x = torch.randn(3, 4)
    assert torch.equal(agent.symmetries.of_obs(x, agent.symmetries.draw((3,), np.random.default_rng(0))), x)
