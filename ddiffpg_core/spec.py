"""What a task is, and what an environment must do: the words that everything else speaks.

numpy only. A task is described by a :class:`TaskSpec`; a batch of parallel episodes of it is a
:class:`VecEnv`; what one control step of that batch gives is a :class:`Step`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class ObservationField:
    """One number of the observation vector.

    ``source`` says where a robot reads it (see docs/policy-contract.md for the list, for example
    ``odom.position.x`` or ``joint.position``); ``joint`` names the joint where the source is one.
    ``offset`` and ``scale`` bring it to about -1..1: ``(value - offset) / scale``.
    """

    name: str
    source: str
    unit: str
    offset: float = 0.0
    scale: float = 1.0
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
class ActionSpec:
    """The action vector.

    ``kind`` is ``base_velocity``, ``joint_position``, ``joint_position_delta`` (steps from where the joints are
    measured to be) or ``joint_effort``. ``joint_limits`` has one entry for each joint of such steps.
    """

    kind: str
    fields: tuple[ActionField, ...]
    joint_limits: tuple[JointLimits, ...] = ()

    @property
    def low(self) -> np.ndarray:
        return np.array([f.low for f in self.fields], np.float32)

    @property
    def high(self) -> np.ndarray:
        return np.array([f.high for f in self.fields], np.float32)

    def to_physical(self, action: np.ndarray) -> np.ndarray:
        """From ±1 to physical units: ``action [..., A]`` -> ``[..., A]``."""
        return self.low + (action + 1.0) * 0.5 * (self.high - self.low)

    def to_normal(self, action: np.ndarray) -> np.ndarray:
        """From physical units to ±1: ``action [..., A]`` -> ``[..., A]``."""
        return (action - self.low) / (self.high - self.low) * 2.0 - 1.0


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The robot looks the same with its parts exchanged: then it is observed, and told the same to do, otherwise.

    ``observation [O, O]`` makes of an observation the one of the same robot with its parts exchanged, ``action [A, A]``
    of an action the same one (both orthogonal). What traces the path and tells the outcome stays.
    """

    observation: np.ndarray
    action: np.ndarray


@dataclass(frozen=True)
class TaskSpec:
    """Everything about a task that is not its physics.

    ``path`` names the observation fields that trace the way taken (metres); two ways are compared by
    them. ``path_tolerance`` is how far from a way (metres) one may be and still be on it; ways that are
    nowhere more than twice that apart are one way.
    ``max_steps`` is the time limit of an episode in control steps. ``outcome`` names observation fields of
    the scene: two ways are different, wherever the robot went, if after them another one of these is at an end of its
    range (in the outer eighth); of several the one that is farthest counts. ``symmetries`` are those of the robot.
    """

    name: str
    robot: str
    rate_hz: float
    max_steps: int
    observation: tuple[ObservationField, ...]
    action: ActionSpec
    path: tuple[str, ...]
    path_tolerance: float
    outcome: tuple[str, ...] = ()
    symmetries: tuple[Symmetry, ...] = field(default=(), compare=False)

    @property
    def obs_dim(self) -> int:
        return len(self.observation)

    @property
    def action_dim(self) -> int:
        return len(self.action.fields)

    @property
    def path_columns(self) -> list[int]:
        """Columns of the observation that trace the way."""
        names = [f.name for f in self.observation]
        return [names.index(p) for p in self.path]

    @property
    def outcome_columns(self) -> list[int]:
        """Columns of the observation that tell the outcome."""
        names = [f.name for f in self.observation]
        return [names.index(name) for name in self.outcome]

    def outcome_of(self, obs: np.ndarray) -> np.ndarray:
        """The outcome that ``obs [..., O]`` shows, comparable to paths ``[..., K]``.

        Each field is at its low end, between or at its high end: places (metres) twice as far apart as two ways are.
        """
        place = self.normalise(obs)[..., self.outcome_columns]
        far = np.abs(place)
        there = (far >= 0.75) & (far == far.max(-1, keepdims=True, initial=0.0))
        return 4.0 * self.path_tolerance * np.sign(place) * there

    def normalise(self, obs: np.ndarray) -> np.ndarray:
        """``obs [..., O]`` in physical units -> ``[..., O]`` in about ±1."""
        offset = np.array([f.offset for f in self.observation], np.float32)
        scale = np.array([f.scale for f in self.observation], np.float32)
        return (obs - offset) / scale


@dataclass(frozen=True)
class Step:
    """What one control step of N parallel episodes gave; arrays share no memory with the environment.

    ``obs [N, O]`` is what to act on next: where an episode ended it is the first observation of the
    next one. ``final_obs [N, O]`` is what the step itself led to, in every row. ``terminated`` ends
    the value of the future, ``truncated`` (the time limit) does not; ``success`` is that the goal was
    reached. They stay four separate things.
    """

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray
    final_obs: np.ndarray

    @property
    def done(self) -> np.ndarray:
        return self.terminated | self.truncated


class VecEnv(Protocol):
    """N parallel episodes of one task; each starts anew by itself when it ends."""

    @property
    def spec(self) -> TaskSpec: ...

    @property
    def num_envs(self) -> int: ...

    def reset(self, seed: int) -> np.ndarray:
        """Start all episodes anew; returns ``obs [N, O]``."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """``action [N, A]`` in physical units (clipped to the limits)."""
        ...

    def end(self, step: Step, which: np.ndarray) -> Step:
        """``step``, the last one, as if time had then been up for the episodes ``which [N]`` that still run."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here (arrays and plain values)."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Go on from ``state``; returns the current ``obs [N, O]``."""
        ...

    def measures(self) -> dict[str, float]:
        """What it says of itself, for the log of a training run."""
        ...

    def close(self) -> None: ...
