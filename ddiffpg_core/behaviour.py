"""Who does what while data is collected: what each environment is asked for, and how it is disturbed."""

from __future__ import annotations

import numpy as np

from ddiffpg_core.config import ExploreConfig
from ddiffpg_core.replay import Replay

_NEWEST = 50  # trajectories that tell how a mode does


class Behaviour:
    """Roles of N environments, drawn at the start of each episode.

    The first part of them explores: follows novelty, and from a random moment on heads for the nearest
    goal, which reaches goals by ways that nobody has gone yet. The others run the modes: one mode, or one
    mode and from a random moment on another (practice for coming back), or the unconditional policy.
    A role is two embeddings and the step at which the second takes over. ``explores`` says who explored just now.
    """

    def __init__(self, num_envs: int, embedding_dim: int, horizon: int, config: ExploreConfig) -> None:
        self.config = config
        self.horizon = horizon
        self.first = np.zeros((num_envs, embedding_dim), np.float32)
        self.second = np.zeros((num_envs, embedding_dim), np.float32)
        self.switch_at = np.full(num_envs, horizon)
        self.explorer = np.ones(num_envs, bool)
        self.explores = np.ones(num_envs, bool)
        self.age = np.zeros(num_envs, np.int64)
        self.sigma = np.full((num_envs, 1), config.sigma_max)
        self.held = np.zeros((num_envs, 1))
        self.holding = np.zeros((num_envs, 1), bool)
        self.ticks = 0
        self.here: np.ndarray | None = None
        self.stood = np.zeros(num_envs, np.int64)

    def explore(self, env: int, explore: np.ndarray, find: np.ndarray | None, rng: np.random.Generator) -> None:
        """Environment ``env`` explores; where ``find`` is given, some head for a goal later, and who comes to stand."""
        self._assign(env, explore, explore if find is None else find, self.horizon, True)
        if find is not None and rng.random() < self.config.finder_share:
            self.switch_at[env] = rng.integers(self.horizon * 3 // 4)

    def exploit(self, env: int, modes: np.ndarray, steps: np.ndarray, rng: np.random.Generator,
                chance: np.ndarray | None = None) -> None:
        """Environment ``env`` runs a mode of ``modes [K, E]``, the unconditional policy, or two modes in turn.

        ``steps [K]`` is how long each takes, so that the change falls while the first is under way; ``chance [K]`` how
        likely each is to be the (first) one, None for all alike.
        """
        one, other = rng.choice(len(modes), 2, replace=len(modes) < 2, p=chance)
        if rng.random() < self.config.null_share:
            self._assign(env, np.zeros_like(modes[one]), np.zeros_like(modes[one]), self.horizon, False)
        elif rng.random() < self.config.switch_share:
            self._assign(env, modes[one], modes[other], int(rng.integers(steps[one] + 1)), False)
        else:
            self._assign(env, modes[one], modes[one], self.horizon, False)

    def _assign(self, env: int, first: np.ndarray, second: np.ndarray, switch_at: int, explorer: bool) -> None:
        self.first[env], self.second[env] = first, second
        self.switch_at[env], self.explorer[env], self.age[env], self.stood[env] = switch_at, explorer, 0, 0

    def embedding(self) -> np.ndarray:
        """What each environment is asked for now ``[N, E]``."""
        return np.where(self._second_now()[:, None], self.second, self.first)

    def _second_now(self) -> np.ndarray:
        return self.age >= self.switch_at

    def notice(self, points: np.ndarray, near: float) -> None:
        """How long each robot has stood, now at ``points [N, D]``: within ``near`` (m) of where it was.

        An explorer that has stood too long heads for a goal, and is given as long again.
        """
        if self.here is None:
            self.here = np.full_like(points, np.nan)  # nobody has stood yet
        stands = np.linalg.norm(points - self.here, axis=1) < near
        self.here = np.where(stands[:, None], self.here, points)
        self.stood = np.where(stands, self.stood + 1, 0)
        turns = self.given_up & self.explorer & ~self._second_now() & (self.first != self.second).any(1)
        self.switch_at = np.where(turns, self.age, self.switch_at)
        self.stood = np.where(turns, 0, self.stood)

    @property
    def _stuck(self) -> np.ndarray:
        """Who has stood for so long that something else must happen ``[N]``."""
        return self._has_stood(self.config.shake_after)

    @property
    def given_up(self) -> np.ndarray:
        """Of whose episodes nothing comes any more ``[N]``."""
        return self._has_stood(self.config.give_up_after)

    def _has_stood(self, steps: int) -> np.ndarray:
        """For so many ``steps``; 0: nobody."""
        return (self.stood >= steps) & (steps > 0)

    def disturb(self, action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``action [N, A]`` (±1) with noise: of a random size; for explorers and who stands held for several steps."""
        c = self.config
        drawn = rng.uniform(c.sigma_min, c.sigma_max, (len(action), 1))
        self.sigma = np.where((self.age > 0)[:, None] & c.steady, self.sigma, drawn)
        if self.ticks % c.hold_steps == 0:
            self.held = rng.normal(size=action.shape) * c.hold_scale
            self.holding = rng.random((len(action), 1)) < 0.5
        self.explores = self.explorer & ~self._second_now()
        shaken = (self.explores[:, None] & self.holding) | self._stuck[:, None]
        noise = np.where(shaken, self.held, rng.normal(size=action.shape) * self.sigma)
        self.ticks += 1
        self.age += 1
        return np.clip(action + noise, -1.0, 1.0).astype(np.float32)

    def state_dict(self) -> dict:
        return {k: v for k, v in vars(self).items() if k not in ("config", "horizon")}

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


def how_needed(replay: Replay, ids: np.ndarray) -> np.ndarray:
    """How much each of the modes ``ids [K]`` needs episodes ``[K]``, at most 1.

    Less where less than a tenth of its newest ones fail, those of explorers and demonstrations left out; at least 0.2.
    """
    asked = replay.live & ~replay.explorer
    asked[list(replay.demos)] = False
    arrived = np.array([replay.success[replay.newest(asked & (replay.mode == i), _NEWEST)].sum() for i in ids])
    return np.clip((1.0 - arrived / _NEWEST) / 0.1, 0.2, 1.0)


def typical_steps(replay: Replay, ids: np.ndarray, unknown: int) -> np.ndarray:
    """How long each of the modes ``ids [K]`` takes: the median over its newest successes ``[K]``, or ``unknown``."""
    success = replay.live & replay.success
    newest = [replay.newest(success & (replay.mode == i), _NEWEST) for i in ids]
    return np.array([int(np.median(replay.length[own])) if len(own) else unknown for own in newest])
