"""A ROS node that watches the controller and the simulated robot, drives by hand, and puts obstacles in their way.

For the demo and for tests: everything goes over the same topics and services that anyone can use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as NavPath
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from ddiffpg import messages_node as messages
from ddiffpg.messages_node import EVENTS, LATCHED, LATEST, SENSOR

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}
CUBE, CYLINDER = Marker.CUBE, Marker.CYLINDER


class NotSeen(TimeoutError):
    """What was waited for did not come."""


def values_of(message: DiagnosticStatus) -> dict[str, str]:
    """The key-value pairs of a status."""
    return {pair.key: pair.value for pair in message.values}


class Observer:
    """Spins its own node in its own context. ``alive`` is called while waiting, and may raise."""

    def __init__(self, alive: Callable[[], None] = lambda: None, domain_id: int | None = None) -> None:
        self._alive = alive
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self.node = Node("observer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.controller: dict[str, str] = {}
        self.robot: dict[str, str] = {}
        self.way: list[tuple[float, float]] = []
        self.odom: Odometry | None = None
        self.command: TwistStamped | None = None
        self._listeners: list[Callable[[str, Any], None]] = []
        self._subscribe()
        self._obstacles = self.node.create_publisher(MarkerArray, "obstacles", EVENTS)
        self._teleop = self.node.create_publisher(TwistStamped, "teleop/cmd_vel", SENSOR)
        self._clients: dict[str, Any] = {}

    def listen(self, listener: Callable[[str, Any], None]) -> None:
        """``listener(topic, message)`` is called for every message from now on, in order of arrival."""
        self._listeners.append(listener)

    def _subscribe(self) -> None:
        for kind, topic, qos, take in (
            (DiagnosticStatus, "controller/status", LATEST, self._take_controller),
            (DiagnosticStatus, "sim_robot/status", LATEST, self._take_robot),
            (NavPath, "controller/path", LATCHED, self._take_path),
            (Odometry, "odom", LATEST, self._take_odom),
            (TwistStamped, "cmd_vel", EVENTS, self._take_command),
        ):
            self.node.create_subscription(kind, topic, self._receiver(topic, take), qos)

    def _receiver(self, topic: str, take: Callable[[Any], None]) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            take(message)
            for listener in self._listeners:
                listener(topic, message)

        return receive

    def _take_controller(self, message: DiagnosticStatus) -> None:
        self.controller = values_of(message)

    def _take_robot(self, message: DiagnosticStatus) -> None:
        self.robot = values_of(message)

    def _take_path(self, message: NavPath) -> None:
        self.way = [(p.pose.position.x, p.pose.position.y) for p in message.poses]

    def _take_odom(self, message: Odometry) -> None:
        self.odom = message

    def _take_command(self, message: TwistStamped) -> None:
        self.command = message

    # ---- waiting -----------------------------------------------------------------------------------

    def wait(self, what: str, condition: Callable[[], Any], timeout: float = 20.0) -> Any:
        """Spin until ``condition()`` is true and return it. NotSeen, with the last states, after ``timeout`` s."""
        deadline = time.monotonic() + timeout
        while True:
            result = condition()
            if result:
                return result
            if time.monotonic() > deadline:
                raise NotSeen(f"{what}: not seen in {timeout:g} s; controller {self.controller}, robot {self.robot}")
            self._alive()
            self.spin(0.05)

    def spin(self, seconds: float) -> None:
        """Take in what comes, for at most ``seconds`` until the first message."""
        self._executor.spin_once(timeout_sec=seconds)

    def settle(self, seconds: float) -> None:
        """Take in everything for ``seconds``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.spin(left)

    def heard(self, publishers: Sequence[str], timeout: float = 20.0) -> None:
        """Wait until each topic has somebody who publishes, and obstacles have somebody who listens."""
        for topic in publishers:
            self.wait(f"a publisher of {topic}", lambda t=topic: self.node.count_publishers(t), timeout)

    def listeners(self, topic: str, count: int, timeout: float = 20.0) -> None:
        """Wait until ``count`` nodes, this one too, listen to a topic."""
        self.wait(f"listeners of {topic}", lambda: self.node.count_subscribers(topic) >= count, timeout)

    def obstacle_listeners(self, count: int, timeout: float = 20.0) -> None:
        """Wait until ``count`` nodes take obstacles from us."""
        self.wait("obstacle listeners", lambda: self._obstacles.get_subscription_count() >= count, timeout)

    def teleop_listeners(self, count: int, timeout: float = 20.0) -> None:
        """Wait until ``count`` nodes take a human's commands from us."""
        self.wait("teleop listeners", lambda: self._teleop.get_subscription_count() >= count, timeout)

    # ---- acting ------------------------------------------------------------------------------------

    def call(self, kind: Any, service: str, request: Any, timeout: float = 20.0) -> Any:
        """The service's response."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        self.wait(f"service {service}", client.service_is_ready, timeout)
        future = client.call_async(request)
        self.wait(f"answer of {service}", future.done, timeout)
        return future.result()

    def lifecycle_state(self) -> str:
        return self.call(GetState, "controller/get_state", GetState.Request()).current_state.label

    def transition(self, name: str) -> bool:
        """Ask the controller to configure, activate, deactivate or clean up; did it?"""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        return self.call(ChangeState, "controller/change_state", request).success

    def set_parameter(self, node: str, name: str, value: Any) -> tuple[bool, str]:
        """Was it accepted, and the reason where it was not."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = self.call(SetParameters, f"{node}/set_parameters", request).results[0]
        return result.successful, result.reason

    def reset(self) -> str:
        """Begin a new episode of the simulated robot; returns its number."""
        episode = self.call(Trigger, "sim_robot/reset", Trigger.Request()).message.split()[-1]
        self.wait(f"episode {episode}", lambda: self.robot.get("episode") == episode)
        return episode

    def drive(self, velocity: Sequence[float] | np.ndarray) -> None:
        """A human's command: ``velocity`` (x, y) in m/s, in the odometry frame."""
        linear, stamp = np.array([*velocity, 0.0], float), self.node.get_clock().now().to_msg()
        self._teleop.publish(messages.twist(stamp, "odom", linear, np.zeros(3)))

    def put(
        self, number: int, center: Sequence[float], size: Sequence[float], kind: int = CUBE, yaw: float = 0.0
    ) -> None:
        """Publish an obstacle at ``center`` (x, y) with full ``size`` (x, y, z), in metres, turned by ``yaw`` (rad)."""
        marker = Marker(ns="observer", id=number, type=kind, action=Marker.ADD)
        marker.header.frame_id = "odom"
        position, q, scale = marker.pose.position, marker.pose.orientation, marker.scale
        position.x, position.y, position.z = float(center[0]), float(center[1]), float(size[2]) / 2
        q.w, q.z = math.cos(yaw / 2), math.sin(yaw / 2)
        scale.x, scale.y, scale.z = map(float, size)
        marker.color.r, marker.color.a = 0.8, 0.9
        self.publish(marker)

    def remove(self, number: int) -> None:
        self.publish(Marker(ns="observer", id=number, action=Marker.DELETE))

    def clear_obstacles(self) -> None:
        self.publish(Marker(action=Marker.DELETEALL))

    def publish(self, *markers: Marker) -> None:
        self._obstacles.publish(MarkerArray(markers=list(markers)))

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)
