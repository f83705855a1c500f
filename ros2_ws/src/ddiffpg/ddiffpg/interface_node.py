"""Every topic and service of the controller, described once: nodes use these, docs/operator.md is made from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import OccupancyGrid, Odometry, Path
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState, Joy, LaserScan
from std_msgs.msg import Bool, Float64MultiArray, Int32
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import MarkerArray

from ddiffpg.messages_node import EVENTS, LATCHED, LATEST, SENSOR


@dataclass(frozen=True, eq=False)
class Topic:
    """``parameter`` names the parameter that gives it another name, "" where none does."""

    name: str
    kind: Any
    qos: QoSProfile
    meaning: str
    parameter: str = ""

    def publisher(self, node: Node, name: str = "") -> Any:
        """On its own name, or another."""
        return node.create_publisher(self.kind, name or self.name, self.qos)

    def subscription(self, node: Node, callback: Callable[[Any], None], name: str = "") -> Any:
        return node.create_subscription(self.kind, name or self.name, callback, self.qos)


@dataclass(frozen=True)
class Service:
    name: str
    kind: Any
    meaning: str

    def server(self, node: Node, answer: Callable[[Any, Any], Any]) -> Any:
        return node.create_service(self.kind, self.name, answer)


ODOMETRY = Topic("odom", Odometry, SENSOR, "where a base is, in the policy's frame, and how it moves", "odom_topic")
JOINTS = Topic("joint_states", JointState, SENSOR, "where the contract asks for joints; found by name", "joint_topic")
END_EFFECTOR = Topic(
    "end_effector",
    Odometry,
    SENSOR,
    "where the contract asks for an end effector: pose in `odom_frame`, twist in the child frame",
    "end_effector_topic",
)
SCAN = Topic("scan", LaserScan, SENSOR, "where the policy's ways are in the plane", "scan_topic")
MAP = Topic("map", OccupancyGrid, LATCHED, "where the policy's ways are in the plane", "map_topic")
OBSTACLES = Topic(
    "obstacles",
    MarkerArray,
    EVENTS,
    "boxes (CUBE) and cylinders; ADD, MODIFY, DELETE, DELETEALL and lifetime count; told of again elsewhere, it moves",
    "obstacle_topic",
)
TELEOP_TWIST = Topic(
    "teleop/cmd_vel",
    TwistStamped,
    SENSOR,
    "for `base_velocity`: a human's velocity, in the frame `base_frame` (or none) or `odom_frame`",
    "teleop_topic",
)
TELEOP_JOINTS = Topic(
    "teleop/command",
    Float64MultiArray,
    SENSOR,
    "for `joint_position_delta`: a human's action as the policy's is, steps of the joints in the contract's order",
    "teleop_topic",
)
JOY = Topic("joy", Joy, SENSOR, "where `deadman_button` names a button: is it held?", "joy_topic")
E_STOP = Topic(
    "e_stop",
    Bool,
    SENSOR,
    "true stops until re-armed, so does silence for `e_stop_timeout`; heard of any quality of service",
    "e_stop_topic",
)
E_STOP_LATCHED = Topic(
    "e_stop", Bool, LATCHED, "the same once more: so it counts too if it was published before", "e_stop_topic"
)

TWIST = Topic("cmd_vel", TwistStamped, LATEST, "for `base_velocity`, in the robot's own frame", "command_topic")
EFFORTS = Topic(
    "forward_effort_controller/commands",
    Float64MultiArray,
    LATEST,
    "for `joint_effort`, in the contract's order",
    "command_topic",
)
POSITIONS = Topic(
    "forward_position_controller/commands",
    Float64MultiArray,
    LATEST,
    "for `joint_position_delta`: positions, in the contract's order",
    "command_topic",
)
STATUS = Topic(
    "~/status",
    DiagnosticStatus,
    LATEST,
    "in every period: state, reason, who is in command and why, mode, free modes, what limited the command, how "
    "unknown the state is, stamps of the readings it is by",
)
MODE = Topic("~/mode", Int32, LATCHED, "the mode that drives, -1: none")
PATH = Topic("~/path", Path, LATCHED, "the chosen way from where the robot is")
MARKERS = Topic("~/markers", MarkerArray, LATEST, "modes, chosen way, obstacles, state, for RViz and Foxglove")
DIAGNOSTICS = Topic(
    "/diagnostics",
    DiagnosticArray,
    EVENTS,
    "once a second: latency p50/p99/max of each stage, ticks, missed deadlines",
)

READINGS = (ODOMETRY, JOINTS, END_EFFECTOR, SCAN, MAP, OBSTACLES)
HUMAN = (TELEOP_TWIST, TELEOP_JOINTS, JOY, E_STOP, E_STOP_LATCHED)
OUTPUTS = (TWIST, EFFORTS, POSITIONS, STATUS, MODE, PATH, MARKERS, DIAGNOSTICS)

ENGAGE = Service(
    "~/engage", Trigger, "the policy takes over; refused in FAULT and while the dead man's switch is pressed"
)
RELEASE = Service("~/release", Trigger, "the policy gives command up: OFF, or TELEOP where a human drives")
STOP = Service("~/e_stop", Trigger, "stop until re-armed; kept for later where the node is not active")
REARM = Service("~/rearm", Trigger, "leave FAULT for OFF; refused while what would be the next fault is still there")
ENABLE = Service("~/enable", SetBool, "false: nothing moves, whoever is in command; true: go on as before")
SERVICES = (ENGAGE, RELEASE, STOP, REARM, ENABLE)
