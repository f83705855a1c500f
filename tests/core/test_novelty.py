"""Novelty: NovelD by hand, and that its sum stays where the exploration critic can tell it apart."""

from __future__ import annotations

import pytest
import torch

from ddiffpg_core.config import NoveltyConfig, load_preset, presets, tasks_with_settings
from ddiffpg_core.novelty import Novelty

CONFIG = NoveltyConfig(hidden=(16,), features=8, learning_rate=1e-2, scale=0.01, clip=5.0)


def novelty(config: NoveltyConfig = CONFIG) -> Novelty:
    torch.manual_seed(0)
    return Novelty(4, config)


def test_reward_is_noveld_by_its_spread():
    n = novelty()
    x, x_next = torch.randn(2, 30, 4)
    here = (n.predictor(x) - n.target(x)).norm(dim=-1)
    there = (n.predictor(x_next) - n.target(x_next)).norm(dim=-1)
    raw = (there - 0.5 * here).clamp(min=0).detach()
    spread = 0.99 * 1.0 + 0.01 * raw.std()  # it begins at 1 and follows slowly
    torch.testing.assert_close(n.reward(x, x_next), (raw / (spread + 1e-6)).clamp(max=5.0) * 0.01)
    torch.testing.assert_close(n.spread, spread)


def test_what_was_seen_is_no_longer_novel():
    n = novelty()
    seen, new = torch.randn(64, 4), torch.randn(64, 4) + 6.0
    for _ in range(400):
        n.update(seen)
    assert n(seen).mean() < 0.1 * n(new).mean()
    # a step from known to new pays, the way back does not
    out, back = n.reward(seen, new), n.reward(new, seen)
    assert (out > 0).all()
    assert (back == 0).all()


def test_only_the_predictor_learns():
    n = novelty()
    fixed = [p.clone() for p in n.target.parameters()]
    moving = [p.clone() for p in n.predictor.parameters()]
    n.update(torch.randn(16, 4))
    assert all(torch.equal(p, q) for p, q in zip(n.target.parameters(), fixed))
    assert not any(torch.equal(p, q) for p, q in zip(n.predictor.parameters(), moving))


def test_reward_is_bounded_by_clip_and_scale():
    n = novelty()
    with torch.no_grad():
        for p in n.predictor.parameters():
            p.mul_(1e3)
    assert float(n.reward(torch.zeros(10, 4), torch.randn(10, 4) * 100).max()) <= 5.0 * 0.01 + 1e-9


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("task", [None, *tasks_with_settings()])
def test_the_discounted_sum_stays_inside_the_atoms(preset, task):
    # the most that one step pays, for ever: clip * scale / (1 - gamma)
    config = load_preset(preset, task)
    most = config.novelty.clip * config.novelty.scale / (1.0 - config.critic.gamma)
    assert most <= config.critic.value_max
