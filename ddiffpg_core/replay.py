"""Replay memory of whole trajectories, each in a slot of its own; nothing is copied when one ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddiffpg_core.demonstration import Demonstration
from ddiffpg_core.paths import rarity
from ddiffpg_core.spec import Step, TaskSpec

_PER_SLOT = ("obs", "action", "reward", "enters", "length", "success", "terminated", "live", "explores", "explored",
             "mode", "way", "born")
EXPLORE, FIND, MODE = 0, 1, 2  # which group a stored target action belongs to


@dataclass(frozen=True)
class Rows:
    """Transitions drawn for G groups; slot and time ``[G, B]`` say where each lies."""

    slot: torch.Tensor
    time: torch.Tensor


class Replay:
    """S slots of at most H steps. A slot is open (being filled by one environment), live, or free.

    Networks read ``obs``, ``action``, ``reward`` and ``target`` (torch, on the device); what is known of a
    whole trajectory is kept beside them in numpy. ``explores`` marks steps that explored, not those that headed for a
    goal or ran a mode, and ``explored`` counts them. ``enters`` marks steps that enter a cell of the path (its edge
    ``cell`` metres) and the outcome (a sixteenth of each field's scale) in which the trajectory has not been before;
    every step where ``cell`` is 0. ``demos`` has the slots of demonstrations, which stay for good, and for each the
    steps to learn from.
    """

    def __init__(self, spec: TaskSpec, slots: int, num_envs: int, path_points: int, device: torch.device,
                 cell: float = 0.0) -> None:
        if slots < 2 * num_envs:
            raise ValueError(f"replay.trajectories is {slots}: expected at least twice train.num_envs ({num_envs})")
        h, a, p = spec.max_steps, spec.action_dim, len(spec.path)
        self.columns = spec.path_columns
        self.cell = cell
        seen = [*spec.path_columns, *spec.outcome_columns]
        edges = [cell] * p + [spec.observation[i].scale / 16.0 for i in spec.outcome_columns]
        self._seen, self._edges = np.array(seen), torch.tensor(edges, device=device)
        self.tolerance = spec.path_tolerance
        self._rarity = self._ends = (-1, np.zeros(0))  # by_rarity and same_end as of so many finished trajectories
        self.obs = torch.zeros(slots, h + 1, spec.obs_dim, device=device)
        self.action = torch.zeros(slots, h, a, device=device)
        self.reward = torch.zeros(slots, h, device=device)
        self.enters = torch.ones(slots, h, dtype=torch.bool, device=device)
        self.target = torch.zeros(3, slots, h, a, device=device)
        self.length = np.zeros(slots, np.int64)
        self.success = np.zeros(slots, bool)
        self.terminated = np.zeros(slots, bool)
        self.live = np.zeros(slots, bool)
        self.explores = np.zeros((slots, h), bool)
        self.explored = np.zeros(slots, np.int64)
        self.mode = np.full(slots, -1)
        self.way = np.zeros((slots, path_points, p + len(spec.outcome)), np.float32)
        self.born = np.zeros(slots, np.int64)
        self.demos: dict[int, np.ndarray] = {}
        self.finished = self.brought = 0
        self.open = np.arange(num_envs)

    @property
    def explorer(self) -> np.ndarray:
        """Which trajectories explored for at least a step."""
        return self.explored > 0

    def start(self, obs: torch.Tensor) -> None:
        """Begin an episode in every environment at ``obs [N, O]``."""
        self.obs[self.open, 0] = obs

    def path(self, slot: int) -> np.ndarray:
        """The path of a trajectory so far ``[L + 1, D]``, metres."""
        return self.obs[slot, : self.length[slot] + 1][:, self.columns].cpu().numpy()

    def append(self, action: torch.Tensor, step: Step, explores: np.ndarray | bool = True) -> np.ndarray:
        """Add one step of every environment (``action [N, A]`` in ±1), whether it ``explores [N]``.

        Returns the environments that ended.
        """
        slot, at = self.open, self.length[self.open]
        self.action[slot, at] = action
        self.target[:, slot, at] = action
        self.reward[slot, at] = torch.as_tensor(step.reward, dtype=torch.float32, device=self.obs.device)
        self.obs[slot, at + 1] = torch.as_tensor(step.final_obs, dtype=torch.float32, device=self.obs.device)
        if self.cell:
            self.enters[slot, at] = self._enters(slot, at)
        self.explores[slot, at] = explores
        self.explored[slot] += explores
        self.length[slot] += 1
        return np.flatnonzero(step.done)

    def _enters(self, slot: np.ndarray, at: np.ndarray) -> torch.Tensor:
        """Whether the steps ``at [N]`` of ``slot [N]`` enter a cell for the first time in their trajectories."""
        times = np.arange(at.max() + 2)
        seen = self.obs[slot[:, None, None], times[:, None], self._seen]
        cells = (seen / self._edges).floor()
        same = (cells == cells[np.arange(len(at)), at + 1][:, None]).all(-1)
        before = torch.as_tensor(times <= at[:, None], device=seen.device)
        return ~(same & before).any(1)

    def close(self, env: int, step: Step) -> int:
        """End the trajectory of environment ``env``; returns its slot."""
        slot = int(self.open[env])
        self._end(slot, bool(step.success[env]), bool(step.terminated[env]))
        return slot

    def _end(self, slot: int, success: bool, terminated: bool) -> None:
        self.success[slot], self.terminated[slot] = success, terminated
        self.live[slot] = True
        self.born[slot] = self.finished
        self.finished += 1

    def reopen(self, env: int, obs: torch.Tensor, rng: np.random.Generator) -> None:
        """Give environment ``env`` a free slot, beginning at ``obs [O]``."""
        slot = self._free_slot(rng)
        self.open[env] = slot
        self._clear(slot)
        self.obs[slot, 0] = obs

    def _clear(self, slot: int) -> None:
        self.length[slot] = self.explored[slot] = 0
        self.live[slot] = self.success[slot] = self.terminated[slot] = False
        self.mode[slot] = -1

    def restart(self, rng: np.random.Generator) -> None:
        """Forget the episodes that have not ended: every environment gets a free slot."""
        self.length[self.open] = self.explored[self.open] = 0
        count, self.open = len(self.open), self.open[:0]
        for _ in range(count):
            slot = self._free_slot(rng)
            self.open = np.append(self.open, slot)
            self._clear(slot)

    def put(self, shown: Demonstration, rng: np.random.Generator) -> int:
        """Keep a demonstration for good; returns its slot. ValueError where half of the memory holds such already."""
        if 2 * (len(self.demos) + 1) > len(self.live) - len(self.open):
            raise ValueError(f"{len(self.demos)} demonstrations fill half of the memory: "
                             f"raise replay.trajectories ({len(self.live)}), or give fewer")
        slot, steps, device = self._free_slot(rng), len(shown.action), self.obs.device
        self._clear(slot)
        self.obs[slot, : steps + 1] = torch.as_tensor(shown.obs, device=device)
        self.action[slot, :steps] = torch.as_tensor(shown.action, device=device)
        self.target[:, slot, :steps] = self.action[slot, :steps]
        self.reward[slot, :steps] = torch.as_tensor(shown.reward, device=device)
        if self.cell:
            self.enters[slot, :steps] = self._enters(np.full(steps, slot), np.arange(steps))
        self.explores[slot] = False
        self.length[slot], self.demos[slot] = steps, np.flatnonzero(shown.counts)
        self._end(slot, success=True, terminated=True)
        return slot

    def _free_slot(self, rng: np.random.Generator) -> int:
        """A slot never used, else a failure's, else one of the mode that holds the most; never a demonstration's.

        Successes of no mode are of ways too rare to be one yet: they go only where they fill a third of the memory.
        """
        taken = self.live.copy()
        taken[self.open] = True
        free = np.flatnonzero(~taken)
        if len(free):
            return int(free[0])
        failed = np.flatnonzero(self.live & ~self.success)
        if len(failed) > len(self.live) // 3:
            return int(rng.choice(failed))
        may_go = self.live & self.success
        may_go[list(self.demos)] = False
        ids, counts = np.unique(self.mode[may_go], return_counts=True)
        counts = np.where((ids < 0) & (counts < len(self.live) // 3), 0, counts)
        return int(rng.choice(np.flatnonzero(may_go & (self.mode == ids[counts.argmax()]))))

    def collected(self) -> np.ndarray:
        """Slots that hold at least one step."""
        return np.flatnonzero(self.length > 0)

    @property
    def foreign(self) -> np.ndarray:
        """Which slots ``[S]`` hold what was brought from another run."""
        return self.live & (self.born < self.brought)

    def steps_here(self, count: int, rng: np.random.Generator) -> Rows | None:
        """``count`` steps of this run, demonstrations among them, each as likely ``[count]``; None where there is none.
        """
        own = np.flatnonzero((self.length > 0) & ~self.foreign)
        if not len(own):
            return None
        slot = rng.choice(own, count, p=self.length[own] / self.length[own].sum())
        time = (rng.random(count) * self.length[slot]).astype(np.int64)
        return Rows(*(torch.from_numpy(part).to(self.obs.device) for part in (slot, time)))

    def by_rarity(self) -> tuple[np.ndarray, np.ndarray]:
        """Slots of explorers' finished trajectories ``[N]``, and how likely each is drawn by its rarity ``[N]``."""
        slots = np.flatnonzero(self.live & self.explorer)
        if self._rarity[0] != self.finished and len(slots):
            rare = rarity(self.way[slots], self.tolerance)
            self._rarity = (self.finished, rare / rare.sum())
        return slots, self._rarity[1]

    def newest(self, of: np.ndarray, count: int) -> np.ndarray:
        """The ``count`` newest of the slots marked in ``of [S]``, or all of them, the oldest first."""
        slots = np.flatnonzero(of)
        return slots[np.argsort(self.born[slots])][-count:]

    def same_end(self, slots: np.ndarray) -> np.ndarray:
        """How many successes end at the place and with the outcome of each of ``slots``, itself included ``[N]``."""
        if self._ends[0] != self.finished:
            every = np.flatnonzero(self.live & self.success)
            place = np.round(self.way[every, -1] / (2.0 * self.tolerance))
            _, index, count = np.unique(place, axis=0, return_inverse=True, return_counts=True)
            alike = np.zeros(len(self.live), np.int64)
            alike[every] = count[index.ravel()]
            self._ends = (self.finished, alike)
        return self._ends[1][slots]

    def rows(self, slots: np.ndarray, rng: np.random.Generator, explores: int | None = None) -> Rows:
        """A random step of each trajectory in ``slots [G, B]``; for group ``explores`` one of those that explore.

        Of a demonstration it is one of those that are learned from.
        """
        chance = rng.random(slots.shape)
        time = (chance * self.length[slots]).astype(np.int64)
        if explores is not None:
            own = slots[explores]
            nth = (chance[explores] * self.explored[own]).astype(np.int64)
            time[explores] = (self.explores[own].cumsum(1) > nth[:, None]).argmax(1)
        for slot, steps in self.demos.items():
            drawn = slots == slot
            time[drawn] = steps[(chance[drawn] * len(steps)).astype(np.int64)]
        device = self.obs.device
        return Rows(torch.from_numpy(slots).to(device), torch.from_numpy(time).to(device))

    def state_dict(self) -> dict[str, Any]:
        """All of it: the used part of each array, as a view of it where it is in the CPU's memory.

        As arrays, not as tensors: of a view of a tensor, all of its storage would be saved.
        """
        used = int(max(self.open.max(), self.collected().max(initial=0))) + 1
        state: dict[str, Any] = {name: _array(getattr(self, name)[:used]) for name in _PER_SLOT}
        state["target"] = [_array(kind[:used]) for kind in self.target]
        return {**state, "open": self.open, "finished": self.finished, "brought": self.brought,
                "demos": self.demos}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        used = len(state["length"])
        for name in _PER_SLOT:
            mine = getattr(self, name)
            mine[:used] = torch.as_tensor(state[name]) if isinstance(mine, torch.Tensor) else state[name]
        for mine, kept in zip(self.target, state["target"]):
            mine[:used] = torch.as_tensor(kept)
        self.open, self.finished = state["open"].copy(), state["finished"]
        # checkpoints from before there were any have none of these
        self.demos, self.brought = dict(state.get("demos", {})), state.get("brought", 0)


def _array(value: np.ndarray | torch.Tensor) -> np.ndarray:
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else value
