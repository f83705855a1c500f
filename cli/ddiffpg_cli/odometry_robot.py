"""A robot played by hand, for tests and benchmarks: sends odometry, joints, scans and maps, sees what the controller
says and commands."""

from __future__ import annotations

import math
from collections.abc import Callable

from nav_msgs.msg import OccupancyGrid, Odometry
from sensor_msgs.msg import JointState, LaserScan
from std_msgs.msg import Float64MultiArray

from ddiffpg.messages_node import EVENTS, LATCHED, LATEST, SENSOR


class Robot:
    """Sends odometry while it waits, and what ``joints`` and ``tip`` (the end effector) say where there are any.

    ``observer`` (ddiffpg_cli.observer_node) has the node and hears the controller; ``commands`` are all that came
    for joints.
    """

    def __init__(self, observer) -> None:
        self.observer = observer
        node = observer.node
        self.odometry = node.create_publisher(Odometry, "odom", LATEST)
        self._joints = node.create_publisher(JointState, "joint_states", LATEST)
        self._tip = node.create_publisher(Odometry, "end_effector", LATEST)
        self.joints: JointState | None = None
        self.tip: Odometry | None = None
        self.commands: list[list[float]] = []
        for kind in ("effort", "position"):
            topic = f"forward_{kind}_controller/commands"
            node.create_subscription(Float64MultiArray, topic, lambda m: self.commands.append(list(m.data)), EVENTS)
        self._scan = node.create_publisher(LaserScan, "scan", SENSOR)
        self._map = node.create_publisher(OccupancyGrid, "map", LATCHED)
        self.message: Odometry | None = Odometry()
        self.message.header.frame_id = "odom"
        self.age = 0.0
        self.beside: list[Callable[[], None]] = []  # what else to send whenever odometry is

    def send(self) -> None:
        stamp = self.observer.node.get_clock().now().nanoseconds - int(self.age * 1e9)
        told = ((self.message, self.odometry), (self.joints, self._joints), (self.tip, self._tip))
        for message, publisher in told:
            if message is not None:
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
                publisher.publish(message)
        for say in self.beside:
            say()

    def turn(self, yaw: float) -> None:
        assert self.message is not None
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
