"""``ddiffpg train`` and ``eval`` of a run, on runs of seconds that learn little."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")

import torch

from ddiffpg_cli.main import main
from ddiffpg_core.checkpoint import load
from tests.test_cli import PATHS, one_line

SMALL = {
    "train.iterations": 120, "train.warmup_iterations": 30, "train.checkpoint_every": 30, "train.eval_every": 60,
    "train.eval_episodes": 2, "train.final_episodes": 2, "train.num_envs": 16, "critic.batch_size": 32,
}  # fmt: skip
SETTINGS = ["--preset", "quick", *(word for k, v in SMALL.items() for word in ("--set", f"{k}={v}"))]
PICTURES = {"trajectories.png", "coverage.png", "q_maps.png"}


def train(out: Path, *more: str) -> int:
    return main(["train", "pointmaze-v1", "--out", str(out), *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an uninterrupted run with seed 3."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train(out, "--seed", "3", *SETTINGS, "--json", str(out.parent / "report.json")) == 0
    return out


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def log(out: Path) -> list[str]:
    """The run's log without what depends on the machine's speed."""
    return [line for line in (out / "metrics.csv").read_text().splitlines() if "seconds" not in line]


# ---- what a run leaves -----------------------------------------------------------------------------


def test_a_run_leaves_settings_log_checkpoint_policy_report_and_pictures(finished: Path) -> None:
    assert {"config.yaml", "run.json", "metrics.csv", "checkpoint.pt", "policy.pt", "report.json"} <= {
        p.name for p in finished.iterdir()
    }
    assert {p.name for p in (finished / "pictures").iterdir()} >= PICTURES
    assert list((finished / "tensorboard").iterdir())
    assert "iterations: 120" in (finished / "config.yaml").read_text()
    assert json.loads((finished / "run.json").read_text())["seed"] == 3


def test_train_reports_in_the_form_of_eval(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reported = json.loads((finished.parent / "report.json").read_text())
    assert main(["eval", str(finished), "--episodes", "2", "--json", "-"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert reported.keys() == evaluated.keys()
    assert {"task", "modes_learned", "modes", "unconditioned"} <= evaluated.keys()


def test_a_policy_can_be_chosen_by_how_it_does_on_other_robots(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(out, *SETTINGS, "--set", "train.iterations=40", "--select", "transfer") == 0
    assert "select: transfer" in (out / "config.yaml").read_text()
    judged = [line for line in log(out) if ",transfer/" in line]
    assert judged and judged[0].startswith("40,transfer/eval/unconditioned_success,")
    assert (out / "policy.pt").is_file()


def test_killed_and_resumed_is_the_same_run(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    flags = ["train", "pointmaze-v1", "--out", str(out), "--seed", "3", *SETTINGS]
    command = [sys.executable, "-m", "ddiffpg_cli", *flags]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        while not (out / "checkpoint.pt").exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert train(out, "--resume") == 0
    assert log(out) == log(finished)
    assert (out / "policy.pt").read_bytes() == (finished / "policy.pt").read_bytes()


def test_resume_of_a_finished_run_changes_nothing(finished: Path, copy: Path) -> None:
    assert train(copy, "--resume") == 0
    assert log(copy) == log(finished)
    assert (copy / "policy.pt").read_bytes() == (finished / "policy.pt").read_bytes()


# ---- bad input -------------------------------------------------------------------------------------


def test_an_existing_run_is_not_overwritten(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "policy.pt").read_bytes()
    assert train(finished, *SETTINGS) == 2
    text = one_line(capsys)
    assert str(finished) in text
    assert "--resume" in text
    assert (finished / "policy.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--seed", "4"], "seed was 3"),
        (["--preset", "cpu"], "train.iterations was 120"),
        ([*SETTINGS, "--set", "critic.gamma=0.9"], "critic.gamma was"),
    ],
)
def test_resume_with_other_settings(
    flags: list[str], named: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(finished, "--resume", *flags) == 2
    assert named in one_line(capsys)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--preset", "nonsense"], "known: cpu, gpu, quick"),
        (["--preset", "pointmaze-v1"], "known: cpu, gpu, quick"),
        (["--method", "nonsense"], "'nonsense': no such method (known: ddiffpg"),
        (["--set", "train.method=nonsense"], "train.method is 'nonsense': no such method (known: ddiffpg"),
        (["--set", "critic.gama=0.9"], "gama"),
        (["--set", "critic.gamma=high"], "gamma"),
        (["--set", "nonsense"], "nonsense"),
        (["--set", "train.device=nonsense"], "train.device"),
        (["--config", "/nonexistent.yaml"], "--config /nonexistent.yaml"),
        (["--set", "train.offline_updates=5"], "train.offline_updates is 5, but the run begins with nothing"),
        (["--set", "agreement.filter=true"], "agreement.filter is true with method ddiffpg"),
    ],
)
def test_wrong_settings_leave_no_directory(
    flags: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", *flags) == 2
    assert named in one_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "--preset", "gpu") == 2
    text = one_line(capsys)
    assert "train.device is 'cuda'" in text
    assert "--preset cpu" in text
    assert not (tmp_path / "run").exists()


def test_more_threads_than_cores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cores = len(os.sched_getaffinity(0))
    few = ["--set", "train.iterations=2", "--set", "train.eval_every=2", "--set", "train.warmup_iterations=1"]
    assert train(tmp_path / "run", *SETTINGS, *few, "--set", f"train.sim_threads={cores + 1}") == 0
    assert f"train.sim_threads is {cores + 1}: this machine has {cores} cores" in capsys.readouterr().err


def test_memory_that_does_not_hold_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", *SETTINGS, "--set", "replay.trajectories=100000000000") == 1
    text = one_line(capsys)
    assert "the memory of cpu is full" in text
    for setting in ("critic.batch_size (32)", "train.num_envs (16)", "replay.trajectories (100000000000)"):
        assert setting in text


def test_unknown_key_in_a_settings_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("critic: {gama: 0.9}\n")
    assert train(tmp_path / "run", "--config", str(file)) == 2
    text = one_line(capsys)
    assert "mine.yaml" in text
    assert "gama" in text


def test_unknown_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "pointmaze-v9", "--out", str(tmp_path / "run")]) == 2
    assert "pointmaze-v1" in one_line(capsys)


def test_out_below_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert train(tmp_path / "file" / "run", *SETTINGS) == 2
    assert str(tmp_path / "file" / "run") in one_line(capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert train(tmp_path / "run", *SETTINGS) == 2
    assert "Permission denied" in one_line(capsys)


@pytest.mark.parametrize("size", [0, 1000])
def test_a_checkpoint_cut_short(size: int, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(copy / "checkpoint.pt", size)
    assert train(copy, "--resume") == 2
    assert "checkpoint.pt" in one_line(capsys)


def test_eval_of_a_policy_cut_short(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(copy / "policy.pt", 1000)
    assert main(["eval", str(copy)]) == 2
    assert "policy.pt" in one_line(capsys)


def test_eval_of_a_directory_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tmp_path)]) == 2
    assert str(tmp_path) in one_line(capsys)


def test_a_disk_that_fills_while_training_and_is_resumed_with_room_again(finished: Path, tmp_path: Path) -> None:
    """From its first checkpoint on no file of the run can grow: it stops, and goes on from there as if it had not."""
    out = tmp_path / "run"
    flags = ["train", "pointmaze-v1", "--out", str(out), "--seed", "3", *SETTINGS, "--set", "train.checkpoint_every=1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    with subprocess.Popen(
        [sys.executable, "-m", "ddiffpg_cli", *flags], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (out / "checkpoint.pt").exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        error = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 1, error
    assert "File too large" in error
    assert str(out) in error
    assert "resume" in error
    assert 0 < load(out / "checkpoint.pt")["iteration"] < 120
    assert train(out, "--resume") == 0
    assert log(out) == log(finished)


def test_disk_full_while_saving(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the run ends in one line, and what was there is whole."""
    out = tmp_path / "run"
    code = (
        "import resource, signal, sys\n"
        "from ddiffpg_cli.main import main\n"
        "import ddiffpg_cli.training\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"sys.exit(main({['train', 'pointmaze-v1', '--out', str(out), *SETTINGS]!r}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "checkpoint.pt" in done.stderr.splitlines()[-1]
    assert not (out / "checkpoint.pt").exists()
    assert not list(out.glob("*.part"))


# ---- robots that differ from episode to episode ----------------------------------------------------


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with the description that ships."""
    out = tmp_path_factory.mktemp("runs") / "varied"
    assert train(out, "--seed", "3", *SETTINGS, "--randomise") == 0
    return out


def test_what_varies_is_in_the_run_its_checkpoint_its_policy_and_its_log(varied: Path) -> None:
    from ddiffpg_sim.variation import Variation

    described = Variation.of_task("pointmaze-v1").plain()
    assert json.loads((varied / "run.json").read_text())["began_with"]["randomise"] == described
    assert load(varied / "policy.pt")["randomise"] == described
    assert load(varied / "checkpoint.pt")["env"]["randomised"]["variation"] == described
    assert any(",randomise/share," in line for line in log(varied))


def test_a_run_goes_on_with_what_varied_when_it_began_and_with_nothing_else(
    varied: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "light.yaml"
    other.write_text("dynamics: {mass: {uniform: [0.5, 1.0], unit: factor}}\n")
    assert train(varied, "--resume", "--randomise", str(other)) == 2
    assert "--randomise dynamics.mass was {'uniform': [0.7, 1.3], 'unit': 'factor'} when" in one_line(capsys)
    assert train(finished, "--resume", "--randomise") == 2
    assert "--randomise was nothing when" in one_line(capsys)
    before = log(varied)
    assert train(varied, "--resume") == 0 and train(varied, "--resume", "--randomise") == 0
    assert log(varied) == before


def test_eval_drives_other_robots_and_names_what_it_does_not_know(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(finished), "--episodes", "2", "--randomise"]) == 0
    wrong = tmp_path / "robot.yaml"
    wrong.write_text("dynamics: {mass: {uniform: [0.5, 1.0], unit: kg}}\n")
    capsys.readouterr()
    assert main(["eval", str(finished), "--randomise", str(wrong)]) == 2
    assert f"{wrong}: dynamics.mass.unit is 'kg': expected factor" in one_line(capsys)
    assert main(["eval", str(finished), "--randomise", str(tmp_path / "none.yaml")]) == 2
    assert "--randomise" in one_line(capsys)
