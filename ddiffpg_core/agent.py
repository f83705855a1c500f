"""DDiffPG: act, observe, update, rediscover_modes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ddiffpg_core.agreement import Dynamics, agreement
from ddiffpg_core.batch import FIRST_MODE, Batch, Sampler
from ddiffpg_core.behaviour import how_needed, typical_steps
from ddiffpg_core.choice import ANY, sample_best
from ddiffpg_core.config import Config, ConfigError
from ddiffpg_core.credit import Credit
from ddiffpg_core.critic import Critic, CriticEnsemble, project
from ddiffpg_core.demonstration import Demonstration
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.ground import Ground
from ddiffpg_core.guide import FINDER, Guide
from ddiffpg_core.improve import climb
from ddiffpg_core.learner import Learner
from ddiffpg_core.modes import Change, Mode, ModeBank
from ddiffpg_core.novelty import Novelty
from ddiffpg_core.paths import beside, way
from ddiffpg_core.replay import EXPLORE, FIND, MODE
from ddiffpg_core.spec import Step, TaskSpec
from ddiffpg_core.symmetry import Symmetries

_NETWORKS = ("actor", "slow_actor", "novelty")


class DDiffPG(Learner):
    """Deep diffusion policy gradient (arXiv 2406.00681) with mode-consistent credit."""

    actor: DiffusionActor
    slow_actor: DiffusionActor

    def __init__(self, spec: TaskSpec, config: Config, seed: int) -> None:
        super().__init__(spec, config, seed)
        size, e = self.features.size, config.actor.embedding_dim
        self.actor = DiffusionActor(size, spec.action_dim, config.actor).to(self.device)
        self.slow_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), config.actor.learning_rate, fused=True)
        self.critic = Critic(size + spec.action_dim, FIRST_MODE, config.critic, self.device)
        self.critic_optimizer = self.critic.optimizer
        self.novelty = Novelty(self.features, config.novelty).to(self.device)
        self.bank = ModeBank(config.modes, len(spec.path), e, 2.0 * spec.path_tolerance,
                             2.0 if config.actor.mode_embedding else 0.0, len(spec.outcome))
        self.credit = Credit(config.replay.trajectories, spec.max_steps, spec.path_tolerance)
        self.ground = Ground(config.guide.cell * spec.path_tolerance, len(spec.path))
        self.guide = Guide(config.guide, config.critic.gamma, spec.path_tolerance, config.replay.trajectories,
                           config.novelty.gamma)
        alike = spec.symmetries if config.replay.symmetric else ()
        self.symmetries = Symmetries(alike, spec.obs_dim, spec.action_dim, self.device)
        self.sampler = Sampler(self.replay, self.credit, self.guide, self.features, self.novelty, config.critic,
                               config.replay, self.symmetries, config.improve.finder_afresh)
        special = self.rng.normal(size=(2, e))
        self.special = (2.0 * special / np.linalg.norm(special, axis=1, keepdims=True)).astype(np.float32)
        self.mode_steps = np.zeros(0, np.int64)
        own = torch.Generator(self.device).manual_seed(seed)  # else all that is random would be other without a filter
        self.dynamics = Dynamics(spec, config.agreement, self.device, own) if config.agreement.filter else None

    @property
    def modes(self) -> tuple[Mode, ...]:
        return self.bank.modes

    @property
    def judges(self) -> CriticEnsemble | None:
        return self.critic.target.part(FIRST_MODE) if self.config.actor.candidates > 1 else None

    # ---- collecting -------------------------------------------------------------------------------

    def _propose(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """The actor's own; for a mode and the finder, of a few of these the one that its critic holds for the best."""
        if self.config.actor.candidates == 1:
            return super()._propose(x, embedding)
        whose = torch.full((len(x),), ANY)
        for group, asked in enumerate(self._embeddings()[FIND:], FIND):
            whose[(embedding.cpu() == torch.as_tensor(asked)).all(-1)] = group
        count = self.config.actor.candidates
        return sample_best(self.actor, self.critic.target, count, whose.to(self.device), x, embedding, self.noise)

    def observe(self, action: np.ndarray, step: Step) -> None:
        """As every method; ConfigError where a reward lies outside the critics' atoms."""
        if step.reward.min() < 0.0 or step.reward.max() > self.config.critic.value_max:
            raise ConfigError(f"task {self.spec.name!r} pays {step.reward.min()} to {step.reward.max()}: expected 0 to "
                              f"critic.value_max, which is {self.config.critic.value_max}")
        if self.config.guide.share:
            self._walk(step)
        self.sampler.pools.forget()
        super().observe(action, step)

    def _walk(self, step: Step) -> None:
        """Keep on the map where the robots went; the step into a goal leads nowhere from there."""
        replay, on = self.replay, ~step.success
        before = replay.obs[replay.open, replay.length[replay.open]][:, replay.columns].cpu().numpy()
        self.ground.add(before[on], step.final_obs[on][:, replay.columns])

    def _assign(self, env: int) -> None:
        """A role for the next episode: the first environments run modes, as soon as there are any."""
        exploiters = len(self.behaviour.age) * (1.0 - self.config.explore.explorer_share)
        runs, chance = bool(self.bank.modes) and env < exploiters, None
        if self.bank.modes and self.config.explore.by_need:
            need = how_needed(self.replay, self.bank.ids)
            runs = self.settled or (runs and self.rng.random() < need.max())
            chance = need / need.sum()
        if runs:
            embeddings = np.stack([m.embedding for m in self.bank.modes])
            self.behaviour.exploit(env, embeddings, self.mode_steps, self.rng, chance)
        else:
            found = FINDER in self.guide.worth or bool(self.sampler.to_find().any())
            self.behaviour.explore(env, self.special[0], self.special[1] if found else None, self.rng)

    def _describe(self, slot: int) -> None:
        """The way of a finished trajectory and the mode that it belongs to."""
        replay, modes = self.replay, self.config.modes
        taken = way(replay.path(slot), modes.path_points, self.spec.path_tolerance)
        last = self.spec.outcome_of(replay.obs[slot, replay.length[slot]].cpu().numpy())
        replay.way[slot] = beside(taken, last)
        self.guide.judge(np.array([slot]), replay)
        if self.bank.modes:
            replay.mode[slot] = self._labels(np.array([slot]))[0]
            self.credit.add(slot, replay)

    def demonstrate(self, shown: Sequence[Demonstration]) -> None:
        """As every method; whatever else there is to discover modes from, these take part, and at once."""
        self._fill_library()
        replay, first = self.replay, self.replay.finished
        super().demonstrate(shown)
        new = np.flatnonzero(replay.live & (replay.born >= first))
        if self.config.guide.share:
            for slot in new:
                path = replay.path(int(slot))
                self.ground.add(path[:-2], path[1:-1])
        new = new[np.argsort(replay.born[new])]
        self.bank.add(replay.way[new], replay.mode[new], replay.born[new])
        self.rediscover_modes()

    def _labels(self, slots: np.ndarray) -> np.ndarray:
        """Mode ids of finished trajectories (:meth:`ModeBank.labels`)."""
        return self.bank.labels(self.replay.way[slots], self.replay.success[slots])

    # ---- modes ------------------------------------------------------------------------------------

    def rediscover_modes(self) -> Change | None:
        """Cluster the successes found so far; critics follow the modes, trajectories get their new labels."""
        self._fill_library()
        before = [m.id for m in self.bank.modes]
        change = self.bank.rediscover(self.rng)
        if change is not None:
            self._follow(before, change)
        if self.config.guide.share:
            self.guide.learn(self.ground.map(), self.replay, self.bank.modes, self.config.replay.known_at)
            self.sampler.pools.forget()
        return change

    def _follow(self, before: list[int], change: Change) -> None:
        """Critics, credit and labels go with the modes, which were ``before``."""
        live = np.flatnonzero(self.replay.live)
        self._rearrange_critics(before, change)
        self.credit.follow(dict(zip(self.bank.ids.tolist(), self.bank.prototypes)), self.replay)
        label = self._labels(live)
        moved = live[label != self.replay.mode[live]]
        self.replay.target[MODE, moved] = self.replay.action[moved]
        self.replay.mode[live] = label
        self.mode_steps = typical_steps(self.replay, self.bank.ids, self.spec.max_steps // 4)

    def _fill_library(self) -> None:
        replay = self.replay
        known = self.bank.library.born.max(initial=-1)
        new = np.flatnonzero(replay.live & replay.success & (replay.born > known))
        if len(new) > self.config.modes.new_per_call:
            chance = 1.0 / replay.same_end(new)  # else the few that reach another goal are seldom among them
            new = self.rng.choice(new, self.config.modes.new_per_call, replace=False, p=chance / chance.sum())
        new = new[np.argsort(replay.born[new])]
        self.bank.add(replay.way[new], replay.mode[new], replay.born[new])

    def _rearrange_critics(self, before: list[int], change: Change) -> None:
        """A known mode keeps its critic; a new one starts from its parent's, or from the finder's."""
        group = {mode_id: FIRST_MODE + i for i, mode_id in enumerate(before)}
        sources = [group.get(s, FIND) for s in change.source]
        if [m.id for m in change.modes] != before:
            self.critic.rearrange([0, 1, *sources])

    def measures(self) -> dict[str, float]:
        """What is worth plotting: trajectories, successes, modes, coverage."""
        replay, library = self.replay, self.bank.library
        out = super().measures() | {"modes": len(self.bank.modes), "cluster/paths": len(library.path)}
        apart = library.silhouette()
        if apart is not None:
            out["cluster/silhouette"] = apart
        success = replay.live & replay.success
        return out | {f"mode{m.id}/trajectories": int((success & (replay.mode == m.id)).sum()) for m in self.bank.modes}

    # ---- learning ---------------------------------------------------------------------------------

    def update(self) -> dict[str, torch.Tensor]:
        """One multimodal batch: critics, action improvement, actor, novelty (paper, algorithm 1)."""
        batch = self.batch = self.sampler.draw(self.bank.ids, self._embeddings(), self.rng)
        next_action, away = self._sample_actions(batch)
        target, start = self._target(batch, next_action), self._start(batch, away)
        if self.dynamics is not None:
            target = target * self._trust(batch, self.dynamics)[..., None]
        critic_loss = self.critic.update(torch.cat([batch.x, batch.action], -1), target)
        better = self._within_reach(batch, self._improve(batch, start))
        self._store(batch, better)
        actor_loss = self._update_actor(batch, better)
        novelty_loss = self.novelty.update(batch.visited)
        self.updates += 1
        return {"critic": critic_loss.mean(), "actor": actor_loss, "novelty": novelty_loss}

    def _embeddings(self) -> np.ndarray:
        """Each group's embedding ``[2 + K, E]``."""
        return np.stack([*self.special, *(m.embedding for m in self.bank.modes)])

    @torch.no_grad()
    def _sample_actions(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The actor's own at the next states ``[G, B, A]``, and at those to improve afresh, ``batch.off``."""
        b, off = batch.x.shape[1], batch.off
        noise = self.actor.draw_noise((len(batch.x), 2 * b - batch.home), self.noise)
        next_action = self.actor.from_noise(noise[:, :b], batch.x_next, batch.embedding)
        own = noise[batch.strays:, b + batch.away - batch.home:]
        return next_action, self.actor.from_noise(own, batch.x[off], batch.embedding[off])

    def _target(self, batch: Batch, next_action: torch.Tensor) -> torch.Tensor:
        """What the critics are to say ``[G, B, atoms]``: of the actor's next action, off its way of the best of a few.

        There is no way to stay true to there, and local steps would not find that back is better.
        """
        home, critic = batch.home, self.critic.target
        if not self.config.improve.candidates:
            return project(critic.at(batch.x_next).lower(next_action), batch.reward, batch.discount, critic.atoms)
        near = critic.at(batch.x_next[:, :home]).lower(next_action[:, :home])
        _, far = critic.at(batch.x_next[:, home:]).best(self._candidates(next_action[:, home:], len(next_action)))
        return project(torch.cat([near, far], 1), batch.reward, batch.discount, critic.atoms)

    def _trust(self, batch: Batch, dynamics: Dynamics) -> torch.Tensor:
        """What each row counts for the critics ``[G, B]``: rows brought from another run, as far as they agree."""
        replay, config, (slot, time) = self.replay, self.config.agreement, (batch.rows.slot, batch.rows.time)
        here = replay.steps_here(config.batch_size, self.rng)
        trust = torch.ones_like(batch.reward)
        foreign = torch.as_tensor(replay.foreign, device=self.device)[slot]
        if here is None or not foreign.any():
            return trust
        at = here.slot, here.time
        dynamics.update(replay.obs[at], replay.action[at], replay.obs[here.slot, here.time + 1])
        obs, action = replay.obs[slot, time], replay.action[slot, time]
        led = dynamics.predict(obs.flatten(0, 1), action.flatten(0, 1)).unflatten(1, slot.shape)
        worth = self._worth(torch.cat([replay.obs[slot, time + 1][None], led]), batch.embedding)
        counts = agreement(worth[0], worth[1:], config.least)
        foreign[EXPLORE] = False  # its critic is of novelty, which was another one there
        return torch.where(foreign, counts, trust)

    @torch.no_grad()
    def _worth(self, obs: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """What states ``obs [M, G, B, O]`` are worth to each group by the actor's own action there ``[M, G, B]``."""
        x = self.features(obs)
        noise = self.actor.draw_noise(obs.shape[1:-1], self.noise).expand(len(obs), -1, -1, -1)
        action = self.actor.from_noise(noise, x, embedding.expand(len(obs), -1, -1, -1))
        joined = torch.cat([x, action], -1).transpose(0, 1)  # [G, M, B, F + A]
        return self.critic.target.value(joined.flatten(1, 2)).unflatten(1, joined.shape[1:3]).transpose(0, 1)

    def _start(self, batch: Batch, away: torch.Tensor) -> torch.Tensor:
        """Where improvement starts from ``[G, B, A]``: what is stored, or off a mode's way the best of a few."""
        off, start = batch.off, batch.target.clone()
        if self.config.improve.candidates:
            away, _ = self.critic.online.at(batch.x[off], batch.strays).best(self._candidates(away, len(start)))
        start[off] = torch.where(batch.chosen[off][..., None], batch.action[off], away)
        return start

    def _improve(self, batch: Batch, start: torch.Tensor) -> torch.Tensor:
        """Actions ``[G, B, A]`` improved from ``start``; as they are where nothing is to be improved."""
        better, critic = start.clone(), self.critic.online
        for groups, rows in batch.improved:
            value = critic.at(batch.x[groups, rows], groups.start)
            better[groups, rows] = climb(start[groups, rows], value.gradient, self.config.improve)
        return better

    def _within_reach(self, batch: Batch, better: torch.Tensor) -> torch.Tensor:
        """``better [G, B, A]``, near what was done on a mode's own way and where a row led on.

        No farther from it than the critic is to be trusted.
        """
        home = batch.own & (batch.kind[:, None] == MODE)
        for rows, reach in ((home, self.config.improve.reach), (batch.chosen, self.config.guide.reach)):
            near = better.clamp(batch.action - reach, batch.action + reach)
            better = torch.where(rows[..., None], near, better)
        return better

    def _candidates(self, action: torch.Tensor, groups: int) -> torch.Tensor:
        """``action [G, B, A]`` of the last G of so many groups, and random ones beside it: ``[G, B, C, A]``.

        Random numbers are drawn for all groups, so that what follows is the same whoever needs them.
        """
        shape = (groups, action.shape[1], self.config.improve.candidates, action.shape[2])
        other = torch.rand(shape, generator=self.noise, device=self.device)[groups - len(action):]
        return torch.cat([action[:, :, None], 2.0 * other - 1.0], 2)

    def _store(self, batch: Batch, better: torch.Tensor) -> None:
        """Improvement goes on from here the next time (paper, section 4.1)."""
        kind = batch.kind[:, None].expand_as(batch.own)[batch.own]
        kept = self.symmetries.back(better, batch.seen)[batch.own]
        self.replay.target[kind, batch.rows.slot[batch.own], batch.rows.time[batch.own]] = kept

    def _update_actor(self, batch: Batch, better: torch.Tensor) -> torch.Tensor:
        """Denoising loss; half of each mode's own rows get the null embedding (paper, section 4.4)."""
        drop = torch.rand(batch.own.shape, generator=self.noise, device=self.device) < 0.5
        drop &= batch.own & (batch.kind[:, None] == MODE)
        embedding = batch.embedding * ~drop[..., None]
        loss = self.actor.loss(batch.x, embedding, better, self.noise, batch.taught)
        self.actor_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.actor_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.slow_actor.parameters()), list(self.actor.parameters()),
                                 1 - self.config.actor.ema)
        return loss.detach()

    # ---- keeping ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        parts = {name: dict(getattr(self, name).state_dict()) for name in _NETWORKS}
        return super().state_dict() | parts | {
            "actor_optimizer": self.actor_optimizer.state_dict(), "critic": self.critic.state_dict(),
            "bank": self.bank.state_dict(), "ground": self.ground.state_dict(), "guide": self.guide.state_dict(),
            "credit": self.credit.state_dict(), "mode_steps": self.mode_steps,
            "special": self.special,
        } | ({} if self.dynamics is None else {"dynamics": self.dynamics.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name in _NETWORKS:
            getattr(self, name).load_state_dict(state[name])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic.load_state_dict(state["critic"])
        self.bank.load_state_dict(state["bank"])
        self.ground.load_state_dict(state["ground"])
        self.guide.load_state_dict(state["guide"])
        self.credit.load_state_dict(state["credit"], self.replay)
        self.mode_steps, self.special = state["mode_steps"], state["special"]
        if self.dynamics is not None and "dynamics" in state:  # a run that this one begins from may have none
            self.dynamics.load_state_dict(state["dynamics"])
