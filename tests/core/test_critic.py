"""Categorical critics: projection, twin target, groups that come and go; worked by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddiffpg_core.config import CriticConfig
from ddiffpg_core.critic import Critic, CriticEnsemble, project

CPU = torch.device("cpu")
THREE = torch.tensor([0.0, 0.5, 1.0])
SMALL = CriticConfig(hidden=(16, 8), atoms=11, value_max=1.0, learning_rate=1e-2, tau=0.25)


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def critic(groups: int, seed: int = 0, config: CriticConfig = SMALL) -> Critic:
    torch.manual_seed(seed)
    return Critic(3, groups, config, CPU)


def random_target(groups: int, rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs ``[G, B, 3]`` and target distributions ``[G, B, atoms]``."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(groups, rows, SMALL.atoms, generator=g)
    return torch.randn(groups, rows, 3, generator=g), logits.softmax(-1)


def test_values_begin_low_where_asked():
    x = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    middle, low = (critic(2, config=replace(SMALL, low_start=start)).online.value(x) for start in (0.0, 6.0))
    assert middle.min() > 0.3 and middle.max() < 0.7
    assert low.max() < 0.05


# ---- projection -----------------------------------------------------------------------------------


def test_projection_by_hand():
    # 0.25 + 0.5 z moves 0, 0.5, 1 to 0.25, 0.5, 0.75. The mass at 0.25 falls half to 0 and half to 0.5,
    # that at 0.75 half to 0.5 and half to 1: 0.1 | 0.1 + 0.3 + 0.25 | 0.25
    out = project(row(0.2, 0.3, 0.5), torch.tensor(0.25), torch.tensor(0.5), THREE)
    torch.testing.assert_close(out, row(0.1, 0.65, 0.25))


def test_projection_without_future_is_the_reward():
    # discount 0: all mass at the reward 0.6, which lies 0.2 of the way from 0.5 to 1
    out = project(row(0.2, 0.3, 0.5), torch.tensor(0.6), torch.tensor(0.0), THREE)
    torch.testing.assert_close(out, row(0.0, 0.8, 0.2))


def test_projection_is_clamped_at_both_ends():
    p = row(0.2, 0.3, 0.5)
    torch.testing.assert_close(project(p, torch.tensor(7.0), torch.tensor(0.9), THREE), row(0, 0, 1))
    torch.testing.assert_close(project(p, torch.tensor(-7.0), torch.tensor(0.9), THREE), row(1, 0, 0))


def test_projection_onto_the_atoms_themselves_changes_nothing():
    p = row(0.2, 0.3, 0.5)
    torch.testing.assert_close(project(p, torch.tensor(0.0), torch.tensor(1.0), THREE), p)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.floats(-0.5, 2.0), st.floats(0.0, 1.0))
def test_projection_keeps_the_mass(seed, reward, discount):
    g = torch.Generator().manual_seed(seed)
    p = torch.rand(4, 51, generator=g).softmax(-1)
    out = project(p, torch.full((4,), reward), torch.full((4,), discount), torch.linspace(0, 1.2, 51))
    assert (out >= 0).all()
    torch.testing.assert_close(out.sum(-1), torch.ones(4))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.floats(0.0, 0.2), st.floats(0.0, 0.8))
def test_projection_inside_the_atoms_keeps_the_mean(seed, reward, discount):
    # the largest that can come out is 0.2 + 0.8 x 1.2 = 1.16 < 1.2: nothing is clamped
    atoms = torch.linspace(0, 1.2, 51)
    p = torch.rand(51, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    out = project(p, torch.tensor(reward), torch.tensor(discount), atoms)
    expected = reward + discount * (p * atoms).sum()
    torch.testing.assert_close((out * atoms).sum(), torch.as_tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0)


# ---- twin target ----------------------------------------------------------------------------------


def set_heads(network: CriticEnsemble, heads: list[list[float]]) -> None:
    """Make each head's distribution that of ``heads [2 G, atoms]``, whatever the input."""
    for weight in network.weight:
        weight.data.zero_()
    network.bias[-1].data = torch.tensor(heads).clamp(min=1e-30).log()[:, None]


def test_target_is_the_head_with_the_smaller_mean():
    # of (0.5, 0, 0.5) with mean 0.5 and (0.1, 0.9, 0) with mean 0.45 the second, in whichever head it is
    c = critic(2, config=CriticConfig(hidden=(4,), atoms=3, value_max=1.0))
    wide, sure = [0.5, 0.0, 0.5], [0.1, 0.9, 0.0]
    set_heads(c.target, [wide, sure, sure, wide])
    out = c.target.at(torch.zeros(2, 1, 2)).lower(torch.zeros(2, 1, 1))
    torch.testing.assert_close(out, row(*sure).expand(2, 1, 3))
    torch.testing.assert_close(out.sum(-1), torch.ones(2, 1))


def test_value_is_the_lower_mean():
    c = critic(1, config=CriticConfig(hidden=(4,), atoms=3, value_max=1.0))
    set_heads(c.online, [[0.5, 0.0, 0.5], [0.1, 0.9, 0.0]])
    torch.testing.assert_close(c.online.value(torch.zeros(1, 2, 3)), torch.full((1, 2), 0.45))


# ---- learning -------------------------------------------------------------------------------------


def test_loss_is_the_cross_entropy_of_both_heads():
    # equal logits over 11 atoms: each head's cross-entropy with any distribution is log 11
    c = critic(2)
    set_heads(c.online, [[1 / 11] * 11] * 4)
    x, target = random_target(2, 5, 1)
    torch.testing.assert_close(c.update(x, target), torch.full((2,), 2 * float(np.log(11))))


def test_slow_network_follows_by_tau():
    c = critic(2)
    old = [p.clone() for p in c.target.parameters()]
    c.update(*random_target(2, 5, 2))
    for slow, before, fast in zip(c.target.parameters(), old, c.online.parameters()):
        torch.testing.assert_close(slow, before + 0.25 * (fast - before))


def test_critic_learns_its_target():
    c = critic(2)
    x, target = random_target(2, 6, 3)
    for _ in range(600):
        c.update(x, target)
    mean = (target * c.online.atoms).sum(-1)
    torch.testing.assert_close(c.online.value(x), mean, atol=0.02, rtol=0)


# ---- groups ---------------------------------------------------------------------------------------


def alone(network: CriticEnsemble, group: int, head: int, x: torch.Tensor) -> torch.Tensor:
    """One head's logits ``[B, atoms]`` by plain products."""
    k = 2 * group + head
    for i, (weight, bias) in enumerate(zip(network.weight, network.bias)):
        x = x @ weight[k] + bias[k]
        if i < len(network.weight) - 1:
            x = torch.nn.functional.silu(x)
    return x


def test_batched_critics_equal_one_by_one():
    network = critic(3).online
    for bias in network.bias:
        bias.data.normal_()
    x = torch.randn(3, 7, 3)
    expected = torch.stack([torch.stack([alone(network, g, h, x[g]) for h in (0, 1)]) for g in range(3)])
    torch.testing.assert_close(network(x), expected)
    means = (expected.softmax(-1) * network.atoms).sum(-1)
    torch.testing.assert_close(network.value(x), torch.minimum(means[:, 0], means[:, 1]))


def test_learning_of_one_group_leaves_the_others_alone():
    a, b = critic(3), critic(3)
    x, target = random_target(3, 5, 4)
    x2, target2 = x.clone(), target.clone()
    x2[1], target2[1] = 9.0, 1 / 11
    for _ in range(3):
        a.update(x, target)
        b.update(x2, target2)
    for p, q in zip(a.online.parameters(), b.online.parameters()):
        torch.testing.assert_close(p[[0, 1, 4, 5]], q[[0, 1, 4, 5]])
        assert not torch.equal(p[[2, 3]], q[[2, 3]])


def test_rearranged_groups_say_what_they_said():
    c = critic(3)
    c.update(*random_target(3, 5, 5))
    x = torch.randn(1, 6, 3)
    fast, slow = c.online(x.expand(3, -1, -1)), c.target(x.expand(3, -1, -1))
    sources = [0, 2, 1, 2]
    c.rearrange(sources)
    torch.testing.assert_close(c.online(x.expand(4, -1, -1)), fast[sources])
    torch.testing.assert_close(c.target(x.expand(4, -1, -1)), slow[sources])


def test_optimiser_follows_its_group():
    # two critics learn the same; one has its groups in another order half of the time
    a, b = critic(4), critic(4)
    order = [0, 1, 3, 2]
    x, target = random_target(4, 5, 6)
    for _ in range(4):
        a.update(x, target)
        b.update(x, target)
    b.rearrange(order)
    for _ in range(4):
        a.update(x, target)
        b.update(x[order], target[order])
    torch.testing.assert_close(b.online(x[order]), a.online(x)[order], rtol=0, atol=1e-6)


def test_new_group_starts_as_its_source_and_learns_on_its_own():
    c = critic(2)
    x, target = random_target(2, 5, 7)
    c.update(x, target)
    c.rearrange([0, 1, 1])
    for state in c.optimizer.state.values():
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(state[key][4:], state[key][2:4]) and (state[key][4:] != 0).any()
    torch.testing.assert_close(c.online(x[[0, 1, 1]])[2], c.online(x[[0, 1, 1]])[1])
    wide, goal = x[[0, 1, 1]], target[[0, 1, 0]]
    for _ in range(20):
        c.update(wide, goal)
    assert not torch.allclose(c.online(wide)[1], c.online(wide)[2])


@pytest.mark.parametrize("per_mode", [True, False])
def test_a_part_of_the_groups_says_what_it_said(per_mode):
    """And is a copy: what is learned later is not in it."""
    config = replace(SMALL, per_mode=per_mode)
    whole = critic(2, config=config)  # as a run begins: only then does it hear of modes
    whole.rearrange([0, 1, 1, 1])
    whole.update(*random_target(4, 5, 1))
    x = torch.randn(4, 6, 3)
    before, part = whole.online.value(x), whole.online.part(2)
    whole.update(*random_target(4, 5, 0))
    assert torch.equal(part.value(x[2:]), before[2:])
    assert part.groups == 2
    assert not any(p.requires_grad for p in part.parameters())


def test_groups_can_go():
    c = critic(4)
    c.update(*random_target(4, 5, 8))
    x = torch.randn(4, 5, 3)
    before = c.online.value(x).detach()
    c.rearrange([0, 1, 3])
    torch.testing.assert_close(c.online.value(x[[0, 1, 3]]).detach(), before[[0, 1, 3]])
    c.update(*random_target(3, 5, 9))


def test_state_restores_another_number_of_groups_and_goes_on_alike():
    a, b = critic(2), critic(2, seed=1)
    a.update(*random_target(2, 5, 10))
    a.rearrange([0, 1, 1])
    a.update(*random_target(3, 5, 11))
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    for _ in range(3):
        a.update(*random_target(3, 5, 12))
        b.update(*random_target(3, 5, 12))
    for p, q in zip([*a.online.parameters(), *a.target.parameters()], [*b.online.parameters(), *b.target.parameters()]):
        assert torch.equal(p, q)


@pytest.mark.parametrize("groups", [2, 12])
def test_any_number_of_groups(groups):
    c = critic(groups)
    assert c.update(*random_target(groups, 3, 13)).shape == (groups,)
