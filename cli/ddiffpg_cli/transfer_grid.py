"""Drives a policy on robots that differ from its model, one cell a difference and seed, and keeps what came of each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ddiffpg.policy import Policy
from ddiffpg_core.evaluate import UNCONDITIONED, Drives, drive
from ddiffpg_export.file_act import file_act
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.task import PlanarTask, Task

from .errors import BadInput
from .policy_evaluation import known_modes
from .transfer_axes import AXES, NOMINAL, SIMULATORS, Axis, Target, Value

FORMAT = 1
ENVS = 200
PATHS = 4  # of failed episodes of one mode that a cell keeps
POINTS = 60  # of each
TOUCH = 1e-3  # m: a robot that leans on a wall is no farther from it


@dataclass(frozen=True)
class Trial:
    """What one cell is of: the ``value`` on an ``axis`` (None: the nominal robot), and the seed."""

    axis: str
    value: Value | None
    seed: int


@dataclass(frozen=True)
class Outcome:
    """How the episodes went that were asked for one ``mode`` (-1: none). ``success`` and ``adherence`` as in
    ``ddiffpg eval``, ``seconds`` to the goal; the latter two are None without a success. ``touched``: the part of the
    time at a wall, None where the robot is none on a floor or is not seen where it is. ``failed``: paths of some that
    did not arrive."""

    mode: int
    success: float
    adherence: float | None
    seconds: float | None
    touched: float | None
    failed: tuple[tuple[tuple[float, ...], ...], ...] = ()


@dataclass(frozen=True)
class Cell:
    """A trial and its outcomes: the unconditioned one first, then by mode."""

    trial: Trial
    outcomes: tuple[Outcome, ...]

    @property
    def worst(self) -> Outcome:
        """Of the modes, the one with the least success."""
        return min(self.outcomes[1:], key=lambda outcome: outcome.success)

    def plain(self) -> dict[str, Any]:
        return {**asdict(self.trial), "outcomes": [asdict(outcome) for outcome in self.outcomes]}

    @classmethod
    def of_plain(cls, raw: dict[str, Any]) -> Cell:
        outcomes = tuple(Outcome(**outcome) for outcome in raw["outcomes"])
        return cls(Trial(raw["axis"], raw["value"], raw["seed"]), outcomes)


@dataclass(frozen=True)
class Head:
    """What all cells of a file have in common; cells of another head are never mixed with them."""

    policy: str
    sha256: str
    task: str
    rate_hz: float
    episodes: int
    nominal: dict[str, Any]
    format: int = FORMAT


@dataclass(frozen=True)
class Transfer:
    """A whole test: ``cells`` in the order of the axes, each axis by value, then seed."""

    head: Head
    cells: tuple[Cell, ...] = field(default=())

    def plain(self) -> dict[str, Any]:
        return {**asdict(self.head), "cells": [cell.plain() for cell in self.cells]}

    def to_json(self) -> str:
        """Each cell in a line of its own."""
        head = json.dumps(asdict(self.head), allow_nan=False)[:-1]
        cells = ",\n".join(json.dumps(cell.plain(), allow_nan=False) for cell in self.cells)
        return f'{head}, "cells": [\n{cells}\n]}}\n'

    def write(self, path: Path) -> None:
        """As a whole or not at all."""
        part = path.with_name(path.name + ".part")
        part.write_text(self.to_json(), encoding="utf-8")
        os.replace(part, path)

    def of_axis(self, name: str, value: Value | None) -> list[Cell]:
        """The cells of one value, all seeds."""
        return [cell for cell in self.cells if (cell.trial.axis, cell.trial.value) == (name, value)]


def head_of(file: Path, policy: Policy, task: Task, episodes: int, target: Target) -> Head:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Head(file.name, digest, task.spec.name, task.spec.rate_hz, episodes, asdict(target))


def trials(axes: Sequence[Axis], target: Target, seeds: Sequence[int], full: bool) -> list[Trial]:
    """The nominal robot, then each axis; all seeds of a cell one after another."""
    points: list[tuple[str, Value | None]] = [(NOMINAL, None)]
    points += [(axis.name, value) for axis in axes for value in axis.values(target, full)]
    return [Trial(axis, value, seed) for axis, value in points for seed in seeds]


class Bench:
    """``policy`` in ``task``, driven on robots that differ from ``target``."""

    def __init__(self, policy: Policy, task: Task, target: Target, axes: Iterable[Axis], episodes: int) -> None:
        self._policy, self._task, self._target, self._episodes = policy, task, target, episodes
        self._axes = {axis.name: axis for axis in axes}

    def run(self, trial: Trial) -> Cell:
        target = self._target
        if trial.value is not None:
            target = self._axes[trial.axis].put(target, trial.value)
        world, modes = target.world(self._task), known_modes(self._policy.contract)
        envs = min(ENVS, self._episodes * (len(modes) + 1))
        with closing(BatchedEnv(world, envs, deviate=lambda rng, count: [target.deviation] * count)) as env:
            drives = drive(env, file_act(self._policy, trial.seed), modes, self._episodes, trial.seed)
        ids = (UNCONDITIONED, *self._policy.contract.mode_ids)
        seen = isinstance(world, PlanarTask) and not target.is_seen_wrongly
        return Cell(trial, tuple(outcome_of(drives, mode, world, seen) for mode in ids))


def outcome_of(drives: Drives, mode: int, task: Task, walls: bool) -> Outcome:
    """Of the episodes that were asked for ``mode``; ``walls``: their paths show when they were at a wall."""
    result, rows = drives.result(mode), np.flatnonzero(drives.asked == mode)
    paths = [drives.run.paths[i] for i in rows]
    failed = [path for i, path in zip(rows, paths) if not drives.run.success[i]][:PATHS]
    return Outcome(
        mode=mode,
        success=result.success,
        adherence=None if mode == UNCONDITIONED or not result.success else result.adherence,
        seconds=None if result.mean_steps is None else result.mean_steps / task.spec.rate_hz,
        touched=touched(paths, task) if walls else None,
        failed=tuple(_thin(path) for path in failed),
    )


def touched(paths: Sequence[np.ndarray], task: Task) -> float:
    """The part of all points of ``paths [L, 2]`` at which the robot is as near to a wall as its radius."""
    return float((task.clearance(np.concatenate(paths)) < task.robot_radius + TOUCH).mean())


def _thin(path: np.ndarray) -> tuple[tuple[float, ...], ...]:
    rows = np.unique(np.linspace(0, len(path) - 1, POINTS).round().astype(int))
    return tuple(tuple(round(float(c), 3) for c in path[row]) for row in rows)


def run_all(wanted: Sequence[Trial], transfer: Transfer, bench: Bench,
            keep: Callable[[Transfer], None], show: Callable[[int, str], None]) -> Transfer:
    """``transfer`` and what it lacks of the ``wanted`` trials; ``keep`` is called after each that was driven."""
    cells = {cell.trial: cell for cell in transfer.cells}
    todo = [trial for trial in wanted if trial not in cells]
    for i, trial in enumerate(todo):
        show(len(wanted) - len(todo) + i, f"{trial.axis} {'' if trial.value is None else trial.value}".strip())
        cells[trial] = bench.run(trial)
        transfer = Transfer(transfer.head, tuple(sorted(cells.values(), key=lambda cell: _place(cell.trial))))
        keep(transfer)
    return transfer


def _place(trial: Trial) -> tuple[int, float, int]:
    """Where a cell stands: by axis, value and seed."""
    if trial.value is None:
        return -1, 0.0, trial.seed
    value = trial.value
    place = list(SIMULATORS).index(value) if isinstance(value, str) else value
    return list(AXES).index(trial.axis), place, trial.seed


def load(path: Path, head: Head) -> Transfer:
    """What an earlier call left in ``path``; nothing where there is no such file. BadInput where it is of another test,
    naming the first difference, or no such file at all."""
    if not path.exists():
        return Transfer(head)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        cells = tuple(Cell.of_plain(cell) for cell in raw.pop("cells"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: no result of ddiffpg transfer ({error}); give another --out") from error
    for name, value in json.loads(json.dumps(asdict(head))).items():
        if raw.get(name) != value:
            raise BadInput(f"{path}: {name} is {raw.get(name)!r} there and {value!r} now; give another --out")
    return Transfer(head, cells)
