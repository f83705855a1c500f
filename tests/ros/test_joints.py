"""Robots of joints over DDS: an ant by odometry, joint states and efforts, an arm by its end effector and positions."""

from __future__ import annotations

import math
import signal

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
pytest.importorskip("onnx", reason="onnx (extra export) is needed to make policy files")

from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from ddiffpg.messages_node import LATEST, SENSOR
from ddiffpg_sim import tasks
from ddiffpg_sim.antmaze import JOINTS
from tests.robot.joint_policies import arm_contract, write_pattern
from tests.ros.field_policy import contract_of_task

CONTROLLER, ROBOT = "ddiffpg.controller_node", "ddiffpg_sim.sim_robot_node"
ANT = contract_of_task(tasks.make("antmaze-v1"))
PUSH = np.array([20.0, 0.0, -20.0, 0.0, 20.0, 0.0, -20.0, 0.0])  # N m: each hip its own way


@pytest.fixture(scope="module")
def push(tmp_path_factory):
    """A policy for the ant: the same torques always."""
    return write_pattern(tmp_path_factory.mktemp("policy") / "push.onnx", ANT, {0: PUSH, 1: -PUSH})


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """A policy for the ant whose torque on a joint is ten times that joint's position."""
    gains = np.zeros((len(ANT.observation), len(ANT.action)))
    for column, field in enumerate(ANT.action):
        row = [(f.source, f.joint) for f in ANT.observation].index(("joint.position", field.joint))
        gains[row, column] = 10.0
    return write_pattern(tmp_path_factory.mktemp("policy") / "mirror.onnx", ANT, {0: np.zeros(8)}, gains)


class Joints:
    """The last joint states of a simulated robot, and a way to send it commands of a kind."""

    def __init__(self, observer, kind: str) -> None:
        self.observer = observer
        self.positions: dict[str, float] = {}
        self.velocities: dict[str, float] = {}
        observer.node.create_subscription(JointState, "joint_states", self._take, SENSOR)
        topic = f"forward_{kind}_controller/commands"
        self.commands: list[list[float]] = []
        observer.node.create_subscription(Float64MultiArray, topic, self._take_command, LATEST)
        self.publisher = observer.node.create_publisher(Float64MultiArray, topic, LATEST)

    def _take(self, message: JointState) -> None:
        self.positions = dict(zip(message.name, message.position))
        self.velocities = dict(zip(message.name, message.velocity))

    def _take_command(self, message: Float64MultiArray) -> None:
        self.commands.append(list(message.data))

    def send(self, values, until) -> None:
        """Keep sending ``values`` until the condition holds."""
        message = Float64MultiArray(data=[float(value) for value in values])
        self.observer.wait(f"what {message.data} leads to", lambda: self.publisher.publish(message) or until())

    def status(self) -> str:
        return self.observer.robot.get("command", "")


@pytest.fixture
def ant(nodes, observer) -> Joints:
    """The simulated ant's process, and everyone has found everyone."""
    watching = Joints(observer, "effort")
    nodes.start(ROBOT, task="antmaze-v1", seed=1, command_timeout=0.4, scan_beams=0)
    observer.wait("odometry, joints and status", lambda: observer.odom and watching.positions and observer.robot)
    observer.wait("the robot's ear", lambda: watching.publisher.get_subscription_count() >= 2)
    return watching


# ---- the simulated ant ---------------------------------------------------------------------------------


def test_the_ant_tells_its_joints_and_moves_by_efforts_while_they_come(ant):
    assert tuple(ant.positions) == JOINTS
    observer = ant.observer
    assert observer.node.count_publishers("scan") == 0 and observer.node.count_publishers("end_effector") == 0
    ant.send(PUSH, until=lambda: ant.positions["front_left_hip"] > 0.45 and ant.positions["front_right_hip"] < -0.45)
    assert ant.status() == "fresh"
    observer.wait("the watchdog", lambda: "stale" in ant.status())
    observer.wait("a limp ant that lies still", lambda: max(map(abs, ant.velocities.values())) < 0.05)


@pytest.mark.parametrize("bad, says", [((1.0, 2.0), "expected 8 numbers"), ((math.nan,) * 8, "not finite")])
def test_efforts_that_cannot_be_taken_are_refused_and_said(ant, bad, says):
    ant.send(PUSH, until=lambda: ant.status() == "fresh")
    ant.send(bad, until=lambda: says in ant.status())


# ---- the ant and its controller ------------------------------------------------------------------------


def test_an_effort_of_the_policy_moves_the_ants_joints(ant, nodes, push):
    observer = ant.observer
    controller = nodes.start(CONTROLLER, policy=str(push), autostart=True, mode=0)
    observer.wait("the drive", lambda: observer.controller.get("state") == "DRIVE")
    observer.wait("turned hips", lambda: ant.positions["front_left_hip"] > 0.45)
    assert ant.positions["front_right_hip"] < -0.45 and ant.status() == "fresh"
    assert ant.commands[-1] == pytest.approx(PUSH.tolist())
    assert observer.controller["limited_by"] == ""  # no limit of a base's velocity counts
    assert "10 Hz" in controller.output()
    controller.send(signal.SIGINT)
    assert controller.wait() == 0
    observer.wait("no effort at the end", lambda: ant.commands[-1:] == [[0.0] * 8])
    nodes.running.remove(controller)


def test_an_obstacle_at_the_ant_makes_it_limp(ant, nodes, push):
    observer = ant.observer
    nodes.start(CONTROLLER, policy=str(push), autostart=True, mode=0)
    observer.wait("the drive", lambda: observer.controller.get("state") == "DRIVE")
    observer.obstacle_listeners(2)
    x, y = observer.odom.pose.pose.position.x, observer.odom.pose.pose.position.y
    observer.put(1, (x + 0.6, y), (0.2, 0.2, 1.0))
    observer.wait("no effort", lambda: ant.commands[-1:] == [[0.0] * 8])
    assert observer.controller["state"] in ("NO_WAY", "DRIVE")


# ---- the controller of an ant, with the test as the ant ------------------------------------------------


@pytest.fixture
def still_ant(robot):
    """An ant that stands still and tells its joints in another order than the contract's."""
    robot.message.pose.pose.position.z = 0.5
    robot.message.pose.pose.orientation.w = 1.0
    names = sorted(JOINTS)
    positions = [0.1 * JOINTS.index(name) for name in names]
    robot.joints = JointState(name=names, position=positions, velocity=[0.0] * 8)
    return robot


def test_joints_are_found_by_name_and_commanded_in_the_contracts_order(nodes, still_ant, mirror):
    nodes.start(CONTROLLER, policy=str(mirror), autostart=True)
    still_ant.until("DRIVE")
    expected = [10.0 * 0.1 * i for i in range(8)]
    still_ant.observer.wait(
        "the torques", lambda: still_ant.send() or still_ant.commands[-1:] == [pytest.approx(expected, abs=1e-4)]
    )


def test_a_joint_that_is_missing_is_named(nodes, still_ant, mirror):
    nodes.start(CONTROLLER, policy=str(mirror), autostart=True)
    told, missing = still_ant.joints, still_ant.joints.name.index("back_left_ankle")
    still_ant.joints = None
    still_ant.until("HOLD", "front_left_hip (joint.position of joint 'front_left_hip')")
    keep = [i for i in range(8) if i != missing]
    still_ant.joints = JointState(
        name=[told.name[i] for i in keep], position=[told.position[i] for i in keep], velocity=[0.0] * 7
    )
    said = "back_left_ankle (joint.position of joint 'back_left_ankle'), back_left_ankle_velocity"
    still_ant.until("HOLD", f"missing or not finite: {said}")
    still_ant.joints = told
    still_ant.until("DRIVE")
    still_ant.joints = None
    still_ant.until("HOLD", "s old")  # odometry goes on, joints do not: only as fresh as the older of the two


# ---- the controller of an arm, with the test as the arm ------------------------------------------------


@pytest.fixture
def still_arm(robot):
    """An arm that stands still at the start of its ways. It has no odometry."""
    robot.message, robot.tip = None, Odometry()
    robot.tip.header.frame_id = "odom"
    robot.tip.pose.pose.position.x, robot.tip.pose.pose.position.z = 0.3, 0.5
    robot.tip.pose.pose.orientation.w = 1.0
    robot.joints = JointState(name=["elbow", "drawer", "shoulder"], position=[0.2, 9.0, 0.5])
    return robot


def test_an_arm_is_sent_where_its_joints_are_and_the_policys_step(nodes, still_arm, tmp_path):
    steps = {0: np.array([0.02, 0.01]), 1: np.array([-0.02, 0.01])}
    policy = write_pattern(tmp_path / "arm.onnx", arm_contract(), steps)
    controller = nodes.start(CONTROLLER, policy=str(policy), autostart=True, mode=1)
    joints, tip = still_arm.joints, still_arm.tip
    still_arm.joints = None
    still_arm.until("HOLD", "missing or not finite: the position of shoulder, elbow")
    still_arm.joints, still_arm.tip = joints, None
    assert still_arm.commands == []  # nothing is sent to joints that are not known
    still_arm.until("HOLD", "s old")
    still_arm.tip = tip
    still_arm.until("DRIVE", mode="1")
    wanted = pytest.approx([0.48, 0.21], abs=1e-6)
    still_arm.observer.wait("positions", lambda: still_arm.send() or still_arm.commands[-1:] == [wanted])
    assert "25 Hz" in controller.output()
    joints.position[0] = 1.3
    still_arm.until("HOLD", "joint 'elbow' is at 1.3, outside its limits -1 to 1")
    assert still_arm.commands[-1] == wanted


# ---- the simulated arm ---------------------------------------------------------------------------------

ARM_JOINTS = [f"panda_joint{i}" for i in range(1, 8)]


@pytest.fixture
def real_arm(nodes, observer) -> Joints:
    """The simulated arm's process, and everyone has found everyone."""
    watching = Joints(observer, "position")
    nodes.start(ROBOT, task="panda-drawer", seed=1, command_timeout=0.4)
    observer.wait("joints and status", lambda: watching.positions and observer.robot)
    observer.wait("the robot's ear", lambda: watching.publisher.get_subscription_count() >= 2)
    return watching


def test_the_arm_goes_where_it_is_sent_and_stays_there_when_nothing_comes(real_arm):
    observer = real_arm.observer
    assert list(real_arm.positions)[:7] == ARM_JOINTS and len(real_arm.positions) > 7  # drawers too
    assert [observer.node.count_publishers(t) for t in ("odom", "scan", "end_effector")] == [0, 0, 1]
    target = [real_arm.positions[joint] for joint in ARM_JOINTS]
    target[0] += 0.3

    def there() -> bool:
        return abs(real_arm.positions["panda_joint1"] - target[0]) < 0.02

    real_arm.send(target, until=lambda: there() and real_arm.status() == "fresh")
    observer.wait("no more commands", lambda: "stale" in real_arm.status())
    assert there()
    observer.reset()
    observer.wait("the start", lambda: not there())


def test_a_step_of_the_policy_moves_the_arm(real_arm, nodes, tmp_path):
    contract = contract_of_task(tasks.make("panda-drawer"))
    turn = {mode: np.array([0.04, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]) for mode in contract.mode_ids}
    policy = write_pattern(tmp_path / "arm.onnx", contract, turn)
    before = real_arm.positions["panda_joint1"]
    nodes.start(CONTROLLER, policy=str(policy), autostart=True, mode=contract.mode_ids[0])
    observer = real_arm.observer
    observer.wait("the drive", lambda: observer.controller.get("state") == "DRIVE")
    observer.wait("the turn", lambda: real_arm.positions["panda_joint1"] > before + 0.2)
    assert len(real_arm.commands[-1]) == 7 and len(observer.controller["sent"].split(",")) == 7
