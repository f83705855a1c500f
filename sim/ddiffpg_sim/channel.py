"""What lies between N robots and their controllers: commands on their way, motors that lag, states seen late, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from .signals import Deviation, Signals
from .task import Task

_NAMES = tuple(f.name for f in fields(Signals))
_SAVED = ("_ahead", "_keep", "_doing", "_past", "_bias", "_shown")


class Channel:
    """Of the robots of ``task`` in the states ``qpos [N, nq]``, ``qvel [N, nv]``, which others step in place.

    Delays are counted in physics steps. What of it no running episode has costs nothing.
    """

    def __init__(self, task: Task, qpos: np.ndarray, qvel: np.ndarray, inputs: int) -> None:
        self._task, self._qpos, self._qvel = task, qpos, qvel
        self._step = 1.0 / (task.spec.rate_hz * task.substeps)
        self._idle = np.clip(0.0, task.spec.action.low, task.spec.action.high)
        self._scale = np.array([f.scale for f in task.spec.observation], np.float32)
        count = len(qpos)
        self.of = {name: np.zeros(count) for name in _NAMES}
        self._ahead = np.zeros((count, task.substeps, inputs))  # inputs of the physics steps to come
        self._keep = np.zeros(count)  # which part of what a motor does stays over a physics step
        self._doing = np.zeros((count, inputs))
        self._past = np.zeros((count, 1, qpos.shape[1] + qvel.shape[1]))  # states, the newest last
        self._bias = np.zeros((count, task.spec.obs_dim), np.float32)
        self._shown = np.zeros((count, task.spec.obs_dim), np.float32)  # the last observation that arrived
        self._prepare()

    def begin(self, rows: np.ndarray, deviations: Sequence[Deviation], rng: np.random.Generator) -> None:
        """New episodes in the ``rows [N]`` (bool): before them the robots stood still and nothing was commanded."""
        signals = [deviation.signals for deviation in deviations]
        values = np.array([tuple(vars(s).values()) for s in signals])
        self._keep[rows] = [deviation.simulator.keep(self._step) for deviation in deviations]
        for name, column in zip(_NAMES, values.T):
            self.of[name][rows] = column
        self._prepare()
        most = self.of["bias"][rows, None] * self._scale
        self._bias[rows] = most * rng.uniform(-1.0, 1.0, most.shape)
        idle = np.tile(self._idle, (len(signals), 1))
        self._doing[rows] = self._task.control(idle, self._qpos[rows])
        self._ahead[rows] = self._doing[rows][:, None]
        self._past[rows] = np.concatenate([self._qpos[rows], self._qvel[rows]], axis=1)[:, None]

    def send(self, action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Command ``action [N, A]``; returns what reaches the motors in this period, ``[N, substeps or 1, nu]``.

        Of commands that overtake one another the newest that has arrived counts.
        """
        control = self._task.control(action, self._measured()[0])
        if not self._delayed:
            return self._follow(control[:, None])
        late = self.of["action_delay"] + self.of["action_jitter"] * rng.random(len(control))
        arrived = np.arange(self._ahead.shape[1]) >= self._steps(late)[:, None]
        ahead = np.where(arrived[..., None], control[:, None], self._ahead)
        period = self._task.substeps
        self._ahead = np.concatenate([ahead[:, period:], np.repeat(ahead[:, -1:], period, axis=1)], axis=1)
        return self._follow(ahead[:, :period])

    def _follow(self, inputs: np.ndarray) -> np.ndarray:
        """What motors do that are given ``inputs [N, substeps or 1, nu]``, step after step."""
        if not self._lagging:
            return inputs
        done = np.empty((len(inputs), self._task.substeps, inputs.shape[2]))
        for step in range(self._task.substeps):
            wanted = inputs[:, min(step, inputs.shape[1] - 1)]
            self._doing = wanted + self._keep[:, None] * (self._doing - wanted)
            done[:, step] = self._doing
        return done

    def watch(self, states: np.ndarray) -> None:
        """``states [N, substeps, nq + nv]`` that the robots went through since."""
        if self._late.any():
            self._past = np.concatenate([self._past, states], axis=1)[:, -self._past.shape[1] :]

    def observe(self, rng: np.random.Generator) -> np.ndarray:
        """What the controllers see now: ``obs [N, O]``."""
        obs = self._distort(self._task.observe(*self._measured()), slice(None), rng)
        if self._lossy:
            lost = rng.random(len(obs)) < self.of["dropout"]
            obs[lost] = self._shown[lost]
        self._shown = obs
        return obs.copy()

    def first(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The first observations ``[n, O]`` of the n episodes that began in ``rows [N]`` (bool): they all arrive."""
        obs = self._task.observe(self._qpos[rows], self._qvel[rows])
        self._shown[rows] = self._distort(obs, rows, rng)
        return self._shown[rows]

    @property
    def shown(self) -> np.ndarray:
        """What the controllers saw last: ``[N, O]``."""
        return self._shown.copy()

    def state_dict(self) -> dict[str, Any]:
        saved = {name.strip("_"): getattr(self, name).copy() for name in _SAVED}
        return {"of": {name: values.copy() for name, values in self.of.items()}, **saved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.of = {name: np.array(state["of"][name]) for name in _NAMES}
        for name in _SAVED:
            setattr(self, name, np.array(state[name.strip("_")]))
        self._prepare()

    def _prepare(self) -> None:
        """What holds for all episodes that run now; buffers grow to the longest delay there is."""
        longest = self.of["action_delay"] + self.of["action_jitter"]
        self._delayed, self._lossy = bool(longest.any()), bool(self.of["dropout"].any())
        self._lagging = bool(self._keep.any())
        self._late = self._steps(self.of["observation_delay"])
        self._noisy, self._biased = bool(self.of["noise"].any()), bool(self.of["bias"].any())
        more = self._task.substeps + int(self._steps(longest).max()) - self._ahead.shape[1]
        if more > 0:
            self._ahead = np.concatenate([self._ahead, np.repeat(self._ahead[:, -1:], more, axis=1)], axis=1)
        more = 1 + int(self._late.max()) - self._past.shape[1]
        if more > 0:
            self._past = np.concatenate([np.repeat(self._past[:, :1], more, axis=1), self._past], axis=1)

    def _steps(self, seconds: np.ndarray) -> np.ndarray:
        return np.rint(seconds / self._step).astype(int)

    def _measured(self) -> tuple[np.ndarray, np.ndarray]:
        """The states that the controllers know of: ``[N, nq]``, ``[N, nv]``."""
        if not self._late.any():
            return self._qpos, self._qvel
        seen = self._past[np.arange(len(self._late)), -1 - self._late]
        size = self._qpos.shape[1]
        return seen[:, :size], seen[:, size:]

    def _distort(self, obs: np.ndarray, rows: np.ndarray | slice, rng: np.random.Generator) -> np.ndarray:
        """``obs [n, O]`` of ``rows`` as the sensors give it."""
        if self._noisy:
            spread = self.of["noise"][rows, None] * self._scale
            obs = obs + (spread * rng.standard_normal(obs.shape)).astype(np.float32)
        return obs + self._bias[rows] if self._biased else obs
