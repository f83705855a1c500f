"""RViz markers: every mode's way, the chosen one, the state, and the obstacles that the controller knows of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from ddiffpg.contract import Mode
from ddiffpg.decision import WayStatus
from ddiffpg.marker_obstacles import MarkerObstacle

# Told apart by people with a colour vision deficiency too (Okabe and Ito).
COLOURS = ((0.00, 0.45, 0.70), (0.90, 0.62, 0.00), (0.00, 0.62, 0.45), (0.80, 0.47, 0.65), (0.34, 0.71, 0.91))
BLOCKED = (0.45, 0.45, 0.45)
CHOSEN = (0.94, 0.89, 0.26)
OBSTACLE = (0.84, 0.37, 0.00)
TEXT_AWAY, TEXT_HEIGHT = 0.6, 0.15  # m


def picture(
    head: Header,
    modes: Sequence[Mode],
    ways: Sequence[WayStatus],
    corridor: np.ndarray,
    obstacles: Sequence[MarkerObstacle],
    lifetime: float,
    text: str = "",
) -> MarkerArray:
    """All of it, with ``text`` above the ways; each marker goes ``lifetime`` seconds after the last picture."""
    blocked = {way.id for way in ways if not way.free}
    found = [_way(mode, mode.id in blocked) for mode in modes]
    if text:
        found.append(_text(text, np.concatenate([np.array(mode.path, float)[:, :2] for mode in modes])))
    if len(corridor):
        found.append(_line("chosen_way", 0, corridor, CHOSEN, 0.06, 0.04))
    found.extend(_solid(number, obstacle) for number, obstacle in enumerate(obstacles))
    for marker in found:
        marker.header, marker.action = head, Marker.ADD
        marker.lifetime = Duration(sec=int(lifetime), nanosec=int(lifetime % 1 * 1e9))
    return MarkerArray(markers=found)


def _way(mode: Mode, blocked: bool) -> Marker:
    colour = BLOCKED if blocked else COLOURS[mode.id % len(COLOURS)]
    return _line("modes", mode.id, np.array(mode.path, float), colour, 0.03, 0.02)


def _line(ns: str, number: int, points: np.ndarray, colour: Sequence[float], width: float, height: float) -> Marker:
    marker = Marker(ns=ns, id=number, type=Marker.LINE_STRIP, color=_colour(colour, 1.0))
    marker.scale.x = width
    # Lines in the plane are drawn a little above the floor, one above the other.
    marker.points = [Point(**dict(zip("xyz", map(float, (*point, height))))) for point in points]
    return marker


def _text(text: str, ways: np.ndarray) -> Marker:
    """``ways [P, 2]`` (m): all points of all ways."""
    low, high = ways.min(axis=0), ways.max(axis=0)
    marker = Marker(ns="state", type=Marker.TEXT_VIEW_FACING, color=_colour((1.0, 1.0, 1.0), 1.0), text=text)
    marker.pose.position.x, marker.pose.position.y = float(low[0] + high[0]) / 2, float(high[1]) + TEXT_AWAY
    marker.pose.orientation.w, marker.scale.z = 1.0, TEXT_HEIGHT
    return marker


def _solid(number: int, obstacle: MarkerObstacle) -> Marker:
    kind = Marker.CUBE if obstacle.shape == "box" else Marker.CYLINDER
    marker = Marker(ns="obstacles", id=number, type=kind, color=_colour(OBSTACLE, 0.6))
    position, q, scale = marker.pose.position, marker.pose.orientation, marker.scale
    position.x, position.y, position.z = obstacle.center
    q.w, q.z = math.cos(obstacle.yaw / 2), math.sin(obstacle.yaw / 2)
    scale.x, scale.y, scale.z = (2.0 * half for half in obstacle.half_size)
    return marker


def _colour(rgb: Sequence[float], alpha: float) -> ColorRGBA:
    r, g, b = rgb
    return ColorRGBA(r=r, g=g, b=b, a=alpha)
