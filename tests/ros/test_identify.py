"""A hidden robot in another process is driven over ROS, recorded without a controller, and identified."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
pytest.importorskip("mcap", reason="mcap (extra ros) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")
pytest.importorskip("scipy", reason="scipy (extra train) is not installed")

from geometry_msgs.msg import TwistStamped

from ddiffpg import messages_node as messages
from ddiffpg.messages_node import LATEST
from ddiffpg_cli.main import main
from ddiffpg_cli.ros_processes import CommandProcess

COMMANDS, PERIOD, HELD = 60, 0.1, 3


class Shaker:
    """Publishes random velocities on ``cmd_vel``, each for some periods."""

    def __init__(self, node) -> None:
        self._node, self._rng = node, np.random.default_rng(0)
        self.publisher, self.sent = node.create_publisher(TwistStamped, "cmd_vel", LATEST), 0

    def start(self) -> None:
        self.timer = self._node.create_timer(PERIOD, self._send)

    def _send(self) -> None:
        if self.sent % HELD == 0:
            self._wish = np.append(self._rng.uniform(-1.0, 1.0, 2), 0.0)
        now = self._node.get_clock().now().to_msg()
        self.publisher.publish(messages.twist(now, "base_link", self._wish, np.zeros(3)))
        self.sent += 1


def test_a_hidden_robot_is_identified_over_ros(nodes, observer, ros_environment, tmp_path):
    hidden, out, found = (tmp_path / name for name in ("hidden.yaml", "session.mcap", "found.json"))
    hidden.write_text("dynamics: {mass: 2.0}\nsignals: {action_delay: 0.1}\n")
    nodes.start("ddiffpg_sim.sim_robot_node", deviation=str(hidden), scan_beams=0)
    shaker = Shaker(observer.node)
    flags = ["record", "--out", str(out), "--topic", "/odom", "--topic", "/cmd_vel"]
    recorder = CommandProcess("ddiffpg_cli", flags, ros_environment, tmp_path / "record.log")
    try:
        observer.wait("the robot and the recorder", lambda: shaker.publisher.get_subscription_count() >= 3)
        observer.wait("the recorder's ear for the robot", lambda: observer.node.count_subscribers("/odom") == 2)
        shaker.start()
        observer.wait("the motion", lambda: shaker.sent >= COMMANDS)
    finally:
        recorder.end()
    assert main(["identify", str(out), "--task", "pointmaze-v1", "--allow-gaps", "--json", str(found)]) == 0
    result = json.loads(found.read_text())["parameters"]
    assert 1.5 < result["mass"]["value"] < 2.7
    assert result["action_delay"]["value"] == pytest.approx(0.1, abs=PERIOD)


@pytest.mark.parametrize(
    "text, said", [("dynamics: {weight: 2}", "unknown key 'weight'"), (None, "No such file"), ("- 1", "expected keys")]
)
def test_a_robot_that_makes_no_sense_is_refused_by_name(nodes, tmp_path, text, said):
    file = tmp_path / "robot.yaml"
    if text is not None:
        file.write_text(text)
    node = nodes.start("ddiffpg_sim.sim_robot_node", deviation=str(file))
    assert node.wait(60.0) == 1
    assert str(file) in node.output() and said in node.output() and "Traceback" not in node.output()
