"""Latency figures and missed deadlines, by hand."""

from __future__ import annotations

import pytest

from ddiffpg.latency import Deadlines, StageTimes


def test_percentiles_in_milliseconds_over_the_last_ticks():
    times = StageTimes(window=100)
    for _ in range(50):
        times.add({"policy": 9.0})  # long ago: out of the window
    for i in range(1, 101):
        times.add({"policy": i * 1e-3, "safety": 2e-3})
    policy = times.summary()["policy"]
    assert (policy.p50, policy.worst, policy.count) == (pytest.approx(50.5), pytest.approx(100.0), 100)
    assert policy.p99 == pytest.approx(99.01)
    assert list(times.summary()) == ["policy", "safety"]


def test_ticks_in_time_miss_nothing():
    deadlines = Deadlines(period=0.1)
    for started in (0.0, 0.1, 0.204, 0.296):
        deadlines.tick(started, started + 0.01)
    assert (deadlines.ticks, deadlines.missed) == (4, 0)


def test_a_tick_longer_than_a_period_is_a_fault_until_the_next():
    deadlines = Deadlines(period=0.1)
    assert not deadlines.faults
    deadlines.tick(0.0, 0.25)
    assert deadlines.faults == ("the last tick took 250 ms of 100: deadlines are missed",)
    deadlines.tick(0.3, 0.31)
    assert not deadlines.faults


def test_a_gap_and_an_overrun_count():
    deadlines = Deadlines(period=0.1)
    deadlines.tick(0.0, 0.01)
    deadlines.tick(0.3, 0.31)  # two periods without a tick
    deadlines.tick(0.4, 0.55)  # done only after the next was due
    assert deadlines.missed == 3


def test_a_period_that_an_overrun_takes_counts_once():
    deadlines = Deadlines(period=0.1)
    deadlines.tick(0.0, 0.15)
    assert deadlines.missed == 1
    deadlines.tick(0.2, 0.45)  # at 0.1 s nothing could run
    assert deadlines.missed == 2
    deadlines.tick(0.5, 0.51)  # nor at 0.3 and 0.4 s
    assert deadlines.missed == 3
    deadlines.tick(0.8, 0.81)
    assert deadlines.missed == 5
