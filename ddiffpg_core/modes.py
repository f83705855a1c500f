"""The behaviour modes: who they are, and that they stay who they are when clustering runs again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ddiffpg_core.clustering import Clustering, PathLibrary, cluster
from ddiffpg_core.config import ModesConfig
from ddiffpg_core.paths import beside, direct, dtw, mean_gap


@dataclass(frozen=True)
class Mode:
    """One way. ``id`` is never reused; ``lineage`` are the ids it came from; ``prototype [P, D]`` in metres.

    ``outcome [K]`` is what it does to the scene (``TaskSpec.outcome_of``).
    """

    id: int
    lineage: tuple[int, ...]
    embedding: np.ndarray
    prototype: np.ndarray
    outcome: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def to_dict(self) -> dict[str, Any]:
        """Plain values and arrays."""
        return {"id": self.id, "lineage": list(self.lineage), "embedding": self.embedding,
                "prototype": self.prototype, "outcome": self.outcome}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Mode:
        """Back from :meth:`to_dict`."""
        return cls(raw["id"], tuple(raw["lineage"]), raw["embedding"], raw["prototype"], raw["outcome"])


@dataclass(frozen=True)
class Change:
    """What a re-clustering did: for each mode now, the id it is to learn from (its own if it was there before)."""

    modes: tuple[Mode, ...]
    source: tuple[int, ...]


class ModeBank:
    """All modes known now, in the order of their critics, and the paths they are made of.

    Ways are compared with their outcomes beside each point: ``D + K`` numbers, of ``path_dim`` and ``outcome_dim``.
    Those nearer to each other than ``apart`` (metres) are one. Embeddings are directions of ``embedding_length``.
    """

    def __init__(self, config: ModesConfig, path_dim: int, embedding_dim: int, apart: float,
                 embedding_length: float = 2.0, outcome_dim: int = 0) -> None:
        self.apart, self.embedding_length = apart, embedding_length
        self.path_dim = path_dim
        self.config = config
        self.embedding_dim = embedding_dim
        self.library = PathLibrary(config, path_dim + outcome_dim)
        self.modes: tuple[Mode, ...] = ()
        self.next_id = 0
        self.last: Clustering | None = None

    @property
    def ids(self) -> np.ndarray:
        return np.array([m.id for m in self.modes], int)

    @property
    def prototypes(self) -> np.ndarray:
        """What ways are compared with ``[M, P, D + K]``."""
        return _whole(self.modes)

    def labels(self, ways: np.ndarray, success: np.ndarray) -> np.ndarray:
        """The id of the mode that each way ``[N, P, D + K]`` is of, by whether it arrived ``[N]`` -> ``[N]``.

        -1 for a success too far from every mode to be one's.
        """
        label = np.full(len(ways), -1)
        if success.any():
            label[success] = self.label(ways[success])
        if not success.all():
            label[~success] = self.label_failed(ways[~success])
        return label

    def label(self, ways: np.ndarray) -> np.ndarray:
        """The id of the nearest mode of each way ``[N, P, D + K]`` -> ``[N]``; -1 if none is as near."""
        gap = dtw(ways, self.prototypes)
        return np.where(gap.min(1) <= self.apart, self.ids[gap.argmin(1)], -1)

    def label_failed(self, ways: np.ndarray) -> np.ndarray:
        """The same for ways that never arrived: by their points' mean distance to the prototype."""
        return self.ids[mean_gap(ways, self.prototypes).argmin(1)]

    def add(self, ways: np.ndarray, owner: np.ndarray, born: np.ndarray) -> None:
        """``ways [N, P, D + K]`` of modes ``owner [N]``, by age, into the library; detours stay out or leave."""
        new = self._direct(ways, self.library.path)
        if new.any():
            self.library.add(ways[new], owner[new], born[new])
            self.library.keep(self._direct(self.library.path, ways[:0]))

    def _direct(self, ways: np.ndarray, known: np.ndarray) -> np.ndarray:
        return direct(ways, known, self.apart / 2.0, self.config.longest_detour)

    def rediscover(self, rng: np.random.Generator) -> Change | None:
        """Cluster the library anew; None while it is too small. Modes that persist keep id and embedding."""
        if len(self.library.path) < self.config.min_cluster:
            return None
        self.last = cluster(self.library.distance, self.apart, self.config)
        groups = [np.flatnonzero(self.last.label == k) for k in range(self.last.label.max() + 1)]
        heirs = _heirs(groups, self.library.owner, self.ids)
        found = np.stack([self.library.medoid(members) for members in groups])
        modes, source = self._named(found, groups, heirs, rng)
        for mode in self._left_out(heirs, modes):
            modes.append(mode)
            source.append(mode.id)
        order = np.argsort([m.id for m in modes])[: self.config.max_modes]
        self.modes = tuple(modes[i] for i in order)
        self.library.owner = self.label(self.library.path)
        return Change(self.modes, tuple(source[i] for i in order))

    def _named(self, found: np.ndarray, groups: list[np.ndarray], heirs: list[int | None],
               rng: np.random.Generator) -> tuple[list[Mode], list[int]]:
        """A mode for each way of ``found [G, P, D + K]``, and the id that each learns from."""
        known = {m.id: m for m in self.modes}
        place = {m.id: k for k, m in enumerate(self.modes)}
        moved = dtw(found, self.prototypes) if known else None
        modes, source = [], []
        for g, (members, heir) in enumerate(zip(groups, heirs)):
            if heir is None or moved is None:
                parent = _parent(self.library.owner[members], known)
                modes.append(self._new_mode(found[g], known.get(parent), rng))
                source.append(parent)
            else:
                modes.append(self._continued(known[heir], found[g], moved[g, place[heir]]))
                source.append(heir)
        return modes, source

    def _left_out(self, heirs: list[int | None], found: list[Mode]) -> list[Mode]:
        """Known modes that this clustering did not find again, but whose way is nobody else's and no detour: they stay.

        The trajectories of a mode may have left the library; what has been learned is not thrown away for that.
        """
        missing = [m for m in self.modes if m.id not in heirs]
        if not missing:
            return []
        own = dtw(_whole(missing), _whole(found)).min(1) > self.apart
        own &= self._direct(_whole(missing), _whole(found))
        return [m for m, stays in zip(missing, own) if stays]

    def _continued(self, mode: Mode, found: np.ndarray, moved: float) -> Mode:
        """The same mode; its way stays as it is until the new one, ``moved`` metres off, is clearly another."""
        if moved < 0.25 * self.apart:
            return mode
        return replace(mode, prototype=found[:, : self.path_dim], outcome=found[0, self.path_dim :])

    def _new_mode(self, found: np.ndarray, parent: Mode | None, rng: np.random.Generator) -> Mode:
        embedding = rng.normal(size=self.embedding_dim)
        embedding = (self.embedding_length * embedding / np.linalg.norm(embedding)).astype(np.float32)
        lineage = () if parent is None else (*parent.lineage, parent.id)
        mode = Mode(self.next_id, lineage, embedding, found[:, : self.path_dim], found[0, self.path_dim :])
        self.next_id += 1
        return mode

    def state_dict(self) -> dict[str, Any]:
        modes = [m.to_dict() for m in self.modes]
        return {"library": self.library.state_dict(), "modes": modes, "next_id": self.next_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.library.load_state_dict(state["library"])
        self.modes = tuple(Mode.from_dict(m) for m in state["modes"])
        self.next_id = state["next_id"]


def _whole(modes: Sequence[Mode]) -> np.ndarray:
    """Their prototypes with the outcome beside each point ``[M, P, D + K]``."""
    return np.stack([beside(m.prototype, m.outcome) for m in modes])


def _heirs(groups: list[np.ndarray], owner: np.ndarray, ids: np.ndarray) -> list[int | None]:
    """Which known mode each cluster continues: the pair that shares the most paths first, each mode once."""
    heirs: list[int | None] = [None] * len(groups)
    shared = np.stack([(owner[members, None] == ids).sum(0) for members in groups])
    while shared.size and shared.max() > 0:
        group, mode = np.unravel_index(shared.argmax(), shared.shape)
        heirs[group] = int(ids[mode])
        shared[group, :] = 0
        shared[:, mode] = 0
    return heirs


def _parent(owners: np.ndarray, known: dict[int, Mode]) -> int:
    """The known mode that most of these paths belonged to, -1 where none did."""
    known_owners = [o for o in owners if o in known]
    return int(np.bincount(known_owners).argmax()) if known_owners else -1
