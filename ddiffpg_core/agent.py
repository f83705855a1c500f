"""DDiffPG: act, observe, update, rediscover_modes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddiffpg_core.behaviour import Behaviour
from ddiffpg_core.config import Config
from ddiffpg_core.credit import shortcuts
from ddiffpg_core.critic import Critic
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.features import Features
from ddiffpg_core.improve import improve
from ddiffpg_core.modes import Change, ModeBank
from ddiffpg_core.novelty import Novelty
from ddiffpg_core.paths import way
from ddiffpg_core.replay import EXPLORE, FIND, MODE, Replay, Rows
from ddiffpg_core.spec import Step, TaskSpec

_NETWORKS = ("actor", "slow_actor", "novelty")
FIRST_MODE = 2  # critic groups: 0 explores, 1 finds the nearest goal, modes follow


@dataclass(frozen=True)
class Batch:
    """Transitions of G groups, B each. ``own`` marks rows whose improved action is kept for the next time."""

    rows: Rows
    kind: torch.Tensor
    x: torch.Tensor
    x_one: torch.Tensor
    x_next: torch.Tensor
    action: torch.Tensor
    target: torch.Tensor
    reward: torch.Tensor
    discount: torch.Tensor
    embedding: torch.Tensor
    own: torch.Tensor


class DDiffPG:
    """Deep diffusion policy gradient (arXiv 2406.00681) with mode-consistent credit.

    Everything random is drawn from ``rng`` (choices) and ``noise`` (tensors), both part of the state.
    """

    def __init__(self, spec: TaskSpec, config: Config, seed: int) -> None:
        self.spec, self.config = spec, config
        self.device = torch.device(config.train.device)
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        self.features = Features(spec).to(self.device)
        size = self.features.size
        self.actor = DiffusionActor(size, spec.action_dim, config.actor).to(self.device)
        self.slow_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), config.actor.learning_rate, fused=True)
        self.critic = Critic(size + spec.action_dim, FIRST_MODE, config.critic, self.device)
        self.novelty = Novelty(size, config.novelty).to(self.device)
        n, e = config.train.num_envs, config.actor.embedding_dim
        self.replay = Replay(spec, config.replay.trajectories, n, config.modes.path_points, self.device)
        self.bank = ModeBank(config.modes, len(spec.path), e, spec.path_tolerance)
        self.behaviour = Behaviour(n, e, spec.max_steps, config.explore)
        special = self.rng.normal(size=(2, e))
        self.special = (2.0 * special / np.linalg.norm(special, axis=1, keepdims=True)).astype(np.float32)
        self.mode_steps = np.zeros(0, np.int64)
        self.cells: set[tuple[int, ...]] = set()
        self.fade = 1.0
        self.transitions = 0
        self.updates = 0

    # ---- collecting -------------------------------------------------------------------------------

    def begin(self, obs: np.ndarray) -> None:
        """First observation of every environment ``[N, O]``."""
        self.replay.start(torch.as_tensor(obs, device=self.device), self.behaviour.explorer)
        for env in range(len(obs)):
            self._assign(env)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Behaviour: ``obs [N, O]`` -> actions ``[N, A]`` in ±1, random while warming up."""
        if self.transitions < self.config.train.warmup_iterations * len(obs):
            self.behaviour.disturb(np.zeros((len(obs), self.spec.action_dim)), self.rng)
            return self.rng.uniform(-1, 1, (len(obs), self.spec.action_dim)).astype(np.float32)
        embedding = torch.as_tensor(self.behaviour.embedding(), device=self.device)
        x = self.features(torch.as_tensor(obs, device=self.device))
        return self.behaviour.disturb(self.actor.sample(x, embedding, self.noise).cpu().numpy(), self.rng)

    def observe(self, action: np.ndarray, step: Step) -> None:
        """Keep what happened; where an episode ended, label its way and begin the next."""
        ended = self.replay.append(torch.as_tensor(action, device=self.device), step)
        self.transitions += len(action)
        cells = np.round(step.final_obs[:, self.spec.path_columns] / self.spec.path_tolerance).astype(int)
        self.cells.update(map(tuple, cells.tolist()))
        obs = torch.as_tensor(step.obs, device=self.device)
        for env in ended:
            slot = self.replay.close(env, step)
            self._describe(slot)
            self._assign(env)
            self.replay.reopen(env, obs[env], bool(self.behaviour.explorer[env]), self.rng)

    def _assign(self, env: int) -> None:
        """A role for the next episode: the first environments run modes, as soon as there are any."""
        exploiters = len(self.behaviour.age) * (1.0 - self.config.explore.explorer_share)
        if self.bank.modes and env < exploiters:
            self.behaviour.exploit(env, np.stack([m.embedding for m in self.bank.modes]), self.mode_steps, self.rng)
        else:
            found = bool((self.replay.live & self.replay.success).any())
            self.behaviour.explore(env, self.special[0], self.special[1] if found else None, self.rng)

    def _describe(self, slot: int) -> None:
        """The way of a finished trajectory and the mode that it belongs to."""
        replay, modes = self.replay, self.config.modes
        replay.way[slot] = way(replay.path(slot), modes.path_points, self.spec.path_tolerance)
        if self.bank.modes:
            replay.mode[slot] = self._labels(np.array([slot]))[0]
            for i, mode in enumerate(self.bank.modes):
                self._judge(np.array([slot]), i, mode.prototype)

    def _judge(self, slots: np.ndarray, index: int, way_of_mode: np.ndarray) -> None:
        """What these trajectories are worth to the mode at ``index``: see :mod:`ddiffpg_core.credit`."""
        replay = self.replay
        paths = replay.obs[slots][:, :, replay.columns].cpu().numpy()
        joins, on = shortcuts(paths, way_of_mode, self.spec.path_tolerance)
        replay.joins[index][slots] = joins
        replay.arrives[index][slots] = on[np.arange(len(slots)), replay.length[slots]]

    def _labels(self, slots: np.ndarray) -> np.ndarray:
        """Mode ids of finished trajectories; -1 for a success too far from every mode to be one's."""
        ways, success = self.replay.way[slots], self.replay.success[slots]
        label = np.full(len(slots), -1)
        if success.any():
            gap = self.bank.distances(ways[success])
            nearest = self.bank.ids[gap.argmin(1)]
            label[success] = np.where(gap.min(1) <= self.spec.path_tolerance, nearest, -1)
        if not success.all():
            label[~success] = self.bank.label_failed(ways[~success])
        return label

    # ---- modes ------------------------------------------------------------------------------------

    def rediscover_modes(self) -> Change | None:
        """Cluster the successes found so far; critics follow the modes, trajectories get their new labels."""
        self._fill_library()
        before = [m.id for m in self.bank.modes]
        prototypes = {m.id: (i, m.prototype) for i, m in enumerate(self.bank.modes)}
        change = self.bank.rediscover(self.rng)
        if change is None:
            return None
        live = np.flatnonzero(self.replay.live)
        self._rearrange_critics(before, change)
        self._rejudge(prototypes, live)
        label = self._labels(live)
        moved = live[label != self.replay.mode[live]]
        self.replay.target[MODE, moved] = self.replay.action[moved]
        self.replay.mode[live] = label
        self.mode_steps = np.array([self._typical_steps(m.id) for m in change.modes])
        return change

    def _typical_steps(self, mode_id: int) -> int:
        """How long this mode takes: the median over its newest successes."""
        own = np.flatnonzero(self.replay.live & self.replay.success & (self.replay.mode == mode_id))
        newest = own[np.argsort(self.replay.born[own])][-50:]
        return int(np.median(self.replay.length[newest])) if len(own) else self.spec.max_steps // 4

    def _rejudge(self, before: dict[int, tuple[int, np.ndarray]], live: np.ndarray) -> None:
        """Judge all trajectories anew for the modes whose way is new; the others keep what is known."""
        replay = self.replay
        old_joins, old_arrives = replay.joins, replay.arrives
        replay.clear_judgements(len(self.bank.modes))
        for i, mode in enumerate(self.bank.modes):
            index, prototype = before.get(mode.id, (None, None))
            if prototype is mode.prototype:
                replay.joins[i], replay.arrives[i] = old_joins[index], old_arrives[index]
            else:
                for part in np.array_split(live, max(1, len(live) // 500)):
                    self._judge(part, i, mode.prototype)

    def _fill_library(self) -> None:
        replay, library = self.replay, self.bank.library
        known = library.born.max(initial=-1)
        new = np.flatnonzero(replay.live & replay.success & (replay.born > known))
        if len(new) > self.config.modes.new_per_call:
            new = self.rng.choice(new, self.config.modes.new_per_call, replace=False)
        if len(new):
            new = new[np.argsort(replay.born[new])]
            library.add(replay.way[new], replay.mode[new], replay.born[new])

    def _rearrange_critics(self, before: list[int], change: Change) -> None:
        """A known mode keeps its critic; a new one starts from its parent's, or from the finder's."""
        group = {mode_id: FIRST_MODE + i for i, mode_id in enumerate(before)}
        sources = [group.get(s, FIND) for s in change.source]
        fresh = [m.id not in group for m in change.modes]
        if [m.id for m in change.modes] != before:
            self.critic.rearrange([0, 1, *sources], [False, False, *fresh])

    def measures(self) -> dict[str, float]:
        """What is worth plotting: trajectories, successes, modes, coverage."""
        replay = self.replay
        success = replay.live & replay.success
        out = {"trajectories": replay.finished, "successes_held": int(success.sum()), "modes": len(self.bank.modes),
               "coverage_cells": len(self.cells)}
        return out | {f"mode{m.id}/trajectories": int((success & (replay.mode == m.id)).sum()) for m in self.bank.modes}

    # ---- learning ---------------------------------------------------------------------------------

    def update(self) -> dict[str, torch.Tensor]:
        """One multimodal batch: critics, action improvement, actor, novelty (paper, algorithm 1)."""
        batch = self._draw()
        next_action, sampled = self._sample_actions(batch)
        target = self.critic.target_distribution(
            torch.cat([batch.x_next, next_action], -1), batch.reward, batch.discount)
        critic_loss = self.critic.update(torch.cat([batch.x, batch.action], -1), target)
        start = torch.where(batch.own[..., None], batch.target, sampled)
        better = improve(start, lambda a: self.critic.online.value(torch.cat([batch.x, a], -1)),
                         self.config.improve, self.fade)
        self._store(batch, better)
        actor_loss = self._update_actor(batch, better)
        novelty_loss = self.novelty.update(batch.x_one.flatten(0, 1))
        self.updates += 1
        return {"critic": critic_loss.mean(), "actor": actor_loss, "novelty": novelty_loss}

    def schedule(self, progress: float) -> None:
        """Let learning rates fade over the last part of training: ``progress`` runs from 0 to 1."""
        start = self.config.train.fade_from
        self.fade = 1.0 if progress <= start else 1.0 - 0.9 * (progress - start) / (1.0 - start)
        for optimizer, rate in ((self.actor_optimizer, self.config.actor.learning_rate),
                                (self.critic.optimizer, self.config.critic.learning_rate)):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.fade

    def _draw(self) -> Batch:
        """The same share of rows from every group."""
        replay = self.replay
        groups = FIRST_MODE + len(self.bank.modes)
        b = max(self.config.critic.batch_size // groups, self.config.critic.min_group_rows)
        slots = np.stack([self._explore_slots(b), self._find_slots(b)] + [self._mode_slots(m.id, b) for m in self.bank.modes])
        rows = replay.rows(slots, self.rng)
        own = np.ones(slots.shape, bool)
        own[FIRST_MODE:, int(b * self.config.replay.own_share):] = False
        paid, cut = self._credit(slots, rows)
        kind = torch.tensor([EXPLORE, FIND] + [MODE] * len(self.bank.modes), device=self.device)
        embedding = np.stack([*self.special, *(m.embedding for m in self.bank.modes)])
        return self._batch(rows, kind, torch.as_tensor(embedding, device=self.device),
                           torch.as_tensor(own, device=self.device), (paid, cut))

    def _credit(self, slots: np.ndarray, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Mode-consistent credit of rows ``[G, B]``: whether rewards count, and after how many steps a shortcut ends them."""
        replay, n = self.replay, self.config.critic.n_step
        paid = np.ones(slots.shape, bool)
        cut = np.full(slots.shape, n + 1)
        time = rows.time.cpu().numpy()
        for i, mode in enumerate(self.bank.modes):
            g = FIRST_MODE + i
            own = replay.mode[slots[g]] == mode.id
            paid[g] = own | replay.arrives[i][slots[g]]
            for k in reversed(range(n)):
                at = np.minimum(time[g] + k, replay.joins[i].shape[1] - 1)
                cut[g] = np.where(~own & replay.joins[i][slots[g], at], k + 1, cut[g])
        return torch.as_tensor(paid, device=self.device), torch.as_tensor(cut, device=self.device)

    def _batch(self, rows: Rows, kind: torch.Tensor, embedding: torch.Tensor, own: torch.Tensor,
               credit: tuple[torch.Tensor, torch.Tensor]) -> Batch:
        """Rows as tensors: n-step returns for goals, one step of novelty for exploration."""
        replay, c = self.replay, self.config.critic
        slot, time = rows.slot, rows.time
        paid, cut = credit
        length = torch.as_tensor(replay.length, device=self.device)[slot]
        terminated = torch.as_tensor(replay.terminated, device=self.device)[slot]
        end = torch.minimum(time + c.n_step, length)
        reward = torch.zeros_like(time, dtype=torch.float32)
        for k in range(c.n_step):
            at = time + k
            reward += c.gamma**k * replay.reward[slot, at.clamp(max=replay.reward.shape[1] - 1)] * ((at < length) & (k < cut - 1))
        discount = c.gamma ** (end - time) * ~(terminated & (end == length)) * (cut > c.n_step)
        x = self.features(replay.obs[slot, time])
        x_one = self.features(replay.obs[slot, time + 1])
        x_next = self.features(replay.obs[slot, end])
        reward = reward * paid
        reward[EXPLORE] = self.novelty.reward(x[EXPLORE], x_one[EXPLORE])
        discount[EXPLORE] = c.gamma
        x_next[EXPLORE] = x_one[EXPLORE]
        target = replay.target[kind[:, None], slot, time]
        embedding = embedding[:, None].expand(-1, slot.shape[1], -1)
        return Batch(rows, kind, x, x_one, x_next, replay.action[slot, time], target, reward, discount, embedding, own)

    def _explore_slots(self, b: int) -> np.ndarray:
        held = self.replay.collected()
        explorers = held[self.replay.explorer[held]]
        return self.rng.choice(explorers if len(explorers) else held, b)

    def _find_slots(self, b: int) -> np.ndarray:
        """Half successes of any way, half anything."""
        slots = self.rng.choice(self.replay.collected(), b)
        success = np.flatnonzero(self.replay.live & self.replay.success)
        if len(success):
            slots[: b // 2] = self.rng.choice(success, b // 2)
        return slots

    def _mode_slots(self, mode_id: int, b: int) -> np.ndarray:
        """A mode's own successes, then explorers' data of any kind, then other modes' successes."""
        replay, c = self.replay, self.config.replay
        success = replay.live & replay.success
        own = np.flatnonzero(success & (replay.mode == mode_id))
        other = np.flatnonzero(success & (replay.mode != mode_id))
        anything = np.flatnonzero(replay.live & (replay.explorer | ~replay.success))
        first, second = int(b * c.own_share), int(b * (c.own_share + c.any_share))
        own = own if len(own) else np.flatnonzero(success)
        slots = self.rng.choice(own, b)
        if len(anything):
            slots[first:second] = self.rng.choice(anything, second - first)
        if len(other):
            slots[second:] = self.rng.choice(other, b - second)
        return slots

    def _sample_actions(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The actor's actions at the next states, and at the states themselves."""
        x = torch.cat([batch.x_next, batch.x], 1)
        action = self.actor.sample(x, torch.cat([batch.embedding, batch.embedding], 1), self.noise)
        return action.chunk(2, 1)

    def _store(self, batch: Batch, better: torch.Tensor) -> None:
        """Improvement goes on from here the next time (paper, section 4.1)."""
        kind = batch.kind[:, None].expand_as(batch.own)[batch.own]
        self.replay.target[kind, batch.rows.slot[batch.own], batch.rows.time[batch.own]] = better[batch.own]

    def _update_actor(self, batch: Batch, better: torch.Tensor) -> torch.Tensor:
        """Denoising loss; half of each mode's own rows get the null embedding (paper, section 4.4)."""
        drop = torch.rand(batch.own.shape, generator=self.noise, device=self.device) < 0.5
        drop &= batch.own & (batch.kind[:, None] == MODE)
        embedding = batch.embedding * ~drop[..., None]
        loss = self.actor.loss(batch.x, embedding, better, self.noise)
        self.actor_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.actor_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.slow_actor.parameters()), list(self.actor.parameters()),
                                 1 - self.config.actor.ema)
        return loss.detach()

    # ---- keeping ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here."""
        parts = {name: dict(getattr(self, name).state_dict()) for name in _NETWORKS}
        return {
            **parts, "actor_optimizer": self.actor_optimizer.state_dict(), "critic": self.critic.state_dict(),
            "novelty_optimizer": self.novelty.optimizer.state_dict(), "replay": self.replay.state_dict(),
            "bank": self.bank.state_dict(), "behaviour": self.behaviour.state_dict(),
            "mode_steps": self.mode_steps, "cells": sorted(map(list, self.cells)), "special": self.special, "transitions": self.transitions,
            "updates": self.updates, "rng": self.rng.bit_generator.state, "noise": self.noise.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in _NETWORKS:
            getattr(self, name).load_state_dict(state[name])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic.load_state_dict(state["critic"])
        self.novelty.optimizer.load_state_dict(state["novelty_optimizer"])
        self.replay.load_state_dict(state["replay"])
        self.bank.load_state_dict(state["bank"])
        self.behaviour.load_state_dict(state["behaviour"])
        self.mode_steps, self.special = state["mode_steps"], state["special"]
        self.cells = set(map(tuple, state["cells"]))
        self.transitions, self.updates = state["transitions"], state["updates"]
        self.rng.bit_generator.state = state["rng"]
        self.noise.set_state(state["noise"])
