"""What motors make of what they are told: the same, or with a lag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .simulator import Simulator
from .task import Task


class Motors:
    """Those of N robots of ``task`` in the positions ``qpos [N, nq]``, which others move; ``inputs`` of each robot.

    Where no running episode has a lag they cost nothing.
    """

    def __init__(self, task: Task, qpos: np.ndarray, inputs: int) -> None:
        self._task, self._qpos = task, qpos
        self._idle = np.clip(0.0, task.spec.action.low, task.spec.action.high)
        self._step = 1.0 / (task.spec.rate_hz * task.substeps)
        self._keep = np.zeros(len(qpos))  # which part of what a motor does stays over a physics step
        self._doing = np.zeros((len(qpos), inputs))
        self._lag = False

    def begin(self, rows: np.ndarray, simulators: Sequence[Simulator]) -> None:
        """New episodes in ``rows [n]`` (indices): before them the robots held still."""
        if not (self._lag or any(simulator.motor_lag for simulator in simulators)):
            return
        self._keep[rows] = [simulator.keep(self._step) for simulator in simulators]
        self._lag = bool(self._keep.any())
        if self._lag:
            self._doing[rows] = self._task.control(np.tile(self._idle, (len(rows), 1)), self._qpos[rows])

    def follow(self, inputs: np.ndarray) -> np.ndarray:
        """What they do in the steps of a period that are given ``inputs [N, substeps or 1, nu]``."""
        if not self._lag:
            return inputs
        done = np.empty((len(inputs), self._task.substeps, inputs.shape[2]))
        for step in range(self._task.substeps):
            wanted = inputs[:, min(step, inputs.shape[1] - 1)]
            self._doing = wanted + self._keep[:, None] * (self._doing - wanted)
            done[:, step] = self._doing
        return done

    def state_dict(self) -> dict[str, Any]:
        return {"keep": self._keep.copy(), "doing": self._doing.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._keep, self._doing = np.array(state["keep"]), np.array(state["doing"])
        self._lag = bool(self._keep.any())
