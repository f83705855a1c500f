"""The controller node in a process of its own, fed and watched over DDS: lifecycle, parameters, bad input, stops."""

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
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid, Odometry
from sensor_msgs.msg import LaserScan
from std_srvs.srv import SetBool
from visualization_msgs.msg import Marker, MarkerArray

from ddiffpg.contract import METADATA_KEY
from ddiffpg.messages_node import EVENTS, LATCHED, LATEST, SENSOR

CONTROLLER = "ddiffpg.controller_node"


class Robot:
    """The test as the robot: sends odometry while it waits, and sees what is commanded."""

    def __init__(self, observer) -> None:
        self.observer = observer
        node = observer.node
        self._odometry = node.create_publisher(Odometry, "odom", LATEST)
        self._scan = node.create_publisher(LaserScan, "scan", SENSOR)
        self._map = node.create_publisher(OccupancyGrid, "map", LATCHED)
        self.message = Odometry()
        self.message.header.frame_id = "odom"
        self.age = 0.0

    def send(self) -> None:
        stamp = self.observer.node.get_clock().now().nanoseconds - int(self.age * 1e9)
        self.message.header.stamp.sec, self.message.header.stamp.nanosec = divmod(stamp, 10**9)
        self._odometry.publish(self.message)

    def turn(self, yaw: float) -> None:
        q = self.message.pose.pose.orientation
        q.w, q.z = math.cos(yaw / 2), math.sin(yaw / 2)

    def scan(self, ranges: list[float]) -> None:
        message = LaserScan(angle_increment=0.1, range_max=5.0, ranges=ranges)
        message.header.stamp = self.observer.node.get_clock().now().to_msg()
        self._scan.publish(message)

    def map(self, frame: str, data: list[int]) -> None:
        message = OccupancyGrid(data=data)
        message.header.frame_id = frame
        message.info.width, message.info.height, message.info.resolution = 1, 1, 0.05
        self._map.publish(message)

    def until(self, state: str, reason: str = "", sending: bool = True, **said: str) -> None:
        """Send odometry until the controller is in ``state`` for a ``reason``, and says what else is given."""

        def condition() -> bool:
            if sending:
                self.send()
            now = self.observer.controller
            text = f"{now.get('reason')} {now.get('faults')}"
            return now.get("state") == state and reason in text and said.items() <= now.items()

        self.observer.wait(f"{state} ({reason}) {said}", condition)

    def stands(self) -> None:
        """Wait until the command is zero."""
        self.observer.wait("a command of zero", lambda: self.speed == 0.0)

    @property
    def speed(self) -> float:
        """m/s, as last commanded; NaN before the first command."""
        if self.observer.command is None:
            return math.nan
        v = self.observer.command.twist.linear
        return math.hypot(v.x, v.y)


@pytest.fixture
def robot(observer) -> Robot:
    return Robot(observer)


@pytest.fixture
def driving(nodes, robot, field_policy):
    """The controller's process, driving."""
    process = nodes.start(CONTROLLER, policy=str(field_policy), autostart=True)
    robot.until("DRIVE")
    robot.observer.wait("speed", lambda: robot.send() or robot.speed > 0.5)
    return process


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


# ---- input -----------------------------------------------------------------------------------------------------


def test_without_odometry_it_holds(nodes, robot, field_policy):
    nodes.start(CONTROLLER, policy=str(field_policy), autostart=True)
    robot.until("HOLD", "no state", sending=False)
    robot.stands()


def test_odometry_that_stops_stops_the_robot_and_it_goes_on_when_it_comes_back(driving, robot):
    robot.until("HOLD", "state", sending=False)
    robot.stands()
    robot.until("DRIVE")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda r: setattr(r.message.pose.pose.position, "x", math.nan), "odom.position.x"),
        (lambda r: setattr(r.message.twist.twist.linear, "y", math.inf), "odom.linear_velocity"),
        (lambda r: setattr(r.message.pose.pose.orientation, "w", 0.0), "odom.linear_velocity.x"),
        (lambda r: setattr(r.message.header, "frame_id", "moon"), "moon"),
        (lambda r: setattr(r, "age", 5.0), "state"),
        (lambda r: setattr(r, "age", -5.0), "state"),
    ],
    ids=["position NaN", "velocity inf", "no orientation", "other frame", "old", "from the future"],
)
def test_bad_odometry_stops_the_robot_and_good_odometry_lets_it_go_on(driving, robot, spoil, says):
    good, robot.message = robot.message, Odometry()
    robot.message.header.frame_id = "odom"
    spoil(robot)
    robot.until("HOLD", says)
    robot.stands()
    robot.message, robot.age = good, 0.0
    robot.until("DRIVE")


def test_a_scanner_that_goes_blind_stops_the_robot(driving, robot):
    robot.scan([5.0] * 60)
    robot.until("DRIVE")
    robot.until("HOLD", "obstacles")
    robot.scan([math.nan] * 60)
    robot.until("HOLD", "beams are NaN")
    robot.stands()


@pytest.mark.parametrize(("frame", "data"), [("moon", [100]), ("odom", [])])
def test_a_map_that_cannot_be_used_stops_the_robot(driving, robot, frame, data):
    robot.map(frame, data)
    robot.until("HOLD", "map refused")
    robot.stands()
    robot.map("odom", [0])
    robot.until("DRIVE", faults="")


def test_an_obstacle_that_cannot_be_read_stops_the_robot_until_it_is_taken_back(driving, robot):
    observer = robot.observer
    observer.obstacle_listeners(1)
    bad = Marker(ns="t", id=1, type=Marker.CUBE)
    bad.pose.position.x = math.nan
    observer.publish(bad)
    robot.until("HOLD", "'t'/1")
    robot.stands()
    observer.publish(Marker(ns="t", id=1, action=Marker.DELETE))
    robot.until("DRIVE", faults="")


def test_every_way_blocked_is_a_state_of_its_own_and_ends_when_one_opens(driving, robot):
    observer = robot.observer
    observer.obstacle_listeners(1)
    observer.put(1, (0.0, -1.0), (0.9, 0.4, 0.5))
    observer.put(2, (0.0, 1.0), (0.9, 0.4, 0.5))
    robot.until("NO_WAY", mode="-1", free_modes="", obstacles="2")
    robot.stands()
    observer.remove(2)
    robot.until("DRIVE", free_modes="1")


def test_not_enabled_is_off(driving, robot):
    call = robot.observer.call
    assert call(SetBool, "controller/enable", SetBool.Request(data=False)).success
    robot.until("OFF", "not enabled")
    robot.stands()
    assert call(SetBool, "controller/enable", SetBool.Request(data=True)).success
    robot.until("DRIVE")


# ---- output ----------------------------------------------------------------------------------------------------


def test_the_command_is_in_the_robots_own_frame(driving, robot):
    """Facing along y, the robot must go the other way round to move along -y: straight back."""
    robot.turn(math.pi / 2)
    observer = robot.observer

    def both():
        robot.send()
        action = [float(a) for a in observer.controller["action"].split(",")]
        v = observer.command.twist.linear
        return abs(action[1]) > 0.9 and v.x == pytest.approx(action[1], abs=0.01) and abs(v.y + action[0]) < 0.01

    observer.wait("the turned command", both)
    assert observer.command.header.frame_id == "base_link"


def test_it_publishes_the_way_its_markers_and_its_latency(driving, robot):
    observer = robot.observer
    heard: dict[str, object] = {}
    node = observer.node
    node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: heard.update(diagnostics=m), EVENTS)
    node.create_subscription(MarkerArray, "controller/markers", lambda m: heard.update(markers=m), LATEST)
    observer.wait("all of it", lambda: robot.send() or (observer.way and len(heard) == 2))
    assert math.dist(observer.way[-1], (-2.0, 0.0)) < 0.01
    spaces = {marker.ns for marker in heard["markers"].markers}
    assert {"modes", "chosen_way"} <= spaces
    latency = heard["diagnostics"].status[0]
    keys = {pair.key for pair in latency.values}
    assert {"ticks", "missed_deadlines", "policy p50/p99/max ms", "all p50/p99/max ms"} <= keys
