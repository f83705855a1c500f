"""The controller, and where asked the simulated robot, a human's controls and RViz.

ros2 launch ddiffpg controller.launch.py sim:=true
ros2 launch ddiffpg controller.launch.py sim:=true teleop:=gamepad
ros2 launch ddiffpg controller.launch.py policy:=/path/to/policy.onnx params:=/path/to/robot.yaml
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("ddiffpg")
ARGUMENTS = (
    ("policy", PathJoinSubstitution([SHARE, "policies", "pointmaze-v1.onnx"]), "the policy to serve (.onnx)"),
    ("params", PathJoinSubstitution([SHARE, "config", "controller.yaml"]), "parameters of the controller (.yaml)"),
    ("rate", "0.0", "control rate in Hz; 0 takes the policy's own"),
    ("mode", "-1", "mode to keep to; -1 lets the controller choose"),
    ("autostart", "true", "configure and activate at once"),
    ("sim", "false", "start the simulated robot too"),
    ("task", "pointmaze-v1", "with sim: which task to simulate"),
    ("seed", "0", "with sim: seed of the start states"),
    ("teleop", "none", "gamepad or keyboard: start that too, and give the controller its parameters for it"),
    ("rviz", "false", "show modes, chosen way and obstacles in RViz"),
)


def controller(context):
    """The node, with the arguments as parameters after the files': what is said here wins. And a human's controls."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    overrides = {
        "policy": value("policy"),
        "rate": float(value("rate")),
        "mode": int(value("mode")),
        "autostart": value("autostart").lower() in ("true", "1"),
    }
    device = value("teleop")
    by_hand = [] if device == "none" else [PathJoinSubstitution([SHARE, "config", f"{device}.yaml"])]
    node = Node(
        package="ddiffpg",
        executable="controller",
        name="controller",
        parameters=[value("params"), *by_hand, overrides],
        output="screen",
        emulate_tty=True,
    )
    return [node] if device == "none" else [included("teleop.launch.py", device=device), node]


def included(file, condition=None, **arguments):
    source = PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", file]))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items(), condition=condition)


def generate_launch_description():
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in ARGUMENTS]
    simulated = {name: LaunchConfiguration(name) for name in ("task", "seed")}
    sim = included("sim.launch.py", IfCondition(LaunchConfiguration("sim")), **simulated)
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([SHARE, "config", "controller.rviz"])],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*arguments, sim, OpaqueFunction(function=controller), rviz])
