"""Controllers to test, of policies that steer along the ways of three worlds."""

from __future__ import annotations

import numpy as np

from ddiffpg.controller import Controller, ControllerConfig, Operator
from ddiffpg.observation import RobotState
from ddiffpg.obstacles import Obstacles
from tests.robot.point_robot import PointRobot
from tests.robot.scripted_policy import MAZE_V1, MAZE_V4

RADIUS = 0.1
SHARED_END = {
    0: [(0.0, 0.0), (4.0, 0.0)],
    1: [(0.0, 0.0), (0.0, 2.0), (3.0, 2.0), (3.0, 0.0), (4.0, 0.0)],
    2: [(0.0, 0.0), (0.0, -2.0), (3.0, -2.0), (3.0, 0.0), (4.0, 0.0)],
}
WORLDS = {"v1": MAZE_V1, "v4": MAZE_V4, "shared end": SHARED_END}


def make(policies, world="v1", seed=0, **config) -> Controller:
    return Controller(policies[world], ControllerConfig(**config), np.random.default_rng(seed))


def state_at(x=0.0, y=0.0, now=0.0) -> RobotState:
    return PointRobot(np.array([x, y]), time=now).state()


def start_driving(controller: Controller, now: float = 0.0) -> np.ndarray:
    """Tick until it is at speed; returns what was sent last (at ``now + 0.4``)."""
    for i in range(5):
        decision = controller.tick(now + 0.1 * i, state_at(now=now + 0.1 * i), Obstacles(now + 0.1 * i), Operator())
    assert decision.state == "DRIVE" and np.linalg.norm(decision.action) > 0.7
    return decision.action
