"""Obstacle scripts: what stands where and when, from a YAML file; and obstacles in relation to a way.

A script is a list of boxes, metres and seconds of simulated time::

    - center: [-1.0, 1.0]           # x, y (and z, if one likes)
      half_size: [0.15, 0.4]
      yaw: 0.0                      # radians; optional
      appears: 2.0                  # optional, 0
      moves:                        # optional; straight and even from where it was at the time before
        - {at: 3.0, center: [-1.0, 1.0]}
        - {at: 5.0, center: [-1.0, 2.5]}
      goes: 9.0                     # optional, never

The box stands at ``center`` when it appears, is at each ``moves`` centre at its time, and stays at the last.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from .obstacles import Obstacle

_KEYS = ("center", "half_size", "yaw", "appears", "moves", "goes")
_MOVE_KEYS = ("at", "center")
_HEIGHT = 0.25


class ScriptError(ValueError):
    """An obstacle script is wrong: says where in it, and what was expected."""


@dataclass(frozen=True)
class ScriptedBox:
    """One box. ``times [M]`` (s, rising) with its ``centers [M, 3]``; gone from ``goes`` on (s)."""

    id: int
    half_size: tuple[float, float, float]
    yaw: float
    times: tuple[float, ...]
    centers: tuple[tuple[float, float, float], ...]
    goes: float

    def at(self, t: float) -> Obstacle | None:
        """The box at ``t`` seconds; None before it appears and once it is gone."""
        if not self.times[0] <= t < self.goes:
            return None
        x, y, z = (float(np.interp(t, self.times, axis)) for axis in zip(*self.centers, strict=True))
        return Obstacle(self.id, "box", (x, y, z), self.half_size, self.yaw)


@dataclass(frozen=True)
class ObstacleScript:
    """All boxes of a script, in its order; a box's id is its place in the list."""

    boxes: tuple[ScriptedBox, ...]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ObstacleScript:
        """Read a file. Raises ScriptError naming file and place, OSError where it cannot be read."""
        with open(path, encoding="utf-8") as file:
            text = file.read()
        try:
            return cls.parse(text)
        except ScriptError as error:
            raise ScriptError(f"{os.fspath(path)}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> ObstacleScript:
        """From YAML text. Raises ScriptError naming the place."""
        try:
            raw = yaml.load(text, _UniqueKeys)
        except yaml.YAMLError as error:
            raise ScriptError(f"not YAML: {error}") from error
        if not isinstance(raw, list):
            raise ScriptError(f"expected a list of boxes, found {type(raw).__name__}")
        return cls(tuple(_box(i, item) for i, item in enumerate(raw)))

    def at(self, t: float) -> list[Obstacle]:
        """What is there at ``t`` seconds."""
        return [obstacle for box in self.boxes if (obstacle := box.at(t)) is not None]


def drop_ahead(
    path: np.ndarray,
    position: np.ndarray,
    distance: float,
    half_size: tuple[float, float] = (0.15, 0.4),
    obstacle_id: int = 0,
) -> Obstacle:
    """A box across ``path [P, 2]``, ``distance`` metres of way ahead of its point nearest to ``position [2]``.

    ``half_size`` is along and across the way. Raises ValueError where the way ends before that.
    """
    path = np.asarray(path, float)
    legs = np.diff(path, axis=0)
    ends = np.concatenate([[0.0], np.cumsum(np.linalg.norm(legs, axis=1))])
    wanted = _along(path, ends, np.asarray(position, float)) + distance
    if not 0.0 <= wanted <= ends[-1]:
        raise ValueError(f"{distance} m ahead is at {wanted:.2f} m of a way of {ends[-1]:.2f} m")
    leg = min(int(np.searchsorted(ends, wanted, side="right")) - 1, len(legs) - 1)
    x, y = (float(np.interp(wanted, ends, path[:, axis])) for axis in (0, 1))
    yaw = math.atan2(legs[leg, 1], legs[leg, 0])
    return Obstacle(obstacle_id, "box", (x, y, _HEIGHT), (*half_size, _HEIGHT), yaw)


def _along(path: np.ndarray, ends: np.ndarray, position: np.ndarray) -> float:
    """Metres of way up to the point of ``path [P, 2]`` that is nearest to ``position [2]``."""
    legs = np.diff(path, axis=0)
    squared = np.maximum((legs**2).sum(axis=1), 1e-12)
    share = np.clip(((position - path[:-1]) * legs).sum(axis=1) / squared, 0.0, 1.0)
    gaps = np.linalg.norm(path[:-1] + share[:, None] * legs - position, axis=1)
    nearest = int(gaps.argmin())
    return float(ends[nearest] + share[nearest] * (ends[nearest + 1] - ends[nearest]))


# ---- reading ----------------------------------------------------------------------------------------


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key that is there twice is an error, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _box(index: int, raw: Any) -> ScriptedBox:
    where = f"[{index}]"
    _keys(raw, _KEYS, ("center", "half_size"), where)
    moves = raw.get("moves", [])
    if not isinstance(moves, list):
        raise ScriptError(f"{where}.moves is {moves!r}: expected a list")
    for i, move in enumerate(moves):
        _keys(move, _MOVE_KEYS, _MOVE_KEYS, f"{where}.moves[{i}]")
    half_size = _vector(raw["half_size"], f"{where}.half_size")
    if min(half_size) <= 0:
        raise ScriptError(f"{where}.half_size is {raw['half_size']!r}: expected more than 0")
    appears = _number(raw.get("appears", 0.0), f"{where}.appears")
    times = (appears, *(_number(m["at"], f"{where}.moves[{i}].at") for i, m in enumerate(moves)))
    if any(after <= before for before, after in zip(times, times[1:], strict=False)):
        raise ScriptError(f"{where}: appears and the moves' times are {list(times)}: expected each later than the last")
    goes = math.inf if "goes" not in raw else _number(raw["goes"], f"{where}.goes")
    if goes <= appears:
        raise ScriptError(f"{where}.goes is {goes}: expected later than it appears ({appears})")
    centers = (
        _vector(raw["center"], f"{where}.center"),
        *(_vector(m["center"], f"{where}.moves[{i}].center") for i, m in enumerate(moves)),
    )
    return ScriptedBox(index, half_size, _number(raw.get("yaw", 0.0), f"{where}.yaw"), times, centers, goes)


def _keys(raw: Any, known: tuple[str, ...], needed: tuple[str, ...], where: str) -> None:
    if not isinstance(raw, dict):
        raise ScriptError(f"{where} is {raw!r}: expected a mapping with {', '.join(needed)}")
    for key in raw:
        if key not in known:
            raise ScriptError(f"{where}.{key}: no such key (known: {', '.join(known)})")
    for key in needed:
        if key not in raw:
            raise ScriptError(f"{where}.{key} is missing")


def _number(raw: Any, where: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not math.isfinite(raw):
        raise ScriptError(f"{where} is {raw!r}: expected a finite number")
    return float(raw)


def _vector(raw: Any, where: str) -> tuple[float, float, float]:
    """Two numbers (the third is then a quarter of a metre) or three."""
    if not isinstance(raw, list) or len(raw) not in (2, 3):
        raise ScriptError(f"{where} is {raw!r}: expected two or three numbers")
    numbers = [_number(value, f"{where}[{i}]") for i, value in enumerate(raw)]
    x, y, z = numbers if len(numbers) == 3 else (*numbers, _HEIGHT)
    return x, y, z
