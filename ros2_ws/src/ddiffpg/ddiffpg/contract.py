"""The contract: all that a policy file says about itself, as JSON in its ONNX metadata.

It is the one truth for the interface between training and robot. Nobody restates any of it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from ddiffpg.contract_json import ContractError, build

VERSION = 2
METADATA_KEY = "ddiffpg.contract"
CHECKSUM_KEY = "ddiffpg.sha256"

# What only files of version 2 have: motion of an end effector, steps of joint positions, and their limits.
_NEW_SOURCES = (
    *(f"end_effector.position.{axis}" for axis in "xyz"),
    *(f"end_effector.linear_velocity.{axis}" for axis in "xyz"),
)
_NEW_KINDS = ("joint_position_delta",)
ACTION_KINDS = ("base_velocity", "joint_position", "joint_effort", *_NEW_KINDS)
OBSERVATION_SOURCES = (
    *(f"odom.position.{axis}" for axis in "xyz"),
    *(f"odom.orientation.{axis}" for axis in "wxyz"),
    *(f"odom.linear_velocity.{axis}" for axis in "xyz"),
    *(f"odom.angular_velocity.{axis}" for axis in "xyz"),
    *(f"odom.body_angular_velocity.{axis}" for axis in "xyz"),
    "joint.position",
    "joint.velocity",
    *_NEW_SOURCES,
)


@dataclass(frozen=True)
class ObservationField:
    """One number of the observation vector: name, where it is read, unit, joint where it is one's.

    Velocities are in the fixed (odometry) frame where the source does not say ``body``; orientation is a unit
    quaternion.
    """

    name: str
    source: str
    unit: str
    joint: str | None = None


@dataclass(frozen=True)
class ActionField:
    """One number of the action vector, with its limits in ``unit``."""

    name: str
    unit: str
    low: float
    high: float
    joint: str | None = None


@dataclass(frozen=True)
class JointLimits:
    """Where a joint may be told to go: positions from ``low`` to ``high``, in the unit of its action field."""

    joint: str
    low: float
    high: float


@dataclass(frozen=True)
class Mode:
    """One way to do the task.

    ``id`` is never reused, ``lineage`` names the modes it came from. ``path`` is its prototype, P
    points in metres; ``clearance`` the free distance around each (metres, from the robot's centre to
    the nearest thing of the training world), empty where it is not known. ``outcome`` is what it
    does to the scene, in the units of training, empty where only ways count. ``success``, ``adherence``
    and ``returns`` are shares over evaluation episodes; ``mean_steps`` is the time to the goal in
    control steps.
    """

    id: int
    lineage: tuple[int, ...]
    success: float
    adherence: float
    returns: float
    mean_steps: float
    path: tuple[tuple[float, ...], ...]
    clearance: tuple[float, ...] = ()
    outcome: tuple[float, ...] = ()


@dataclass(frozen=True)
class Training:
    """Where the policy came from."""

    commit: str
    seed: int
    transitions: int
    config: dict[str, Any]


@dataclass(frozen=True)
class KnownStates:
    """Observations that the policy has to do with, so that others can be told from them.

    ``centers`` are K of them, of O numbers each in physical units, spread over all; differences of ``scale`` (O
    numbers, in the fields' units) count as one. ``usual`` is how far from its nearest center, so counted, a state
    on the way to the goal is at most in all but one of 1000 cases.
    """

    scale: tuple[float, ...]
    centers: tuple[tuple[float, ...], ...]
    usual: float


@dataclass(frozen=True)
class Margins:
    """In which range the policy was seen to hold in simulation: every mode's success was at least ``success`` there.

    One thing was varied at a time. ``delay`` (s): from a state to what the command for it does, at most. ``rate_low``
    to ``rate_high`` (Hz): how often commands come. ``noise``: the standard deviation of each observation field, in its
    unit, at most.
    """

    success: float
    delay: float
    rate_low: float
    rate_high: float
    noise: tuple[float, ...]


@dataclass(frozen=True)
class Contract:
    """Everything a controller must know of a policy. ``noise_dim`` is the length of its noise input.

    ``joint_limits`` has one entry for each joint of a ``joint_position_delta`` action, none for other kinds.
    ``known_states`` and ``margins`` are None where nobody has recorded them. Of so many ``candidates`` the graph gives
    the action that the asked mode's critic holds for the best, the first where none is asked for; its noise input is
    that of one after that of another. ``randomisation`` says what varied from
    episode to episode in training, in which range and unit, and the seed that drew it; empty: nothing did.
    """

    version: int
    task: str
    robot: str
    rate_hz: float
    max_steps: int
    observation: tuple[ObservationField, ...]
    action_kind: str
    action: tuple[ActionField, ...]
    path: tuple[str, ...]
    path_tolerance: float
    robot_radius: float
    noise_dim: int
    denoising_steps: int
    modes: tuple[Mode, ...]
    training: Training
    joint_limits: tuple[JointLimits, ...] = ()
    known_states: KnownStates | None = None
    randomisation: dict[str, Any] = dataclasses.field(default_factory=dict)
    margins: Margins | None = None
    candidates: int = 1

    @property
    def mode_ids(self) -> tuple[int, ...]:
        return tuple(m.id for m in self.modes)

    def mode(self, mode_id: int) -> Mode:
        """The mode with this id; KeyError naming the known ids where there is none."""
        for mode in self.modes:
            if mode.id == mode_id:
                return mode
        raise KeyError(f"mode {mode_id} is not in the policy; it has {list(self.mode_ids)}")

    def to_json(self) -> str:
        """JSON at full precision; refuses what is not finite."""
        plain = dataclasses.asdict(self)
        for name in ("known_states", "margins", "randomisation"):
            if not plain[name]:  # a reader that does not know the field then reads the file
                del plain[name]
        if self.candidates == 1:
            del plain["candidates"]
        return json.dumps(plain, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Parse and check. Raises ContractError naming the first field that is wrong."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError("(whole)", text[:60], f"JSON ({error})") from error
        if not isinstance(raw, dict):
            raise ContractError("(whole)", raw, "a JSON object")
        if type(raw.get("version")) is not int or not 1 <= raw["version"] <= VERSION:
            raise ContractError("version", raw.get("version"), f"a whole number from 1 to {VERSION}")
        contract = build(cls, raw, "")
        _check(contract)
        return contract


def _check(contract: Contract) -> None:
    """What types alone do not say."""
    _check_version(contract)
    _check_interface(contract)
    if contract.known_states is not None:
        _check_known_states(contract.known_states, len(contract.observation))
    if contract.margins is not None:
        _check_margins(contract.margins, len(contract.observation))
    for i, mode in enumerate(contract.modes):
        _check_mode(mode, f"modes[{i}]", len(contract.path))
    ids = contract.mode_ids
    if not ids or len(set(ids)) != len(ids) or min(ids) < 0:
        raise ContractError("modes", ids, "at least one mode, each id unique and not negative")


def _check_version(contract: Contract) -> None:
    """A file says no more than its version has words for."""
    if contract.version >= 2:
        return
    for i, field in enumerate(contract.observation):
        if field.source in _NEW_SOURCES:
            raise ContractError(f"observation[{i}].source", field.source, "version 2 of the contract for this source")
    if contract.action_kind in _NEW_KINDS:
        raise ContractError("action_kind", contract.action_kind, "version 2 of the contract for this kind")
    if contract.joint_limits:
        raise ContractError("joint_limits", contract.joint_limits, "version 2 of the contract for this field")


def _check_interface(contract: Contract) -> None:
    for name in ("rate_hz", "max_steps", "robot_radius", "path_tolerance", "denoising_steps"):
        if getattr(contract, name) <= 0:
            raise ContractError(name, getattr(contract, name), "more than 0")
    if contract.noise_dim < 0:
        raise ContractError("noise_dim", contract.noise_dim, "0 or more")
    if contract.candidates < 1 or contract.noise_dim % contract.candidates:
        expected = f"1 or more, a divisor of noise_dim ({contract.noise_dim})"
        raise ContractError("candidates", contract.candidates, expected)
    _check_observation(contract)
    _check_action(contract)


def _check_observation(contract: Contract) -> None:
    for i, field in enumerate(contract.observation):
        if field.source not in OBSERVATION_SOURCES:
            raise ContractError(f"observation[{i}].source", field.source, f"one of {OBSERVATION_SOURCES}")
        if field.source.startswith("joint.") != (field.joint is not None):
            raise ContractError(f"observation[{i}].joint", field.joint, "a joint's name for joint sources only")
    names = [f.name for f in contract.observation]
    _check_names("observation", names)
    _check_names("path", list(contract.path))
    for name in contract.path:
        if name not in names:
            raise ContractError("path", name, f"an observation field of {names}")


def _check_action(contract: Contract) -> None:
    if contract.action_kind not in ACTION_KINDS:
        raise ContractError("action_kind", contract.action_kind, f"one of {ACTION_KINDS}")
    for i, field in enumerate(contract.action):
        if field.low >= field.high:
            raise ContractError(f"action[{i}].low", field.low, f"less than high ({field.high})")
        if contract.action_kind.startswith("joint_") != (field.joint is not None):
            raise ContractError(f"action[{i}].joint", field.joint, "a joint's name for joint actions only")
    _check_names("action", [f.name for f in contract.action])
    _check_joint_limits(contract)


def _check_joint_limits(contract: Contract) -> None:
    for i, limits in enumerate(contract.joint_limits):
        if limits.low >= limits.high:
            raise ContractError(f"joint_limits[{i}].low", limits.low, f"less than high ({limits.high})")
    joints = [f.joint for f in contract.action if f.joint is not None]
    if len(set(joints)) != len(joints):
        raise ContractError("action", joints, "each joint once")
    known, needed = [limits.joint for limits in contract.joint_limits], joints
    if contract.action_kind != "joint_position_delta":
        needed = []
    if sorted(known) != sorted(needed):
        raise ContractError("joint_limits", known, f"one entry for each of the joints {needed}")


def _check_known_states(known: KnownStates, size: int) -> None:
    if len(known.scale) != size or min(known.scale) <= 0:
        raise ContractError("known_states.scale", known.scale, f"{size} numbers of more than 0")
    if not known.centers or any(len(center) != size for center in known.centers):
        raise ContractError("known_states.centers", len(known.centers), f"at least one, each of {size} numbers")
    if known.usual <= 0:
        raise ContractError("known_states.usual", known.usual, "more than 0")


def _check_margins(margins: Margins, size: int) -> None:
    if not 0.0 < margins.success <= 1.0:
        raise ContractError("margins.success", margins.success, "a share of more than 0, at most 1")
    if margins.delay < 0:
        raise ContractError("margins.delay", margins.delay, "0 or more")
    if margins.rate_low <= 0:
        raise ContractError("margins.rate_low", margins.rate_low, "more than 0")
    if margins.rate_high < margins.rate_low:
        raise ContractError("margins.rate_high", margins.rate_high, f"rate_low ({margins.rate_low}) or more")
    if len(margins.noise) != size or min(margins.noise) < 0:
        raise ContractError("margins.noise", margins.noise, f"{size} numbers of 0 or more")


def _check_names(field: str, names: list[str]) -> None:
    if not names or len(set(names)) != len(names):
        raise ContractError(field, names, "at least one name, each once")


def _check_mode(mode: Mode, where: str, dim: int) -> None:
    if len(mode.path) < 2 or any(len(point) != dim for point in mode.path):
        raise ContractError(f"{where}.path", mode.path, f"at least two points of {dim} numbers")
    if mode.clearance and len(mode.clearance) != len(mode.path):
        raise ContractError(f"{where}.clearance", len(mode.clearance), f"none or {len(mode.path)} numbers")
    if min(mode.clearance, default=0.0) < 0:
        raise ContractError(f"{where}.clearance", min(mode.clearance), "distances of 0 or more")
    if mode.mean_steps < 0:
        raise ContractError(f"{where}.mean_steps", mode.mean_steps, "0 or more")
    for name in ("success", "adherence", "returns"):
        if not 0.0 <= getattr(mode, name) <= 1.0:
            raise ContractError(f"{where}.{name}", getattr(mode, name), "a share from 0 to 1")
