"""The subcommands that take a policy file, on a real one: inspect, eval, run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ddiffpg.contract import Contract
from ddiffpg_cli.main import main
from tests.robot.joint_policies import arm_contract, write_pattern
from tests.ros.field_policy import write_field_policy

from .test_cli import imported_by, one_line


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "v1.onnx"
    write_field_policy("pointmaze-v1", path)
    return path


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    """Boxes that fill both ways of pointmaze-v1 from wall to wall, well ahead of the robot."""
    path = tmp_path / "blocks.yaml"
    path.write_text(
        "- {center: [-1.2, -1.0], half_size: [0.2, 0.6], appears: 0.1}\n"
        "- {center: [-1.2, 1.0], half_size: [0.2, 0.6], appears: 0.1}\n"
    )
    return path


def as_json(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


# ---- inspect ---------------------------------------------------------------------------------------


def test_inspect_gives_the_contract_back(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(policy), "--json", "-"]) == 0
    shown = capsys.readouterr()
    contract = Contract.from_json(shown.out)
    assert (contract.task, contract.mode_ids) == ("pointmaze-v1", (0, 1))
    assert "odom.linear_velocity.x" in shown.err


def test_inspect_loads_neither_torch_nor_mujoco(policy: Path) -> None:
    assert imported_by(["inspect", str(policy)]) & {"torch", "mujoco", "rclpy", "onnx"} == set()


@pytest.mark.parametrize("command", [["inspect"], ["eval"], ["run", "--policy"]])
def test_a_file_that_is_no_policy(
    command: list[str], policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(policy.read_bytes()[:2000])
    assert main([*command, str(cut)]) == 2
    assert str(cut) in one_line(capsys)


@pytest.mark.parametrize("command", [["inspect"], ["eval"], ["run", "--policy"], ["demo", "--policy"]])
def test_a_file_that_is_not_there(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx: no such file" in one_line(capsys)


# ---- eval ------------------------------------------------------------------------------------------


def test_eval_of_a_policy_file(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(policy), "--episodes", "8", "--seed", "3", "--json", "-"]) == 0
    report = as_json(capsys)
    assert (report["task"], report["modes_learned"]) == ("pointmaze-v1", 2)
    assert [m["id"] for m in report["modes"]] == [0, 1]
    assert {"success", "adherence", "return", "mean_steps"} <= set(report["modes"][0])
    assert report["unconditioned"]["success"] == 1.0
    assert sum(report["unconditioned"]["mode_share"].values()) == pytest.approx(1.0)


def test_eval_is_repeatable(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for _ in range(2):
        assert main(["eval", str(policy), "--episodes", "5", "--json", "-"]) == 0
        reports.append(as_json(capsys))
    assert reports[0] == reports[1]


def test_eval_of_a_policy_loads_no_torch(policy: Path) -> None:
    assert imported_by(["eval", str(policy), "--episodes", "1"]) & {"torch", "rclpy"} == set()


# ---- run -------------------------------------------------------------------------------------------


def test_run_reaches_the_goal(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--policy", str(policy), "--episodes", "3", "--json", "-"]) == 0
    result = as_json(capsys)
    assert len(result["episodes"]) == 3
    for episode in result["episodes"]:
        assert (episode["success"], episode["collided"], episode["switches"]) == (True, False, 0)
        assert len(episode["modes"]) == 1
        assert 20 < episode["steps"] < 80


def test_run_keeps_to_the_mode_that_is_asked_for(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for mode in (0, 1):
        assert main(["run", "--policy", str(policy), "--mode", str(mode), "--json", "-"]) == 0
        assert as_json(capsys)["episodes"][0]["modes"] == [mode]


def test_run_switches_before_an_obstacle(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = tmp_path / "block.yaml"
    for side, mode in ((-1.0, 0), (1.0, 1)):
        block.write_text(f"- {{center: [-1.5, {side}], half_size: [0.4, 0.4], appears: 1.0}}\n")
        flags = ["--episodes", "6", "--scan", "90", "--obstacles", str(block)]
        assert main(["run", "--policy", str(policy), *flags, "--json", "-"]) == 0
        episodes = as_json(capsys)["episodes"]
        assert all(e["modes"][-1] == 1 - mode for e in episodes)
        assert {e["switches"] for e in episodes if e["modes"][0] == mode} == {1}


def test_run_that_finds_every_way_blocked_fails(
    policy: Path, blocks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--policy", str(policy), "--obstacles", str(blocks), "--max-steps", "40", "--json", "-"]) == 1
    (episode,) = as_json(capsys)["episodes"]
    assert (episode["success"], episode["collided"], episode["steps"]) == (False, False, 40)


def test_run_is_repeatable(policy: Path, blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--seed", "4", "--max-steps", "30", "--obstacles", str(blocks)]
    results = []
    for _ in range(2):
        main(["run", "--policy", str(policy), *flags, "--json", "-"])
        results.append(as_json(capsys))
    assert results[0] == results[1]


def test_run_with_an_unknown_mode(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--policy", str(policy), "--mode", "7"]) == 2
    assert "--mode 7" in one_line(capsys)


def test_run_with_a_bad_obstacles_file(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("- {centre: [1, 2], half_size: [1, 1]}\n")
    assert main(["run", "--policy", str(policy), "--obstacles", str(bad)]) == 2
    text = one_line(capsys)
    assert "bad.yaml" in text
    assert "centre" in text


@pytest.mark.parametrize(
    "command, says", [(("run", "--scan", "90"), "--scan 90"), (("demo", "--out", "nowhere"), "contract field 'path'")]
)
def test_what_is_of_the_plane_is_refused_for_ways_in_space(
    command: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = dataclasses.replace(arm_contract(), task="pointmaze-v1")
    file = write_pattern(tmp_path / "arm.onnx", contract, {0: np.zeros(2)})
    assert main([*command, "--policy", str(file)]) == 2
    assert says in one_line(capsys)
    assert not Path("nowhere").exists()


def test_run_loads_neither_torch_nor_ros(policy: Path) -> None:
    assert imported_by(["run", "--policy", str(policy)]) & {"torch", "rclpy", "sklearn"} == set()
