"""The simulated robot over DDS: it moves by commands, stops without them, sees and touches what markers put in."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import LaserScan
from visualization_msgs.msg import Marker

from ddiffpg.messages_node import LATEST, SENSOR


class Driver:
    """Sends a velocity, again and again while waiting; keeps the last scan."""

    def __init__(self, observer) -> None:
        self.observer = observer
        self._publisher = observer.node.create_publisher(TwistStamped, "cmd_vel", LATEST)
        self.scan: LaserScan | None = None
        observer.node.create_subscription(LaserScan, "scan", self._take, SENSOR)

    def _take(self, message: LaserScan) -> None:
        self.scan = message

    def send(self, x: float, y: float) -> None:
        message = TwistStamped()
        message.twist.linear.x, message.twist.linear.y = x, y
        self._publisher.publish(message)

    def drive(self, x: float, y: float, until) -> None:
        """Keep sending (x, y) m/s until the condition holds."""

        def condition():
            self.send(x, y)
            return until()

        self.observer.wait(f"what ({x}, {y}) m/s leads to", condition)

    @property
    def position(self) -> tuple[float, float]:
        point = self.observer.odom.pose.pose.position
        return point.x, point.y

    @property
    def speed(self) -> float:
        v = self.observer.odom.twist.twist.linear
        return math.hypot(v.x, v.y)


@pytest.fixture
def robot(nodes, observer):
    """Seed 3 of pointmaze-v1 with a driver; everyone has found everyone."""
    nodes.start("ddiffpg_sim.sim_robot_node", seed=3, command_timeout=0.3)
    driver = Driver(observer)
    observer.wait("odometry, status and scan", lambda: observer.odom and observer.robot and driver.scan)
    observer.wait("the robot's ear", lambda: driver._publisher.get_subscription_count())
    observer.obstacle_listeners(1)
    return driver


def test_it_moves_as_told_and_stops_when_nobody_tells_it(robot):
    robot.drive(0.0, -0.5, until=lambda: robot.position[1] < -0.5)
    assert abs(robot.position[0]) < 0.2
    robot.observer.wait("the watchdog", lambda: "stale" in robot.observer.robot["command"])
    robot.observer.wait("standstill", lambda: robot.speed < 0.01)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_command_that_is_not_finite_stops_it(robot, bad):
    robot.drive(0.0, -0.5, until=lambda: robot.speed > 0.4)
    robot.drive(bad, 0.0, until=lambda: "not finite" in robot.observer.robot["command"])
    robot.drive(bad, 0.0, until=lambda: robot.speed < 0.01)
    robot.drive(0.0, 0.5, until=lambda: robot.speed > 0.4)


def test_obstacles_come_move_and_go_in_its_scan(robot):
    observer = robot.observer

    def nearest() -> float:
        return min(robot.scan.ranges)

    observer.wait("the walls", lambda: nearest() > 0.35)
    observer.put(1, (robot.position[0], robot.position[1] - 0.35), (0.3, 0.3, 0.5))
    observer.wait("the box", lambda: nearest() == pytest.approx(0.2, abs=0.03))
    observer.put(1, (robot.position[0], robot.position[1] - 0.45), (0.3, 0.3, 0.5))
    observer.wait("the box further off", lambda: nearest() == pytest.approx(0.3, abs=0.03))
    observer.remove(1)
    observer.wait("the box gone", lambda: nearest() > 0.35)
    assert observer.robot["collided"] == "False"


def test_an_obstacle_ends_with_its_lifetime_and_all_with_deleteall(robot):
    observer = robot.observer
    marker = Marker(ns="t", id=1, type=Marker.CYLINDER, lifetime=Duration(nanosec=300_000_000))
    marker.scale.x = marker.scale.y = marker.scale.z = 0.2
    marker.pose.position.x = -1.0
    observer.publish(marker)
    observer.wait("the cylinder", lambda: observer.robot["obstacles"] == "1")
    observer.wait("its end", lambda: observer.robot["obstacles"] == "0")
    observer.put(1, (-1, 0), (0.1, 0.1, 0.1))
    observer.put(2, (-1, 1), (0.1, 0.1, 0.1), kind=Marker.CYLINDER)
    observer.wait("two", lambda: observer.robot["obstacles"] == "2")
    observer.clear_obstacles()
    observer.wait("none", lambda: observer.robot["obstacles"] == "0")


def test_touching_an_obstacle_is_remembered_until_the_reset(robot):
    observer = robot.observer
    observer.put(1, (0.0, -0.8), (1.0, 0.4, 0.5))
    observer.wait("the box", lambda: observer.robot["obstacles"] == "1")
    robot.drive(0.0, -1.0, until=lambda: observer.robot["collided"] == "True")
    assert observer.reset() == "1"
    assert observer.robot["collided"] == "False"
    observer.wait("the start", lambda: math.hypot(*robot.position) < 0.15 and robot.speed < 0.01)


def test_the_goal_is_noticed(robot):
    for corner in ((0.0, -1.0), (-2.0, -1.0), (-2.0, 0.0)):
        dx, dy = (c - p for c, p in zip(corner, robot.position))
        speed = 1.0 / max(abs(dx), abs(dy))
        robot.drive(speed * dx, speed * dy, until=lambda c=corner: math.dist(robot.position, c) < 0.25)
    robot.drive(0.0, 0.0, until=lambda: robot.observer.robot["success"] == "True")


def test_a_marker_that_cannot_be_read_is_reported(robot):
    observer = robot.observer
    seen = []
    observer.listen(lambda topic, message: seen.append(message) if topic == "sim_robot/status" else None)
    observer.publish(Marker(ns="t", id=1, type=Marker.CUBE))
    observer.wait("the fault", lambda: seen and "scale" in seen[-1].message)


def test_an_unknown_task_is_refused_by_name(nodes):
    node = nodes.start("ddiffpg_sim.sim_robot_node", task="pointmaze-v9")
    assert node.wait() == 1
    assert "pointmaze-v9" in node.output() and "pointmaze-v1" in node.output()


def test_an_unknown_parameter_is_refused_by_name(nodes):
    node = nodes.start("ddiffpg_sim.sim_robot_node", sede=3)
    assert node.wait() == 1
    assert "sede" in node.output() and "seed" in node.output()


@pytest.mark.parametrize("executor", ["single", "events"])
def test_it_ends_in_order(nodes, observer, executor):
    if executor == "events":
        pytest.importorskip("rclpy.experimental", reason="this ROS has no EventsExecutor")
    node = nodes.start("ddiffpg_sim.sim_robot_node", executor=executor)
    observer.wait("odometry", lambda: observer.odom)
    assert node.end() == 0
    assert "Traceback" not in node.output()
