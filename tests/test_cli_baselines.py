"""Each baseline through the command: trained for seconds, evaluated without modes, and not exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("onnx", reason="the extra 'export' is not installed")

from ddiffpg_cli.main import main
from tests.test_cli import one_line
from tests.test_cli_train import SETTINGS

SHORT = [*SETTINGS, "--set", "train.iterations=40", "--set", "train.eval_every=20", "--set", "train.log_every=10"]


@pytest.mark.parametrize("method", ["sac", "td3", "dipo", "diffusion-ql"])
def test_a_baseline_trains_evaluates_and_is_not_exported(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", "pointmaze-v1", "--method", method, "--out", str(out), *SHORT]) == 0
    assert f"method: {method}" in (out / "config.yaml").read_text()
    report = json.loads((out / "report.json").read_text())
    assert (report["method"], report["transitions"]) == (method, 40 * 16)
    assert report["coverage_cells"] > 0
    assert (report["modes"], report["modes_learned"], report["unconditioned"]["mode_share"]) == (None, None, None)
    assert 0.0 <= report["unconditioned"]["success"] <= 1.0
    assert (report["unconditioned"]["mean_action_success"] is None) == (method != "sac")
    names = {line.split(",")[1] for line in (out / "metrics.csv").read_text().splitlines()}
    assert {"eval/unconditioned_success", "eval/ways", "loss/critic", "loss/novelty", "coverage_cells"} <= names
    assert "eval/modes" not in names
    assert {p.name for p in (out / "pictures").iterdir()} == {"trajectories.png", "coverage.png"}
    capsys.readouterr()
    assert main(["eval", str(out), "--episodes", "2", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out).keys() <= report.keys()
    assert main(["distill", str(out)]) == 2
    text = one_line(capsys)
    assert "policy.pt" in text
    assert f"was trained by '{method}'" in text


def test_resume_with_another_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    command = ["train", "pointmaze-v1", "--out", str(out), *SHORT]
    assert main([*command, "--method", "td3"]) == 0
    capsys.readouterr()
    assert main([*command, "--method", "sac", "--resume"]) == 2
    assert "train.method was 'td3' when the run began and is 'sac' now" in one_line(capsys)
