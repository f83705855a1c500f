"""What every task of the arm shares: the Panda among boxes, moved by steps of its joint positions.

The arm takes seven steps of joint position (rad) at 25 Hz, each from where the joint is measured to be, and
observes its tip's position and velocity, and what of the scene moves. Reaching the goal pays 1 and ends the episode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ddiffpg.observation import JointState, RobotState, joint_positions, joint_velocities
from ddiffpg_core.spec import ActionField, ActionSpec, JointLimits, ObservationField, TaskSpec

from . import panda
from .obstacles import Obstacle, obstacles_xml
from .panda import Vector
from .task import Wall, Way

ARM = len(panda.JOINTS)
STEP = 0.05  # rad, the largest step of a joint's target

_MODEL = """
<mujoco model="{name}">
  <compiler autolimits="true" angle="radian"/>
  <option timestep="{timestep}" integrator="implicitfast"/>
  <statistic center="{center}" extent="0.8"/>
  <visual>
    <global offwidth="1280" offheight="1280"/>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.5 0.5 0.5" specular="0.1 0.1 0.1"/>
  </visual>
  <default>
    <geom contype="0" conaffinity="1"/>
    <default class="wall"><geom type="box" rgba="0.55 0.58 0.62 1"/></default>
    <default class="moving"><geom type="box" rgba="0.75 0.6 0.42 1"/></default>
    <default class="mark"><geom contype="0" conaffinity="0" group="2" mass="0" rgba="0.2 0.7 0.3 0.4"/></default>
    <default class="obstacle"><geom rgba="0.85 0.25 0.2 1"/></default>
    {defaults}
  </default>
  <asset><texture type="skybox" builtin="flat" rgb1="0.94 0.94 0.92" width="8" height="8"/></asset>
  <worldbody>
    <geom name="floor" type="plane" size="3 3 1" rgba="0.93 0.93 0.91 1"/>
    {robot}
    {walls}
    {scene}
    {obstacles}
  </worldbody>
  <actuator>
    {actuators}
  </actuator>
</mujoco>
"""


@dataclass(frozen=True)
class Block:
    """A box that never moves: ``center`` and ``half_size`` (x, y, z) in metres."""

    center: Vector
    half_size: Vector


@dataclass(frozen=True)
class SceneJoint:
    """A joint of the scene, which is observed: it begins at ``start`` and goes from 0 to ``end`` (``unit``)."""

    name: str
    unit: str
    start: float
    end: float


Done = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Whether the goal is reached: tip ``[N, 3]`` (m) and positions of the scene's joints ``[N, J]`` -> ``[N]`` bool."""


@dataclass(frozen=True)
class ArmTask:
    """The Panda at ``(base_x, 0, 0)`` in one scene. It ends when it is ``done``.

    It starts at rest at ``start_joints`` (rad), each up to ``start_spread`` from there but inside its limits. The
    gripper holds ``held`` (geometries in the hand's frame); what is observed as the tip is ``tool`` metres from the
    flange. ``scene`` is what moves or only shows, as MJCF; ``scene_joints`` are its joints, in that order.
    """

    name: str
    base_x: float
    start_joints: tuple[float, ...]
    path_tolerance: float
    blocks: tuple[Block, ...]
    ways: tuple[Way, ...]
    done: Done
    scene: str = ""
    scene_joints: tuple[SceneJoint, ...] = ()
    start_spread: float = 0.0
    tool: float = panda.FLANGE_TO_TCP
    held: str = ""
    rate_hz: float = 25.0
    max_steps: int = 100
    substeps: int = 4
    robot_radius: float = 0.05

    @property
    def spec(self) -> TaskSpec:
        return self._spec

    @cached_property
    def _spec(self) -> TaskSpec:
        return TaskSpec(
            name=self.name,
            robot="panda",
            rate_hz=self.rate_hz,
            max_steps=self.max_steps,
            observation=(*self._tip_fields(), *(_opening_field(joint) for joint in self.scene_joints)),
            action=ActionSpec(
                "joint_position_delta",
                tuple(ActionField(joint, "rad", -STEP, STEP, joint) for joint in panda.JOINTS),
                tuple(map(JointLimits, panda.JOINTS, panda.LOW.tolist(), panda.HIGH.tolist())),
            ),
            path=("ee_x", "ee_y", "ee_z"),
            path_tolerance=self.path_tolerance,
            outcome=tuple(joint.name for joint in self.scene_joints),
        )

    def _tip_fields(self) -> tuple[ObservationField, ...]:
        middle = (self.base_x + 0.3, 0.0, 0.5)
        places = tuple(
            ObservationField(f"ee_{axis}", f"end_effector.position.{axis}", "m", offset, 0.7)
            for axis, offset in zip("xyz", middle)
        )
        speeds = (ObservationField(f"ee_v{a}", f"end_effector.linear_velocity.{a}", "m/s", 0.0, 1.2) for a in "xyz")
        return (*places, *speeds)

    # ---- the world -----------------------------------------------------------------------------

    @property
    def base(self) -> Vector:
        return (self.base_x, 0.0, 0.0)

    @property
    def walls(self) -> tuple[Wall, ...]:
        """The blocks as they are seen from above."""
        return tuple(Wall(block.center[:2], block.half_size[:2]) for block in self.blocks)

    def model_xml(self, obstacles: Sequence[Obstacle] = ()) -> str:
        return _MODEL.format(
            name=self.name,
            timestep=1.0 / (self.rate_hz * self.substeps),
            center=f"{self.base_x + 0.4} 0 0.45",
            defaults=panda.DEFAULTS,
            robot=panda.arm_xml(self.base, self.held),
            walls="\n    ".join(_block_xml(i, block) for i, block in enumerate(self.blocks)),
            scene=self.scene,
            obstacles=obstacles_xml(obstacles),
            actuators=panda.actuators_xml(),
        )

    def standing(self, obstacle: Obstacle) -> Obstacle:
        """Where it was put: in space an obstacle blocks at its own height."""
        return obstacle

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """Metres from ``points [P, 3]`` to the nearest block or the table: ``[P]``, negative inside."""
        points = np.asarray(points, float)
        centers = np.array([block.center for block in self.blocks])
        halves = np.array([block.half_size for block in self.blocks])
        gap = np.abs(points[:, None] - centers) - halves
        distance = np.linalg.norm(np.maximum(gap, 0.0), axis=-1) + np.minimum(gap.max(axis=-1), 0.0)
        return np.minimum(distance.min(axis=1), points[:, 2])

    # ---- an episode ----------------------------------------------------------------------------

    def start(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """At rest: ``qpos`` and ``qvel`` ``[count, 7 + J]`` with the scene's J joints last."""
        first = np.array([*self.start_joints, *(joint.start for joint in self.scene_joints)])
        qpos = np.tile(first, (count, 1))
        if self.start_spread > 0.0:
            qpos[:, :ARM] += rng.uniform(-self.start_spread, self.start_spread, (count, ARM))
            qpos[:, :ARM] = np.clip(qpos[:, :ARM], panda.LOW, panda.HIGH)
        return qpos, np.zeros_like(qpos)

    def observe(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """``obs [N, 6 + J]``: the tip's position and velocity, then how far the scene's joints are."""
        frames = self._frames(qpos[:, :ARM])
        return np.concatenate([frames.tip, frames.velocity(qvel[:, :ARM]), qpos[:, ARM:]], axis=1, dtype=np.float32)

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Where the joints shall go: a step from where they are, not beyond their limits. ``[N, 7]`` rad."""
        return np.clip(qpos[:, :ARM] + action, panda.LOW, panda.HIGH)

    def robot_state(self, stamp: float, qpos: np.ndarray, qvel: np.ndarray) -> RobotState:
        """The base stands still; the joints of the scene are reported like the arm's own."""
        frames = self._frames(qpos[None, :ARM])
        return RobotState(
            stamp=stamp,
            position=np.array(self.base),
            orientation=np.array([1.0, 0.0, 0.0, 0.0]),
            linear_velocity=np.zeros(3),
            angular_velocity=np.zeros(3),
            joints={name: JointState(float(p), float(v)) for name, p, v in zip(self._joint_names, qpos, qvel)},
            end_effector_position=frames.tip[0],
            end_effector_velocity=frames.velocity(qvel[None, :ARM])[0],
        )

    def qpos_of(self, state: RobotState) -> np.ndarray:
        """The arm's joints, then the scene's: ``[7 + J]``."""
        return joint_positions(state, self._joint_names)

    def qvel_of(self, state: RobotState) -> np.ndarray:
        """As ``qpos_of``: ``[7 + J]``."""
        return joint_velocities(state, self._joint_names)

    @cached_property
    def _joint_names(self) -> tuple[str, ...]:
        return (*panda.JOINTS, *(joint.name for joint in self.scene_joints))

    def tip(self, qpos: np.ndarray) -> np.ndarray:
        """Where the tip is: ``[N, 3]`` m."""
        return self._frames(qpos[:, :ARM]).tip

    @cached_property
    def _frames(self) -> panda.Kinematics:
        return panda.Kinematics(self.base, self.tool)

    def success(self, qpos: np.ndarray) -> np.ndarray:
        return self.done(self.tip(qpos), qpos[:, ARM:])

    def reward(self, qpos: np.ndarray) -> np.ndarray:
        return self.success(qpos).astype(np.float32)


def _opening_field(joint: SceneJoint) -> ObservationField:
    half = joint.end / 2
    return ObservationField(joint.name, "joint.position", joint.unit, half, half, joint.name)


def _block_xml(index: int, block: Block) -> str:
    center, half = (" ".join(map(str, numbers)) for numbers in (block.center, block.half_size))
    return f'<geom name="wall{index}" class="wall" pos="{center}" size="{half}"/>'
