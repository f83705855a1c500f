"""The least that any node in Python does: answers each odometry message with a command. For ros_latency.py."""

from __future__ import annotations

import sys
from typing import Any

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import LaserScan

from ddiffpg.messages_node import LATEST, SENSOR
from ddiffpg.run_node import run


class Echo(Node):
    """The controller's message types and qualities of service, and nothing else. Commands bear the odometry's stamp."""

    def __init__(self) -> None:
        super().__init__("echo")
        self.executor_name: str = self.declare_parameter("executor", "single").value or "single"
        self._publisher = self.create_publisher(TwistStamped, "cmd_vel", LATEST)
        self.create_subscription(Odometry, "odom", self._answer, SENSOR)
        self.create_subscription(LaserScan, "scan", lambda message: None, SENSOR)

    def _answer(self, message: Any) -> None:
        command = TwistStamped()
        command.header.stamp = message.header.stamp
        self._publisher.publish(command)

    def exit_code(self) -> int | None:
        return None

    def close(self) -> None:
        pass


if __name__ == "__main__":
    sys.exit(run(Echo))
