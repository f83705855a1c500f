"""The controller's own types as ROS messages, and the quality of service of every topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Path
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Float64MultiArray, Header, MultiArrayDimension

LEVELS = {
    "ok": DiagnosticStatus.OK,
    "warn": DiagnosticStatus.WARN,
    "error": DiagnosticStatus.ERROR,
    "stale": DiagnosticStatus.STALE,
}


def _qos(reliability: ReliabilityPolicy, depth: int, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


# Only the newest reading counts, and a late one is worth nothing: matches every publisher.
SENSOR = _qos(ReliabilityPolicy.BEST_EFFORT, 1, DurabilityPolicy.VOLATILE)
LATEST = _qos(ReliabilityPolicy.RELIABLE, 1, DurabilityPolicy.VOLATILE)
# Each message of these changes what the ones before said: none may be lost.
EVENTS = _qos(ReliabilityPolicy.RELIABLE, 100, DurabilityPolicy.VOLATILE)
LATCHED = _qos(ReliabilityPolicy.RELIABLE, 1, DurabilityPolicy.TRANSIENT_LOCAL)


def header(stamp: Time, frame: str) -> Header:
    return Header(stamp=stamp, frame_id=frame)


def status(name: str, level: str, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    """DiagnosticStatus; ``level`` is ok, warn, error or stale."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=LEVELS[level], message=message, values=pairs)


def twist(stamp: Time, frame: str, linear: np.ndarray, angular: np.ndarray) -> TwistStamped:
    """``linear [3]`` m/s, ``angular [3]`` rad/s, in ``frame``."""
    message = TwistStamped(header=header(stamp, frame))
    v, w = message.twist.linear, message.twist.angular
    v.x, v.y, v.z = map(float, linear)
    w.x, w.y, w.z = map(float, angular)
    return message


def joint_command(names: Sequence[str], values: np.ndarray) -> Float64MultiArray:
    """``values [A]`` for ros2_control's forward command controllers; the label tells the joints' order."""
    message = Float64MultiArray(data=[float(v) for v in values])
    message.layout.dim = [MultiArrayDimension(label=",".join(names), size=len(names), stride=len(names))]
    return message


def path(stamp: Time, frame: str, points: np.ndarray) -> Path:
    """``points [P, 2]`` or ``[P, 3]`` in metres."""
    head = header(stamp, frame)
    poses = [PoseStamped(header=head) for _ in points]
    for pose, point in zip(poses, points):
        for axis, value in zip("xyz", point):
            setattr(pose.pose.position, axis, float(value))
    return Path(header=head, poses=poses)
