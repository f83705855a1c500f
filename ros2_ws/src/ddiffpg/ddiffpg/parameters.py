"""Parameters that are described once, as fields of a frozen dataclass: unit, range, default, meaning.

ROS parameter descriptors, YAML files and the tables of the documentation are all made from there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


class ParameterError(ValueError):
    """A parameter is unknown, of the wrong type or out of its range; ``name`` says which."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"parameter '{name}' {problem}")


@dataclass(frozen=True)
class Parameter:
    """What is said of one parameter. ``low`` and ``high`` are inclusive, None for what is no number."""

    name: str
    default: Any
    unit: str
    low: float | None
    high: float | None
    description: str


def parameter(default: Any, unit: str, low: float | None, high: float | None, description: str) -> Any:
    """A dataclass field that carries its description. Its type is the default's: bool, int, float or str."""
    return dataclasses.field(
        default=default, metadata={"unit": unit, "low": low, "high": high, "description": description}
    )


def describe(cls: type) -> tuple[Parameter, ...]:
    """All parameters of ``cls``, in their order."""
    return tuple(Parameter(f.name, f.default, **f.metadata) for f in dataclasses.fields(cls))


def table(cls: type) -> str:
    """The parameters of ``cls`` as a Markdown table."""
    head = "| parameter | default | unit | range | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| `{p.name}` | {_plain(p.default)} | {p.unit} | {_range(p)} | {p.description} |\n" for p in describe(cls)
    )


def check(instance: Any) -> None:
    """Raise ParameterError for the first value of a dataclass instance that has the wrong type or is out of range."""
    for p in describe(type(instance)):
        value = getattr(instance, p.name)
        if not _has_type(value, type(p.default)):
            raise ParameterError(p.name, f"is {value!r}: expected {type(p.default).__name__}")
        if p.low is not None and p.high is not None and not p.low <= value <= p.high:
            raise ParameterError(p.name, f"is {value!r}: expected {_range(p)} {p.unit}".rstrip())


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """A ``cls`` with ``values``, the defaults elsewhere. Raises ParameterError, for unknown names too."""
    known = {p.name: p for p in describe(cls)}
    for name in values:
        if name not in known:
            raise ParameterError(str(name), f"is unknown; known are {', '.join(known)}")
    return cls(**values)


def load(cls: type[T], path: str | Path) -> T:
    """A ``cls`` from a YAML file of ``name: value`` lines. Raises ParameterError naming the file's fault."""
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError("(file)", f"cannot be read: {path} is not YAML ({error})") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ParameterError("(file)", f"cannot be read: {path} holds no `name: value` lines")
    return build(cls, values)


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key may be there once only (PyYAML would silently take the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ParameterError(str(key), "is there twice")
        return super().construct_mapping(node, deep)


def _has_type(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is kind


def _range(p: Parameter) -> str:
    return "" if p.low is None or p.high is None else f"{p.low:g} to {p.high:g}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
