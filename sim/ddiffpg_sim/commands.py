"""What a simulated robot does with commands that come by themselves, late, or not at all, by kind of action."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ddiffpg.observation import rotation

from .robot import SimRobot


class CommandInput:
    """The last command of ``count`` numbers; counts only while it is fresh."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._values: np.ndarray | None = None
        self._stamp = -math.inf
        self.state = "none yet"

    def put(self, values: Sequence[float], now: float) -> None:
        """Take a command. One that is not of the right size, or not finite, counts as none."""
        found = np.array(values, float)
        if found.shape == (self._count,) and np.isfinite(found).all():
            self._values, self._stamp, self.state = found, now, "fresh"
            return
        problem = "not finite" if len(found) == self._count else f"expected {self._count} numbers"
        self._values, self.state = None, f"refused, {problem}: {found.tolist()}"

    def at(self, now: float, timeout: float) -> np.ndarray | None:
        """What is commanded now; None where nothing is, or it is too old."""
        if self._values is not None and now - self._stamp > timeout:
            self._values, self.state = None, f"stale: none for {timeout:g} s"
        return self._values

    def clear(self) -> None:
        self._values, self.state = None, "none yet"


class Drive(Protocol):
    """How a robot takes commands of one kind; ``count`` is how many numbers one has."""

    count: int

    def advance(self, command: np.ndarray | None, seconds: float) -> None:
        """Let the robot go on for ``seconds`` by ``command [count]``, None where there is none."""
        ...


class VelocityDrive:
    """Velocities x, y, z (m/s) in the robot's own frame; without one it stops."""

    count = 3

    def __init__(self, robot: SimRobot) -> None:
        self._robot = robot

    def advance(self, command: np.ndarray | None, seconds: float) -> None:
        turn = rotation(np.asarray(self._robot.state().orientation, float))
        velocity = np.zeros(self.count) if command is None else turn @ command
        self._robot.advance(velocity[: self._robot.task.spec.action_dim], seconds)


class EffortDrive:
    """Efforts of the joints (N m); without a command there is none."""

    def __init__(self, robot: SimRobot) -> None:
        self._robot, self.count = robot, robot.task.spec.action_dim

    def advance(self, command: np.ndarray | None, seconds: float) -> None:
        self._robot.advance(np.zeros(self.count) if command is None else command, seconds)


class PositionDrive:
    """Positions of the joints (rad); without a command they stay where they were last told to be."""

    def __init__(self, robot: SimRobot) -> None:
        self._robot, self.count = robot, robot.task.spec.action_dim
        self._target: np.ndarray | None = None

    def advance(self, command: np.ndarray | None, seconds: float) -> None:
        if command is not None:
            self._target = command
        elif self._target is None:
            self._target = self._robot.joint_positions
        self._robot.move_joints(self._target, seconds)


def drive_of(robot: SimRobot) -> Drive:
    """The drive for the robot's kind of action."""
    kinds = {"base_velocity": VelocityDrive, "joint_effort": EffortDrive, "joint_position_delta": PositionDrive}
    return kinds[robot.task.spec.action.kind](robot)
