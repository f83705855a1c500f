"""A film of a policy: one episode for each of its modes, all at once in tiles, and a picture of the ways they took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ddiffpg.controller import Controller, ControllerConfig
from ddiffpg.decision import Operator
from ddiffpg.policy import Policy
from ddiffpg_sim.closed_loop import Conditions, Episode, run_episode
from ddiffpg_sim.render import Color, Line, Scene, View, faint, mode_color
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.task import PlanarTask, Task, Wall
from ddiffpg_sim.tiles import Tile, sheet, with_legend

if TYPE_CHECKING:
    from PIL import Image

    from ddiffpg_sim.gl import Canvas

SHORT, SLOWED, LONGEST = 2.0, 3.0, 10.0  # s: what is over sooner than SHORT is shown in SLOWED
HOLD = 1.5  # s that the end is shown
NEAREST = 0.35  # m, the least extent of a view
SHADES = (0.55, 0.75, 1.0)  # in which a colour is seen where there is light
ROBOT = (50, 52, 56)  # it is seen on the line that it leaves, which has its mode's colour


@dataclass(frozen=True, eq=False)
class Take:
    """One mode's episode: at each of ``times [T]`` (s) where the joints were, ``qpos [T, nq]``, and where the robot
    was on its ``path [T, D]`` (m)."""

    mode: int
    episode: Episode
    times: np.ndarray
    qpos: np.ndarray
    path: np.ndarray

    @property
    def seconds(self) -> float:
        return float(self.times[-1])


@dataclass(frozen=True)
class Clock:
    """``frames`` of ``period`` seconds each; a second of the film shows ``speed`` seconds of the episodes."""

    frames: int
    period: float
    speed: float

    @property
    def words(self) -> str:
        if abs(self.speed - 1.0) < 0.05:
            return "in real time"
        return f"{self.speed:.2g} times faster" if self.speed > 1.0 else f"{1.0 / self.speed:.2g} times slower"


def clock_for(longest: float, seconds: float | None, fps: float) -> Clock:
    """The clock of a film that plays ``seconds`` (None: real time, in bounds); the longest episode took ``longest``."""
    wanted = seconds or (min(longest, LONGEST) if longest >= SHORT else SLOWED)
    period = max(2, round(100 / fps)) / 100  # a GIF counts hundredths of a second
    return Clock(math.ceil(wanted / period - 1e-6) + 1, period, longest / wanted)


def take(policy: Policy, task: Task, mode: int, seed: int, max_steps: int) -> Take:
    """Drive ``mode`` alone with the robot's own controller, from the start that ``seed`` gives."""
    times: list[float] = []
    poses: list[np.ndarray] = []

    def watch(time: float, qpos: np.ndarray) -> None:
        times.append(time)
        poses.append(qpos)

    robot = SimRobot(task, seed, watch)
    controller = Controller(policy, ControllerConfig(), np.random.default_rng(seed))
    episode = run_episode(robot, controller, Conditions(max_steps, operator=Operator(mode)))
    qpos = np.array(poses)
    at_rest = np.zeros((len(qpos), task.start(np.random.default_rng(0), 1)[1].shape[1]))
    path = task.observe(qpos, at_rest)[:, task.spec.path_columns].astype(float)
    return Take(mode, episode, np.array(times), qpos, path)


class Studio:
    """Draws frames and pictures of ``takes`` of one ``policy`` on ``task``."""

    def __init__(self, policy: Policy, task: Task, takes: Sequence[Take]) -> None:
        self._contract, self._takes = policy.contract, takes
        self._view = None if isinstance(task, PlanarTask) else view_of(task, takes)
        self._width = 0.01 if self._view else 0.01 * _longer_side(task.walls)  # m
        self._digits = 1 if self._contract.rate_hz <= 10 else 2  # of seconds

    @property
    def colors(self) -> list[Color]:
        """What no palette may leave out: the colours of the modes."""
        modes = [mode_color(one.mode) for one in self._takes[:8]]
        return [*map(faint, modes), *(_dim(color, shade) for color in modes for shade in SHADES)]

    def frame(self, canvas: Canvas, clock: Clock, index: int) -> Image.Image:
        """One frame of a film, with all takes side by side."""
        now = index * clock.period * clock.speed
        tiles = [self._tile(canvas, one, now) for one in self._takes]
        return sheet(tiles, f"{self._what}, {clock.words}")

    def picture(self, canvas: Canvas) -> Image.Image:
        """The ways that all takes took, over the scene as it is at the start.

        From above; in space from the side, and from behind without the arm, which would be in the way.
        """
        # The first is the widest: of ways that lie on each other all can be seen.
        others = len(self._takes) - 1
        widths = self._width * np.linspace(1 + 0.12 * others, 1 / (1 + 0.06 * others), others + 1)
        lines = tuple(Line(t.path, mode_color(t.mode), float(w)) for t, w in zip(self._takes, widths))
        entries = [(mode_color(t.mode), f"mode {t.mode}: {self._outcome(t)}") for t in self._takes]
        views = [self._view] if self._view is None else [self._view, _from_behind(self._view)]
        scenes = [self._scene(self._takes[0], 0, lines, view) for view in views]
        return with_legend([canvas.draw(s) for s in scenes], entries, self._what)

    @property
    def _what(self) -> str:
        """What is seen, in words."""
        shown, there = len(self._takes), len(self._contract.modes)
        which = f"{shown} of {there} modes" if shown < there else "every mode"
        return f"{self._contract.task}: " + ("its one mode" if there == 1 else f"{which} from the same start")

    def _outcome(self, one: Take) -> str:
        """How it ended, in words."""
        return f"{'arrived after' if one.episode.success else 'NOT there in'} {self._seconds(one.seconds)}"

    def _seconds(self, time: float) -> str:
        return f"{time:.{self._digits}f} s"

    def _tile(self, canvas: Canvas, one: Take, now: float) -> Tile:
        """``one`` as it was ``now`` seconds after its start; at its end where that is earlier."""
        index = int(np.searchsorted(one.times, now + 1e-9, side="right")) - 1
        over = index == len(one.times) - 1
        color, way = mode_color(one.mode), np.array(self._contract.mode(one.mode).path, float)
        lines = (Line(way, faint(color), 0.5 * self._width), Line(one.path[: index + 1], color, self._width))
        said = self._outcome(one) if over else self._seconds(now)
        return Tile(canvas.draw(self._scene(one, index, lines, self._view)), color, f"mode {one.mode}   {said}")

    def _scene(self, one: Take, index: int, lines: tuple[Line, ...], view: View | None) -> Scene:
        x, y = one.qpos[index, :2].tolist()
        return Scene((x, y), ROBOT, lines, qpos=one.qpos[index], view=view)


def view_of(task: Task, takes: Sequence[Take]) -> View:
    """So near that all ways fill the picture, those that the task was made for included."""
    points = np.concatenate([*(t.path for t in takes), *(np.array(way.points) for way in task.ways)])
    low, high = points.min(axis=0), points.max(axis=0)
    x, y, z = ((low + high) / 2).tolist()
    return View((x, y, z), max(NEAREST, float((high - low).max())), azimuth=60.0, elevation=-35.0)


def _longer_side(walls: Sequence[Wall]) -> float:
    """Of the world from above, in metres."""
    center, half = np.array([w.center for w in walls]), np.array([w.half_size for w in walls])
    return float(((center + half).max(axis=0) - (center - half).min(axis=0)).max())


def _from_behind(view: View) -> View:
    return View(view.center, 0.85 * view.extent, azimuth=0.0, elevation=-25.0, robot=False)


def _dim(color: Color, shade: float) -> Color:
    red, green, blue = (round(shade * c) for c in color)
    return red, green, blue
