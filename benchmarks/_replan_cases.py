"""What stands in the way in ``benchmarks/replan.py``: one episode a case, the same for every strategy.

Everything is placed by a drive of the policy with nothing in its way: its track says where the robot
would be at each moment. Every case of a kind with a free way has one, by a search over a fine grid of the
true maze that has nothing in common with the controller's own map but the contract's ways.

Sizes, distances and speeds are those of mazes in which ways have a tolerance of 0.6 m, and in proportion in others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ddiffpg.contract import Contract
from ddiffpg.controller import Controller, ControllerConfig
from ddiffpg.decision import Operator
from ddiffpg.obstacles import Obstacles
from ddiffpg.policy import Policy
from ddiffpg.roadmap import TOLERANCE
from ddiffpg_sim.closed_loop import declared
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.script import ObstacleScript, ScriptedBox
from ddiffpg_sim.task import PlanarTask, planar

KINDS = ("none", "static", "popup", "moving", "several", "all")
HEIGHT = 0.25  # m, half of an obstacle's
REACH, SIZE = 1.2, (0.12, 0.2)  # m, from how far beside the way something crosses it, and half its edge
AHEAD_OF = 2.0  # m beyond where they would meet from which something comes along the way
ROOM = 0.5  # m from the robot's centre to what pops up: it takes less to stop from the policy's speed
AHEAD = (0.65, 1.5)  # m of way from the robot to the middle of what pops up
BEFORE_GOAL = 0.4  # m from the goal's edge: what stands nearer blocks every way that comes to it
ALONG, ACROSS = (0.08, 0.2), (0.25, 0.45)  # m, half sizes of what stands across a way
CLEAR_START = 0.7  # m around the start in which nothing stands from the beginning
SPEED = (0.2, 0.6)  # m/s of what moves
TRIES = 200
BESIDE, NEAR = 0.08, 0.3  # m from a prototype that is known ground, and from the robot to where it can get onto it
CELL = 0.04  # m, of the grid in which a free way is looked for


@dataclass(frozen=True, eq=False)
class Track:
    """A drive with nothing in the way: ``position [T, 2]`` (m) at ``time [T]`` (s), and ``along [T]`` (m). Sizes there
    are ``scale`` times those above."""

    time: np.ndarray
    position: np.ndarray
    along: np.ndarray
    scale: float

    def at(self, metres: float) -> tuple[np.ndarray, float]:
        """Where the robot is after ``metres``, and in which direction (rad) it goes on."""
        here = np.array([np.interp(metres, self.along, axis) for axis in self.position.T])
        near = 0.1 * self.scale
        ahead = np.array([np.interp(metres + near, self.along, axis) for axis in self.position.T])
        behind = np.array([np.interp(metres - near, self.along, axis) for axis in self.position.T])
        return here, math.atan2(*(ahead - behind)[::-1])

    def when(self, metres: float) -> float:
        return float(np.interp(metres, self.along, self.time))


@dataclass(frozen=True, eq=False)
class Case:
    """One episode: the robot starts by ``seed`` with the mode ``first``, ``script`` says what stands where and
    ``onset`` (s) from when on; ``unblocked`` (s) is what it takes with nothing in the way."""

    kind: str
    seed: int
    first: int
    script: ObstacleScript
    onset: float
    unblocked: float


class Cases:
    """Makes the cases of one policy in its task."""

    def __init__(self, policy: Policy, robot: SimRobot, config: ControllerConfig) -> None:
        self._policy, self._robot, self._config = policy, robot, config
        self._scale = policy.contract.path_tolerance / TOLERANCE
        self._ways = [np.array(mode.path, float) for mode in policy.contract.modes]
        self._search = FreeWays(policy.contract, planar(robot.task, "replanning"), config.margin)

    def make(self, kind: str, seed: int, index: int, count: int) -> Case:
        """The ``index``-th of ``count`` cases of a ``kind``."""
        ids, start = self._policy.contract.mode_ids, 100_000 * seed + index
        rng = np.random.default_rng((seed, index, KINDS.index(kind)))
        first = ids[index % len(ids)]
        track = self._drive(start, first)
        for _ in range(TRIES):
            placed = _PLACE[kind](self, track, first, (index + rng.uniform()) / count, rng)
            if placed is not None and self._wanted(kind, placed, track):
                onset = min((box.times[0] for box in placed), default=math.nan)
                return Case(kind, start, first, ObstacleScript(tuple(placed)), onset, float(track.time[-1]))
        raise ValueError(f"{kind} {index} of seed {seed}: found no place that leaves what is wanted in {TRIES} tries")

    def _wanted(self, kind: str, boxes: Sequence[ScriptedBox], track: Track) -> bool:
        """Is a known way free at the start, and does one stay so from where the robot is when the last of ``boxes``
        has come? In ``all``: none from there."""
        if kind == "none":
            return True
        last = max(box.times[0] for box in boxes)
        here = np.array([np.interp(last, track.time, axis) for axis in track.position.T])
        if kind == "moving":  # it is gone in the end
            return _gap(boxes[0], here) >= ROOM * self._scale
        if kind == "all":
            return not self._search.free(here, _there(boxes, last))
        return self._search.free(track.position[0], _there(boxes, 0.0)) and self._search.free(here, _there(boxes, last))

    def _drive(self, seed: int, mode: int) -> Track:
        robot = self._robot
        robot.clear_obstacles()
        robot.reset(seed)
        controller = Controller(self._policy, self._config, np.random.default_rng(seed))
        time, position = [], []
        while not robot.success and len(time) < self._policy.contract.max_steps:
            time.append(robot.time)
            position.append(robot.state().position[:2])
            robot.step(controller.tick(robot.time, robot.state(), Obstacles(robot.time), Operator(mode)).action)
        steps = np.linalg.norm(np.diff(position, axis=0), axis=1)
        return Track(np.array(time), np.array(position), np.concatenate([[0.0], np.cumsum(steps)]), self._scale)

    # ---- kinds -------------------------------------------------------------------------------------

    def none(self, track: Track, first: int, share: float, rng: np.random.Generator) -> list[ScriptedBox] | None:
        return []

    def static(self, track: Track, first: int, share: float, rng: np.random.Generator) -> list[ScriptedBox] | None:
        """Across the way that the robot begins, from the start."""
        length, clear = track.along[-1], CLEAR_START * track.scale
        return [_across(0, track, clear + share * (length - clear), 0.0, rng)]

    def popup(self, track: Track, first: int, share: float, rng: np.random.Generator) -> list[ScriptedBox] | None:
        """Ahead of the robot, when it has driven a ``share`` of its way."""
        last = float(track.along[-1]) - BEFORE_GOAL * track.scale
        nearest, farthest = (metres * track.scale for metres in AHEAD)
        driven = share * (last - nearest)
        ahead = rng.uniform(nearest, min(farthest, last - driven))
        box = _across(0, track, driven + ahead, track.when(driven), rng)
        here, _ = track.at(driven)
        return [box] if _gap(box, here) >= ROOM * track.scale else None

    def moving(self, track: Track, first: int, share: float, rng: np.random.Generator) -> list[ScriptedBox] | None:
        """Crosses the way at about the time that the robot is there, or comes along it against the robot."""
        clear = CLEAR_START * track.scale
        met = clear + share * (track.along[-1] - clear)
        return [(_crossing if rng.uniform() < 0.5 else _coming)(track, met, rng)]

    def several(self, track: Track, first: int, share: float, rng: np.random.Generator) -> list[ScriptedBox] | None:
        """One pops up ahead, one or two others stand across some of the ways from the start."""
        ahead = self.popup(track, first, share, rng)
        count = int(rng.integers(1, 3))
        chosen = [self._ways[i] for i in rng.choice(len(self._ways), count, replace=False)]
        return ahead and [*ahead, *(_on(way, i + 1, track.scale, rng) for i, way in enumerate(chosen))]

    def all(self, track: Track, first: int, share: float, rng: np.random.Generator) -> list[ScriptedBox] | None:
        """Across every way; across the one that the robot begins, ahead of it when it has driven a ``share``."""
        ahead = self.popup(track, first, share, rng)
        return ahead and [*ahead, *(_on(way, i + 1, track.scale, rng) for i, way in enumerate(self._ways))]


_Place = Callable[[Cases, Track, int, float, np.random.Generator], "list[ScriptedBox] | None"]
_PLACE: dict[str, _Place] = {kind: getattr(Cases, kind) for kind in KINDS}


class FreeWays:
    """Is there a free way along what the policy has learned? By flooding a grid: free are the cells that the robot has
    room in, with ``margin`` (m) to obstacles, and that are no farther than ``BESIDE`` from a prototype: the policy
    was trained to drive those, and does not go round things beside them."""

    def __init__(self, contract: Contract, task: PlanarTask, margin: float) -> None:
        paths = [np.array(mode.path, float) for mode in contract.modes]
        points = np.concatenate(paths)
        scale = contract.path_tolerance / TOLERANCE
        cell, edge, self._beside, self._near = CELL * scale, 0.5 * scale, BESIDE * scale, NEAR * scale
        axes = [np.arange(a - edge, b + edge, cell) for a, b in zip(points.min(axis=0), points.max(axis=0))]
        self._shape = tuple(map(len, axes))
        self._cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        known = np.min([_to_path(self._cells, path) for path in paths], axis=0) <= self._beside
        # A robot that leans on a wall is somewhere between two cells.
        self._open = known & (task.clearance(self._cells) >= contract.robot_radius - cell)
        self._need = contract.robot_radius + margin
        self._ends = np.array([path[-1] for path in paths])

    def free(self, start: np.ndarray, obstacles: Sequence[Obstacle]) -> bool:
        solid = Obstacles(0.0, tuple(declared(o) for o in obstacles))
        open_ = self._open & (solid.distance(self._cells).declared >= self._need)
        area = np.empty(self._shape, np.int32)
        ndimage.label(open_.reshape(self._shape), np.ones((3, 3)), output=area)
        area = area.ravel()
        ours = area[np.linalg.norm(self._cells - start, axis=1) <= self._near]
        theirs = [area[np.linalg.norm(self._cells - end, axis=1) <= self._beside] for end in self._ends]
        return bool((np.intersect1d(ours, np.concatenate(theirs)) > 0).any())


def _to_path(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Metres ``[P]`` from ``points [P, 2]`` to the line ``path [Q, 2]``."""
    leg = np.diff(path, axis=0)
    squared = np.maximum((leg**2).sum(axis=1), 1e-12)
    share = np.clip(((points[:, None] - path[:-1]) * leg).sum(axis=2) / squared, 0.0, 1.0)
    return np.linalg.norm(points[:, None] - path[:-1] - share[..., None] * leg, axis=2).min(axis=1)


def _across(number: int, track: Track, along: float, appears: float, rng: np.random.Generator) -> ScriptedBox:
    """A box across a way, at ``along`` (m) of it."""
    ((x, y), yaw), scale = track.at(along), track.scale
    half = (scale * rng.uniform(*ALONG), scale * rng.uniform(*ACROSS), scale * HEIGHT)
    return ScriptedBox(number, half, yaw, (appears,), ((float(x), float(y), half[2]),), math.inf)


def _on(way: np.ndarray, number: int, scale: float, rng: np.random.Generator) -> ScriptedBox:
    """A box across ``way [P, 2]`` anywhere but near its beginning."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    place = rng.uniform((CLEAR_START + 0.3) * scale, along[-1])
    return _across(number, Track(along, way, along, scale), place, 0.0, rng)


def _crossing(track: Track, met: float, rng: np.random.Generator) -> ScriptedBox:
    """From one side of the way to the other, at the middle of it within a second of when the robot would be there."""
    ((x, y), yaw), scale = track.at(met), track.scale
    speed, when, reach = scale * rng.uniform(*SPEED), track.when(met) + rng.uniform(-1.0, 1.0), scale * REACH
    side = rng.choice((-1.0, 1.0)) * np.array([-math.sin(yaw), math.cos(yaw)])
    ends = [tuple(np.array([x, y]) + sign * reach * side) for sign in (-1, 1)]
    size = scale * rng.uniform(*SIZE)
    begins = when - reach / speed
    times = (begins, when + reach / speed)
    centers = tuple((float(a), float(b), scale * HEIGHT) for a, b in ends)
    return _from_zero(ScriptedBox(0, (size, size, scale * HEIGHT), yaw, times, centers, times[1]))


def _coming(track: Track, met: float, rng: np.random.Generator) -> ScriptedBox:
    """Along the way against the robot, from beyond where they would meet to the way's beginning."""
    scale = track.scale
    speed, size = scale * rng.uniform(*SPEED), scale * rng.uniform(*SIZE)
    begins = min(met + scale * AHEAD_OF, float(track.along[-1]))
    stations = np.arange(begins, 0.0, -0.1 * scale)
    centers = tuple((float(x), float(y), scale * HEIGHT) for (x, y), _ in map(track.at, stations))
    when = max(track.when(met) - (begins - met) / speed, 0.0)
    times = tuple((when + (begins - stations) / speed).tolist())
    return ScriptedBox(0, (size, size, scale * HEIGHT), 0.0, times, centers, times[-1])


def _from_zero(box: ScriptedBox) -> ScriptedBox:
    """The same from the start of the episode on, where it would have begun before."""
    if box.times[0] >= 0.0:
        return box
    now = box.at(0.0)
    assert now is not None
    later = [(t, c) for t, c in zip(box.times, box.centers) if t > 0.0]
    times, centers = zip(*[(0.0, now.center), *later])
    return ScriptedBox(box.id, box.half_size, box.yaw, times, centers, box.goes)


def _there(boxes: Sequence[ScriptedBox], when: float) -> list[Obstacle]:
    return [obstacle for box in boxes if (obstacle := box.at(when)) is not None]


def _gap(box: ScriptedBox, point: np.ndarray) -> float:
    """Metres from ``point [2]`` to a box where it appears."""
    there = box.at(box.times[0])
    assert there is not None
    return float(Obstacles(0.0, (declared(there),)).distance(point[None]).declared[0])
