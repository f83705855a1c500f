"""Evaluation that speaks of modes. numpy only: it asks for actions through a function, whoever computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ddiffpg_core.paths import beside, distance_to_way, dtw, erase_loops, way
from ddiffpg_core.spec import TaskSpec, VecEnv

UNCONDITIONED = -1
LEARNED = 0.8

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``(obs [N, O] physical, mode id [N]) -> action [N, A] physical``; mode -1 is unconditioned."""

ShareWays = Callable[[Sequence[np.ndarray], np.ndarray, int], tuple[float, ...]]
"""``(paths and outcomes of successful episodes, number of all episodes)`` -> the share of episodes by each way."""


@dataclass(frozen=True)
class KnownMode:
    """A mode to be evaluated: its id, the way ``prototype [P, D]`` (metres) that it should take, and its outcome."""

    id: int
    prototype: np.ndarray
    outcome: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True)
class ModeResult:
    """Shares over evaluation episodes. ``returns`` is None where there is no other learned mode to come from.

    ``success`` when conditioned on the mode; ``adherence``: of the successful episodes, those that took its
    way; ``returns``: of episodes switched to it in the middle of another learned mode's way, those that reached the
    goal by the asked one; ``mean_steps`` to the goal, None without a success.
    """

    id: int
    success: float
    adherence: float
    returns: float | None
    mean_steps: float | None
    returns_from: dict[int, float]

    @property
    def learned(self) -> bool:
        return self.success >= LEARNED and self.adherence >= LEARNED

    @property
    def worst(self) -> float:
        """The least of its shares."""
        return min(self.success, self.adherence, 1.0 if self.returns is None else self.returns)


@dataclass(frozen=True)
class Report:
    """The whole evaluation; ``mode_share`` is of successful unconditioned episodes, by the mode whose way they took.

    ``way_share``: of all unconditioned episodes, by the distinct ways that they took to a goal, whatever the policy
    knows of modes; None where nobody looked. ``conditioned`` is False for a policy that cannot be asked for a mode.
    ``mean_action_success``: unconditioned with the mean of the policy's actions, None where it has no mean.
    """

    task: str
    episodes: int
    seed: int
    modes: tuple[ModeResult, ...]
    unconditioned_success: float
    mode_share: dict[int, float]
    way_share: tuple[float, ...] | None = None
    conditioned: bool = True
    mean_action_success: float | None = None

    @property
    def modes_learned(self) -> int:
        return sum(m.learned for m in self.modes)

    def to_dict(self) -> dict[str, Any]:
        """The form that ``ddiffpg eval --json`` writes; null is what does not exist or was not measured."""
        modes = []
        for mode in self.modes:
            plain = asdict(mode)
            plain["return"] = plain.pop("returns")
            plain["return_from"] = {str(k): v for k, v in plain.pop("returns_from").items()}
            modes.append(plain)
        return {"task": self.task, "episodes": self.episodes, "seed": self.seed,
                "modes_learned": self.modes_learned if self.conditioned else None,
                "modes": modes if self.conditioned else None,
                "unconditioned": self._unconditioned()}

    def _unconditioned(self) -> dict[str, Any]:
        share = {str(k): v for k, v in self.mode_share.items()}
        return {"success": self.unconditioned_success, "mode_share": share if self.conditioned else None,
                "ways": None if self.way_share is None else len(self.way_share),
                "way_share": None if self.way_share is None else list(self.way_share),
                "mean_action_success": self.mean_action_success}


@dataclass(frozen=True)
class Episodes:
    """Finished episodes: success, steps to the end, path ``[L + 1, D]`` and outcome ``[K]`` of each."""

    success: np.ndarray
    steps: np.ndarray
    paths: tuple[np.ndarray, ...]
    outcomes: np.ndarray


@dataclass(frozen=True)
class Plan:
    """What each episode is asked for: ``first`` mode, and from step ``switch_at`` on the mode ``then``."""

    first: np.ndarray
    then: np.ndarray
    switch_at: np.ndarray


def run_episodes(env: VecEnv, act: Act, plan: Plan, seed: int) -> Episodes:
    """One episode per entry of ``plan``, ``env.num_envs`` at a time."""
    parts = []
    for begin in range(0, len(plan.first), env.num_envs):
        rows = slice(begin, begin + env.num_envs)
        part = Plan(plan.first[rows], plan.then[rows], plan.switch_at[rows])
        parts.append(_run_batch(env, act, part, seed + begin))
    return Episodes(np.concatenate([p.success for p in parts]), np.concatenate([p.steps for p in parts]),
                    tuple(path for p in parts for path in p.paths), np.concatenate([p.outcomes for p in parts]))


def _run_batch(env: VecEnv, act: Act, plan: Plan, seed: int) -> Episodes:
    n, spec = len(plan.first), env.spec
    obs = env.reset(seed)
    track = np.full((spec.max_steps + 1, n, len(spec.path)), np.nan)
    track[0] = obs[:n, spec.path_columns]
    outcomes = spec.outcome_of(obs[:n])
    success, running, steps = np.zeros(n, bool), np.ones(n, bool), np.zeros(n, int)
    action = np.zeros((env.num_envs, spec.action_dim), np.float32)
    for t in range(spec.max_steps):
        mode = np.where(t < plan.switch_at, plan.first, plan.then)
        action[:n] = act(obs[:n], mode)
        step = env.step(action)
        now = step.final_obs[:n][running]
        track[t + 1, running], outcomes[running] = now[:, spec.path_columns], spec.outcome_of(now)
        steps[running] += 1
        success |= running & step.success[:n]
        running &= ~step.done[:n]
        obs = step.obs
        if not running.any():
            break
    return Episodes(success, steps, tuple(track[: steps[i] + 1, i] for i in range(n)), outcomes)


@dataclass(frozen=True)
class Drives:
    """Episodes ``run``, what each was ``asked [E]`` for, and the mode whose way it has ``taken [E]``: -1 where none."""

    asked: np.ndarray
    run: Episodes
    taken: np.ndarray

    def result(self, mode_id: int, returned: Mapping[tuple[int, int], float] = MappingProxyType({})) -> ModeResult:
        """Of the episodes that were asked for a mode; ``returned`` are shares by (from, to)."""
        rows = self.asked == mode_id
        won = rows & self.run.success
        back = {a: share for (a, b), share in returned.items() if b == mode_id}
        return ModeResult(
            id=mode_id,
            success=float(self.run.success[rows].mean()),
            adherence=float((self.taken[won] == mode_id).mean()) if won.any() else 0.0,
            returns=float(np.mean(list(back.values()))) if back else None,
            mean_steps=float(self.run.steps[won].mean()) if won.any() else None,
            returns_from=back,
        )


def drive(env: VecEnv, act: Act, modes: Sequence[KnownMode], episodes: int, seed: int) -> Drives:
    """``episodes`` unconditioned, and as many of each mode."""
    asked = np.repeat([UNCONDITIONED, *(m.id for m in modes)], episodes)
    run = run_episodes(env, act, Plan(asked, asked, np.zeros(len(asked), int)), seed)
    return Drives(asked, run, _nearest_modes(run, modes, env.spec))


def evaluate(env: VecEnv, act: Act, modes: Sequence[KnownMode], episodes: int, seed: int,
             share_ways: ShareWays | None = None) -> Report:
    """``episodes`` a mode and unconditioned, and as many again shared over the modes to come back from."""
    ids = [m.id for m in modes]
    drives = drive(env, act, modes, episodes, seed)
    direct = drives.run
    halfway = {i: _halfway(direct, drives.asked == i) for i in ids if drives.result(i).learned}
    returned = _returns(env, act, modes, halfway, episodes, seed + 1_000_003)
    results = [drives.result(i, returned) for i in ids]
    free = drives.asked == UNCONDITIONED
    arrived = np.flatnonzero(free & direct.success)
    taken = drives.taken[arrived]
    share = {i: float((taken == i).mean()) if len(taken) else 0.0 for i in ids}
    ways = None
    if share_ways is not None:
        ways = share_ways([direct.paths[i] for i in arrived], direct.outcomes[arrived], episodes)
    return Report(env.spec.name, episodes, seed, tuple(results), float(direct.success[free].mean()), share, ways)


def success_of(env: VecEnv, act: Act, episodes: int, seed: int) -> float:
    """The share of ``episodes`` unconditioned ones that reach a goal."""
    asked = np.full(episodes, UNCONDITIONED)
    return float(run_episodes(env, act, Plan(asked, asked, np.zeros(episodes, int)), seed).success.mean())


def typical_ways(env: VecEnv, act: Act, modes: Sequence[KnownMode], episodes: int, seed: int) -> dict[int, np.ndarray]:
    """For each mode a way ``[L, D]`` (metres) that was really gone, point by point.

    It is the one most like all others among the mode's successful episodes; the prototype where there was none.
    A prototype has few points, from early in training: a robot must look for obstacles along the way that the
    policy takes now.
    """
    asked = np.repeat([m.id for m in modes], episodes)
    run = run_episodes(env, act, Plan(asked, asked, np.zeros(len(asked), int)), seed)
    nearest = _nearest_modes(run, modes, env.spec)
    return {m.id: _most_typical(run, np.flatnonzero(run.success & (asked == m.id) & (nearest == m.id)), m, env.spec)
            for m in modes}


def _most_typical(run: Episodes, rows: np.ndarray, mode: KnownMode, spec: TaskSpec) -> np.ndarray:
    if not len(rows):
        return mode.prototype
    ways = np.stack([way(run.paths[i], len(mode.prototype), spec.path_tolerance) for i in rows])
    best = rows[dtw(ways, ways).sum(1).argmin()]
    return erase_loops(run.paths[best], spec.path_tolerance)


def _halfway(episodes: Episodes, rows: np.ndarray) -> int:
    """The step at which a mode's successful episodes are half done; 0 where it has none."""
    steps = episodes.steps[rows & episodes.success]
    return int(np.median(steps)) // 2 if len(steps) else 0


def _nearest_modes(episodes: Episodes, modes: Sequence[KnownMode], spec: TaskSpec) -> np.ndarray:
    """The mode whose way each episode took; -1 where it took none of them (see :class:`TaskSpec`)."""
    if not modes:
        return np.full(len(episodes.success), UNCONDITIONED)
    prototypes = np.stack([beside(m.prototype, m.outcome) for m in modes])
    ways = np.stack([beside(way(path, prototypes.shape[1], spec.path_tolerance), outcome)
                     for path, outcome in zip(episodes.paths, episodes.outcomes)])
    gap = dtw(ways, prototypes)
    nearest = np.array([m.id for m in modes])[gap.argmin(1)]
    return np.where(gap.min(1) <= 2.0 * spec.path_tolerance, nearest, UNCONDITIONED)


def _returns(env: VecEnv, act: Act, modes: Sequence[KnownMode], halfway: dict[int, int], episodes: int,
             seed: int) -> dict[tuple[int, int], float]:
    """For each pair (from, to): the share of episodes that reach the goal by ``to`` after a switch halfway.

    ``halfway`` has the modes to come from: those that are learned, for only their ways are really gone.
    """
    pairs = [(a, b.id) for a in halfway for b in modes if a != b.id]
    if not pairs:
        return {}
    each = -(-episodes // max(len(halfway) - 1, 1))
    first, then = np.repeat(pairs, each, axis=0).T
    plan = Plan(first, then, np.array([halfway[i] for i in first]))
    run = run_episodes(env, act, plan, seed)
    known = {m.id: m for m in modes}
    good = np.array([run.success[i] and np.allclose(run.outcomes[i], known[then[i]].outcome)
                     and _took(run.paths[i][plan.switch_at[i]:], known[then[i]].prototype, env.spec)
                     for i in range(len(then))])
    return {pair: float(good[i * each:(i + 1) * each].mean()) for i, pair in enumerate(pairs)}


def _took(path: np.ndarray, prototype: np.ndarray, spec: TaskSpec) -> bool:
    """Whether ``path`` went the second half of ``prototype``: no point of it is farther than the tolerance."""
    if len(path) < 2:
        return False
    half = prototype[len(prototype) // 2:]
    return bool(distance_to_way(half, path).max() <= spec.path_tolerance)
