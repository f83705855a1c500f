"""What every method has: how it collects, how its learning rates fade, and how it is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ddiffpg_core.actors import Actor
from ddiffpg_core.behaviour import Behaviour
from ddiffpg_core.config import Config
from ddiffpg_core.critic import CriticEnsemble
from ddiffpg_core.demonstration import Demonstration
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Change, Mode
from ddiffpg_core.novelty import Novelty
from ddiffpg_core.replay import Replay
from ddiffpg_core.spec import Step, TaskSpec


class Learner(ABC):
    """Something that learns: it acts, observes what came of it, and updates.

    Its policy, for others to evaluate, is ``slow_actor`` on ``features`` of the observation, conditioned on one of
    ``modes`` or on none. Methods without modes have none, and ``rediscover_modes`` does nothing.

    Everything random is drawn from ``rng`` (choices) and ``noise`` (tensors), both part of the state. A subclass
    makes networks and optimisers, says who explores, and how one update goes.
    """

    actor: Actor
    slow_actor: Actor
    novelty: Novelty
    actor_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer

    def __init__(self, spec: TaskSpec, config: Config, seed: int) -> None:
        self.spec, self.config = spec, config
        self.device = torch.device(config.train.device)
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        self.features = Features(spec).to(self.device)
        n, cell = config.train.num_envs, config.novelty.cell * spec.path_tolerance
        self.replay = Replay(spec, config.replay.trajectories, n, config.modes.path_points, self.device, cell)
        self.behaviour = Behaviour(n, config.actor.embedding_dim, spec.max_steps, config.explore)
        self.cells: set[tuple[int, ...]] = set()
        self.fade = 1.0
        self.transitions = self.updates = 0
        self.batch: Any = None  # what the last update learned from, a dataclass of tensors

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes known now."""
        return ()

    @property
    def judges(self) -> CriticEnsemble | None:
        """The modes' critics, in their order, where the policy is to choose between a few of its actions by them."""
        return None

    # ---- collecting -------------------------------------------------------------------------------

    @abstractmethod
    def _assign(self, env: int) -> None:
        """Give environment ``env`` its role for the next episode."""

    @abstractmethod
    def _describe(self, slot: int) -> None:
        """Say what there is to say of the trajectory in ``slot``, which has just ended."""

    def take_up(self, state: dict[str, Any]) -> None:
        """Begin with what another run has come to (its ``state_dict``): networks, memory, modes.

        Its unfinished episodes are forgotten; roles and all that is random are this run's own.
        """
        behaviour, own = dict(self.behaviour.state_dict()), (self.rng.bit_generator.state, self.noise.get_state())
        self.load_state_dict(state)
        self.behaviour.load_state_dict(behaviour)
        self.rng.bit_generator.state = own[0]
        self.noise.set_state(own[1])
        self.replay.restart(self.rng)
        self.replay.brought = self.replay.finished

    def demonstrate(self, shown: Sequence[Demonstration]) -> None:
        """Keep demonstrations in the memory for good. ValueError where they are too many for it."""
        for demonstration in shown:
            self._describe(self.replay.put(demonstration, self.rng))

    def begin(self, obs: np.ndarray) -> None:
        """First observation of every environment ``[N, O]``."""
        self.replay.start(torch.as_tensor(obs, device=self.device))
        for env in range(len(obs)):
            self._assign(env)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Behaviour: ``obs [N, O]`` -> actions ``[N, A]`` in ±1, random while warming up."""
        if self.transitions < self.config.train.warmup_iterations * len(obs):
            self.behaviour.disturb(np.zeros((len(obs), self.spec.action_dim)), self.rng)
            return self.rng.uniform(-1, 1, (len(obs), self.spec.action_dim)).astype(np.float32)
        if self.config.explore.shake_after or self.config.explore.give_up_after:
            self.behaviour.notice(obs[:, self.spec.path_columns], 0.25 * self.spec.path_tolerance)
        embedding = torch.as_tensor(self.behaviour.embedding(), device=self.device)
        x = self.features(torch.as_tensor(obs, device=self.device))
        return self.behaviour.disturb(self._propose(x, embedding).cpu().numpy(), self.rng)

    def _propose(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """What is done at ``x [N, F]``, asked for ``embedding [N, E]``, before it is disturbed: ``[N, A]`` in ±1."""
        return self.actor.sample(x, embedding, self.noise)

    def observe(self, action: np.ndarray, step: Step) -> None:
        """Keep what ``action [N, A]`` led to; where an episode ended, begin the next."""
        ended = self.replay.append(torch.as_tensor(action, device=self.device), step, self.behaviour.explores)
        self.transitions += len(action)
        cells = np.round(step.final_obs[:, self.spec.path_columns] / self.spec.path_tolerance).astype(int)
        self.cells.update(map(tuple, cells.tolist()))
        obs = torch.as_tensor(step.obs, device=self.device)
        for env in ended:
            self._describe(self.replay.close(env, step))
            self._assign(env)
            self.replay.reopen(env, obs[env], self.rng)

    # ---- learning ---------------------------------------------------------------------------------

    @abstractmethod
    def update(self) -> dict[str, torch.Tensor]:
        """One update from a batch; returns the losses by name."""

    def rediscover_modes(self) -> Change | None:
        """Look for modes anew; None where nothing came of it."""
        return None

    @property
    def settled(self) -> bool:
        """Whether learning rates fade by now: what is known then is made good, and nothing new begun."""
        return self.fade < 1.0

    def schedule(self, progress: float) -> None:
        """Let learning rates fade over the last part of training: ``progress`` runs from 0 to 1."""
        start = self.config.train.fade_from
        self.fade = 1.0 if progress <= start else 1.0 - 0.9 * (progress - start) / (1.0 - start)
        for optimizer, rate in ((self.actor_optimizer, self.config.actor.learning_rate),
                                (self.critic_optimizer, self.config.critic.learning_rate)):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.fade

    # ---- looking and keeping ----------------------------------------------------------------------

    def measures(self) -> dict[str, float]:
        """What is worth plotting; ``coverage_cells`` is how many cells of the task's paths were visited."""
        held = int((self.replay.live & self.replay.success).sum())
        return {"trajectories": self.replay.finished, "successes_held": held, "coverage_cells": len(self.cells)}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here; a subclass adds what is its own."""
        return {
            "novelty_optimizer": self.novelty.optimizer.state_dict(), "replay": self.replay.state_dict(),
            "behaviour": self.behaviour.state_dict(), "cells": sorted(map(list, self.cells)),
            "transitions": self.transitions, "updates": self.updates, "rng": self.rng.bit_generator.state,
            "noise": self.noise.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.novelty.optimizer.load_state_dict(state["novelty_optimizer"])
        self.replay.load_state_dict(state["replay"])
        self.behaviour.load_state_dict(state["behaviour"])
        self.cells = set(map(tuple, state["cells"]))
        self.transitions, self.updates = state["transitions"], state["updates"]
        self.rng.bit_generator.state = state["rng"]
        self.noise.set_state(state["noise"])
