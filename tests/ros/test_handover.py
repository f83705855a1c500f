"""A human at the controller, over DDS: taking over, being lost, engage and release, e-stop and re-arming.

The controller's node runs in this process but for one test, as a DDS participant of its own: starting a
process takes longer than all that is tested here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onnx", reason="onnx (extra export) is needed to make policy files")

import rclpy
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import SetBool, Trigger

from ddiffpg.controller_node import FAILURE, SUCCESS, ControllerNode
from ddiffpg.messages_node import LATCHED, LATEST, SENSOR
from ddiffpg.parameters import ParameterError
from ddiffpg_cli.observer_node import Observer
from tests.robot.joint_policies import arm_contract, write_pattern

DEADMAN = 4


class Controllers:
    """Nodes in this process. They run while the observer waits for something."""

    def __init__(self) -> None:
        self._running: list[tuple[Context, ControllerNode, SingleThreadedExecutor]] = []

    def make(self, **parameters: object) -> ControllerNode:
        context = Context()
        rclpy.init(context=context)
        executor = SingleThreadedExecutor(context=context)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = ControllerNode(context=context, parameter_overrides=overrides)
        executor.add_node(node)
        self._running.append((context, node, executor))
        return node

    def start(self, **parameters: object) -> ControllerNode:
        node = self.make(**parameters)
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        return node

    def spin(self) -> None:
        for _, _, executor in self._running:
            executor.spin_once(timeout_sec=0.0)

    def end(self) -> None:
        for context, node, executor in self._running:
            node.close()
            executor.shutdown()
            node.destroy_node()
            rclpy.shutdown(context=context)


@pytest.fixture
def controllers(ros_environment) -> Iterator[Controllers]:
    running = Controllers()
    yield running
    running.end()


@pytest.fixture
def observer(controllers) -> Iterator[Observer]:
    watching = Observer(alive=controllers.spin)
    yield watching
    watching.close()


@pytest.fixture
def serving(controllers, robot, field_policy) -> ControllerNode:
    """The controller, driving the test's robot."""
    node = controllers.start(policy=str(field_policy))
    robot.until("DRIVE")
    robot.observer.wait("speed", lambda: robot.send() or robot.speed > 0.5)
    return node


class Human:
    """A joystick, a keyboard, an e-stop button and an operator's terminal. What is held is said with the odometry."""

    def __init__(self, robot) -> None:
        self.robot, self.observer, self.node = robot, robot.observer, robot.observer.node
        self._twist = self.node.create_publisher(TwistStamped, "teleop/cmd_vel", SENSOR)
        self._joints = self.node.create_publisher(Float64MultiArray, "teleop/command", LATEST)
        self._joy = self.node.create_publisher(Joy, "joy", SENSOR)
        self.twist: TwistStamped | None = None
        self.joints: list[float] | None = None
        self.pressed: bool | None = None
        self._clients: dict[str, Any] = {}
        robot.beside.append(self.say)

    def drive(self, x: float, y: float, frame: str = "base_link", turn: float = 0.0) -> None:
        self.twist = TwistStamped()
        self.twist.header.frame_id = frame
        self.twist.twist.linear.x, self.twist.twist.linear.y, self.twist.twist.angular.z = x, y, turn

    def say(self) -> None:
        if self.twist is not None:
            self.twist.header.stamp = self.node.get_clock().now().to_msg()
            self._twist.publish(self.twist)
        if self.joints is not None:
            self._joints.publish(Float64MultiArray(data=self.joints))
        if self.pressed is not None:
            buttons = [0] * DEADMAN + [int(self.pressed)]
            self._joy.publish(Joy(buttons=buttons))

    def e_stop(self, pressed: bool, button) -> None:
        self.observer.wait("somebody who hears the e-stop", button.get_subscription_count)
        button.publish(Bool(data=pressed))

    def ask(self, request: str) -> tuple[bool, str]:
        """Call the service; what is held is held meanwhile."""
        client = self._clients.setdefault(request, self.node.create_client(Trigger, f"controller/{request}"))
        self.observer.wait(f"the service {request}", lambda: self.robot.send() or client.service_is_ready())
        answer = client.call_async(Trigger.Request())
        self.observer.wait(f"the answer to {request}", lambda: self.robot.send() or answer.done())
        return answer.result().success, answer.result().message

    def sent(self, x: float, y: float) -> None:
        """Wait until the robot is sent this velocity, in its own frame."""

        def there() -> bool:
            self.robot.send()
            v = self.observer.command.twist.linear
            return math.hypot(v.x - x, v.y - y) < 1e-6

        self.observer.wait(f"the command ({x}, {y})", there)


@pytest.fixture
def human(robot) -> Human:
    return Human(robot)


# ---- taking over and giving back -----------------------------------------------------------------------


def test_a_human_takes_over_and_when_lost_the_robot_stands_until_engaged(driving, robot, human):
    human.drive(0.2, -0.1)
    robot.until("TELEOP", "a teleop command came", source="TELEOP", mode="-1")
    human.sent(0.2, -0.1)
    robot.until("TELEOP", in_command="TELEOP", blend="1.00")
    human.twist = None
    robot.until("HOLD", "the teleop command is", in_command="HOLD")
    robot.stands()
    assert human.ask("engage") == (True, "engaged")
    robot.until("DRIVE", source="POLICY", command_reason="engaged")
    robot.until("DRIVE", in_command="POLICY")


def test_a_humans_velocity_is_taken_in_the_robots_frame_and_in_odometrys(serving, robot, human):
    robot.turn(math.pi / 2)
    human.drive(0.3, 0.0)
    human.sent(0.3, 0.0)
    robot.until("TELEOP", action="0.0000,0.3000")
    human.drive(0.3, 0.0, frame="odom")
    human.sent(0.0, -0.3)


def test_what_the_base_cannot_do_is_said_and_the_rest_is_done(serving, robot, human):
    human.drive(0.3, 0.0, turn=1.0)
    robot.until("TELEOP", "teleop asks for wz, which this base cannot do")
    human.sent(0.3, 0.0)


def test_in_a_frame_that_is_not_known_a_human_is_a_fault(serving, robot, human):
    human.drive(0.3, 0.0, frame="moon")
    robot.until("FAULT", "teleop is in frame 'moon'")
    robot.stands()


def test_commands_whose_clock_is_off_count_for_nothing_and_are_told_of(serving, robot, human):
    def late() -> None:
        message = TwistStamped()
        message.header.stamp.sec = 5
        human._twist.publish(message)

    robot.beside.append(late)
    robot.until("DRIVE", "teleop messages are")
    assert robot.observer.controller["source"] == "POLICY"


def test_released_the_policy_stops_and_a_human_may_drive(serving, robot, human):
    assert human.ask("release") == (True, "released")
    robot.until("OFF", "released", in_command="OFF")
    robot.stands()
    human.drive(0.2, 0.0)
    robot.until("TELEOP")


def test_not_enabled_nobody_drives(serving, robot, human):
    call = robot.observer.call
    assert call(SetBool, "controller/enable", SetBool.Request(data=False)).success
    human.drive(0.2, 0.0)
    robot.until("OFF", "not enabled", in_command="OFF")
    robot.stands()
    assert call(SetBool, "controller/enable", SetBool.Request(data=True)).success
    robot.until("TELEOP")


def test_the_dead_mans_switch_stops_and_must_be_let_go_of_before_engaging(controllers, robot, human, field_policy):
    switch = {"deadman_button": DEADMAN, "need_deadman": True, "teleop_timeout": 1.0}
    controllers.start(policy=str(field_policy), **switch)
    human.drive(0.2, 0.1)  # counts for nothing
    human.pressed = False
    robot.until("DRIVE", source="POLICY")
    human.pressed = True
    robot.until("TELEOP")
    human.sent(0.2, 0.1)
    assert human.ask("engage") == (False, "the dead man's switch is pressed: let go of it first")
    human.twist = None
    robot.observer.wait("a stop", lambda: robot.send() or robot.speed == 0.0)
    human.pressed = False
    robot.until("HOLD", "the dead man's switch is not pressed")
    assert human.ask("engage")[0]
    robot.until("DRIVE")


def test_a_joystick_without_that_button_is_told_of(controllers, robot, human, field_policy):
    controllers.start(policy=str(field_policy), deadman_button=DEADMAN + 1)
    human.pressed = True
    robot.until("DRIVE", "the joystick has 5 buttons: deadman_button 5 is none of them")


def test_not_engaged_it_waits_for_a_human_or_to_be_engaged(controllers, robot, human, field_policy):
    controllers.start(policy=str(field_policy), engaged=False)
    robot.until("OFF", "not engaged yet")
    assert human.ask("engage")[0]
    robot.until("DRIVE")


# ---- stops ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [SENSOR, LATEST, LATCHED], ids=["best effort", "reliable", "latched"])
def test_an_e_stop_of_any_quality_of_service_stops_until_re_armed(serving, robot, human, qos):
    button = robot.observer.node.create_publisher(Bool, "e_stop", qos)
    human.e_stop(True, button)
    robot.until("FAULT", "e-stop", in_command="FAULT", mode="-1")
    robot.stands()
    assert human.ask("engage")[0] is False
    assert human.ask("rearm") == (False, "the e-stop is still pressed")
    human.e_stop(False, button)
    robot.observer.wait("re-arming", lambda: robot.send() or human.ask("rearm")[0])
    robot.until("OFF", "re-armed")
    assert human.ask("rearm") == (False, "there is no fault to re-arm from")
    assert human.ask("engage")[0]
    robot.until("DRIVE")


def test_an_e_stop_from_before_it_started_counts(controllers, robot, human, field_policy):
    button = robot.observer.node.create_publisher(Bool, "e_stop", LATCHED)
    button.publish(Bool(data=True))
    controllers.start(policy=str(field_policy))
    robot.until("FAULT", "the e-stop is pressed")


def test_a_stop_by_service_is_a_fault_that_a_human_does_not_drive_out_of(serving, robot, human):
    assert human.ask("e_stop") == (True, "stopping")
    robot.until("FAULT", "an e-stop was asked for")
    robot.stands()
    human.drive(0.3, 0.0)
    robot.until("FAULT")
    assert robot.speed == 0.0
    assert human.ask("rearm")[0]
    robot.until("TELEOP")


def test_a_fault_outlives_the_nodes_life_cycle(serving, robot, human):
    assert human.ask("e_stop")[0]
    robot.until("FAULT")
    observer = robot.observer
    assert observer.transition("deactivate")
    assert human.ask("engage") == (False, "not active")
    assert observer.transition("cleanup") and observer.transition("configure") and observer.transition("activate")
    robot.until("FAULT", "an e-stop was asked for")
    assert human.ask("rearm")[0]
    robot.until("OFF")


def test_a_stop_asked_for_while_it_is_not_active_counts_once_it_is(controllers, robot, human, field_policy):
    controllers.make(policy=str(field_policy))
    assert human.ask("e_stop")[0]
    assert robot.observer.transition("configure") and robot.observer.transition("activate")
    robot.until("FAULT", "an e-stop was asked for")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [({"need_deadman": True}, "deadman_button"), ({"blend_time": -1.0}, "blend_time")],
    ids=["no switch", "no time"],
)
def test_start_values_that_let_nobody_drive_are_refused(controllers, observer, field_policy, parameters, says):
    with pytest.raises((ParameterError, ParameterException), match=says):
        controllers.make(policy=str(field_policy), **parameters)
    names = observer.node.get_node_names_and_namespaces
    observer.wait("the refused controller leave the graph", lambda: ("controller", "/") not in names())


# ---- joints --------------------------------------------------------------------------------------------


def test_an_arm_is_driven_by_hand_in_the_contracts_order(controllers, robot, human, tmp_path):
    rows = {0: [0.02, 0.01], 1: [-0.02, 0.01]}
    policy = write_pattern(tmp_path / "arm.onnx", arm_contract(), rows)
    robot.message, robot.tip = None, Odometry()
    robot.tip.header.frame_id = "odom"
    robot.tip.pose.pose.position.x, robot.tip.pose.pose.position.z = 0.3, 0.5
    robot.tip.pose.pose.orientation.w = 1.0
    robot.joints = JointState(name=["elbow", "shoulder"], position=[0.2, 0.5])
    controllers.start(policy=str(policy), mode=0)
    robot.until("DRIVE")
    human.joints = [0.0, -0.03]
    robot.until("TELEOP", in_command="TELEOP")
    wanted = pytest.approx([0.5, 0.17], abs=1e-6)
    robot.observer.wait("the joints", lambda: robot.send() or robot.commands[-1:] == [wanted])
    human.joints = [0.0]
    robot.until("FAULT", "a teleop command has 1 numbers: expected 2")


def test_efforts_are_not_driven_by_hand(controllers, observer, tmp_path, capfd):
    pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
    from ddiffpg_sim import tasks
    from tests.ros.field_policy import contract_of_task

    policy = write_pattern(tmp_path / "ant.onnx", contract_of_task(tasks.make("antmaze-v1")), {0: [0.0] * 8})
    assert controllers.make(policy=str(policy), deadman_button=DEADMAN).trigger_configure() == FAILURE
    assert "'deadman_button' is set: nobody can give a joint_effort by hand" in capfd.readouterr().err
    controllers.start(policy=str(policy))
    assert "no teleop: nobody can give a joint_effort by hand" in capfd.readouterr().err
    observer.wait("its status", lambda: observer.controller.get("state") == "HOLD")
    assert observer.node.count_subscribers("teleop/command") == 0
