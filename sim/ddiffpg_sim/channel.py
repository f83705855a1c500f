"""What lies between N robots and their controllers: commands on their way, states seen late, noise, what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from .signals import Signals
from .task import Task

_NAMES = tuple(f.name for f in fields(Signals))
_SAVED = ("_table", "_ahead", "_past", "_spread", "_bias", "_shown")


class Channel:
    """Of the robots of ``task`` in the states ``qpos [N, nq]``, ``qvel [N, nv]``, which others step in place.

    ``of`` has every robot's signals by name, ``[N]`` each, ``most`` the largest of them: what no running episode has
    costs nothing. Delays are counted in physics steps.
    """

    def __init__(self, task: Task, qpos: np.ndarray, qvel: np.ndarray, inputs: int) -> None:
        self._task, self._qpos, self._qvel = task, qpos, qvel
        count = len(qpos)
        self._idle = np.tile(np.clip(0.0, task.spec.action.low, task.spec.action.high), (count, 1))
        self._scale = np.array([f.scale for f in task.spec.observation], np.float32)
        self._rows, self._rate = np.arange(count), task.spec.rate_hz * task.substeps  # Hz, of the physics
        self._table = np.zeros((count, len(_NAMES)))
        self.of = dict(zip(_NAMES, self._table.T))
        self._ticks = self._later = np.zeros(0)
        self._ahead = np.zeros((count, task.substeps, inputs))  # inputs of the physics steps to come
        self._past = np.zeros((count, 1, qpos.shape[1] + qvel.shape[1]))  # states, the newest last
        self._spread = np.zeros((count, task.spec.obs_dim), np.float32)  # of the noise
        self._bias = np.zeros((count, task.spec.obs_dim), np.float32)
        self._shown = np.zeros((count, task.spec.obs_dim), np.float32)  # the last observation that arrived
        self._prepare()

    def begin(self, rows: np.ndarray, signals: Sequence[Signals], rng: np.random.Generator) -> None:
        """New episodes in ``rows [n]`` (indices): before them the robots stood still and nothing was commanded."""
        unwatched = not self._latest
        self._table[rows] = [tuple(vars(s).values()) for s in signals]
        self._prepare()
        self._spread[rows] = self.of["noise"][rows, None] * self._scale
        if self.most["bias"]:
            most = self.of["bias"][rows, None] * self._scale
            self._bias[rows] = most * (2.0 * rng.random(most.shape) - 1.0)
        if self._longest:
            self._ahead[rows] = self._task.control(self._idle[rows], self._qpos[rows])[:, None]
        if self._latest:
            begun = slice(None) if unwatched else rows
            self._past[begun] = np.concatenate([self._qpos[begun], self._qvel[begun]], axis=1)[:, None]

    def send(self, action: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """Command ``action [N, A]``; returns what reaches the motors in this period, ``[N, substeps or 1, nu]``.

        ``chance [N]`` (0 to 1) is where in its jitter each command is. Of commands that overtake one another the
        newest that has arrived counts.
        """
        control, period = self._task.control(action, self._measured()[0])[:, None], self._task.substeps
        if not self._longest:
            return control
        arrived = self._ticks >= (self._delay + self._jitter * chance)[:, None]
        ahead = np.where(arrived[:, :, None], control, self._ahead)
        self._ahead = ahead.take(self._later, axis=1)
        return ahead[:, :period]

    def watch(self, states: np.ndarray) -> None:
        """``states [N, substeps, nq + nv]`` that the robots went through since."""
        if self._latest:
            self._past = np.concatenate([self._past, states], axis=1)[:, -self._past.shape[1] :]

    def observe(self, rng: np.random.Generator) -> np.ndarray:
        """What the controllers see now: ``obs [N, O]``."""
        obs = self._distort(self._task.observe(*self._measured()), slice(None), rng)
        if self.most["dropout"]:
            lost = rng.random(len(obs)) < self.of["dropout"]
            obs[lost] = self._shown[lost]
        self._shown = obs
        return obs.copy()

    def first(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The first observations ``[n, O]`` of the episodes that began in ``rows [n]``: they all arrive."""
        obs = self._task.observe(self._qpos[rows], self._qvel[rows])
        self._shown[rows] = obs = self._distort(obs, rows, rng)
        return obs

    @property
    def shown(self) -> np.ndarray:
        """What the controllers saw last: ``[N, O]``."""
        return self._shown.copy()

    def state_dict(self) -> dict[str, Any]:
        return {"signals": _NAMES, **{name.strip("_"): getattr(self, name).copy() for name in _SAVED}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError where it was saved by a version that knew other signals."""
        if tuple(state["signals"]) != _NAMES:
            raise ValueError(f"saved signals are {', '.join(state['signals'])}, expected {', '.join(_NAMES)}")
        for name in _SAVED:
            setattr(self, name, np.array(state[name.strip("_")]))
        self.of = dict(zip(_NAMES, self._table.T))
        self._prepare()

    def _prepare(self) -> None:
        """What holds for all episodes that run now; buffers grow to the longest delay there is."""
        self.most = dict(zip(_NAMES, self._table.max(axis=0).tolist()))
        self._longest = round((self.most["action_delay"] + self.most["action_jitter"]) * self._rate)
        self._latest = round(self.most["observation_delay"] * self._rate)
        if self._latest:
            self._late = self._rows, -1 - np.rint(self.of["observation_delay"] * self._rate).astype(int)
        more = self._task.substeps + self._longest - self._ahead.shape[1]
        if more > 0:
            self._ahead = np.concatenate([self._ahead, np.repeat(self._ahead[:, -1:], more, axis=1)], axis=1)
        self._delay, self._jitter = self.of["action_delay"] * self._rate, self.of["action_jitter"] * self._rate
        count = self._ahead.shape[1]
        if count != len(self._ticks):
            # A delay is rounded to whole physics steps: it has passed at the step that is less than half before it.
            self._ticks = np.arange(count) + 0.5
            self._later: np.ndarray = np.minimum(np.arange(count) + self._task.substeps, count - 1)
        more = 1 + self._latest - self._past.shape[1]
        if more > 0:
            self._past = np.concatenate([np.repeat(self._past[:, :1], more, axis=1), self._past], axis=1)

    def _measured(self) -> tuple[np.ndarray, np.ndarray]:
        """The states that the controllers know of: ``[N, nq]``, ``[N, nv]``."""
        if not self._latest:
            return self._qpos, self._qvel
        seen, size = self._past[self._late], self._qpos.shape[1]
        return seen[:, :size], seen[:, size:]

    def _distort(self, obs: np.ndarray, rows: np.ndarray | slice, rng: np.random.Generator) -> np.ndarray:
        """``obs [n, O]`` of ``rows`` as the sensors give it."""
        if self.most["noise"]:
            noise = rng.standard_normal(obs.shape, np.float32)
            noise *= self._spread[rows]
            noise += self._bias[rows]
            return obs + noise
        return obs + self._bias[rows] if self.most["bias"] else obs
