"""The baselines: each one's target and loss worked by hand, what they draw, and that they go on where they stopped."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from ddiffpg_core.acting import evaluate_policy
from ddiffpg_core.baselines.base import Baseline, Transitions, TwinCritic
from ddiffpg_core.baselines.diffusion_ql import DiffusionQL
from ddiffpg_core.baselines.dipo import DIPO
from ddiffpg_core.baselines.sac import SAC
from ddiffpg_core.baselines.td3 import TD3
from ddiffpg_core.checkpoint import SavedPolicy, load
from ddiffpg_core.config import METHODS, Config, ConfigError, override
from ddiffpg_core.evaluate import Report
from ddiffpg_core.method import MAKERS, make_agent
from ddiffpg_core.replay import MODE
from ddiffpg_core.run import Run
from ddiffpg_core.train import train
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from tests.core.support import plane, play
from tests.core.test_resume import differences

# Critics without hidden layers are linear: their values can be worked by hand.
LINEAR = override(Config(), [
    "train.num_envs=1", "replay.trajectories=8", "critic.hidden=[]", "critic.batch_size=64", "critic.gamma=0.5",
    "actor.hidden=[16]", "novelty.hidden=[16]", "explore.bonus=0",
])
WAY = [(0, 0), (1, 0), (1, 1), (2, 1)]


def agent_of(method: type[Baseline], *settings: str) -> Baseline:
    return method(plane(), override(LINEAR, list(settings)), 0)


def set_critics(critic: TwinCritic, first: tuple[float, ...], second: tuple[float, ...]) -> None:
    """Q of each critic becomes ``w_x a_x + w_y a_y + b``; states play no part."""
    for head, (wx, wy, b) in zip(critic.heads, (first, second)):
        layer = next(m for m in head.modules() if isinstance(m, nn.Linear))
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[0, -2:] = torch.tensor([wx, wy])
            layer.bias.fill_(b)


def two_rows(agent: Baseline) -> Transitions:
    """One that ends with reward 1, and one that pays 0.5 and goes on at a discount of 0.5."""
    x = agent.features(torch.tensor([[0.0, 1.0], [2.0, -1.0]]))
    index = torch.zeros(2, dtype=torch.long)
    return Transitions(index, index, x, x, x, torch.zeros(2, 2), torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5]))


def silence(module: nn.Module) -> None:
    """Its networks give zero for everything."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()


# ---- what they draw -------------------------------------------------------------------------------


def drawn(goal: bool, n_step: int) -> dict[int, tuple[float, float, list[float]]]:
    """By time along WAY: n-step reward, discount, and the state bootstrapped from (metres)."""
    agent = agent_of(TD3, f"critic.n_step={n_step}")
    play(agent.replay, WAY, goal=goal)
    batch = agent.draw()
    at = batch.x_next[:, :2] * 4.0  # the plane's scale
    return {int(t): (float(r), float(d), x.tolist())
            for t, r, d, x in zip(batch.time, batch.reward, batch.discount, at)}


def test_returns_to_a_goal_end_there():
    assert drawn(goal=True, n_step=2) == {
        0: (0.0, 0.25, [1, 1]), 1: (0.5, 0.0, [2, 1]), 2: (1.0, 0.0, [2, 1])}


def test_at_a_time_limit_the_future_still_counts_from_where_it_was_cut():
    assert drawn(goal=False, n_step=2) == {
        0: (0.0, 0.25, [1, 1]), 1: (0.0, 0.25, [2, 1]), 2: (0.0, 0.5, [2, 1])}


def test_more_steps_than_there_are():
    assert drawn(goal=True, n_step=9) == {
        0: (0.25, 0.0, [2, 1]), 1: (0.5, 0.0, [2, 1]), 2: (1.0, 0.0, [2, 1])}


def test_the_bonus_is_novelty_beside_the_task_reward():
    agent = agent_of(TD3, "critic.n_step=1", "explore.bonus=2")
    play(agent.replay, WAY, goal=True)
    novelty = copy.deepcopy(agent.novelty)
    batch = agent.draw()
    task = (batch.time == 2).float()
    bonus = novelty.reward(torch.stack([batch.x, batch.x_one], 1), torch.ones(len(task), 1, dtype=torch.bool))[:, 0]
    torch.testing.assert_close(batch.reward, task + 2.0 * bonus)
    assert (batch.reward > task).any()


def test_half_of_the_rows_are_of_successes():
    agent = agent_of(TD3)
    failed = play(agent.replay, WAY, goal=False)
    assert set(agent.draw().slot.tolist()) == {failed}
    won = play(agent.replay, WAY, goal=True)
    slot = agent.draw().slot
    assert (slot[:32] == won).all()
    assert set(slot[32:].tolist()) == {failed, won}


# ---- SAC ------------------------------------------------------------------------------------------


def test_sac_counts_entropy_in_its_target():
    agent = agent_of(SAC, "sac.temperature=0.1")
    set_critics(agent.slow_critic, (0, 0, 3), (0, 0, 2))
    silence(agent.actor)  # mean 0; log of the standard deviation in the middle of -5 and 2
    agent.noise.manual_seed(7)
    noise = torch.randn(2, 2, generator=torch.Generator().manual_seed(7))
    log_prob = [sum(-0.5 * n * n + 1.5 - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(math.exp(-1.5) * n) ** 2)
                    for n in row) for row in noise.tolist()]
    # 1 + 0 * (...), and 0.5 + 0.5 * (2 - 0.1 log pi)
    expected = torch.tensor([1.0, 0.5 + 0.5 * (2.0 - 0.1 * log_prob[1])])
    torch.testing.assert_close(agent.target(two_rows(agent)), expected)


def test_the_density_of_a_gaussian_actor_is_that_of_a_squashed_normal():
    agent = agent_of(SAC)
    x = agent.features(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    action, log_prob = agent.actor.with_log_prob(noise, x)
    known = TransformedDistribution(Normal(*agent.actor(x)), [TanhTransform(cache_size=1)])
    torch.testing.assert_close(log_prob, known.log_prob(action).sum(-1), rtol=1e-3, atol=1e-3)
    assert torch.equal(action, agent.actor.from_noise(noise, x, agent.null_embedding(x)))


def test_sac_climbs_the_lower_critic_and_pays_for_certainty():
    agent = agent_of(SAC, "sac.temperature=0.1")
    set_critics(agent.critic, (1, 0, 0), (0, 1, 0))
    # lower of (0.5, 0.2) and (-0.4, 0.3) is 0.2 and -0.4: ((0.1 * 1 - 0.2) + (0.1 * 3 + 0.4)) / 2
    loss = agent.actor_loss(two_rows(agent).x, torch.tensor([[0.5, 0.2], [-0.4, 0.3]]), torch.tensor([1.0, 3.0]))
    assert float(loss.detach()) == pytest.approx(0.3)


def test_entropy_becomes_dearer_where_there_is_too_little():
    agent = agent_of(SAC, "sac.temperature=0.1")
    # an entropy of -5 where -2 is to be kept: -0.1 * (5 - 2)
    loss = agent.temperature_loss(torch.tensor([4.0, 6.0]))
    assert float(loss.detach()) == pytest.approx(-0.3)
    (gradient,) = torch.autograd.grad(loss, [agent.temperature.log])
    assert gradient < 0


# ---- TD3 ------------------------------------------------------------------------------------------


def test_td3_smooths_its_target_action():
    agent = agent_of(TD3)  # noise of 0.2, clipped at 0.5
    action = torch.tensor([[0.9, -0.9], [0.0, 0.0]])
    noise = torch.tensor([[1.0, -10.0], [-1.0, 4.0]])
    torch.testing.assert_close(agent.smoothed(action, noise), torch.tensor([[1.0, -1.0], [-0.2, 0.5]]))


def test_td3_takes_the_lower_critic_at_the_smoothed_action():
    agent = agent_of(TD3)
    set_critics(agent.slow_critic, (1, 0, 0), (0, 1, 0))
    silence(agent.slow_actor)
    agent.noise.manual_seed(7)
    noise = torch.randn(2, 2, generator=torch.Generator().manual_seed(7))
    value = (0.2 * noise[1]).clamp(-0.5, 0.5).min()
    torch.testing.assert_close(agent.target(two_rows(agent)), torch.stack([torch.tensor(1.0), 0.5 + 0.5 * value]))


def test_td3_moves_its_actor_every_other_time():
    agent = agent_of(TD3)
    play(agent.replay, WAY, goal=True)
    before = copy.deepcopy(agent.actor.state_dict())
    assert "actor" not in agent.update()
    assert differences(before, agent.actor.state_dict()) == []
    assert "actor" in agent.update()
    assert differences(before, agent.actor.state_dict()) != []


# ---- DIPO -----------------------------------------------------------------------------------------


def test_dipo_moves_stored_actions_up_the_critic_and_goes_on_from_there():
    agent = agent_of(DIPO, "improve.steps=1", "improve.learning_rate=0.06")
    set_critics(agent.critic, (2, -3, 0), (2, -3, 1))
    slot = play(agent.replay, WAY, goal=True)  # the second action is (0.2, -0.2)
    batch = agent.draw()
    rows = batch.time == 1
    for better in ([0.26, -0.26], [0.32, -0.32]):  # Adam's first step is as long as its rate
        torch.testing.assert_close(agent.improved(batch)[rows], torch.tensor([better]).expand(int(rows.sum()), -1),
                                   rtol=0, atol=1e-4)
        torch.testing.assert_close(agent.replay.target[MODE, slot, 1], torch.tensor(better), rtol=0, atol=1e-4)
    torch.testing.assert_close(agent.replay.action[slot, 1], torch.tensor([0.2, -0.2]))


@pytest.mark.parametrize("method", [DIPO, DiffusionQL])
def test_diffusion_takes_the_lower_critic_at_the_slow_actors_action(method: type[Baseline]):
    agent = agent_of(method)
    set_critics(agent.slow_critic, (1, 0, 0), (0, 1, 0))
    batch = two_rows(agent)
    agent.noise.manual_seed(7)
    action = agent.slow_actor.sample(batch.x, agent.null_embedding(batch.x), torch.Generator().manual_seed(7))
    torch.testing.assert_close(agent.target(batch), torch.stack([torch.tensor(1.0), 0.5 + 0.5 * action[1].min()]))


# ---- Diffusion-QL ---------------------------------------------------------------------------------


def test_diffusion_ql_weighs_q_by_its_size():
    agent = agent_of(DiffusionQL, "diffusion_ql.q_weight=2")
    value = torch.tensor([[2.0, 4.0], [-1.0, 1.5]])
    # the first is climbed, the second gives the size: 0.7 - 2 * 3 / 1.25
    assert float(agent.actor_loss(torch.tensor(0.7), value)) == pytest.approx(-4.1)
    agent.updates = 1  # in turns: 0.7 - 2 * 0.25 / 3
    assert float(agent.actor_loss(torch.tensor(0.7), value)) == pytest.approx(0.7 - 0.5 / 3.0)


def test_q_is_climbed_through_every_denoising_step():
    agent = agent_of(DiffusionQL)
    batch = two_rows(agent)
    noise = agent.noise_like(batch.x, agent.actor.noise_dim)
    action = agent.actor.from_noise(0.1 * noise, batch.x, agent.null_embedding(batch.x))
    last = next(p for p in reversed(list(agent.actor.parameters())))
    (gradient,) = torch.autograd.grad(action.sum(), [last])
    assert gradient.abs().sum() > 0


# ---- as agents ------------------------------------------------------------------------------------

BASELINES = METHODS[1:]
TASK = tasks.make("pointmaze-v1")
TINY = override(Config(), [
    "train.iterations=40", "train.warmup_iterations=10", "train.num_envs=8", "train.log_every=10",
    "train.eval_every=20", "train.checkpoint_every=20", "train.eval_episodes=2", "train.final_episodes=2",
    "actor.hidden=[16]", "critic.hidden=[16]", "novelty.hidden=[16]", "replay.trajectories=100",
    "critic.batch_size=64",
])


def test_every_method_is_made_by_its_name():
    assert tuple(MAKERS) == METHODS
    for name in BASELINES:
        agent = make_agent(plane(), override(LINEAR, [f"train.method={name}"]), 0)
        assert isinstance(agent, Baseline)
        assert agent.method == name


@pytest.mark.parametrize(("key", "value", "expected"), [
    ("td3.policy_delay", "0", "1 or more"),
    ("sac.temperature", "0.0", "more than 0"),
    ("replay.success_share", "1.5", "0 to 1"),
])
def test_settings_that_cannot_be(key: str, value: str, expected: str):
    with pytest.raises(ConfigError, match=rf"{key} is {value}: expected {expected}"):
        override(Config(), [f"{key}={value}"])


class Stopped(Exception):
    """In the midst of training."""


def trained(folder: Path, method: str, stop_after: int | None = None) -> dict:
    """All that a run in ``folder`` has come to, from wherever it stands."""
    if not folder.exists():
        Run.create(folder, "pointmaze-v1", 3, override(TINY, [f"train.method={method}"]), "abc")
    run = Run.open(folder)
    env, other = BatchedEnv(TASK, 8), BatchedEnv(TASK, 4)

    def on_progress(iteration: int, note: str) -> None:
        if iteration == stop_after:
            raise Stopped

    def evaluator(policy: SavedPolicy, episodes: int) -> Report:
        return evaluate_policy(other, policy, episodes, 1)

    run.on_progress = on_progress
    train(env, make_agent(TASK.spec, run.config, run.seed), evaluator, run, run.config.train)
    state = load(folder / "checkpoint.pt")
    del state["seconds"], state["cpu_seconds"]
    log = [line for line in (folder / "metrics.csv").read_text().splitlines() if "seconds" not in line]
    return {"state": state, "policy": load(folder / "policy.pt"), "log": log}


@pytest.mark.parametrize("method", BASELINES)
def test_stopped_and_resumed_it_ends_the_same(method: str, tmp_path: Path):
    whole = trained(tmp_path / "whole", method)
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", method, stop_after=33)
    assert differences(whole, trained(tmp_path / "stopped", method)) == []
    assert whole["state"]["agent"]["updates"] == 60
    assert np.isfinite(whole["state"]["agent"]["novelty"]["spread"].item())
