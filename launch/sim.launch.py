"""The simulated robot: a MuJoCo task in real time on the topics of a real robot (docs/ros.md).

ros2 launch ddiffpg sim.launch.py task:=pointmaze-v1 seed:=0
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

# argument, parameter, default, type, what it is; `sim_rate` because controller.launch.py has a `rate` of its own
ARGUMENTS = (
    ("task", "task", "pointmaze-v1", str, "which task to simulate"),
    ("seed", "seed", "0", int, "seed of the start states"),
    ("sim_rate", "rate", "50.0", float, "rate of the simulation and its odometry, Hz"),
    ("scan_beams", "scan_beams", "180", int, "beams of the scan; 0 publishes none"),
)


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=value, description=text) for name, _, value, _, text in ARGUMENTS
    ]
    parameters = {
        parameter: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, parameter, _, kind, _ in ARGUMENTS
    }
    robot = Node(
        package="ddiffpg_sim",
        executable="sim_robot",
        name="sim_robot",
        parameters=[parameters],
        output="screen",
        emulate_tty=True,
    )
    return LaunchDescription([*arguments, robot])
