"""A simulated robot that is moved about by random commands, recorded as ``ddiffpg record`` records one: the same
messages on the same topics, without the wire and the wall clock between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_typestore

from ddiffpg import messages_node as messages
from ddiffpg.outputs_node import TOPICS as COMMANDS
from ddiffpg_cli.mcap_writer import Limits, McapRecording, Topic
from ddiffpg_sim import tasks
from ddiffpg_sim.commands import drive_of
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.signals import Deviation
from ddiffpg_sim.sim_robot_node import joint_states, odometry

BEGAN = 1_000_000_000.0  # s, the clock of the first reading
RATE = 50.0  # Hz of readings, that of the node sim_robot
RECEIVED = 0.001  # s after it was published


class Excitation:
    """Commands for ``robot``, drawn anew each ``held`` control periods: velocities or efforts of all sizes within
    the limits, or, for joint positions, steps towards places up to ``reach`` (rad) from where the joints began."""

    def __init__(self, robot: SimRobot, rng: np.random.Generator, held: tuple[int, int], reach: float = 0.3) -> None:
        self._robot, self._rng, self._held, self._reach = robot, rng, held, reach
        action = robot.task.spec.action
        self._low, self._high, self._steps = action.low, action.high, action.kind == "joint_position_delta"
        self._first = robot.joint_positions if self._steps else np.zeros(len(self._low))
        self._left, self._wish = 0, self._first

    def next(self) -> np.ndarray:
        """As the controller sends it: ``[A]``."""
        if self._left == 0:
            self._left = int(self._rng.integers(*self._held, endpoint=True))
            self._wish = self._draw()
        self._left -= 1
        if not self._steps:
            return self._wish
        now = self._robot.joint_positions
        return now + np.clip(self._wish - now, self._low, self._high)

    def _draw(self) -> np.ndarray:
        if self._steps:
            return self._first + self._rng.uniform(-self._reach, self._reach, len(self._first))
        return self._rng.uniform(self._low, self._high)


HELD = {"base_velocity": (2, 8), "joint_effort": (1, 4), "joint_position_delta": (4, 15)}


def record(out: Path, task_name: str, deviation: Deviation, seconds: float, seed: int = 0) -> None:
    """Write ``out``: a robot of ``task_name`` that differs from its model, moved about for so long."""
    task = tasks.make(task_name)
    robot = SimRobot(task, seed, deviation=deviation)
    kind = task.spec.action.kind
    moving, drive = Excitation(robot, np.random.default_rng((seed, 1)), HELD[kind]), drive_of(robot)
    writer = _Writer(out, robot)
    every = round(RATE / task.spec.rate_hz)
    command = np.zeros(drive.count)
    for tick in range(round(seconds * RATE)):
        writer.state()
        if tick % every == 0:
            command = np.pad(moving.next(), (0, drive.count - len(task.spec.action.fields)))
            writer.command(command)
        drive.advance(command, 1.0 / RATE)
    writer.close()


class _Writer:
    def __init__(self, out: Path, robot: SimRobot) -> None:
        self._robot, spec = robot, robot.task.spec
        self._sent = COMMANDS[spec.action.kind]
        self._joints = [field.joint for field in spec.action.fields if field.joint]
        sources = {field.source.split(".")[0] for field in spec.observation}
        self._topics = {f"/{self._sent.name}": _type_name(self._sent.kind)}
        if "odom" in sources:
            self._topics["/odom"] = "nav_msgs/msg/Odometry"
        if robot.state().joints:
            self._topics["/joint_states"] = "sensor_msgs/msg/JointState"
        self._recording, types = McapRecording(out, Limits(), {}), get_typestore(Stores.ROS2_KILTED)
        for name, kind in self._topics.items():
            self._recording.add(Topic(name, kind, types.generate_msgdef(kind, ros_version=2)[0]))

    @property
    def _now(self) -> Any:
        now = BEGAN + self._robot.time
        return messages.Time(sec=int(now), nanosec=round(now % 1.0 * 1e9) % 10**9)

    def state(self) -> None:
        state = self._robot.measure()
        if state is None:
            return
        if "/odom" in self._topics:
            self._write("/odom", odometry(state, messages.header(self._now, "odom"), "base_link"))
        if "/joint_states" in self._topics:
            self._write("/joint_states", joint_states(state, self._now))

    def command(self, values: np.ndarray) -> None:
        if self._joints:
            self._write(f"/{self._sent.name}", messages.joint_command(self._joints, values))
        else:
            self._write(f"/{self._sent.name}", messages.twist(self._now, "base_link", values, np.zeros(3)))

    def close(self) -> None:
        self._recording.close()

    def _write(self, topic: str, message: Any) -> None:
        at = round((BEGAN + self._robot.time) * 1e9)
        self._recording.write(topic, at + round(RECEIVED * 1e9), at, serialize_message(message))


def _type_name(kind: type) -> str:
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
