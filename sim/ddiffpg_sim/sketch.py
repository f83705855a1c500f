"""Any scene in three dimensions with Pillow alone: boxes, capsules and spheres, far ones first, no perspective.

For where MuJoCo's own renderer does not work, and for pictures that must look the same everywhere.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from PIL import Image, ImageDraw

from .obstacles import World
from .render import FLOOR, Line, Scene, View, with_caption
from .task import Task

ROBOT_GROUP = 1  # of geometries: a robot of many bodies
_FINE = 2  # drawn this much larger, then made small again: smooth edges
_CELL = 0.04  # m
_FACES = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
_CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_LIGHT = np.array([0.3, -0.5, 0.8])


def first_pose(task: Task) -> np.ndarray:
    """Joint positions ``[nq]`` in which a world is shown that nobody moved yet."""
    return task.start(np.random.default_rng(0), 1)[0][0]


class SketchCanvas:
    """Draws scenes of ``task`` as long as ``pixels`` on each side."""

    name = "pillow"

    def __init__(self, task: Task, pixels: int) -> None:
        self._task, self._pixels = task, pixels
        self._world = World(task)
        self._data = mujoco.MjData(self._world.model)

    def draw(self, scene: Scene) -> Image.Image:
        if self._world.replace(scene.obstacles):
            self._data = mujoco.MjData(self._world.model)
        self._world.write_poses(self._data)
        self._data.qpos[:] = first_pose(self._task) if scene.qpos is None else scene.qpos
        mujoco.mj_kinematics(self._world.model, self._data)
        picture = sketch(self._world.model, self._data, scene.lines, self._pixels, scene.view)
        return with_caption(picture, scene.caption) if scene.caption else picture

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True, eq=False)
class _Patch:
    """A polygon of pixels; or where ``radius`` (pixels) is given, a ball at its one point."""

    depth: float
    points: list[tuple[float, float]]
    color: tuple[int, int, int, int]
    radius: float = 0.0


def whole(model: mujoco.MjModel) -> View:
    """The middle of the model's world in the middle of the picture."""
    return View(tuple(model.stat.center), float(model.stat.extent))


def sketch(
    model: mujoco.MjModel, data: mujoco.MjData, lines: tuple[Line, ...], pixels: int, view: View | None = None
) -> Image.Image:
    """``model`` as ``data`` has it, seen as ``view`` says (None: all of it); ``lines`` over everything."""
    view = view or whole(model)
    eye = _Eye(view, pixels * _FINE)
    image = Image.new("RGB", (pixels * _FINE, pixels * _FINE), FLOOR)
    pen = ImageDraw.Draw(image, "RGBA")
    shown = (model.geom_rgba[:, 3] > 0) & (view.robot | (model.geom_group != ROBOT_GROUP))
    seen = np.flatnonzero(shown).tolist()
    for patch in sorted((p for i in seen for p in _patches(model, data, i, eye)), key=lambda p: -p.depth):
        _put(pen, patch)
    for line in lines:
        points, _ = eye.see(np.asarray(line.points, float))
        pen.line(points, fill=line.color, width=max(1, round(line.width * eye.scale)), joint="curve")
    return image.reduce(_FINE)


class _Eye:
    """From metres to pixels: ``view`` in a square of ``size`` pixels, of which ``scale`` are a metre."""

    def __init__(self, view: View, size: int) -> None:
        azimuth, elevation = math.radians(view.azimuth), math.radians(view.elevation)
        flat = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
        self.forward = math.cos(elevation) * flat + math.sin(elevation) * np.array([0.0, 0.0, 1.0])
        self._right = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
        self._up = np.cross(self._right, self.forward)
        self._center, self.scale, self._half = np.array(view.center), 0.42 * size / view.extent, size / 2

    def see(self, points: np.ndarray) -> tuple[list[tuple[float, float]], np.ndarray]:
        """``points [P, 3]`` -> their pixels and how far away they are ``[P]``."""
        offset = points - self._center
        x, y = self._half + self.scale * offset @ self._right, self._half - self.scale * offset @ self._up
        return list(zip(x.tolist(), y.tolist())), offset @ self.forward


def _patches(model: mujoco.MjModel, data: mujoco.MjData, geom: int, eye: _Eye) -> list[_Patch]:
    """What is seen of a geometry; nothing of a kind that no task here has."""
    kinds = mujoco.mjtGeom
    kind, size, rgba = kinds(model.geom_type[geom]), model.geom_size[geom], model.geom_rgba[geom]
    center, turn = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
    if kind == kinds.mjGEOM_BOX:
        return _box(center + (_CORNERS * size) @ turn.T, rgba, eye)
    if kind == kinds.mjGEOM_SPHERE:
        return _balls(center[None], size[0], rgba, eye)
    if kind in (kinds.mjGEOM_CAPSULE, kinds.mjGEOM_CYLINDER):
        along = np.linspace(-size[1], size[1], 2 + int(size[1] / _CELL * 4))
        return _balls(center + np.outer(along, turn[:, 2]), size[0], rgba, eye)
    return []


def _box(corners: np.ndarray, rgba: np.ndarray, eye: _Eye) -> list[_Patch]:
    """The sides of a box ``corners [8, 3]`` that look at the eye, shaded by where they look."""
    patches, middle = [], corners.mean(axis=0)
    for face in _FACES:
        side = corners[list(face)]
        outward = side.mean(axis=0) - middle
        if outward @ eye.forward < 0:
            light = 0.8 + 0.2 * float(outward @ _LIGHT) / (float(np.linalg.norm(outward)) or 1.0)
            patches.extend(_tiles(side, _rgb(rgba, light), eye))
    return patches


def _tiles(side: np.ndarray, color: tuple[int, int, int, int], eye: _Eye) -> list[_Patch]:
    """A side ``[4, 3]`` in small pieces: which of two is in front can be told of small ones by their middles."""
    a, b = side[1] - side[0], side[3] - side[0]
    across, down = (max(1, math.ceil(float(np.linalg.norm(edge)) / _CELL)) for edge in (a, b))
    a, b = a / across, b / down
    patches = []
    for i, j in np.ndindex(across, down):
        corner = side[0] + i * a + j * b
        points, depth = eye.see(np.array([corner, corner + a, corner + a + b, corner + b]))
        patches.append(_Patch(float(depth.mean()), points, color))
    return patches


def _balls(centers: np.ndarray, radius: float, rgba: np.ndarray, eye: _Eye) -> list[_Patch]:
    """Round things as balls close to each other, each with a darker rim a little behind it."""
    points, depth = eye.see(centers)
    size = radius * eye.scale
    rims = [_Patch(d, [p], _rgb(rgba, 0.65), size) for p, d in zip(points, depth)]
    inner = max(size - 2 * _FINE, 0.5)  # of what is smaller than its rim a spot is left
    return rims + [_Patch(d - radius, [p], _rgb(rgba, 0.92), inner) for p, d in zip(points, depth)]


def _rgb(rgba: np.ndarray, light: float = 1.0) -> tuple[int, int, int, int]:
    red, green, blue = (int(255 * min(1.0, light * float(c))) for c in rgba[:3])
    return red, green, blue, int(255 * float(rgba[3]))


def _put(pen: ImageDraw.ImageDraw, patch: _Patch) -> None:
    if not patch.radius:
        pen.polygon(patch.points, fill=patch.color)
        return
    [(x, y)], r = patch.points, patch.radius
    pen.ellipse((x - r, y - r, x + r, y + r), fill=patch.color)
