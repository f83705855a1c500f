"""Sets of trajectories for benchmarks/discovery.py: stored ones of real runs, and generated ones.

A set's truth is the homotopy class of each path (around which walls it goes, and to which goal), whatever
the path was meant to be.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ddiffpg_core import checkpoint
from ddiffpg_core.config import ModesConfig
from ddiffpg_core.paths import direct, way
from ddiffpg_sim import tasks
from ddiffpg_sim.homotopy import classes
from ddiffpg_sim.maze import Layout, Maze
from ddiffpg_sim.task import Task

STORED = Path(__file__).parent / "data" / "final_paths.npz"
CONFIG = ModesConfig()
# name of a kind of set -> how often each of its ways is taken, by the number of ways
KINDS = {"equal shares": lambda k: [120 // k] * k, "one common, others rare": lambda k: [100, *[8] * (k - 1)],
         "one way": lambda k: [60], "wandering and odd ones": lambda k: [120 // k] * k}


@dataclass(frozen=True)
class PathSet:
    """``ways [N, P, 2]`` of one task as clustering gets them; ``tolerance`` the task's, metres."""

    task: str
    kind: str
    ways: np.ndarray
    truth: np.ndarray
    tolerance: float

    @property
    def intended(self) -> int:
        """How many classes have enough paths to be told from chance."""
        return int((np.bincount(self.truth) >= CONFIG.min_cluster).sum())


# ---- stored: what training runs clustered last --------------------------------------------------------


def gather(runs: Sequence[Path]) -> None:
    """Keep the libraries of finished runs (their last clusterings) as STORED."""
    kept = {}
    for run in runs:
        task = json.loads((run / "run.json").read_text())["task"]
        paths = checkpoint.load(run / "checkpoint.pt")["agent"]["bank"]["library"]["path"]
        kept[f"{task} {len(kept)}"] = paths.astype(np.float16)
    STORED.parent.mkdir(exist_ok=True)
    np.savez_compressed(STORED, **kept)


def stored() -> Iterator[PathSet]:
    """The sets of STORED."""
    with np.load(STORED) as file:
        for name, paths in file.items():
            task = tasks.make(name.split()[0])
            ways = paths.astype(np.float32)
            yield PathSet(task.spec.name, "training runs", ways, _truth(list(ways), task), task.spec.path_tolerance)


def early() -> Iterator[PathSet]:
    """As early in a run: 30 of each set's paths."""
    rng = np.random.default_rng(0)
    for s in stored():
        some = rng.choice(len(s.ways), 30, replace=False)
        yield replace(s, kind="few of them", ways=s.ways[some], truth=s.truth[some])


def _truth(paths: Sequence[np.ndarray], task: Task) -> np.ndarray:
    """Homotopy classes as numbers, the commonest 0."""
    found = classes(paths, task.walls, task.goals)
    rank = {name: i for i, (name, _) in enumerate(Counter(found).most_common())}
    return np.array([rank[name] for name in found])


# ---- generated: noisy paths along the intended ways ---------------------------------------------------


def generated(seeds: int) -> Iterator[PathSet]:
    """``seeds`` sets of each kind for each task."""
    for number, name in enumerate(tasks.names()):
        task = tasks.make(name)
        for k, (kind, shares) in enumerate(KINDS.items()):
            for seed in range(seeds):
                yield make_set(task, kind, shares(len(task.ways)), np.random.default_rng([seed, number, k]))


def make_set(task: Task, kind: str, shares: Sequence[int], rng: np.random.Generator) -> PathSet:
    """Paths along the task's ways in a random order, so many along each; odd ones too where they wander.

    An arm's scene has no walls to go around in the plane: its paths are of the class of the way they were made from.
    """
    wander, planar, tolerance = kind.startswith("wandering"), hasattr(task, "walls"), task.spec.path_tolerance
    meant = np.repeat(rng.permutation(len(task.ways))[: len(shares)], shares)
    cell = tolerance / 0.6
    paths = [noisy(np.array(task.ways[i].points), cell, rng, wander) for i in meant]
    if planar:
        paths += [p for _ in range(6 * wander) if (p := _stray(task, cell, rng)) is not None]
        paths = [p for p in paths if task.clearance(p).min() > 0.05 * cell]
        meant = _truth(paths, task)
    ways = np.stack([way(p, CONFIG.path_points, tolerance) for p in paths]).astype(np.float32)
    fit = direct(ways, ways[:0], tolerance, CONFIG.longest_detour)
    return PathSet(task.spec.name, kind, ways[fit], meant[fit], tolerance)


def noisy(corners: np.ndarray, cell: float, rng: np.random.Generator, wander: bool) -> np.ndarray:
    """A robot's path along ``corners [C, D]``: corners moved and cut, sway across the path; with ``wander`` it may
    turn around at one place and go back a little at another."""
    sway = rng.choice([0.06, 0.12, 0.25])
    moved = corners + np.clip(rng.normal(size=corners.shape) * sway, -0.4, 0.4) * cell
    moved[0] = corners[0] + rng.uniform(-0.1, 0.1, corners.shape[1]) * cell
    for _ in range(2):  # cut the corners (Chaikin)
        inner = np.stack([0.75 * moved[:-1] + 0.25 * moved[1:], 0.25 * moved[:-1] + 0.75 * moved[1:]], 1)
        moved = np.concatenate([moved[:1], inner.reshape(-1, corners.shape[1])[1:-1], moved[-1:]])
    path = _dense(moved, 0.1 * cell)
    wave = rng.normal(size=(2, corners.shape[1])) * 0.04 * cell
    at = np.linspace(0, rng.uniform(2, 6) * np.pi, len(path))[:, None]
    path = path + np.sin(at) * wave[0] + np.cos(at) * wave[1] + rng.normal(size=path.shape) * 0.01 * cell
    return _wandered(path, cell, rng) if wander and rng.random() < 0.5 else path


def _dense(corners: np.ndarray, step: float) -> np.ndarray:
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    at = np.linspace(0.0, length[-1], int(length[-1] / step) + 2)
    return np.stack([np.interp(at, length, c) for c in corners.T], 1)


def _wandered(path: np.ndarray, cell: float, rng: np.random.Generator) -> np.ndarray:
    i, j = sorted(rng.integers(2, len(path) - 2, 2))
    turn, loop = np.linspace(0, 2 * np.pi, 20), np.zeros((20, path.shape[1]))
    loop[:, :2] = np.stack([np.cos(turn) - 1, np.sin(turn)], 1)
    back = path[max(j - 8, 0) : j][::-1]
    return np.concatenate([path[:i], path[i] + 0.15 * cell * loop, path[i:j], back, back[::-1], path[j:]])


def _stray(task: Task, cell: float, rng: np.random.Generator) -> np.ndarray | None:
    """A path over random free cells to any goal, None where it finds none."""
    def is_free(place: tuple[int, int]) -> bool:
        return task.clearance(cell * np.array([place]))[0] > 0

    goals = {tuple(np.round(g / cell).astype(int)) for g in task.goals}
    route = [(0, 0)]
    for _ in range(300):
        steps = [(route[-1][0] + dx, route[-1][1] + dy) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        steps = [s for s in steps if is_free(s)]
        place = steps[rng.integers(len(steps))]
        route = [*(route[: route.index(place)] if place in route else route), place]
        if place in goals:
            return noisy(cell * np.array(route), cell, rng, False)
    return None


# ---- many: a field of pillars -------------------------------------------------------------------------


def pillars(side: int, each: int, rng: np.random.Generator) -> PathSet:
    """``each`` paths along every shortest way through ``side`` x ``side`` pillars: C(2 side, side) classes."""
    size = 2 * side + 1
    inner = ["1" + "".join("1" if r % 2 and c % 2 else "0" for c in range(size)) + "1" for r in range(size)]
    rows = ["1" * (size + 2), *inner, "1" * (size + 2)]
    rows[1] = "1R" + rows[1][2:]
    rows[-2] = rows[-2][:-2] + "G1"
    maze = Maze(Layout(tuple(rows), ()), cell=1.0)
    paths = [noisy(np.array(corners), 1.0, rng, False) for corners in _stairs(side) for _ in range(each)]
    ways = np.stack([way(p, CONFIG.path_points, 0.6) for p in paths]).astype(np.float32)
    found = classes(paths, maze.walls, maze.goals)
    rank = {name: i for i, name in enumerate(dict.fromkeys(found))}
    return PathSet("pillars", f"{side} x {side}", ways, np.array([rank[name] for name in found]), 0.6)


def _stairs(side: int) -> list[list[tuple[float, float]]]:
    """Corners of every monotone way over a grid of lanes 2 m apart."""
    out, begun = [], [[(0.0, 0.0)]]
    while begun:
        at = begun.pop()
        x, y = at[-1]
        if x == y == 2.0 * side:
            out.append(at)
        begun += [[*at, (x + 2, y)]] * (x < 2 * side) + [[*at, (x, y + 2)]] * (y < 2 * side)
    return out
