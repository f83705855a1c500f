"""Q as a function of the action: the same as the networks say, and its gradient the same as autograd's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddiffpg_core.action_value import ActionValue
from ddiffpg_core.config import CriticConfig
from ddiffpg_core.critic import CriticEnsemble, SharedEnsemble

GROUPS, ROWS, FEATURES, ACTIONS = 3, 7, 5, 2
CONFIG = CriticConfig(hidden=(16, 8), atoms=11, value_max=2.0)


@pytest.fixture(params=[False, True], ids=["plain", "layer norm"])
def network(request) -> CriticEnsemble:
    """Critics far from flat, so that heads differ and values spread."""
    torch.manual_seed(0)
    network = CriticEnsemble(FEATURES + ACTIONS, GROUPS, replace(CONFIG, layer_norm=request.param))
    for p in network.parameters():
        p.data.copy_(torch.randn(p.shape))
    return network


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Features ``[G, B, F]`` and actions ``[G, B, A]``."""
    torch.manual_seed(1)
    return torch.randn(GROUPS, ROWS, FEATURES), torch.rand(GROUPS, ROWS, ACTIONS) * 2 - 1


def test_gradient_is_autograds(network, rows):
    x, action = rows
    action.requires_grad_(True)
    (expected,) = torch.autograd.grad(network.value(torch.cat([x, action], -1)).sum(), action)
    assert expected.abs().min() > 0
    torch.testing.assert_close(network.at(x).gradient(action), expected, rtol=1e-4, atol=1e-6)


def test_both_heads_have_their_turn_at_being_the_lower(network, rows):
    mean = (network(torch.cat(rows, -1)).softmax(-1) * network.atoms).sum(-1)
    assert (mean[:, 0] < mean[:, 1]).any() and (mean[:, 0] > mean[:, 1]).any()


def test_lower_is_the_distribution_with_the_smaller_mean(network, rows):
    x, action = rows
    probability = network(torch.cat([x, action], -1)).softmax(-1)
    mean = (probability * network.atoms).sum(-1)
    expected = probability.gather(1, mean.argmin(1)[:, None, :, None].expand(-1, 1, -1, CONFIG.atoms)).squeeze(1)
    torch.testing.assert_close(network.at(x).lower(action), expected)


def test_best_of_several_by_asking_for_each(network, rows):
    x, first = rows
    actions = torch.stack([first, -first, first / 2, torch.zeros_like(first)], 2)  # [G, B, C, A]
    values = torch.stack([network.value(torch.cat([x, actions[:, :, c]], -1)) for c in range(4)], 2)
    chosen = values.argmax(2)
    assert len(chosen.unique()) > 1
    best, distribution = network.at(x).best(actions)
    assert torch.equal(best, actions.gather(2, chosen[..., None, None].expand(-1, -1, 1, ACTIONS)).squeeze(2))
    torch.testing.assert_close(distribution, network.at(x).lower(best))
    torch.testing.assert_close(distribution @ network.atoms, values.amax(2))


def test_one_hidden_layer_and_three(rows):
    x, action = rows
    for hidden in ((6,), (6, 5, 4)):
        network = CriticEnsemble(FEATURES + ACTIONS, GROUPS, CriticConfig(hidden=hidden, atoms=5))
        leaf = action.clone().requires_grad_(True)
        (expected,) = torch.autograd.grad(network.value(torch.cat([x, leaf], -1)).sum(), leaf)
        torch.testing.assert_close(network.at(x).gradient(action), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", [CriticEnsemble, SharedEnsemble])
@pytest.mark.parametrize("norm", [False, True])
def test_gradients_of_the_cross_entropy_are_autograds(kind, norm, rows):
    torch.manual_seed(2)
    network = kind(FEATURES + ACTIONS, GROUPS if kind is CriticEnsemble else 2, replace(CONFIG, layer_norm=norm))
    x, target = torch.cat(rows, -1), torch.randn(GROUPS, ROWS, CONFIG.atoms).softmax(-1)
    loss = -(target[:, None] * network(x).log_softmax(-1)).sum(-1).mean(2).sum(1)
    expected = torch.autograd.grad(loss.sum(), list(network.parameters()))
    torch.testing.assert_close(network.cross_entropy(x, target), loss.detach())
    for p, gradient in zip(network.parameters(), expected):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-6)


def test_nothing_is_recorded_for_autograd(network, rows):
    x, action = rows
    value = network.at(x)
    assert isinstance(value, ActionValue)
    results = [value.lower(action), value.gradient(action), *value.best(action[:, :, None])]
    assert not any(y.requires_grad for y in results)


def test_the_last_groups_alone(network, rows):
    x, action = rows
    alone = network.at(x[1:], 1)
    torch.testing.assert_close(alone.gradient(action[1:]), network.at(x).gradient(action)[1:])
    torch.testing.assert_close(alone.lower(action[1:]), network.at(x).lower(action)[1:])


def test_no_groups(network):
    best, _ = network.at(torch.zeros(0, 4, FEATURES), GROUPS).best(torch.zeros(0, 4, 3, ACTIONS))
    assert best.shape == (0, 4, ACTIONS)


def test_no_rows(network):
    value = network.at(torch.zeros(GROUPS, 0, FEATURES))
    assert value.gradient(torch.zeros(GROUPS, 0, ACTIONS)).shape == (GROUPS, 0, ACTIONS)
    best, distribution = value.best(torch.zeros(GROUPS, 0, 4, ACTIONS))
    assert (best.shape, distribution.shape) == ((GROUPS, 0, ACTIONS), (GROUPS, 0, CONFIG.atoms))
