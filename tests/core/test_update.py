"""The update does what a plain loop of the same mathematics does: one critic, one group, one step after another."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.config import Config, override
from ddiffpg_core.paths import resample
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from tests.core.support import steering

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from _plain_update import PlainUpdate

TASK = tasks.make("pointmaze-v1")
ENVS = 16
SMALL = override(Config(), [
    f"train.num_envs={ENVS}", "train.warmup_iterations=0", "actor.hidden=[16, 16]", "critic.hidden=[16, 16]",
    "novelty.hidden=[16]", "replay.trajectories=200", "critic.batch_size=96", "critic.min_group_rows=32",
])
AS_THE_ANT = override(SMALL, ["critic.layer_norm=true", "improve.reach=0.3", "improve.candidates=0",
                             "novelty.cell=0.25", "novelty.n_step=5", "novelty.sees=path", "guide.share=0.05",
                             "guide.ahead=10", "guide.reach=0.1", "improve.finder_afresh=true"])
SPARING = override(AS_THE_ANT, ["guide.reach=0.0", "guide.led=0.5"])  # what led on is not improved


@pytest.fixture(scope="module", params=[SMALL, AS_THE_ANT, SPARING], ids=["plain", "as the ant", "sparing"])
def agent(request) -> DDiffPG:
    """One that was shown both ways and found two modes in them, and whose networks have left their first state."""
    env, agent = BatchedEnv(TASK, ENVS), DDiffPG(TASK.spec, request.param, 0)
    obs, policy = env.reset(0), steering({i: resample(np.array(w.points), 20) for i, w in enumerate(TASK.ways)})
    agent.begin(obs)
    for _ in range(80):
        action = policy(obs, np.array([0, 1] * 8)).astype(np.float32)
        step = env.step(action)
        agent.observe(action, step)
        obs = step.obs
    agent.rediscover_modes()
    assert len(agent.bank.modes) == 2
    for _ in range(5):
        agent.update()
    return agent


def test_losses_and_improved_actions_are_those_of_the_plain_loop(agent):
    ours, plain = copy.deepcopy(agent), PlainUpdate(agent)
    # its optimisers begin anew, so ours must too: what an update does to the weights is compared by the next losses
    for optimizer in (ours.critic.optimizer, ours.actor_optimizer, ours.novelty.optimizer):
        optimizer.state.clear()
    for _ in range(3):
        mine, theirs = ours.update(), plain.update()
        for name, loss in theirs.items():
            torch.testing.assert_close(mine[name], loss, rtol=1e-4, atol=1e-6)
    before, after = agent.replay.target, ours.replay.target
    assert (after != before).any()
    # Adam's steps are as long where a slope is about zero: there the last digit says which way one goes
    apart = (after - plain.agent.replay.target).abs() > 1e-3
    assert apart.sum() <= 0.01 * (after != before).sum()


def test_what_is_imitated_as_it_was_is_not_improved(agent):
    ours = copy.deepcopy(agent)
    ours.update()
    batch, spares = ours.batch, agent.config.guide.ahead and not agent.config.guide.reach
    assert (batch.away > batch.home) == bool(spares)
    wanted = batch.taught & ~batch.chosen  # learned from as improved
    assert not wanted[batch.strays:, batch.home:batch.away].any()


def test_gradients_are_those_of_the_plain_loop(agent):
    # not the weights: Adam's first steps are as long where a gradient is nothing but rounding. And critics stay as they
    # are, so that both improve the same actions by the same critics and the actor learns the same.
    ours, plain = copy.deepcopy(agent), PlainUpdate(agent)
    for optimizer in (ours.critic.optimizer, *plain.critic_optimizers):
        optimizer.param_groups[0]["lr"] = 0.0
    ours.update()
    plain.update()
    for mine, theirs in ((ours.actor, plain.agent.actor), (ours.novelty.predictor, plain.agent.novelty.predictor)):
        for p, q in zip(mine.parameters(), theirs.parameters()):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5)
    network = ours.critic.online
    for g, pair in enumerate(plain.online):
        for h, head in enumerate(pair):
            linears = [layer for layer in head if isinstance(layer, nn.Linear)]
            for weight, linear in zip(network.weight, linears):
                torch.testing.assert_close(weight.grad[2 * g + h].T, linear.weight.grad, rtol=1e-3, atol=1e-5)
