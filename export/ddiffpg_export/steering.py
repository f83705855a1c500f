"""Steering a policy file by its noise (DSRL: Wagenmaker et al. 2025): a small network maps observation and mode to the
noise that the student is given, which itself is called, never opened.

It is learned on the robot that the policy is to be adapted to, from whole episodes, in rounds: drive some, learn from
all so far; what drove best is kept, be it the policy as it was. The critic is of actions, as recorded; a second one, of
noises, is distilled from it through the student and is what the steering climbs (the paper's noise-aliased variant).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ddiffpg.policy import Policy
from ddiffpg_core.evaluate import UNCONDITIONED, Drives, KnownMode, drive
from ddiffpg_core.spec import VecEnv
from ddiffpg_export.steering_net import Seen, Steering, strays

LEAST_REACH = 0.01
"""Of half an action's range: a policy that noise moves less than that cannot be steered by it."""
REACH_STATES, REACH_NOISES = 256, 64


class SteerError(ValueError):
    """A policy cannot be steered: says why."""


@dataclass(frozen=True)
class SteerConfig:
    """How steering is learned: ``rounds`` of ``episodes`` a mode (and as many unconditioned), between them ``updates``.

    Returns are discounted by ``gamma`` and go over ``n_step`` steps. ``stray``: what it costs, in units of the task's
    reward, that the noise's distribution is one nat from the standard normal one, which the student was made for.
    """

    rounds: int = 10
    episodes: int = 6
    updates: int = 150
    hidden: tuple[int, ...] = (64, 64)
    critic_hidden: tuple[int, ...] = (128, 128)
    batch_size: int = 256
    learning_rate: float = 1e-3
    gamma: float = 0.98
    n_step: int = 5
    tau: float = 0.01
    average: float = 0.02
    stray: float = 0.003
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def new_critic(inputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """``[B, I]`` -> ``[B, 1]``. Layer normalisation keeps values of what nobody has tried from growing (Ball et al.
    2023): there are few episodes to learn from, and many updates."""
    layers: list[nn.Module] = []
    for a, b in zip([inputs, *hidden], hidden):
        layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 1))


# ---- what was driven -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transitions:
    """R rows: the state, the action in ±1 that was done in it, and what came of it n steps later.

    ``discount`` is of the state after; 0 where the episode ended there for good.
    """

    obs: np.ndarray
    mode: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    after: np.ndarray
    discount: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Transitions]) -> Transitions:
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in cls.__dataclass_fields__))


def transitions(
    obs: np.ndarray, action: np.ndarray, mode: int, won: bool, arrived: bool, config: SteerConfig
) -> Transitions:
    """Rows of one episode: ``obs [L, O]``, ``action [L, A]`` in ±1.

    The goal pays 1 if ``won``, which is by the way that was asked for; the episode ended there if it ``arrived``. Where
    it was cut off, its last step leads nowhere known.
    """
    length = len(action)
    rows = np.arange(length if arrived else length - 1)
    ahead = np.minimum(rows + config.n_step, length if arrived else length - 1)
    ends = arrived & (ahead == length)
    reward = np.where(ends & won, config.gamma ** (length - 1.0 - rows), 0.0)
    discount = np.where(ends, 0.0, config.gamma ** (ahead - rows))
    after = obs[np.minimum(ahead, length - 1)]
    return Transitions(obs[rows], np.full(len(rows), mode), action[rows], reward.astype(np.float32), after,
                       discount.astype(np.float32))


class Recorder:
    """An ``act`` that asks ``policy`` with steered noise and keeps what it saw and did: ``obs``, ``action`` in ±1."""

    def __init__(self, policy: Policy, seen: Seen, network: Steering, rng: np.random.Generator) -> None:
        self._policy, self._seen, self._network, self._rng = policy, seen, network, rng
        self.obs: list[np.ndarray] = []
        self.action: list[np.ndarray] = []

    @torch.no_grad()
    def __call__(self, obs: np.ndarray, mode: np.ndarray) -> np.ndarray:
        drawn = self._rng.standard_normal((len(obs), self._policy.contract.noise_dim), np.float32)
        noise = self._network(self._seen(obs, mode), torch.from_numpy(drawn)).numpy()
        action = self._policy.act_batch(obs, mode, noise)
        self.obs.append(obs.copy())
        self.action.append(self._seen.spec.action.to_normal(action).astype(np.float32))
        return action

    def rows(self, drives: Drives, config: SteerConfig) -> Transitions:
        """What was recorded of ``drives``, one batch of episodes."""
        obs, action, run = np.stack(self.obs), np.stack(self.action), drives.run
        parts = []
        for i, asked in enumerate(drives.asked.tolist()):
            steps, arrived = int(run.steps[i]), bool(run.success[i])
            won = arrived and asked in (UNCONDITIONED, drives.taken[i])
            parts.append(transitions(obs[:steps, i], action[:steps, i], asked, won, arrived, config))
        return Transitions.join(parts)


# ---- learning --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """Of one round of driving: how many ``episodes`` there were so far, the share by mode id that was done as asked in
    it (-1: unconditioned), and what that was worth: the mean of its goals' discounted reward."""

    episodes: int
    done: dict[int, float]
    worth: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        return {"episodes": self.episodes, "done": {str(i): s for i, s in self.done.items()},
                "worth": {str(i): w for i, w in self.worth.items()}}


@dataclass(frozen=True)
class Steered:
    """What learning to steer gave: of the ``rounds`` the network that drove in the ``best``, 0 being the policy as it
    was. ``reach`` by mode id: how far noise moves an action (see :func:`reach`)."""

    network: Steering
    rounds: tuple[Round, ...]
    best: int
    reach: dict[int, float]


class Steerer:
    """Learns to steer ``policy`` from transitions."""

    def __init__(self, policy: Policy, seen: Seen, config: SteerConfig) -> None:
        torch.manual_seed(config.seed)
        self._policy, self._seen, self._config = policy, seen, config
        self._rng = np.random.default_rng(config.seed)
        noise_dim, action_dim = policy.contract.noise_dim, len(policy.contract.action)
        self.network = Steering(seen, noise_dim, config.hidden)
        self.slow = copy.deepcopy(self.network).requires_grad_(False)  # an average over updates, which drives
        critic = [new_critic(seen.size + action_dim, config.critic_hidden) for _ in range(2)]
        self._critics, self._slow = nn.ModuleList(critic), copy.deepcopy(nn.ModuleList(critic)).requires_grad_(False)
        self._of_noise = new_critic(seen.size + noise_dim, config.critic_hidden)
        self._optimizers = [torch.optim.Adam(net.parameters(), config.learning_rate)
                            for net in (self._critics, self._of_noise, self.network)]

    def learn(self, memory: Transitions) -> None:
        """All the updates between two rounds."""
        for _ in range(self._config.updates):
            self.update(memory)

    def update(self, memory: Transitions) -> None:
        """One update of critics and steering, from rows drawn at random."""
        rows = self._rng.integers(len(memory.reward), size=self._config.batch_size)
        batch = Transitions(*(getattr(memory, name)[rows] for name in Transitions.__dataclass_fields__))
        x = self._seen(batch.obs, batch.mode)
        value = self._target(batch)
        done = torch.cat([x, torch.from_numpy(batch.action)], -1)
        losses = [functional.mse_loss(critic(done)[:, 0], value) for critic in self._critics]
        self._step(0, torch.stack(losses).sum())
        follow(self._slow, self._critics, self._config.tau)
        self._step(1, self._distil(batch, x))
        self._step(2, self._climb(x))
        follow(self.slow, self.network, self._config.average)

    def _target(self, batch: Transitions) -> torch.Tensor:
        """``[B]``: the discounted reward, and what the steered student's action is worth in the state after."""
        with torch.no_grad():
            after = self._seen(batch.after, batch.mode)
            noise = self.network(after, self._draw(len(after)))
            action = self._act(batch.after, batch.mode, noise)
            worth = least(self._slow, torch.cat([after, action], -1))
            return torch.from_numpy(batch.reward) + torch.from_numpy(batch.discount) * worth

    def _distil(self, batch: Transitions, x: torch.Tensor) -> torch.Tensor:
        """Noises, half of them standard and half steered, are worth what the student's actions of them are."""
        with torch.no_grad():
            noise = self._draw(len(x))
            half = len(x) // 2
            noise[half:] = self.network(x[half:], noise[half:])
            worth = least(self._critics, torch.cat([x, self._act(batch.obs, batch.mode, noise)], -1))
        return functional.mse_loss(self._of_noise(torch.cat([x, noise], -1))[:, 0], worth)

    def _climb(self, x: torch.Tensor) -> torch.Tensor:
        move, spread = self.network.parts(x)
        noise = move + spread.exp() * self._draw(len(x))
        worth = self._of_noise(torch.cat([x, noise], -1))[:, 0]
        return (self._config.stray * strays(move, spread) - worth).mean()

    def _draw(self, count: int) -> torch.Tensor:
        return torch.from_numpy(self._rng.standard_normal((count, self._policy.contract.noise_dim), np.float32))

    def _act(self, obs: np.ndarray, mode: np.ndarray, noise: torch.Tensor) -> torch.Tensor:
        action = self._policy.act_batch(obs, mode, noise.numpy())
        return torch.from_numpy(self._seen.spec.action.to_normal(action).astype(np.float32))

    def _step(self, which: int, loss: torch.Tensor) -> None:
        self._optimizers[which].zero_grad()
        loss.backward()
        self._optimizers[which].step()


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, part: float) -> None:
    """Move ``slow`` a ``part`` of the way to ``fast``."""
    for mine, its in zip(slow.parameters(), fast.parameters()):
        mine.lerp_(its, part)


def least(critics: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    """The smaller of what two critics say: ``x [B, ...]`` -> ``[B]``."""
    return torch.minimum(*(critic(x)[:, 0] for critic in critics))


def steer(
    policy: Policy, env: VecEnv, modes: Sequence[KnownMode], config: SteerConfig,
    on_round: Callable[[Round], None] = lambda done: None,
) -> Steered:
    """Learn to steer ``policy`` in ``env``, which is the robot that it is to be adapted to.

    ``env`` has as many robots as a round has episodes. SteerError where noise does not move the policy.
    """
    seen = Seen.of(env.spec, policy.contract)
    steerer, rng = Steerer(policy, seen, config), np.random.default_rng(config.seed + 1)
    memory: list[Transitions] = []
    rounds: list[Round] = []
    drove: list[Steering] = []
    moved: dict[int, float] = {}
    for _ in range(config.rounds):
        if memory:
            steerer.learn(Transitions.join(memory))
        drove.append(copy.deepcopy(steerer.slow))
        recorder = Recorder(policy, seen, drove[-1], rng)
        drives = drive(env, recorder, modes, config.episodes, int(rng.integers(2**31)))
        memory.append(recorder.rows(drives, config))
        moved = moved or steerable(policy, memory[0].obs, config.seed)
        rounds.append(summary(drives, seen.ids, len(drives.asked) * len(drove), config.gamma))
        on_round(rounds[-1])
    best, better = choose(rounds)
    drove[best].gate.copy_(torch.tensor([float(better[i]) for i in seen.ids]))
    return Steered(drove[best], tuple(rounds), best, moved)


def summary(drives: Drives, ids: Sequence[int], episodes: int, gamma: float) -> Round:
    """Of a round after which there were so many ``episodes``. Unconditioned any way to the goal is as asked."""
    as_asked = drives.run.success & ((drives.taken == drives.asked) | (drives.asked == UNCONDITIONED))
    worth = as_asked * gamma**drives.run.steps
    shares = [{i: float(value[drives.asked == i].mean()) for i in ids} for value in (as_asked, worth)]
    return Round(episodes, *shares)


def choose(rounds: Sequence[Round]) -> tuple[int, dict[int, bool]]:
    """The best of ``rounds``, of which the first is the policy as it was, and which modes were worth more in it than in
    that: the others are not to be steered, so that none is worse than it was."""
    gains = [{i: worth - rounds[0].worth[i] for i, worth in done.worth.items()} for done in rounds]
    best = int(np.argmax([sum(max(gain, 0.0) for gain in of.values()) for of in gains]))
    return best, {i: gain > 0.0 for i, gain in gains[best].items()}


def reach(policy: Policy, obs: np.ndarray, seed: int) -> dict[int, float]:
    """How far noise moves actions, by mode id: their standard deviation over standard normal noise, in units of half
    the action's range, as mean over components and over some of the states ``obs [N, O]``."""
    rng, contract = np.random.default_rng(seed), policy.contract
    states = np.repeat(obs[rng.integers(len(obs), size=REACH_STATES)], REACH_NOISES, 0)
    noise = rng.standard_normal((len(states), contract.noise_dim), np.float32)
    half = np.array([(f.high - f.low) / 2.0 for f in contract.action])
    found = {}
    for mode in (UNCONDITIONED, *contract.mode_ids):
        action = policy.act_batch(states, np.full(len(states), mode), noise) / half
        found[mode] = float(action.reshape(REACH_STATES, REACH_NOISES, -1).std(1).mean())
    return found


def steerable(policy: Policy, obs: np.ndarray, seed: int) -> dict[int, float]:
    """:func:`reach`; SteerError where noise moves no mode's actions in the states ``obs [N, O]``."""
    moved = reach(policy, obs, seed)
    if max(moved.values()) < LEAST_REACH:
        numbers, most = policy.contract.noise_dim, max(moved.values())
        raise SteerError(f"the policy of {policy.contract.task} cannot be steered: its {numbers} numbers of noise move "
                         f"its actions by {most:.1g} of half their range, expected {LEAST_REACH:g} or more; fine-tune "
                         "the run that it is from instead")
    return moved
