"""Who does what while data is collected."""

from __future__ import annotations

import numpy as np
import pytest

from ddiffpg_core.behaviour import Behaviour
from ddiffpg_core.config import ExploreConfig

N, E, HORIZON = 2000, 3, 40
EXPLORE, FIND = np.full(E, 1.0), np.full(E, 2.0)
MODES, STEPS = np.array([np.full(E, 3.0), np.full(E, 4.0)]), np.array([10, 20])
CONFIG = ExploreConfig(finder_share=0.5, null_share=0.25, switch_share=0.5)


def behaviour(config: ExploreConfig = CONFIG) -> tuple[Behaviour, np.random.Generator]:
    return Behaviour(N, E, HORIZON, config), np.random.default_rng(0)


def test_half_of_the_explorers_head_for_a_goal_later():
    b, rng = behaviour()
    for env in range(N):
        b.explore(env, EXPLORE, FIND, rng)
    assert b.explorer.all()
    assert (b.first == 1).all()
    finders = b.switch_at < HORIZON
    assert finders.mean() == pytest.approx(0.5, abs=0.04)
    assert (b.second[finders] == 2).all()
    assert b.switch_at[finders].min() == 0
    assert b.switch_at[finders].max() == HORIZON * 3 // 4 - 1


def test_explorers_explore_until_they_head_for_a_goal():
    b, rng = behaviour(ExploreConfig(finder_share=1.0))
    for env in range(N):
        b.explore(env, EXPLORE, FIND, rng)
    b.exploit(0, MODES, STEPS, rng)
    b.switch_at[:] = 3
    for step in range(5):
        asked = b.embedding()[:, 0]
        b.disturb(np.zeros((N, 2)), rng)
        assert (asked[1:] == (1 if step < 3 else 2)).all()
        assert b.explores[1:].all() == (step < 3)
        assert not b.explores[0]


def test_without_a_goal_all_of_them_explore_to_the_end():
    b, rng = behaviour()
    for env in range(N):
        b.explore(env, EXPLORE, None, rng)
    b.age[:] = HORIZON - 1
    assert (b.embedding() == 1).all()


def test_exploiters_run_a_mode_two_in_turn_or_the_unconditional_policy():
    b, rng = behaviour()
    for env in range(N):
        b.exploit(env, MODES, STEPS, rng)
    assert not b.explorer.any()
    null = (b.first == 0).all(1)
    turn = ~null & (b.switch_at < HORIZON)
    assert null.mean() == pytest.approx(0.25, abs=0.04)
    assert turn.mean() == pytest.approx(0.75 * 0.5, abs=0.04)
    assert (b.second[null] == 0).all()
    assert (b.first[turn] != b.second[turn]).all()
    for mode, steps in zip(MODES, STEPS):  # the change falls while the first is under way
        own = turn & (b.first == mode).all(1)
        assert own.mean() == pytest.approx(0.75 * 0.25, abs=0.04)
        assert (b.switch_at[own].min(), b.switch_at[own].max()) == (0, steps)


def test_the_only_mode_has_nothing_to_change_to():
    b, rng = behaviour()
    for env in range(N):
        b.exploit(env, MODES[:1], STEPS[:1], rng)
    asked = ~(b.first == 0).all(1)
    assert (b.first[asked] == 3).all()
    assert (b.second[asked] == 3).all()


def test_the_second_takes_over_at_its_step():
    b, rng = behaviour()
    b.exploit(0, MODES, STEPS, rng)
    b.first[0], b.second[0], b.switch_at[0] = 3, 4, 2
    asked = []
    for _ in range(4):
        asked.append(float(b.embedding()[0, 0]))
        b.disturb(np.zeros((N, 2)), rng)
    assert asked == [3, 3, 4, 4]
    b.exploit(0, MODES, STEPS, rng)
    assert b.age[0] == 0


def test_noise_is_of_the_sizes_asked_for_and_within_the_limits():
    b, rng = behaviour(ExploreConfig(sigma_min=0.1, sigma_max=0.3))
    b.explorer[:] = False
    out = np.concatenate([b.disturb(np.zeros((N, 2)), rng) for _ in range(20)])
    # a mixture of sigmas uniform on 0.1..0.3 has a mean square of (0.3^3 - 0.1^3) / 3 / 0.2 = 0.0433
    assert float(np.square(out).mean()) == pytest.approx(0.0433, rel=0.05)
    assert out.dtype == np.float32
    assert np.abs(b.disturb(np.ones((N, 2)), rng)).max() <= 1


def test_a_steady_noise_keeps_its_size_for_an_episode():
    b, rng = behaviour(ExploreConfig(sigma_min=0.1, sigma_max=0.3, steady=True))
    b.explorer[:] = False
    b.disturb(np.zeros((N, 2)), rng)
    first = b.sigma.copy()
    assert 0.1 <= first.min() < 0.12 and 0.28 < first.max() <= 0.3
    b.exploit(0, MODES, STEPS, rng)  # a new episode of the first
    b.disturb(np.zeros((N, 2)), rng)
    assert b.sigma[0] != first[0]
    np.testing.assert_array_equal(b.sigma[1:], first[1:])


def test_explorers_hold_half_of_their_noise_for_some_steps():
    b, rng = behaviour(ExploreConfig(hold_steps=8, hold_scale=0.7))
    out = np.stack([b.disturb(np.zeros((N, 2)), rng) for _ in range(16)])
    held = (out[:8] == out[0]).all((0, 2))
    assert held.mean() == pytest.approx(0.5, abs=0.04)
    assert (out[8] == out[7]).all(1)[held].mean() < 0.05  # then it is drawn anew (at a limit it may look the same)
    b.switch_at[:] = 0  # on their way to a goal they are disturbed as the others are
    out = np.stack([b.disturb(np.zeros((N, 2)), rng) for _ in range(8)])
    assert not ((out == out[0]).all((0, 2)) & (np.abs(out[0]) < 1).all(1)).any()


def test_who_stands_is_shaken_until_it_moves():
    b, rng = behaviour(ExploreConfig(shake_after=3, sigma_min=0.0, sigma_max=0.0))
    b.explorer[:] = False
    where, noise = np.zeros((N, 2)), []
    for _ in range(12):
        where[0] += 0.3  # one goes on, the others stand
        b.notice(where, 0.25)
        noise.append(b.disturb(np.zeros((N, 2)), rng))
    shaken = np.abs(np.array(noise)).max(-1) > 0
    assert not shaken[:, 0].any() and not shaken[:3].any() and shaken[3:, 1:].all()
    where[1] += 0.3
    b.notice(where, 0.25)
    now = np.abs(b.disturb(np.zeros((N, 2)), rng)).max(-1) > 0
    assert not now[:2].any() and now[2:].all()


def test_an_explorer_that_has_stood_too_long_heads_for_a_goal_and_has_as_long_again():
    b, rng = behaviour(ExploreConfig(give_up_after=3, finder_share=0.0))
    for env in range(N):
        b.explore(env, EXPLORE, FIND if env else None, rng)  # the first knows of no goal
    where = np.zeros((N, 2))
    for step in range(7):
        where[1] += 0.3  # the second goes on
        b.notice(where, 0.25)
        asked = b.embedding()[:, 0]
        assert b.given_up.tolist() == [step >= 3, False, *[step >= 6] * (N - 2)]
        b.disturb(np.zeros((N, 2)), rng)
    assert asked[:2].tolist() == [1, 1] and (asked[2:] == 2).all()
    assert b.explores[:2].all() and not b.explores[2:].any()
