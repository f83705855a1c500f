"""What faults are brought about with: a robot and a human played by hand, or a pair of node processes."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker

from ddiffpg.messages_node import SENSOR
from ddiffpg.readings import seconds
from ddiffpg_cli.observer_node import Observer, values_of
from ddiffpg_cli.odometry_robot import Robot

DEADMAN = 0  # button
BEAT = 0.02  # s between the rig's messages
START = 60.0  # s that a process may take to start on a busy machine
LATE = 0.12  # s by which a message that is overtaken comes late
STANDS = 0.02  # m/s
# Of a controller that a FedRig feeds: its robot stands whatever is sent, and no way is to be given up for that.
PATIENT = {"progress_time": 600.0}  # s


@dataclass(frozen=True)
class Outcome:
    """Seconds from when a fault was brought about until the status said it, and until the robot was told to stand
    (for a pair: until it stood); None where neither is to be expected."""

    noticed: float | None
    stopped: float | None


class FedRig:
    """Feeds a controller of the first maze, a PATIENT one, with a robot that stands at its start, and a human, all by
    hand."""

    def __init__(self, observer: Observer) -> None:
        self.observer, self.robot = observer, Robot(observer)
        node = observer.node
        self._teleop = node.create_publisher(TwistStamped, "teleop/cmd_vel", SENSOR)
        self._joy = node.create_publisher(Joy, "joy", SENSOR)
        self._e_stop = node.create_publisher(Bool, "e_stop", SENSOR)
        self.human: tuple[float, float] | None = None  # m/s
        self.pressed: bool | None = None  # the dead man's switch
        self.e_stop: bool | None = None
        self.scan: list[float] | None = None
        self.feed: Callable[[], None] = self.robot.send  # how odometry is sent
        self.statuses: list[tuple[float, dict[str, str]]] = []
        self.speeds: list[tuple[float, float]] = []
        observer.listen(self._hear)
        self._last = 0.0
        self._clock = node.create_timer(BEAT, self.beat)

    def beat(self) -> None:
        """Send everything that is being sent."""
        self._last = time.monotonic()
        self.feed()
        stamp = self.observer.node.get_clock().now().to_msg()
        if self.scan is not None:
            self.robot.scan(self.scan)
        if self.human is not None:
            message = TwistStamped()
            message.header.stamp = stamp
            message.twist.linear.x, message.twist.linear.y = self.human
            self._teleop.publish(message)
        if self.pressed is not None:
            joy = Joy(buttons=[int(self.pressed)])
            joy.header.stamp = stamp
            self._joy.publish(joy)
        if self.e_stop is not None:
            self._e_stop.publish(Bool(data=self.e_stop))

    def _hear(self, topic: str, message: Any) -> None:
        now = time.monotonic()
        if topic == "controller/status":
            self.statuses.append((now, values_of(message)))
        elif topic == "cmd_vel":
            v = message.twist.linear
            self.speeds.append((now, math.hypot(v.x, v.y)))

    # ---- the course of a fault --------------------------------------------------------------------

    def drive(self) -> None:
        """Wait until the policy, or a human where one does something, drives at speed."""
        state = "TELEOP" if self.human is not None else "DRIVE"
        wait = self.observer.wait
        said = self.observer
        wait(state, lambda: said.controller.get("state") == state and not said.controller["faults"], START)
        if self.human != (0.0, 0.0):
            wait("speed", lambda: self.speeds and self.speeds[-1][1] > 0.3)

    def suffer(self, strike: Callable[[FedRig], None], state: str, reason: str) -> Outcome:
        """Bring a fault about and wait until it is said and the robot is told to stand."""
        strike(self)
        began = self._last  # what was sent last was good
        self.statuses.clear()
        self.speeds.clear()
        heard = self.observer.wait(f"{state} ({reason})", lambda: self._said(state, reason))
        if state == "DRIVE":
            return Outcome(heard - began, None)
        stands = self.observer.wait("a command of zero", lambda: next((t for t, v in self.speeds if v == 0.0), None))
        return Outcome(heard - began, stands - began)

    def endure(self, strike: Callable[[FedRig], None], seconds: float = 1.0) -> bool:
        """Bring about what must do no harm: did the policy drive on, and time not go back in what it went by?"""
        strike(self)
        self.statuses.clear()
        self.speeds.clear()
        end = time.monotonic() + seconds
        self.observer.wait("the end", lambda: time.monotonic() > end and len(self.statuses) > 2)
        stamps = [float(said["stamps"].split("odom_topic:")[1].split(",")[0]) for _, said in self.statuses]
        drives = all(said["state"] == "DRIVE" for _, said in self.statuses)
        return drives and stamps == sorted(stamps) and min(v for _, v in self.speeds) > 0.3

    def _said(self, state: str, reason: str) -> float | None:
        for at, said in self.statuses:
            if said["state"] == state and reason in f"{said['reason']} {said.get('faults')}":
                return at
        return None

    def ask(self, request: str) -> None:
        """Call one of the controller's services until it is met."""
        call = self.observer.call
        self.observer.wait(request, lambda: call(Trigger, f"controller/{request}", Trigger.Request()).success)

    # ---- ways to send odometry ---------------------------------------------------------------------

    def _copy(self) -> Odometry:
        """A message of now, not sent yet."""
        message = Odometry()
        message.header.frame_id = "odom"
        message.header.stamp = self.observer.node.get_clock().now().to_msg()
        return message

    def _publish(self, *messages: Odometry) -> None:
        for message in messages:
            self.robot.odometry.publish(message)

    def repeat(self) -> None:
        """From now on the same message again and again."""
        frozen = self._copy()
        self.feed = lambda: self._publish(frozen)

    def double(self) -> None:
        """From now on every message twice."""

        def feed() -> None:
            message = self._copy()
            self._publish(message, message)

        self.feed = feed

    def drop(self) -> None:
        """From now on only every fifth message."""
        count = 0

        def feed() -> None:
            nonlocal count
            count += 1
            if count % 5 == 0:
                self._publish(self._copy())

        self.feed = feed

    def swap(self) -> None:
        """From now on after each message one comes that is much older than it."""
        made: list[Odometry] = []

        def feed() -> None:
            made.append(self._copy())
            now, even = seconds(made[-1].header.stamp), len(made) % 2 == 0
            late = [m for m in made if even and LATE < now - seconds(m.header.stamp) < 1.5 * LATE]
            self._publish(late[-1] if late else made[-1])

        self.feed = feed

    def heal(self) -> None:
        """All is as it was at the start: good odometry and nobody else."""
        self.robot.message, self.robot.age, self.feed = self._copy(), 0.0, self.robot.send
        self.human = self.pressed = self.scan = None

    def bad_marker(self) -> None:
        marker = Marker(ns="faults", id=1, type=Marker.CUBE)
        marker.pose.position.x = math.nan
        self.observer.publish(marker)

    def close(self) -> None:
        self.observer.node.destroy_timer(self._clock)


class Pair:
    """The controller and the simulated robot, in two processes. ``start(module, **parameters)`` starts one."""

    def __init__(self, observer: Observer, start: Callable[..., Any], policy: str, speed: float = 0.3) -> None:
        self.observer, self._start, self._policy, self._fast = observer, start, policy, speed
        self.robot = self.controller = None
        self.start_robot()
        self.start_controller()

    def start_robot(self) -> None:
        self.robot = self._start("ddiffpg_sim.sim_robot_node", task="pointmaze-v1", scan_beams=0)

    def start_controller(self) -> None:
        self.controller = self._start("ddiffpg.controller_node", policy=self._policy, autostart=True)

    @property
    def speed(self) -> float:
        """m/s, as the robot's odometry says."""
        v = self.observer.odom.twist.twist.linear if self.observer.odom else None
        return math.nan if v is None else math.hypot(v.x, v.y)

    def drive(self) -> None:
        """Wait until the robot moves."""
        self.observer.wait("a drive", lambda: self.speed > self._fast, START)

    def stop(self, process: Any, number: signal.Signals, stands: Callable[[], bool]) -> float:
        """Send a signal to a process; seconds until ``stands``."""
        began = time.monotonic()
        process.send(number)
        self.observer.wait("a robot that stands", stands)
        return time.monotonic() - began
