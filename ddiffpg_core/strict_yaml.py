"""Plain values from YAML into frozen dataclasses: every unknown key and every value of a wrong kind is an error."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable
from typing import Any

import yaml


class ConfigError(ValueError):
    """A setting is unknown or has a wrong value: names the key, the value and what was expected."""


def parse_yaml(text: str, where: str) -> Any:
    """``text`` as plain values; ConfigError naming ``where`` it is from."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {error}") from error


def merge(base: Any, raw: Any, where: str) -> Any:
    """``base`` (a dataclass) with the values of ``raw`` put in, each checked against its type."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected keys and values, not {raw!r}")
    types = typing.get_type_hints(type(base))
    changes = {}
    for key, value in raw.items():
        if key not in types:
            raise ConfigError(f"{where}: unknown key '{key}' (known: {', '.join(types)})")
        old = getattr(base, key)
        inner = f"{where}: {key}"
        changes[key] = merge(old, value, inner) if dataclasses.is_dataclass(old) else _value(value, old, inner)
    return dataclasses.replace(base, **changes)


def _value(value: Any, like: Any, where: str) -> Any:
    """``value`` as the type of ``like``."""
    read, expected = _READ[type(like)]
    out = read(value)
    if out is None:
        raise ConfigError(f"{where} is {value!r}: expected {expected}")
    return out


def _sizes(value: Any) -> tuple[int, ...] | None:
    fits = isinstance(value, (list, tuple)) and all(type(v) is int and v > 0 for v in value)
    return tuple(value) if fits else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _number(value: Any) -> float | None:
    """YAML 1.1 takes ``3e-4`` for text (it wants ``3.0e-4``): that is a number here too."""
    try:
        number = float(value) if type(value) in (int, float, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_READ: dict[type, tuple[Callable[[Any], Any], str]] = {
    tuple: (_sizes, "a list of whole numbers above 0"),
    bool: (_flag, "true or false"),
    int: (_whole, "int, 0 or more"),
    float: (_number, "float, 0 or more"),
    str: (_text, "str"),
}
