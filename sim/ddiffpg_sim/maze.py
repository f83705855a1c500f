"""The four mazes of the DDiffPG paper (arXiv 2406.00681), for whatever robot drives in them.

x grows with the column, y with the row; the origin is the centre of the cell R in which the robot
starts, G are goals, 1 is wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ddiffpg_core.spec import ObservationField

from .obstacles import Obstacle, obstacles_xml
from .task import Wall, Way

Cell = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """Rows of cells. ``routes`` are the ways it was made to allow: name and the corner cells (row, column) passed."""

    rows: tuple[str, ...]
    routes: tuple[tuple[str, tuple[Cell, ...]], ...]


LAYOUTS = {
    "v1": Layout(
        ("11111", "10001", "1G1R1", "10001", "11111"),
        (
            ("row 1", ((1, 3), (1, 1), (2, 1))),
            ("row 3", ((3, 3), (3, 1), (2, 1))),
        ),
    ),
    "v2": Layout(
        ("1111111", "1011101", "1011101", "100R0G1", "1011101", "1G11101", "1111111"),
        (
            ("near goal", ((3, 5),)),
            ("far goal", ((3, 1), (5, 1))),
        ),
    ),
    "v3": Layout(
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
        (
            ("row 2", ((3, 4), (2, 4), (2, 7), (1, 7))),
            ("column 7", ((4, 7), (1, 7))),
            ("row 7", ((7, 4), (7, 1))),
            ("row 5", ((4, 3), (5, 3), (5, 1), (7, 1))),
            ("row 3", ((4, 3), (3, 3), (3, 1), (7, 1))),
        ),
    ),
    "v4": Layout(
        ("1111111", "1000101", "1G10001", "10001R1", "1G10001", "1000101", "1111111"),
        (
            ("row 2, row 1", ((2, 5), (2, 3), (1, 3), (1, 1), (2, 1))),
            ("row 2, row 3", ((2, 5), (2, 3), (3, 3), (3, 1), (2, 1))),
            ("row 4, row 3", ((4, 5), (4, 3), (3, 3), (3, 1), (4, 1))),
            ("row 4, row 5", ((4, 5), (4, 3), (5, 3), (5, 1), (4, 1))),
        ),
    ),
}


@dataclass(frozen=True)
class Maze:
    """A layout with cells of ``cell`` metres."""

    layout: Layout
    cell: float

    @cached_property
    def center(self) -> tuple[float, float]:
        """Middle of the maze, outer walls included, in metres."""
        rows = self.layout.rows
        row, column = self._cells("R")[0]
        return self.cell * ((len(rows[0]) - 1) / 2 - column), self.cell * ((len(rows) - 1) / 2 - row)

    @property
    def half_extent(self) -> tuple[float, float]:
        """Half of the maze's size in x and y, outer walls included, in metres."""
        return self.cell * len(self.layout.rows[0]) / 2, self.cell * len(self.layout.rows) / 2

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
        return tuple(self._wall(block) for block in _blocks(self.layout.rows))

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """The intended ways, each from the origin to its goal."""
        goals = self._cells("G")
        return tuple(
            Way(name, goals.index(cells[-1]), ((0.0, 0.0), *(self._point(c) for c in cells)))
            for name, cells in self.layout.routes
        )

    def walls_xml(self, height: float) -> str:
        """The walls as MJCF: boxes ``wall0``, ``wall1``, ... of class ``wall``, ``height`` metres high."""
        half = height / 2
        return "\n    ".join(
            f'<geom name="wall{i}" class="wall" pos="{w.center[0]} {w.center[1]} {half}" '
            f'size="{w.half_size[0]} {w.half_size[1]} {half}"/>'
            for i, w in enumerate(self.walls)
        )

    def goals_xml(self, radius: float) -> str:
        """The goals as MJCF: flat discs on the floor, which nothing touches."""
        return "\n    ".join(
            f'<site name="goal{i}" type="cylinder" pos="{x} {y} 0.002" size="{radius} 0.002" rgba="0.2 0.7 0.3 1"/>'
            for i, (x, y) in enumerate(self.goals)
        )

    # ---- measurements --------------------------------------------------------------------------

    def distances_to_goals(self, points: np.ndarray) -> np.ndarray:
        """``points [P, 2]`` -> metres to each goal ``[P, G]``."""
        offset = points[:, None, :] - self.goals
        return np.sqrt(np.einsum("pgi,pgi->pg", offset, offset))

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
        return [(r, c) for r, row in enumerate(self.layout.rows) for c, cell in enumerate(row) if cell == mark]

    def _point(self, cell: Cell) -> tuple[float, float]:
        row, column = self._cells("R")[0]
        return self.cell * (cell[1] - column), self.cell * (cell[0] - row)

    def _wall(self, block: tuple[Cell, Cell]) -> Wall:
        (x0, y0), (x1, y1) = (self._point(corner) for corner in block)
        half = ((x1 - x0 + self.cell) / 2, (y1 - y0 + self.cell) / 2)
        return Wall(((x0 + x1) / 2, (y0 + y1) / 2), half)


@dataclass(frozen=True)
class MazeTask:
    """What every robot's task in a maze shares. A goal is reached within ``goal_radius`` (m), which ends the episode.

    The robot's x and y come first in ``qpos``.
    """

    name: str
    maze: Maze
    max_steps: int
    robot_radius: float
    goal_radius: float
    wall_height: float
    start_spread: float
    rate_hz: float = 10.0
    substeps: int = 5

    @property
    def goals(self) -> np.ndarray:
        return self.maze.goals

    @property
    def walls(self) -> tuple[Wall, ...]:
        return self.maze.walls

    @property
    def ways(self) -> tuple[Way, ...]:
        return self.maze.ways

    def clearance(self, points: np.ndarray) -> np.ndarray:
        return self.maze.clearance(points)

    def success(self, qpos: np.ndarray) -> np.ndarray:
        return self.maze.distances_to_goals(qpos[:, :2]).min(axis=1) < self.goal_radius

    def observe(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """``obs [N, nq + nv]``: MuJoCo's positions and velocities as they are."""
        return np.concatenate([qpos, qvel], axis=1, dtype=np.float32)

    def standing(self, obstacle: Obstacle) -> Obstacle:
        """The robot moves in the plane: an obstacle blocks by what it covers of the floor, as high as the walls."""
        half = self.wall_height / 2
        center, half_size = (*obstacle.center[:2], half), (*obstacle.half_size[:2], half)
        return replace(obstacle, center=center, half_size=half_size)

    def place_fields(self) -> tuple[ObservationField, ObservationField]:
        """x and y, by the size of the maze."""
        (x, y), (half_x, half_y) = self.maze.center, self.maze.half_extent
        return (
            ObservationField("x", "odom.position.x", "m", offset=x, scale=half_x),
            ObservationField("y", "odom.position.y", "m", offset=y, scale=half_y),
        )

    def fill(self, model: str, obstacles: Sequence[Obstacle], **own: object) -> str:
        """``model`` (MJCF with gaps) with the maze, the obstacles and what is the robot's ``own``."""
        x, y = self.maze.center
        return model.format(
            name=self.name,
            timestep=1.0 / (self.rate_hz * self.substeps),
            center=f"{x} {y} 0",
            extent=max(self.maze.half_extent),
            goals=self.maze.goals_xml(self.goal_radius),
            walls=self.maze.walls_xml(self.wall_height),
            obstacles=obstacles_xml([self.standing(o) for o in obstacles]),
            **own,
        )


def _blocks(rows: tuple[str, ...]) -> list[tuple[Cell, Cell]]:
    """Cover the wall cells with rectangles (first cell, last cell), row by row, as wide, then as deep as it goes."""
    left = {(r, c) for r, row in enumerate(rows) for c, cell in enumerate(row) if cell == "1"}
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
