"""Distillation: a fast student is taught the teacher's deterministic map from noise to action.

The student gives the same action for the same noise, so its distribution over actions, and with it every
mode, is the teacher's by construction. (Matching actions only after the fact, as plain consistency
distillation does, lets modes go.) Training pairs cost nothing but the teacher's own passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ddiffpg_core.checkpoint import CheckpointError, SavedPolicy, load
from ddiffpg_core.spec import TaskSpec
from ddiffpg_export.measure import mode_errors
from ddiffpg_export.student import (
    BOUND,
    CHECKPOINT_FILE,
    STUDENT_STEPS,
    DistillConfig,
    DistillError,
    SavedStudent,
    Student,
    StudentReport,
    load_teacher,
    new_student,
    reading_run,
    save_student,
)

Progress = Callable[[Sequence[int]], Iterable[int]]
"""Put around the iterations: gives them one by one, and shows how far it is."""


def distill(run_dir: Path, spec: TaskSpec, config: DistillConfig, progress: Progress = iter) -> StudentReport:
    """Make a student of the run in ``run_dir`` and write ``student.pt`` there; returns how near it is to its teacher.

    ``progress`` is put around the iterations. Raises DistillError where the run has no such student,
    RunFileError where its files are missing or broken, CheckpointError where the student cannot be written.
    """
    with reading_run():
        policy = load_teacher(run_dir, spec)
        trajectories = recorded(run_dir, spec)
    student = distill_policy(policy, trajectories, config, progress)
    save_student(run_dir, policy, student)
    return student.report


def recorded(run_dir: Path, spec: TaskSpec) -> list[np.ndarray]:
    """Observations ``[L, O]`` (physical units) of every trajectory in the run's replay; CheckpointError without one."""
    path = run_dir / CHECKPOINT_FILE
    content = load(path)
    try:
        replay = content["agent"]["replay"]
        obs, length = np.asarray(replay["obs"], np.float32), replay["length"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: holds no replay ({error})") from error
    if obs.shape[-1] != spec.obs_dim:
        raise CheckpointError(
            f"{path}: observations have {obs.shape[-1]} numbers, those of task {spec.name!r} have {spec.obs_dim}"
        )
    return [obs[i, : n + 1] for i, n in enumerate(length) if n > 0]


def distill_policy(policy: SavedPolicy, trajectories: Sequence[np.ndarray], config: DistillConfig,
                   progress: Progress = iter) -> SavedStudent:
    """The student of ``policy`` on the states of ``trajectories`` (each ``[L, O]``)."""
    train, held = split(trajectories, config)
    network, pairs = None, 0
    if config.steps != policy.actor.steps:
        _check(config, policy)
        network, pairs = _train(policy, train, config, progress)
    report = StudentReport(config.steps, len(train), pairs, config, mode_errors(policy, network, held, config.seed))
    return SavedStudent(network, report)


def split(trajectories: Sequence[np.ndarray], config: DistillConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """States to learn from ``[N, O]`` and held-out ones ``[M, O]``, of different trajectories."""
    if len(trajectories) < 2:
        raise DistillError(f"the replay holds {len(trajectories)} trajectories: expected at least 2; train longer")
    order = np.random.default_rng(config.seed).permutation(len(trajectories))
    count = max(1, round(config.held_out * len(order)))
    parts = (order[count:], order[:count])
    train, held = (torch.from_numpy(np.concatenate([trajectories[i] for i in part])) for part in parts)
    return train, held


def _check(config: DistillConfig, policy: SavedPolicy) -> None:
    if config.steps not in STUDENT_STEPS:
        known = " or ".join(map(str, sorted({*STUDENT_STEPS, policy.actor.steps})))
        raise DistillError(f"steps is {config.steps}: expected {known} for this run")


@dataclass
class Lessons:
    """N pairs: features ``x [N, F]``, ``embedding [N, E]``, ``noise [N, Z]``; and the teacher's ``targets [N, A]``,
    one for each network of the student."""

    x: torch.Tensor
    embedding: torch.Tensor
    noise: torch.Tensor
    targets: list[torch.Tensor]

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [self.x, self.embedding, self.noise, *self.targets]

    def take(self, rows: torch.Tensor) -> Lessons:
        """Only these ``rows``."""
        x, embedding, noise, *targets = (t[rows] for t in self.tensors)
        return Lessons(x, embedding, noise, targets)

    def put(self, rows: slice, other: Lessons) -> None:
        """``other`` in the place of ``rows``."""
        for mine, new in zip(self.tensors, other.tensors):
            mine[rows] = new


class Teacher:
    """Draws lessons: recorded states moved a little, any mode, fresh noise, and what the teacher does."""

    def __init__(self, policy: SavedPolicy, states: torch.Tensor, config: DistillConfig) -> None:
        self._policy, self._states, self._config = policy, states, config
        self._spread = config.jitter * policy.features.get_buffer("scale")
        table = policy.embeddings()
        null = table.pop(-1)
        self._modes = torch.from_numpy(np.stack([*table.values()] or [null]))
        self._random = torch.Generator().manual_seed(config.seed)

    @torch.no_grad()
    def draw(self, count: int) -> Lessons:
        """``count`` new pairs."""
        random = self._random
        row = torch.randint(len(self._states), (count,), generator=random)
        moved = torch.randn(count, self._states.shape[1], generator=random) * self._spread
        x = self._policy.features(self._states[row] + moved)
        mode = torch.randint(len(self._modes), (count,), generator=random)
        asked = torch.rand(count, 1, generator=random) >= self._config.null_share
        embedding = self._modes[mode] * asked
        noise = torch.randn(count, self._policy.actor.noise_dim, generator=random)
        states = self._policy.actor.states(noise, x, embedding)
        middle, action = states[len(states) // 2], states[-1]
        return Lessons(x, embedding, noise, [middle, action.clamp(-BOUND, BOUND)][-self._config.steps :])

    def choose(self, count: int) -> torch.Tensor:
        """Rows of the pool to learn from."""
        return torch.randint(self._config.pool, (count,), generator=self._random)


def _train(policy: SavedPolicy, states: torch.Tensor, config: DistillConfig, progress: Progress) -> tuple[Student, int]:
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = new_student(policy, config)
    teacher = Teacher(policy, states, config)
    pool = teacher.draw(config.pool)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.iterations)
    for i in progress(range(config.iterations)):
        at = i * config.fresh % (config.pool - config.fresh + 1)
        pool.put(slice(at, at + config.fresh), teacher.draw(config.fresh))
        loss = student_loss(network, pool.take(teacher.choose(config.batch_size)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval(), config.pool + config.iterations * config.fresh


def student_loss(network: Student, lessons: Lessons) -> torch.Tensor:
    """Squared error of what every network of the student gives; the last one's action as it is after clamping."""
    *middle, action = network.states(lessons.x, lessons.embedding, lessons.noise)
    loss = clamped_error(action, lessons.targets[-1]).square().mean()
    for state, target in zip(middle, lessons.targets):
        loss = loss + nn.functional.mse_loss(state, target)
    return loss


def clamped_error(action: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """``action - target``, but nothing where both are beyond the same bound: there clamping makes them equal.

    Unlike the error of the clamped action it still has a gradient where the student is beyond the wrong bound.
    """
    beyond = (target.abs() >= BOUND) & (action * target >= BOUND)
    return (action - target) * ~beyond
