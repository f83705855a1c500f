"""Files of a run, written atomically and read with errors that name the file.

``checkpoint.pt`` holds everything that training needs to go on exactly; ``policy.pt`` holds what acting needs.
Both are plain tensors and values (loaded with ``weights_only``): no code is run by opening one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from ddiffpg_core.actors import Actor, new_actor
from ddiffpg_core.config import Config, ConfigError, from_dict, to_dict
from ddiffpg_core.critic import CriticEnsemble
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Mode
from ddiffpg_core.spec import TaskSpec

FORMAT = 1


class CheckpointError(RuntimeError):
    """A file of a run cannot be read or written: names the file and what to do."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors, arrays, plain values) so that ``path`` is always whole: the old or the new."""
    with replacing(path) as file:
        torch.save(_pack({"format": FORMAT, **content}), file)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` when all of it is on the disk; raises CheckpointError where it cannot."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: could not be written ({_refusal(error)}); what was there before is unharmed: "
                              "make room where the disk is full, then resume") from error
    finally:
        with suppress(OSError):  # gone by now if all went well; and the folder may be the very thing that refuses
            part.unlink()


def _refusal(error: BaseException) -> BaseException:
    """What the system said; torch covers it with an error of its own about the archive that it could not end."""
    first: BaseException | None = error
    while first is not None and not isinstance(first, OSError):
        first = first.__context__
    return first or error


def load(path: Path) -> dict[str, Any]:
    """Read what :func:`save` wrote."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; is this the directory of a training run?")
    try:
        content = _unpack(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises a dozen kinds for a file that is cut short or foreign
        raise CheckpointError(f"{path}: cut short or not a checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of format {FORMAT}")
    return content


def _pack(value: Any) -> Any:
    """Arrays as tensors under a marker, dataclasses as their fields, everything else as it is."""
    if is_dataclass(value):
        return {f.name: _pack(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return {"__array__": torch.from_numpy(np.asarray(value, order="C"))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {k: _pack(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_pack(v) for v in value)
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return value["__array__"].numpy()
        return {k: _unpack(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_unpack(v) for v in value)
    return value


@dataclass(frozen=True)
class SavedPolicy:
    """A trained policy outside of training: networks, modes, where it came from, what it achieved.

    ``judges`` are the modes' critics, in their order, by which it chooses between a few of its actions; None: it does
    not. ``randomise`` is the description of what varied from episode to episode, in plain values; empty: nothing.
    """

    task: str
    seed: int
    transitions: int
    commit: str
    config: Config
    features: Features
    actor: Actor
    modes: tuple[Mode, ...]
    report: dict[str, Any]
    randomise: dict[str, Any] = field(default_factory=dict)
    judges: CriticEnsemble | None = None

    def embeddings(self) -> dict[int, np.ndarray]:
        """Mode id -> embedding; -1, unconditioned, is all zeros."""
        null = np.zeros(self.config.actor.embedding_dim, np.float32)
        return {-1: null, **{m.id: m.embedding for m in self.modes}}


def save_policy(path: Path, policy: SavedPolicy) -> None:
    """Write a policy; see :func:`save`."""
    save(path, {
        "task": policy.task, "seed": policy.seed, "transitions": policy.transitions, "commit": policy.commit,
        "config": to_dict(policy.config), "features": dict(policy.features.state_dict()),
        "actor": dict(policy.actor.state_dict()), "modes": [m.to_dict() for m in policy.modes], "report": policy.report,
        "randomise": policy.randomise, "judges": None if policy.judges is None else dict(policy.judges.state_dict()),
    })


def load_policy(path: Path, spec: TaskSpec) -> SavedPolicy:
    """Read a policy of the task ``spec``; CheckpointError where file and task do not fit."""
    raw = load(path)
    if raw.get("task") != spec.name:
        raise CheckpointError(f"{path}: is a policy for task {raw.get('task')!r}, not {spec.name!r}")
    try:
        return _policy(raw, spec, str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error}; was it written by another version?") from error
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: does not fit task {spec.name!r}: {error}") from error


def _policy(raw: dict[str, Any], spec: TaskSpec, where: str) -> SavedPolicy:
    config = from_dict(raw["config"], where)
    features = Features(spec)
    actor = new_actor(config.train.method, config, features.size, spec.action_dim)
    features.load_state_dict(raw["features"])
    actor.load_state_dict(raw["actor"])
    modes = tuple(Mode.from_dict(m) for m in raw["modes"])
    judges = None
    if raw.get("judges") is not None:
        judges = CriticEnsemble(features.size + spec.action_dim, len(modes), config.critic).requires_grad_(False)
        judges.load_state_dict(raw["judges"])
    return SavedPolicy(raw["task"], raw["seed"], raw["transitions"], raw["commit"], config, features.eval(),
                       actor.eval(), modes, raw["report"], raw.get("randomise", {}), judges)
