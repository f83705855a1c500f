"""Ant mazes: a four-legged ant in the four mazes of the DDiffPG paper (arXiv 2406.00681).

Cells are 4 m, walls 2 m high. The ant takes a torque for each of its eight joints at 10 Hz, and observes
its generalised positions and velocities, but not the goal. Falling over ends nothing. Sizes, density, joint
limits and damping are those of the usual ant (gymnasium's Ant); its motors have a fifth of that one's gear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import numpy as np

from ddiffpg.observation import JointState, RobotState, joint_positions, joint_velocities, rotation
from ddiffpg_core.spec import ActionField, ActionSpec, ObservationField, Symmetry, TaskSpec

from .maze import LAYOUTS, Maze, MazeTask
from .obstacles import Obstacle
from .task import Task

# name, where its hip is seen from the torso (signs of x and y), the ankle's axis and range (degrees)
_LEGS = (
    ("front_left", (1, 1), (-1, 1), (30, 70)),
    ("front_right", (-1, 1), (1, 1), (-70, -30)),
    ("back_left", (-1, -1), (-1, 1), (-70, -30)),
    ("back_right", (1, -1), (1, 1), (30, 70)),
)
JOINTS = tuple(f"{leg}_{joint}" for leg, *_ in _LEGS for joint in ("hip", "ankle"))
STANDING = np.array([0.0, 0.0, 0.55, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0])  # feet on the floor
GEAR = 30.0  # N m

_MODEL = """
<mujoco model="{name}">
  <compiler autolimits="true" angle="degree" inertiafromgeom="true"/>
  <option timestep="{timestep}" integrator="RK4"/>
  <statistic center="{center}" extent="{extent}"/>
  <visual>
    <global offwidth="1280" offheight="1280"/>
    <headlight ambient="0.5 0.5 0.5" diffuse="0.5 0.5 0.5" specular="0 0 0"/>
  </visual>
  <default>
    <geom condim="3" friction="1 0.5 0.5" margin="0.01" contype="0" conaffinity="1"/>
    <default class="wall"><geom type="box" rgba="0.35 0.38 0.42 1"/></default>
    <default class="obstacle"><geom rgba="0.85 0.25 0.2 1"/></default>
    <!-- Group 1: the robot's own scan does not see it. Its parts touch the world and not each other. -->
    <default class="ant">
      <geom group="1" contype="1" conaffinity="0" density="5" rgba="0.15 0.4 0.8 1"/>
      <joint armature="1" damping="1"/>
      <motor ctrlrange="-1 1" gear="{gear}"/>
    </default>
  </default>
  <worldbody>
    <geom name="floor" type="plane" size="60 60 1" rgba="0.93 0.93 0.91 1"/>
    {goals}
    {walls}
    {obstacles}
    <body name="robot" childclass="ant">
      <freejoint name="base"/>
      <geom name="torso" type="sphere" size="0.25"/>
      {legs}
    </body>
  </worldbody>
  <actuator>
    {motors}
  </actuator>
</mujoco>
"""

_LEG = """<geom type="capsule" size="0.08" fromto="0 0 0 {x} {y} 0"/>
      <body name="{leg}_leg" pos="{x} {y} 0">
        <joint name="{leg}_hip" axis="0 0 1" range="-30 30"/>
        <geom type="capsule" size="0.08" fromto="0 0 0 {x} {y} 0"/>
        <body name="{leg}_foot" pos="{x} {y} 0">
          <joint name="{leg}_ankle" axis="{axis}" range="{range}"/>
          <geom type="capsule" size="0.08" fromto="0 0 0 {foot_x} {foot_y} 0"/>
        </body>
      </body>"""


@dataclass(frozen=True)
class AntMaze(MazeTask):
    """The ant in one maze. It reaches a goal within ``goal_radius`` of it; that ends the episode.

    ``goal_rewards`` are what the goals pay, in the order of ``goals``. It starts standing at rest, its joints
    up to ``joint_spread`` (rad) from the standing pose, its torso up to ``start_spread`` from the origin in x and y.
    """

    robot_radius: float = 0.9
    goal_radius: float = 0.5
    wall_height: float = 2.0
    start_spread: float = 0.0
    joint_spread: float = 0.1
    goal_rewards: tuple[float, ...] = (10.0,)

    @cached_property
    def spec(self) -> TaskSpec:
        return TaskSpec(
            name=self.name,
            robot="ant",
            rate_hz=self.rate_hz,
            max_steps=self.max_steps,
            observation=(*self._positions(), *_velocities()),
            action=ActionSpec("joint_effort", tuple(ActionField(j, "N m", -GEAR, GEAR, j) for j in JOINTS)),
            path=("x", "y"),
            path_tolerance=0.6 * self.maze.cell,
            symmetries=_turns(),
        )

    def _positions(self) -> tuple[ObservationField, ...]:
        return (
            *self.place_fields(),
            ObservationField("z", "odom.position.z", "m", offset=0.5, scale=0.5),
            *(ObservationField(f"q{axis}", f"odom.orientation.{axis}", "1") for axis in "wxyz"),
            *(ObservationField(j, "joint.position", "rad", 0.0, 1.3, j) for j in JOINTS),
        )

    # ---- the world -----------------------------------------------------------------------------

    def model_xml(self, obstacles: Sequence[Obstacle] = ()) -> str:
        return self.fill(
            _MODEL,
            obstacles,
            gear=GEAR,
            legs="\n      ".join(_leg_xml(*leg) for leg in _LEGS),
            motors="\n    ".join(f'<motor class="ant" name="{j}" joint="{j}"/>' for j in JOINTS),
        )

    # ---- an episode ----------------------------------------------------------------------------

    def start(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Standing at rest: ``qpos [count, 15]``, ``qvel [count, 14]``."""
        qpos = np.tile(STANDING, (count, 1))
        qpos[:, :2] += rng.uniform(-self.start_spread, self.start_spread, (count, 2))
        qpos[:, 7:] += rng.uniform(-self.joint_spread, self.joint_spread, (count, len(JOINTS)))
        return qpos, np.zeros((count, 14))

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Torques in N m as shares of what the motors give: ``[N, 8]``."""
        return action / GEAR

    def robot_state(self, stamp: float, qpos: np.ndarray, qvel: np.ndarray) -> RobotState:
        """MuJoCo gives the angular velocity in the torso's frame; a state has it in the fixed one."""
        joints = {j: JointState(float(p), float(v)) for j, p, v in zip(JOINTS, qpos[7:], qvel[6:])}
        return RobotState(stamp, qpos[:3], qpos[3:7], qvel[:3], rotation(qpos[3:7]) @ qvel[3:6], joints)

    def qpos_of(self, state: RobotState) -> np.ndarray:
        """Torso and joints: ``[15]``."""
        return np.concatenate([state.position, state.orientation, joint_positions(state, JOINTS)])

    def qvel_of(self, state: RobotState) -> np.ndarray:
        """Torso and joints: ``[14]``."""
        return np.concatenate([state.linear_velocity, state.body_angular_velocity, joint_velocities(state, JOINTS)])

    def reward(self, qpos: np.ndarray) -> np.ndarray:
        reached = self.maze.distances_to_goals(qpos[:, :2]) < self.goal_radius
        return (reached * np.array(self.goal_rewards)).max(axis=1).astype(np.float32)


def _velocities() -> tuple[ObservationField, ...]:
    return (
        *(ObservationField(f"v{a}", f"odom.linear_velocity.{a}", "m/s", scale=3.0) for a in "xyz"),
        *(ObservationField(f"w{a}", f"odom.body_angular_velocity.{a}", "rad/s", scale=6.0) for a in "xyz"),
        *(ObservationField(f"{j}_velocity", "joint.velocity", "rad/s", 0.0, 12.0, j) for j in JOINTS),
    )


def _turns() -> tuple[Symmetry, ...]:
    """The ant with its legs taken round by one to seven quarter turns: four of them turn the quaternion's sign."""
    obs, action = _quarter_turn()
    powers = [(np.linalg.matrix_power(obs, k), np.linalg.matrix_power(action, k)) for k in range(1, 8)]
    return tuple(Symmetry(*pair) for pair in powers)


def _quarter_turn() -> tuple[np.ndarray, np.ndarray]:
    """Each leg takes the name of the one before: the torso faces a quarter turn farther to the left."""
    legs = np.zeros((8, 8))
    for leg, (_, _, axis, _) in enumerate(_LEGS):
        after = (leg + 1) % 4
        other = _LEGS[after][2]
        legs[2 * leg, 2 * after] = 1.0
        # An axis (x, y) is (y, -x) for who has turned by a quarter.
        legs[2 * leg + 1, 2 * after + 1] = 1.0 if (other[1], -other[0]) == axis else -1.0
    obs = np.eye(29)
    half = math.sqrt(0.5)
    obs[3:7, 3:7] = half * np.array([[1, 0, 0, -1], [0, 1, 1, 0], [0, -1, 1, 0], [1, 0, 0, 1]])
    obs[7:15, 7:15] = obs[21:29, 21:29] = legs
    obs[18:20, 18:20] = [[0, 1], [-1, 0]]  # the angular velocity, in the torso's frame
    return obs, legs


def _leg_xml(leg: str, side: tuple[int, int], axis: tuple[int, int], limits: tuple[int, int]) -> str:
    x, y = 0.2 * side[0], 0.2 * side[1]
    return _LEG.format(
        leg=leg, x=x, y=y, foot_x=2 * x, foot_y=2 * y, axis=f"{axis[0]} {axis[1]} 0", range=f"{limits[0]} {limits[1]}"
    )


_MAX_STEPS = {"v1": 500, "v2": 500, "v3": 700, "v4": 700}
_REWARDS = {"v1": (10.0,), "v2": (10.0, 20.0), "v3": (10.0, 10.0), "v4": (10.0, 10.0)}
_START_SPREAD = {"v1": 2.0}


def _get(version: str) -> Task:
    maze = AntMaze(
        f"antmaze-{version}", Maze(LAYOUTS[version], cell=4.0), _MAX_STEPS[version],
        start_spread=_START_SPREAD.get(version, 0.0), goal_rewards=_REWARDS[version],
    )  # fmt: skip
    return cast(Task, maze)  # to everyone but a type checker a cached property is a property


TASKS: dict[str, Callable[[], Task]] = {f"antmaze-{version}": partial(_get, version) for version in LAYOUTS}
