"""``ddiffpg sweep``: what it goes over, and a real sweep on a local Ray whose worker is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")

from ddiffpg_cli import grid
from ddiffpg_cli.errors import BadInput
from ddiffpg_cli.main import main
from ddiffpg_cli.trials import Trial
from ddiffpg_core.config import ConfigError
from tests.test_cli import one_line, python_environment
from tests.test_cli_train import SETTINGS

# ---- what it goes over ----------------------------------------------------------------------------


def test_all_combinations_and_their_labels() -> None:
    words = ["critic.gamma=0.9", "actor.hidden=[8, 8]", "critic.gamma=0.8"]
    made = grid.trials(grid.of_words(["pointmaze-v1", "pointmaze-v2"], [0, 5], None, "quick", words))
    assert len(made) == 2 * 2 * 2
    assert made[0] == Trial("pointmaze-v1", 0, "ddiffpg", "quick", ("critic.gamma=0.9", "actor.hidden=[8, 8]"),
                            "critic.gamma=0.9")  # fmt: skip
    assert made[-1].name == "pointmaze-v2-ddiffpg-critic.gamma=0.8-5"


def test_a_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("tasks: [pointmaze-v1]\nseeds: [0, 1]\npreset: quick\n"
                    "set: {critic.gamma: [0.9, 0.8], actor.hidden: [[8, 8]], critic.per_mode: false}\n")
    words = ["critic.gamma=0.9", "critic.gamma=0.8", "actor.hidden=[8, 8]", "critic.per_mode=false"]
    assert grid.read(path) == grid.of_words(["pointmaze-v1"], [0, 1], None, "quick", words)
    assert grid.trials(grid.read(path))[0].config().actor.hidden == (8, 8)


def test_a_label_is_fit_for_a_files_name() -> None:
    words = ["actor.hidden=[8, 8]", "actor.hidden=[9]"]
    labels = {trial.label for trial in grid.trials(grid.of_words(["pointmaze-v1"], [0], None, "quick", words))}
    assert labels == {"actor.hidden=_8,_8_", "actor.hidden=_9_"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- a", "key 'tasks'"),
        ("seeds: [1]", "key 'tasks'"),
        ("tasks: [pointmaze-v1]\nseed: [1]", "unknown key 'seed'"),
        ("tasks: pointmaze-v1", "tasks is 'pointmaze-v1': expected a list of names"),
        ("tasks: [pointmaze-v1]\nseeds: [-1]", "at least 0"),
        ("tasks: [pointmaze-v1]\nseeds: [true]", "at least 0"),
        ("tasks: [pointmaze-v1]\nseeds: []", "at least 0"),
        ("tasks: [pointmaze-v1]\npreset: [quick]", "preset is"),
        ("tasks: [pointmaze-v1]\nset: [1]", "expected a map"),
        ("tasks: [pointmaze-v1]\nset: {critic.gamma: []}", "critic.gamma is []"),
        ("tasks: [pointmaze-v1", "not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as error:
        grid.read(path)
    assert str(path) in str(error.value)
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("tasks", "words", "named"),
    [
        (["pointmaze-v9"], [], "pointmaze-v9"),
        (["pointmaze-v1"], ["critic.gama=1"], "gama"),
        (["pointmaze-v1"], ["critic.gamma"], "SECTION.KEY=VALUE"),
        (["pointmaze-v1"], ["critic.gamma=0.9", "critic.gamma=0.9"], "two runs have this name"),
        (["pointmaze-v1", "pointmaze-v1"], [], "two runs have this name"),
        ([], [], "--tasks or --file"),
    ],
)
def test_what_cannot_be_run_is_named_before_anything_is(tasks: list[str], words: list[str], named: str) -> None:
    with pytest.raises((BadInput, ConfigError), match=named):
        grid.trials(grid.of_words(tasks, [0], None, "quick", words))


# ---- what it says without running -----------------------------------------------------------------


def test_a_file_and_flags_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--file", str(tmp_path / "x.yaml"), "--seeds", "1", "--out", str(tmp_path / "out")]) == 2
    assert "--file" in one_line(capsys)


def test_where_ray_is_missing_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ddiffpg_cli.sweeping", raising=False)
    monkeypatch.delattr("ddiffpg_cli.sweeping", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["sweep", "--tasks", "pointmaze-v1", "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'ddiffpg-stack[sweep]'" in one_line(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("address", "named"), [("nonsense", "host:port"), ("127.0.0.1:1", "no Ray cluster answers")])
def test_a_cluster_that_is_not_there(
    address: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="the extra 'sweep' is not installed")
    assert main(["sweep", "--tasks", "pointmaze-v1", "--out", str(tmp_path / "out"), "--ray", address]) == 2
    assert named in one_line(capsys)


def test_a_run_that_no_machine_has_room_for() -> None:
    pytest.importorskip("ray", reason="the extra 'sweep' is not installed")
    from ddiffpg_cli.sweeping import Room, check_room, side_by_side

    wide = Trial("pointmaze-v1", 0, preset="quick", settings=("train.sim_threads=3",))
    check_room([wide], [{"CPU": 2.0}, {"CPU": 3.0}])
    with pytest.raises(BadInput, match=r"pointmaze-v1-ddiffpg-0 asks for 3 CPU, .* more than 2: .*sim_threads"):
        check_room([wide], [{"CPU": 2.0}, {"memory": 1e9}])
    with pytest.raises(BadInput, match=r"1 GPU"):
        check_room([Trial("pointmaze-v1", 0, settings=("train.device=cuda",))], [{"CPU": 2.0}])
    assert side_by_side([wide] * 5, [{"CPU": 8.0}], Room(None, None, 0)) == 2
    assert side_by_side([wide] * 5, [{"CPU": 8.0}], Room(None, 1, 0)) == 1
    assert side_by_side([wide] * 5, [{"CPU": 8.0}], Room("a:1", None, 0)) is None


# ---- a real one -----------------------------------------------------------------------------------


def until(what: Callable[[], object], process: subprocess.Popen[str] | None = None) -> object:
    """Wait for something true; fails where ``process`` ends before."""
    while not (value := what()):
        assert process is None or process.poll() is None, f"the sweep ended early: {process.communicate()}"
        time.sleep(0.02)
    return value


def descendants(pid: int) -> set[int]:
    """All processes below ``pid``, by /proc."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = stat.read_text()
            parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, new = set(), [pid]
    while new:
        new = [child for parent in new for child in parents.get(parent, [])]
        found.update(new)
    return found


def listening(pids: set[int]) -> set[str]:
    """Addresses that these processes listen on, as /proc/net has them."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                sockets.add(os.readlink(link))
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def sweep_words(out: Path, *more: str) -> list[str]:
    return ["sweep", "--tasks", "pointmaze-v1", "--seeds", "3", "4", "--out", str(out), "--json",
            str(out.parent / "sweep.json"), *SETTINGS, *more]  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, set[str]]]:
    """The folder of a sweep over two seeds, the first of which was killed once; and the addresses it listened on."""
    pytest.importorskip("ray", reason="the extra 'sweep' is not installed")
    out = tmp_path_factory.mktemp("sweep") / "runs"
    command = [sys.executable, "-m", "ddiffpg_cli", *sweep_words(out)]
    process = subprocess.Popen(command, env=python_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    try:
        run, log = out / "pointmaze-v1-ddiffpg-3", out / "pointmaze-v1-ddiffpg-3.log"
        until((run / "checkpoint.pt").exists, process)
        everything = descendants(process.pid)
        addresses = listening(everything)
        worker = int(re.findall(r"== process (\d+)", log.read_text())[0])
        assert worker in everything
        os.kill(worker, signal.SIGKILL)
        _, error = process.communicate()
        assert process.returncode == 0, error
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everything))
        yield out, addresses
    finally:
        if process.poll() is None:
            for pid in {process.pid, *descendants(process.pid)}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_a_run_whose_worker_is_killed_is_gone_on_with(swept: tuple[Path, set[str]]) -> None:
    out, _ = swept
    workers = re.findall(r"== process (\d+)", (out / "pointmaze-v1-ddiffpg-3.log").read_text())
    assert len(set(workers)) == 2
    result = json.loads((out.parent / "sweep.json").read_text())
    assert result["failed"] == []
    assert [(r["task"], r["seed"]) for r in result["runs"]] == [("pointmaze-v1", 3), ("pointmaze-v1", 4)]
    for record in result["runs"]:
        assert [point["iteration"] for point in record["curve"]] == [60, 120]
        assert record["iterations"] == 120


def test_a_local_ray_listens_on_this_machine_alone(swept: tuple[Path, set[str]]) -> None:
    _, addresses = swept
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert addresses
    assert addresses <= loopback


def test_what_is_done_is_taken_and_what_fails_is_named(swept: tuple[Path, set[str]]) -> None:
    out, _ = swept
    before = json.loads((out.parent / "sweep.json").read_text())["runs"]
    bad = out / "pointmaze-v1-ddiffpg-4"
    (bad / "report.json").unlink()
    (bad / "checkpoint.pt").write_bytes(b"")
    again = subprocess.run([sys.executable, "-m", "ddiffpg_cli", *sweep_words(out)], env=python_environment(),
                           capture_output=True, text=True, check=False)  # fmt: skip
    log = out / "pointmaze-v1-ddiffpg-4.log"
    assert again.returncode == 1
    assert f"pointmaze-v1-ddiffpg-4: ddiffpg train ended with exit code 2; see {log}" in again.stderr
    result = json.loads((out.parent / "sweep.json").read_text())
    assert result["runs"] == [before[0] | {"side_by_side": None}]
    assert [failure["name"] for failure in result["failed"]] == ["pointmaze-v1-ddiffpg-4"]
    assert "checkpoint.pt" in log.read_text()
