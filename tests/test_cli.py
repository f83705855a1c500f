"""The command line: its help, its errors in one line, its exit codes, and what each subcommand imports."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddiffpg_cli.errors import BadInput, Failed, explain
from ddiffpg_cli.main import COMMANDS, main
from ddiffpg_cli.output import Progress, bar, clock, progress, table

ROOT = Path(__file__).resolve().parents[1]
PATHS = [ROOT / p for p in (".", "sim", "export", "cli", "ros2_ws/src/ddiffpg")]
HEAVY = ("torch", "mujoco", "rclpy", "onnxruntime", "onnx", "numpy", "sklearn", "scipy", "matplotlib", "PIL", "yaml",
         "ray")  # fmt: skip


def python_environment() -> dict[str, str]:
    """For an interpreter that finds our packages."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}


def python(code: str) -> subprocess.CompletedProcess[str]:
    """``code`` in a fresh interpreter that finds our packages."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=python_environment(), capture_output=True, text=True, check=False)


def imported_by(arguments: list[str]) -> set[str]:
    """Which of the heavy packages are loaded after ``ddiffpg ARGUMENTS``."""
    code = (
        "import sys, ddiffpg_cli.main as m\n"
        f"try: m.main({arguments!r})\n"
        "except SystemExit: pass\n"
        f"print('loaded', *[p for p in {HEAVY!r} if p in sys.modules])"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What went to standard error, which must be one line."""
    text = capsys.readouterr().err
    assert text.endswith("\n"), text
    assert text.count("\n") == 1, text
    return text


# ---- help and imports ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_subcommand(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ddiffpg {command}")


def test_help_names_all_subcommands_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(f"    {command} " in text for command in COMMANDS)
    assert "exit codes: 0" in text


@pytest.mark.parametrize("arguments", [["--help"], *([c, "--help"] for c in COMMANDS), ["bench"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported_by(arguments) == set()


def test_tasks_imports_neither_torch_nor_ros() -> None:
    assert imported_by(["tasks"]) & {"torch", "rclpy", "onnxruntime", "sklearn", "matplotlib"} == set()


def test_module_runs_as_a_command() -> None:
    done = python("import sys, runpy; sys.argv = ['x', 'tasks']; runpy.run_module('ddiffpg_cli', run_name='__main__')")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pointmaze-v1" in done.stdout


# ---- bad input -------------------------------------------------------------------------------------


def test_no_subcommand_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "COMMAND" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["tasks", "--jso", "x"], "--jso"),
        (["run", "--policy", "x.onnx", "--episodes", "0"], "--episodes"),
        (["run", "--policy", "x.onnx", "--seed", "-1"], "--seed"),
        (["run"], "--policy"),
        (["distill", "x", "--steps", "3"], "--steps"),
        (["export", "x"], "--out"),
        (["train", "pointmaze-v1"], "--out"),
    ],
)
def test_wrong_flags_are_one_line(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert named in one_line(capsys)


def test_json_into_a_missing_directory_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json", str(tmp_path / "none" / "x.json")]) == 2
    text = one_line(capsys)
    assert "--json" in text
    assert str(tmp_path / "none") in text


def test_json_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json", str(tmp_path)]) == 2
    assert "is a directory" in one_line(capsys)


def test_unknown_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nonsense"]) == 2
    assert "nonsense" in one_line(capsys)


def test_bench_lists_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if not p.stem.startswith("_"))
    assert "tick" in listed


def test_bench_passes_flags_and_exit_code_on(tmp_path: Path) -> None:
    out = tmp_path / "tick.json"
    assert main(["bench", "tick", "--ticks", "20", "--json", str(out)]) == 0
    assert json.loads(out.read_text())
    assert main(["bench", "tick", "--nonsense"]) == 2


# ---- results ---------------------------------------------------------------------------------------


def test_tasks_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json", "-"]) == 0
    shown = capsys.readouterr()
    tasks = {t["name"]: t for t in json.loads(shown.out)}
    assert [f"pointmaze-v{i}" in tasks for i in (1, 2, 3, 4)] == [True] * 4
    assert [f["name"] for f in tasks["pointmaze-v1"]["observation"]] == ["x", "y", "vx", "vy"]
    assert "pointmaze-v1" in shown.err  # the table for people, out of the way of the JSON


def test_json_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "tasks.json"
    assert main(["tasks", "--json", str(target)]) == 0
    assert len(json.loads(target.read_text())) >= 4
    assert "pointmaze-v1" in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)  # whoever reads our output is gone already
    done = subprocess.run(
        [sys.executable, "-m", "ddiffpg_cli", "tasks"],
        env=python_environment(), stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert "Traceback" not in done.stderr


# ---- errors as one line ----------------------------------------------------------------------------


class RemoteError(Exception):
    """Not one of ours."""


@pytest.mark.parametrize(
    ("error", "code", "named"),
    [
        (BadInput("field x is 3"), 2, "field x is 3"),
        (Failed("goal not reached"), 1, "goal not reached"),
        (FileNotFoundError(2, "No such file or directory", "a.yaml"), 2, "a.yaml: No such file"),
        (PermissionError(13, "Permission denied", "b.json"), 2, "b.json: Permission denied"),
        (OSError(28, "No space left on device", "c.pt"), 1, "free some space"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "ddiffpg-stack[train]"),
        (ModuleNotFoundError("No module named 'rclpy.node'", name="rclpy.node"), 2, "ddiffpg-stack[ros]"),
        (RemoteError("two\nlines"), 1, "internal error, please report it: RemoteError: two lines"),
    ],
)
def test_explain(error: Exception, code: int, named: str) -> None:
    text, returned = explain(error)
    assert returned == code
    assert named in text
    assert "\n" not in text


def test_own_value_errors_are_bad_input() -> None:
    from ddiffpg.contract import ContractError

    assert explain(ContractError("rate_hz", -1, "more than 0")) == (
        "contract field 'rate_hz' is -1: expected more than 0",
        2,
    )


def test_every_third_party_import_has_an_extra_named() -> None:
    """What can be missing at run time must be explained by the extra that brings it."""
    from ddiffpg_cli.errors import EXTRA_OF

    assert set(EXTRA_OF.values()) == {"sim", "train", "export", "ros", "sweep"}


# ---- how things are shown --------------------------------------------------------------------------


def test_table_aligns_columns() -> None:
    assert table(("a", "long"), [("xyz", 1)]) == "a    long\nxyz  1"


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 3600)] == ["00:00", "01:00", "1:00:00"]


def test_bar_says_the_time_left() -> None:
    assert bar("run", 1, 4, 30.0, "well") == f"[{'#' * 7}{'.' * 21}] run 1/4, 00:30 left, well"
    assert bar("run", 0, 4, None).endswith("run 0/4, --:-- left")


def test_progress_into_a_file_is_a_line_for_each_tenth() -> None:
    out = io.StringIO()
    shown = Progress("iteration", 100, out)
    for done in range(41, 101):  # resumed after 40
        shown.show(done)
    shown.end()
    lines = out.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"iteration {n}/100" for n in (50, 60, 70, 80, 90, 100)]
    assert lines[-1].endswith("00:00 left")


def test_progress_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2], "run")) == [1, 2]
    assert capsys.readouterr() == ("", "")
