"""From what the robot measures to the policy's observation vector, in the order that the contract gives.

What is missing is NaN, never zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ddiffpg.contract import Contract, ContractError

UNIT_TOLERANCE = 0.01  # how far a quaternion's length may be from 1


class Field(Protocol):
    """One number of an observation, as a contract or a task describes it."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def joint(self) -> str | None: ...


class Observed(Protocol):
    """What says which numbers an observation has: a contract, or a task's description."""

    @property
    def observation(self) -> Sequence[Field]: ...


def _missing(count: int) -> np.ndarray:
    return np.full(count, math.nan)


def rotation(orientation: np.ndarray) -> np.ndarray:
    """Unit quaternion ``[4]`` (w, x, y, z) -> matrix ``[3, 3]`` from the body to the odometry frame.

    NaN throughout where the quaternion is not of unit length.
    """
    if not abs(float(np.linalg.norm(orientation)) - 1.0) <= UNIT_TOLERANCE:
        return np.full((3, 3), np.nan)
    w, x, y, z = orientation / np.linalg.norm(orientation)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@dataclass(frozen=True)
class JointState:
    """One joint: ``position`` (rad or m) and ``velocity`` (rad/s or m/s); NaN where not measured."""

    position: float = math.nan
    velocity: float = math.nan


_LENGTHS = {
    "position": 3,
    "orientation": 4,
    "linear_velocity": 3,
    "angular_velocity": 3,
    "end_effector_position": 3,
    "end_effector_velocity": 3,
}


@dataclass(frozen=True, eq=False)
class RobotState:
    """What is known of the robot at ``stamp`` (s, the clock of ``Controller.tick``).

    ``position`` [3] in m, ``orientation`` [4] a unit quaternion w, x, y, z, ``linear_velocity`` [3] in
    m/s, ``angular_velocity`` [3] in rad/s, all in the fixed odometry frame (velocities too: a message
    that gives them in the body's frame is turned first). An arm's ``end_effector_position`` [3] in m and
    ``end_effector_velocity`` [3] in m/s are in that frame as well. What is missing is NaN. Any sequence
    of the right length is taken and copied; a wrong length raises ValueError naming it.
    """

    stamp: float
    position: np.ndarray = field(default_factory=lambda: _missing(3))
    orientation: np.ndarray = field(default_factory=lambda: _missing(4))
    linear_velocity: np.ndarray = field(default_factory=lambda: _missing(3))
    angular_velocity: np.ndarray = field(default_factory=lambda: _missing(3))
    joints: Mapping[str, JointState] = field(default_factory=dict)
    end_effector_position: np.ndarray = field(default_factory=lambda: _missing(3))
    end_effector_velocity: np.ndarray = field(default_factory=lambda: _missing(3))

    def __post_init__(self) -> None:
        for name, count in _LENGTHS.items():
            value = np.array(getattr(self, name), float)
            if value.shape != (count,):
                raise ValueError(f"RobotState.{name} has shape {value.shape}: expected ({count},)")
            object.__setattr__(self, name, value)

    @property
    def body_angular_velocity(self) -> np.ndarray:
        """``angular_velocity [3]`` (rad/s) in the body's frame, as a gyroscope measures it."""
        return rotation(self.orientation).T @ self.angular_velocity


def joint_positions(state: RobotState, names: Sequence[str]) -> np.ndarray:
    """Positions ``[len(names)]`` of these joints, NaN where not known."""
    joints = (state.joints.get(name) for name in names)
    return np.array([math.nan if joint is None else joint.position for joint in joints])


def joint_velocities(state: RobotState, names: Sequence[str]) -> np.ndarray:
    """As ``joint_positions``, for velocities."""
    joints = (state.joints.get(name) for name in names)
    return np.array([math.nan if joint is None else joint.velocity for joint in joints])


def observe(contract: Observed, state: RobotState) -> np.ndarray:
    """The observation ``[O]`` (float32, physical units) in the contract's order; NaN where missing.

    A joint is found by its name, so the order of ``state.joints`` does not matter.
    """
    values = [_read(field, state) for field in contract.observation]
    with np.errstate(over="ignore"):  # what is too large for float32 becomes inf, and is refused as such
        return np.array(values, np.float32)


def missing_fields(contract: Observed, observation: np.ndarray) -> tuple[str, ...]:
    """Names of the fields of ``observation [O]`` that are NaN or infinite, with their sources."""
    bad = np.flatnonzero(~np.isfinite(observation))
    return tuple(_describe(contract.observation[int(i)]) for i in bad)


def _describe(field: Field) -> str:
    joint = f" of joint '{field.joint}'" if field.joint is not None else ""
    return f"{field.name} ({field.source}{joint})"


def _read(field: Field, state: RobotState) -> float:
    if field.joint is not None:
        joint = state.joints.get(field.joint)
        return math.nan if joint is None else getattr(joint, field.source.removeprefix("joint."))
    attribute, index = _place(field.source)
    return getattr(state, attribute)[index]


@functools.lru_cache(maxsize=64)
def _place(source: str) -> tuple[str, int]:
    """``odom.linear_velocity.y`` -> ("linear_velocity", 1)."""
    body, attribute, axis = source.split(".")
    index = ("wxyz" if attribute == "orientation" else "xyz").index(axis)
    return {"position": position_of(body), "linear_velocity": velocity_of(body)}.get(attribute, attribute), index


def position_of(body: str) -> str:
    """The attribute of a state that holds a body's position: of ``odom`` (the base) or ``end_effector``."""
    return "position" if body == "odom" else "end_effector_position"


def velocity_of(body: str) -> str:
    """As ``position_of``, for the linear velocity."""
    return "linear_velocity" if body == "odom" else "end_effector_velocity"


def path_body(contract: Contract) -> str:
    """What moves along the ways: ``odom`` or ``end_effector``.

    ContractError where the contract's path is not traced by x, y and, for ways in space, z of one body.
    """
    sources = {field.name: field.source for field in contract.observation}
    traced = [sources[name] for name in contract.path]
    for body in ("odom", "end_effector"):
        if len(traced) in (2, 3) and traced == [f"{body}.position.{axis}" for axis in "xyz"[: len(traced)]]:
            return body
    expected = "fields with the sources position.x, position.y and perhaps position.z of odom or of end_effector"
    raise ContractError("path", traced, expected)
