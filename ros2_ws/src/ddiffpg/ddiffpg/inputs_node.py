"""What the controller hears: subscriptions, the last readings, and what is wrong with them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMessage
from sensor_msgs.msg import LaserScan
from visualization_msgs.msg import MarkerArray

from ddiffpg import interface_node as interface
from ddiffpg.contract import Contract
from ddiffpg.interface_node import Topic
from ddiffpg.marker_obstacles import MarkerBook, MarkerObstacle, Pose2
from ddiffpg.observation import JointState, RobotState, path_body
from ddiffpg.obstacles import Box, Cylinder, Obstacles, Shape
from ddiffpg.parameters_node import Parameters, ParameterSpec
from ddiffpg.readings import (
    ScanError,
    planar_pose,
    pose_at,
    read_grid,
    read_joints,
    read_odometry,
    read_scan,
    seconds,
    with_end_effector,
    with_joints,
)
from ddiffpg.tracking import Tracker

PARAMETERS = (
    ParameterSpec(
        "odom_frame", "odom", "frame of odometry and end effector, in which the policy's ways are", fixed="configured"
    ),
    ParameterSpec("base_frame", "base_link", "frame of the robot's body", fixed="configured"),
    ParameterSpec("odom_topic", interface.ODOMETRY.name, "nav_msgs/Odometry", fixed="configured"),
    ParameterSpec(
        "joint_topic",
        interface.JOINTS.name,
        "sensor_msgs/JointState, where the policy reads joints",
        fixed="configured",
    ),
    ParameterSpec(
        "end_effector_topic",
        interface.END_EFFECTOR.name,
        "nav_msgs/Odometry of the end effector, where the policy reads one",
        fixed="configured",
    ),
    ParameterSpec(
        "scan_topic",
        interface.SCAN.name,
        "sensor_msgs/LaserScan; empty, or ways in space: none is listened to",
        fixed="configured",
    ),
    ParameterSpec(
        "map_topic",
        interface.MAP.name,
        "nav_msgs/OccupancyGrid; empty, or ways in space: none is listened to",
        fixed="configured",
    ),
    ParameterSpec(
        "obstacle_topic",
        interface.OBSTACLES.name,
        "visualization_msgs/MarkerArray of boxes and cylinders",
        fixed="configured",
    ),
    ParameterSpec(
        "scan_pose", [0.0, 0.0, 0.0], "x, y, yaw of the scanner on the robot's body [m, rad]", fixed="configured"
    ),
    ParameterSpec(
        "stamps",
        "header",
        "age of readings: by their header's stamp (clocks must agree) or by when they were received",
        choices=("header", "receipt"),
        fixed="configured",
    ),
)
MAP_REACH = 3.0  # m around the policy's ways within which cells of the map count
TRACK = 50  # states kept, to know where the robot was when a scan was taken
OVERTAKEN = 0.2  # s; what is older than the newest by less has come late, by more: the clock went back


class Inputs:
    """The last of every reading. ``clock`` gives the time in seconds that the controller's ticks use, ``came`` is
    called when a state of the body that follows the ways was taken in."""

    def __init__(
        self,
        node: Node,
        contract: Contract,
        settings: Parameters,
        clock: Callable[[], float],
        came: Callable[[], None] = lambda: None,
    ) -> None:
        if len(settings["scan_pose"]) != 3 or not np.isfinite(settings["scan_pose"]).all():
            raise ValueError(f"parameter scan_pose is {settings['scan_pose']}: expected three finite numbers")
        self._node, self._settings, self._clock = node, settings, clock
        self._followed, self._came = path_body(contract), came
        self._region = _region(contract)
        self._planar = len(contract.path) == 2  # scans and maps are, and say nothing of ways in space
        self._joint_names = {field.joint for field in (*contract.observation, *contract.action) if field.joint}
        self._bodies = {field.source.split(".")[0] for field in contract.observation} - {"joint"}
        self._track: deque[RobotState] = deque(maxlen=TRACK)
        self._joints: dict[str, JointState] = {}
        self._joint_stamps: dict[str, float] = {}
        self._end_effector: RobotState | None = None
        self._book = MarkerBook(self._locate)
        self._tracker = Tracker()
        self._declared: tuple[MarkerObstacle, ...] = ()
        self._shapes: tuple[Shape, ...] = ()
        self._points: dict[str, np.ndarray] = {}
        self._scan_stamp: float | None = None
        self.scan_at: Pose2 | None = None  # where the scanner was taken to be, by what was known of the robot then
        self._faults: dict[str, str] = {}
        self.obstacle_messages = 0
        self._subscriptions = self._subscribe()

    def _subscribe(self) -> list[Any]:
        known: list[tuple[Topic, Any, bool]] = [
            (interface.ODOMETRY, self._on_odometry, True),
            (interface.SCAN, self._on_scan, self._planar),
            (interface.MAP, self._on_map, self._planar),
            (interface.OBSTACLES, self._on_obstacles, True),
            (interface.JOINTS, self._on_joints, bool(self._joint_names)),
            (interface.END_EFFECTOR, self._on_end_effector, "end_effector" in self._bodies),
        ]
        names = [(topic, callback, self._settings[topic.parameter]) for topic, callback, wanted in known if wanted]
        return [topic.subscription(self._node, callback, name) for topic, callback, name in names if name]

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    # ---- what the controller asks -------------------------------------------------------------------

    @property
    def _robot(self) -> RobotState | None:
        return self._track[-1] if self._track else None

    @property
    def stamps(self) -> dict[str, float]:
        """The time (s) of the last reading of each kind that was taken in, by the name of its topic's parameter."""
        stamps = {
            "odom_topic": None if self._robot is None else self._robot.stamp,
            "joint_topic": max(self._joint_stamps.values(), default=None),
            "end_effector_topic": None if self._end_effector is None else self._end_effector.stamp,
            "scan_topic": self._scan_stamp,
        }
        return {name: stamp for name, stamp in stamps.items() if stamp is not None}

    @property
    def faults(self) -> tuple[str, ...]:
        """What was refused and has not been made good since, one sentence each."""
        return (*self._faults.values(), *self._book.faults)

    @property
    def shapes(self) -> tuple[MarkerObstacle, ...]:
        """The obstacles that are declared now."""
        return self._declared

    def state(self) -> RobotState | None:
        """The robot as last measured, as fresh as the oldest reading that the contract asks for.

        What was never heard of is missing in it; None before anything was heard.
        """
        robot = self._robot or RobotState(math.inf)
        if "odom" not in self._bodies:
            robot = replace(robot, stamp=math.inf)
        if self._joint_stamps:
            robot = with_joints(robot, self._joints, min(self._joint_stamps.values()))
        if self._end_effector is not None:
            robot = with_end_effector(robot, self._end_effector)
        return None if robot.stamp == math.inf else robot

    def obstacles(self, now: float) -> Obstacles | None:
        """What is in the way; None before anything was heard of it.

        An obstacle or a map that could not be read makes everything known about obstacles stale: the
        controller then holds, instead of driving through what it did not understand.
        """
        declared = self._book.at(now)
        if declared != self._declared:
            self._declared, self._shapes = declared, tuple(_shape(o) for o in declared)
        if self._book.faults or "map" in self._faults:
            return Obstacles(-math.inf, self._shapes, self._all_points())
        velocities = self._tracker.velocities([o.key for o in declared], now)
        if self._scan_stamp is None and not self._points and not self.obstacle_messages:
            return None
        stamp = now if self._scan_stamp is None else self._scan_stamp
        return Obstacles(stamp, self._shapes, self._all_points(), velocities)

    def _all_points(self) -> np.ndarray:
        return np.concatenate([np.empty((0, 2)), *self._points.values()])

    # ---- what comes in -------------------------------------------------------------------------------

    def _on_odometry(self, message: Odometry) -> None:
        state = self._read_motion("odometry", message)
        if state is None or overtaken(state.stamp, self._robot and self._robot.stamp):
            return
        while self._track and self._track[-1].stamp >= state.stamp:  # the clock went back, or it was sent twice
            self._track.pop()
        self._track.append(state)
        if self._followed == "odom":
            self._came()

    def _on_end_effector(self, message: Odometry) -> None:
        state = self._read_motion("end effector", message)
        if state is not None and not overtaken(state.stamp, self._end_effector and self._end_effector.stamp):
            self._end_effector = state
        if self._followed == "end_effector":
            self._came()

    def _read_motion(self, what: str, message: Odometry) -> RobotState | None:
        """``message`` as a state; None, and a fault, where it is in another frame than the ways."""
        frame, expected = message.header.frame_id, self._settings["odom_frame"]
        if frame not in ("", expected):
            self._faults[what] = f"{what} is in frame '{frame}': parameter odom_frame says '{expected}'"
            return None
        self._faults.pop(what, None)
        return read_odometry(message, self._stamp(message.header))

    def _on_joints(self, message: JointStateMessage) -> None:
        """A message may tell of some of the joints only; each is as fresh as its own last reading."""
        stamp, known = self._stamp(message.header), self._joint_stamps
        names = {name for name in self._joint_names if not overtaken(stamp, known.get(name))}
        read = {name: joint for name, joint in read_joints(message).items() if name in names}
        self._joints = {**self._joints, **read}
        known.update(dict.fromkeys(read, stamp))

    def _on_scan(self, message: LaserScan) -> None:
        stamp = self._stamp(message.header)
        if self._robot is None or overtaken(stamp, self._scan_stamp):
            return
        place = self._scanner(stamp)
        try:
            self._points["scan"] = read_scan(message, place)
        except ScanError as error:
            self._faults["scan"] = f"scan refused: {error}"
            return
        self._scan_stamp, self.scan_at = stamp, place
        self._faults.pop("scan", None)

    def _on_map(self, message: OccupancyGrid) -> None:
        frame, expected = message.header.frame_id, self._settings["odom_frame"]
        try:
            if frame not in ("", expected):
                raise ScanError(f"it is in frame '{frame}', expected '{expected}'")
            self._points["map"] = read_grid(message, self._region)
            self._faults.pop("map", None)
        except ScanError as error:
            self._faults["map"] = f"map refused: {error}"

    def _on_obstacles(self, message: MarkerArray) -> None:
        now = self._clock()
        self._book.update(message.markers, now)
        stamps = {(marker.ns, marker.id): self._stamp(marker.header) for marker in message.markers}
        for obstacle in self._book.at(now):
            if obstacle.key in stamps:
                self._tracker.see(obstacle.key, stamps[obstacle.key], obstacle.center[:2])
        self.obstacle_messages += 1

    # ---- frames and times ----------------------------------------------------------------------------

    def _stamp(self, header: Any) -> float:
        """Seconds. A header that was never stamped (zero) counts from its receipt."""
        stamp = seconds(header.stamp)
        return stamp if stamp > 0 and self._settings["stamps"] == "header" else self._clock()

    def _locate(self, frame: str) -> Pose2 | None:
        if frame in ("", self._settings["odom_frame"]):
            return (0.0, 0.0, 0.0)
        if frame != self._settings["base_frame"] or self._robot is None:
            return None
        pose = planar_pose(self._robot)
        return pose if np.isfinite(pose).all() else None

    def _scanner(self, stamp: float) -> Pose2:
        """The scanner's pose in the odometry frame when the scan was taken."""
        x, y, yaw = pose_at(self._track, stamp)
        dx, dy, turn = self._settings["scan_pose"]
        cos, sin = math.cos(yaw), math.sin(yaw)
        return (x + cos * dx - sin * dy, y + sin * dx + cos * dy, yaw + turn)


def overtaken(stamp: float, newest: float | None) -> bool:
    """Was a message of ``stamp`` (s) overtaken on its way by the newest one of its kind? Then it says nothing new."""
    return newest is not None and 0.0 < newest - stamp <= OVERTAKEN


def _shape(obstacle: MarkerObstacle) -> Shape:
    x, y, z = obstacle.center
    height = (z - obstacle.half_size[2], z + obstacle.half_size[2])
    if obstacle.shape == "cylinder":
        return Cylinder((x, y), obstacle.half_size[0], height)
    return Box((x, y), obstacle.half_size[:2], obstacle.yaw, height)


def _region(contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    """The rectangle (low [2], high [2]) around the policy's ways in which the map matters."""
    points = np.concatenate([np.array(mode.path, float)[:, :2] for mode in contract.modes])
    return points.min(axis=0) - MAP_REACH, points.max(axis=0) + MAP_REACH
