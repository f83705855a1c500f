"""What the tests of exporting share: a small task that runs in no time, and a policy that really solves it two ways.

A point in the plane goes from the origin to (1, 0), along a roof: up and down again (mode 3) or down and up
again (mode 7). The teacher is a real diffusion actor that was shown what to do, in seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddiffpg_core.acting import act_of
from ddiffpg_core.checkpoint import SavedPolicy, save, save_policy
from ddiffpg_core.config import ActorConfig, Config
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.evaluate import KnownMode, evaluate
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Mode
from ddiffpg_core.replay import Replay
from ddiffpg_core.spec import ActionField, ActionSpec, ObservationField, Step, TaskSpec
from ddiffpg_export.describe import World
from ddiffpg_export.student import DistillConfig

GOAL, REACHED, ROOF = 1.0, 0.12, 0.5
UP, DOWN = 3, 7  # ids with a gap: nothing may take an id for a place in a list
SIDE = {UP: 1.0, DOWN: -1.0}
Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray, np.ndarray]]
QUICK = DistillConfig(hidden=(64, 64), iterations=700, batch_size=512, pool=8192, seed=3)


def roof_spec() -> TaskSpec:
    """Observation x, y (m); action vx in ±1 m/s, vy in ±2 m/s."""
    offsets = {"x": 0.5, "y": 0.0}
    fields = tuple(ObservationField(n, f"odom.position.{n}", "m", offset=o, scale=0.5) for n, o in offsets.items())
    action = ActionSpec("base_velocity", (ActionField("vx", "m/s", -1.0, 1.0), ActionField("vy", "m/s", -2.0, 2.0)))
    return TaskSpec("roof", "point", 10.0, 40, fields, action, ("x", "y"), 0.4)


class RoofEnv:
    """N points that go where they are told: the VecEnv protocol."""

    def __init__(self, num_envs: int = 32) -> None:
        self.spec, self.num_envs = roof_spec(), num_envs
        self.reset(0)

    def reset(self, seed: int) -> np.ndarray:
        self._rng = np.random.default_rng(seed)
        self._steps = np.zeros(self.num_envs, int)
        self._at = self._start(self.num_envs)
        return self._at.copy()

    def _start(self, count: int) -> np.ndarray:
        return self._rng.uniform(-0.05, 0.05, (count, 2)).astype(np.float32)

    def step(self, action: np.ndarray) -> Step:
        low, high = self.spec.action.low, self.spec.action.high
        final = self._at + np.clip(action, low, high).astype(np.float32) / self.spec.rate_hz
        self._steps += 1
        success = np.linalg.norm(final - [GOAL, 0.0], axis=1) < REACHED
        truncated = ~success & (self._steps >= self.spec.max_steps)
        done = success | truncated
        self._at = final.copy()
        self._at[done], self._steps[done] = self._start(int(done.sum())), 0
        return Step(self._at.copy(), success.astype(np.float32), success, truncated, success.copy(), final)

    def state_dict(self) -> dict[str, Any]:
        return {"at": self._at.copy(), "steps": self._steps.copy(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        self._at, self._steps = state["at"].copy(), state["steps"].copy()
        self._rng.bit_generator.state = state["rng"]
        return self._at.copy()

    def measures(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass


def roof(x: np.ndarray, side: np.ndarray | float) -> np.ndarray:
    """Height of a mode's way at ``x``, metres."""
    return side * np.clip(ROOF - np.abs(x - 0.5), 0.0, None)


def shown(obs: np.ndarray, side: np.ndarray) -> np.ndarray:
    """What the teacher is shown at ``obs [B, 2]``: along the roof on ``side [B]``, first onto it. ±1, ``[B, 2]``."""
    x, y = obs.T
    gap = roof(x, side) - y
    vx = np.clip(1.2 - 3.0 * np.abs(gap), 0.0, 1.0) * np.where(x < GOAL, 1.0, -1.0)
    slope = np.where(np.abs(x - 0.5) < ROOF, side * np.sign(0.5 - x), 0.0)
    return np.clip(np.stack([vx, (8.0 * gap + slope * vx) / 2.0], 1), -1.0, 1.0).astype(np.float32)


def trained_policy(updates: int = 1500) -> SavedPolicy:
    """A teacher with two modes, and its own report; unconditioned it takes either."""
    policy = new_policy(modes())
    table = policy.embeddings()

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        obs = rng.uniform([-0.15, -0.65], [1.15, 0.65], (256, 2)).astype(np.float32)
        ids = rng.choice([UP, DOWN], 256)
        side = np.array([SIDE[i] for i in ids])
        embedding = np.stack([table[i] for i in ids])
        embedding[:86] = 0.0
        obs[:86, 1] = np.abs(obs[:86, 1]) * side[:86]
        return obs, embedding, shown(obs, side)

    fit(policy, draw, updates)
    return replace(policy, report=_report(policy))


def two_peaks() -> SavedPolicy:
    """A teacher that goes up or down, each half of the time, wherever it is: the mean of its actions is neither."""
    policy = new_policy(())

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        obs = rng.uniform(0.0, 0.1, (256, 2)).astype(np.float32)
        target = np.stack([np.full(256, 0.5), rng.choice([-0.8, 0.8], 256)], 1).astype(np.float32)
        return obs, np.zeros((256, 4), np.float32), target

    fit(policy, draw, 2000)
    return policy


def new_policy(known: tuple[Mode, ...]) -> SavedPolicy:
    """Untrained, without a report."""
    torch.manual_seed(0)
    config = Config(actor=ActorConfig(hidden=(64, 64), embedding_dim=4, time_dim=8))
    features = Features(roof_spec())
    actor = DiffusionActor(features.size, 2, config.actor)
    return SavedPolicy("roof", 5, 1234, "a" * 40, config, features, actor, known, {})


def fit(policy: SavedPolicy, draw: Draw, updates: int) -> None:
    """Train the actor on what ``draw`` gives: observations, embeddings, actions in ±1."""
    rng, noise = np.random.default_rng(0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(policy.actor.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        obs, embedding, target = map(torch.from_numpy, draw(rng))
        optimizer.zero_grad()
        policy.actor.loss(policy.features(obs), embedding, target, noise).backward()
        optimizer.step()
        schedule.step()
    policy.actor.requires_grad_(False).eval()


def modes() -> tuple[Mode, ...]:
    embedding = {UP: [1.0, 1.0, -1.0, 1.0], DOWN: [-1.0, 1.0, 1.0, -1.0]}
    x = np.linspace(0.0, GOAL, 20)
    return tuple(Mode(i, (1,) if i == DOWN else (), np.array(embedding[i], np.float32),
                      np.stack([x, roof(x, SIDE[i])], 1).astype(np.float32)) for i in (UP, DOWN))


def _report(policy: SavedPolicy) -> dict[str, Any]:
    known = [KnownMode(m.id, m.prototype, m.outcome) for m in policy.modes]
    return evaluate(RoofEnv(), act_of(policy, roof_spec(), 0), known, 100, 0).to_dict()


def write_run(folder: Path, policy: SavedPolicy) -> Path:
    """A run's directory as far as exporting reads it: the policy, and a replay that the policy filled."""
    folder.mkdir()
    save_policy(folder / "policy.pt", policy)
    save(folder / "checkpoint.pt", {"agent": {"replay": _played(policy).state_dict()}})
    return folder


def _played(policy: SavedPolicy, steps: int = 120) -> Replay:
    env, rng, act = RoofEnv(8), np.random.default_rng(0), act_of(policy, roof_spec(), 1)
    replay = Replay(env.spec, 128, env.num_envs, 20, torch.device("cpu"))
    obs = env.reset(0)
    replay.start(torch.from_numpy(obs))
    asked = rng.choice([-1, UP, DOWN], 8)
    for _ in range(steps):
        action = env.spec.action.to_normal(act(obs, asked)) + rng.normal(size=(8, 2)) * 0.3
        step = env.step(env.spec.action.to_physical(action))
        for i in replay.append(torch.as_tensor(action, dtype=torch.float32), step):
            replay.close(i, step)
            replay.reopen(i, torch.from_numpy(step.obs[i]), rng)
            asked[i] = rng.choice([-1, UP, DOWN])
        obs = step.obs
    return replay


def clearance(points: np.ndarray) -> np.ndarray:
    """Metres to a wall at y = 0.6, for ``points [P, 2]``."""
    return 0.6 - points[:, 1]


def world() -> World:
    return World(RoofEnv(), 0.05, clearance)


@contextlib.contextmanager
def small_files_only() -> Iterator[None]:
    """Writing fails beyond 4 kB, as it does on a full disk. Of this process: also what pytest prints to a file."""
    resource = pytest.importorskip("resource", reason="this system has no limits on file size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
