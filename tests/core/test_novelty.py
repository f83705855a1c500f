"""Novelty: NovelD by hand, and that its sum stays where the exploration critic can tell it apart."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ddiffpg_core.config import ConfigError, NoveltyConfig
from ddiffpg_core.defaults import load_preset, presets, tasks_with_settings
from ddiffpg_core.features import Features
from ddiffpg_core.novelty import Novelty
from ddiffpg_core.spec import ObservationField
from tests.core.support import plane

FEATURES = Features(plane())  # the observation is the path here: x, y
SIZE = FEATURES.size
CONFIG = NoveltyConfig(hidden=(16,), features=8, learning_rate=1e-2, scale=0.01, clip=5.0)


def novelty(config: NoveltyConfig = CONFIG) -> Novelty:
    torch.manual_seed(0)
    return Novelty(FEATURES, config)


def reward(n: Novelty, x: torch.Tensor, x_next: torch.Tensor) -> torch.Tensor:
    """Of single steps that all pay."""
    return n.reward(torch.stack([x, x_next], 1), torch.ones(len(x), 1, dtype=torch.bool))[:, 0]


def test_reward_is_noveld_by_its_spread():
    n = novelty()
    x, x_next = torch.randn(2, 30, SIZE)
    here = (n.predictor(x) - n.target(x)).norm(dim=-1)
    there = (n.predictor(x_next) - n.target(x_next)).norm(dim=-1)
    raw = (there - 0.5 * here).clamp(min=0).detach()
    spread = 0.99 * 1.0 + 0.01 * raw.std()  # it begins at 1 and follows slowly
    torch.testing.assert_close(reward(n, x, x_next), (raw / (spread + 1e-6)).clamp(max=5.0) * 0.01)
    torch.testing.assert_close(n.spread, spread)


def test_what_was_seen_is_no_longer_novel():
    n = novelty()
    seen, new = torch.randn(64, SIZE), torch.randn(64, SIZE) + 6.0
    for _ in range(400):
        n.update(seen)
    assert n(seen).mean() < 0.1 * n(new).mean()
    # a step from known to new pays, the way back does not
    out, back = reward(n, seen, new), reward(n, new, seen)
    assert (out > 0).all()
    assert (back == 0).all()


def test_only_the_predictor_learns():
    n = novelty()
    fixed = [p.clone() for p in n.target.parameters()]
    moving = [p.clone() for p in n.predictor.parameters()]
    n.update(torch.randn(16, SIZE))
    assert all(torch.equal(p, q) for p, q in zip(n.target.parameters(), fixed))
    assert not any(torch.equal(p, q) for p, q in zip(n.predictor.parameters(), moving))


def test_reward_is_bounded_by_clip_and_scale():
    n = novelty()
    with torch.no_grad():
        for p in n.predictor.parameters():
            p.mul_(1e3)
    assert float(reward(n, torch.zeros(10, SIZE), torch.randn(10, SIZE) * 100).max()) <= 5.0 * 0.01 + 1e-9


def test_steps_that_do_not_pay_are_worth_nothing():
    n = novelty()
    pays = torch.rand(20, 3) < 0.5
    paid = n.reward(torch.randn(20, 4, SIZE) * 10, pays)
    assert (paid[~pays] == 0).all()
    assert (paid[pays] > 0).any()


def test_novelty_of_the_path_does_not_see_the_rest():
    fields = (*plane().observation, ObservationField("speed", "odom.linear_velocity.x", "m/s"))
    features = Features(dataclasses.replace(plane(), observation=fields))
    torch.manual_seed(0)
    path, every = (Novelty(features, dataclasses.replace(CONFIG, sees=sees)) for sees in ("path", "all"))
    obs = torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 5.0], [1.0, 2.5, 0.0]])
    still, fast, elsewhere = path(features(obs)).tolist()
    assert still == pytest.approx(fast, abs=1e-6) and abs(still - elsewhere) > 1e-3
    still, fast, _ = every(features(obs)).tolist()
    assert abs(still - fast) > 1e-3


@pytest.mark.parametrize("wrong", [{"sees": "velocity"}, {"n_step": 0}])
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(ConfigError, match=f"novelty.{next(iter(wrong))}"):
        NoveltyConfig(**wrong)


PRESETS = [(preset, task) for preset in presets() for task in (None, *tasks_with_settings())]


@pytest.mark.parametrize("preset, task", [p for p in PRESETS if not load_preset(*p).novelty.cell])
def test_the_discounted_sum_stays_inside_the_atoms(preset, task):
    # the most that one step pays, for ever: clip * scale / (1 - gamma)
    config = load_preset(preset, task)
    most = config.novelty.clip * config.novelty.scale / (1.0 - config.novelty.gamma)
    assert most <= config.critic.value_max


@pytest.mark.parametrize("preset, task", [p for p in PRESETS if load_preset(*p).novelty.cell])
def test_where_places_pay_once_four_of_the_rarest_fit_the_atoms(preset, task):
    config = load_preset(preset, task)
    assert 4 * config.novelty.clip * config.novelty.scale <= config.critic.value_max
