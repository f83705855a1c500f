"""``ddiffpg record`` beside a controller and a simulated robot in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
pytest.importorskip("mcap", reason="mcap (extra ros) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")

from rosbags.highlevel import AnyReader

from ddiffpg_cli.main import main
from ddiffpg_cli.ros_processes import CommandProcess

INPUTS = {"/odom", "/scan", "/obstacles"}
OUTPUTS = {"/cmd_vel", "/diagnostics", *(f"/controller/{name}" for name in ("status", "mode", "path", "markers"))}


@pytest.fixture(scope="module")
def drive(module_nodes, field_policy):
    """A controller that drives a simulated robot (or has arrived: it goes on saying so)."""
    module_nodes.start("ddiffpg_sim.sim_robot_node", task="pointmaze-v1")
    module_nodes.start("ddiffpg.controller_node", policy=str(field_policy), autostart=True, rate=50.0)
    return module_nodes


@pytest.fixture
def record(drive, ros_environment, tmp_path) -> Iterator:
    started: list[CommandProcess] = []

    def start(*flags: str) -> CommandProcess:
        log = tmp_path / f"record-{len(started)}.log"
        started.append(CommandProcess("ddiffpg_cli", ["record", *flags], ros_environment, log))
        return started[-1]

    yield start
    for process in started:
        process.end()


def contents(path: Path) -> dict[str, int]:
    with AnyReader([path]) as bag:
        return {connection.topic: connection.msgcount for connection in bag.connections}


def grown(observer, path: Path, size: int):
    return observer.wait(f"{size} bytes in {path}", lambda: path.exists() and path.stat().st_size > size)


def test_a_recording_has_what_the_controller_hears_and_says(record, observer, tmp_path):
    out = tmp_path / "session.mcap"
    process = record("--out", str(out), "--topic", "/sim_robot/status", "--without", "/rosout")
    observer.wait("the recorder", lambda: observer.node.count_subscribers("/obstacles") == 3)
    observer.put(1, (9.0, 9.0), (0.1, 0.1, 0.1))
    grown(observer, out, 30_000)
    process.send(signal.SIGINT)
    assert process.wait() == 0, process.output()
    assert "messages of" in process.output() and "Traceback" not in process.output()

    counts = contents(out)
    assert INPUTS | OUTPUTS | {"/sim_robot/status", "/parameter_events"} <= set(counts)
    assert "/rosout" not in counts and "/map" not in counts
    assert counts["/obstacles"] == 1 and counts["/controller/status"] > 50
    with AnyReader([out]) as bag:
        messages = [(c.topic, bag.deserialize(data, c.msgtype)) for c, _, data in bag.messages()]
        qos = {c.topic: c.ext.offered_qos_profiles for c in bag.connections}
    (event,) = [m for topic, m in messages if topic == "/parameter_events" and m.node == "/controller"]
    assert {p.name: p.value.double_value for p in event.changed_parameters}["rate"] == 50.0
    stamps = [m.header.stamp for topic, m in messages if topic == "/odom"]
    assert len({(s.sec, s.nanosec) for s in stamps}) == len(stamps)
    assert qos["/controller/path"][0].durability.name == "TRANSIENT_LOCAL"


def test_a_split_recording(record, observer, tmp_path):
    process = record("--out", str(tmp_path / "s.mcap"), "--split-mb", "0.02", "--keep", "2")
    observer.wait("a fourth file", lambda: (tmp_path / "s_3.mcap").exists(), timeout=60)
    assert process.end() == 0, process.output()
    files = sorted(tmp_path.glob("*.mcap"))
    assert len(files) == 2 and not (tmp_path / "s.mcap").exists()
    counts = [contents(file) for file in files]
    assert sum(count["/controller/status"] for count in counts) > 0
    for count in counts:  # what holds until it is said anew is in each of them
        assert count["/parameter_events"] > 0 and count["/controller/mode"] > 0 and count["/controller/path"] > 0


def test_a_size_limit_ends_it_well(record, tmp_path):
    process = record("--out", str(tmp_path / "s.mcap"), "--max-mb", "0.04")
    assert process.wait(60) == 0, process.output()
    assert "--max-mb" in process.output()
    assert contents(tmp_path / "s.mcap")["/controller/status"] > 0


def test_a_disk_that_fills_ends_it_with_1_and_what_was_recorded_is_there(record, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    process = record("--out", str(disk / "s.mcap"))
    try:
        assert process.wait(60) == 1, process.output()
        (last,) = [line for line in process.output().splitlines() if "No space left" in line]
        assert "s.mcap" in last and "Traceback" not in process.output()
        assert contents(disk / "s.mcap")["/controller/status"] > 0
    finally:
        process.end()
        subprocess.run(["umount", str(disk)], check=True)


def test_a_second_controller_of_that_name_is_said(record, nodes, field_policy, tmp_path):
    nodes.start("ddiffpg.controller_node", policy=str(field_policy))
    process = record("--out", str(tmp_path / "s.mcap"), "--duration", "3")
    assert process.wait(30) == 0, process.output()
    assert "2 nodes are named /controller" in process.output()


def test_nothing_to_record_is_a_failure_and_leaves_no_file(record, tmp_path):
    process = record("--out", str(tmp_path / "s.mcap"), "--controller", "/nobody", "--without", "/parameter_events",
                     "--duration", "1")  # fmt: skip
    assert process.wait(30) == 1
    assert "no node /nobody" in process.output() and not (tmp_path / "s.mcap").exists()


def test_a_folder_that_cannot_be_written_is_said_and_ends_with_1(ros_environment, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    command = [sys.executable, "-m", "ddiffpg_cli", "record", "--out", str(folder / "s.mcap")]
    if os.geteuid() == 0:  # root may do everything, except where nothing can be made
        folder.rmdir()
        folder.symlink_to("/proc/self/task", target_is_directory=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert "s.mcap: cannot be written" in line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out", "there.mcap"], "is there already"),
        (["--out", "none/s.mcap"], "no directory"),
        (["--out", "s.bag"], "ends with .mcap"),
        (["--out", "s.mcap", "--keep", "2"], "--split-mb"),
        (["--out", "s.mcap", "--topic", "/"], "no name"),
    ],
)
def test_bad_flags(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("there.mcap").write_bytes(b"mine")
    assert main(["record", *flags]) == 2
    assert words in capsys.readouterr().err
    assert Path("there.mcap").read_bytes() == b"mine"
