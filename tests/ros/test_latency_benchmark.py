"""What benchmarks/ros_latency.py counts: which command belongs to which message, and what is left without the tick."""

from __future__ import annotations

import pytest

from tests.scripts import benchmark

ros_latency = benchmark("ros_latency")


def tick(now: float, odometry: float, ms: float) -> dict[str, str]:
    return {"now": f"{now:.6f}", "tick_ms": f"{ms:.3f}", "stamps": f"odom_topic:{odometry:.6f},scan_topic:0.1"}


def test_a_command_is_counted_from_the_odometry_that_its_tick_decided_by():
    found = ros_latency.Found()
    ticks = [tick(10.001, 10.0, 0.8), tick(10.011, 10.01, 0.6), tick(10.021, 10.01, 0.6)]
    commands = [
        (10_002_000_000, 10.0017),
        (10_012_500_000, 10.0115),
        (10_022_500_000, 10.0215),  # by the same odometry again: nothing new was said
        (10_017_000_000, 10.0165),  # made in no tick that was heard of
    ]
    ros_latency.match(found, commands, ticks)
    assert found.latency == pytest.approx([2.0, 2.5], abs=1e-3) and found.tick == [0.8, 0.6]


def test_overhead_is_what_the_controller_takes_more_than_the_echo():
    echo = ros_latency.Found(latency=[1.0] * 100, sent=100)
    ours = ros_latency.Found(latency=[2.0] * 100, tick=[0.7] * 100, sent=100, ticks=99, missed=1)
    run = ros_latency.summarise("idle", 100.0, {"echo": echo, "state": ours, "timer": ours})
    assert run["state"]["overhead_ms"]["p99"] == pytest.approx(1.0)
    assert run["state"]["overhead_without_tick_ms"]["p99"] == pytest.approx(0.3)
    assert run["state"]["missed_share"] == pytest.approx(0.01) and run["echo"]["answered"] == 100
