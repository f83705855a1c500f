"""Short pieces of a recorded motion, simulated again from where each began, for several robots at once.

How far the simulation then is from what was measured says how far such a robot is from the recorded one (multiple
shooting).
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import mujoco.rollout
import numpy as np

from .dynamics import Dynamics, Robot
from .task import Task

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS


@dataclass(frozen=True, eq=False)
class Motion:
    """What was measured and commanded. ``times [T]`` (s, rising) of ``qpos [T, nq]`` and ``qvel [T, nv]``; from
    ``command_times [K]`` (s, rising) on the motors were told ``inputs [K, nu]``. ``whole [T - 1]``: does the motion go
    on from one reading to the next, with commands known?"""

    times: np.ndarray
    qpos: np.ndarray
    qvel: np.ndarray
    command_times: np.ndarray
    inputs: np.ndarray
    whole: np.ndarray

    @property
    def period(self) -> float:
        """Seconds from one reading to the next, as a rule."""
        return float(np.median(np.diff(self.times)))


@dataclass(frozen=True)
class Candidate:
    """A robot that may be the recorded one; ``delay`` (s) is from a command to when its motors do it."""

    dynamics: Dynamics
    delay: float


class Shooting:
    """Pieces of ``motion`` of ``count`` readings each, one after the other, as far as it is whole.

    ``starts [S]`` are the readings that they begin with. Commands up to ``most_delay`` s before are known. ``every`` so
    many of these pieces are taken, which may be changed at any time.
    """

    def __init__(self, task: Task, motion: Motion, count: int, most_delay: float, threads: int = 1) -> None:
        self.motion, self.count, self.every = motion, count, 1
        self._starts = _starts(motion, count, most_delay)
        self._nominal = mujoco.MjModel.from_xml_string(task.model_xml())
        self._robot = Robot(self._nominal)
        self._models: list[mujoco.MjModel] = []
        self._data = [mujoco.MjData(self._nominal) for _ in range(threads)]
        self._rollout = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._told = _Told(motion)

    @property
    def starts(self) -> np.ndarray:
        return self._starts[:: self.every]

    @property
    def readings(self) -> np.ndarray:
        """Which readings each piece is compared with: ``[S, count]``."""
        return self.starts[:, None] + 1 + np.arange(self.count)

    @property
    def channels(self) -> int:
        """Numbers that are compared with each reading: nv of positions, then nv of velocities."""
        return 2 * self._nominal.nv

    @property
    def absent(self) -> tuple[str, ...]:
        """Factors of dynamics that change nothing in this model, whatever moves."""
        model, dofs = self._nominal, self._robot.dofs
        there = {
            "friction": (model.geom_condim > 1).any(),
            "damping": model.dof_damping[dofs].any(),
            "armature": model.dof_armature[dofs].any(),
        }
        return tuple(name for name, found in there.items() if not found)

    def typical_effort(self) -> float:
        """N or N m that it takes to change the robot's velocities as they were seen to change, by the model."""
        change = self.motion.qvel[self.starts + 1] - self.motion.qvel[self.starts]
        acceleration = np.sqrt((change**2).mean(axis=0)) / self.motion.period
        return float((self._nominal.dof_M0 * acceleration)[self._robot.joint_dofs].mean())

    def simulate(self, candidates: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        """At the times of the readings: ``qpos [C, S, count, nq]`` and ``qvel [C, S, count, nv]``."""
        model, shape = self._nominal, (len(candidates), len(self.starts))
        elapsed = self.motion.times[self.readings] - self.motion.times[self.starts][:, None]
        steps = math.ceil(float(elapsed.max()) / model.opt.timestep - 1e-6)
        first = np.concatenate(
            [np.zeros((shape[1], 1)), self.motion.qpos[self.starts], self.motion.qvel[self.starts]], axis=1
        )
        first = np.pad(first, ((0, 0), (0, mujoco.mj_stateSize(model, _STATE) - first.shape[1])))
        ends = self.motion.times[self.starts][:, None] + model.opt.timestep * np.arange(steps + 1)
        control = np.stack([self._told.over(ends - c.delay) for c in candidates])
        state, _ = self._rollout.rollout(
            [m for m in self._models_of(candidates) for _ in range(shape[1])],
            self._data,
            np.tile(first, (shape[0], 1)),
            control.reshape(-1, steps, model.nu),
        )
        whole = np.concatenate([np.tile(first, (shape[0], 1))[:, None], state], axis=1).reshape(*shape, steps + 1, -1)
        found = _at(whole, elapsed / model.opt.timestep)[..., 1 : 1 + model.nq + model.nv]
        return found[..., : model.nq], found[..., model.nq :]

    def errors(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Simulated less measured, ``[C, S, count, 2 nv]``: positions in the units of velocities times seconds."""
        qpos, qvel = self.simulate(candidates)
        return self._differences(self.motion.qpos[self.readings], self.motion.qvel[self.readings], qpos, qvel)

    def changes(self) -> np.ndarray:
        """How far each reading is from the one that its piece begins with: ``[S, count, 2 nv]``."""
        m, now = self.motion, self.readings
        then = np.repeat(self.starts[:, None], self.count, axis=1)
        return self._differences(m.qpos[then], m.qvel[then], m.qpos[now], m.qvel[now])

    def _differences(self, qpos: np.ndarray, qvel: np.ndarray, to_qpos: np.ndarray, to_qvel: np.ndarray) -> np.ndarray:
        positions = position_differences(self._nominal, np.broadcast_to(qpos, to_qpos.shape), to_qpos)
        return np.concatenate([positions, to_qvel - qvel], axis=-1)

    def _models_of(self, candidates: Sequence[Candidate]) -> list[mujoco.MjModel]:
        """One model each; those of the same dynamics share it."""
        kinds = list(dict.fromkeys(c.dynamics for c in candidates))
        while len(self._models) < len(kinds):
            self._models.append(copy.deepcopy(self._nominal))
        for kind, model in zip(kinds, self._models):
            self._robot.write(kind, model)
        return [self._models[kinds.index(c.dynamics)] for c in candidates]

    def close(self) -> None:
        """End the threads."""
        self._rollout.close()


def position_differences(model: mujoco.MjModel, qpos: np.ndarray, to: np.ndarray) -> np.ndarray:
    """``[..., nq]`` twice -> ``[..., nv]``: what velocity leads from one to the other in a second, nearly."""
    out = np.empty((*qpos.shape[:-1], model.nv))
    for kind, q, v in zip(model.jnt_type.tolist(), model.jnt_qposadr.tolist(), model.jnt_dofadr.tolist()):
        if kind in (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE):
            out[..., v] = to[..., q] - qpos[..., q]
        elif kind == mujoco.mjtJoint.mjJNT_FREE:
            out[..., v : v + 3] = to[..., q : q + 3] - qpos[..., q : q + 3]
            out[..., v + 3 : v + 6] = _turn(qpos[..., q + 3 : q + 7], to[..., q + 3 : q + 7])
        else:
            raise ValueError(f"a joint of kind {kind} cannot be compared: expected slide, hinge or free")
    return out


def _turn(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """From a unit quaternion to another in the body's frame: ``[..., 4]`` twice -> ``[..., 3]`` rad, if small."""
    w, v = one[..., :1], one[..., 1:]
    w2, v2 = other[..., :1], other[..., 1:]
    sign = np.where((w * w2 + (v * v2).sum(axis=-1, keepdims=True)) < 0.0, -1.0, 1.0)
    return 2.0 * sign * (w * v2 - w2 * v - np.cross(v, v2))


def _starts(motion: Motion, count: int, most_delay: float) -> np.ndarray:
    """Readings from which on ``count`` more follow without a break, and whose commands under way are known."""
    known = motion.times >= motion.command_times[0] + most_delay
    found, at = [], int(np.argmax(known)) if known.any() else len(motion.times)
    while at + count < len(motion.times):
        broken = np.flatnonzero(~motion.whole[at : at + count])
        if len(broken):
            at = int(np.searchsorted(motion.times, motion.times[at + broken[-1] + 1] + most_delay))
        else:
            found.append(at)
            at += count
    return np.array(found, int)


class _Told:
    """What the motors are told over a span of time: the mean of what was commanded in it, so that it changes smoothly
    with the delay."""

    def __init__(self, motion: Motion) -> None:
        lasting = np.append(np.diff(motion.command_times), 1.0)
        self._knots = np.append(motion.command_times, motion.command_times[-1] + 1.0)
        self._sums = np.concatenate([np.zeros((1, motion.inputs.shape[1])), np.cumsum(motion.inputs * lasting[:, None],
                                                                                      axis=0)])  # fmt: skip

    def over(self, ends: np.ndarray) -> np.ndarray:
        """``ends [S, n + 1]`` (s, within what was commanded) -> ``[S, n, nu]``."""
        sums = np.stack([np.interp(ends, self._knots, column) for column in self._sums.T], axis=-1)
        return np.diff(sums, axis=1) / np.diff(ends, axis=1)[..., None]


def _at(states: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """``states [C, S, n, X]`` of each step at ``steps [S, M]``, which may lie between two: ``[C, S, M, X]``."""
    before = np.minimum(np.floor(steps + 1e-6).astype(int), states.shape[2] - 2)
    share = (steps - before)[..., None]
    rows = np.arange(states.shape[1])[:, None]
    return states[:, rows, before] * (1.0 - share) + states[:, rows, before + 1] * share
