"""Point mazes: a holonomic base in the four mazes of the DDiffPG paper.

Cells are 1 m; the base takes a velocity (m/s) at 10 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import numpy as np

from ddiffpg.observation import RobotState
from ddiffpg_core.spec import ActionField, ActionSpec, ObservationField, TaskSpec

from .maze import LAYOUTS, Maze, MazeTask
from .obstacles import Obstacle
from .task import Task

_MODEL = """
<mujoco model="{name}">
  <compiler autolimits="true"/>
  <option timestep="{timestep}" integrator="implicitfast" jacobian="dense">
    <flag gravity="disable" midphase="disable"/>
  </option>
  <statistic center="{center}" extent="{extent}"/>
  <visual>
    <global offwidth="1280" offheight="1280"/>
    <headlight ambient="0.5 0.5 0.5" diffuse="0.5 0.5 0.5" specular="0 0 0"/>
  </visual>
  <default>
    <!-- The servo pushes with 20 m/s^2: this impedance keeps a robot that leans on a wall within 1 mm
         of its surface. Contacts have no friction (condim 1), so it slides along. -->
    <geom condim="1" solref="0.04 1" solimp="0.99 0.999 0.001" contype="0" conaffinity="0"/>
    <default class="wall"><geom type="box" conaffinity="1" rgba="0.35 0.38 0.42 1"/></default>
    <!-- As dead a blow, but a weaker spring: one that appears on top of the robot pushes it out at
         about 1 m/s instead of firing it through a wall. -->
    <default class="obstacle"><geom conaffinity="1" priority="1" solref="-100 -50" rgba="0.85 0.25 0.2 1"/></default>
  </default>
  <worldbody>
    <geom name="floor" type="plane" size="20 20 1" rgba="0.93 0.93 0.91 1"/>
    {goals}
    {walls}
    {obstacles}
    <body name="robot" pos="0 0 {radius}">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <!-- In the plane a sphere at mid-height is the same as an upright cylinder, and its contacts are exact. -->
      <geom name="robot" type="sphere" size="{radius}" mass="1" contype="1" rgba="0 0 0 0"/>
      <geom type="cylinder" size="{radius} {radius}" mass="0" rgba="0.15 0.4 0.8 1"/>
    </body>
  </worldbody>
  <actuator>
    <velocity name="vx" joint="x" kv="20" ctrlrange="-1 1"/>
    <velocity name="vy" joint="y" kv="20" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""


@dataclass(frozen=True)
class PointMaze(MazeTask):
    """The base in one maze. It reaches a goal within ``goal_radius`` of it; that pays 1 and ends the episode.

    It starts at rest, up to ``start_spread`` from the origin in x and in y.
    """

    robot_radius: float = 0.1
    goal_radius: float = 0.3
    wall_height: float = 0.5
    start_spread: float = 0.1

    @cached_property
    def spec(self) -> TaskSpec:
        return TaskSpec(
            name=self.name,
            robot="pointbase",
            rate_hz=self.rate_hz,
            max_steps=self.max_steps,
            observation=(
                *self.place_fields(),
                ObservationField("vx", "odom.linear_velocity.x", "m/s"),
                ObservationField("vy", "odom.linear_velocity.y", "m/s"),
            ),
            action=ActionSpec(
                "base_velocity",
                (ActionField("vx", "m/s", -1.0, 1.0), ActionField("vy", "m/s", -1.0, 1.0)),
            ),
            path=("x", "y"),
            path_tolerance=0.6,
        )

    # ---- the world -----------------------------------------------------------------------------

    def model_xml(self, obstacles: Sequence[Obstacle] = ()) -> str:
        return self.fill(_MODEL, obstacles, radius=self.robot_radius)

    # ---- an episode ----------------------------------------------------------------------------

    def start(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """At rest near the origin: ``qpos [count, 2]``, ``qvel [count, 2]``."""
        return rng.uniform(-self.start_spread, self.start_spread, (count, 2)), np.zeros((count, 2))

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """The servo takes the velocity as it is: ``[N, 2]``."""
        return action

    def robot_state(self, stamp: float, qpos: np.ndarray, qvel: np.ndarray) -> RobotState:
        """The base keeps its heading and stays on the floor; it has no joints that it could report."""
        return RobotState(
            stamp=stamp,
            position=np.array([qpos[0], qpos[1], 0.0]),
            orientation=np.array([1.0, 0.0, 0.0, 0.0]),
            linear_velocity=np.array([qvel[0], qvel[1], 0.0]),
            angular_velocity=np.zeros(3),
        )

    def qpos_of(self, state: RobotState) -> np.ndarray:
        """x and y: ``[2]``."""
        return state.position[:2].copy()

    def qvel_of(self, state: RobotState) -> np.ndarray:
        """Along x and y: ``[2]``."""
        return state.linear_velocity[:2].copy()

    def reward(self, qpos: np.ndarray) -> np.ndarray:
        return self.success(qpos).astype(np.float32)


_MAX_STEPS = {"v1": 150, "v2": 150, "v3": 200, "v4": 200}


def _get(version: str) -> Task:
    maze = PointMaze(f"pointmaze-{version}", Maze(LAYOUTS[version], cell=1.0), _MAX_STEPS[version])
    return cast(Task, maze)  # to everyone but a type checker a cached property is a property


TASKS: dict[str, Callable[[], Task]] = {f"pointmaze-{version}": partial(_get, version) for version in LAYOUTS}
