"""A training run's directory: settings, logs, checkpoints, the best policy so far."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from ddiffpg_core import checkpoint
from ddiffpg_core import config as settings
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.config import Config
from ddiffpg_core.evaluate import Report
from ddiffpg_core.learner import Learner
from ddiffpg_core.machine import machine
from ddiffpg_core.spec import VecEnv
from ddiffpg_core.timing import Stages

Evaluator = Callable[[SavedPolicy, int], Report]
"""Evaluates a policy over so many episodes, touching nothing that training depends on."""


class RunError(RuntimeError):
    """A run's directory is not what it should be: names it and what to do."""


class Run:
    """Files of one run under ``folder``.

    ``config.yaml`` the resolved settings, ``run.json`` task, seed and, in plain values, what else it ``began_with``,
    ``metrics.csv`` and ``tensorboard/`` the log, ``checkpoint.pt`` everything to go on from, ``policy.pt`` the best
    policy so far, ``report.json`` its last evaluation; ``diverged.pt``, where a loss was not finite, what the networks
    learned from then.
    """

    def __init__(self, folder: Path, task: str, seed: int, config: Config, commit: str,
                 began_with: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.folder, self.task, self.seed, self.config, self.commit = folder, task, seed, config, commit
        self.began_with = began_with
        self.iteration = 0
        self.best: list[float] = []
        self.trained_seconds = self.trained_cpu = 0.0
        self.judge: Evaluator | None = None  # by whose report a policy is kept; None: by that of every evaluation
        self.on_progress: Callable[[int, str], None] = lambda iteration, note: None
        self._started, self._cpu_started = time.perf_counter(), time.process_time()
        self._note = ""
        self._board: Any = None

    @classmethod
    def create(cls, folder: Path, task: str, seed: int, config: Config, commit: str,
               began_with: Mapping[str, Any] = MappingProxyType({})) -> Run:
        """A new run; refuses a folder that has more in it than a start that was cut short has left."""
        plain, written = settings.dump(config), folder / "config.yaml"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(path != written or path.read_bytes() != plain.encode() for path in folder.iterdir()):
                raise RunError(f"{folder}: exists and is not empty; choose another --out, or --resume to go on with it")
            written.write_text(plain, encoding="utf-8")
            about: dict[str, Any] = {"task": task, "seed": seed, "commit": commit}
            about |= {"began_with": dict(began_with)} if began_with else {}
            (folder / "run.json").write_text(json.dumps(about) + "\n")
        except OSError as error:
            raise RunError(f"{folder}: cannot be written ({error.strerror})") from error
        return cls(folder, task, seed, config, commit, began_with)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """The run that is there."""
        about = folder / "run.json"
        if not about.is_file():
            raise RunError(f"{folder}: holds no training run (no run.json)")
        try:
            raw = json.loads(about.read_text())
            task, seed, commit, began_with = raw["task"], raw["seed"], raw["commit"], raw.get("began_with", {})
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{about}: damaged ({error})") from error
        return cls(folder, task, seed, settings.load_file(folder / "config.yaml", Config()), commit, began_with)

    def check_same(self, task: str, seed: int, config: Config) -> None:
        """Refuse to go on with other settings than the run began with, naming the first difference."""
        mine, yours = settings.to_dict(self.config), settings.to_dict(config)
        pairs = [("task", self.task, task), ("seed", self.seed, seed)]
        pairs += [(f"{s}.{k}", v, yours[s][k]) for s, values in mine.items() for k, v in values.items()]
        for name, old, new in pairs:
            if old != new:
                raise RunError(f"{self.folder}: {name} was {old!r} when the run began and is {new!r} now; "
                               "resume with the same settings or start a new run")

    # ---- going on ---------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.folder / "checkpoint.pt").exists()

    def restore(self, env: VecEnv, agent: Learner) -> np.ndarray | None:
        """Put environment and agent back to the last checkpoint; returns the observations, None without one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            self._cut_log()
            return None
        state = checkpoint.load(path)
        try:
            agent.load_state_dict(state["agent"])
            obs = env.load_state_dict(state["env"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise checkpoint.CheckpointError(f"{path}: does not fit this run ({error})") from error
        self.iteration, self.best, self.trained_seconds = state["iteration"], state["best"], state["seconds"]
        self.trained_cpu = state["cpu_seconds"]
        self._cut_log()
        return obs

    def save(self, iteration: int, env: VecEnv, agent: Learner) -> None:
        """Everything needed to go on from after ``iteration``."""
        checkpoint.save(self.folder / "checkpoint.pt", {
            "iteration": iteration, "best": self.best, "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds, "agent": agent.state_dict(), "env": env.state_dict(),
        })

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training so far, earlier sessions counted in."""
        return self.trained_seconds + time.perf_counter() - self._started

    @property
    def cpu_seconds(self) -> float:
        """The processor's seconds over all threads, earlier sessions counted in."""
        return self.trained_cpu + time.process_time() - self._cpu_started

    def check(self, iteration: int, values: Mapping[str, np.ndarray | torch.Tensor]) -> None:
        """Stop where learning has gone astray: RunError names the first of ``values`` that is not finite."""
        for name, value in values.items():
            if not torch.as_tensor(value).isfinite().all():
                raise RunError(f"{self.folder}: {name} is not finite at iteration {iteration}; training has diverged, "
                               "start a new run with a lower learning rate")

    def check_losses(self, iteration: int, learned: Sequence[tuple[Mapping[str, torch.Tensor], Any]]) -> None:
        """Stop where a loss of any update is not finite. ``learned``: losses and batch of each, in their order.

        RunError names the first such loss and the file diverged.pt, which holds this update's losses and batch.
        """
        if torch.stack([loss for losses, _ in learned for loss in losses.values()]).isfinite().all():
            return
        bad = [{k: float(v) for k, v in losses.items() if not v.isfinite()} for losses, _ in learned]
        first = next(i for i, losses in enumerate(bad) if losses)
        path, (losses, batch) = self.folder / "diverged.pt", learned[first]
        checkpoint.save(path, {"iteration": iteration, "update": first + 1, "batch": batch,
                               "losses": {k: float(v) for k, v in losses.items()}})
        raise RunError(f"{self.folder}: loss/{next(iter(bad[first]))} is not finite at iteration {iteration}; training "
                       f"has diverged ({path} holds the batch and the losses of update {first + 1} of {len(learned)}), "
                       "start a new run with a lower learning rate")

    # ---- looking ----------------------------------------------------------------------------------

    def log(self, iteration: int, agent: Learner, losses: dict[str, torch.Tensor], stages: Stages,
            world: Mapping[str, float] = MappingProxyType({})) -> None:
        """One line of metrics.csv and TensorBoard. ``world`` is what the environment says of itself."""
        row: dict[str, float] = {"seconds": self.seconds, "transitions": agent.transitions, "updates": agent.updates}
        row |= agent.measures() | dict(world) | {f"loss/{k}": float(v) for k, v in losses.items()}
        row |= {f"seconds/{k}": v for k, v in stages.seconds.items()}
        self._write(iteration, row | {f"{k}/seconds": v for k, v in stages.last.items() if k == "cluster"})

    def evaluate(self, iteration: int, agent: Learner, evaluator: Evaluator) -> None:
        """Evaluate the agent as it is now, log it, and keep its policy if none was better."""
        policy = self._policy(agent)
        report = evaluator(policy, self.config.train.eval_episodes)
        self._write(iteration, curve_points(report))
        self._note = f"success {report.unconditioned_success:.2f}"
        if report.conditioned:
            self._note = f"{report.modes_learned} of {len(report.modes)} modes learned"
        judged = report
        if self.judge is not None:
            judged = self.judge(policy, self.config.train.eval_episodes)
            self._write(iteration, {f"transfer/{name}": value for name, value in curve_points(judged).items()})
        if score(judged) >= self.best:
            self.best = score(judged)
            checkpoint.save_policy(self.folder / "policy.pt", replace(policy, report=report.to_dict()))

    def _policy(self, agent: Learner) -> SavedPolicy:
        return SavedPolicy(self.task, self.seed, agent.transitions, self.commit, self.config, agent.features,
                           agent.slow_actor, agent.modes, {}, dict(self.began_with.get("randomise", {})),
                           agent.judges)

    def finish(self, agent: Learner, evaluator: Evaluator) -> Report:
        """The last word on the best policy: a longer evaluation, kept in policy.pt and report.json.

        report.json has beside it what ``agent`` needed for it: method, transitions, cells covered, seconds.
        """
        path = self.folder / "policy.pt"
        if not path.exists():
            raise RunError(f"{self.folder}: no policy was evaluated; train.eval_every is longer than the run")
        policy = checkpoint.load_policy(path, agent.spec)
        report = evaluator(policy, self.config.train.final_episodes)
        checkpoint.save_policy(path, replace(policy, report=report.to_dict()))
        content = report.to_dict() | {
            "method": self.config.train.method, "transitions": agent.transitions,
            "coverage_cells": int(agent.measures()["coverage_cells"]), "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds, "iterations": self.config.train.iterations,
            "machine": machine(self.config.train.device),
        }
        with checkpoint.replacing(self.folder / "report.json") as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())
        if self._board is not None:
            with _writing(self.folder / "tensorboard"):
                self._board.close()
        return report

    def progress(self, iteration: int) -> None:
        """Tell whoever watches."""
        self.iteration = iteration
        self.on_progress(iteration, self._note)

    # ---- the log ----------------------------------------------------------------------------------

    def _write(self, iteration: int, row: dict[str, float]) -> None:
        """Long form: one line a number, so that modes may come and go."""
        path = self.folder / "metrics.csv"
        with _writing(path), open(path, "a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(["iteration", "name", "value"])
            writer.writerows([iteration, name, repr(float(value))] for name, value in row.items())
        with _writing(self.folder / "tensorboard"):
            board = self._tensorboard()
            for name, value in row.items():
                board.add_scalar(name, value, iteration)

    def _tensorboard(self) -> Any:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.iteration + 1)
        return self._board

    def _cut_log(self) -> None:
        """Forget lines written after the checkpoint, they will be written again; and half a line at the end."""
        path = self.folder / "metrics.csv"
        if path.exists():
            lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            kept = [line for line in lines[1:] if int(line.split(",")[0]) <= self.iteration]
            with checkpoint.replacing(path) as file:
                file.write("".join(lines[:1] + kept).encode())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """RunError naming ``path`` where the system refuses to write it."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error}); the last checkpoint is unharmed: "
                       "make room where the disk is full, then resume") from error


def curve_points(report: Report) -> dict[str, float]:
    """What metrics.csv keeps of an evaluation; what does not exist for a policy is left out."""
    row = {"eval/unconditioned_success": report.unconditioned_success}
    if report.way_share is not None:
        row["eval/ways"] = len(report.way_share)
    if report.mean_action_success is not None:
        row["eval/mean_action_success"] = report.mean_action_success
    if report.conditioned:
        row |= {"eval/modes": len(report.modes), "eval/modes_learned": report.modes_learned}
    for mode in report.modes:
        row |= {f"mode{mode.id}/success": mode.success, f"mode{mode.id}/adherence": mode.adherence}
        if mode.returns is not None:
            row[f"mode{mode.id}/return"] = mode.returns
    return row


def score(report: Report) -> list[float]:
    """What makes one policy better than another: modes learned that can be come back to, modes learned, then how well.

    A single mode has nothing to come back from: that must not make it better than two that seldom come back.

    Of policies without modes, how often they reach a goal, then by how many ways.
    """
    if not report.conditioned:
        return [report.unconditioned_success, float(len(report.way_share or ()))]
    good = sum(m.learned and (m.returns is None or m.returns >= 0.8) for m in report.modes)
    worst = [m.worst for m in report.modes]
    return [float(good), float(report.modes_learned), float(np.mean(worst)) if worst else 0.0]


def read_metrics(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """metrics.csv as name -> (iterations, values)."""
    out: dict[str, list[tuple[int, float]]] = {}
    with open(folder / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            out.setdefault(row["name"], []).append((int(row["iteration"]), float(row["value"])))
    return {k: (np.array([i for i, _ in v]), np.array([x for _, x in v])) for k, v in out.items()}
