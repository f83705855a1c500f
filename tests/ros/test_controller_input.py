"""The controller node in a process of its own, fed and watched over DDS: bad input, obstacles, what it publishes."""

from __future__ import annotations

import math
from time import sleep

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onnx", reason="onnx (extra export) is needed to make policy files")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool
from visualization_msgs.msg import Marker, MarkerArray

from ddiffpg.messages_node import EVENTS, LATEST

CONTROLLER = "ddiffpg.controller_node"


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


def test_a_clock_that_goes_back_is_noticed_and_it_goes_on(nodes, robot, field_policy):
    """In simulated time, as when a recording is played again."""
    observer, time = robot.observer, {"now": 100.0}
    clock = observer.node.create_publisher(Clock, "/clock", LATEST)
    reasons: list[str] = []
    observer.listen(lambda topic, _: reasons.append(observer.controller["reason"]) if "status" in topic else None)
    nodes.start(CONTROLLER, policy=str(field_policy), autostart=True, use_sim_time=True)

    def until(condition) -> None:
        def step() -> bool:
            time["now"] += 0.02
            stamp = Time(sec=int(time["now"]), nanosec=int(time["now"] % 1 * 1e9))
            clock.publish(Clock(clock=stamp))
            robot.message.header.stamp = stamp
            robot.odometry.publish(robot.message)
            sleep(0.002)  # ten times real time: on a busy machine the 50 s must not pass before they are noticed
            return condition()

        observer.wait("simulated time", step)

    until(lambda: observer.controller.get("state") == "DRIVE")
    time["now"] -= 50.0
    until(lambda: any("went back" in reason for reason in reasons))
    until(lambda: observer.controller["state"] == "DRIVE")


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
