"""Pictures of a run: the world from above, drawn with Pillow, and GIFs of it.

x goes right and y goes up, as in RViz. ``gl.py`` draws the same scenes in three dimensions where
that works; ``open_canvas`` there chooses.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .obstacles import Obstacle
from .task import PlanarTask, Task, planar

Color = tuple[int, int, int]

FLOOR: Color = (240, 240, 236)
WALL: Color = (88, 96, 106)
GOAL: Color = (120, 200, 140)
ROBOT: Color = (30, 90, 200)
OBSTACLE: Color = (205, 70, 55)
TRAIL: Color = (30, 90, 200)
INK: Color = (30, 30, 30)
_MODES: tuple[Color, ...] = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (148, 103, 189),
    (214, 39, 40),
    (140, 86, 75),
    (227, 119, 194),
    (23, 190, 207),
)
AZIMUTH, ELEVATION = 55.0, -25.0  # degrees, as MuJoCo's cameras have them: from behind the robot's right shoulder
_FINE = 2  # drawn this much larger, then made small again: smooth edges
_CAPTION = 0.07  # height of the caption, as a share of the picture's width


def mode_color(mode_id: int) -> Color:
    """The colour of a mode, the same in every picture; grey for -1 (no mode)."""
    return (130, 130, 130) if mode_id < 0 else _MODES[mode_id % len(_MODES)]


def faint(color: Color) -> Color:
    """The same colour, mixed with much of the floor's."""
    r, g, b = (round(0.35 * c + 0.65 * 240) for c in color)
    return r, g, b


@dataclass(frozen=True, eq=False)
class Line:
    """``points [P, 2]``, for an arm ``[P, 3]``, in metres, drawn ``width`` metres wide."""

    points: np.ndarray
    color: Color = TRAIL
    width: float = 0.04


@dataclass(frozen=True)
class View:
    """From where a scene in three dimensions is seen: ``center`` (m) is in the middle of the picture, whose sides are
    somewhat more than twice ``extent`` (m) there. ``robot``: whether the robot is drawn too."""

    center: tuple[float, float, float]
    extent: float
    azimuth: float = AZIMUTH
    elevation: float = ELEVATION
    robot: bool = True


@dataclass(frozen=True, eq=False)
class Scene:
    """What is drawn over a task's walls and goals: lines first, then obstacles, then the robot (x, y).

    ``qpos [nq]`` are the positions of all joints: an arm is drawn by them, ``view`` says from where. ``limbs`` are the
    parts of a robot on a floor that has more than one, which ``gl.FlatCanvas`` makes of ``qpos``.
    """

    robot: tuple[float, float] | None = None
    robot_color: Color = ROBOT
    lines: tuple[Line, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    caption: str = ""
    qpos: np.ndarray | None = None
    view: View | None = None
    limbs: tuple[Line, ...] = ()


def draw(task: Task, scene: Scene, pixels: int = 480) -> Image.Image:
    """``scene`` from above; the longer side of the world takes ``pixels``. A caption adds a line below.

    ValueError for a task that is not on a floor: ``gl.flat_canvas`` draws any.
    """
    task = planar(task, "a picture from above")
    paper = _Paper(task, pixels * _FINE)
    for wall in task.walls:
        paper.polygon(_corners(wall.center, wall.half_size, 0.0), WALL)
    for goal in task.goals:
        paper.disc(goal, task.goal_radius, GOAL)
    for line in scene.lines:
        paper.line(line)
    for obstacle in scene.obstacles:
        if obstacle.shape == "cylinder":
            paper.disc(obstacle.center[:2], obstacle.half_size[0], OBSTACLE)
        else:
            paper.polygon(_corners(obstacle.center[:2], obstacle.half_size[:2], obstacle.yaw), OBSTACLE)
    for limb in scene.limbs:
        paper.limb(limb)
    if scene.robot is not None and not scene.limbs:
        paper.disc(scene.robot, task.robot_radius, scene.robot_color)
    picture = paper.image.reduce(_FINE)
    return with_caption(picture, scene.caption) if scene.caption else picture


def with_caption(picture: Image.Image, text: str) -> Image.Image:
    """``picture`` with a line of ``text`` below: smaller where it is long, cut where it is too long."""
    height = max(14, round(picture.width * _CAPTION))
    page = Image.new("RGB", (picture.width, picture.height + height), (255, 255, 255))
    page.paste(picture, (0, 0))
    pen = ImageDraw.Draw(page)
    text, font = fitted(pen, text, picture.width - 12, height * 0.6)
    pen.text((6, picture.height + height / 2), text, fill=INK, font=font, anchor="lm")
    return page


def fitted(pen: ImageDraw.ImageDraw, text: str, width: float, size: float):
    """``text`` and a font in which it is no longer than ``width`` pixels."""
    needed = pen.textlength(text, font=ImageFont.load_default(size))
    font = ImageFont.load_default(size * min(1.0, max(0.6, 0.98 * width / max(needed, 1.0))))
    cut = text
    while cut and pen.textlength(text, font=font) > width:
        cut = cut[:-1]
        text = cut + "..."
    return text, font


def save_gif(
    frames: Iterable[Image.Image],
    path: str | os.PathLike[str],
    fps: float = 10.0,
    hold: float = 0.0,
    colors: int = 255,
    keep: Sequence[Color] = (),
) -> None:
    """All ``frames`` as an endless GIF of at most ``colors`` colours, the last shown ``hold`` seconds longer.

    ``keep`` are among the colours however little there is of them. ValueError where there is no frame; OSError where
    it cannot be written.
    """
    # One set of colours for all frames keeps them from flickering and the file small.
    rgb = [frame.convert("RGB") for frame in frames]
    if not rgb:
        raise ValueError("no frames to make a GIF of")
    palette = _palette(rgb[-1], colors, keep)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in rgb]
    duration = [max(20, round(1000 / fps))] * len(indexed)
    duration[-1] += round(1000 * hold)
    indexed[0].save(
        path, format="GIF", save_all=True, append_images=indexed[1:], duration=duration, loop=0, optimize=True
    )


def _palette(picture: Image.Image, colors: int, keep: Sequence[Color]) -> Image.Image:
    """An image whose palette has ``keep`` and what ``picture`` needs most besides."""
    palette = picture.quantize(colors - len(keep), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    found = palette.getpalette() or []
    palette.putpalette([*found, *(part for color in keep for part in color)])
    return palette


def _corners(center: Iterable[float], half_size: Iterable[float], yaw: float) -> np.ndarray:
    """A box's corners ``[4, 2]``."""
    turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return np.array([*center]) + (signs * np.array([*half_size])) @ turn.T


def _apart(points: list[tuple[float, float]], distance: float) -> list[tuple[float, float]]:
    """The last point, and of the others those that are ``distance`` from the one before: much nearer ones, of which
    each is rounded to a pixel, would make a ragged line."""
    kept = [points[0]]
    for point in points[1:-1]:
        if math.dist(point, kept[-1]) >= distance:
            kept.append(point)
    return [*kept, points[-1]]


class _Paper:
    """A sheet as large as the walls reach, with a pen that speaks metres."""

    def __init__(self, task: PlanarTask, pixels: int) -> None:
        corners = np.concatenate([_corners(w.center, w.half_size, 0.0) for w in task.walls])
        (self._left, _), (_, self._top) = corners.min(axis=0), corners.max(axis=0)
        extent = corners.max(axis=0) - corners.min(axis=0)
        self._scale = pixels / extent.max()
        # A multiple of _FINE on each side, so that nothing is cut off when it is made small.
        width, height = (round(side * self._scale / _FINE) * _FINE for side in extent)
        self.image = Image.new("RGB", (width, height), FLOOR)
        self._pen = ImageDraw.Draw(self.image)

    def polygon(self, points: np.ndarray, color: Color) -> None:
        self._pen.polygon(self._pixels(points), fill=color)

    def disc(self, center: Iterable[float], radius: float, color: Color) -> None:
        [(x, y)] = self._pixels(np.array([[*center]]))
        r = radius * self._scale
        self._pen.ellipse((x - r, y - r, x + r, y + r), fill=color)

    def line(self, line: Line) -> None:
        points, width = self._pixels(np.asarray(line.points, float)), max(1, round(line.width * self._scale))
        if len(points) > 1:
            self._pen.line(_apart(points, width / 2), fill=line.color, width=width, joint="curve")

    def limb(self, line: Line) -> None:
        """A line with round ends; of one point, a disc."""
        self.line(line)
        for point in line.points:
            self.disc(point, line.width / 2, line.color)

    def _pixels(self, points: np.ndarray) -> list[tuple[float, float]]:
        return [((x - self._left) * self._scale, (self._top - y) * self._scale) for x, y in points.tolist()]
