"""``ddiffpg demo`` as a user runs it: two processes, an obstacle, another way, the goal, and files of it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")

from PIL import Image
from rosbags.highlevel import AnyReader

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "policies" / "pointmaze-v1.onnx"


@pytest.fixture(params=["field", "shipped"])
def policy(request: pytest.FixtureRequest) -> Path:
    if request.param == "field":
        return request.getfixturevalue("field_policy")
    if not SHIPPED.is_file():
        pytest.skip(f"{SHIPPED.name} is not there yet")
    return SHIPPED


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing torch fails, in the demo and in the processes that it starts."""
    folder = tmp_path / "no_torch"
    folder.mkdir()
    (folder / "torch.py").write_text("raise ImportError('torch must not be needed here')\n")
    path = [str(folder), *(str(Path(p).resolve()) for p in sys.path if p)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def running_with(word: str) -> list[str]:
    """Command lines of processes in which ``word`` is."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile
            continue
    return [line for line in lines if word in line]


def test_demo(policy, without_torch, tmp_path):
    out = tmp_path / "demo"
    copy = tmp_path / "policy-of-this-test.onnx"
    copy.write_bytes(policy.read_bytes())
    command = [sys.executable, "-m", "ddiffpg_cli", "demo", "--policy", str(copy), "--out", str(out), "--json", "-"]
    done = subprocess.run(command, env=without_torch, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert running_with(str(copy)) == []

    timeline = json.loads(done.stdout)
    assert timeline["mode_before"] != timeline["mode_after"] and not timeline["collided"]
    assert timeline["obstacle_sent"] < timeline["obstacle_seen"] <= timeline["switched"] < timeline["goal"]
    assert timeline["obstacle_to_command_ms"] > 0
    for event in ("obstacle sent", "obstacle seen", "goal reached"):
        assert event in done.stderr

    with Image.open(out / "demo.png") as picture, Image.open(out / "demo.gif") as video:
        assert picture.width >= 480 and video.n_frames > 20
    with AnyReader([out / "recording.mcap"]) as recording:
        counts = {connection.topic: connection.msgcount for connection in recording.connections}
        assert all(counts[t] > 20 for t in ("/odom", "/scan", "/cmd_vel", "/controller/status", "/sim_robot/status"))
        assert counts["/obstacles"] == 1 and counts["/controller/path"] > 1
        connections = [c for c in recording.connections if c.topic == "/cmd_vel"]
        _, _, data = next(recording.messages(connections))
        assert recording.deserialize(data, connections[0].msgtype).header.frame_id == "base_link"


def test_a_policy_that_is_none_is_refused_before_anything_starts(tmp_path, without_torch):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no policy")
    command = [sys.executable, "-m", "ddiffpg_cli", "demo", "--policy", str(bad), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=without_torch, capture_output=True, text=True)
    assert done.returncode == 2
    assert "bad.onnx" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
