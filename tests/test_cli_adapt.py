"""``ddiffpg adapt``: a policy file and a robot that differs in, a steered policy file out; or one line on why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("onnx", reason="the extra 'export' is not installed")

from ddiffpg.policy import Policy
from ddiffpg_cli.main import main
from ddiffpg_cli.shipped import shipped_policy
from tests.test_cli import one_line

FILE = shipped_policy("pointmaze-v1")
TINY = ["--rounds", "2", "--drive", "2", "--updates", "3", "--episodes", "4", "--force"]


@pytest.fixture
def heavier(tmp_path: Path) -> Path:
    file = tmp_path / "heavier.yaml"
    file.write_text("dynamics: {mass: 1.5}\nsignals: {action_delay: 0.08}\n")
    return file


def adapt(*words: object) -> int:
    return main(["adapt", *map(str, words)])


def test_it_writes_a_policy_of_this_robot_and_says_what_came_of_it(heavier, tmp_path, capsys):
    out, said = tmp_path / "steered.onnx", tmp_path / "said.json"
    assert adapt(FILE, "--deviation", heavier, "--out", out, *TINY, "--json", said) == 0
    report = json.loads(said.read_text())
    assert report == json.loads(out.with_suffix(".json").read_text())
    assert report["target"] == {"dynamics": {"mass": 1.5}, "signals": {"action_delay": 0.08}}
    assert set(report["reach"]) == {"-1", "0", "1"} and report["driven"] == 12
    policy = Policy.load(out)
    assert policy.checked and policy.contract.training.config["adapted"]["how"] == "steer"
    assert policy.contract.mode_ids == Policy.load(FILE).contract.mode_ids
    shown = capsys.readouterr()
    assert "after 6 episodes" in shown.err and "noise moves actions by" in shown.out


def test_a_simulator_section_is_refused(tmp_path, capsys):
    file = tmp_path / "other.yaml"
    file.write_text("simulator: {timestep: 0.005}\n")
    assert adapt(FILE, "--deviation", file, "--out", tmp_path / "x.onnx") == 2
    assert f"--deviation {file}: has a section simulator" in one_line(capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [("dynamics: {mass: -1}\n", "mass is -1"), ("dynamics: {weight: 2}\n", "weight"), ("", "is empty")],
)
def test_a_wrong_deviation_is_named(text, said, tmp_path, capsys):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert adapt(FILE, "--deviation", file, "--out", tmp_path / "x.onnx") == 2
    line = one_line(capsys)
    assert str(file) in line and said in line


def test_what_is_no_policy_or_is_not_there_is_named(heavier, tmp_path, capsys):
    assert adapt(tmp_path / "no.onnx", "--deviation", heavier, "--out", tmp_path / "x.onnx") == 2
    assert "no such file" in one_line(capsys)
    assert adapt(heavier, "--deviation", heavier, "--out", tmp_path / "x.onnx") == 2
    assert "cannot be read as an ONNX policy" in one_line(capsys)
    assert adapt(FILE, "--deviation", tmp_path / "no.yaml", "--out", tmp_path / "x.onnx") == 2
    assert "--deviation" in one_line(capsys)
    assert adapt(FILE, "--deviation", heavier, "--out", tmp_path / "no" / "x.onnx") == 2
    assert "there is no directory" in one_line(capsys)
    assert adapt(FILE, "--deviation", heavier, "--out", tmp_path / "x.bin") == 2
    assert "expected a name that ends in .onnx" in one_line(capsys)
