"""The best of a few actions, against values asked for one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ddiffpg_core.acting import act_of
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.choice import ANY, choose, sample_best
from ddiffpg_core.config import Config, CriticConfig, override
from ddiffpg_core.critic import CriticEnsemble
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Mode
from tests.core.support import plane

SETTINGS = override(Config(), ["actor.hidden=[8]", "actor.embedding_dim=2", "actor.candidates=5", "critic.hidden=[8]"])


def test_each_row_gets_what_its_critic_holds_for_the_best():
    torch.manual_seed(0)
    critic = CriticEnsemble(3 + 2, 3, CriticConfig(hidden=(16,)))
    x, action = torch.randn(40, 3), torch.rand(40, 6, 2) * 2 - 1
    whose = torch.tensor([0, 2, ANY, 1] * 10)
    chosen = choose(critic, whose, x, action)
    first = 0
    for i, group in enumerate(whose.tolist()):
        joined = torch.cat([x[i].expand(6, -1), action[i]], 1)
        best = 0 if group == ANY else int(critic.value(joined.expand(3, -1, -1))[group].argmax())
        assert torch.equal(chosen[i], action[i, best])
        first += best == 0
    assert 10 <= first < 30


def test_one_candidate_is_the_actors_own():
    torch.manual_seed(0)
    actor, critic = DiffusionActor(3, 2, SETTINGS.actor), CriticEnsemble(3 + 2, 1, SETTINGS.critic)
    x, embedding, whose = torch.randn(4, 3), torch.randn(4, 2), torch.zeros(4, dtype=torch.long)
    one = sample_best(actor, critic, 1, whose, x, embedding, torch.Generator().manual_seed(1))
    assert torch.equal(one, actor.sample(x, embedding, torch.Generator().manual_seed(1)))


def test_a_policy_acts_by_its_modes_critics():
    """Asked for none it acts as one without critics, up to what noise is drawn for its other candidates."""
    torch.manual_seed(0)
    features, config = Features(plane()), SETTINGS
    modes = tuple(Mode(i, (), np.full(2, i, np.float32), np.full((5, 2), i / 3)) for i in (4, 1))
    critic = CriticEnsemble(features.size + 2, 2, config.critic)
    policy = SavedPolicy("plane", 0, 0, "", config, features, DiffusionActor(features.size, 2, config.actor).eval(),
                         modes, {}, judges=critic)
    obs = np.random.default_rng(0).uniform(-1, 1, (30, 2)).astype(np.float32)
    plain, judged = act_of(replace(policy, judges=None), plane(), 3), act_of(policy, plane(), 3)
    np.testing.assert_array_equal(plain(obs, np.full(30, -1)), judged(obs, np.full(30, -1)))
    for group, mode_id in enumerate((4, 1)):
        noise = torch.Generator().manual_seed(3)
        x, embedding = features(torch.from_numpy(obs)), torch.full((30, 2), float(mode_id))
        best = sample_best(policy.actor, critic, 5, torch.full((30,), group), x, embedding, noise)
        given = act_of(policy, plane(), 3)(obs, np.full(30, mode_id))
        np.testing.assert_allclose(given, plane().action.to_physical(best.numpy()), rtol=1e-6)
