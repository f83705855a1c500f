"""The student: a network, or a few in a row, that does in one go what the diffusion actor does in many."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ddiffpg_core.checkpoint import CheckpointError, SavedPolicy, load, load_policy, save
from ddiffpg_core.config import DDIFFPG
from ddiffpg_core.spec import TaskSpec

STUDENT_FILE, POLICY_FILE, CHECKPOINT_FILE = "student.pt", "policy.pt", "checkpoint.pt"
STUDENT_STEPS = (1, 2)
BOUND = 1.0  # actions are in ±1


class DistillError(ValueError):
    """Distilling was asked for in a way that cannot work: says what and what would."""


class RunFileError(ValueError):
    """A file of the run is missing, broken, or does not fit: names it and what to do."""


@contextlib.contextmanager
def reading_run() -> Iterator[None]:
    """What goes wrong in here is the run's fault, unlike a file that cannot be written."""
    try:
        yield
    except CheckpointError as error:
        raise RunFileError(str(error)) from error


def load_teacher(run_dir: Path, spec: TaskSpec) -> SavedPolicy:
    """The run's policy; CheckpointError where a baseline has trained it, which has no modes to keep."""
    path = run_dir / POLICY_FILE
    policy = load_policy(path, spec)
    method = policy.config.train.method
    if method != DDIFFPG:
        raise CheckpointError(f"{path}: was trained by {method!r}, a baseline without modes; only policies of "
                              f"{DDIFFPG!r} are distilled and exported")
    return policy


@dataclass(frozen=True)
class DistillConfig:
    """How a student is made.

    ``steps`` 1 or 2 are so many networks of widths ``hidden``; the teacher's own number of steps is the
    teacher itself. ``pool`` noise-action pairs (labelled by the teacher) are kept to train on; each of the
    ``iterations`` replaces ``fresh`` of them and learns from ``batch_size``. ``jitter`` is the standard
    deviation by which recorded states are moved, in units of each observation's scale. ``null_share`` of
    the rows are unconditioned. ``held_out`` of the trajectories are for measuring only.
    """

    steps: int = 1
    hidden: tuple[int, ...] = (256, 256)
    iterations: int = 6000
    batch_size: int = 1024
    fresh: int = 256
    pool: int = 65536
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    jitter: float = 0.03
    null_share: float = 0.3
    held_out: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class ModeError:
    """How far the student is from the teacher on held-out states, same noise, in units of ±1.

    ``rms`` over action components; ``far``: share of actions more than 0.5 away. ``distance``: between the
    two distributions of actions in a state (Wasserstein-1 a component, mean over states), the teacher
    sampling as in training; ``distance_floor``: the same between two such samples of the teacher.
    """

    rms: float
    far: float
    distance: float
    distance_floor: float


@dataclass(frozen=True)
class StudentReport:
    """What distilling gave. ``errors`` by mode id, -1 is unconditioned; ``pairs`` were labelled by the teacher."""

    steps: int
    states: int
    pairs: int
    config: DistillConfig
    errors: dict[int, ModeError]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        raw = asdict(self)
        raw["config"]["hidden"] = list(self.config.hidden)
        raw["errors"] = {str(k): asdict(v) for k, v in self.errors.items()}
        return raw

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> StudentReport:
        """Back from :meth:`to_dict`."""
        config = DistillConfig(**{**raw["config"], "hidden": tuple(raw["config"]["hidden"])})
        errors = {int(k): ModeError(**v) for k, v in raw["errors"].items()}
        return replace(cls(**{**raw, "config": config, "errors": {}}), errors=errors)


class Student(nn.Module):
    """Noise -> (midpoint ->) action, each arrow a network of its own.

    Each sees features, embedding, all the noise (``seen`` numbers in all), and what the one before it gave.
    """

    def __init__(self, seen: int, action_dim: int, config: DistillConfig) -> None:
        super().__init__()
        before = [0, action_dim]  # what the network before it gave
        self.nets = nn.ModuleList(
            _mlp([seen + before[i > 0], *config.hidden, action_dim]) for i in range(config.steps))

    def states(self, x: torch.Tensor, embedding: torch.Tensor, noise: torch.Tensor) -> list[torch.Tensor]:
        """What each network gives ``[B, A]``, not clamped: ``x [B, F]``, ``embedding [B, E]``, ``noise [B, Z]``."""
        states: list[torch.Tensor] = []
        for net in self.nets:
            states.append(net(torch.cat([x, embedding, noise, *states[-1:]], -1)))
        return states

    def forward(self, x: torch.Tensor, embedding: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions ``[B, A]`` in ±1."""
        return self.states(x, embedding, noise)[-1].clamp(-BOUND, BOUND)


def _mlp(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


@dataclass(frozen=True)
class SavedStudent:
    """A student and how it was made; ``network`` is None where it is the teacher itself."""

    network: Student | None
    report: StudentReport


def student_actions(
    policy: SavedPolicy, network: Student | None, obs: torch.Tensor, embedding: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """``obs [B, O]`` physical, ``embedding [B, E]``, ``noise [B, Z]`` -> ``[B, A]`` in ±1; None is the teacher."""
    x = policy.features(obs)
    return policy.actor.from_noise(noise, x, embedding) if network is None else network(x, embedding, noise)


def fingerprint(policy: SavedPolicy) -> str:
    """Of what the policy does, so that a student of another one is noticed."""
    digest = hashlib.sha256()
    for tensor in (*policy.features.state_dict().values(), *policy.actor.state_dict().values()):
        digest.update(tensor.cpu().numpy().tobytes())
    for mode_id, embedding in sorted(policy.embeddings().items()):
        digest.update(f"{mode_id}:".encode() + np.asarray(embedding, np.float32).tobytes())
    return digest.hexdigest()


def save_student(run_dir: Path, policy: SavedPolicy, student: SavedStudent) -> None:
    """Write ``student.pt`` into the run directory: whole, or not at all."""
    weights = None if student.network is None else dict(student.network.state_dict())
    content = {"teacher": fingerprint(policy), "weights": weights, "report": student.report.to_dict()}
    save(run_dir / STUDENT_FILE, content)


def load_student(run_dir: Path, policy: SavedPolicy) -> SavedStudent:
    """Read ``student.pt``; CheckpointError where there is none, or it is another policy's, or it is damaged."""
    path = run_dir / STUDENT_FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; make it with: ddiffpg distill {run_dir}")
    raw = load(path)
    if raw.get("teacher") != fingerprint(policy):
        raise CheckpointError(
            f"{path}: is another policy's student, not {POLICY_FILE}'s; make it again with: ddiffpg distill {run_dir}"
        )
    try:
        report = StudentReport.from_dict(raw["report"])
        if raw["weights"] is None:
            return SavedStudent(None, report)
        network = new_student(policy, report.config)
        network.load_state_dict(raw["weights"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged, or of another version ({error})") from error
    return SavedStudent(network.eval(), report)


def new_student(policy: SavedPolicy, config: DistillConfig) -> Student:
    """An untrained one that fits the policy."""
    seen = policy.features.size + policy.config.actor.embedding_dim + policy.actor.noise_dim
    return Student(seen, policy.actor.action_dim, config)
