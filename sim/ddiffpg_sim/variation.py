"""What varies from episode to episode, and how much: a description in YAML, one a task.

Sections ``dynamics``, ``signals`` and ``start`` have a distribution and its unit for each number that varies;
``curriculum``, which may be missing, how its range grows with success. A number alone does not vary (it is in s, m,
m/s, rad or a factor, the first unit that there is). What is not there is as the task's model has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from ddiffpg_core.strict_yaml import ConfigError, parse_yaml

from .curriculum import Curriculum
from .dynamics import NOMINAL, Dynamics, Robot
from .obstacles import World
from .signals import Deviation, Signals
from .start import Scatter, Start
from .task import PlanarTask, Task

_SECONDS = {"s": 1.0, "ms": 1e-3}
_FORCE = {"N": 1.0, "N m": 1.0}
_UNITS: dict[str, dict[str, dict[str, float]]] = {
    "dynamics": {f.name: _FORCE if f.name == "dry_friction" else {"factor": 1.0} for f in fields(Dynamics)},
    "signals": {
        "action_delay": _SECONDS, "action_jitter": _SECONDS, "observation_delay": _SECONDS, "push_every": _SECONDS,
        "noise": {"scale": 1.0}, "bias": {"scale": 1.0}, "dropout": {"chance": 1.0}, "rate_jitter": {"period": 1.0},
        "push": {"m/s": 1.0},
    },
    "start": {"position": {"m": 1.0}, "velocity": {"m/s": 1.0}, "joints": {"rad": 1.0, "deg": math.pi / 180.0}},
}  # fmt: skip
_OF = {"dynamics": Dynamics, "signals": Signals, "start": Start}
_STANDARD = NormalDist()
_FOLDER = Path(__file__).parent / "variations"


@dataclass(frozen=True)
class Distribution:
    """Of one number from ``low`` to ``high``, in the unit that its name has in the description.

    ``kind`` is uniform, log_uniform, or normal with ``mean`` and ``deviation``, cut off at both ends.
    """

    kind: str
    low: float
    high: float
    unit: str
    mean: float = 0.0
    deviation: float = 1.0

    def at(self, chance: float) -> float:
        """The number below which a share ``chance`` (0 to 1) of all of them is."""
        if self.kind == "uniform":
            return self.low + chance * (self.high - self.low)
        if self.kind == "log_uniform":
            return self.low * (self.high / self.low) ** chance
        first, last = (_STANDARD.cdf((end - self.mean) / self.deviation) for end in (self.low, self.high))
        inside = min(max(first + chance * (last - first), 1e-12), 1.0 - 1e-12)  # at 0 and 1 it has no end
        return min(max(self.mean + self.deviation * _STANDARD.inv_cdf(inside), self.low), self.high)

    def plain(self) -> dict[str, Any]:
        """As the description has it."""
        if self.kind == "normal":
            return {"normal": {k: getattr(self, k) for k in _NORMAL}, "unit": self.unit}
        return {self.kind: [self.low, self.high], "unit": self.unit}


_NORMAL = ("mean", "deviation", "low", "high")


@dataclass(frozen=True)
class Variation:
    """What varies: ``dynamics``, ``signals`` and ``start`` by name; ``curriculum`` None where all of it varies at once.
    """

    dynamics: Mapping[str, Distribution]
    signals: Mapping[str, Distribution]
    start: Mapping[str, Distribution]
    curriculum: Curriculum | None = None

    def draw(self, rng: np.random.Generator, share: float = 1.0) -> Deviation:
        """A robot, ``share`` (0 to 1) of the way from the model to one out of the full range."""
        chances = iter(rng.random(len(self.dynamics) + len(self.signals) + len(self.start)).tolist())
        return Deviation(
            Dynamics(**{name: nominal + share * (value(next(chances)) - nominal)
                        for name, nominal, value in self._dynamics}),
            Signals(**{name: value(next(chances)) * (1.0 if name == "push_every" else share)
                       for name, value in self._signals}),
            start=Start(**{name: share * value(next(chances)) for name, value in self._start}),
        )  # fmt: skip

    @cached_property
    def _dynamics(self) -> list[tuple[str, float, Any]]:
        return [(name, getattr(NOMINAL, name), _in_si("dynamics", name, d)) for name, d in self.dynamics.items()]

    @cached_property
    def _signals(self) -> list[tuple[str, Any]]:
        return [(name, _in_si("signals", name, d)) for name, d in self.signals.items()]

    @cached_property
    def _start(self) -> list[tuple[str, Any]]:
        return [(name, _in_si("start", name, d)) for name, d in self.start.items()]

    def check(self, task: Task, where: str) -> None:
        """ConfigError naming ``where`` where ``task`` has not what varies."""
        if self.start:
            model = World(task).model
            starts = Scatter(task, model, Robot(model))
            try:
                for name in self.start:
                    starts.check(name)
            except ValueError as error:
                raise ConfigError(f"{where}: start.{error}") from error
        if "push" in self.signals and not isinstance(task, PlanarTask):
            raise ConfigError(f"{where}: signals.push: task '{task.spec.name}' has no base to push")

    def plain(self) -> dict[str, Any]:
        """As the description has it; ``Variation.from_plain`` takes it back."""
        sections = {"dynamics": self.dynamics, "signals": self.signals, "start": self.start}
        plain = {s: {name: d.plain() for name, d in ranges.items()} for s, ranges in sections.items() if ranges}
        return plain | ({} if self.curriculum is None else {"curriculum": asdict(self.curriculum)})

    @classmethod
    def from_plain(cls, raw: Any, where: str) -> Variation:
        """ConfigError naming ``where``, the field and its value where one makes no sense."""
        known = (*_UNITS, "curriculum")
        _check_keys(raw, known, where)
        ranges = {section: _ranges(section, raw.get(section, {}), where) for section in _UNITS}
        if len({"push", "push_every"} & {*ranges["signals"]}) == 1:
            raise ConfigError(f"{where}: signals has one of push and push_every: expected both, how hard and how often")
        curriculum = raw.get("curriculum")
        return cls(**ranges, curriculum=None if curriculum is None else Curriculum.from_plain(curriculum, where))

    @classmethod
    def load(cls, path: Path) -> Variation:
        """ConfigError naming ``path`` where it cannot be read or says something that makes no sense."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error})") from error
        return cls.from_plain(parse_yaml(text, str(path)) or {}, str(path))

    @classmethod
    def of_task(cls, task: str) -> Variation:
        """That which ships for ``task``: its own, or that of its family."""
        own, family = (_FOLDER / f"{name}.yaml" for name in (task, task.partition("-")[0]))
        return cls.load(own if own.exists() else family)


def first_difference(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """Where two plain descriptions differ first: the field, and its value in each. None: nowhere."""
    for section in (*_UNITS, "curriculum"):
        mine, yours = one.get(section, {}), other.get(section, {})
        for name in sorted({*mine, *yours}):
            if mine.get(name) != yours.get(name):
                return f"{section}.{name}", mine.get(name), yours.get(name)
    return None


def _in_si(section: str, name: str, distribution: Distribution) -> Any:
    unit = _UNITS[section][name][distribution.unit]
    return lambda chance: unit * distribution.at(chance)


def _check_keys(raw: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} is {raw!r}: expected keys and values")
    for key in raw:
        if key not in known:
            raise ConfigError(f"{where}: unknown key '{key}' (known: {', '.join(known)})")


def _ranges(section: str, raw: Any, where: str) -> dict[str, Distribution]:
    _check_keys(raw, tuple(_UNITS[section]), f"{where}: {section}")
    return {name: _distribution(section, name, value, f"{where}: {section}.{name}") for name, value in raw.items()}


def _distribution(section: str, name: str, raw: Any, where: str) -> Distribution:
    if type(raw) in (int, float):
        raw = {"uniform": [raw, raw], "unit": next(iter(_UNITS[section][name]))}
    _check_keys(raw, ("uniform", "log_uniform", "normal", "unit"), where)
    kinds = [key for key in raw if key != "unit"]
    if len(kinds) != 1:
        raise ConfigError(f"{where} is {raw!r}: expected one of uniform, log_uniform and normal, and its unit")
    units = _UNITS[section][name]
    if raw.get("unit") not in units:
        raise ConfigError(f"{where}.unit is {raw.get('unit')!r}: expected {' or '.join(units)}")
    made = _numbers(kinds[0], raw[kinds[0]], raw["unit"], f"{where}.{kinds[0]}")
    for end in (made.low, made.high):  # what a robot cannot have is refused by the robot
        try:
            _OF[section](**{name: units[made.unit] * end})
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
    return made


def _numbers(kind: str, raw: Any, unit: str, where: str) -> Distribution:
    if kind == "normal":
        _check_keys(raw, _NORMAL, where)
        values = [raw.get(name) for name in _NORMAL]
    else:
        values = [0.0, 1.0, *raw] if isinstance(raw, list) and len(raw) == 2 else []
    if not values or any(type(v) not in (int, float) or not math.isfinite(v) for v in values):
        wanted = f"the numbers {', '.join(_NORMAL)}" if kind == "normal" else "[lowest, highest]"
        raise ConfigError(f"{where} is {raw!r}: expected {wanted}")
    mean, deviation, low, high = map(float, values)
    if low > high or (kind == "log_uniform" and low <= 0.0):
        above = ", above 0" if kind == "log_uniform" else ""
        raise ConfigError(f"{where} is {raw!r}: expected the lower end first{above}")
    if deviation <= 0.0:
        raise ConfigError(f"{where}.deviation is {deviation}: expected more than 0")
    return Distribution(kind, low, high, unit, mean, deviation)
