"""The gate's rule, case by case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ddiffpg.policy import Policy
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.evaluate import ModeResult, Report
from ddiffpg_export.accept import Tolerance, Trial, judge, try_out
from ddiffpg_export.onnx_export import ExportConfig, export
from tests.export.support import DOWN, UP, RoofEnv, world

GOOD = ModeResult(UP, success=0.95, adherence=0.95, returns=0.9, mean_steps=11.0, returns_from={})


def trial(teacher: ModeResult, student: ModeResult) -> Trial:
    return Trial(*(Report("roof", 100, 0, (result,), 1.0, {}) for result in (teacher, student)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"success": 0.92}, ""),  # 0.03 less is allowed
        ({"success": 0.91}, "mode 3 is worse: success 0.910 (teacher 0.950), allowed is 0.03 less"),
        ({"adherence": 0.92, "returns": 0.8}, ""),
        ({"adherence": 0.88}, "mode 3 is worse: adherence 0.880 (teacher 0.950), allowed is 0.03 less"),
        ({"returns": 0.79}, "mode 3 is worse: returns 0.790 (teacher 0.900), allowed is 0.1 less"),
        ({"success": 0.79}, "mode 3 is lost: success 0.790 (teacher 0.950)"),
        (
            {"success": 0.0, "adherence": 0.0, "mean_steps": None},
            "mode 3 is lost: success 0.000 (teacher 0.950), adherence 0.000 (teacher 0.950)",
        ),
        ({"success": 1.0, "adherence": 1.0, "returns": 1.0}, ""),  # better is no objection
        ({"mean_steps": 30.0}, ""),
    ],
)
def test_boundaries(changes: dict, reason: str) -> None:
    assert judge(trial(GOOD, replace(GOOD, **changes)), Tolerance()) == ((reason,) if reason else ())


def test_a_mode_that_the_teacher_has_not_learned_either_is_lost() -> None:
    bad = replace(GOOD, success=0.7)
    assert judge(trial(bad, bad), Tolerance()) == ("mode 3 is lost: success 0.700 (teacher 0.700)",)
    assert judge(trial(bad, bad), Tolerance(least=0.0)) == ()


def test_no_return_is_compared_where_there_is_one_mode() -> None:
    alone = replace(GOOD, returns=None)
    assert judge(trial(alone, alone), Tolerance()) == ()


def test_the_file_is_tried_like_its_teacher(run_dir: Path, policy: SavedPolicy) -> None:
    export(run_dir, run_dir / "a.onnx", world(), ExportConfig(episodes=50))
    file = Policy.load(run_dir / "a.onnx")
    first, second = (try_out(file, policy, policy.modes, RoofEnv(), 50, seed=4) for _ in range(2))
    assert first == second
    for report in (first.teacher, first.student):
        assert [m.id for m in report.modes] == [UP, DOWN]
        assert report.modes_learned == 2
        assert min(report.mode_share.values()) > 0.2  # unconditioned, both ways are taken
