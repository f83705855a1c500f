"""Parts of the method switched off one by one, to see what each is good for: each switch changes what it says."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.batch import FIRST_MODE, Batch
from ddiffpg_core.config import Config, CriticConfig, override
from ddiffpg_core.critic import Critic
from ddiffpg_core.replay import EXPLORE, FIND
from tests.core.test_agent import begun, drive

SWITCHES = {
    "mode critics": ("critic.per_mode=false",),
    "mode embeddings": ("actor.mode_embedding=false",),
    "novelty": ("novelty.scale=0",),
    "credit": ("replay.mode_consistent=false",),
    "own rows": ("replay.mode_consistent=false", "replay.own_share=1", "replay.any_share=0"),
}


def shown(*settings: str) -> DDiffPG:
    """An agent that was shown both ways of the maze, and has looked for modes in them."""
    agent, env, obs = begun(0, *settings)
    drive(agent, env, obs, [0, 1] * 8, 80)
    agent.rediscover_modes()
    return agent


def drawn(agent: DDiffPG) -> Batch:
    """The batch that the next update would take."""
    ahead = copy.deepcopy(agent)
    return ahead.sampler.draw(ahead.bank.ids, ahead._embeddings(), ahead.rng)


@pytest.mark.parametrize("settings", SWITCHES.values(), ids=SWITCHES.keys())
def test_each_variant_learns_and_goes_on_exactly_from_its_state(settings):
    agent = shown(*settings)
    agent.update()
    other = begun(1, *settings)[0]
    other.load_state_dict(copy.deepcopy(agent.state_dict()))
    for each in (agent, other):
        losses = each.update()
        assert all(torch.isfinite(loss) for loss in losses.values())
        each.rediscover_modes()
        each.update()
    for a, b in zip(agent.actor.parameters(), other.actor.parameters()):
        assert torch.equal(a, b)
    for a, b in zip(agent.critic.online.parameters(), other.critic.online.parameters()):
        assert torch.equal(a, b)


# ---- mode-specific critics ------------------------------------------------------------------------

SHARED = CriticConfig(hidden=(16,), atoms=11, value_max=1.0, learning_rate=1e-2, per_mode=False)


def shared_critic() -> Critic:
    torch.manual_seed(0)
    return Critic(3, FIRST_MODE, SHARED, torch.device("cpu"))


def test_one_critic_serves_the_finder_and_every_mode():
    online = shared_critic().online
    x = torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(1)).expand(5, -1, -1)
    two = online(x[:2])
    online.rearrange([0, 1, 1, 1, 1])
    explore, find, *modes = online(x)
    torch.testing.assert_close(torch.stack([explore, find]), two)
    assert not torch.allclose(explore, find)
    for mode in modes:
        torch.testing.assert_close(mode, find)


def test_it_learns_from_every_modes_rows_and_stays_when_modes_come_and_go():
    critic = shared_critic()
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1))
    before = [p.detach().clone() for p in critic.online.parameters()]
    critic.rearrange([0, 1, 1])
    critic.rearrange([0, 1, 3, 1])
    assert all(torch.equal(a, b) for a, b in zip(before, critic.online.parameters()))
    target = critic.online(x).softmax(-1).mean(1).detach()
    target[3] = torch.eye(11)[10]  # the last mode alone has something to teach
    critic.update(x, target)
    weight, old = critic.online.weight[-1], before[1]
    learned = (weight - old).abs().amax((1, 2))
    assert (learned[2:] > 5e-3).all()  # the two heads of the shared network


def test_an_agent_without_mode_critics_has_two_networks():
    agent, whole = shown("critic.per_mode=false"), shown()
    assert len(agent.bank.modes) == len(whole.bank.modes) == 2
    assert [len(each.critic.online.weight[0]) for each in (agent, whole)] == [2 * 2, 2 * (FIRST_MODE + 2)]
    batch = drawn(agent)
    assert batch.reward[FIRST_MODE:].sum() > 0


# ---- mode embeddings ------------------------------------------------------------------------------


def test_without_mode_embeddings_no_mode_can_be_asked_for():
    agent, whole = shown("actor.mode_embedding=false"), shown()
    assert [np.linalg.norm(m.embedding) for m in agent.bank.modes] == [0.0, 0.0]
    assert all(np.linalg.norm(m.embedding) == pytest.approx(2.0) for m in whole.bank.modes)
    assert not drawn(agent).embedding[FIRST_MODE:].any()
    assert drawn(agent).embedding[:FIRST_MODE].any()  # explorers and finders still are what they are


# ---- novelty --------------------------------------------------------------------------------------


def test_without_novelty_exploration_is_paid_nothing():
    assert drawn(shown()).reward[EXPLORE].sum() > 0
    batch = drawn(shown("novelty.scale=0"))
    assert not batch.reward[EXPLORE].any()
    assert batch.reward[FIND].any()


# ---- mode-consistent credit -----------------------------------------------------------------------


@pytest.mark.parametrize("settings", [("replay.mode_consistent=false",), ("critic.per_mode=false",)])
def test_without_consistent_credit_goals_pay_on_any_way(settings):
    def paid_on_foreign_ways(agent: DDiffPG) -> float:
        batch = drawn(agent)
        foreign = agent.replay.mode[batch.rows.slot[FIRST_MODE:].numpy()] != agent.bank.ids[:, None]
        return float(batch.reward[FIRST_MODE:][torch.as_tensor(foreign)].sum())

    assert paid_on_foreign_ways(shown(*settings)) > paid_on_foreign_ways(shown()) == 0.0


def test_own_rows_alone():
    agent = shown("replay.own_share=1", "replay.any_share=0")
    slots = drawn(agent).rows.slot[FIRST_MODE:].numpy()
    assert (agent.replay.mode[slots] == agent.bank.ids[:, None]).all()


def test_all_is_on_by_default():
    config = Config()
    assert (config.critic.per_mode, config.actor.mode_embedding, config.replay.mode_consistent) == (True, True, True)
    assert config.novelty.scale > 0
    assert not override(config, ["critic.per_mode=false"]).critic.per_mode
