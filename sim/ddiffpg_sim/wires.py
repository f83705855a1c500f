"""What lies between one simulated robot and its controller: commands that come late, motors that lag, sensors that err.

``Signals`` says how much. Lengths of time are whole physics steps, as in the batched simulation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ddiffpg.observation import RobotState, position_of, rotation, velocity_of
from ddiffpg_core.spec import ObservationField

from .signals import Signals
from .task import Task

EPSILON = 1e-6  # of a physics step: times are sums of steps
SAME = 1e-12  # a target that is told again comes from where the joints are, and so with another rounding


def check(signals: Signals) -> None:
    """ValueError where one robot by itself cannot have such ``signals``."""
    for name, whose in (("rate_jitter", "the controller's own rate"), ("push", "for many episodes at once only")):
        if getattr(signals, name) > 0.0:
            raise ValueError(f"signals.{name} is {getattr(signals, name)}: a simulated robot has none, it is {whose}")


class CommandWire:
    """Motor inputs ``[nu]`` on their way: each arrives ``action_delay`` after it was put, and never before one that was
    put earlier. Motors then ``keep`` that part of what they did, a physics step after the other."""

    def __init__(self, signals: Signals, timestep: float, keep: float, rng: np.random.Generator) -> None:
        self._signals, self._timestep, self._keep, self._rng = signals, timestep, keep, rng
        self._under_way: deque[tuple[int, np.ndarray]] = deque()
        self._arrived: np.ndarray | None = None
        self._done: np.ndarray | None = None

    def put(self, inputs: np.ndarray, step: int, holding: np.ndarray) -> None:
        """``inputs`` are commanded at this physics ``step``; before the first ones arrive the motors do ``holding``."""
        if self._arrived is None:
            self._arrived = self._done = holding
        last = self._under_way[-1] if self._under_way else (step, self._arrived)
        if not np.allclose(inputs, last[1], rtol=0.0, atol=SAME):
            late = self._signals.action_delay + self._signals.action_jitter * self._rng.random()
            self._under_way.append((max(step + round(late / self._timestep), last[0]), inputs.copy()))

    def at(self, step: int) -> np.ndarray:
        """What the motors do in this physics step: ``[nu]``."""
        while self._under_way and self._under_way[0][0] <= step:
            self._arrived = self._under_way.popleft()[1]
        assert self._arrived is not None and self._done is not None
        self._done = self._arrived + self._keep * (self._done - self._arrived)
        return self._done


class Sensors:
    """Makes of true states, each seen once in its order, what is measured. Noise and bias are of what is observed:
    each field of the task's observation by its scale."""

    def __init__(self, signals: Signals, task: Task, rng: np.random.Generator) -> None:
        self._signals, self._task, self._rng = signals, task, rng
        self._scales = np.array([field.scale for field in task.spec.observation])
        self._bias = signals.bias * self._scales * rng.uniform(-1.0, 1.0, len(self._scales))
        self._past: deque[tuple[float, np.ndarray, np.ndarray]] = deque()

    def see(self, time: float, qpos: np.ndarray, qvel: np.ndarray, timestep: float) -> None:
        """The state ``qpos [nq]``, ``qvel [nv]`` after one more physics step."""
        self._past.append((time, qpos.copy(), qvel.copy()))
        then = time - round(self._signals.observation_delay / timestep) * timestep + EPSILON * timestep
        while len(self._past) > 1 and self._past[1][0] <= then:
            self._past.popleft()

    def measure(self, now: float) -> RobotState | None:
        """What is measured ``now`` (s), stamped so: the robot does not know of its delay. None where that is lost."""
        if self._signals.dropout > 0.0 and self._rng.random() < self._signals.dropout:
            return None
        _, qpos, qvel = self._past[0]
        state = self._task.robot_state(now, qpos, qvel)
        if self._signals.noise == 0.0 and self._signals.bias == 0.0:
            return state
        noise = self._signals.noise * self._scales * self._rng.standard_normal(len(self._scales))
        return _off_by(state, self._task.spec.observation, self._bias + noise)


def _off_by(state: RobotState, fields: Sequence[ObservationField], errors: np.ndarray) -> RobotState:
    """``state`` with ``errors [O]`` (physical units) added to what ``fields`` read of it."""
    joints = dict(state.joints)
    parts = {name: getattr(state, name).copy() for name in _PARTS}
    turning = np.zeros(3)
    for field, error in zip(fields, errors.tolist()):
        if field.joint is not None:
            name, joint = field.source.removeprefix("joint."), joints[field.joint]
            joints[field.joint] = replace(joint, **{name: getattr(joint, name) + error})
            continue
        body, what, axis = field.source.split(".")
        name = {"position": position_of(body), "linear_velocity": velocity_of(body)}.get(what, what)
        part = turning if what == "body_angular_velocity" else parts[name]
        part[("wxyz" if what == "orientation" else "xyz").index(axis)] += error
    parts["orientation"] /= np.linalg.norm(parts["orientation"])
    parts["angular_velocity"] += rotation(state.orientation) @ turning
    return replace(state, joints=joints, **parts)


_PARTS = ("position", "orientation", "linear_velocity", "angular_velocity", "end_effector_position",
          "end_effector_velocity")  # fmt: skip
