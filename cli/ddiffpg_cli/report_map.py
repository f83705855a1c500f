"""Where a recorded drive went and what was there: path, ways of the modes, obstacles, what the scanner saw."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg.observation import RobotState
from ddiffpg.readings import ScanError, pose_at, read_grid, read_odometry, read_scan, seconds
from ddiffpg_cli.recording import Heard, Recording

POINTS = 3000
CELLS = 6000  # seen by the scanner: their size grows until there are no more than these
CELL = 0.04  # m, at least
WAYS = 400  # chosen ways that are kept
LINE_STRIP, CUBE, CYLINDER, ADD = 4, 1, 3, 0
ODOMETRY, SCAN, MAP = "nav_msgs/msg/Odometry", "sensor_msgs/msg/LaserScan", "nav_msgs/msg/OccupancyGrid"
MARKERS, PATH = "visualization_msgs/msg/MarkerArray", "nav_msgs/msg/Path"


@dataclass(frozen=True)
class Solid:
    """An obstacle that was there from ``start`` to ``end`` (s): a box, or a cylinder; metres and radians."""

    start: float
    end: float
    kind: str
    x: float
    y: float
    yaw: float
    length: float
    width: float


@dataclass(frozen=True)
class Scene:
    """In metres, as seen from above. ``track``: t, x, y. ``modes``: points by id. ``ways``: t and the points of the
    way that was chosen then. ``cells``: centres of what was seen, of the size ``cell``."""

    track: list[tuple[float, float, float]]
    modes: dict[str, list[tuple[float, float]]]
    ways: list[tuple[float, list[tuple[float, float]]]]
    solids: list[Solid]
    cells: list[tuple[float, float]]
    cell: float
    radius: float


def scene(
    recording: Recording, controller: str, parameters: Mapping[str, Any], contract: Contract | None, start: float
) -> Scene:
    """``start`` (s) is the time 0 of the page."""
    topic = _odometry(recording, parameters, contract)
    heard = list(recording.messages([topic])) if topic else []
    modes, solids = _markers(recording, controller, start)
    if contract is not None:
        modes = {str(mode.id): _points(mode.path) for mode in contract.modes}
    ways = [
        (round(message.published - start, 3), _points((p.pose.position.x, p.pose.position.y) for p in poses))
        for message in recording.messages(recording.of_type(PATH))
        if (poses := message.message.poses) is not None and message.topic == f"{controller}/path"
    ]
    cells, cell = _seen(recording, heard, parameters)
    radius = max(float(parameters.get("radius", 0.0)), 0.0 if contract is None else contract.robot_radius)
    return Scene(_track(heard, start), modes, ways[:: -(-len(ways) // WAYS) or 1], solids, cells, cell, radius)


def _odometry(recording: Recording, parameters: Mapping[str, Any], contract: Contract | None) -> str | None:
    """The topic of what follows the ways."""
    known = [name for name in recording.of_type(ODOMETRY) if recording.topics[name].count]
    body = "odom" if contract is None or not _by_tip(contract) else "end_effector"
    wanted = str(parameters.get(f"{body}_topic", body)).rpartition("/")[2]
    return next((name for name in known if name.rpartition("/")[2] == wanted), known[0] if known else None)


def _by_tip(contract: Contract) -> bool:
    return any(f.name in contract.path and f.source.startswith("end_effector") for f in contract.observation)


def _track(heard: Sequence[Heard], start: float) -> list[tuple[float, float, float]]:
    step = -(-len(heard) // POINTS) or 1
    places = [(message.published - start, message.message.pose.pose.position) for message in heard[::step]]
    return [(round(t, 3), round(p.x, 3), round(p.y, 3)) for t, p in places if math.isfinite(p.x + p.y)]


def _points(points: Any) -> list[tuple[float, float]]:
    return [(round(float(p[0]), 3), round(float(p[1]), 3)) for p in points]


def _markers(
    recording: Recording, controller: str, start: float
) -> tuple[dict[str, list[tuple[float, float]]], list[Solid]]:
    """The modes' ways and the obstacles, as the controller drew them."""
    modes: dict[str, list[tuple[float, float]]] = {}
    seen: dict[tuple[Any, ...], list[float]] = {}
    for heard in recording.messages([f"{controller}/markers"]):
        at = heard.published - start
        for marker in heard.message.markers:
            if marker.ns == "modes" and marker.type == LINE_STRIP:
                modes[str(marker.id)] = _points((p.x, p.y) for p in marker.points)
            elif marker.ns == "obstacles" and marker.action == ADD:
                interval = seen.setdefault(_solid(marker), [at, at])
                interval[1] = at + 0.5  # the controller draws again after that
    return modes, [Solid(round(a, 3), round(b, 3), *place) for place, (a, b) in seen.items()]


def _solid(marker: Any) -> tuple[Any, ...]:
    position, q, scale = marker.pose.position, marker.pose.orientation, marker.scale
    yaw = round(math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z)), 3)
    kind = "cylinder" if marker.type == CYLINDER else "box"
    return kind, round(position.x, 3), round(position.y, 3), yaw, round(scale.x, 3), round(scale.y, 3)


def _seen(recording: Recording, odometry: Sequence[Heard], parameters: Mapping[str, Any]) -> tuple[list[Any], float]:
    """Centres of the cells in which scan or map have something, and the size of a cell."""
    sensor = parameters.get("scan_pose", [0.0, 0.0, 0.0])
    found: set[tuple[int, int]] = set()
    for points in (*_scans(recording, odometry, sensor), *_maps(recording)):
        found |= {(int(x), int(y)) for x, y in np.unique(np.floor(points / CELL), axis=0)}
    cell = CELL
    while len(found) > CELLS:
        cell, found = 2 * cell, {(x // 2, y // 2) for x, y in found}
    return [(round((x + 0.5) * cell, 3), round((y + 0.5) * cell, 3)) for x, y in sorted(found)], cell


def _scans(recording: Recording, odometry: Sequence[Heard], sensor: Sequence[float]) -> list[np.ndarray]:
    waiting = deque(odometry)
    track: deque[RobotState] = deque(maxlen=20)
    clouds = []
    for heard in recording.messages(recording.of_type(SCAN)):
        stamp = seconds(heard.message.header.stamp) or heard.published
        while waiting and (not track or track[-1].stamp < stamp):
            message = waiting.popleft().message
            track.append(read_odometry(message, seconds(message.header.stamp)))
        if not track:
            continue
        x, y, yaw = pose_at(track, stamp)
        cos, sin = math.cos(yaw), math.sin(yaw)
        place = (x + cos * sensor[0] - sin * sensor[1], y + sin * sensor[0] + cos * sensor[1], yaw + sensor[2])
        try:
            clouds.append(read_scan(heard.message, place))
        except ScanError:  # the controller has refused it too, and said so in its faults
            continue
    return clouds


def _maps(recording: Recording) -> list[np.ndarray]:
    everywhere = np.full(2, -math.inf), np.full(2, math.inf)
    clouds = []
    for heard in recording.messages(recording.of_type(MAP)):
        try:
            clouds.append(read_grid(heard.message, everywhere))
        except ScanError:
            continue
    return clouds[-1:]
