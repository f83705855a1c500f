"""The map of visited places and what goals are worth on it, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ddiffpg_core import led_on
from ddiffpg_core.batch import FIRST_MODE
from ddiffpg_core.config import ConfigError, GuideConfig
from ddiffpg_core.ground import Ground
from ddiffpg_core.guide import EXPLORER, FINDER, Guide
from ddiffpg_core.modes import Mode
from ddiffpg_core.paths import resample
from ddiffpg_core.replay import EXPLORE, FIND
from tests.core.test_credit import SHARES, STRAIGHT, TOLERANCE, Table

EDGE = 1.0


def walked(*paths) -> Ground:
    """The ground after going along each of ``paths``, whose points are a step apart."""
    ground = Ground(EDGE, 2)
    for path in paths:
        points = np.array(path, float)
        ground.add(points[:-1], points[1:])
    return ground


# Cells of 1 m around whole numbers and a half. A ring: along y = 0.5, up at both ends, back along y = 2.5.
LOWER = [(0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (3.5, 0.5)]
UPPER = [(0.5, 0.5), (0.5, 1.5), (0.5, 2.5), (1.5, 2.5), (2.5, 2.5), (3.5, 2.5), (3.5, 1.5)]
RING = walked(LOWER, UPPER, [(3.5, 1.5), (3.5, 0.5)])
END = np.array([(3.5, 0.5)])


def plain(ground: Ground) -> np.ndarray:
    return np.ones(len(ground.map().step))


def left(ground: Ground, factor: np.ndarray, *points, ends: np.ndarray = END) -> list[float]:
    plan = ground.map()
    to_go = plan.to_go(factor, ends, np.zeros(len(ends)))
    return plan.left(np.array(points, float), to_go, factor).round(4).tolist()


def test_the_way_that_is_left_is_the_shortest_over_visited_places():
    assert left(RING, plain(RING), (3.5, 0.5), (1.5, 0.5), (0.5, 1.5), (1.5, 2.5)) == [0.0, 2.0, 4.0, 4.0]
    # between places it is counted from the point itself, by the best of the places near
    assert left(RING, plain(RING), (1.2, 0.5)) == [2.3]


def test_nobody_was_there_and_nobody_came_from_there():
    apart = walked(LOWER, [(0.5, 4.5), (1.5, 4.5)])
    assert left(apart, plain(apart), (9.0, 9.0), (2.5, 1.5), (1.5, 4.5)) == [np.inf] * 3


def test_a_wall_between_neighbours_that_nobody_crossed_stays_one():
    # (1.5, 0.5) and (1.5, 1.5) lie side by side; only the way round by x = 3.5 was gone
    hairpin = walked([(1.5, 0.5), (2.5, 0.5), (3.5, 0.5), (3.5, 1.5), (2.5, 1.5), (1.5, 1.5)])
    assert left(hairpin, plain(hairpin), (1.5, 1.5), ends=np.array([(1.5, 0.5)])) == [5.0]


def test_the_nearest_of_several_ends_counts_and_one_that_pays_less_is_farther():
    plan, factor = RING.map(), plain(RING)
    ends = np.array([(0.5, 0.5), (3.5, 0.5), (3.9, 0.5)])
    to_go = plan.to_go(factor, ends, np.array([1.5, 0.0, 0.0]))
    assert plan.left(np.array([(0.5, 0.5), (1.5, 0.5)]), to_go, factor).round(4).tolist() == [1.5, 2.0]


def test_a_way_may_be_joined_where_it_was_left_and_not_ahead_of_that():
    # Taking the lower way with half a metre of tolerance: from the upper one back to the start, not on and down.
    way = np.array(LOWER)
    factor = RING.map().along(way, 0.5)
    assert left(RING, factor, (1.5, 0.5), (2.5, 2.5), (3.5, 1.5)) == [2.0, 7.0, 9.0]
    # with two tolerances of more than the way's length nothing is ahead of anything
    assert left(RING, RING.map().along(way, 1.6), (3.5, 1.5))[0] == 1.0


def test_known_ways_are_dear():
    plan = RING.map()
    ways = np.array([LOWER, LOWER, UPPER[1:5]])
    assert plan.passed(ways, 0.0).tolist() == [2, 2, 2, 2, 1, 1, 1, 1, 0, 0]
    # a place on the map to each side, and not across what nobody crossed
    assert plan.passed(ways, 1.0).tolist() == [3, 2, 2, 2, 3, 1, 1, 1, 1, 2]
    dear = (plan.passed(ways, 0.0) >= 2)[plan.step].all(1)
    assert {tuple(sorted(pair)) for pair in plan.step[dear].tolist()} == {(0, 1), (1, 2), (2, 3)}
    # 3 m at four times the price are more than 7 m round by the top
    assert left(RING, 1.0 + 3.0 * dear, (0.5, 0.5), (1.5, 0.5)) == [7.0, 8.0]


def test_the_map_is_kept():
    kept = Ground(EDGE, 2)
    kept.load_state_dict(RING.state_dict())
    for mine, theirs in zip(vars(kept.map()).values(), vars(RING.map()).values()):
        np.testing.assert_array_equal(mine, theirs)


# ---- in batches -----------------------------------------------------------------------------------


def guided(share: float) -> tuple[Table, int]:
    """A success of mode 7 along STRAIGHT, in four steps of 1 m, with goals worth what the map says by ``share``."""
    table = Table()
    slot = table.add(STRAIGHT, 7)
    table.replay.way[slot] = resample(np.array(STRAIGHT, float), 5)
    table.credit.follow({7: np.array(STRAIGHT, np.float32)}, table.replay)
    table.guide.__init__(GuideConfig(share=share), 0.5, TOLERANCE, 40)
    ground = walked([(x + 0.5, 0.5) for x in range(-1, 5)])
    mode = Mode(7, (), np.zeros(3), np.array(STRAIGHT, np.float32))
    table.guide.learn(ground.map(), table.replay, [mode], 0)
    return table, slot


def test_a_share_of_what_returns_bootstrap_from_is_the_maps_guess():
    # Discount 0.5, 1 m a step. At (3.0, 0.0) the goal at (4.0, 0.0) is 1 m off, and a little more from cell to cell:
    # over the middle of its own, (4.5, 0.5), which is 1.5811 m away, and 0.7071 m back from there.
    table, slot = guided(0.2)
    worth = 0.5 ** (1.5811388 + 0.7071068)
    assert table.guide.value(7, np.array([(3.0, 0.0)])) == pytest.approx([worth], rel=1e-5)
    for group in (FIND, FIRST_MODE):
        seen = table.seen(table.draw(7), group, slot)
        assert seen[0] == (pytest.approx(0.125 * 0.2 * worth, abs=1e-6), pytest.approx(0.125 * 0.8), (3.0, 0.0))
        assert {t: seen[t][:2] for t in (1, 2, 3)} == {1: (0.25, 0.0), 2: (0.5, 0.0), 3: (1.0, 0.0)}


def test_without_a_share_or_a_map_nothing_changes():
    table, _ = guided(0.0)
    plain = Table()
    plain.add(STRAIGHT, 7)
    plain.credit.follow({7: np.array(STRAIGHT, np.float32)}, plain.replay)
    for name in ("reward", "discount"):
        torch.testing.assert_close(getattr(table.draw(7), name)[1:], getattr(plain.draw(7), name)[1:])
    assert Guide(GuideConfig(share=0.5), 0.5, 1.0, 1).value(FINDER, np.zeros((1, 2))) is None


def test_before_any_success_there_is_no_guide():
    table = Table()
    table.add(STRAIGHT, -1, goal=False)
    table.guide.learn(RING.map(), table.replay, [], 0)
    assert table.guide.worth == {}


def test_the_guide_is_kept():
    table, _ = guided(0.2)
    other = Guide(GuideConfig(share=0.2), 0.5, TOLERANCE, 40)
    other.load_state_dict(table.guide.state_dict())
    points = np.array([(0.2, 0.1), (2.4, 0.3), (9.0, 9.0)])
    for who in (FINDER, 7):
        np.testing.assert_array_equal(other.value(who, points), table.guide.value(who, points))


@pytest.mark.parametrize("key, value", [("share", 1.0), ("share", -0.1), ("cell", 0.0), ("known_cost", 0.5)])
def test_settings_that_cannot_be_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"guide.{key}"):
        GuideConfig(**{key: value})


# ---- what the finder is paid for, and rows that led on ----------------------------------------------


def test_a_success_is_new_as_long_as_few_passed_some_place_of_its_way():
    table = Table()
    slots = {name: table.add(path, 7) for name, path in (("straight", LOWER), ("again", LOWER), ("over", UPPER))}
    for slot, path in zip(slots.values(), (LOWER, LOWER, UPPER)):
        table.replay.way[slot] = resample(np.array(path), 5)
    guide = Guide(GuideConfig(share=0.1), 0.5, 0.0, 40)
    guide.learn(RING.map(), table.replay, [], 2)
    assert guide.new[list(slots.values())].tolist() == [False, False, True]
    later = table.add(LOWER, 7)
    table.replay.way[later] = resample(np.array(LOWER), 5)
    assert guide.new[later]  # nobody has looked yet
    guide.judge(np.array([later]), table.replay)
    assert not guide.new[later]
    beside = np.array([LOWER[1], UPPER[1], (50.0, 50.0)])
    assert guide.is_common(beside).tolist() == [True, False, False]
    assert not Guide(GuideConfig(share=0.1), 0.5, 0.0, 40).is_common(beside).any()  # no map yet


def test_nothing_is_known_where_no_number_makes_it_so():
    table, slot = guided(0.2)
    assert not table.guide.common.any()
    assert table.guide.new[slot]


def test_progress_is_what_is_less_to_go_and_shortcuts_are_none():
    table, _ = guided(0.2)
    table.guide.config = GuideConfig(share=0.2, ahead=1)
    now = np.array([(0.5, 0.5), (2.5, 0.5), (0.5, 0.5), (9.0, 9.0)])
    then = np.array([(1.5, 0.5), (0.5, 0.5), (3.5, 0.5), (0.5, 0.5)])
    # one metre on; two back; three in a step where one is usual; from off the map
    assert table.guide.progress(7, now, then) == pytest.approx([1.0, -2.0, -np.inf, -np.inf])
    assert table.guide.progress(8, now, then) is None


def test_of_rows_off_the_way_those_count_that_led_on():
    table, success = guided(0.2)
    forth = [table.add([(x, 0.5) for x in at], -1, goal=False) for at in ((0.5, 1.5, 2.5), (2.5, 3.5))]
    back = table.add([(2.5, 0.5), (1.5, 0.5), (0.5, 0.5)], -1, goal=False)
    table.guide.config = GuideConfig(share=0.2, ahead=1, rivals=32)
    table.sampler = replace(table.sampler, finder_afresh=True)
    batch = table.draw(7)
    home, second = batch.home, int(400 * (SHARES.own_share + SHARES.any_share))
    assert not batch.chosen[FIRST_MODE, :home].any() and not batch.chosen[FIRST_MODE, second:].any()
    assert batch.chosen[FIRST_MODE, home:second].all() and not (batch.chosen & batch.own)[FIRST_MODE].any()
    assert not batch.chosen[FIND, :8].any() and batch.chosen[FIND, 8:].all()  # there is one success to find
    for group in (FIND, FIRST_MODE):
        drawn = batch.rows.slot[group][batch.chosen[group]]
        assert set(drawn.tolist()) == {success, *forth}
    assert back in table.draw(7, seed=1).rows.slot[0]  # exploring draws it as before


def test_the_rows_that_are_not_drawn_so_teach_the_critic_alone():
    table, _ = guided(0.2)
    for at in ((0.5, 1.5, 2.5), (2.5, 3.5)):
        table.add([(x, 0.5) for x in at], -1, goal=False)
    back = table.add([(2.5, 0.5), (1.5, 0.5), (0.5, 0.5)], -1, goal=False)
    table.guide.config = GuideConfig(share=0.2, ahead=1, rivals=32, led=0.25)
    table.sampler = replace(table.sampler, finder_afresh=True)
    batch = table.draw(7)
    home, second = batch.home, int(400 * (SHARES.own_share + SHARES.any_share))
    for group, begin, end in ((FIND, 8, 400), (FIRST_MODE, home, second)):
        drawn = begin + round((end - begin) * 0.25)
        assert batch.chosen[group, begin:drawn].all() and batch.taught[group, begin:drawn].all()
        assert not batch.chosen[group, drawn:end].any() and not batch.taught[group, drawn:end].any()
        assert back in batch.rows.slot[group, drawn:end] and back not in batch.rows.slot[group, begin:drawn]
        assert batch.taught[group, :begin].all()
    assert batch.taught[FIRST_MODE, second:].all()


def test_a_finder_that_has_nothing_to_find_imitates_what_led_on_alone():
    table, _ = guided(0.2)
    for at in ((0.5, 1.5, 2.5), (2.5, 3.5)):
        table.add([(x, 0.5) for x in at], -1, goal=False)
    back = table.add([(2.5, 0.5), (1.5, 0.5), (0.5, 0.5)], -1, goal=False)
    table.guide.config = GuideConfig(share=0.2, ahead=1, rivals=32)
    table.guide.new[:] = False
    table.sampler = replace(table.sampler, finder_afresh=True, shares=replace(SHARES, known_at=1))
    assert not table.sampler.to_find().any()
    batch = table.draw(7)
    assert batch.chosen[FIND].all() and back not in batch.rows.slot[FIND]


def test_a_few_updates_share_a_pool_until_something_is_new():
    table, success = guided(0.2)
    parts = table.replay, table.guide, np.array([success]), np.random.default_rng(0)
    pools = led_on.Pools()
    first = pools.now(*parts)
    assert all(pools.now(*parts) is first for _ in range(led_on.SHARED - 1))
    second = pools.now(*parts)
    assert second is not first and pools.now(*parts) is second
    pools.forget()
    assert pools.now(*parts) is not second


def test_who_stands_competes_with_those_who_stand_there():
    # Of robots at 1.5 m one runs on by two metres a step, one has stood there for ten steps and then got away slowly,
    # and one stays for good: the second is what the third is to learn, though the first comes farther.
    table, stay = Table(14), [(1.5, 0.5)] * 11
    runs = table.add([(-0.5, 0.5), (1.5, 0.5), (3.5, 0.5)], -1)
    gets_away = table.add([*stay, (1.8, 0.5), (2.5, 0.5)], -1, goal=False)
    stays = table.add([*stay, (1.5, 0.5), (1.5, 0.5)], -1, goal=False)
    table.guide.__init__(GuideConfig(share=0.2, ahead=2, rivals=512), 0.5, TOLERANCE, 40)
    table.guide.learn(walked([(x + 0.5, 0.5) for x in range(-1, 4)]).map(), table.replay, [], 0)
    pool = led_on.draw(table.replay, table.guide, np.array([runs, gets_away, stays]), np.random.default_rng(0))
    best, led = led_on.choose(pool, table.guide, FINDER, 400, np.random.default_rng(1))
    best = best[led]
    standing = [(s, t) for s, t in zip(pool.slots[best].tolist(), pool.time[best].tolist()) if s != runs and t >= 1]
    assert standing and {s for s, t in standing if t >= 10} == {gets_away}
    assert (runs, 1) in set(zip(pool.slots[best].tolist(), pool.time[best].tolist()))


def test_who_got_on_by_less_than_half_as_much_as_the_best_of_its_like_is_not_imitated():
    # From 0.5 m, in three steps: one comes to the goal at 5.5 m, one gets on by 1.1 m and one by 3 m. Each is drawn as
    # it comes (no rivals but itself), and of the first place's rows those of the second teach the critic alone.
    table = Table(6)
    quick = table.add([(x, 0.5) for x in (0.5, 2.0, 3.7, 5.5)], -1)
    slow = table.add([(x, 0.5) for x in (0.5, 0.8, 1.2, 1.6)], -1, goal=False)
    half = table.add([(x, 0.5) for x in (0.5, 1.5, 2.5, 3.5)], -1, goal=False)
    table.guide.__init__(GuideConfig(share=0.2, ahead=3, rivals=1), 0.5, TOLERANCE, 40)
    table.guide.learn(walked([(x + 0.5, 0.5) for x in range(6)]).map(), table.replay, [], 0)
    rng = np.random.default_rng(0)
    pool = led_on.draw(table.replay, table.guide, np.array([quick, slow, half]), rng)
    best, led = led_on.choose(pool, table.guide, FINDER, 600, rng)
    first = pool.time[best] == 0
    for slot, imitated in ((quick, True), (slow, False), (half, True)):
        own = first & (pool.slots[best] == slot)
        assert own.any() and (led[own] == imitated).all()


def test_the_best_of_a_place_is_remembered_until_the_map_is_another():
    table, success = guided(0.2)
    guide = table.guide
    guide.config = GuideConfig(share=0.2, ahead=1)
    pool = led_on.draw(table.replay, guide, np.array([success]), np.random.default_rng(0))
    metres = pool.progress(guide, FINDER)
    best = guide.farthest[FINDER][pool.kind]
    assert (best >= metres).all() and best.max() == metres.max()
    guide.note(FINDER, pool.kind, metres + 5.0)
    assert (guide.farthest[FINDER][pool.kind] == best + 5.0).all()
    kept = Guide(guide.config, 0.5, TOLERANCE, 40)
    kept.load_state_dict(guide.state_dict())
    np.testing.assert_array_equal(kept.farthest[FINDER], guide.farthest[FINDER])
    guide.learn(RING.map(), table.replay, [], 0)
    assert not guide.farthest


def test_who_went_away_at_first_has_not_led_on():
    # The finder's known way along y = 0.5 is dear, the one over y = 2.5 cheap: who runs along the first comes near to
    # the goal all the same, but a step later it had farther to go than at the start.
    table = Table(8)
    runs = table.add([(x, 0.5) for x in (0.5, 1.5, 2.5, 3.4)], 7)
    over = table.add([(0.5, 0.5), (0.5, 1.5), (0.5, 2.5), (1.5, 2.5)], -1, goal=False)
    for slot in (runs, over):
        table.replay.way[slot] = resample(table.replay.path(slot), 5)
    table.guide.__init__(GuideConfig(share=0.2, ahead=3, rivals=1, known_cost=20.0), 0.5, 0.0, 40)
    table.guide.learn(RING.map(), table.replay, [], 1)
    assert table.guide.common.any()
    pool = led_on.draw(table.replay, table.guide, np.array([runs, over]), np.random.default_rng(0))
    metres, first = pool.progress(table.guide, FINDER), pool.time == 0
    direct = table.guide.progress(FINDER, pool.here, pool.there)
    assert (direct[first & (pool.slots == runs)] > 0.0).all()
    assert (metres[first & (pool.slots == runs)] == -np.inf).all()
    assert (metres[first & (pool.slots == over)] > 0.0).all()


def test_where_nobody_got_on_there_is_nothing_to_learn():
    # One robot goes from 1.5 m to the goal, one stands at 0.5 m where nobody got away: that teaches the critic alone.
    table = Table()
    goes = table.add([(1.5, 0.5), (2.5, 0.5), (3.5, 0.5)], -1)
    stands = table.add([(0.5, 0.5)] * 6, -1, goal=False)
    table.guide.__init__(GuideConfig(share=0.2, ahead=1, rivals=4), 0.5, TOLERANCE, 40)
    table.guide.learn(walked([(x + 0.5, 0.5) for x in range(4)]).map(), table.replay, [], 0)
    rng = np.random.default_rng(0)
    pool = led_on.draw(table.replay, table.guide, np.array([goes, stands]), rng)
    best, led = led_on.choose(pool, table.guide, FINDER, 100, rng)
    assert led.any() and not led.all()
    np.testing.assert_array_equal(pool.slots[best] == goes, led)
    table.sampler = replace(table.sampler, finder_afresh=True)
    batch = table.draw()
    off = batch.rows.slot[FIND, 8:]  # after those of the one success
    assert (batch.taught[FIND, 8:] == (off == goes)).all() and not batch.taught[FIND].all()
    assert (batch.chosen[FIND, 8:] == (off == goes)).all()
    assert batch.taught[FIND, :8].all() and batch.taught[EXPLORE].all()


def test_the_explorer_is_led_to_where_few_have_been():
    # Nine times to 3.5 m, once to -1.5 m, 1 m a step, discount 0.5: what was entered nine times is worth a third of
    # what was entered once, as if it were log2(3) m farther off.
    table = Table()
    stay = [(0.5, 0.5)] * 2
    east, west = [*stay, *((x + 0.5, 0.5) for x in range(1, 4))], [*stay, (-0.5, 0.5), (-1.5, 0.5)]
    slots = [table.add(path, -1, goal=False) for path in [east] * 9 + [west]]
    config = GuideConfig(share=0.2, ahead=1, rivals=16, explorers=0.25)
    table.guide.__init__(config, 0.5, TOLERANCE, 40, 0.5)
    table.guide.learn(walked(*[east] * 9, west).map(), table.replay, [], 0)
    speed = table.guide.worth[EXPLORER].speed
    assert speed == pytest.approx(3 / 4)
    cost = table.guide.map.left(np.array(east[1:] + west[2:]), table.guide.worth[EXPLORER].to_go, np.ones(10))
    known = speed * np.log2(3.0)
    assert cost == pytest.approx([1.0, known, known, known, 0.0, 0.0], abs=1e-4)

    batch = table.draw()
    led = batch.rows.slot.shape[1] * 3 // 4
    assert batch.chosen[EXPLORE, led:].any() and not batch.chosen[EXPLORE, :led].any()
    drawn = batch.rows.slot[EXPLORE, led:]
    assert (drawn == slots[-1]).float().mean() > 0.4  # a tenth of what there is
    assert not batch.chosen[1:].any()  # nobody knows a goal
    assert len(batch.visited) == led + batch.rows.slot.shape[1]  # novelty does not count them


def test_without_rivals_rows_are_drawn_as_before():
    table, _ = guided(0.2)
    table.add([(2.5, 0.5), (1.5, 0.5), (0.5, 0.5)], -1, goal=False)
    batch = table.draw(7)
    assert not batch.chosen.any()
    assert (batch.own[FIND]).all() and batch.strays == FIRST_MODE
