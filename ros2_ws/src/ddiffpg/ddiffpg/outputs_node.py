"""What the controller says: the command, its status, the chosen way, markers and diagnostics."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, Int32

from ddiffpg import interface_node as interface
from ddiffpg import markers_node as markers
from ddiffpg import messages_node as messages
from ddiffpg.contract import Contract, ContractError
from ddiffpg.decision import ARRIVED, DRIVE, FAULT, OFF, TELEOP, Decision
from ddiffpg.latency import Deadlines, StageTimes
from ddiffpg.marker_obstacles import MarkerObstacle
from ddiffpg.observation import RobotState, rotation
from ddiffpg.parameters_node import Parameters, ParameterSpec

PARAMETERS = (
    ParameterSpec(
        "command_topic",
        "",
        "where commands go; empty: cmd_vel (TwistStamped) for base_velocity, forward_position_controller/commands or "
        "forward_effort_controller/commands (Float64MultiArray) for joints",
        fixed="configured",
    ),
)
TOPICS = {
    "base_velocity": interface.TWIST,
    "joint_position": interface.POSITIONS,
    "joint_position_delta": interface.POSITIONS,
    "joint_effort": interface.EFFORTS,
}
AXES = ("vx", "vy", "vz", "wx", "wy", "wz")
DRAW_SECONDS = 0.5  # between pictures of the same way
ACK_SECONDS = 0.5


class Command:
    """Sends what was decided in the form that the contract's action kind asks for.

    A base velocity is in the odometry frame; on ``cmd_vel`` it goes in the robot's own frame. Steps of
    joint positions go as positions.
    Raises ContractError where an action field has no place in a twist.
    """

    def __init__(self, node: Node, contract: Contract, settings: Parameters) -> None:
        self._node, self._contract, self._frame = node, contract, settings["base_frame"]
        self._twist = contract.action_kind == "base_velocity"
        if self._twist:
            self._axes = [_axis(i, field.name) for i, field in enumerate(contract.action)]
        self._publisher = TOPICS[contract.action_kind].publisher(node, settings["command_topic"])
        self._turn = np.eye(3)
        self._joints = [field.joint or field.name for field in contract.action]

    def send(self, sent: np.ndarray | None, state: RobotState | None) -> None:
        """``sent [A]`` of a decision, in physical units; nothing goes where it is None."""
        if sent is None:
            return
        if not np.isfinite(sent).all():
            raise ValueError(f"the command {sent.tolist()} is not finite")
        self._publisher.publish(self._as_twist(sent, state) if self._twist else self._as_joints(sent))

    def stop(self, state: RobotState | None) -> None:
        """Stand still, and wait until that has been received: no velocity, no effort, or the joints where they are.

        Joints whose position is not known get no command: any would be a jump.
        """
        standing = self._standing(state)
        if standing is not None:
            self.send(standing, state)
            self._publisher.wait_for_all_acked(Duration(seconds=ACK_SECONDS))

    def halt(self) -> None:
        """Stand still, for callers in any thread: no velocity, no effort; joints stay where they were told to be."""
        if not self._contract.action_kind.startswith("joint_position"):
            self.send(np.zeros(len(self._contract.action)), None)

    def close(self) -> None:
        self._node.destroy_publisher(self._publisher)

    def _standing(self, state: RobotState | None) -> np.ndarray | None:
        if not self._contract.action_kind.startswith("joint_position"):
            return np.zeros(len(self._contract.action))
        known = {} if state is None else state.joints
        positions = {j: known[j].position if j in known else math.nan for j in self._joints}
        for limits in self._contract.joint_limits:
            positions[limits.joint] = float(np.clip(positions[limits.joint], limits.low, limits.high))
        standing = np.array([positions[joint] for joint in self._joints])
        return standing if np.isfinite(standing).all() else None

    def _as_twist(self, action: np.ndarray, state: RobotState | None) -> TwistStamped:
        velocity = np.zeros(6)
        velocity[self._axes] = action
        if state is not None:
            turn = rotation(np.asarray(state.orientation, float)).T
            self._turn = turn if np.isfinite(turn).all() else self._turn  # while stopping blind: as it last was
        stamp = self._node.get_clock().now().to_msg()
        return messages.twist(stamp, self._frame, self._turn @ velocity[:3], self._turn @ velocity[3:])

    def _as_joints(self, action: np.ndarray) -> Float64MultiArray:
        return messages.joint_command(self._joints, action)


def _axis(index: int, name: str) -> int:
    if name not in AXES:
        raise ContractError(f"action[{index}].name", name, f"for a base velocity one of {AXES}")
    return AXES.index(name)


class Report:
    """Publishes what was decided and why, the way chosen, and how long it took."""

    def __init__(self, node: Node, contract: Contract, settings: Parameters, period: float) -> None:
        self._node, self._contract, self._frame = node, contract, settings["odom_frame"]
        self._status, self._mode = interface.STATUS.publisher(node), interface.MODE.publisher(node)
        self._path, self._markers = interface.PATH.publisher(node), interface.MARKERS.publisher(node)
        self._diagnostics = interface.DIAGNOSTICS.publisher(node)
        self._publishers = [self._status, self._mode, self._path, self._markers, self._diagnostics]
        self.times, self.deadlines = StageTimes(), Deadlines(period)
        self._missed_before = 0
        self._drawn_mode: int | None = None
        self._drawn_at = -math.inf
        self._last: Decision | None = None

    def close(self) -> None:
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)

    def decision(
        self,
        decision: Decision,
        shapes: tuple[MarkerObstacle, ...],
        faults: tuple[str, ...],
        more: Mapping[str, object],
    ) -> None:
        """Say what one tick decided. ``faults`` are the inputs' own, ``more`` goes into the status as it is."""
        self._last = decision
        mode = -1 if decision.mode is None else decision.mode
        faults = (*faults, *decision.warnings)
        level = "ok" if decision.state in (DRIVE, ARRIVED, OFF, TELEOP) and not faults else "warn"
        level = "error" if decision.state == FAULT else level
        text = "; ".join((f"{decision.state}: {decision.reason}", *faults))
        values = {**decision_values(decision), "faults": "; ".join(faults), **more}
        self._status.publish(messages.status(self._name, level, text, values))
        self._mode.publish(Int32(data=mode))
        self._draw(decision, shapes)

    def fault(self, error: str, wait: bool = True) -> None:
        """The controller has ended, or hangs, because of ``error``."""
        self._last_word("error", "FAULT", error, wait)

    def stopped(self) -> None:
        """The controller is not active any more."""
        self._last_word("ok", "INACTIVE", "not active")

    def _last_word(self, level: str, state: str, reason: str, wait: bool = True) -> None:
        """Waits until it has been heard where the publishers may be gone at once."""
        values = {"state": state, "reason": reason, "mode": -1}
        self._mode.publish(Int32(data=-1))
        self._status.publish(messages.status(self._name, level, f"{state}: {reason}", values))
        if wait:
            self._status.wait_for_all_acked(Duration(seconds=ACK_SECONDS))

    def diagnose(self) -> None:
        """Latency and missed deadlines since activation on /diagnostics."""
        missed = self.deadlines.missed
        late, self._missed_before = missed > self._missed_before, missed
        values: dict[str, object] = {"ticks": self.deadlines.ticks, "missed_deadlines": missed}
        for stage, s in self.times.summary().items():
            values[f"{stage} p50/p99/max ms"] = f"{s.p50:.3f}/{s.p99:.3f}/{s.worst:.3f}"
        text = "deadlines missed in the last second" if late else "in time"
        latency = messages.status(f"{self._name}: latency", "warn" if late else "ok", text, values)
        array = DiagnosticArray(status=[latency, self._policy_status()])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    @property
    def _name(self) -> str:
        return self._node.get_fully_qualified_name().lstrip("/")

    def _policy_status(self) -> DiagnosticStatus:
        c, last = self._contract, self._last
        values = {"task": c.task, "robot": c.robot, "modes": list(c.mode_ids), "commit": c.training.commit}
        state = "not active" if last is None else f"{last.state}: {last.reason}"
        warnings = () if last is None else last.warnings
        level = "warn" if warnings else "ok"
        return messages.status(f"{self._name}: policy", level, "; ".join((state, *warnings)), values)

    def _draw(self, decision: Decision, shapes: tuple[MarkerObstacle, ...]) -> None:
        """The way and the markers: at once when the mode changes, now and then otherwise."""
        now = time.monotonic()
        if decision.mode == self._drawn_mode and now - self._drawn_at < DRAW_SECONDS:
            return
        self._drawn_mode, self._drawn_at = decision.mode, now
        head = messages.header(self._node.get_clock().now().to_msg(), self._frame)
        self._path.publish(messages.path(head.stamp, self._frame, decision.corridor))
        said = f"{decision.state}: {decision.reason}"
        self._markers.publish(
            markers.picture(
                head, self._contract.modes, decision.ways, decision.corridor, shapes, 3 * DRAW_SECONDS, said
            )
        )


def decision_values(decision: Decision) -> dict[str, object]:
    """A decision as the key-value pairs of the status; what goes by mode is ``id:value,...``."""
    to_go = next((way.length for way in decision.ways if way.id == decision.mode), math.nan)
    return {
        "state": decision.state,
        "reason": decision.reason,
        "mode": -1 if decision.mode is None else decision.mode,
        "limited_by": ",".join(decision.limited_by),
        "action": _numbers(decision.action),
        "wanted": _numbers(decision.wanted),
        "sent": "" if decision.sent is None else _numbers(decision.sent),
        "free_modes": ",".join(str(way.id) for way in decision.ways if way.free),
        "clearance_m": ",".join(f"{way.id}:{way.clearance:.3f}" for way in decision.ways),
        "to_go_m": f"{to_go:.3f}",
        "length_m": ",".join(f"{way.id}:{way.length:.2f}" for way in decision.ways),
        "unknown": f"{decision.unknown:.2f}",
        **_command_values(decision),
    }


def _command_values(decision: Decision) -> dict[str, object]:
    """Who is in command and why; the mode that a human began, as far as that is known."""
    intent = decision.intent
    return {
        "in_command": decision.in_command,
        "source": decision.source,
        "command_reason": decision.command_reason,
        "blend": f"{decision.blend:.2f}",
        "intent": "" if intent is None or intent.mode is None else intent.mode,
        "intent_confidence": "" if intent is None else f"{intent.confidence:.2f}",
    }


def _numbers(values: np.ndarray) -> str:
    return ",".join(f"{value:.4f}" for value in values)
