"""The tasks behind gymnasium's API, one episode at a time; for many at once take ``batch.BatchedEnv``.

Importing this module registers every task: ``gymnasium.make("ddiffpg/pointmaze-v1")``.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from . import tasks
from .gl import flat_canvas
from .render import Scene

PIXELS = 480


class GymEnv(gymnasium.Env):
    """Observations and actions in physical units; reward, success and time limit as the task's spec says.

    ``info`` of a step says ``success``. Actions outside the limits are clipped. Raises ValueError for
    an action of the wrong shape or with a number that is not finite, and for an unknown render mode.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, task: str, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}, expected None or 'rgb_array'")
        self.task = tasks.make(task)
        self.render_mode = render_mode
        self._canvas = flat_canvas(self.task, PIXELS)
        spec = self.task.spec
        self.metadata = {**self.metadata, "render_fps": round(spec.rate_hz)}
        self.observation_space = spaces.Box(-np.inf, np.inf, (spec.obs_dim,), np.float32)
        self._low, self._high = spec.action.low, spec.action.high
        self.action_space = spaces.Box(self._low, self._high, dtype=np.float32)
        self._model = mujoco.MjModel.from_xml_string(self.task.model_xml())
        self._data = mujoco.MjData(self._model)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """A new episode; returns ``obs [O]`` and ``info``."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self._model, self._data)
        qpos, qvel = self.task.start(self.np_random, 1)
        self._data.qpos[:], self._data.qvel[:] = qpos[0], qvel[0]
        self._steps = 0
        return self._observe(), {}

    def step(self, action: np.ndarray):
        """``action [A]``; returns ``obs [O]``, reward, terminated, truncated, info."""
        action = np.asarray(action, float)
        if action.shape != self._low.shape or not np.isfinite(action).all():
            raise ValueError(f"action is {action.tolist()}, expected {len(self._low)} finite numbers")
        self._data.ctrl[:] = self.task.control(np.clip(action, self._low, self._high)[None], self._data.qpos[None])[0]
        mujoco.mj_step(self._model, self._data, nstep=self.task.substeps)
        self._steps += 1
        qpos = self._data.qpos[None]
        success = bool(self.task.success(qpos)[0])
        truncated = self._steps >= self.task.spec.max_steps and not success
        return self._observe(), float(self.task.reward(qpos)[0]), success, truncated, {"success": success}

    def render(self) -> np.ndarray | None:
        """The world, ``[H, W, 3]`` uint8, where ``render_mode`` asks for it: a floor from above, an arm at a slant."""
        if self.render_mode is None:
            return None
        state = self.task.robot_state(self._data.time, self._data.qpos, self._data.qvel)
        scene = Scene(robot=(state.position[0], state.position[1]), qpos=self._data.qpos)
        return np.asarray(self._canvas.draw(scene))

    def _observe(self) -> np.ndarray:
        return self.task.observe(self._data.qpos[None], self._data.qvel[None])[0]


def register() -> None:
    """Register every task as ``ddiffpg/<name>``."""
    ids = {f"ddiffpg/{name}": name for name in tasks.names()}
    for env_id, name in ids.items():
        gymnasium.register(env_id, entry_point=f"{__name__}:GymEnv", kwargs={"task": name})
    for env_id in ids:
        # "-v1" is the name of a maze, not a version: or gymnasium would advise to upgrade to the last maze.
        gymnasium.registry[env_id].version = None


register()
