"""The controller node in a process of its own: lifecycle, stops, what it refuses, parameters while it runs."""

from __future__ import annotations

import json
import math
import signal
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onnx", reason="onnx (extra export) is needed to make policy files")

import onnx

from ddiffpg.contract import METADATA_KEY

CONTROLLER = "ddiffpg.controller_node"


# ---- lifecycle ------------------------------------------------------------------------------------------


def test_it_goes_through_its_lifecycle_again_and_again(nodes, robot, field_policy):
    observer = robot.observer
    nodes.start(CONTROLLER, policy=str(field_policy))
    assert observer.lifecycle_state() == "unconfigured"
    for _ in range(5):
        assert observer.transition("configure") and observer.lifecycle_state() == "inactive"
        assert observer.transition("activate") and observer.lifecycle_state() == "active"
        robot.until("DRIVE")
        assert observer.transition("deactivate") and observer.lifecycle_state() == "inactive"
        robot.stands()
        assert observer.transition("cleanup") and observer.lifecycle_state() == "unconfigured"
    nodes.check()


def test_an_illegal_transition_is_refused_and_harms_nothing(nodes, robot, field_policy):
    observer = robot.observer
    nodes.start(CONTROLLER, policy=str(field_policy))
    assert not observer.transition("activate")
    assert observer.transition("configure")
    assert not observer.transition("configure")
    assert not observer.transition("deactivate")
    assert observer.lifecycle_state() == "inactive"
    assert observer.transition("activate")
    robot.until("DRIVE")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_robot_and_ends_the_process_in_order(driving, robot, number):
    driving.send(number)
    assert driving.wait() == 0
    robot.stands()
    assert "Traceback" not in driving.output()


def test_the_events_executor_serves_as_well(nodes, robot, field_policy):
    pytest.importorskip("rclpy.experimental", reason="this ROS has no EventsExecutor")
    process = nodes.start(CONTROLLER, policy=str(field_policy), autostart=True, executor="events")
    robot.until("DRIVE")
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    robot.stands()


def test_signals_that_keep_coming_do_not_disturb_the_stop(driving, robot):
    for _ in range(5):
        driving.send(signal.SIGINT)
    assert driving.wait() == 0
    robot.stands()


def test_an_exception_in_the_tick_stops_the_robot_and_leaves_an_error(nodes, robot, field_policy, monkeypatch):
    observer = robot.observer
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert str(Path(__file__).parent) in sys.path
    process = nodes.start("faulty_controller", policy=str(field_policy), autostart=True)
    seen = []
    observer.listen(lambda topic, message: seen.append(message) if topic == "controller/status" else None)
    robot.until("FAULT", "out of order")
    assert seen[-1].level == b"\x02"
    robot.stands()
    assert observer.lifecycle_state() == "unconfigured"
    assert process.returncode is None and "out of order" in process.output()
    commands = []
    observer.listen(lambda topic, message: commands.append(message) if topic == "cmd_vel" else None)
    observer.settle(0.5)
    assert not commands


# ---- what it refuses to serve -----------------------------------------------------------------------------


def changed_policy(source: Path, target: Path, change) -> Path:
    """A copy of the policy file with its contract (as plain JSON) changed."""
    model = onnx.load(str(source))
    contract = json.loads(next(p.value for p in model.metadata_props if p.key == METADATA_KEY))
    change(contract)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(contract)})
    onnx.save(model, str(target))
    return target


CHANGES = {
    "version": lambda c: c.update(version=99),
    "observation": lambda c: c["observation"].pop(),
    "noise_dim": lambda c: c.update(noise_dim=7),
    "action_kind": lambda c: c.update(action_kind="dance"),
    "modes[0].path": lambda c: c["modes"][0].update(path=[]),
    "rate_hz": lambda c: c.update(rate_hz=0.0),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_policy_that_does_not_fit_is_refused_by_field(nodes, observer, field_policy, tmp_path, field):
    bad = changed_policy(field_policy, tmp_path / "bad.onnx", CHANGES[field])
    process = nodes.start(CONTROLLER, policy=str(bad))
    assert not observer.transition("configure")
    assert observer.lifecycle_state() == "unconfigured"
    assert f"'{field}'" in process.output(), process.output()
    assert observer.set_parameter("controller", "policy", str(field_policy))[0]
    assert observer.transition("configure")


def test_a_truncated_policy_is_refused(nodes, field_policy, tmp_path):
    short = tmp_path / "short.onnx"
    short.write_bytes(field_policy.read_bytes()[:1000])
    process = nodes.start(CONTROLLER, policy=str(short), autostart=True)
    assert process.wait() == 1
    assert "short.onnx" in process.output()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"policy": "nowhere.onnx"}, "nowhere.onnx"),
        ({"provider": "AbacusExecutionProvider"}, "AbacusExecutionProvider"),
        ({"mode": 7}, "[0, 1]"),
        ({"margin": -1.0}, "margin"),
        ({"margin": 0.01}, "stop_margin"),
        ({"scan_pose": [0.0, 0.0]}, "scan_pose"),
        ({"stamps": "sundial"}, "sundial"),
        ({"rat": 10.0}, "'rat'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_start_values_that_cannot_be_end_the_process_and_say_why(nodes, field_policy, parameters, says):
    process = nodes.start(CONTROLLER, **{"policy": str(field_policy), "autostart": True, **parameters})
    assert process.wait() == 1
    assert says in process.output(), process.output()


# ---- parameters while it runs --------------------------------------------------------------------------------


def test_the_mode_can_be_forced_and_an_unknown_one_is_vetoed(driving, robot):
    observer = robot.observer
    for mode in (1, 0):
        assert observer.set_parameter("controller", "mode", mode) == (True, "")
        robot.until("DRIVE", f"mode {mode} is asked for", mode=str(mode))
    accepted, reason = observer.set_parameter("controller", "mode", 7)
    assert not accepted and "7" in reason and "[0, 1]" in reason
    assert observer.set_parameter("controller", "mode", -1)[0]
    robot.until("DRIVE", mode_asked="-1")


def test_what_is_fixed_is_vetoed_while_it_is(driving, robot):
    observer = robot.observer
    for name, value in (("margin", 0.2), ("odom_topic", "elsewhere"), ("policy", "other.onnx")):
        accepted, reason = observer.set_parameter("controller", name, value)
        assert not accepted and name in reason and "while the node is" in reason
    assert observer.transition("deactivate")
    assert observer.set_parameter("controller", "margin", 0.2)[0]
    assert not observer.set_parameter("controller", "odom_topic", "elsewhere")[0]
    assert observer.transition("activate")
    robot.until("DRIVE")


@pytest.mark.parametrize(("name", "value"), [("max_speed", -1.0), ("max_speed", math.nan), ("dwell", "long")])
def test_values_out_of_range_are_vetoed(nodes, observer, field_policy, name, value):
    nodes.start(CONTROLLER, policy=str(field_policy))
    assert not observer.set_parameter("controller", name, value)[0]
