"""Which ways are free from where the robot is: each mode's corridor on the roadmap, against the obstacles.

The corridor of a mode leads from the robot to the mode's end. On the mode's own prototype that is the
rest of it, for so the policy was trained: it knows of no obstacle and will not go round one. From
elsewhere it first goes along known roads to where the prototype can be joined. Which ones the policy
takes there is not certain; so if the shortest are blocked and others are not, the mode counts as free.
Should the policy go the blocked way after all, it is held off and the mode is given up (see replan).
Where no mode's way keeps the margin that it should, one on which less is kept counts as free, if nothing moves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg.obstacles import Obstacles
from ddiffpg.roadmap import UNREACHED, Roadmap, Routes
from ddiffpg.room import Room, Rules, norm

PENALTY = 1e3  # metres: any way round is better than one blocked node
DETOUR = 1.02  # of two ways of almost the same length the one that is joined sooner
# Metres around a robot that is itself too close to an obstacle, within which it may leave; at the roadmap's scale 1.
ESCAPE = 0.5
NEARER = 0.1  # metres by which a way must lead nearer to what comes to lead there at all; at the roadmap's scale 1

__all__ = ["Rules", "Way", "WayMap"]


@dataclass(frozen=True, eq=False)
class Way:
    """One mode's corridor: ``clearance`` (m) is the room to spare at its tightest place, negative where it
    is blocked; ``length`` (m) from the robot to the end; ``nodes [P]`` of the roadmap that it passes.
    ``on_own``: the robot is on the mode's own prototype. ``passing``: nothing blocks it but what moves and does not
    come to where the robot is; ``haste``: what moves comes there. ``narrow``: the clearance is what it has beyond
    the least margin, for want of a way that keeps more. Where no known road leads to that, clearance is -inf, length
    inf and there are no nodes."""

    id: int
    clearance: float
    length: float
    nodes: np.ndarray
    on_own: bool = True
    passing: bool = False
    haste: bool = False
    narrow: bool = False

    @property
    def blocked(self) -> bool:
        return self.clearance < 0


@dataclass(frozen=True, eq=False)
class _Ground:
    """By which ``room`` ways count as free, and the ``detours`` round what is not."""

    room: Room
    detours: _Detours


@dataclass(frozen=True, eq=False)
class _Scene:
    """What surrounds the robot: ``distance [M]`` to every node, ``room [M]`` to spare there, and at the
    robot itself ``here``; all in metres."""

    ground: _Ground
    position: np.ndarray
    distance: np.ndarray
    room: np.ndarray
    here: float


class WayMap:
    """The ways of a policy, in the plane or in space (D = 2, 3)."""

    def __init__(self, contract: Contract, rules: Rules) -> None:
        self._ids = contract.mode_ids
        self.roadmap = Roadmap(contract)
        self.room = Room(self.roadmap, rules)
        self._ends = {mode: self.roadmap.end(k) for k, mode in enumerate(self._ids)}
        self._wide = _Ground(self.room, _Detours(self.roadmap))
        self._narrow = _Ground(self.room.with_least_margin(), _Detours(self.roadmap))

    def look(self, position: np.ndarray, obstacles: Obstacles | None, foresight: float = 0.0) -> tuple[Way, ...]:
        """Every mode's way from ``position [D]`` (m, finite), in the contract's order. What moves is in the way
        wherever it will be within ``foresight`` (s); but where it will come to the robot itself, only where it is, and
        ways that lead nearer to it are blocked as long as another leads away."""
        if obstacles is None or not obstacles.moves:
            return self._among_what_stands(position, obstacles)
        swept = obstacles.swept(foresight)
        if self.room.at(position[None], swept)[0] < 0:
            return self._away(position, obstacles)
        ways = self._look(position, swept, self._wide)
        still = self._look(position, obstacles.still(), self._wide)
        return tuple(replace(w, passing=w.blocked and not s.blocked) for w, s in zip(ways, still))

    def _away(self, position: np.ndarray, obstacles: Obstacles) -> tuple[Way, ...]:
        """Where something comes to ``position [D]``: what leads nearer to it is blocked by as much as it does."""
        ways = tuple(replace(way, haste=True) for way in self._look(position, obstacles, self._wide))
        moving = obstacles.moving()
        room, here = self.room.at_nodes(moving), float(self.room.at(position[None], moving)[0])
        gained = [float(room[way.nodes].min(initial=math.inf)) - here for way in ways]
        leads = [gain >= -NEARER * self.roadmap.scale for gain in gained]
        if not any(away and not way.blocked for way, away in zip(ways, leads)):
            return ways
        return tuple(
            way if away else replace(way, clearance=min(way.clearance, gain))
            for way, gain, away in zip(ways, gained, leads)
        )

    def _among_what_stands(self, position: np.ndarray, obstacles: Obstacles | None) -> tuple[Way, ...]:
        ways = self._look(position, obstacles, self._wide)
        if not all(way.blocked for way in ways):
            return ways
        narrow = self._look(position, obstacles, self._narrow)
        return tuple(way if n.blocked else replace(n, narrow=True) for way, n in zip(ways, narrow))

    def _look(self, position: np.ndarray, obstacles: Obstacles | None, ground: _Ground) -> tuple[Way, ...]:
        scene = self._scene(position, obstacles, ground)
        entries = self._entries(scene.distance)
        starts = [self._starts(k, scene.distance, entries) for k in range(len(self._ids))]
        ways = self._ways(range(len(self._ids)), self.roadmap.routes, starts, scene, obstacles)
        off = [k for k, way in enumerate(ways) if way.blocked and starts[k] is entries]
        if off:
            routes = scene.ground.detours.routes(off, scene.room < 0)
            for k, way in zip(off, self._ways(off, routes, [entries] * len(off), scene, obstacles)):
                ways[k] = ways[k] if way.blocked else way
        if all(way.blocked for way in ways):
            self._by_junctions(ways, scene, entries, obstacles)
        return tuple(ways)

    def _by_junctions(self, ways: list[Way], scene: _Scene, entries: np.ndarray, obstacles: Obstacles | None) -> None:
        """Where no mode's own way is free: give those a way that lead, onward on their own prototype, to where the
        prototype of another can be joined whose rest is free. There that other one will be free and this one not."""
        modes = range(len(self._ids))
        routes = scene.ground.detours.routes(modes, scene.room < 0)
        for k, way in zip(modes, self._ways(modes, routes, [entries] * len(modes), scene, obstacles)):
            first = None if way.blocked else self._first_onward(way.nodes)
            if first not in (None, k) and (ways[first].blocked or way.length < ways[first].length):
                ways[first] = replace(way, id=self._ids[first], on_own=True)

    def _first_onward(self, nodes: np.ndarray) -> int | None:
        """Along which mode's prototype the first road leads that ``nodes [P]`` follow, None where it leads back."""
        steps = zip(nodes.tolist(), nodes[1:].tolist())
        same = ((k, a, b) for a, b in steps for k, own in enumerate(self.roadmap.own) if a in own and b in own)
        k, a, b = next(same, (None, 0, 0))
        return k if b > a else None

    def corridor(self, way: Way, position: np.ndarray) -> np.ndarray:
        """``[P, D]`` in metres, from ``position [D]`` to the way's end."""
        return np.concatenate([position[None], self.roadmap.points[way.nodes]])

    def beyond_end(self, mode: int, position: np.ndarray) -> tuple[float, float]:
        """From the end of a mode's prototype to ``position [D]``: the distance, and how far past the end
        it is in the prototype's last direction (negative before it), in metres."""
        end, along = self._ends[mode]
        offset = [here - there for here, there in zip(position.tolist(), end)]
        return math.hypot(*offset), sum(part * direction for part, direction in zip(offset, along))

    def _scene(self, position: np.ndarray, obstacles: Obstacles | None, ground: _Ground) -> _Scene:
        distance = norm(self.roadmap.points - position)
        if obstacles is None:
            return _Scene(ground, position, distance, np.full(len(self.roadmap), math.inf), math.inf)
        room = ground.room.at_nodes(obstacles)
        here = float(ground.room.at(position[None], obstacles)[0])
        if here < 0:  # too close already: it may go wherever that gets no worse
            room = np.where((room < 0) & (room >= here) & (distance < ESCAPE * self.roadmap.scale), 0.0, room)
        return _Scene(ground, position, distance, room, here)

    def _entries(self, distance: np.ndarray) -> np.ndarray:
        """Nodes that can be reached straight from the robot, at ``distance [M]`` from it."""
        nearest = distance.min()
        near = distance <= nearest + self.roadmap.link
        clear = near & ~(distance >= self.roadmap.clearance)  # no wall of training is in between
        return np.flatnonzero(clear if clear.any() else distance <= nearest)

    def _starts(self, k: int, distance: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """Of ``entries`` those by which the k-th mode's way may begin: its own where the robot is on its
        prototype, else all of them."""
        own = entries[(entries >= self.roadmap.own[k].start) & (entries < self.roadmap.own[k].stop)]
        return own if len(own) and distance[own].min() <= self.roadmap.link else entries

    def _ways(
        self,
        modes: Sequence[int],
        routes: Sequence[Routes],
        starts: Sequence[np.ndarray],
        scene: _Scene,
        obstacles: Obstacles | None,
    ) -> list[Way]:
        """The ways of the k-th ``modes`` by their ``routes``, each begun at the best of its ``starts``."""
        firsts = [int(s[(DETOUR * scene.distance[s] + r.cost[s]).argmin()]) for r, s in zip(routes, starts)]
        approach = self._approach(firsts, scene, obstacles).tolist()
        return [self._way(k, r, first, a, scene) for k, r, first, a in zip(modes, routes, firsts, approach)]

    def _way(self, k: int, routes: Routes, first: int, approach: float, scene: _Scene) -> Way:
        if routes.cost[first] >= UNREACHED:
            return Way(self._ids[k], -math.inf, math.inf, np.empty(0, int), False)
        nodes, length = routes.way(first)
        room = min(float(scene.room[nodes].min()), approach)
        return Way(self._ids[k], room, float(scene.distance[first]) + length, nodes, first in self.roadmap.own[k])

    def _approach(self, firsts: Sequence[int], scene: _Scene, obstacles: Obstacles | None) -> np.ndarray:
        """Room to spare on the straight way from the robot to each of the nodes ``firsts``, in metres."""
        if obstacles is None:
            return np.full(len(firsts), math.inf)
        toward = self.roadmap.points[list(firsts)] - scene.position
        probes = np.concatenate([scene.position + toward / 3, scene.position + toward * (2 / 3)])
        found = scene.ground.room.at(probes, obstacles).reshape(2, -1).min(axis=0)
        return np.where(found >= scene.here, np.maximum(found, 0.0), found) if scene.here < 0 else found


class _Detours:
    """Ways round what is blocked, kept as long as the same nodes are."""

    def __init__(self, roadmap: Roadmap) -> None:
        self._roadmap = roadmap
        self._blocked = b""
        self._routes: dict[int, Routes] = {}

    def routes(self, modes: Sequence[int], blocked: np.ndarray) -> list[Routes]:
        """To the ends of the k-th ``modes``, where the nodes ``blocked [M]`` are better avoided."""
        if blocked.tobytes() != self._blocked:
            self._blocked, self._routes = blocked.tobytes(), {}
        new = [k for k in modes if k not in self._routes]
        if new:
            found = self._roadmap.routes_to(new, np.where(blocked, PENALTY, 0.0))
            self._routes.update(zip(new, found))
        return [self._routes[k] for k in modes]
