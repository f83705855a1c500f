"""The policy that ships, over ROS against a robot in another process that is not as its model; and what it warns of."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

from ddiffpg.contract import Margins
from ddiffpg.policy import Policy
from ddiffpg_cli.observer_node import Observer
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_export.onnx_export import add_margins
from tests.scripts import benchmark


def test_it_arrives_by_every_mode_directly_and_over_ros(tmp_path: Path) -> None:
    script = benchmark("sim_to_sim")
    policy, robot = shipped_policy("pointmaze-v1"), script.ROBOTS["another"]
    both = {0: [True], 1: [True]}
    assert script.direct(Policy.load(policy), robot, 1, seed=0) == both
    assert script.over_ros(policy, robot, 1, 0, tmp_path) == both
    assert script.share({0: [True, False], 1: [True, True]}) == 0.75


def test_a_node_outside_of_the_margins_warns_or_holds(tmp_path: Path) -> None:
    """The robot is slower than the policy was accepted for, which the operator has said."""
    script, policy = benchmark("sim_to_sim"), tmp_path / "p.onnx"
    margins = Margins(0.9, delay=0.4, rate_low=5.0, rate_high=20.0, noise=(0.1,) * 4)
    add_margins(shipped_policy("pointmaze-v1"), policy, margins, {})
    with script.pair(policy, script.ROBOTS["as its model"], 0, tmp_path) as observer:
        set_anew(observer, "robot_delay", 0.5)
        observer.wait("the warning", lambda: "the policy holds up to 0.4 s" in observer.controller.get("faults", ""))
        assert observer.controller["state"] != "HOLD"
        set_anew(observer, "margins_hold", True)
        observer.reset()
        observer.wait("the hold", lambda: "the policy holds up to 0.4 s" in observer.controller["reason"])
        assert observer.controller["state"] == "HOLD"


def set_anew(observer: Observer, name: str, value: object) -> None:
    """A parameter of the controller, which must not be active for that."""
    observer.transition("deactivate")
    assert observer.set_parameter("controller", name, value) == (True, "")
    assert observer.transition("activate")
