"""What another robot did counts as far as it leads to what is worth the same here; updates before the first step."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import torch

from ddiffpg_core.acting import evaluate_policy
from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.agreement import Dynamics, agreement
from ddiffpg_core.checkpoint import load, save
from ddiffpg_core.config import AgreementConfig, ConfigError, override
from ddiffpg_core.replay import EXPLORE
from ddiffpg_core.run import Run
from ddiffpg_core.train import train
from ddiffpg_sim.batch import BatchedEnv
from tests.core.support import memory, plane, play
from tests.core.test_demonstrations import ENVS, SMALL, TASK, begun, drives, go_on

FILTER = override(SMALL, ["agreement.filter=true", "agreement.hidden=[8]", "agreement.batch_size=32"])


# ---- how much a transition counts ------------------------------------------------------------------


@pytest.mark.parametrize(("there", "counts"), [(0.5, 1.0), (0.6, 0.6065307), (0.4, 0.6065307), (0.7, 0.1353353)])
def test_it_counts_by_how_many_deviations_its_worth_is_off(there, counts):
    """0.4 and 0.6 have mean 0.5 and deviation 0.1: one deviation off is exp(-1/2), two are exp(-2)."""
    found = agreement(torch.tensor([there]), torch.tensor([[0.4], [0.6]]), 0.02)
    assert found.item() == pytest.approx(counts, abs=1e-5)


def test_dynamics_that_all_say_the_same_are_believed_no_closer_than_the_least():
    found = agreement(torch.tensor([0.52]), torch.tensor([[0.5], [0.5]]), 0.02)
    assert found.item() == pytest.approx(np.exp(-0.5), abs=1e-4)


# ---- the dynamics of this robot ----------------------------------------------------------------------


def steps(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A point in ±1 m that goes half a metre a step where it is told."""
    draw = torch.Generator().manual_seed(seed)
    obs, action = (2.0 * torch.rand(count, 2, generator=draw) - 1.0 for _ in range(2))
    return obs, action, obs + 0.5 * action


def test_dynamics_learn_where_a_step_leads_and_differ_where_they_have_not_been():
    dynamics = Dynamics(plane(), AgreementConfig(hidden=(32,)), torch.device("cpu"), torch.Generator().manual_seed(0))
    for _ in range(400):
        dynamics.update(*steps(128, 1))
    obs, action, after = steps(64, 2)
    found = dynamics.predict(obs, action)
    assert found.shape == (5, 64, 2)
    assert (found - after).abs().max() < 0.1
    assert dynamics.predict(obs + 20.0, action).std(0).mean() > 5.0 * found.std(0).mean()


def test_what_was_brought_is_told_from_what_was_driven_here():
    replay, rng = memory(plane()), np.random.default_rng(0)
    assert replay.steps_here(3, rng) is None
    there = play(replay, [(0, 0), (1, 0)], goal=True)
    replay.brought = replay.finished
    here = play(replay, [(0, 0), (0, 1), (0, 2)], goal=True)
    assert np.flatnonzero(replay.foreign).tolist() == [there]
    rows = replay.steps_here(50, rng)
    assert rows is not None
    assert set(rows.slot.tolist()) == {here} and set(rows.time.tolist()) == {0, 1}


# ---- in a run ----------------------------------------------------------------------------------------


def taken_up(*settings: str) -> DDiffPG:
    """Begins from a run that knows one way, and is shown another."""
    first = DDiffPG(TASK.spec, SMALL, 0)
    first.demonstrate(drives(0, 5))
    go_on(first, begun(first), 6)
    second = DDiffPG(TASK.spec, override(FILTER, list(settings)), 7)
    second.take_up(first.state_dict())
    return second


def test_all_counts_in_full_as_long_as_nothing_was_driven_here():
    learner = taken_up()
    learner.update()
    assert learner.dynamics is not None
    assert learner._trust(learner.batch, learner.dynamics).eq(1.0).all()


def test_only_what_was_brought_counts_in_part():
    learner = taken_up()
    learner.demonstrate(drives(1, 5))
    learner.begin(BatchedEnv(TASK, ENVS).reset(0))
    learner.update()
    assert learner.dynamics is not None
    trust = learner._trust(learner.batch, learner.dynamics)
    foreign = torch.from_numpy(learner.replay.foreign)[learner.batch.rows.slot]
    assert foreign.any() and not foreign.all()
    assert trust[~foreign].eq(1.0).all() and trust[EXPLORE].eq(1.0).all()
    part = trust[EXPLORE + 1 :][foreign[EXPLORE + 1 :]]
    assert (part > 0).all() and (part < 1).all()


def test_critics_do_not_move_for_what_does_not_count():
    """With a row of weight 0 the loss is that of the others alone."""
    learner = DDiffPG(TASK.spec, SMALL, 0)
    x = torch.rand(2, 3, learner.features.size + 2)
    target = torch.full((2, 3, 51), 1.0 / 51)
    target[:, 2] = 0.0
    online = learner.critic.online
    online.cross_entropy(x, target)
    among = [w.grad.clone() for w in online.weight]
    online.cross_entropy(x[:, :2], target[:, :2])
    for mine, alone in zip(among, online.weight):
        torch.testing.assert_close(mine, alone.grad * 2.0 / 3.0)


def test_a_saved_run_goes_on_the_same(tmp_path):
    learner = taken_up()
    learner.demonstrate(drives(1, 5))
    learner.begin(BatchedEnv(TASK, ENVS).reset(0))
    learner.update()
    again = DDiffPG(TASK.spec, FILTER, 3)
    save(tmp_path / "agent.pt", learner.state_dict())
    again.load_state_dict(load(tmp_path / "agent.pt"))
    assert again.replay.brought == learner.replay.brought > 0
    one, other = learner.update(), again.update()
    assert all(torch.equal(one[name], other[name]) for name in one)


# ---- before the first step -----------------------------------------------------------------------------


def test_updates_come_before_the_first_step_and_once(tmp_path, monkeypatch):
    config = override(SMALL, ["train.offline_updates=3", "train.iterations=2", "train.warmup_iterations=1",
                              "train.updates_per_iteration=1", "train.checkpoint_every=1", "train.eval_every=2",
                              "train.eval_episodes=1", "train.final_episodes=1"])  # fmt: skip
    learner = DDiffPG(TASK.spec, config, 0)
    learner.demonstrate(drives(0, 5))
    before: list[int] = []
    act = learner.act
    monkeypatch.setattr(learner, "act", lambda obs: before.append(learner.updates) or act(obs))
    with closing(BatchedEnv(TASK, ENVS)) as env, closing(BatchedEnv(TASK, 4)) as evaluation:
        def evaluator(policy, episodes):
            return evaluate_policy(evaluation, policy, episodes, 0)

        run = Run.create(tmp_path / "run", TASK.spec.name, 0, config, "")
        train(env, learner, evaluator, run, config.train)
        assert before == [3, 3] and learner.updates == 4
        longer = override(config, ["train.iterations=3"])
        again = DDiffPG(TASK.spec, longer, 0)
        train(env, again, evaluator, Run.open(tmp_path / "run"), longer.train)
    assert again.updates == 5


@pytest.mark.parametrize("setting", ["members=1", "least=0"])
def test_a_setting_that_makes_no_sense_is_named(setting):
    with pytest.raises(ConfigError, match=rf"agreement\.{setting.replace('=', ' is ')}"):
        override(SMALL, [f"agreement.{setting}"])
