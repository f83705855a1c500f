"""A holonomic base in the plane with a velocity servo: enough of a robot to close the controller's loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ddiffpg.controller import Controller, Decision, Operator
from ddiffpg.observation import RobotState
from ddiffpg.obstacles import Obstacles, Shape, Solids

SERVO = 0.05  # seconds
SUBSTEPS = 10
CHOOSE = Operator()


@dataclass
class PointRobot:
    """``position [2]`` m, ``velocity [2]`` m/s, at ``time`` s."""

    position: np.ndarray
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    time: float = 0.0

    def state(self) -> RobotState:
        return RobotState(self.time, [*self.position, 0.0], [1.0, 0.0, 0.0, 0.0], [*self.velocity, 0.0], [0.0] * 3)

    def step(self, command: np.ndarray, seconds: float = 0.1) -> None:
        dt = seconds / SUBSTEPS
        for _ in range(SUBSTEPS):
            self.velocity = command + (self.velocity - command) * math.exp(-dt / SERVO)
            self.position = self.position + self.velocity * dt
        self.time += seconds


@dataclass(frozen=True, eq=False)
class Tick:
    """One tick of a drive: what was decided, where the robot was, how far from the nearest declared shape."""

    decision: Decision
    position: np.ndarray
    distance: float


def drive(
    controller: Controller,
    robot: PointRobot,
    seconds: float,
    shapes: Callable[[Tick | None, float], tuple[Shape, ...]] = lambda last, now: (),
    operator: Operator = CHOOSE,
) -> list[Tick]:
    """Close the loop for ``seconds`` or until it has arrived and stands; ``shapes`` is what is there at a time."""
    ticks: list[Tick] = []
    while robot.time < seconds:
        there = shapes(ticks[-1] if ticks else None, robot.time)
        decision = controller.tick(robot.time, robot.state(), Obstacles(robot.time, there), operator)
        distance = float(Solids(there).distance(robot.position[None])[0])
        ticks.append(Tick(decision, robot.position, distance))
        if decision.state == "ARRIVED" and not decision.action.any():
            break
        robot.step(decision.action)
    return ticks
