"""Which states a policy knows: those that it was seen to reach the goal from, in its own world.

It is driven in the simulator, by every mode, changed on the way, and pushed off its course now and then. What
it observed in episodes that reached the goal is what it knows. A robot may everywhere be slower than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddiffpg import contract as wire
from ddiffpg_core.evaluate import UNCONDITIONED, Act, Plan, run_episodes
from ddiffpg_core.spec import VecEnv

PUSH, LASTING = 0.03, (1, 4)  # how likely a push begins in a step; how many steps it lasts
CENTERS, MOST = 500, 20_000  # centers kept; observations that they are chosen from
FLOOR = 0.05  # of a field's range in training: differences smaller than that are none
USUAL = 0.999


class NeverArrived(ValueError):
    """A policy reached no goal, so there is nothing that it knows."""


@dataclass(frozen=True)
class Visit:
    """How the states were found: ``episodes`` driven from ``seed`` on, the share of them that ``arrived``, and how
    many ``states`` were seen on the way, half of the episodes' to choose from, the other half's to measure on."""

    episodes: int
    seed: int
    arrived: float
    states: int
    held_out: int

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "centers": CENTERS, "usual": USUAL}


def known_states(
    env: VecEnv, act: Act, contract: wire.Contract, episodes: int, seed: int
) -> tuple[wire.KnownStates, Visit]:
    """What ``contract.known_states`` should be, from at least ``episodes`` in ``env``. NeverArrived where none did."""
    rng = np.random.default_rng(seed)
    parts, arrived, count = [], 0, 0
    while count < episodes or len(parts) < 2:
        states, won = drive(env, act, contract, rng)
        parts.append(states)
        arrived, count = arrived + won, count + env.num_envs
    chosen, held_out = (_sample(parts[i::2], contract, rng) for i in range(2))
    if not len(chosen) or not len(held_out):
        raise NeverArrived(f"{contract.task}: in {count} episodes no goal was reached: there are no states to know")
    known = fit(chosen, held_out, [field.scale for field in env.spec.observation], rng)
    return known, Visit(count, seed, arrived / count, sum(map(len, parts)), len(held_out))


def drive(env: VecEnv, act: Act, contract: wire.Contract, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """One episode in each of ``env``: observations ``[N, O]`` of those that arrived, and how many that were."""
    n, ids = env.num_envs, [UNCONDITIONED, *contract.mode_ids]
    longest = int(max(mode.mean_steps for mode in contract.modes))
    plan = Plan(rng.choice(ids, n), rng.choice(ids, n), rng.integers(0, longest + 1, n))
    pushed = Pushed(env, act, rng)
    run = run_episodes(env, pushed, plan, int(rng.integers(2**31)))
    seen = np.stack(pushed.seen)  # [T, N, O]
    there = (np.arange(len(seen))[:, None] < run.steps) & run.success
    return seen[there], int(run.success.sum())


class Pushed:
    """An ``act`` that is overruled by random actions now and then, for some steps; remembers what it has ``seen``."""

    def __init__(self, env: VecEnv, act: Act, rng: np.random.Generator) -> None:
        self._act, self._rng, self._action = act, rng, env.spec.action
        self._left = np.zeros(env.num_envs, int)
        self._push = np.zeros((env.num_envs, env.spec.action_dim))
        self.seen: list[np.ndarray] = []

    def __call__(self, obs: np.ndarray, mode: np.ndarray) -> np.ndarray:
        self.seen.append(obs.copy())
        begins = (self._left == 0) & (self._rng.random(len(obs)) < PUSH)
        self._left[begins] = self._rng.integers(*LASTING, begins.sum())
        fresh = (begins.sum(), self._push.shape[1])
        self._push[begins] = self._rng.uniform(self._action.low, self._action.high, fresh)
        pushed = self._left > 0
        self._left[pushed] -= 1
        return np.where(pushed[:, None], self._push, self._act(obs, mode)).astype(np.float32)


def _sample(parts: Sequence[np.ndarray], contract: wire.Contract, rng: np.random.Generator) -> np.ndarray:
    """At most ``MOST`` of the observations ``[N, O]``, and each again with a part of its speed."""
    states = np.concatenate([*parts, np.empty((0, len(contract.observation)))])
    states = states[rng.permutation(len(states))[: MOST // 2]]
    slower = states.copy()
    slower[:, speeds(contract)] *= rng.uniform(0.0, 1.0, (len(states), 1))
    return np.concatenate([states, slower])


def speeds(contract: wire.Contract) -> list[int]:
    """Columns of the observation that are velocities."""
    return [i for i, field in enumerate(contract.observation) if "velocity" in field.source]


def fit(
    chosen: np.ndarray, held_out: np.ndarray, ranges: Sequence[float], rng: np.random.Generator
) -> wire.KnownStates:
    """Centers among ``chosen [N, O]``, and what is usual for ``held_out [M, O]``; ``ranges`` are the fields' own."""
    scale = np.maximum(chosen.std(axis=0), FLOOR * np.asarray(ranges, float))
    centers = farthest(chosen / scale, min(CENTERS, len(chosen)), int(rng.integers(len(chosen)))) * scale
    gaps = nearest(held_out / scale, centers / scale)
    usual = max(float(np.quantile(gaps, USUAL)), 1e-6)
    rounded = np.round(centers, 6)
    return wire.KnownStates(tuple(scale.tolist()), tuple(map(tuple, rounded.tolist())), usual)


def farthest(points: np.ndarray, count: int, first: int) -> np.ndarray:
    """``count`` of the ``points [N, O]``, each the one farthest from those before it."""
    chosen = [first]
    gap = np.linalg.norm(points - points[first], axis=1)
    while len(chosen) < count:
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]


def nearest(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """From each of ``points [N, O]`` to the nearest of ``centers [K, O]``: ``[N]``."""
    parts = np.array_split(points, max(1, len(points) // 1000))
    return np.concatenate([np.linalg.norm(p[:, None] - centers, axis=2).min(axis=1) for p in parts])
