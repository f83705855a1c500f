"""The same scenes in three dimensions, by MuJoCo's own renderer without a screen, where that works.

Whether it works is found out in another process: a broken graphics driver can end the one that asks.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import mujoco
import numpy as np
from PIL import Image

from .obstacles import World
from .render import Color, Line, Scene, View, draw, with_caption
from .sketch import ROBOT_GROUP, SketchCanvas, first_pose, whole
from .task import PlanarTask, Task

BACKENDS = ("egl", "osmesa")
_TRY_SECONDS = 60.0
_GEOMETRIES = 4000


class Canvas(Protocol):
    """Something that draws scenes; ``name`` says with what."""

    name: str

    def draw(self, scene: Scene) -> Image.Image: ...

    def close(self) -> None: ...


class FlatCanvas:
    """From above, with Pillow: works everywhere, for robots on a floor. One of many bodies is drawn with its limbs."""

    name = "pillow"

    def __init__(self, task: Task, pixels: int) -> None:
        self._task, self._pixels = task, pixels
        self._model = World(task).model
        self._data = mujoco.MjData(self._model)

    def draw(self, scene: Scene) -> Image.Image:
        if scene.qpos is not None:
            scene = replace(scene, limbs=self._limbs(scene.qpos, scene.robot_color))
        return draw(self._task, scene, self._pixels)

    def _limbs(self, qpos: np.ndarray, color: Color) -> tuple[Line, ...]:
        """Balls and capsules of a robot that stands as ``qpos [nq]`` says, as lines from above."""
        model, data = self._model, self._data
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        limbs = []
        for i in np.flatnonzero(model.geom_group == ROBOT_GROUP):
            along = data.geom_xmat[i].reshape(3, 3)[:, 2] * model.geom_size[i, 1]  # a ball has no length
            ends = data.geom_xpos[i] + np.outer((-1, 1), along)
            limbs.append(Line(ends[:, :2], color, 2 * float(model.geom_size[i, 0])))
        return tuple(limbs)

    def close(self) -> None:
        """Nothing to give back."""


def flat_canvas(task: Task, pixels: int) -> FlatCanvas | SketchCanvas:
    """What draws ``task`` with Pillow alone: a floor from above, an arm in three dimensions."""
    return FlatCanvas(task, pixels) if isinstance(task, PlanarTask) else SketchCanvas(task, pixels)


class SolidCanvas:
    """In three dimensions, with MuJoCo over ``backend`` ("egl" or "osmesa"), seen from above at a slant.

    Raises whatever the backend raises where it does not work; ``works`` asks without that risk.
    """

    def __init__(self, task: Task, pixels: int, backend: str) -> None:
        self.name = f"mujoco ({backend})"
        self._task, self._pixels = task, pixels
        self._world = World(task)
        self._context = importlib.import_module(f"mujoco.{backend}").GLContext(pixels, pixels)
        self._context.make_current()
        view = whole(self._world.model)
        self._camera = _camera(
            replace(view, azimuth=90.0, elevation=-65.0) if isinstance(task, PlanarTask) else view
        )
        self._use_model()

    def draw(self, scene: Scene) -> Image.Image:
        if self._world.replace(scene.obstacles):
            self._use_model()
        self._world.write_poses(self._data)
        if scene.qpos is not None:
            self._data.qpos[:] = scene.qpos
        elif scene.robot is not None:
            self._data.qpos[:2] = scene.robot
        mujoco.mj_forward(self._world.model, self._data)
        mujoco.mjv_updateScene(
            self._world.model,
            self._data,
            _option(scene.view),
            None,
            self._camera if scene.view is None else _camera(scene.view),
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        for line in scene.lines:
            _add_line(self._scene, line)
        picture = self._read()
        return with_caption(picture, scene.caption) if scene.caption else picture

    def close(self) -> None:
        self._gl.free()
        self._context.free()

    def _use_model(self) -> None:
        model = self._world.model
        self._data = mujoco.MjData(model)
        if not isinstance(self._task, PlanarTask):
            self._data.qpos[:] = first_pose(self._task)
        self._scene = mujoco.MjvScene(model, _GEOMETRIES)
        self._gl = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._gl)

    def _read(self) -> Image.Image:
        frame = mujoco.MjrRect(0, 0, self._pixels, self._pixels)
        mujoco.mjr_render(frame, self._scene, self._gl)
        rgb = np.zeros((self._pixels, self._pixels, 3), np.uint8)
        mujoco.mjr_readPixels(rgb, None, frame, self._gl)
        return Image.fromarray(rgb[::-1])


@functools.cache
def works(backend: str) -> bool:
    """Can MuJoCo draw over ``backend`` here? Tried in a process of its own."""
    code = (
        "from ddiffpg_sim import gl, tasks; from ddiffpg_sim.render import Scene; "
        f"c = gl.SolidCanvas(tasks.make(tasks.names()[0]), 64, {backend!r}); "
        "shades = c.draw(Scene(robot=(0.0, 0.0))).getextrema(); c.close(); "
        "raise SystemExit(0 if any(low < high for low, high in shades) else 1)"
    )
    # The other process finds this package wherever this one did.
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        tried = subprocess.run(
            [sys.executable, "-c", code], env=found, capture_output=True, timeout=_TRY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return tried.returncode == 0


def open_canvas(task: Task, pixels: int = 480, kind: str = "auto", say: Callable[[str], None] = print) -> Canvas:
    """A canvas of ``kind``: "pillow", "egl", "osmesa", or "auto" for the first of MuJoCo's that works, else Pillow.

    ``say`` is told which one it is. Raises ValueError for an unknown kind, RuntimeError where the one
    asked for by name does not work here.
    """
    if kind not in ("auto", "pillow", *BACKENDS):
        raise ValueError(f"canvas is {kind!r}, expected one of auto, pillow, {', '.join(BACKENDS)}")
    tried = BACKENDS if kind == "auto" else tuple(b for b in BACKENDS if b == kind)
    backend = next((b for b in tried if works(b)), None)
    if backend is None and kind in BACKENDS:
        raise RuntimeError(f"MuJoCo cannot draw over {kind} on this machine")
    canvas = flat_canvas(task, pixels) if backend is None else SolidCanvas(task, pixels, backend)
    failed = f" (MuJoCo draws over none of {', '.join(tried)} here)" if tried and backend is None else ""
    say(f"drawing with {canvas.name}{failed}")
    return canvas


def _option(view: View | None) -> mujoco.MjvOption:
    option = mujoco.MjvOption()
    if view is not None and not view.robot:
        option.geomgroup[ROBOT_GROUP] = 0
    return option


def _camera(view: View) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = view.center
    camera.distance = 2.9 * view.extent
    camera.azimuth, camera.elevation = view.azimuth, view.elevation
    return camera


def _add_line(scene: mujoco.MjvScene, line: Line) -> None:
    """As a chain of capsules, in the plane a little above the floor; what does not fit is left out."""
    rgba = np.array([*line.color, 255], np.float32) / 255
    points = np.asarray(line.points, float)
    if points.shape[1] == 2:
        points = np.column_stack([points, np.full(len(points), line.width)])
    for start, end in zip(points[:-1], points[1:], strict=True):
        if scene.ngeom >= scene.maxgeom:
            return
        geom = scene.geoms[scene.ngeom]
        kind = mujoco.mjtGeom.mjGEOM_CAPSULE
        mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), rgba)
        mujoco.mjv_connector(geom, kind, line.width / 2, start, end)
        scene.ngeom += 1
