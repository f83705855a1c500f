"""What the controller hears and says beyond a velocity: joints, maps, frames. Real messages between real topics."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from nav_msgs.msg import OccupancyGrid, Odometry
from sensor_msgs.msg import JointState, LaserScan
from std_msgs.msg import Float64MultiArray
from visualization_msgs.msg import Marker, MarkerArray

from ddiffpg import inputs_node, outputs_node
from ddiffpg.contract import VERSION, ActionField, Contract, ContractError, Mode, ObservationField, Training
from ddiffpg.inputs_node import Inputs
from ddiffpg.messages_node import EVENTS, LATCHED, SENSOR
from ddiffpg.outputs_node import Command
from tests.robot.joint_policies import arm_contract

ARM = Contract(
    version=VERSION,
    task="reach",
    robot="arm",
    rate_hz=25.0,
    max_steps=100,
    observation=(
        ObservationField("x", "odom.position.x", "m"),
        ObservationField("y", "odom.position.y", "m"),
        ObservationField("elbow", "joint.position", "rad", "elbow"),
        ObservationField("wrist", "joint.velocity", "rad/s", "wrist"),
    ),
    action_kind="joint_position",
    action=(ActionField("wrist", "rad", -1.0, 1.0, "wrist"), ActionField("elbow", "rad", -2.0, 2.0, "elbow")),
    path=("x", "y"),
    path_tolerance=0.1,
    robot_radius=0.1,
    noise_dim=1,
    denoising_steps=1,
    modes=(Mode(0, (), 1.0, 1.0, 1.0, 10.0, ((0.0, 0.0), (1.0, 0.0))),),
    training=Training("none", 0, 0, {}),
)
SETTINGS = {spec.name: spec.default for spec in (*inputs_node.PARAMETERS, *outputs_node.PARAMETERS)}


class Bench:
    """Inputs and a command for one contract on the observer's node, and publishers to feed them."""

    def __init__(self, observer) -> None:
        self.observer, self.node = observer, observer.node
        self.time = 10.0
        self.commands: list[list[float]] = []

    def inputs(self, contract: Contract = ARM, **settings) -> Inputs:
        return Inputs(self.node, contract, {**SETTINGS, "stamps": "receipt", **settings}, lambda: self.time)

    def command(self, contract: Contract = ARM, topic: str = "forward_position_controller/commands") -> Command:
        self.node.create_subscription(Float64MultiArray, topic, lambda m: self.commands.append(list(m.data)), EVENTS)
        command = Command(self.node, contract, SETTINGS)
        self.observer.wait("the listener", lambda: self.node.count_subscribers(topic))
        return command

    def tell(self, topic: str, message, qos, until) -> None:
        """Publish until the condition holds."""
        publisher = self.node.create_publisher(type(message), topic, qos)
        self.observer.wait(topic, lambda: publisher.publish(message) or until())
        self.node.destroy_publisher(publisher)


@pytest.fixture
def bench(observer) -> Bench:
    return Bench(observer)


# ---- in --------------------------------------------------------------------------------------------------


def test_joints_are_as_fresh_as_the_oldest_that_the_contract_asks_for(bench):
    inputs = bench.inputs()
    elbow = JointState(name=["unknown", "elbow"], position=[9.0, 0.5])
    bench.tell("joint_states", elbow, SENSOR, lambda: inputs.state() is not None)
    bench.time = 11.0
    bench.tell("odom", Odometry(), SENSOR, lambda: np.isfinite(inputs.state().position).all())
    assert inputs.state().stamp == 10.0 and set(inputs.state().joints) == {"elbow"}
    bench.time = 12.0
    wrist = JointState(name=["wrist"], position=[0.1], velocity=[0.2])
    bench.tell("joint_states", wrist, SENSOR, lambda: "wrist" in inputs.state().joints)
    state = inputs.state()
    assert state.stamp == 10.0
    assert state.joints["elbow"].position == 0.5 and math.isnan(state.joints["elbow"].velocity)
    assert state.joints["wrist"].velocity == 0.2 and "unknown" not in state.joints


def test_an_end_effector_is_read_in_the_frame_of_the_ways_and_nothing_else_is_waited_for(bench):
    inputs = bench.inputs(arm_contract())
    assert [bench.node.count_subscribers(topic) for topic in ("scan", "map")] == [0, 0]  # of the plane
    tip = Odometry()
    tip.header.frame_id = "flange"
    bench.tell("end_effector", tip, SENSOR, lambda: inputs.faults)
    assert "end effector is in frame 'flange'" in inputs.faults[0] and inputs.state() is None
    tip.header.frame_id = "odom"
    tip.pose.pose.position.z, tip.twist.twist.linear.x = 0.5, 0.3
    tip.pose.pose.orientation.w = tip.pose.pose.orientation.z = math.sqrt(0.5)
    bench.tell("end_effector", tip, SENSOR, lambda: inputs.state() is not None)
    bench.time = 11.0
    joints = JointState(name=["shoulder", "elbow", "drawer"], position=[0.1, 0.2, 0.3])
    bench.tell("joint_states", joints, SENSOR, lambda: inputs.state().joints)
    state = inputs.state()
    assert state.stamp == 10.0 and set(state.joints) == {"shoulder", "elbow"} and not inputs.faults
    np.testing.assert_allclose(state.end_effector_position, [0.0, 0.0, 0.5])
    np.testing.assert_allclose(state.end_effector_velocity, [0.0, 0.3, 0.0], atol=1e-12)  # turned from its own frame


def test_nothing_heard_of_obstacles_is_none_and_an_empty_message_is_free(bench):
    inputs = bench.inputs()
    assert inputs.obstacles(10.0) is None
    bench.tell("obstacles", MarkerArray(), EVENTS, lambda: inputs.obstacle_messages)
    heard = inputs.obstacles(12.0)
    assert heard.stamp == 12.0 and heard.shapes == () and len(heard.points) == 0


def test_an_obstacle_in_the_robots_frame_is_placed_where_the_robot_is(bench):
    inputs = bench.inputs()
    marker = Marker(ns="t", id=1, type=Marker.CYLINDER)
    marker.header.frame_id = "base_link"
    marker.scale.x = marker.scale.y = marker.scale.z = 0.4
    marker.pose.position.x = 1.0
    bench.tell("obstacles", MarkerArray(markers=[marker]), EVENTS, lambda: inputs.faults)
    assert inputs.obstacles(10.0).stamp == -math.inf  # where the robot is was not known then
    odometry = Odometry()
    odometry.pose.pose.position.y = 2.0
    bench.tell("odom", odometry, SENSOR, lambda: inputs.state() is not None)
    bench.tell("obstacles", MarkerArray(markers=[marker]), EVENTS, lambda: not inputs.faults)
    (shape,) = inputs.obstacles(10.0).shapes
    assert shape.center == (1.0, 2.0) and shape.radius == pytest.approx(0.2)
    assert shape.height == pytest.approx((-0.2, 0.2))


def test_an_obstacle_that_is_told_of_again_elsewhere_moves(bench):
    """0.25 m in half a second, by the stamps of the messages and not by when they came."""
    inputs = bench.inputs(stamps="header")
    marker = Marker(ns="t", id=1, type=Marker.CYLINDER)
    marker.scale.x = marker.scale.y = marker.scale.z = 0.4
    marker.header.stamp.sec = 10
    bench.tell("obstacles", MarkerArray(markers=[marker]), EVENTS, lambda: inputs.obstacle_messages)
    assert inputs.obstacles(10.0).velocities == ((0.0, 0.0),)
    marker.header.stamp.nanosec, marker.pose.position.x = 500_000_000, 0.25
    bench.tell("obstacles", MarkerArray(markers=[marker]), EVENTS, lambda: inputs.obstacles(10.5).shapes[0].center[0])
    assert inputs.obstacles(10.5).velocities == ((0.5, 0.0),)
    assert inputs.obstacles(12.0).velocities == ((0.0, 0.0),)  # not heard of for more than a second


def test_scan_and_map_come_together_and_only_the_scan_ages(bench):
    inputs = bench.inputs(scan_pose=[0.1, 0.0, math.pi / 2])
    bench.tell("odom", Odometry(), SENSOR, lambda: inputs.state() is not None)
    grid = OccupancyGrid(data=[100, 0])
    grid.info.width, grid.info.height, grid.info.resolution = 2, 1, 0.5
    bench.tell("map", grid, LATCHED, lambda: inputs.obstacles(10.0) is not None)
    assert inputs.obstacles(20.0).stamp == 20.0
    scan = LaserScan(angle_increment=0.1, range_max=5.0, ranges=[1.0])
    bench.tell("scan", scan, SENSOR, lambda: len(inputs.obstacles(10.0).points) == 2)
    found = inputs.obstacles(20.0)
    assert found.stamp == 10.0
    np.testing.assert_allclose(sorted(found.points.tolist()), [[0.1, 1.0], [0.25, 0.25]], atol=1e-6)


def test_a_topic_that_is_empty_is_not_listened_to(bench):
    bench.inputs(scan_topic="")
    assert bench.node.count_subscribers("scan") == 0 and bench.node.count_subscribers("odom") >= 1


# ---- out -------------------------------------------------------------------------------------------------


def test_joint_commands_go_in_the_contracts_order(bench):
    command = bench.command()
    command.send(np.array([0.25, -0.5]), None)
    bench.observer.wait("the command", lambda: bench.commands == [[0.25, -0.5]])


def test_joints_stop_where_they_are_and_not_at_zero(bench):
    command = bench.command()
    known = {"elbow": SimpleNamespace(position=0.5), "wrist": SimpleNamespace(position=0.1)}
    command.stop(SimpleNamespace(joints={"elbow": known["elbow"]}))  # where the wrist is, is not known
    command.stop(SimpleNamespace(joints=known))
    bench.observer.wait("the command", lambda: bench.commands == [[0.1, 0.5]])


def test_steps_of_joint_positions_go_as_positions_and_stop_inside_the_joints_limits(bench):
    command = bench.command(arm_contract())
    command.send(None, None)  # nothing may be sent yet
    command.send(np.array([0.5, 0.3]), None)
    joints = {"shoulder": SimpleNamespace(position=0.5), "elbow": SimpleNamespace(position=1.01)}
    command.stop(SimpleNamespace(joints=joints))
    bench.observer.wait("both commands", lambda: bench.commands == [[0.5, 0.3], [0.5, 1.0]])


def test_no_effort_is_how_effort_stops(bench):
    command = bench.command(replace(ARM, action_kind="joint_effort"), "forward_effort_controller/commands")
    command.stop(None)
    bench.observer.wait("the command", lambda: bench.commands == [[0.0, 0.0]])


def test_a_velocity_without_a_place_in_a_twist_is_refused_by_field(bench):
    actions = (ActionField("vx", "m/s", -1.0, 1.0), ActionField("sideways", "m/s", -1.0, 1.0))
    with pytest.raises(ContractError, match=r"action\[1\].name"):
        Command(bench.node, replace(ARM, action_kind="base_velocity", action=actions), SETTINGS)


def test_a_command_that_is_not_finite_is_never_sent(bench):
    command = bench.command()
    with pytest.raises(ValueError, match="not finite"):
        command.send(np.array([0.0, math.nan]), None)
    assert bench.commands == []
