"""``ddiffpg demo`` as a user runs it: two processes, a human who takes over, an obstacle, the goal, files of it all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as NavPath
from PIL import Image
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from visualization_msgs.msg import MarkerArray

from ddiffpg import messages_node as messages
from ddiffpg.messages_node import EVENTS, LATCHED, LATEST, SENSOR
from ddiffpg.policy import Policy
from ddiffpg_cli.demo_play import Play
from ddiffpg_cli.observer_node import Observer

SHIPPED = Path(__file__).resolve().parents[2] / "policies" / "pointmaze-v1.onnx"


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


class LateOdometry:
    """In place of controller, robot and recorder: decides to drive, and only then has odometry, farther each time."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = node = Node("late_odometry", context=self.context)
        for _ in range(3):
            node.create_subscription(MarkerArray, "obstacles", lambda _: None, EVENTS)
            node.create_subscription(TwistStamped, "teleop/cmd_vel", lambda _: None, SENSOR)
        self.said = node.create_publisher(DiagnosticStatus, "controller/status", LATEST)
        self.way = node.create_publisher(NavPath, "controller/path", LATCHED)
        self.odom = node.create_publisher(Odometry, "odom", LATEST)
        self.observer: Observer | None = None
        self.came = 0

    def go_on(self) -> None:
        if self.observer is None or not (self.observer.controller and self.observer.way):
            now = self.node.get_clock().now().to_msg()
            self.way.publish(messages.path(now, "odom", np.zeros((2, 2))))
            values = {"state": "DRIVE", "now": "1.0", "mode": "0", "reason": "it is free"}
            self.said.publish(messages.status("controller", "ok", "", values))
        else:
            odometry = Odometry()
            odometry.pose.pose.position.x = 0.1 * self.came
            self.odom.publish(odometry)
            self.came += 1

    def close(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def test_it_waits_for_odometry_that_comes_after_the_first_decision(ros_environment):
    robot = LateOdometry()
    observer = robot.observer = Observer(robot.go_on)
    try:
        play = Play(observer, Policy.load(SHIPPED).contract, 0, lambda _: None)
        play.wait_for_drive()
        assert play.timeline.first_mode == 0 and robot.came > 2
    finally:
        observer.close()
        robot.close()
