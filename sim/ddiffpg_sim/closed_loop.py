"""The closed loop without ROS: the robot's own Controller drives the simulated robot, one tick a control period."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ddiffpg.controller import Controller
from ddiffpg.decision import Decision, Operator
from ddiffpg.observation import RobotState
from ddiffpg.obstacles import Box, Cylinder, Obstacles, Shape
from ddiffpg.tracking import Tracker

from .obstacles import Obstacle
from .robot import SimRobot


class Scenario(Protocol):
    """What stands in the way at each moment, such as an ``ObstacleScript``."""

    def at(self, t: float) -> Sequence[Obstacle]:
        """The obstacles that are there ``t`` seconds after the start."""
        ...


@dataclass(frozen=True)
class Episode:
    """How one run went. ``steps`` are control periods until the goal or the limit; ``collided``: an obstacle was
    touched; ``modes``: the ids of the modes that drove, in order, without repeats in a row."""

    success: bool
    collided: bool
    steps: int
    modes: tuple[int, ...]

    @property
    def switches(self) -> int:
        """How often another mode took over."""
        return max(len(self.modes) - 1, 0)

    def to_dict(self) -> dict[str, Any]:
        """The form that ``ddiffpg run --json`` writes."""
        return {"success": self.success, "collided": self.collided, "steps": self.steps,
                "modes": list(self.modes), "switches": self.switches}  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """What an episode is run under. ``scan_beams`` > 0 gives the controller a laser scan of walls and obstacles
    too, out to ``scan_range`` metres; ``max_steps`` is the limit in control periods."""

    max_steps: int
    scenario: Scenario | None = None
    operator: Operator = field(default_factory=Operator)
    scan_beams: int = 0
    scan_range: float = 10.0


def run_episode(
    robot: SimRobot,
    controller: Controller,
    conditions: Conditions,
    watch: Callable[[SimRobot, Decision], None] | None = None,
) -> Episode:
    """From where ``robot`` stands to the goal or the limit; ``watch`` sees every tick before it is carried out."""
    modes: list[int] = []
    state, steps, tracker = robot.measure() or robot.state(), 0, Tracker()
    while not robot.success and steps < conditions.max_steps:
        if conditions.scenario is not None:
            robot.set_obstacles(conditions.scenario.at(robot.time))
        seen = sense(robot, state, conditions, tracker)
        decision = controller.tick(robot.time, state, seen, conditions.operator)
        if decision.mode is not None and decision.mode not in modes[-1:]:
            modes.append(decision.mode)
        if watch is not None:
            watch(robot, decision)
        robot.step(decision.action)
        state = robot.measure() or state  # what is lost is not new: the last one stays, with its stamp
        steps += 1
    return Episode(robot.success, robot.collided, steps, tuple(modes))


def sense(robot: SimRobot, state: RobotState, conditions: Conditions, tracker: Tracker) -> Obstacles:
    """What the controller is told: every obstacle as a declared shape with the velocity that ``tracker`` makes out,
    and the scan's hits where one is wanted, from where the robot is according to the ``state`` that is told too."""
    known = tell(robot, robot.obstacles, tracker)
    if conditions.scan_beams == 0:
        return known
    angles, ranges = robot.scan(conditions.scan_beams, conditions.scan_range)
    hit = np.isfinite(ranges)
    rays = ranges[hit, None] * np.stack([np.cos(angles[hit]), np.sin(angles[hit])], axis=1)
    return replace(known, points=state.position[:2] + rays)


def tell(robot: SimRobot, obstacles: Sequence[Obstacle], tracker: Tracker) -> Obstacles:
    """``obstacles`` as declared shapes, now, with the velocity of each."""
    for obstacle in obstacles:
        tracker.see(obstacle.id, robot.time, obstacle.center[:2])
    velocities = tracker.velocities([obstacle.id for obstacle in obstacles], robot.time)
    return Obstacles(robot.time, tuple(map(declared, obstacles)), velocities=velocities)


def declared(obstacle: Obstacle) -> Shape:
    """A simulated obstacle as the robot's side speaks of it: what it covers of the floor, and its height."""
    x, y, z = obstacle.center
    half_x, half_y, half_z = obstacle.half_size
    height = (z - half_z, z + half_z)
    if obstacle.shape == "cylinder":
        return Cylinder((x, y), half_x, height)
    return Box((x, y), (half_x, half_y), obstacle.yaw, height)
