"""A run's student as a policy file: accepted with its report, or refused with nothing left behind."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddiffpg.policy import Policy
from ddiffpg_core.checkpoint import SavedPolicy, save_policy
from ddiffpg_export.onnx_export import ExportConfig, ExportError, ExportRefused, export, parity_objection
from ddiffpg_export.parity import Parity
from ddiffpg_export.student import RunFileError, load_student, save_student
from tests.export.support import DOWN, UP, small_files_only, world

FEW = ExportConfig(episodes=60)
RUN_FILES = ["checkpoint.pt", "policy.pt", "student.pt"]


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def forget_modes(run_dir: Path, policy: SavedPolicy) -> None:
    """Make the run's student blind to the embedding, as a student is that was taught without it."""
    student = load_student(run_dir, policy)
    assert student.network is not None
    with torch.no_grad():
        student.network.nets[0][0].weight[:, policy.features.size : policy.features.size + 4] = 0.0
    save_student(run_dir, policy, student)


# ---- accepted ----------------------------------------------------------------------------------------


def test_file_and_report_say_the_same(run_dir: Path, policy: SavedPolicy) -> None:
    out = run_dir / "roof.onnx"
    report = export(run_dir, out, world(), FEW)
    assert files(run_dir) == sorted([*RUN_FILES, "roof.json", "roof.onnx"])
    written = json.loads((run_dir / "roof.json").read_text())
    assert written == json.loads(json.dumps(report.to_dict()))
    assert written["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert written["bytes"] == out.stat().st_size
    assert (written["accepted"], written["objections"], written["left_out"]) == (True, [], [])
    assert (written["episodes"], written["seed"], written["modes"]) == (60, 0, [UP, DOWN])
    assert written["parity"]["largest"] <= 1e-5
    assert written["distillation"]["errors"]["3"]["rms"] < 0.1
    assert {"success", "adherence", "return"} <= written["teacher"]["modes"][0].keys()


def test_the_files_figures_are_its_own(run_dir: Path) -> None:
    """Not the teacher's: the controller chooses by them."""
    report = export(run_dir, run_dir / "roof.onnx", world(), FEW)
    contract = Policy.load(run_dir / "roof.onnx").contract
    assert contract == report.contract
    for mode, result in zip(contract.modes, report.trial.student.modes):
        assert (mode.success, mode.adherence, mode.returns, mode.mean_steps) == (
            result.success, result.adherence, result.returns, result.mean_steps,
        )  # fmt: skip
    teachers = [m.mean_steps for m in report.trial.teacher.modes]
    assert [m.mean_steps for m in contract.modes] != teachers


def test_the_same_run_gives_the_same_bytes(run_dir: Path) -> None:
    for name in ("a", "b"):
        export(run_dir, run_dir / f"{name}.onnx", world(), FEW)
    assert (run_dir / "a.onnx").read_bytes() == (run_dir / "b.onnx").read_bytes()
    first, second = (json.loads((run_dir / f"{name}.json").read_text()) for name in ("a", "b"))
    assert {**first, "file": ""} == {**second, "file": ""}


def test_a_mode_that_is_not_learned_is_left_out_and_named(run_dir: Path, policy: SavedPolicy) -> None:
    reported = [{**m, "success": 0.5} if m["id"] == UP else m for m in policy.report["modes"]]
    save_policy(run_dir / "policy.pt", replace(policy, report={**policy.report, "modes": reported}))
    report = export(run_dir, run_dir / "one.onnx", world(), FEW)
    assert report.contract.mode_ids == (DOWN,)
    assert report.contract.modes[0].returns == 1.0  # nothing to come back from
    assert json.loads((run_dir / "one.json").read_text())["left_out"] == [
        {"id": UP, "reason": "not learned: success 0.50 (at least 0.8 is learned)"}
    ]
    both = export(run_dir, run_dir / "both.onnx", world(), replace(FEW, unlearned=True))
    assert both.contract.mode_ids == (UP, DOWN)


# ---- refused -----------------------------------------------------------------------------------------


def test_a_student_that_lost_its_modes_is_refused(run_dir: Path, policy: SavedPolicy) -> None:
    forget_modes(run_dir, policy)
    with pytest.raises(ExportRefused, match=r"mode \d is lost: .*adherence 0\.\d+ \(teacher 1\.000\)"):
        export(run_dir, run_dir / "roof.onnx", world(), FEW)
    assert files(run_dir) == RUN_FILES


def test_force_writes_it_and_the_file_says_so(run_dir: Path, policy: SavedPolicy) -> None:
    forget_modes(run_dir, policy)
    report = export(run_dir, run_dir / "roof.onnx", world(), replace(FEW, force=True))
    contract = Policy.load(run_dir / "roof.onnx").contract
    assert not report.accepted
    assert contract.training.config["export"]["forced_against"] == list(report.objections)
    assert any("is lost" in o for o in report.objections)
    assert min(m.adherence for m in contract.modes) < 0.8
    assert json.loads((run_dir / "roof.json").read_text())["accepted"] is False


def test_one_mode_with_a_zeroed_embedding_is_refused_by_name(run_dir: Path, policy: SavedPolicy) -> None:
    """The teacher of the student knew no embedding for DOWN."""
    from ddiffpg_export.distill import distill_policy, recorded
    from tests.export.support import QUICK, roof_spec

    zeroed = tuple(replace(m, embedding=np.zeros(4, np.float32)) if m.id == DOWN else m for m in policy.modes)
    blind = distill_policy(replace(policy, modes=zeroed), recorded(run_dir, roof_spec()), QUICK)
    save_policy(run_dir / "policy.pt", replace(policy, modes=zeroed))
    save_student(run_dir, replace(policy, modes=zeroed), blind)
    with pytest.raises(ExportRefused, match=f"mode {DOWN} is lost"):
        export(run_dir, run_dir / "roof.onnx", world(), FEW)
    assert "roof.onnx" not in files(run_dir)


def test_a_refusal_leaves_an_older_file_as_it_was(run_dir: Path, policy: SavedPolicy) -> None:
    export(run_dir, run_dir / "roof.onnx", world(), FEW)
    before = [(run_dir / name).read_bytes() for name in ("roof.onnx", "roof.json")]
    forget_modes(run_dir, policy)
    with pytest.raises(ExportRefused):
        export(run_dir, run_dir / "roof.onnx", world(), FEW)
    assert [(run_dir / name).read_bytes() for name in ("roof.onnx", "roof.json")] == before
    assert files(run_dir) == sorted([*RUN_FILES, "roof.json", "roof.onnx"])


def test_nothing_to_export(run_dir: Path, policy: SavedPolicy) -> None:
    reported = [{**m, "adherence": 0.0} for m in policy.report["modes"]]
    save_policy(run_dir / "policy.pt", replace(policy, report={**policy.report, "modes": reported}))
    with pytest.raises(ExportRefused, match=r"no mode to export .*mode 3 is not learned: adherence 0\.00"):
        export(run_dir, run_dir / "roof.onnx", world(), FEW)


def test_no_modes_at_all(run_dir: Path, policy: SavedPolicy) -> None:
    student, nobody = load_student(run_dir, policy), replace(policy, modes=())
    save_policy(run_dir / "policy.pt", nobody)
    save_student(run_dir, nobody, student)
    with pytest.raises(ExportRefused, match=r"no mode to export \(it has none\)"):
        export(run_dir, run_dir / "roof.onnx", world(), FEW)


def test_figures_that_differ_from_torch_are_an_objection() -> None:
    assert parity_objection(Parity(100, 1e-5, 1e-5)) == ()
    (objection,) = parity_objection(Parity(100, 2e-5, 1e-5))
    assert objection == "its actions differ from torch's by 2.0e-05 of half their range, allowed is 1e-05"


# ---- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUN_FILES)
def test_missing_files_are_named(name: str, run_dir: Path) -> None:
    (run_dir / name).unlink()
    with pytest.raises(RunFileError, match=name):
        export(run_dir, run_dir / "roof.onnx", world(), FEW)
    assert "roof.onnx" not in files(run_dir)


def test_out_must_be_a_file_that_can_be(run_dir: Path) -> None:
    (run_dir / "folder.onnx").mkdir()
    for name, reason in (("roof.pt", r"ends in \.onnx"), ("folder.onnx", "a directory"), ("no/x.onnx", "no directory")):
        with pytest.raises(ExportError, match=reason):
            export(run_dir, run_dir / name, world(), FEW)


def test_a_full_disk_leaves_nothing(run_dir: Path) -> None:
    with small_files_only(), pytest.raises(OSError, match="too large"):
        export(run_dir, run_dir / "roof.onnx", world(), FEW)
    assert files(run_dir) == RUN_FILES


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_no_write_permission(run_dir: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        export(run_dir, locked / "roof.onnx", world(), FEW)
    assert files(locked) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_place_where_nobody_may_write(run_dir: Path) -> None:
    with pytest.raises(OSError, match=r"roof\.onnx\.part"):
        export(run_dir, Path("/proc/self/roof.onnx"), world(), FEW)
