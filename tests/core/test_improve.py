"""Action improvement: steps up a value that is known."""

from __future__ import annotations

import pytest
import torch

from ddiffpg_core.config import ImproveConfig
from ddiffpg_core.improve import improve

BEST = torch.tensor([0.4, -0.3])


def bowl(action: torch.Tensor) -> torch.Tensor:
    """Highest at BEST."""
    return -((action - BEST) ** 2).sum(-1)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_the_first_step_has_the_rate_as_its_length_whatever_the_scale_of_q(scale):
    # Adam's first step is g / |g|: +0.06 and -0.06
    out = improve(torch.zeros(1, 2), lambda a: scale * bowl(a), ImproveConfig(steps=1, learning_rate=0.06))
    torch.testing.assert_close(out, torch.tensor([[0.06, -0.06]]), rtol=0, atol=3e-4)


def test_it_is_adam():
    config = ImproveConfig(steps=20, learning_rate=0.03)
    start = torch.tensor([[0.9, 0.2], [-0.5, -0.5]])
    action = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([action], lr=0.03, eps=1e-5)
    for _ in range(20):
        optimizer.zero_grad()
        (-bowl(action)).sum().backward()
        optimizer.step()
    torch.testing.assert_close(improve(start, bowl, config), action.detach(), rtol=0, atol=1e-5)


def test_it_climbs_from_everywhere():
    start = torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    out = improve(start, bowl, ImproveConfig(steps=20, learning_rate=0.06))
    far = (start - BEST).norm(dim=-1) > 0.2
    assert (bowl(out)[far] > bowl(start)[far]).all()
    assert (out - BEST).norm(dim=-1).mean() < 0.2 * (start - BEST).norm(dim=-1).mean()


def test_it_stays_within_the_limits():
    out = improve(torch.tensor([[0.9, -0.9]]), lambda a: a[..., 0] - a[..., 1], ImproveConfig(8, 0.06))
    assert torch.equal(out, torch.tensor([[1.0, -1.0]]))


def test_rows_do_not_depend_on_each_other():
    start = torch.rand(3, 4, 2) * 2 - 1
    config = ImproveConfig(steps=5)
    together = improve(start, bowl, config)
    alone = torch.stack([improve(start[g], bowl, config) for g in range(3)])
    torch.testing.assert_close(together, alone)


def test_it_changes_neither_the_critic_nor_what_it_was_given():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    start = torch.zeros(1, 2)
    out = improve(start, lambda a: (a * weight).sum(-1), ImproveConfig())
    assert weight.grad is None
    assert not out.requires_grad
    assert torch.equal(start, torch.zeros(1, 2))
