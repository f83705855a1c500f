"""The arm's four tasks of the DDiffPG paper (arXiv 2406.00681): reach, peg in hole, drawer, cabinet.

Where the robot stands and starts, where things are and what success is are the paper's. It leaves sizes open that
are chosen here: how wide a hole is, how deep a drawer, what a cabinet looks like around its door.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import panda
from .arm import ArmTask, Block, Done, SceneJoint
from .panda import Vector
from .task import Task, Way

_FOLDED = (0.0, -1.5, 0.0, -3.0, 0.0, 2.26, 0.79)
_SIDES = (("left", 1), ("right", -1))
_HEIGHTS = (("lower", -1), ("upper", 1))


def tip_near(goals: tuple[Vector, ...], radius: float) -> Done:
    """The tip is less than ``radius`` from one of ``goals`` (m)."""
    places = np.array(goals)
    return lambda tip, _: np.linalg.norm(tip[:, None] - places, axis=-1).min(axis=1) < radius


def _reach() -> ArmTask:
    """Bring the tip behind a cross of two bars, through any of its four quarters."""
    goal, radius = (-0.05, 0.0, 0.65), 0.1

    def way(height: str, up: int, side: str, left: int) -> Way:
        y, z, end = 0.1 * left, 0.67 + 0.09 * up, (-0.08, 0.05 * left, 0.65 + 0.05 * up)
        return Way(f"{height} {side}", 0, ((-0.323, 0.0, 0.455), (-0.28, y, z), (-0.19, y, z), end))

    return ArmTask(
        name="panda-reach",
        base_x=-0.6,
        start_joints=_FOLDED,
        path_tolerance=0.06,
        blocks=(Block((-0.22, 0.0, 0.67), (0.02, 0.005, 0.2)), Block((-0.22, 0.0, 0.67), (0.02, 0.2, 0.005))),
        ways=tuple(way(*height, *side) for height in _HEIGHTS for side in _SIDES),
        done=tip_near((goal,), radius),
        scene=f'<geom class="mark" type="sphere" size="{radius}" pos="{goal[0]} {goal[1]} {goal[2]}"/>',
    )


def _peg() -> ArmTask:
    """Put the peg that the gripper holds into either of two holes. The tip is the middle of the peg."""
    tcp, tool = panda.FLANGE_TO_TCP, panda.FLANGE_TO_TCP + 0.051
    return ArmTask(
        name="panda-peg",
        base_x=-0.6,
        start_joints=(0.0, 0.41, 0.0, -1.85, 0.0, 2.26, 0.79),
        start_spread=0.1,
        path_tolerance=0.1,
        blocks=(*_hole(0.15), *_hole(-0.15)),
        ways=tuple(
            Way(f"{side} hole", i, ((0.038, 0.0, 0.148), (0.05, 0.15 * left, 0.12), (0.05, 0.15 * left, 0.03)))
            for i, (side, left) in enumerate(_SIDES)
        ),
        done=tip_near(((0.05, 0.15, 0.01), (0.05, -0.15, 0.01)), 0.03),
        tool=tool,
        held=f'<geom type="box" pos="0 0 {tcp + 0.003}" size="0.016 0.016 0.0225"/>'
        f'<geom type="cylinder" pos="0 0 {tool}" size="0.0125 0.0255" rgba="0.75 0.6 0.42 1"/>',
    )


def _hole(y: float) -> tuple[Block, ...]:
    """A block of 0.114 m x 0.114 m, 0.058 m high, with a square hole of 0.04 m through its middle."""
    inner, side = 0.02, 0.0185
    return (
        Block((0.05 - inner - side, y, 0.03), (side, 0.057, 0.029)),
        Block((0.05 + inner + side, y, 0.03), (side, 0.057, 0.029)),
        Block((0.05, y - inner - side, 0.03), (inner, side, 0.029)),
        Block((0.05, y + inner + side, 0.03), (inner, side, 0.029)),
    )


_DRAWER = """<body name="{name}" pos="-0.35 {y} {z}">
      <joint name="{name}" type="slide" axis="-1 0 0" range="0 0.275" damping="5" frictionloss="1"/>
      <geom class="moving" size="0.275 0.165 0.0825" mass="1.5"/>
      <geom class="mark" type="box" size="0.02 0.05 0.006" pos="-0.295 0 0" rgba="0.3 0.32 0.36 1"/>
    </body>"""


def _drawer() -> ArmTask:
    """Push any of four open drawers shut. Each is 0.55 m deep and 0.33 m wide, in a solid chest."""
    drawers = [(f"drawer_{side}_{height}", 0.185 * left, 0.58 + 0.1 * up)
               for height, up in _HEIGHTS for side, left in _SIDES]  # fmt: skip

    def way(index: int, name: str, y: float, z: float) -> Way:
        return Way(name, index, ((-0.923, 0.0, 0.455), (-0.86, y, z), (-0.66, y, z)))

    return ArmTask(
        name="panda-drawer",
        base_x=-1.2,
        start_joints=_FOLDED,
        start_spread=0.1,
        path_tolerance=0.1,
        blocks=(Block((-0.335, 0.0, 0.58), (0.29, 0.37, 0.2)),),
        ways=tuple(way(i, *drawer) for i, drawer in enumerate(drawers)),
        done=lambda _, openings: openings.min(axis=1) <= 0.03,
        scene="\n    ".join(_DRAWER.format(name=name, y=y, z=z) for name, y, z in drawers),
        scene_joints=tuple(SceneJoint(name, "m", 0.17, 0.275) for name, _, _ in drawers),
    )


# A leaf as wide as half the cabinet, hinged on its outer side.
_DOOR = """<body name="cabinet_door" pos="-0.368 0.586 0.53">
      <joint name="cabinet_door" axis="0 0 -1" range="0 1.57" damping="0.5" frictionloss="0.5"/>
      <geom class="moving" size="0.01 0.241 0.415" pos="0 -0.241 0" mass="2.64"/>
    </body>"""


def _cabinet() -> ArmTask:
    """Open the cabinet's left half by its door's free edge, from behind.

    The right half is open. A rail parts its opening: the edge is reached below it or above.
    """

    def way(height: str, z: float) -> Way:
        points = ((-0.505, -0.08, 0.327), (-0.45, -0.05, z), (-0.3, -0.03, z), (-0.3, 0.14, z), (-0.52, 0.18, z))
        return Way(f"{height} the rail", 0, points)

    return ArmTask(
        name="panda-cabinet",
        base_x=-0.9,
        start_joints=(-0.2, -0.5, 0.0, -2.6, 0.0, 2.2, 0.79),
        path_tolerance=0.08,
        blocks=(
            Block((-0.045, 0.1, 0.53), (0.01, 0.5, 0.43)),  # back
            Block((-0.218, -0.39, 0.53), (0.163, 0.01, 0.43)),  # right side
            Block((-0.218, 0.595, 0.53), (0.14, 0.005, 0.43)),  # left side
            Block((-0.218, 0.1, 0.105), (0.14, 0.5, 0.005)),  # bottom
            Block((-0.218, 0.1, 0.955), (0.14, 0.5, 0.005)),  # top
            Block((-0.371, -0.14, 0.56), (0.01, 0.24, 0.015)),  # rail
        ),
        ways=(way("below", 0.3), way("above", 0.66)),
        done=lambda _, openings: openings[:, 0] >= 0.4,
        scene=_DOOR,
        scene_joints=(SceneJoint("cabinet_door", "rad", 0.0, 1.57),),
    )


TASKS: dict[str, Callable[[], Task]] = {
    "panda-reach": _reach,
    "panda-peg": _peg,
    "panda-drawer": _drawer,
    "panda-cabinet": _cabinet,
}
