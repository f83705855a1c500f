"""Point mazes: a holonomic base in the four mazes of the DDiffPG paper.

Cells are 1 m; x grows with the column, y with the row, the origin is the centre of the cell R in
which the robot starts, G are goals, 1 is wall. The base takes a velocity (m/s) at 10 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import numpy as np

from ddiffpg.observation import RobotState
from ddiffpg_core.spec import ActionField, ActionSpec, ObservationField, TaskSpec

from .obstacles import Obstacle, obstacles_xml
from .task import Task, Wall, Way

Cell = tuple[int, int]

_MODEL = """
<mujoco model="{name}">
  <compiler autolimits="true"/>
  <option timestep="{timestep}" integrator="implicitfast" jacobian="dense">
    <flag gravity="disable" midphase="disable"/>
  </option>
  <statistic center="{center}" extent="{extent}"/>
  <visual>
    <global offwidth="1280" offheight="1280"/>
    <headlight ambient="0.5 0.5 0.5" diffuse="0.5 0.5 0.5" specular="0 0 0"/>
  </visual>
  <default>
    <!-- The servo pushes with 20 m/s^2: this impedance keeps a robot that leans on a wall within 1 mm
         of its surface. Contacts have no friction (condim 1), so it slides along. -->
    <geom condim="1" solref="0.04 1" solimp="0.99 0.999 0.001" contype="0" conaffinity="0"/>
    <default class="wall"><geom type="box" conaffinity="1" rgba="0.35 0.38 0.42 1"/></default>
    <!-- As dead a blow, but a weaker spring: one that appears on top of the robot pushes it out at
         about 1 m/s instead of firing it through a wall. -->
    <default class="obstacle"><geom conaffinity="1" priority="1" solref="-100 -50" rgba="0.85 0.25 0.2 1"/></default>
  </default>
  <worldbody>
    <geom name="floor" type="plane" size="20 20 1" rgba="0.93 0.93 0.91 1"/>
    {goals}
    {walls}
    {obstacles}
    <body name="robot" pos="0 0 {radius}">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <!-- In the plane a sphere at mid-height is the same as an upright cylinder, and its contacts are exact. -->
      <geom name="robot" type="sphere" size="{radius}" mass="1" contype="1" rgba="0 0 0 0"/>
      <geom type="cylinder" size="{radius} {radius}" mass="0" rgba="0.15 0.4 0.8 1"/>
    </body>
  </worldbody>
  <actuator>
    <velocity name="vx" joint="x" kv="20" ctrlrange="-1 1"/>
    <velocity name="vy" joint="y" kv="20" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""


@dataclass(frozen=True)
class PointMaze:
    """One maze. ``routes`` are the ways it was made to allow: name and the corner cells (row, column) passed.

    The robot reaches a goal within ``goal_radius`` of it; that pays 1 and ends the episode. It starts
    at rest, up to ``start_spread`` from the origin in x and in y.
    """

    name: str
    maze: tuple[str, ...]
    max_steps: int
    routes: tuple[tuple[str, tuple[Cell, ...]], ...]
    robot_radius: float = 0.1
    goal_radius: float = 0.3
    start_spread: float = 0.1
    wall_height: float = 0.5
    rate_hz: float = 10.0
    substeps: int = 5

    @cached_property
    def spec(self) -> TaskSpec:
        (x, y), (half_x, half_y) = self.center, self.half_extent
        return TaskSpec(
            name=self.name,
            robot="pointbase",
            rate_hz=self.rate_hz,
            max_steps=self.max_steps,
            observation=(
                ObservationField("x", "odom.position.x", "m", offset=x, scale=half_x),
                ObservationField("y", "odom.position.y", "m", offset=y, scale=half_y),
                ObservationField("vx", "odom.linear_velocity.x", "m/s"),
                ObservationField("vy", "odom.linear_velocity.y", "m/s"),
            ),
            action=ActionSpec(
                "base_velocity",
                (ActionField("vx", "m/s", -1.0, 1.0), ActionField("vy", "m/s", -1.0, 1.0)),
            ),
            path=("x", "y"),
            path_tolerance=0.6,
        )

    # ---- the world -----------------------------------------------------------------------------

    @cached_property
    def center(self) -> tuple[float, float]:
        """Middle of the maze, outer walls included, in metres."""
        row, column = self._cells("R")[0]
        return (len(self.maze[0]) - 1) / 2 - column, (len(self.maze) - 1) / 2 - row

    @property
    def half_extent(self) -> tuple[float, float]:
        """Half of the maze's size in x and y, outer walls included, in metres."""
        return len(self.maze[0]) / 2, len(self.maze) / 2

    @cached_property
    def goals(self) -> np.ndarray:
        """``[G, 2]`` in metres."""
        return np.array([self._point(cell) for cell in self._cells("G")])

    @cached_property
    def free_cells(self) -> np.ndarray:
        """Centres of the cells that are not wall: ``[C, 2]`` in metres."""
        return np.array([self._point(cell) for mark in "0RG" for cell in self._cells(mark)])

    @cached_property
    def walls(self) -> tuple[Wall, ...]:
        """Walls as few boxes as a greedy cover gives; a robot sliding along sees no seams."""
        return tuple(self._wall(block) for block in _blocks(self.maze))

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """The intended ways, each from the origin to its goal."""
        goals = self._cells("G")
        return tuple(
            Way(name, goals.index(cells[-1]), ((0.0, 0.0), *(self._point(c) for c in cells)))
            for name, cells in self.routes
        )

    def model_xml(self, obstacles: Sequence[Obstacle] = ()) -> str:
        return _MODEL.format(
            name=self.name,
            timestep=1.0 / (self.rate_hz * self.substeps),
            center=f"{self.center[0]} {self.center[1]} 0",
            extent=max(self.half_extent),
            radius=self.robot_radius,
            goals="\n    ".join(self._goal_xml(i, goal) for i, goal in enumerate(self.goals)),
            walls="\n    ".join(self._wall_xml(i, wall) for i, wall in enumerate(self.walls)),
            obstacles=obstacles_xml(obstacles, self.wall_height),
        )

    # ---- an episode ----------------------------------------------------------------------------

    def start(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """At rest near the origin: ``qpos [count, 2]``, ``qvel [count, 2]``."""
        return rng.uniform(-self.start_spread, self.start_spread, (count, 2)), np.zeros((count, 2))

    def observe(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """``obs [N, 4]``: x, y (m), vx, vy (m/s)."""
        return np.concatenate([qpos, qvel], axis=1, dtype=np.float32)

    def control(self, action: np.ndarray) -> np.ndarray:
        """The servo takes the velocity as it is: ``[N, 2]``."""
        return action

    def robot_state(self, stamp: float, qpos: np.ndarray, qvel: np.ndarray) -> RobotState:
        """The base keeps its heading and stays on the floor; it has no joints that it could report."""
        return RobotState(
            stamp=stamp,
            position=np.array([qpos[0], qpos[1], 0.0]),
            orientation=np.array([1.0, 0.0, 0.0, 0.0]),
            linear_velocity=np.array([qvel[0], qvel[1], 0.0]),
            angular_velocity=np.zeros(3),
        )

    def success(self, qpos: np.ndarray) -> np.ndarray:
        return self.distance_to_goal(qpos) < self.goal_radius

    def reward(self, qpos: np.ndarray) -> np.ndarray:
        return self.success(qpos).astype(np.float32)

    # ---- measurements --------------------------------------------------------------------------

    def distances_to_goals(self, points: np.ndarray) -> np.ndarray:
        """``points [P, 2]`` -> metres to each goal ``[P, G]``."""
        offset = points[:, None, :] - self.goals
        return np.sqrt(np.einsum("pgi,pgi->pg", offset, offset))

    def distance_to_goal(self, points: np.ndarray) -> np.ndarray:
        """``points [P, 2]`` -> metres to the nearest goal ``[P]``."""
        return self.distances_to_goals(points).min(axis=1)

    def nearest_goal(self, points: np.ndarray) -> np.ndarray:
        """``points [P, 2]`` -> index of the nearest goal ``[P]``."""
        return self.distances_to_goals(points).argmin(axis=1)

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """``points [P, 2]`` -> metres to the nearest wall ``[P]``, negative inside one."""
        centers = np.array([w.center for w in self.walls])
        halves = np.array([w.half_size for w in self.walls])
        gap = np.abs(np.asarray(points, float)[:, None, :] - centers) - halves
        outside = np.linalg.norm(np.maximum(gap, 0.0), axis=-1)
        inside = np.minimum(gap.max(axis=-1), 0.0)
        return (outside + inside).min(axis=1)

    # ---- from cells to metres ------------------------------------------------------------------

    def _cells(self, mark: str) -> list[Cell]:
        return [(r, c) for r, row in enumerate(self.maze) for c, cell in enumerate(row) if cell == mark]

    def _point(self, cell: Cell) -> tuple[float, float]:
        row, column = self._cells("R")[0]
        return float(cell[1] - column), float(cell[0] - row)

    def _wall(self, block: tuple[Cell, Cell]) -> Wall:
        (x0, y0), (x1, y1) = (self._point(corner) for corner in block)
        return Wall(((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0 + 1) / 2, (y1 - y0 + 1) / 2))

    def _wall_xml(self, index: int, wall: Wall) -> str:
        half = self.wall_height / 2
        return (
            f'<geom name="wall{index}" class="wall" pos="{wall.center[0]} {wall.center[1]} {half}" '
            f'size="{wall.half_size[0]} {wall.half_size[1]} {half}"/>'
        )

    def _goal_xml(self, index: int, goal: np.ndarray) -> str:
        return (
            f'<site name="goal{index}" type="cylinder" pos="{goal[0]} {goal[1]} 0.002" '
            f'size="{self.goal_radius} 0.002" rgba="0.2 0.7 0.3 1"/>'
        )


def _blocks(maze: tuple[str, ...]) -> list[tuple[Cell, Cell]]:
    """Cover the wall cells with rectangles (first cell, last cell), row by row, as wide, then as deep as it goes."""
    left = {(r, c) for r, row in enumerate(maze) for c, cell in enumerate(row) if cell == "1"}
    blocks = []
    while left:
        row, column = min(left)
        end, bottom = column, row
        while (row, end + 1) in left:
            end += 1
        while all((bottom + 1, c) in left for c in range(column, end + 1)):
            bottom += 1
        left -= {(r, c) for r in range(row, bottom + 1) for c in range(column, end + 1)}
        blocks.append(((row, column), (bottom, end)))
    return blocks


_MAZES: tuple[PointMaze, ...] = (
    PointMaze(
        "pointmaze-v1",
        ("11111", "10001", "1G1R1", "10001", "11111"),
        max_steps=150,
        routes=(
            ("row 1", ((1, 3), (1, 1), (2, 1))),
            ("row 3", ((3, 3), (3, 1), (2, 1))),
        ),
    ),
    PointMaze(
        "pointmaze-v2",
        ("1111111", "1011101", "1011101", "100R0G1", "1011101", "1G11101", "1111111"),
        max_steps=150,
        routes=(
            ("near goal", ((3, 5),)),
            ("far goal", ((3, 1), (5, 1))),
        ),
    ),
    PointMaze(
        "pointmaze-v3",
        (
            "111111111",
            "1000001G1",
            "101100001",
            "100000101",
            "1010R0001",
            "100000101",
            "101100101",
            "1G0000001",
            "111111111",
        ),
        max_steps=200,
        routes=(
            ("row 2", ((3, 4), (2, 4), (2, 7), (1, 7))),
            ("column 7", ((4, 7), (1, 7))),
            ("row 7", ((7, 4), (7, 1))),
            ("row 5", ((4, 3), (5, 3), (5, 1), (7, 1))),
            ("row 3", ((4, 3), (3, 3), (3, 1), (7, 1))),
        ),
    ),
    PointMaze(
        "pointmaze-v4",
        ("1111111", "1000101", "1G10001", "10001R1", "1G10001", "1000101", "1111111"),
        max_steps=200,
        routes=(
            ("row 2, row 1", ((2, 5), (2, 3), (1, 3), (1, 1), (2, 1))),
            ("row 2, row 3", ((2, 5), (2, 3), (3, 3), (3, 1), (2, 1))),
            ("row 4, row 3", ((4, 5), (4, 3), (3, 3), (3, 1), (4, 1))),
            ("row 4, row 5", ((4, 5), (4, 3), (5, 3), (5, 1), (4, 1))),
        ),
    ),
)


def _get(maze: PointMaze) -> Task:
    # To everyone but a type checker a cached property is a property.
    return cast(Task, maze)


TASKS: dict[str, Callable[[], Task]] = {maze.name: partial(_get, maze) for maze in _MAZES}
