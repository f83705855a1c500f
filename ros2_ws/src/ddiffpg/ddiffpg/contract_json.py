"""Plain JSON as the dataclasses of a contract, with every type checked on the way: what is wrong is named."""

from __future__ import annotations

import dataclasses
import sys
import typing
from typing import Any


class ContractError(ValueError):
    """A contract, or what should fit it, is wrong: names the field, the value and what was expected."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        super().__init__(f"contract field '{field}' is {value!r}: expected {expected}")


def build(kind: Any, raw: Any, where: str) -> Any:
    """``raw`` (plain JSON) as a ``kind``, with every type checked on the way."""
    if type(None) in typing.get_args(kind) and dataclasses.is_dataclass(typing.get_args(kind)[0]):
        kind = typing.get_args(kind)[0]  # left out where there is none, never null
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, raw, where)
    if origin is tuple:
        if not isinstance(raw, list):
            raise ContractError(where, raw, "a list")
        item = typing.get_args(kind)[0]
        return tuple(build(item, value, f"{where}[{i}]") for i, value in enumerate(raw))
    if kind is float:
        if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not abs(raw) <= sys.float_info.max:
            raise ContractError(where, raw, "a finite number")
        return float(raw)
    if kind is int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise ContractError(where, raw, "a whole number")
        return raw
    if kind is str and not isinstance(raw, str):
        raise ContractError(where, raw, "a text")
    if origin is dict and not isinstance(raw, dict):
        raise ContractError(where, raw, "an object")
    if kind == (str | None) and not (raw is None or isinstance(raw, str)):
        raise ContractError(where, raw, "a text or null")
    return raw


def _dataclass(kind: Any, raw: Any, where: str) -> Any:
    if not isinstance(raw, dict):
        raise ContractError(where or "(whole)", raw, "an object")
    types = typing.get_type_hints(kind)
    prefix = f"{where}." if where else ""
    for key in raw:
        if key not in types:
            raise ContractError(prefix + key, raw[key], f"no such field (known: {sorted(types)})")
    values = {}
    for field in dataclasses.fields(kind):
        if field.name in raw:
            values[field.name] = build(types[field.name], raw[field.name], prefix + field.name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ContractError(prefix + field.name, None, "to be there")
    return kind(**values)
