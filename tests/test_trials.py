"""Runs that are compared with each other: what they are called with, and what is recorded of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")

from ddiffpg_cli.errors import BadInput
from ddiffpg_cli.trials import Trial, differences, free_cells, learning_curve, record
from ddiffpg_core.config import Config, ConfigError, override
from ddiffpg_core.run import Run
from ddiffpg_sim import tasks

TINY = ("train.iterations=7", "critic.gamma=0.9")


def test_a_trial_is_one_command_line() -> None:
    trial = Trial("pointmaze-v1", 3, preset="quick", settings=TINY, label="short")
    assert trial.name == "pointmaze-v1-ddiffpg-short-3"
    assert trial.words(Path("x")) == [
        "train", "pointmaze-v1", "--out", "x", "--seed", "3", "--resume", "--preset", "quick",
        "--set", "train.iterations=7", "--set", "critic.gamma=0.9",
    ]  # fmt: skip
    assert Trial("pointmaze-v1", 3, method="sac").words(Path("x"))[-2:] == ["--method", "sac"]
    randomised = Trial("pointmaze-v1", 3, randomised=True)
    assert randomised.name == "pointmaze-v1-ddiffpg-randomised-3" and randomised.words(Path("x"))[-1] == "--randomise"


def test_its_settings_are_those_that_train_would_use() -> None:
    trial = Trial("pointmaze-v1", 3, preset="quick", settings=TINY)
    whole, preset = trial.config(), trial.config(preset_alone=True)
    assert (whole.train.iterations, whole.critic.gamma) == (7, 0.9)
    assert differences(whole, preset) == {"train.iterations": 7, "critic.gamma": 0.9}
    assert differences(preset, preset) == {}


@pytest.mark.parametrize(
    ("trial", "named"),
    [
        (Trial("pointmaze-v9", 0), "pointmaze-v9"),
        (Trial("pointmaze-v1", 0, preset="nonsense"), "nonsense"),
        (Trial("pointmaze-v1", 0, settings=("critic.gama=1",)), "gama"),
    ],
)
def test_what_is_wrong_with_it_is_named(trial: Trial, named: str) -> None:
    with pytest.raises((BadInput, ConfigError), match=named):
        trial.config()


def test_another_run_in_its_directory_is_refused(tmp_path: Path) -> None:
    trial = Trial("pointmaze-v1", 3, preset="quick", settings=TINY)
    assert not trial.is_done(tmp_path / "run")
    Run.create(tmp_path / "run", "pointmaze-v1", 3, trial.config(), "")
    assert not trial.is_done(tmp_path / "run")
    (tmp_path / "run" / "report.json").write_text("{}")
    assert trial.is_done(tmp_path / "run")
    with pytest.raises(BadInput, match=r"critic\.gamma was 0\.9 .* 0\.5 now"):
        Trial("pointmaze-v1", 3, preset="quick", settings=(TINY[0], "critic.gamma=0.5")).is_done(tmp_path / "run")


# ---- the record -----------------------------------------------------------------------------------


def series(*points: tuple[int, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for i, _ in points]), np.array([v for _, v in points])


METRICS = {
    "seconds": series((10, 1.0), (20, 2.5), (40, 6.0)), "transitions": series((10, 640), (20, 1280), (40, 2560)),
    "coverage_cells": series((10, 5), (20, 9), (40, 11)),
    "eval/unconditioned_success": series((20, 0.5), (40, 0.85)),
    "eval/modes": series((20, 0), (40, 2)), "eval/modes_learned": series((20, 0), (40, 1)),
    "mode0/success": series((40, 1.0)), "mode3/success": series((40, 0.5)), "mode0/return": series((40, 0.25)),
    "mode0/trajectories": series((20, 7), (40, 9)),
}  # fmt: skip


def test_the_curve_has_a_point_an_evaluation() -> None:
    first, last = learning_curve(METRICS)
    assert first == {
        "iteration": 20, "seconds": 2.5, "transitions": 1280, "modes": 0, "modes_learned": 0, "success_mean": None,
        "success_worst": None, "return_mean": None, "unconditioned_success": 0.5, "coverage_cells": 9,
    }  # fmt: skip
    assert (last["success_mean"], last["success_worst"], last["return_mean"]) == (0.75, 0.5, 0.25)


def test_what_the_log_does_not_say_is_none() -> None:
    assert learning_curve({"eval/unconditioned_success": series((20, 0.5))})[0] == {
        "iteration": 20, "seconds": None, "transitions": None, "modes": None, "modes_learned": None,
        "success_mean": None, "success_worst": None, "return_mean": None, "unconditioned_success": 0.5,
        "coverage_cells": None,
    }  # fmt: skip


def finished(folder: Path, trial: Trial, report: dict) -> Path:
    """What a run of a method without modes leaves, as far as a record needs it."""
    Run.create(folder, trial.task, trial.seed, trial.config(), "abc")
    (folder / "report.json").write_text(json.dumps(report))
    lines = [f"{i},{name},{value}" for name, (at, values) in METRICS.items() for i, value in zip(at, values)]
    (folder / "metrics.csv").write_text("\n".join(["iteration,name,value", *lines]) + "\n")
    return folder


REPORT = {"episodes": 4, "modes_learned": None, "modes": None, "unconditioned": {"success": 0.9, "mode_share": None},
          "seconds": 7.5, "iterations": 40}  # fmt: skip


def test_a_record_says_what_the_run_says_and_no_more(tmp_path: Path) -> None:
    trial = Trial("pointmaze-v1", 3, preset="quick", settings=("critic.gamma=0.9",), label="near")
    content = record(trial, finished(tmp_path / "run", trial, REPORT), side_by_side=2)
    curve = content.pop("curve")
    assert [point["iteration"] for point in curve] == [20, 40]
    assert content == {
        "task": "pointmaze-v1", "method": "ddiffpg", "label": "near", "seed": 3, "preset": "quick",
        "settings": {"critic.gamma": 0.9}, "commit": "abc", "machine": None, "side_by_side": 2,
        "threads": {"simulation": 1, "torch": 1}, "seconds": 7.5, "cpu_seconds": None, "iterations": 40,
        "transitions": 2560, "coverage_cells": 11, "free_cells": 29, "episodes": 4, "modes_learned": None,
        "modes": None, "unconditioned": REPORT["unconditioned"], "transitions_to_0.8": 2560, "minutes_to_0.8": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize("text", [None, "{", ""])
def test_a_run_without_a_whole_report(text: str | None, tmp_path: Path) -> None:
    trial = Trial("pointmaze-v1", 3, preset="quick")
    folder = finished(tmp_path / "run", trial, REPORT)
    (folder / "report.json").unlink()
    if text is not None:
        (folder / "report.json").write_text(text)
    with pytest.raises(BadInput, match=r"report\.json: .*(finished run|--resume)"):
        record(trial, folder, None)


@pytest.mark.parametrize(("task", "cells"), [("pointmaze-v1", 29), ("pointmaze-v2", 51), ("antmaze-v4", 74)])
def test_cells_with_room_in_them(task: str, cells: int) -> None:
    # As many as the recorded runs, which went everywhere, have entered. The ant's mazes are the same, larger.
    assert free_cells(tasks.make(task)) == cells


def test_settings_that_differ() -> None:
    config = override(Config(), ["critic.gamma=0.5", "actor.hidden=[8, 9]"])
    assert differences(config, Config()) == {"critic.gamma": 0.5, "actor.hidden": [8, 9]}
