"""Runs of ``ddiffpg train`` that are compared with each other: what each was asked for, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddiffpg_core import checkpoint
from ddiffpg_core.config import Config, load_file, to_dict
from ddiffpg_core.run import Run, RunError, read_metrics
from ddiffpg_sim import tasks
from ddiffpg_sim.task import Task

from .commands import train
from .errors import BadInput

OURS = "ddiffpg"
ENOUGH = 0.8  # share of unconditioned episodes that arrive, from which on a task counts as learned


@dataclass(frozen=True)
class Trial:
    """One run: what ``ddiffpg train`` is called with. ``label`` names a variant, '' for a method as it ships;
    ``randomised``: on robots that differ, as the task has it."""

    task: str
    seed: int
    method: str = OURS
    preset: str | None = None
    settings: tuple[str, ...] = ()
    label: str = ""
    randomised: bool = False

    @property
    def name(self) -> str:
        """Of its run directory and its record."""
        robots = "randomised" if self.randomised else ""
        return "-".join(part for part in (self.task, self.method, self.label, robots, str(self.seed)) if part)

    def words(self, folder: Path) -> list[str]:
        """The command line behind ``ddiffpg``: it starts the run in ``folder`` or goes on with it."""
        words = ["train", self.task, "--out", str(folder), "--seed", str(self.seed), "--resume"]
        words += [] if self.method == OURS else ["--method", self.method]
        words += [] if self.preset is None else ["--preset", self.preset]
        words += ["--randomise"] if self.randomised else []
        return words + [word for text in self.settings for word in ("--set", text)]

    def config(self, *, preset_alone: bool = False) -> Config:
        """The settings it has, or those of its preset; BadInput or ConfigError where they are wrong."""
        from .main import build_parser

        args = build_parser().parse_args(self.words(Path("unused")))
        train.check_task(args.task)
        args.overrides = [] if preset_alone else args.overrides
        return train.settings(args)

    def is_done(self, folder: Path) -> bool:
        """Whether the run in ``folder`` has come to its end; BadInput where it is another run than this one."""
        if not (folder / "run.json").exists():
            return False
        try:
            Run.open(folder).check_same(self.task, self.seed, self.config())
        except RunError as error:
            raise BadInput(str(error)) from error
        return (folder / "report.json").exists()


def record(trial: Trial, folder: Path, side_by_side: int | None) -> dict[str, Any]:
    """What came of a finished run, in plain values; None stands for what the run does not say.

    ``side_by_side`` is how many runs shared the machine, None where nobody knows.
    """
    report, about = _json(folder / "report.json"), _json(folder / "run.json")
    config, metrics = load_file(folder / "config.yaml", Config()), read_metrics(folder)
    curve = learning_curve(metrics)
    reached = next((point for point in curve if point["unconditioned_success"] >= ENOUGH), None)
    return {
        "task": about["task"], "method": trial.method, "label": trial.label, "seed": about["seed"],
        "preset": trial.preset, "settings": differences(config, trial.config(preset_alone=True)),
        "commit": about["commit"], "machine": report.get("machine"), "side_by_side": side_by_side,
        "threads": {"simulation": config.train.sim_threads, "torch": config.train.torch_threads},
        "seconds": report["seconds"], "cpu_seconds": report.get("cpu_seconds"), "iterations": report["iterations"],
        "transitions": report.get("transitions", _last(metrics, "transitions")),
        "coverage_cells": report.get("coverage_cells", _last(metrics, "coverage_cells")),
        "free_cells": free_cells(tasks.make(trial.task)),
        "episodes": report["episodes"], "modes_learned": report["modes_learned"],
        "modes": report["modes"] and with_ends(report["modes"], folder),
        "unconditioned": report["unconditioned"],
        "transitions_to_0.8": reached and reached["transitions"],
        "minutes_to_0.8": None if reached is None or reached["seconds"] is None else reached["seconds"] / 60,
        "curve": curve,
    }


def with_ends(modes: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The modes of a report, each with where its way ends (metres), which the run's policy knows."""
    known = checkpoint.load(folder / "policy.pt")["modes"]
    ends = {mode["id"]: [float(x) for x in mode["prototype"][-1]] for mode in known}
    return [mode | {"end": ends[mode["id"]]} for mode in modes]


def free_cells(task: Task) -> int | None:
    """How many of the cells that a run's coverage counts have room in them; None where walls do not bound it."""
    if not task.walls or len(task.spec.path) > 2:
        return None
    size, corners = task.spec.path_tolerance, np.array([wall.center for wall in task.walls])
    lines = [np.arange(low, high, size / 20) for low, high in zip(corners.min(0), corners.max(0))]
    points = np.stack(np.meshgrid(*lines), -1).reshape(-1, 2)
    free = np.concatenate([task.clearance(part) for part in np.array_split(points, 100)]) >= 0.0
    return len(np.unique(np.round(points[free] / size), axis=0))


def differences(config: Config, base: Config) -> dict[str, Any]:
    """``section.key`` -> value, of those settings that ``base`` has otherwise."""
    other = to_dict(base)
    return {f"{section}.{key}": value for section, values in to_dict(config).items() for key, value in values.items()
            if value != other[section][key]}


Metrics = dict[str, tuple[np.ndarray, np.ndarray]]


def learning_curve(metrics: Metrics) -> list[dict[str, Any]]:
    """One entry an evaluation of the run: how far it was by then, and how good."""
    return [_point(int(iteration), metrics) for iteration in metrics["eval/unconditioned_success"][0]]


def _point(iteration: int, metrics: Metrics) -> dict[str, Any]:
    def at(name: str) -> float | None:
        iterations, values = metrics.get(name, (np.zeros(0), np.zeros(0)))
        return float(values[iterations == iteration][-1]) if (iterations == iteration).any() else None

    def of_modes(what: str) -> list[float]:
        shares = (at(name) for name in metrics if name.startswith("mode") and name.endswith(f"/{what}"))
        return [share for share in shares if share is not None]

    success, returns = of_modes("success"), of_modes("return")
    return {
        "iteration": iteration, "seconds": at("seconds"), "transitions": _whole(at("transitions")),
        "modes": _whole(at("eval/modes")), "modes_learned": _whole(at("eval/modes_learned")),
        "success_mean": float(np.mean(success)) if success else None, "success_worst": min(success, default=None),
        "return_mean": float(np.mean(returns)) if returns else None,
        "unconditioned_success": at("eval/unconditioned_success"), "coverage_cells": _whole(at("coverage_cells")),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _last(metrics: Metrics, name: str) -> int | None:
    return int(metrics[name][1][-1]) if name in metrics else None


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; is this the directory of a finished run?") from error
    except ValueError as error:
        raise BadInput(f"{path}: damaged ({error}); --resume the run to have it written again") from error
