"""A human's controls on the controller's topics: a gamepad or the keyboard, by ROS's own packages (docs/operator.md).

ros2 launch ddiffpg teleop.launch.py                     # a gamepad: hold its left shoulder button and steer
ros2 launch ddiffpg teleop.launch.py device:=keyboard
"""

import shlex
import shutil

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

# device -> package, executable and name of each of its nodes
DEVICES = {
    "gamepad": (("joy", "joy_node", "joy_node"), ("teleop_twist_joy", "teleop_node", "teleop_twist_joy_node")),
    "keyboard": (("teleop_twist_keyboard", "teleop_twist_keyboard", "teleop_twist_keyboard"),),
}
ARGUMENTS = (
    ("device", "gamepad", f"what the human drives with: {' or '.join(DEVICES)}"),
    ("teleop_params", "", "parameters of its nodes (.yaml); empty: those in config/ that are named like the device"),
    ("terminal", "xterm -e", "with device:=keyboard: opens the window in which keys are typed"),
)


def human(context):
    """The device's nodes. RuntimeError where the device is unknown, or something that it takes is not installed."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    device, terminal = value("device"), value("terminal")
    if device not in DEVICES:
        raise RuntimeError(f"device is '{device}': expected {' or '.join(DEVICES)}")
    for package, _, _ in DEVICES[device]:
        check_package(package, context)
    if device == "keyboard":
        check_program(terminal)
    file = PathJoinSubstitution([FindPackageShare("ddiffpg"), "config", f"{device}.yaml"])
    return [
        Node(
            package=package,
            executable=executable,
            name=name,
            parameters=[value("teleop_params") or file],
            remappings=[("cmd_vel", "teleop/cmd_vel")],
            prefix=terminal if device == "keyboard" else None,
            output="screen",
        )
        for package, executable, name in DEVICES[device]
    ]


def check_package(package, context):
    try:
        FindPackageShare(package).perform(context)
    except KeyError as error:  # ament's PackageNotFoundError is one
        distro = EnvironmentVariable("ROS_DISTRO", default_value="$ROS_DISTRO").perform(context)
        name = f"ros-{distro}-{package.replace('_', '-')}"
        raise RuntimeError(f"the ROS package '{package}' is not installed: sudo apt install {name}") from error


def check_program(terminal):
    program = next(iter(shlex.split(terminal)), "")
    if program and shutil.which(program) is None:
        raise RuntimeError(f"terminal is '{terminal}': {program} is not installed (sudo apt install {program})")


def generate_launch_description():
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in ARGUMENTS]
    return LaunchDescription([*arguments, OpaqueFunction(function=human)])
