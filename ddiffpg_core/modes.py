"""The behaviour modes: who they are, and that they stay who they are when clustering runs again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddiffpg_core.clustering import Clustering, PathLibrary, cluster
from ddiffpg_core.config import ModesConfig
from ddiffpg_core.paths import dtw


@dataclass(frozen=True)
class Mode:
    """One way. ``id`` is never reused; ``lineage`` are the ids it came from; ``prototype [P, D]`` in metres."""

    id: int
    lineage: tuple[int, ...]
    embedding: np.ndarray
    prototype: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain values and arrays."""
        return {"id": self.id, "lineage": list(self.lineage), "embedding": self.embedding, "prototype": self.prototype}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Mode:
        """Back from :meth:`to_dict`."""
        return cls(raw["id"], tuple(raw["lineage"]), raw["embedding"], raw["prototype"])


@dataclass(frozen=True)
class Change:
    """What a re-clustering did: for each mode now, the id it is to learn from (its own if it was there before)."""

    modes: tuple[Mode, ...]
    source: tuple[int, ...]


class ModeBank:
    """All modes known now, in the order of their critics, and the paths they are made of.

    Ways nearer to each other than ``apart`` (metres) are one. Embeddings are directions of ``embedding_length``.
    """

    def __init__(self, config: ModesConfig, path_dim: int, embedding_dim: int, apart: float,
                 embedding_length: float = 2.0) -> None:
        self.apart, self.embedding_length = apart, embedding_length
        self.config = config
        self.embedding_dim = embedding_dim
        self.library = PathLibrary(config, path_dim)
        self.modes: tuple[Mode, ...] = ()
        self.next_id = 0
        self.last: Clustering | None = None

    @property
    def ids(self) -> np.ndarray:
        return np.array([m.id for m in self.modes], int)

    @property
    def prototypes(self) -> np.ndarray:
        return np.stack([m.prototype for m in self.modes])

    def label(self, ways: np.ndarray) -> np.ndarray:
        """The id of the nearest mode of each way ``[N, P, D]`` -> ``[N]``; -1 if none is as near."""
        gap = dtw(ways, self.prototypes)
        return np.where(gap.min(1) <= self.apart, self.ids[gap.argmin(1)], -1)

    def label_failed(self, ways: np.ndarray) -> np.ndarray:
        """The same for ways that never arrived: by their points' mean distance to the prototype."""
        gap = np.linalg.norm(ways[:, None, :, None] - self.prototypes[None, :, None], axis=-1)
        return self.ids[gap.min(-1).mean(-1).argmin(1)]

    def rediscover(self, rng: np.random.Generator) -> Change | None:
        """Cluster the library anew; None while it is too small. Modes that persist keep id and embedding."""
        if len(self.library.path) < self.config.min_cluster:
            return None
        self.last = cluster(self.library.distance, self.apart, self.config)
        groups = [np.flatnonzero(self.last.label == k) for k in range(self.last.label.max() + 1)]
        heirs = _heirs(groups, self.library.owner, self.ids)
        known = {m.id: m for m in self.modes}
        modes, source = [], []
        for members, heir in zip(groups, heirs):
            prototype = self.library.medoid(members)
            parent = _parent(self.library.owner[members], known)
            if heir is None:
                modes.append(self._new_mode(prototype, known.get(parent), rng))
            else:
                modes.append(self._continued(known[heir], prototype))
            source.append(parent if heir is None else heir)
        for mode in self._left_out(heirs, modes):
            modes.append(mode)
            source.append(mode.id)
        order = np.argsort([m.id for m in modes])[: self.config.max_modes]
        self.modes = tuple(modes[i] for i in order)
        self.library.owner = self.label(self.library.path)
        return Change(self.modes, tuple(source[i] for i in order))

    def _left_out(self, heirs: list[int | None], found: list[Mode]) -> list[Mode]:
        """Known modes that this clustering did not find again, but whose way is nobody else's: they stay.

        A cut of the dendrogram may join two clusters today that it took apart yesterday; what has been
        learned is not thrown away for that.
        """
        ways = np.stack([m.prototype for m in found])
        missing = [m for m in self.modes if m.id not in heirs]
        return [m for m in missing if dtw(m.prototype[None], ways).min() > self.apart]

    def _continued(self, mode: Mode, prototype: np.ndarray) -> Mode:
        """The same mode; its way stays as it is until the new one is clearly another."""
        moved = dtw(prototype[None], mode.prototype[None])[0, 0]
        return mode if moved < 0.25 * self.apart else replace(mode, prototype=prototype)

    def _new_mode(self, prototype: np.ndarray, parent: Mode | None, rng: np.random.Generator) -> Mode:
        embedding = rng.normal(size=self.embedding_dim)
        embedding = (self.embedding_length * embedding / np.linalg.norm(embedding)).astype(np.float32)
        lineage = () if parent is None else (*parent.lineage, parent.id)
        mode = Mode(self.next_id, lineage, embedding, prototype)
        self.next_id += 1
        return mode

    def state_dict(self) -> dict[str, Any]:
        modes = [m.to_dict() for m in self.modes]
        return {"library": self.library.state_dict(), "modes": modes, "next_id": self.next_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.library.load_state_dict(state["library"])
        self.modes = tuple(Mode.from_dict(m) for m in state["modes"])
        self.next_id = state["next_id"]


def _heirs(groups: list[np.ndarray], owner: np.ndarray, ids: np.ndarray) -> list[int | None]:
    """Which known mode each cluster continues: the pair that shares the most paths first, each mode once."""
    heirs: list[int | None] = [None] * len(groups)
    shared = np.array([[(owner[members] == i).sum() for i in ids] for members in groups]).reshape(len(groups), len(ids))
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
