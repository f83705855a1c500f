"""Which way is taken when: sticky, at once away from what is blocked, back only after a while."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddiffpg.modes import Way
from ddiffpg.replan import Chances, Choice, Last, Patience, Replanner

PATIENCE = Patience(hysteresis=0.05, dwell=1.0, stuck_after=1.5, retry_after=10.0)
FREE, BLOCKED, TIGHT = math.inf, -0.1, 0.02
NODES = np.empty(0, int)
LENGTHS = {0: 3.0, 1: 4.0, 2: 9.0}


def make(*success: float) -> Replanner:
    return Replanner({i: Chances(share, 1.0) for i, share in enumerate((*success, 1.0, 1.0, 1.0))}, PATIENCE)


def step(replanner: Replanner, now: float, *clearance: float, forced: int = -1, held: bool = False) -> Choice:
    """One tick with modes 0, 1, ... of the given clearances."""
    ways = [Way(i, c, LENGTHS[i], NODES) for i, c in enumerate(clearance)]
    return replanner.choose(ways, replanner.update(now, ways, Last(True, held)), forced)


def test_at_first_the_shortest_free_way():
    choice = step(make(), 0.0, FREE, FREE, FREE)
    assert choice == Choice(0, "mode 0 is the best free way (3.0 m)")
    assert step(make(), 0.0, BLOCKED, FREE, FREE).mode == 1


def test_a_way_that_often_fails_counts_as_longer():
    assert step(make(0.7), 0.0, FREE, FREE).mode == 1  # 3 / 0.7 > 4
    assert step(make(0.8), 0.0, FREE, FREE).mode == 0  # 3 / 0.8 < 4
    assert step(make(0.0), 0.0, FREE, BLOCKED).mode == 0  # better than none


def test_off_its_own_way_a_mode_counts_by_how_often_it_returns():
    replanner = Replanner({0: Chances(1.0, 0.1), 1: Chances(1.0, 0.9)}, PATIENCE)
    for on_own, expected in [(True, 0), (False, 1)]:
        ways = [Way(i, FREE, LENGTHS[i], NODES, on_own) for i in (0, 1)]
        assert replanner.choose(ways, frozenset({0, 1})).mode == expected
        replanner.present = None


def test_the_chosen_way_is_kept_though_a_shorter_one_opens():
    replanner = make()
    assert step(replanner, 0.0, BLOCKED, FREE).mode == 1
    for t in range(1, 100):
        assert step(replanner, 0.1 * t, FREE, FREE) == Choice(1, "mode 1 is still free")


def test_a_block_is_acted_on_in_the_same_tick():
    replanner = make()
    step(replanner, 0.0, FREE, FREE)
    assert step(replanner, 0.1, BLOCKED, FREE) == Choice(1, "mode 0 is blocked, mode 1 is the best free way (4.0 m)")


def test_little_room_is_no_reason_to_leave():
    replanner = make()
    step(replanner, 0.0, FREE, FREE)
    assert step(replanner, 0.1, TIGHT, FREE).mode == 0
    assert step(replanner, 0.2, 0.0, FREE).mode == 0


def test_the_way_back_opens_only_after_the_dwell_time():
    replanner = make()
    step(replanner, 0.0, FREE, FREE)
    step(replanner, 0.1, BLOCKED, FREE)
    for now in (0.2, 0.7, 1.1):
        assert step(replanner, now, FREE, BLOCKED).mode is None
    assert step(replanner, 1.2, FREE, BLOCKED).mode == 0


def test_a_flickering_block_starts_the_dwell_time_anew():
    replanner = make()
    step(replanner, 0.0, BLOCKED)
    step(replanner, 0.1, FREE)
    step(replanner, 1.0, BLOCKED)
    assert step(replanner, 1.2, FREE).mode is None
    assert step(replanner, 2.1, FREE).mode is None
    assert step(replanner, 2.2, FREE).mode == 0


def test_without_room_to_spare_a_blocked_way_does_not_open():
    replanner = make()
    step(replanner, 0.0, BLOCKED)
    assert step(replanner, 5.0, TIGHT).mode is None
    assert step(replanner, 9.0, TIGHT).mode is None
    assert step(replanner, 10.0, FREE).mode is None  # the time begins anew
    assert step(replanner, 11.0, FREE).mode == 0


@pytest.mark.parametrize(("wide", "opens"), [(0.09, True), (0.07, False)])
def test_readings_that_jump_count_by_the_room_that_they_have_on_average(wide, opens):
    replanner = make()
    step(replanner, 0.0, BLOCKED)
    modes = [step(replanner, 0.1 * t, TIGHT if t % 2 else wide).mode for t in range(1, 100)]
    assert modes[:10] == [None] * 10
    assert (modes[10:] == [0] * 89) if opens else not any(mode == 0 for mode in modes)


def test_one_wide_reading_does_not_outweigh_the_others():
    replanner = make()
    step(replanner, 0.0, BLOCKED)
    assert not any(step(replanner, 0.1 * t, TIGHT if t % 5 else FREE).mode == 0 for t in range(1, 100))


def test_two_ways_blocked_in_turn_do_not_make_it_waver():
    """Blocks that alternate every 0.2 s: a new choice comes at most once per dwell time, after the first ones."""
    replanner, modes = make(), []
    for t in range(200):
        first = t // 2 % 2 == 0
        modes.append(step(replanner, 0.1 * t, BLOCKED if first else FREE, FREE if first else BLOCKED).mode)
    assert modes[:3] == [1, 1, None]
    assert set(modes[2:]) == {None}


def test_no_way_is_said_and_ends_by_itself():
    replanner = make()
    assert step(replanner, 0.0, FREE, FREE).mode == 0
    assert step(replanner, 0.1, BLOCKED, BLOCKED) == Choice(None, "no way is free")
    assert step(replanner, 5.0, BLOCKED, FREE).mode is None
    assert step(replanner, 6.0, BLOCKED, FREE) == Choice(1, "mode 1 is the best free way (4.0 m)")


def test_a_forced_mode_is_taken_at_once_and_kept_when_released():
    replanner = make()
    step(replanner, 0.0, FREE, FREE, FREE)
    assert step(replanner, 0.1, FREE, FREE, FREE, forced=2) == Choice(2, "mode 2 is asked for")
    assert step(replanner, 0.2, FREE, FREE, FREE).mode == 2


def test_a_forced_mode_that_is_blocked_is_not_replaced():
    replanner = make()
    assert step(replanner, 0.0, BLOCKED, FREE, forced=0) == Choice(None, "mode 0 is asked for and not free")
    assert step(replanner, 0.1, BLOCKED, FREE).mode == 1  # released
    assert step(replanner, 0.2, FREE, FREE, forced=0).mode is None  # dwell
    assert step(replanner, 1.2, FREE, FREE, forced=0).mode == 0


def test_held_off_for_long_a_way_is_given_up_for_a_while():
    replanner = make()
    step(replanner, 0.0, FREE, FREE)
    for now in (1.0, 1.7, 2.4):
        assert step(replanner, now, FREE, FREE, held=True).mode == 0
    assert step(replanner, 2.5, FREE, FREE, held=True).mode == 1
    for now in (3.0, 8.0, 12.4):
        assert step(replanner, now, FREE, BLOCKED).mode is None
    assert step(replanner, 12.5, FREE, BLOCKED).mode == 0


def test_held_off_for_a_moment_now_and_then_is_nothing():
    replanner = make()
    step(replanner, 0.0, FREE, FREE)
    for t in range(1, 100):
        assert step(replanner, 0.1 * t, FREE, FREE, held=t % 10 != 0).mode == 0


@pytest.mark.parametrize("before", ["blocked", "given up"])
def test_when_the_clock_jumps_a_block_must_be_seen_open_anew(before):
    replanner = make()
    step(replanner, 100.0, FREE)
    if before == "blocked":
        step(replanner, 101.0, BLOCKED)
        step(replanner, 101.5, FREE)
    else:
        step(replanner, 101.0, FREE, held=True)
        assert step(replanner, 103.0, FREE, held=True).mode is None
    replanner.forget_times()
    assert step(replanner, 0.0, FREE).mode is None
    assert step(replanner, 1.0, FREE).mode == 0


# ---- stuck, waiting, committed, limited --------------------------------------------------------

SLOW = Patience(
    0.05, 1.0, 1.5, 10.0, progress=0.1, progress_time=3.0, patience=4.0, commit=0.5, changes=2, changes_time=20.0
)


def careful() -> Replanner:
    return Replanner({i: Chances(1.0, 1.0) for i in range(3)}, SLOW)


def tick(replanner: Replanner, now: float, *ways: Way, driven: bool = True) -> Choice:
    return replanner.choose(ways, replanner.update(now, ways, Last(driven)))


def way(mode: int, length: float, clearance: float = FREE, **said: bool) -> Way:
    return Way(mode, clearance, length, NODES, **said)


def test_where_it_comes_no_nearer_a_way_is_given_up_for_a_while():
    replanner = careful()
    assert tick(replanner, 0.0, way(0, 3.0), way(1, 4.0), driven=False).mode == 0
    for now, left in ((0.1, 3.0), (1.0, 2.85), (2.0, 2.76), (3.9, 2.80)):  # from 1.0 s on no 0.1 m nearer
        assert tick(replanner, now, way(0, left), way(1, 4.0)).mode == 0
    said = "mode 0 is stuck (no nearer for 3.0 s), mode 1 is the best free way (4.0 m)"
    assert tick(replanner, 4.0, way(0, 2.80), way(1, 4.0)) == Choice(1, said)
    assert tick(replanner, 5.0, way(0, 2.8), way(1, 3.0, BLOCKED)).mode is None
    assert tick(replanner, 14.0, way(0, 2.8), way(1, 3.0, BLOCKED)).mode == 0


def test_a_robot_that_stands_because_it_must_is_not_stuck():
    replanner = careful()
    for t in range(100):
        assert tick(replanner, 0.1 * t, way(0, 3.0), way(1, 4.0), driven=False).mode == 0


def test_to_stand_in_between_does_not_make_it_less_stuck():
    """No nearer from 0 s on; it waits from 2 to 7 s, and the third second of driving is over at 8 s."""
    replanner = careful()
    for t in range(80):
        blocked = {"clearance": BLOCKED, "passing": True} if 20 <= t < 50 else {}
        tick(replanner, 0.1 * t, way(0, 3.0, **blocked), way(1, 4.0), driven=not 20 < t <= 70)
        assert replanner.present == 0
    assert tick(replanner, 8.1, way(0, 3.0), way(1, 4.0)).mode == 1


def test_where_something_comes_a_way_out_of_which_it_does_not_get_is_given_up_sooner():
    replanner = careful()
    for t in range(15):
        assert tick(replanner, 0.1 * t, way(0, 3.0), way(1, 4.0)).mode == 0
    assert tick(replanner, 1.6, way(0, 3.0, haste=True), way(1, 4.0, haste=True)).mode == 1


def test_where_something_comes_there_is_no_waiting_and_no_dwelling():
    """It waits for what moves past, which turns: then it goes, by what is free at once."""
    replanner = careful()
    tick(replanner, 0.0, way(0, 3.0), way(1, 4.0))
    for now in (1.0, 1.1):
        past = way(0, 2.0, BLOCKED, passing=True), way(1, 4.0, BLOCKED, passing=True)
        assert tick(replanner, now, *past).mode is None
    assert tick(replanner, 1.2, way(0, 2.0, haste=True), way(1, 4.0, BLOCKED, haste=True)).mode == 0
    assert tick(replanner, 1.3, way(0, 2.0, BLOCKED, haste=True), way(1, 4.0, 0.01, haste=True)).mode == 1


def test_a_narrow_way_is_said_to_be_one():
    said = "mode 0 is blocked, mode 1 is the best narrow way (4.0 m)"
    replanner = careful()
    tick(replanner, 0.0, way(0, 3.0), way(1, 4.0))
    assert tick(replanner, 1.0, way(0, 3.0, BLOCKED), way(1, 4.0, narrow=True)) == Choice(1, said)


def test_another_way_round_is_no_coming_nearer_and_no_hindrance():
    """0.2 m in 2 s; then a detour of 2 m more, on which it makes 0.12 m in 2 s, the tenth of a metre by 3.9 s."""
    replanner = careful()
    for t in range(41):
        left = 3.0 - 0.1 * (0.1 * t) if t <= 20 else 4.8 - 0.06 * (0.1 * t - 2.0)
        assert tick(replanner, 0.1 * t, way(0, left), way(1, 9.0)).mode == 0
    for t in range(41, 68):  # and then nothing
        assert tick(replanner, 0.1 * t, way(0, 4.68), way(1, 9.0)).mode == 0
    assert tick(replanner, 7.0, way(0, 2.68), way(1, 2.7)).mode == 1  # a leap is not its doing


def test_almost_at_the_end_it_is_never_stuck():
    replanner = careful()
    for t in range(100):
        assert tick(replanner, 0.1 * t, way(0, 0.5), way(1, 4.0)).mode == 0


def test_for_what_moves_past_it_waits_and_goes_on_after_the_dwell_time():
    replanner = careful()
    tick(replanner, 0.0, way(0, 3.0), way(1, 4.0))
    waits = Choice(None, "mode 0 waits, for what moves past")
    assert tick(replanner, 1.0, way(0, 2.0, BLOCKED, passing=True), way(1, 4.0)) == waits
    assert tick(replanner, 2.0, way(0, 2.0), way(1, 4.0), driven=False) == waits
    assert tick(replanner, 3.0, way(0, 2.0), way(1, 4.0), driven=False).mode == 0


def test_its_patience_ends():
    replanner = careful()
    tick(replanner, 0.0, way(0, 3.0), way(1, 4.0))
    assert tick(replanner, 1.0, way(0, 2.0, BLOCKED, passing=True), way(1, 4.0)).mode is None
    assert tick(replanner, 4.9, way(0, 2.0, BLOCKED, passing=True), way(1, 4.0), driven=False).mode is None
    assert tick(replanner, 5.0, way(0, 2.0, BLOCKED, passing=True), way(1, 4.0), driven=False).mode == 1


def test_what_comes_to_stand_in_the_way_is_not_waited_for():
    replanner = careful()
    tick(replanner, 0.0, way(0, 3.0), way(1, 4.0))
    assert tick(replanner, 1.0, way(0, 2.0, BLOCKED, passing=True), way(1, 4.0)).mode is None
    assert tick(replanner, 1.1, way(0, 2.0, BLOCKED), way(1, 4.0)).mode == 1


def test_almost_at_the_end_it_waits_whatever_blocks_it():
    replanner = careful()
    tick(replanner, 0.0, way(0, 0.4), way(1, 4.0))
    assert tick(replanner, 1.0, way(0, 0.4, BLOCKED), way(1, 4.0)) == Choice(None, "mode 0 waits, almost at its end")
    assert tick(replanner, 5.0, way(0, 0.4, BLOCKED), way(1, 4.0)).mode == 1


def test_after_too_many_changes_it_stops_until_the_first_is_long_ago():
    """Two changes in 20 s are allowed, here at 1 and 3 s."""
    replanner = careful()
    tick(replanner, 0.0, way(0, 3.0), way(1, 4.0), way(2, 9.0))
    assert tick(replanner, 1.0, way(0, 3.0, BLOCKED), way(1, 4.0), way(2, 9.0)).mode == 1
    tick(replanner, 2.0, way(0, 3.0), way(1, 4.0), way(2, 9.0))
    assert tick(replanner, 3.0, way(0, 3.0), way(1, 4.0, BLOCKED), way(2, 9.0)).mode == 0
    waits = Choice(None, "waits: 2 changes within 20 s")
    for now in (4.0, 20.9):
        assert tick(replanner, now, way(0, 3.0, BLOCKED), way(1, 4.0, BLOCKED), way(2, 9.0)) == waits
    assert tick(replanner, 21.0, way(0, 3.0, BLOCKED), way(1, 4.0, BLOCKED), way(2, 9.0)).mode == 2


def test_the_way_that_takes_the_least_time_for_a_success_is_taken():
    """3 m at 2 s/m are 6 s; 4 m at 1 s/m, four times in five, 5 s."""
    replanner = Replanner({0: Chances(1.0, 1.0, 2.0), 1: Chances(0.8, 1.0, 1.0)}, SLOW)
    assert tick(replanner, 0.0, way(0, 3.0), way(1, 4.0)).mode == 1
