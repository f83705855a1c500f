"""The parameters of gamepad and keyboard fit the controller; `teleop.launch.py` says what is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

import rclpy
import yaml
from rclpy.context import Context

from ddiffpg.controller_node import ControllerNode

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "ros2_ws" / "src" / "ddiffpg" / "config"
PATIENCE = 3.0  # times the pause between two messages that teleop_timeout must outlast


def parameters(device: str) -> dict[str, dict]:
    """Node -> its parameters in the device's file."""
    read = yaml.safe_load((CONFIG / f"{device}.yaml").read_text(encoding="utf-8"))
    return {name.removeprefix("/**/"): part["ros__parameters"] for name, part in read.items()}


@pytest.fixture
def controller(ros_environment) -> Iterator:
    context = Context()
    rclpy.init(context=context)
    made: list[ControllerNode] = []

    def make(file: Path) -> ControllerNode:
        arguments = ["--ros-args", "--params-file", str(file)]
        made.append(ControllerNode(context=context, cli_args=arguments))
        return made[0]

    yield make
    for node in made:
        node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize("device", ["gamepad", "keyboard"])
def test_the_controller_takes_the_devices_parameters(device, controller):
    node = controller(CONFIG / f"{device}.yaml")
    wanted = parameters(device)["controller"]
    assert wanted and {name: node.get_parameter(name).value for name in wanted} == wanted
    assert node.get_parameter("base_frame").value in str(parameters(device))


def test_the_gamepads_button_is_the_controllers_dead_mans_switch(controller):
    said = parameters("gamepad")
    joy, twist, own = said["joy_node"], said["teleop_twist_joy_node"], said["controller"]
    assert twist["enable_button"] == own["deadman_button"] and twist["require_enable_button"] and own["need_deadman"]
    assert twist["publish_stamped_twist"] is True and parameters("keyboard")["teleop_twist_keyboard"]["stamped"] is True
    timeout = controller(CONFIG / "gamepad.yaml").get_parameter("teleop_timeout").value
    assert timeout > PATIENCE / joy["autorepeat_rate"]


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("gamepad", "the ROS package 'joy' is not installed: sudo apt install ros-"),
        ("keyboard", "the ROS package 'teleop_twist_keyboard' is not installed: sudo apt install ros-"),
        ("mouse", "device is 'mouse': expected gamepad or keyboard"),
    ],
)
def test_what_is_not_there_is_said(device, says, ros_environment):
    pytest.importorskip("launch_ros", reason="ROS's launch tools (launch_ros) are not installed")
    ros2 = shutil.which("ros2")
    if ros2 is None:
        pytest.skip("the command ros2 is not on the path")
    prefixes = os.environ.get("AMENT_PREFIX_PATH", sys.prefix).split(os.pathsep)
    if any((Path(p) / "share" / package).exists() for p in prefixes for package in ("joy", "teleop_twist_keyboard")):
        pytest.skip("the packages for teleop are installed")
    command = [sys.executable, ros2, "launch", str(ROOT / "launch" / "teleop.launch.py"), f"device:={device}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert says in done.stdout + done.stderr
