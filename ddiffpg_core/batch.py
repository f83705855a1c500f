"""The multimodal batch: the same share of rows from exploration, the finder and every mode (paper, section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ddiffpg_core import led_on
from ddiffpg_core.config import CriticConfig, ReplayConfig
from ddiffpg_core.credit import Credit
from ddiffpg_core.features import Features
from ddiffpg_core.guide import EXPLORER, FINDER, Guide
from ddiffpg_core.novelty import Novelty
from ddiffpg_core.replay import EXPLORE, FIND, MODE, Replay, Rows
from ddiffpg_core.symmetry import Symmetries

_Three = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
_Marks = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
FIRST_MODE = 2  # groups: 0 explores, 1 finds the nearest goal, modes follow


@dataclass(frozen=True)
class Batch:
    """Transitions of G groups, B each, as features; all tensors ``[G, B, ...]`` but ``kind [G]`` and ``visited``.

    ``x_next`` is the state that the return bootstraps from. ``own`` marks rows whose improved action is kept for the
    next time: the first ``home`` of each group from ``strays`` on, and all of those before. The others lie off a
    mode's way, or are no successes of the finder's; of these ``chosen`` marks those drawn for where they led, and those
    that led nowhere are not ``taught``: the actor does not learn from them. Where those are imitated as they were, they
    are the ones up to ``away``, and nothing is improved there.
    ``seen`` is the symmetry through which states and actions are seen (:class:`Symmetries`).
    ``visited [V, F]`` are states as often as they were visited, for novelty to learn from.
    """

    rows: Rows
    kind: torch.Tensor
    x: torch.Tensor
    x_next: torch.Tensor
    action: torch.Tensor
    target: torch.Tensor
    reward: torch.Tensor
    discount: torch.Tensor
    embedding: torch.Tensor
    own: torch.Tensor
    chosen: torch.Tensor
    taught: torch.Tensor
    seen: torch.Tensor
    home: int
    away: int
    strays: int
    visited: torch.Tensor

    @property
    def off(self) -> tuple[slice, slice]:
        """Rows off the modes' ways that are improved, and the finder's where those are improved afresh too."""
        return slice(self.strays, None), slice(self.away, None)

    @property
    def improved(self) -> tuple[tuple[slice, slice | torch.Tensor], ...]:
        """Groups, and their rows whose actions are improved."""
        if self.away == self.home:
            return ((slice(0, None), slice(None)),)
        b, device = self.x.shape[1], self.x.device
        rows = torch.cat([torch.arange(self.home, device=device), torch.arange(self.away, b, device=device)])
        return (slice(0, self.strays), slice(None)), (slice(self.strays, None), rows)


@dataclass(frozen=True)
class Sampler:
    """Draws batches from ``replay`` with mode-consistent ``credit``, whose returns go by the ``guide``."""

    replay: Replay
    credit: Credit
    guide: Guide
    features: Features
    novelty: Novelty
    critic: CriticConfig
    shares: ReplayConfig
    symmetries: Symmetries
    finder_afresh: bool = False
    pools: led_on.Pools = field(default_factory=led_on.Pools)

    def draw(self, mode_ids: np.ndarray, embedding: np.ndarray, rng: np.random.Generator) -> Batch:
        """A batch for the modes ``mode_ids [K]``; ``embedding [2 + K, E]`` is each group's."""
        b = max(self.critic.batch_size // len(embedding), self.critic.min_group_rows)
        modes = [self._mode_slots(i, b, rng) for i in mode_ids]
        to_find = self.to_find()
        slots = np.stack([self._explore_slots(b, rng), self._find_slots(to_find, b, rng), *modes])
        rows, *marks = self._that_led_on(self.replay.rows(slots, rng, EXPLORE), mode_ids, self._found(to_find, b), rng)
        slots = rows.slot.cpu().numpy()
        own = np.ones(slots.shape, bool)
        own[self._strays:, self._home(b):] = False
        away = self._away(b, *marks)
        kind = torch.tensor([EXPLORE, FIND] + [MODE] * len(mode_ids), device=rows.slot.device)
        wide = torch.as_tensor(embedding, device=kind.device)[:, None].expand(-1, b, -1)
        own, chosen, taught = (torch.as_tensor(rows, device=kind.device) for rows in (own, *marks))
        returns = self._guided(mode_ids, rows, *self._returns(rows, *self._credit(slots, rows, mode_ids, to_find)))
        seen = self.symmetries.draw(slots.shape, rng)
        return self._batch(rows, kind, wide, (own, chosen, taught, seen), returns, away)

    def _home(self, b: int) -> int:
        """How many of a mode's ``b`` rows are of its own successes."""
        return int(b * self.shares.own_share)

    def _away(self, b: int, chosen: np.ndarray, taught: np.ndarray) -> int:
        """The first of ``b`` rows off the ways that are improved: not those that led on, imitated as they were."""
        home, others = self._home(b), self._others_from(b)
        spared = (chosen | ~taught)[self._strays:, home:others].all() and not self.guide.config.reach
        return others if spared else home

    def _others_from(self, b: int) -> int:
        """The first of a mode's ``b`` rows that is of other modes; those before, up to home, are of anything."""
        return int(b * (self.shares.own_share + self.shares.any_share))

    def _anything(self) -> np.ndarray:
        """Slots of all that has ended but other ways' exploitation ``[N]``."""
        return np.flatnonzero(self.replay.live & (self.replay.explorer | ~self.replay.success))

    @property
    def _strays(self) -> int:
        """The first group with rows whose improvement starts from the actor's own action."""
        return FIND if self.finder_afresh else FIRST_MODE

    def _explore_slots(self, b: int, rng: np.random.Generator) -> np.ndarray:
        held = self.replay.collected()
        explorers = held[self.replay.explorer[held]]
        slots = rng.choice(explorers if len(explorers) else held, b)
        rare = self._rare(b)
        if rare:
            finished, chance = self.replay.by_rarity()
            if len(finished):
                slots[:rare] = rng.choice(finished, rare, p=chance)
        return slots

    def _rare(self, b: int) -> int:
        """How many of exploration's ``b`` rows are drawn by how rare their trajectories are."""
        return int(b * self.shares.rare_share)

    def _led(self, b: int) -> slice:
        """Which of exploration's ``b`` rows are drawn for where they led."""
        return slice(b - int(b * self.guide.config.explorers), b)

    def _find_slots(self, to_find: np.ndarray, b: int, rng: np.random.Generator) -> np.ndarray:
        """Half successes, of any way or of new ones; half anything. Afresh few of a success that is one of a few."""
        slots = rng.choice(self.replay.collected(), b)
        success = np.flatnonzero(to_find)
        if len(success):
            rare = 1.0 / self.replay.same_end(success) if self.shares.known_at else None
            count = self._found(to_find, b)
            slots[:count] = self._successes(success, count, rng, rare)
        return slots

    def _found(self, to_find: np.ndarray, b: int) -> int:
        """How many of the finder's ``b`` rows are of successes ``to_find [S]``."""
        return min(self._home(b), 8 * int(to_find.sum())) if self.finder_afresh else b // 2 * bool(to_find.any())

    def to_find(self) -> np.ndarray:
        """Which trajectories ``[S]`` the finder is paid for."""
        success, mode = self.replay.live & self.replay.success, self.replay.mode
        if not self.shares.known_at:
            return success
        if self.guide.config.share:
            return success & self.guide.new
        ids, count = np.unique(mode[success & (mode >= 0)], return_counts=True)
        return success & ~np.isin(mode, ids[count >= self.shares.known_at])

    def _successes(self, success: np.ndarray, count: int, rng: np.random.Generator,
                   weight: np.ndarray | None = None) -> np.ndarray:
        """``count`` of the slots ``success [N]`` by ``weight [N]``, and by what the discount leaves of their goals."""
        chance = np.ones(len(success)) if weight is None else weight
        if self.shares.prefer_quick:
            length = self.replay.length[success]
            chance = chance * self.critic.gamma ** (length - length.min())
        return rng.choice(success, count, p=chance / chance.sum())

    def _mode_slots(self, mode_id: int, b: int, rng: np.random.Generator) -> np.ndarray:
        """A mode's own successes, then anything but other ways' exploitation, then other modes' successes."""
        replay = self.replay
        success = replay.live & replay.success
        own = np.flatnonzero(success & (replay.mode == mode_id))
        other = np.flatnonzero(success & (replay.mode != mode_id))
        anything, first, second = self._anything(), self._home(b), self._others_from(b)
        slots = self._successes(own if len(own) else np.flatnonzero(success), b, rng)
        if len(anything):
            slots[first:second] = rng.choice(anything, second - first)
        if len(other):
            slots[second:] = rng.choice(other, b - second)
        return slots

    def _credit(self, slots: np.ndarray, rows: Rows, mode_ids: np.ndarray,
                to_find: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows ``[G, B]``: whether goals count, and the step at which a shortcut ends them."""
        steps = self.critic.n_step
        paid, cut = np.ones(slots.shape, bool), np.full(slots.shape, steps + 1)
        time = rows.time.cpu().numpy()
        paid[FIND] = to_find[slots[FIND]]
        consistent = self.critic.per_mode and self.shares.mode_consistent
        for g, mode_id in enumerate(mode_ids if consistent else (), FIRST_MODE):
            foreign = self.replay.mode[slots[g]] != mode_id
            row, at = slots[g, foreign], time[g, foreign]
            other = self.replay.success[row] & (self.replay.mode[row] >= 0)
            paid[g, foreign], cut[g, foreign] = self.credit.of(mode_id, row, at, other, steps)
        device = rows.slot.device
        return torch.as_tensor(paid, device=device), torch.as_tensor(cut, device=device)

    def _that_led_on(self, rows: Rows, mode_ids: np.ndarray, found: int,
                     rng: np.random.Generator) -> tuple[Rows, np.ndarray, np.ndarray]:
        """``rows [G, B]`` with those off the ways exchanged for such as led on (:class:`GuideConfig`), which did, and
        from which the actor learns. The finder's own are those that it has ``found``."""
        chosen, b, config = np.zeros(rows.slot.shape, bool), rows.slot.shape[1], self.guide.config
        taught = ~chosen
        anything = self._anything() if config.ahead and self.guide.worth else np.zeros(0, int)
        if not len(anything):
            return rows, chosen, taught
        pool = self.pools.now(self.replay, self.guide, anything, rng)
        slots, time = (part.cpu().numpy().copy() for part in (rows.slot, rows.time))
        first, second = self._home(b), self._others_from(b)
        for g, who in enumerate((EXPLORER, FINDER, *mode_ids.tolist())):
            if who in self.guide.worth:
                begin, end = ((self._led(b).start, b), (min(found, first), b), (first, second))[min(g, FIRST_MODE)]
                middle = end if who == EXPLORER else begin + round((end - begin) * config.led)
                best, led = led_on.choose(pool, self.guide, who, middle - begin, rng)
                slots[g, begin:middle], time[g, begin:middle] = pool.slots[best], pool.time[best]
                chosen[g, begin:middle], taught[g, begin:middle] = led, led
                taught[g, middle:end] = False
        device = rows.slot.device
        return Rows(*(torch.from_numpy(part).to(device) for part in (slots, time))), chosen, taught

    def _batch(self, rows: Rows, kind: torch.Tensor, embedding: torch.Tensor, marks: _Marks,
               returns: _Three, away: int) -> Batch:
        """Rows as tensors: n-step returns towards goals, and of novelty for exploration."""
        replay, slot, time, seen = self.replay, rows.slot, rows.time, marks[-1]
        reward, discount, end = returns
        reward[EXPLORE], discount[EXPLORE], end[EXPLORE] = self._novel_returns(slot[EXPLORE], time[EXPLORE])
        x, x_next = (self.features(self.symmetries.of_obs(replay.obs[slot, at], seen)) for at in (time, end))
        action, target = (self.symmetries.of_action(kept, seen) for kept in (
            replay.action[slot, time], replay.target[kind[:, None], slot, time]))
        return Batch(rows, kind, x, x_next, action, target, reward, discount, embedding, *marks,
                     self._home(slot.shape[1]), away, self._strays, self._visited(rows))

    def _guided(self, mode_ids: np.ndarray, rows: Rows, reward: torch.Tensor, discount: torch.Tensor,
                end: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A share of what the returns of the finder and the modes bootstrap from is what the map says (guide.py)."""
        share, replay = self.guide.config.share, self.replay
        for g, who in enumerate((FINDER, *mode_ids.tolist()), FIND) if share else ():
            points = replay.obs[rows.slot[g], end[g]][:, replay.columns].cpu().numpy()
            value = self.guide.value(who, points)
            if value is not None:
                reward[g] += discount[g] * share * torch.as_tensor(value, dtype=torch.float32, device=reward.device)
                discount[g] *= 1.0 - share
        return reward, discount, end

    def _visited(self, rows: Rows) -> torch.Tensor:
        """The next states of exploration's and the finder's rows, the former's left out that were drawn for being rare.

        Else a rare place would be as well known by being drawn as by being visited.
        """
        b = rows.slot.shape[1]
        drawn = torch.ones_like(rows.slot[:FIRST_MODE], dtype=torch.bool)
        drawn[EXPLORE, : self._rare(b)] = drawn[EXPLORE, self._led(b)] = False
        slot, time = rows.slot[:FIRST_MODE][drawn], rows.time[:FIRST_MODE][drawn]
        return self.features(self.replay.obs[slot, time + 1])

    def _novel_returns(self, slot: torch.Tensor, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """n-step return of novelty from ``slot, time [B]``, its discount, and the time it bootstraps from ``[B]``.

        No episode's end ends it: exploring goes on.
        """
        replay, n = self.replay, self.novelty.config.n_step
        length = torch.as_tensor(replay.length, device=slot.device)[slot]
        at = torch.minimum(time[:, None] + torch.arange(n + 1, device=slot.device), length[:, None])
        x = self.features(replay.obs[slot[:, None], at])
        step = at[:, :-1].clamp(max=replay.enters.shape[1] - 1)
        pays = (at[:, 1:] > at[:, :-1]) & replay.enters[slot[:, None], step]
        gamma = self.novelty.config.gamma
        weight = gamma ** torch.arange(n, device=slot.device)
        return (self.novelty.reward(x, pays) * weight).sum(1), gamma ** (at[:, -1] - time), at[:, -1]

    def _returns(self, rows: Rows, paid: torch.Tensor,
                 cut: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """n-step reward, discount (zero after termination or a shortcut, not after a time limit), last state's time."""
        replay, c, slot, time = self.replay, self.critic, rows.slot, rows.time
        length = torch.as_tensor(replay.length, device=slot.device)[slot]
        terminated = torch.as_tensor(replay.terminated, device=slot.device)[slot]
        end = torch.minimum(time + c.n_step, length)
        reward = torch.zeros(slot.shape, device=slot.device)
        for k in range(c.n_step):
            at = (time + k).clamp(max=replay.reward.shape[1] - 1)
            reward += c.gamma**k * replay.reward[slot, at] * ((time + k < length) & (k < cut - 1))
        over = (terminated & (end == length)) | (cut <= c.n_step)
        return reward * paid, c.gamma ** (end - time) * ~over, end
