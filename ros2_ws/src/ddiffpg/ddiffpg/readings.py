"""What ROS messages say, as the controller's own types. Reads by field names; imports no ROS.

Missing or unusable numbers become NaN, never zero: the controller holds on them and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ddiffpg.observation import JointState, RobotState, rotation

OCCUPIED = 65  # percent, the threshold of nav2's map server
FORESIGHT = 0.2  # s before the first and after the last known state for which its velocities say where the robot was


def seconds(stamp: Any) -> float:
    """builtin_interfaces/Time or Duration in seconds."""
    return stamp.sec + stamp.nanosec * 1e-9


def planar_pose(state: RobotState) -> tuple[float, float, float]:
    """x, y (metres) and yaw (radians) of the robot in the odometry frame."""
    turn = rotation(np.asarray(state.orientation, float))
    return float(state.position[0]), float(state.position[1]), float(np.arctan2(turn[1, 0], turn[0, 0]))


def pose_at(track: Sequence[RobotState], stamp: float) -> tuple[float, float, float]:
    """x, y (metres) and yaw (radians) in the odometry frame at ``stamp`` (s).

    ``track`` has one state or more in the order of their stamps. Between two of them the pose is in proportion;
    before the first and after the last it follows from the nearest one's velocities.
    """
    after = next((i for i, state in enumerate(track) if state.stamp >= stamp), len(track))
    if 0 < after < len(track):
        first, second = track[after - 1], track[after]
        share = (stamp - first.stamp) / (second.stamp - first.stamp)
        (x, y, yaw), (x2, y2, yaw2) = planar_pose(first), planar_pose(second)
        turned = (yaw2 - yaw + np.pi) % (2 * np.pi) - np.pi
        return x + share * (x2 - x), y + share * (y2 - y), yaw + share * turned
    nearest = track[min(after, len(track) - 1)]
    x, y, yaw = planar_pose(nearest)
    since = float(np.clip(stamp - nearest.stamp, -FORESIGHT, FORESIGHT))
    vx, vy, turn = (*nearest.linear_velocity[:2].tolist(), float(nearest.angular_velocity[2]))
    return x + since * vx, y + since * vy, yaw + (since * turn if np.isfinite(turn) else 0.0)


def read_odometry(message: Any, stamp: float) -> RobotState:
    """nav_msgs/Odometry -> state without joints. Its twist is in the child frame, the state's in the odometry's."""
    pose, twist = message.pose.pose, message.twist.twist
    q = pose.orientation
    orientation = np.array([q.w, q.x, q.y, q.z])
    turn = rotation(orientation)
    return RobotState(
        stamp=stamp,
        position=_xyz(pose.position),
        orientation=orientation,
        linear_velocity=turn @ _xyz(twist.linear),
        angular_velocity=turn @ _xyz(twist.angular),
        joints={},
    )


def read_joints(message: Any) -> dict[str, JointState]:
    """sensor_msgs/JointState -> joints by name; a position or velocity that is not sent is NaN."""
    positions = _padded(message.position, len(message.name))
    velocities = _padded(message.velocity, len(message.name))
    return {
        name: JointState(position=float(p), velocity=float(v))
        for name, p, v in zip(message.name, positions, velocities)
    }


def with_joints(state: RobotState, joints: dict[str, JointState], stamp: float) -> RobotState:
    """``state`` with ``joints``; only as fresh as the older of the two."""
    return replace(state, joints=joints, stamp=min(state.stamp, stamp))


def with_end_effector(state: RobotState, end_effector: RobotState) -> RobotState:
    """``state`` with the motion of the ``end_effector``, read as odometry; only as fresh as the older of the two."""
    return replace(
        state,
        stamp=min(state.stamp, end_effector.stamp),
        end_effector_position=end_effector.position,
        end_effector_velocity=end_effector.linear_velocity,
    )


class ScanError(ValueError):
    """A laser scan or a map cannot be used."""


def read_scan(message: Any, sensor: tuple[float, float, float]) -> np.ndarray:
    """sensor_msgs/LaserScan -> hits ``[N, 2]`` in the odometry frame; ``sensor`` is x, y, yaw of the scanner there.

    +inf is free (REP 117), -inf a hit closer than the scanner can measure. Raises ScanError where half
    of the beams or more are NaN, or the geometry is not finite.
    """
    ranges = np.asarray(message.ranges, float)
    if not np.all(np.isfinite([message.angle_min, message.angle_increment, *sensor])):
        raise ScanError("the scan's angles or the scanner's place are not finite")
    if len(ranges) == 0 or np.isnan(ranges).mean() >= 0.5:
        raise ScanError(f"{int(np.isnan(ranges).sum())} of {len(ranges)} beams are NaN")
    ranges = np.where(ranges == -np.inf, message.range_min, ranges)
    hit = np.isfinite(ranges) & (ranges >= message.range_min) & (ranges <= message.range_max)
    x, y, yaw = sensor
    angles = (message.angle_min + np.arange(len(ranges)) * message.angle_increment + yaw)[hit]
    return np.stack([x + ranges[hit] * np.cos(angles), y + ranges[hit] * np.sin(angles)], axis=1)


def read_grid(message: Any, region: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """nav_msgs/OccupancyGrid -> centres ``[N, 2]`` of occupied cells inside ``region`` (low [2], high [2]), metres.

    Unknown cells count as free: the scan is there to see them. Raises ScanError where the data does
    not fit the size, or the geometry is not finite.
    """
    info = message.info
    cells = np.asarray(message.data, np.int8)
    if len(cells) != info.width * info.height:
        raise ScanError(f"the map has {len(cells)} cells, its size is {info.width} x {info.height}")
    origin, q = info.origin.position, info.origin.orientation
    yaw = np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
    if not np.all(np.isfinite([origin.x, origin.y, yaw, info.resolution])):
        raise ScanError("the map's origin or resolution is not finite")
    rows, columns = np.nonzero(cells.reshape(info.height, info.width) >= OCCUPIED)
    along, across = (columns + 0.5) * info.resolution, (rows + 0.5) * info.resolution
    points = np.stack(
        [
            origin.x + np.cos(yaw) * along - np.sin(yaw) * across,
            origin.y + np.sin(yaw) * along + np.cos(yaw) * across,
        ],
        axis=1,
    )
    low, high = region
    return points[np.all((points >= low) & (points <= high), axis=1)]


def _xyz(vector: Any) -> np.ndarray:
    return np.array([vector.x, vector.y, vector.z])


def _padded(values: Any, count: int) -> np.ndarray:
    """``values`` where there is one for each joint, else NaN for all."""
    array = np.asarray(values, float)
    return array if len(array) == count else np.full(count, np.nan)
