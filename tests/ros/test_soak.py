"""The soak's script does what it says, in a small way."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

from ddiffpg.policy import Policy
from ddiffpg_cli.shipped import shipped_policy
from tests.scripts import benchmark


def test_what_a_straight_line_gains_in_an_hour():
    soak = benchmark("soak")
    assert soak.slope_per_hour([5.0] * 30) == pytest.approx(0.0, abs=1e-9)
    assert soak.slope_per_hour([9.0, 9.0, *(2.0 + 0.1 * i for i in range(2, 20))]) == pytest.approx(6.0)


def test_ticks_are_counted_by_minute(monkeypatch):
    soak = benchmark("soak")
    monkeypatch.setattr(soak, "MINUTE", 100)
    found = soak.soak(Policy.load(shipped_policy("pointmaze-v1")), 300, seed=0)
    assert found["ticks"] == 300
    assert all(len(values) == 3 and min(values) > 0 for values in found["by_minute"].values())


def test_up_and_down_in_one_process_leaves_no_threads_behind(tmp_path):
    found = benchmark("soak").up_and_down(shipped_policy("pointmaze-v1"), 4, tmp_path)
    assert found["exit_code"] == 0 and found["threads"]["at_the_end"] == found["threads"]["after_the_first"]
