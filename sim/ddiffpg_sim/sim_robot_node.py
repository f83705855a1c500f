"""Node ``sim_robot``: a MuJoCo task as a robot in real time, on the topics of a real one.

Publishes what the task's robot measures (odometry, joint states, motion of the end effector, a scan),
takes commands of its kind (velocities, efforts, joint positions), puts in the obstacles that markers
declare. The only file of the simulation that imports ROS.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMessage
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from ddiffpg.marker_obstacles import MarkerBook, MarkerObstacle, Pose2
from ddiffpg.messages_node import EVENTS, LATEST, SENSOR, header, status
from ddiffpg.observation import RobotState, rotation
from ddiffpg.outputs_node import TOPICS
from ddiffpg.parameters_node import Parameters, ParameterSpec
from ddiffpg.readings import planar_pose
from ddiffpg.run_node import run

from . import tasks
from .commands import CommandInput, drive_of
from .deviation_file import read_deviation
from .obstacles import Obstacle
from .robot import SimRobot
from .signals import Deviation

ODOM, BASE, END_EFFECTOR = "odom", "base_link", "end_effector"
CATCH_UP = 0.5  # s; a machine that falls further behind than this lets simulated time slip instead

PARAMETERS = (
    ParameterSpec("task", "pointmaze-v1", "which task to simulate", choices=tuple(tasks.names()), fixed="running"),
    ParameterSpec(
        "deviation",
        "",
        "file that says how this robot differs from its model (docs/transfer.md); empty: in nothing",
        fixed="running",
    ),
    ParameterSpec("seed", 0, "seed of the start states", low=0, high=2**31 - 1, fixed="running"),
    ParameterSpec("rate", 50.0, "rate of the simulation and its odometry, Hz", low=1.0, high=500.0, fixed="running"),
    ParameterSpec("scan_rate", 10.0, "scan rate, Hz; at most rate", low=1.0, high=500.0, fixed="running"),
    ParameterSpec(
        "scan_beams",
        180,
        "beams all around of the scan; 0, or a robot that does not drive on a floor, publishes none",
        low=0,
        high=4096,
        fixed="running",
    ),
    ParameterSpec("scan_range", 8.0, "longest range of the scan, m", low=0.1, high=100.0, fixed="running"),
    ParameterSpec(
        "command_timeout", 0.5, "stop (efforts: go limp) after this long without a command, s", low=0.02, high=10.0
    ),
    ParameterSpec(
        "executor", "single", "which rclpy executor spins the node", choices=("single", "events"), fixed="running"
    ),
)


class SimRobotNode(Node):
    """Steps the simulated robot by the wall clock."""

    def __init__(self) -> None:
        super().__init__("sim_robot")
        self._settings = Parameters(self, PARAMETERS, frozen=lambda fixed: True)
        p = self._settings
        self.executor_name = p["executor"]
        self._period = 1.0 / p["rate"]
        self._robot = SimRobot(tasks.make(p["task"]), p["seed"], deviation=_deviation(p["deviation"]))
        self._robot.reset(p["seed"])
        self._drive = drive_of(self._robot)
        self._command = CommandInput(self._drive.count)
        self._book = MarkerBook(self._locate)
        self._declared: tuple[MarkerObstacle, ...] = ()
        self._episode, self._ticks, self._slipped = 0, 0, 0.0
        self._make_interfaces()
        self._simulated_until = time.monotonic()
        self._clockwork = self.create_timer(self._period, self._tick)

    # ---- what run() asks of a node ---------------------------------------------------------------

    def exit_code(self) -> int | None:
        return None

    def close(self) -> None:
        self._clockwork.cancel()

    # ---- in --------------------------------------------------------------------------------------

    def _make_interfaces(self) -> None:
        spec = self._robot.task.spec
        bodies = {field.source.split(".")[0] for field in spec.observation}
        self._odom = self.create_publisher(Odometry, "odom", LATEST) if "odom" in bodies else None
        self._tip = self.create_publisher(Odometry, "end_effector", LATEST) if "end_effector" in bodies else None
        joints = bool(self._robot.state().joints)
        self._joints = self.create_publisher(JointStateMessage, "joint_states", LATEST) if joints else None
        planar = len(spec.path) == 2 and self._settings["scan_beams"] > 0
        self._scan = self.create_publisher(LaserScan, "scan", SENSOR) if planar else None
        self._status = self.create_publisher(DiagnosticStatus, "~/status", LATEST)
        TOPICS[spec.action.kind].subscription(self, self._on_command)
        self.create_subscription(MarkerArray, "obstacles", self._on_obstacles, EVENTS)
        self.create_service(Trigger, "~/reset", self._on_reset)

    def _on_command(self, message: TwistStamped | Float64MultiArray) -> None:
        if isinstance(message, TwistStamped):
            v = message.twist.linear
            self._command.put((v.x, v.y, v.z), time.monotonic())
        else:
            self._command.put(message.data, time.monotonic())

    def _on_obstacles(self, message: MarkerArray) -> None:
        self._book.update(message.markers, time.monotonic())
        self._place_obstacles()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """A new episode: new start state, no command. Obstacles stay where they are."""
        self._robot.reset()
        self._drive = drive_of(self._robot)
        self._command.clear()
        self._episode += 1
        self._publish_motion(self.get_clock().now().to_msg())
        self._publish_status()
        response.success, response.message = True, f"episode {self._episode}"
        return response

    # ---- the world -------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._place_obstacles()
        for _ in range(self._due()):
            self._drive.advance(self._command.at(time.monotonic(), self._settings["command_timeout"]), self._period)
        self._ticks += 1
        stamp = self.get_clock().now().to_msg()  # of one state of the world: motion and scan must agree
        self._publish_motion(stamp)
        if self._every(self._settings["scan_rate"]):
            self._publish_scan(stamp)
            self._publish_status()

    def _due(self) -> int:
        """How many periods the simulation is behind the wall clock."""
        behind = time.monotonic() - self._simulated_until
        if behind > CATCH_UP:
            self._slipped += behind - CATCH_UP
            self._simulated_until += behind - CATCH_UP
        count = max(0, round((time.monotonic() - self._simulated_until) / self._period))
        self._simulated_until += count * self._period
        return count

    def _every(self, rate: float) -> bool:
        return self._ticks % max(1, round(1.0 / (rate * self._period))) == 0

    def _place_obstacles(self) -> None:
        """Bring the world to what the markers declare now."""
        declared = self._book.at(time.monotonic())
        if declared == self._declared:
            return
        self._declared = declared
        self._robot.set_obstacles(
            Obstacle(number, o.shape, o.center, o.half_size, o.yaw) for number, o in enumerate(declared)
        )

    def _locate(self, frame: str) -> Pose2 | None:
        if frame in ("", ODOM):
            return (0.0, 0.0, 0.0)
        return planar_pose(self._robot.state()) if frame == BASE and self._odom is not None else None

    # ---- out -------------------------------------------------------------------------------------

    def _publish_motion(self, stamp: Any) -> None:
        state, head = self._robot.measure(), header(stamp, ODOM)
        if state is None:
            return
        if self._odom is not None:
            self._odom.publish(odometry(state, head, BASE))
        if self._tip is not None:
            self._tip.publish(odometry(end_effector(state), head, END_EFFECTOR))
        if self._joints is not None:
            self._joints.publish(joint_states(state, stamp))

    def _publish_scan(self, stamp: Any) -> None:
        if self._scan is None:
            return
        beams, longest = self._settings["scan_beams"], self._settings["scan_range"]
        angles, ranges = self._robot.scan(beams, longest)
        message = LaserScan(header=header(stamp, BASE))
        yaw = planar_pose(self._robot.state())[2]  # the robot's scan is in the world's directions
        message.angle_min, message.angle_max = float(angles[0] - yaw), float(angles[-1] - yaw)
        message.angle_increment = 2 * math.pi / beams
        message.range_min, message.range_max = 0.0, longest
        message.ranges = np.where(ranges < longest, ranges, np.inf).astype(np.float32).tolist()
        self._scan.publish(message)

    def _publish_status(self) -> None:
        faults = self._book.faults
        level = "warn" if faults else "ok"
        self._status.publish(status("sim_robot", level, "; ".join(faults) or "running", self._values()))

    def _values(self) -> dict[str, Any]:
        return {
            "task": self._settings["task"],
            "episode": self._episode,
            "time": f"{self._robot.time:.3f}",
            "success": self._robot.success,
            "collided": self._robot.collided,
            "touching_wall": self._robot.touching_wall,
            "obstacles": len(self._declared),
            "command": self._command.state,
            "slipped": f"{self._slipped:.3f}",
        }


def _deviation(path: str) -> Deviation:
    """That of the file, none where no file is named. ValueError where it cannot be read."""
    try:
        return read_deviation(Path(path)) if path else Deviation()
    except OSError as error:
        raise ValueError(f"parameter deviation: {path}: {error.strerror}") from error


def odometry(state: RobotState, head: Any, child: str) -> Odometry:
    """``state`` as nav_msgs/Odometry: the twist goes into the child frame."""
    message = Odometry(header=head, child_frame_id=child)
    pose, twist = message.pose.pose, message.twist.twist
    turn = rotation(np.asarray(state.orientation, float)).T
    pose.position.x, pose.position.y, pose.position.z = map(float, state.position)
    q = pose.orientation
    q.w, q.x, q.y, q.z = map(float, state.orientation)
    v, w = twist.linear, twist.angular
    v.x, v.y, v.z = map(float, turn @ np.asarray(state.linear_velocity, float))
    w.x, w.y, w.z = map(float, turn @ np.asarray(state.angular_velocity, float))
    return message


def end_effector(state: RobotState) -> RobotState:
    """The end effector as a body of its own, whose axes are those of the fixed frame."""
    upright, not_turning = np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3)
    return RobotState(state.stamp, state.end_effector_position, upright, state.end_effector_velocity, not_turning)


def joint_states(state: RobotState, stamp: Any) -> JointStateMessage:
    """``state``'s joints as sensor_msgs/JointState."""
    message = JointStateMessage(header=header(stamp, ""), name=list(state.joints))
    message.position = [joint.position for joint in state.joints.values()]
    message.velocity = [joint.velocity for joint in state.joints.values()]
    return message


def main(args: Sequence[str] | None = None) -> int:
    return run(SimRobotNode, args)


if __name__ == "__main__":
    sys.exit(main())
