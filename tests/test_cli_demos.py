"""``ddiffpg train --demos`` and ``--from``: what a run begins with, and that it is the same run when it is resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mcap", reason="mcap (extra ros) is not installed")

from ddiffpg_cli.errors import BadInput
from ddiffpg_cli.training import Wanted, open_run
from ddiffpg_core.checkpoint import load
from ddiffpg_core.config import Config
from tests.scripts import benchmark
from tests.test_cli import PATHS, one_line
from tests.test_cli_train import SETTINGS, log, train

SHORT = {"train.iterations": 40, "train.warmup_iterations": 10, "train.checkpoint_every": 10, "train.eval_every": 40}
SETTINGS = [*SETTINGS, *(word for k, v in SHORT.items() for word in ("--set", f"{k}={v}"))]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten drives of a human by one way of pointmaze-v1."""
    out = tmp_path_factory.mktemp("human") / "human.mcap"
    benchmark("demos").record_demonstrations(out, 0)
    return out


@pytest.fixture(scope="module")
def finished(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an uninterrupted run that began with them."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train(out, "--seed", "3", *SETTINGS, "--demos", str(recording)) == 0
    return out


def test_a_run_keeps_them_and_says_what_it_began_with(finished: Path, recording: Path) -> None:
    about = json.loads((finished / "run.json").read_text())["began_with"]
    (file,) = about["demos"]
    assert file["file"] == str(recording) and len(file["sha256"]) == 64 and about["demos_who"] == "human"
    assert "from" not in about
    state = load(finished / "checkpoint.pt")["agent"]
    assert len(state["replay"]["demos"]) == 10
    assert len(state["bank"]["modes"]) >= 1


def test_killed_and_resumed_is_the_same_run(finished: Path, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    flags = ["train", "pointmaze-v1", "--out", str(out), "--seed", "3", *SETTINGS, "--demos", str(recording)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    command = [sys.executable, "-m", "ddiffpg_cli", *flags]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        while not (out / "checkpoint.pt").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    elsewhere = Path(shutil.copy(recording, tmp_path / "elsewhere.mcap"))  # what it holds counts, not where it is
    assert train(out, "--resume", "--demos", str(elsewhere)) == 0
    assert log(out) == log(finished)
    assert (out / "policy.pt").read_bytes() == (finished / "policy.pt").read_bytes()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--demos", "other.mcap"], "--demos was human.mcap (sha256 "),
        (["--demos", "human.mcap", "other.mcap"], ", other.mcap (sha256 "),
        (["--demos", "human.mcap", "--demos-who", "all"], "--demos-who was human when the run began and is all now"),
        (["--demos", "human.mcap", "--from", "RUN"], "--from was none when the run began and is checkpoint.pt"),
    ],
)
def test_a_resume_with_others_is_refused_and_they_are_named(
    flags: list[str], named: str, finished: Path, recording: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    shutil.copy(recording, tmp_path / "human.mcap")
    (tmp_path / "other.mcap").write_bytes(b"something else")
    monkeypatch.chdir(tmp_path)
    assert train(finished, "--resume", *(str(finished) if flag == "RUN" else flag for flag in flags)) == 2
    assert named in one_line(capsys)


def test_a_run_that_never_began_is_begun_from_the_files_that_it_names(finished, tmp_path, recording) -> None:
    """Killed before its first checkpoint, a run reads them again; a file that has changed by then is refused."""
    out, file = tmp_path / "run", Path(shutil.copy(recording, tmp_path / "copy.mcap"))
    shutil.copytree(finished, out)
    (out / "checkpoint.pt").unlink()
    about = json.loads((out / "run.json").read_text())
    about["began_with"]["demos"][0]["file"] = str(file)
    (out / "run.json").write_text(json.dumps(about))
    asked = Wanted("pointmaze-v1", out, None, None, None)
    assert len(open_run(asked, Config, resume=True).loaded.shown) == 10
    file.write_bytes(b"something else")
    with pytest.raises(BadInput, match=r"copy.mcap: has changed since the run began: it was copy.mcap \(sha256 "):
        open_run(asked, Config, resume=True)
    file.unlink()
    with pytest.raises(BadInput, match=r"copy\.mcap: No such file"):
        open_run(asked, Config, resume=True)


def test_a_run_begins_from_another_with_its_settings(finished: Path, tmp_path: Path, capsys) -> None:
    out, more = tmp_path / "next", ["--set", "train.iterations=3", "--set", "train.eval_every=3"]
    more += ["--set", "train.warmup_iterations=0", "--set", "critic.gamma=0.97"]
    assert train(out, "--from", str(finished), *more) == 0
    before, after = (load(folder / "checkpoint.pt")["agent"] for folder in (finished, out))
    assert after["transitions"] == before["transitions"] + 3 * 16
    assert after["replay"]["demos"].keys() == before["replay"]["demos"].keys()
    settings = (out / "config.yaml").read_text()
    assert "batch_size: 32" in settings and "gamma: 0.97" in settings
    began = json.loads((out / "run.json").read_text())["began_with"]
    assert began["from"]["file"] == str(finished / "checkpoint.pt")


# ---- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--demos", "none.mcap"], "none.mcap: No such file"),
        (["--demos", "text.mcap"], "text.mcap: is no MCAP file"),
        (["--demos", "."], "--demos .: holds no .mcap file"),
        (["--demos", "human.mcap", "--demos-who", "nobody"], "--demos-who"),
        (["--from", "."], "--from .: holds no training run"),
        (["--from", "POLICY"], "policy.pt: expected the directory of a run, or its checkpoint.pt"),
        (["--from", "RUN", "--set", "critic.hidden=[8]"], "critic.hidden is [32, 32] there and [8] here"),
    ],
)
def test_what_a_run_cannot_begin_with_leaves_no_directory(
    flags: list[str], named: str, finished: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    if flags[1] == "text.mcap":
        Path("text.mcap").write_text("this is a text and no recording")
    places = {"RUN": str(finished), "POLICY": str(finished / "policy.pt")}
    try:
        code = train(tmp_path / "run", *(places.get(flag, flag) for flag in flags))
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert named in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_task_is_no_beginning(finished: Path, tmp_path: Path, capsys) -> None:
    from ddiffpg_cli.main import main

    assert main(["train", "pointmaze-v2", "--from", str(finished), "--out", str(tmp_path / "run")]) == 2
    assert "is of task 'pointmaze-v1', not 'pointmaze-v2'" in one_line(capsys)
