"""``ddiffpg demo`` as a user runs it: two processes, a human who takes over, an obstacle, the goal, files of it all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")

from PIL import Image
from rosbags.highlevel import AnyReader


def running_with(word: str) -> list[str]:
    """Command lines of processes in which ``word`` is."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile
            continue
    return [line for line in lines if word in line]


def test_nothing_of_it_goes_on_running(demo):
    assert running_with(str(demo.policy)) == []


def test_the_policy_goes_on_in_the_humans_mode_and_leaves_it_when_that_is_blocked(demo):
    timeline = json.loads(demo.done.stdout)
    hand = timeline["hand_over"]
    assert timeline["first_mode"] != hand["drove"] == hand["mode"] == timeline["mode_before"]
    assert hand["human_began"] < hand["human_in_command"] < hand["let_go"] < hand["given_back"]
    assert hand["take_over_ms"] > 0 and hand["give_back_ms"] > 0 and hand["confidence"] >= 0.7
    assert 0 < hand["largest_step"] < hand["step_asked"]
    assert timeline["mode_before"] != timeline["mode_after"] and not timeline["collided"]
    assert hand["given_back"] < timeline["obstacle_sent"] < timeline["obstacle_seen"]
    assert timeline["obstacle_seen"] <= timeline["switched"] < timeline["goal"]
    assert timeline["obstacle_to_command_ms"] > 0
    went_on = f"mode {hand['mode']} was begun by hand"
    for event in ("a human begins", "the human lets go", went_on, "obstacle sent", "obstacle seen", "goal reached"):
        assert event in demo.done.stderr


def test_it_leaves_a_picture_a_film_and_a_recording(demo):
    with Image.open(demo.out / "demo.png") as picture, Image.open(demo.out / "demo.gif") as video:
        assert picture.width >= 480 and video.n_frames > 20
    with AnyReader([demo.out / "recording.mcap"]) as recording:
        counts = {connection.topic: connection.msgcount for connection in recording.connections}
        assert all(counts[t] > 20 for t in ("/odom", "/scan", "/cmd_vel", "/controller/status", "/sim_robot/status"))
        assert counts["/obstacles"] == 1 and counts["/teleop/cmd_vel"] > 5 and counts["/controller/path"] > 1
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
