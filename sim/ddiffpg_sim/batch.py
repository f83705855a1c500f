"""Many episodes of one task at once, stepped natively by MuJoCo's own rollout pool."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import mujoco
import mujoco.rollout
import numpy as np

from ddiffpg_core.spec import Step, TaskSpec

from .fleet import Deviate, Fleet
from .obstacles import Obstacle, World
from .task import Task

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS


class BatchedEnv:
    """``num_envs`` parallel episodes of ``task`` on ``threads`` threads: the VecEnv protocol.

    Each control step starts the constraint solver cold, so what is to come depends on the state and
    the random generator alone: ``state_dict`` holds both, and the number of threads changes nothing.

    ``deviate`` draws for each episode that begins how its world differs from the task's model; None: in nothing.
    What ends an episode and what it pays are always of the true state, whatever of it is observed.
    """

    def __init__(self, task: Task, num_envs: int, threads: int = 1, deviate: Deviate | None = None) -> None:
        if num_envs < 1 or threads < 1:
            raise ValueError(f"num_envs is {num_envs}, threads is {threads}: both must be at least 1")
        self.task = task
        self._world = World(task)
        # One thread needs no pool: the rollout then runs on the caller's own.
        self._rollout = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._low, self._high = task.spec.action.low, task.spec.action.high
        self._allocate(num_envs)
        self._deviate = deviate
        self._fleet = None if deviate is None else Fleet(task, self._qpos, self._qvel, self._world.model.nu)
        self._use_model(threads)
        self.reset(0)

    @property
    def spec(self) -> TaskSpec:
        return self.task.spec

    @property
    def num_envs(self) -> int:
        return len(self._steps)

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """What stands in the way now, in every episode alike."""
        return self._world.obstacles

    @property
    def steps(self) -> np.ndarray:
        """Control steps of each running episode: ``[N]``."""
        return self._steps.copy()

    def reset(self, seed: int) -> np.ndarray:
        """Start all episodes anew; obstacles stay. Returns ``obs [N, O]``."""
        self._rng = np.random.default_rng(seed)
        every = np.ones(self.num_envs, bool)
        return self._begin(np.zeros((self.num_envs, self.spec.obs_dim), np.float32), every)

    def step(self, action: np.ndarray) -> Step:
        """``action [N, A]`` in physical units, clipped to the limits.

        Raises ValueError where the shape is wrong or a number is not finite.
        """
        self._advance(self._checked(action))
        qpos = self._qpos
        success, reward = self.task.success(qpos), self.task.reward(qpos)
        self._steps += 1
        truncated = (self._steps >= self.spec.max_steps) & ~success
        final_obs = self._observe()
        done = success | truncated
        obs = self._begin(final_obs, done) if done.any() else final_obs.copy()
        return Step(obs, reward, success.copy(), truncated, success, final_obs)

    def end(self, step: Step, which: np.ndarray) -> Step:
        """``step``, the last one, as if time had then been up for the episodes ``which [N]`` that still run."""
        which = which & ~step.done
        if not which.any():
            return step
        return replace(step, obs=self._begin(step.obs, which), truncated=step.truncated | which)

    def set_obstacles(self, obstacles: Iterable[Obstacle]) -> None:
        """From now on exactly these are in the way, in every episode."""
        if self._world.replace(obstacles):
            self._use_model(len(self._data))
        elif self._fleet is not None:
            self._fleet.move_obstacles(self._world.model)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here."""
        return {
            "physics": self._state.copy(),
            "steps": self._steps.copy(),
            "rng": self._rng.bit_generator.state,
            "obstacles": [o.plain() for o in self._world.obstacles],
            **({} if self._fleet is None else {"fleet": self._fleet.state_dict()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Go on from ``state``; returns the current ``obs [N, O]``. ValueError where it does not fit."""
        physics = np.asarray(state["physics"], float)
        if physics.shape != self._state.shape:
            raise ValueError(f"saved physics is {physics.shape}, this environment's is {self._state.shape}")
        if ("fleet" in state) != (self._fleet is not None):
            saved, mine = ("with", "without") if "fleet" in state else ("without", "with")
            raise ValueError(f"saved {saved} deviations from the model, this environment is {mine}")
        self._state[:] = physics
        self._steps[:] = state["steps"]
        self._rng.bit_generator.state = state["rng"]
        self.set_obstacles(Obstacle.from_plain(o) for o in state["obstacles"])
        if self._fleet is None:
            return self._observe()
        self._fleet.load_state_dict(state["fleet"])
        return self._fleet.channel.shown

    def measures(self) -> dict[str, float]:
        """Nothing: its episodes are all of a kind."""
        return {}

    def close(self) -> None:
        """End the threads; the environment cannot step any more."""
        self._rollout.close()

    def _allocate(self, num_envs: int) -> None:
        model, substeps = self._world.model, self.task.substeps
        size = mujoco.mj_stateSize(model, _STATE)
        self._state = np.zeros((num_envs, size))
        self._states = np.zeros((num_envs, substeps, size))
        self._control = np.zeros((num_envs, substeps, model.nu))
        self._steps = np.zeros(num_envs, np.int64)
        # A full physics state begins with the time, then the positions, then the velocities.
        first = 1 + model.nq
        self._qpos = self._state[:, 1:first]
        self._qvel = self._state[:, first : first + model.nv]

    def _use_model(self, threads: int) -> None:
        self._data = [mujoco.MjData(self._world.model) for _ in range(threads)]
        if self._fleet is None:
            self._models = [self._world.model] * self.num_envs
        else:
            self._fleet.use(self._world.model)
            self._models = self._fleet.models

    def _checked(self, action: np.ndarray) -> np.ndarray:
        action = np.asarray(action)
        if action.shape != (self.num_envs, len(self._low)):
            raise ValueError(f"action is {action.shape}, expected {(self.num_envs, len(self._low))}")
        if not np.isfinite(action).all():
            raise ValueError("action has numbers that are not finite")
        return np.clip(action, self._low, self._high)

    def _advance(self, action: np.ndarray) -> None:
        if self._fleet is None:
            self._control[:] = self.task.control(action, self._qpos)[:, None, :]
        else:
            self._control[:] = self._fleet.send(action, self._rng)
        self._rollout.rollout(
            self._models,
            self._data,
            self._state,
            self._control,
            nstep=self.task.substeps,
            state=self._states,
            skip_checks=True,
        )
        self._state[:] = self._states[:, -1]
        if self._fleet is not None:
            self._fleet.channel.watch(self._states[:, :, 1 : 1 + self._qpos.shape[1] + self._qvel.shape[1]])

    def _begin(self, obs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Begin a new episode in the rows ``[N]`` (bool); returns ``obs [N, O]`` with what is seen first of each."""
        count = int(rows.sum())
        self._state[rows] = 0.0
        self._qpos[rows], self._qvel[rows] = self.task.start(self._rng, count)
        self._steps[rows] = 0
        if self._fleet is None or self._deviate is None:
            return self._observe()
        obs, begun = obs.copy(), np.flatnonzero(rows)
        self._fleet.begin(begun, self._deviate(self._rng, count), self._rng)
        obs[begun] = self._fleet.channel.first(begun, self._rng)
        return obs

    def _observe(self) -> np.ndarray:
        if self._fleet is None:
            return self.task.observe(self._qpos, self._qvel)
        return self._fleet.channel.observe(self._rng)
