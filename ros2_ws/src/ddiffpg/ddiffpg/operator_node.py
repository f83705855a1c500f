"""What the controller hears of a human: teleop commands, a joystick's dead man's switch, the e-stop, and requests.

A base's velocities are taken in the robot's own frame or in that of odometry, and turned to where the
robot is headed when they are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger

from ddiffpg import interface_node as interface
from ddiffpg.contract import Contract
from ddiffpg.decision import E_STOP, ENGAGE, REARM, RELEASE, Operator, Teleop
from ddiffpg.inputs_node import overtaken
from ddiffpg.interface_node import Topic
from ddiffpg.observation import RobotState, rotation
from ddiffpg.outputs_node import AXES
from ddiffpg.parameters import ParameterError
from ddiffpg.parameters_node import Parameters, ParameterSpec
from ddiffpg.readings import seconds

PARAMETERS = (
    ParameterSpec(
        "teleop_topic",
        "",
        "a human's commands; empty: teleop/cmd_vel (TwistStamped) for base_velocity, teleop/command "
        "(Float64MultiArray, the contract's action) for joint_position_delta, none for joint_effort",
        fixed="configured",
    ),
    ParameterSpec(
        "joy_topic", interface.JOY.name, "sensor_msgs/Joy, where there is a dead man's switch", fixed="configured"
    ),
    ParameterSpec(
        "deadman_button",
        -1,
        "which of the joystick's buttons is the dead man's switch; -1: there is none",
        low=-1,
        high=63,
        fixed="configured",
    ),
    ParameterSpec(
        "e_stop_topic", interface.E_STOP.name, "std_msgs/Bool: true stops until re-armed", fixed="configured"
    ),
    ParameterSpec(
        "e_stop_timeout",
        0.0,
        "stop until re-armed if e_stop_topic says nothing for so long, s; 0: it need not go on saying that all is well",
        low=0.0,
        high=60.0,
        fixed="configured",
    ),
)
TELEOP = {"base_velocity": interface.TELEOP_TWIST, "joint_position_delta": interface.TELEOP_JOINTS}
ASKED = {ENGAGE: interface.ENGAGE, RELEASE: interface.RELEASE, E_STOP: interface.STOP, REARM: interface.REARM}
SAID = {ENGAGE: "engaged", RELEASE: "released", E_STOP: "stopping", REARM: "re-armed"}


def check_settings(settings: dict[str, Any]) -> None:
    """ParameterError where no human could ever be in command as the parameters want it."""
    if settings["need_deadman"] and settings["deadman_button"] < 0:
        raise ParameterError("need_deadman", "is true: deadman_button must say which button that is")


class HumanInputs:
    """The last of everything a human said. ``clock`` gives the time (s) of the controller's ticks; ``stop`` is called
    whenever the e-stop is heard of as pressed. ParameterError where the policy's kind of action takes no teleop."""

    def __init__(
        self,
        node: Node,
        contract: Contract,
        settings: Parameters,
        clock: Callable[[], float],
        stop: Callable[[], None],
    ) -> None:
        self._node, self._settings, self._clock, self._stop = node, settings, clock, stop
        self._kind = contract.action_kind
        self._names = [field.name for field in contract.action]
        self._button = settings["deadman_button"]
        self._check_kind()
        self._said: tuple[float, str, np.ndarray] | None = None  # stamp, frame, what was asked for
        self._deadman: float | None = None
        self._e_stop, self._e_stop_heard = False, clock()
        self._joy_stamp: float | None = None  # stamp of the joystick's last message
        self._faults: dict[str, str] = {}
        self._subscriptions = self._subscribe()

    def _check_kind(self) -> None:
        if self._kind in TELEOP:
            return
        wanted = {"teleop_topic": self._settings["teleop_topic"], "deadman_button": self._button + 1}
        for name in (name for name, value in wanted.items() if value):
            raise ParameterError(name, f"is set: nobody can give a {self._kind} by hand, there is no teleop for it")
        self._node.get_logger().info(f"no teleop: nobody can give a {self._kind} by hand")

    def _subscribe(self) -> list[Any]:
        teleop, by_twist = TELEOP.get(self._kind), self._kind == "base_velocity"
        known: list[tuple[Topic, Any, str]] = [
            # Whoever publishes an e-stop must be heard: in whatever quality of service, and if it was before us.
            (interface.E_STOP, self._on_e_stop, self._settings["e_stop_topic"]),
            (interface.E_STOP_LATCHED, self._on_e_stop, self._settings["e_stop_topic"]),
        ]
        if teleop is not None:
            take = self._on_twist if by_twist else self._on_joints
            known.append((teleop, take, self._settings["teleop_topic"] or teleop.name))
        if self._button >= 0:
            known.append((interface.JOY, self._on_joy, self._settings["joy_topic"]))
        return [topic.subscription(self._node, callback, name) for topic, callback, name in known if name]

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    # ---- what the controller asks -------------------------------------------------------------------

    @property
    def faults(self) -> tuple[str, ...]:
        """What of a human's input could not be taken and has not been made good since."""
        return tuple(self._faults.values())

    def operator(self, state: RobotState | None, mode: int, enabled: bool, requests: tuple[str, ...] = ()) -> Operator:
        """What the human wants, the robot being in ``state``."""
        teleop = self._teleop(state)
        return Operator(mode, enabled, teleop, self._deadman, self._e_stop, requests, self._e_stop_fault())

    def _e_stop_fault(self) -> str | None:
        """Why nobody could be sure to stop the robot, or None."""
        timeout, silent = self._settings["e_stop_timeout"], self._clock() - self._e_stop_heard
        if not 0.0 < timeout < silent:
            return None
        return f"the e-stop has said nothing for {silent:.3f} s, more than {timeout:g} s"

    def _teleop(self, state: RobotState | None) -> Teleop | None:
        if self._said is None:
            return None
        stamp, frame, asked = self._said
        if self._kind == "base_velocity" and np.isfinite(asked).all():
            turn = self._turn(frame, state)
            if turn is None:  # where it would go is not known: it stands
                return Teleop(stamp, (0.0,) * len(self._names))
            asked = np.concatenate([turn @ asked[:3], turn @ asked[3:]])[[AXES.index(name) for name in self._names]]
        elif self._kind == "base_velocity":
            asked = np.full(len(self._names), math.nan)
        return Teleop(stamp, tuple(asked.tolist()))

    def _turn(self, frame: str, state: RobotState | None) -> np.ndarray | None:
        """From a command's frame to that of odometry, None where it is not known."""
        if frame == self._settings["odom_frame"]:
            return np.eye(3)
        turn = np.full((3, 3), math.nan) if state is None else rotation(state.orientation)
        return turn if np.isfinite(turn).all() else None

    # ---- what comes in -------------------------------------------------------------------------------

    def _on_twist(self, message: TwistStamped) -> None:
        stamp = self._stamp("teleop", message.header)
        if overtaken(stamp, self._said and self._said[0]):
            return
        frame, known = message.header.frame_id, ("", self._settings["base_frame"], self._settings["odom_frame"])
        v, w = message.twist.linear, message.twist.angular
        asked = np.array([v.x, v.y, v.z, w.x, w.y, w.z])
        lost = [axis for axis, value in zip(AXES, asked) if axis not in self._names and value != 0.0]
        self._note("axes", f"teleop asks for {', '.join(lost)}, which this base cannot do" if lost else None)
        if frame not in known:
            asked = np.full(6, math.nan)  # a human who cannot be obeyed is a fault, not nobody
        text = f"teleop is in frame '{frame}': expected one of {', '.join(known[1:])}"
        self._note("frame", None if frame in known else text)
        self._said = (stamp, frame, asked)

    def _on_joints(self, message: Float64MultiArray) -> None:
        self._said = (self._clock(), "", np.array(message.data, float))

    def _on_joy(self, message: Joy) -> None:
        stamp = self._stamp("joystick", message.header)
        if overtaken(stamp, self._joy_stamp):
            return
        missing = self._button >= len(message.buttons)
        text = f"the joystick has {len(message.buttons)} buttons: deadman_button {self._button} is none of them"
        self._note("joy", text if missing else None)
        pressed = not missing and bool(message.buttons[self._button])
        self._joy_stamp, self._deadman = stamp, stamp if pressed else None

    def _on_e_stop(self, message: Bool) -> None:
        self._e_stop, self._e_stop_heard = message.data, self._clock()
        if message.data:
            self._stop()

    def _stamp(self, what: str, header: Any) -> float:
        """Seconds. A message that comes with an age at which it counts for nothing is told of: clocks differ."""
        now, stamp = self._clock(), seconds(header.stamp)
        if stamp <= 0 or self._settings["stamps"] != "header":
            return now
        age = now - stamp
        late = age > self._settings["teleop_timeout"] or age < -self._settings["future_tolerance"]
        self._note(what, f"{what} messages are {age:.3f} s old when they come: do clocks agree?" if late else None)
        return stamp

    def _note(self, key: str, fault: str | None) -> None:
        self._faults.pop(key, None)
        if fault is not None:
            self._faults[key] = fault


class Requests:
    """Services ``~/engage``, ``~/release``, ``~/e_stop`` and ``~/rearm``. ``refusal`` says why a request is not met, or
    gives None; ``take`` gives those that came since, to whoever makes the next tick."""

    def __init__(self, node: Node, refusal: Callable[[str], str | None]) -> None:
        self._refusal = refusal
        self._waiting: list[str] = []
        for request, service in ASKED.items():
            service.server(node, self._answer(request))

    @property
    def waiting(self) -> tuple[str, ...]:
        """Those that the next tick will get."""
        return tuple(self._waiting)

    def add(self, request: str) -> None:
        self._waiting.append(request)

    def take(self) -> tuple[str, ...]:
        taken, self._waiting = tuple(self._waiting), []
        return taken

    def _answer(self, request: str) -> Callable[[Any, Any], Any]:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            problem = self._refusal(request)
            if problem is None:
                self.add(request)
            response.success, response.message = problem is None, problem or SAID[request]
            return response

        return answer
