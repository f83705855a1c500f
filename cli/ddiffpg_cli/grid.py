"""What a sweep goes over: the product of tasks, methods, seeds and values of settings."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from .errors import BadInput
from .trials import OURS, Trial


@dataclass(frozen=True)
class Grid:
    """``settings``: ``section.key`` -> the values to try, as YAML text."""

    tasks: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    methods: tuple[str, ...] = (OURS,)
    preset: str | None = None
    settings: dict[str, tuple[str, ...]] = field(default_factory=dict)


def of_words(tasks: list[str], seeds: list[int], methods: list[str] | None, preset: str | None,
             overrides: list[str]) -> Grid:
    """The grid of a command line; a key of ``overrides`` that comes again adds a value."""
    if not tasks:
        raise BadInput("--tasks or --file is needed: what is to be learned?")
    values: dict[str, tuple[str, ...]] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--set {text}: expected SECTION.KEY=VALUE")
        values[key] = (*values.get(key, ()), value)
    return Grid(tuple(tasks), tuple(seeds), tuple(methods or (OURS,)), preset, values)


def read(path: Path) -> Grid:
    """The grid of a YAML file: ``tasks``, ``seeds``, ``methods`` (lists), ``preset``, and ``set``, a map from
    ``section.key`` to a value or the list of values to try. BadInput names what is wrong in it.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not YAML: {error}") from error
    known = [f.name for f in fields(Grid) if f.name != "settings"] + ["set"]
    if not isinstance(raw, dict) or "tasks" not in raw:
        raise BadInput(f"{path}: expected a map with the key 'tasks' (known keys: {', '.join(known)})")
    for key in raw:
        if key not in known:
            raise BadInput(f"{path}: unknown key {key!r} (known: {', '.join(known)})")
    lists = {key: _list(raw[key], kind, f"{path}: {key}") for key, kind in
             (("tasks", str), ("seeds", int), ("methods", str)) if key in raw}
    preset = raw.get("preset")
    if preset is not None and not isinstance(preset, str):
        raise BadInput(f"{path}: preset is {preset!r}: expected a name")
    return Grid(**lists, preset=preset, settings=_values(raw.get("set", {}), f"{path}: set"))


def _list(value: Any, kind: type, where: str) -> tuple[Any, ...]:
    """A list of names, or of whole numbers of at least 0."""
    fits = isinstance(value, list) and value and all(type(v) is kind and (kind is str or v >= 0) for v in value)
    if not fits:
        what = "names" if kind is str else "whole numbers of at least 0"
        raise BadInput(f"{where} is {value!r}: expected a list of {what}")
    return tuple(value)


def _values(raw: Any, where: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise BadInput(f"{where} is {raw!r}: expected a map from section.key to values")
    for key, value in raw.items():
        if value == [] or isinstance(value, dict):
            raise BadInput(f"{where}: {key} is {value!r}: expected a value or a list of values to try")
    return {key: tuple(json.dumps(v) for v in (value if isinstance(value, list) else [value]))
            for key, value in raw.items()}


def trials(grid: Grid) -> list[Trial]:
    """All runs, each checked; what differs between them is their label. BadInput where two have the same name."""
    choices = list(itertools.product(*([(key, value) for value in values] for key, values in grid.settings.items())))
    out = [Trial(task, seed, method, grid.preset, tuple(f"{k}={v}" for k, v in chosen), _label(chosen, grid))
           for task, method, chosen, seed in itertools.product(grid.tasks, grid.methods, choices, grid.seeds)]
    names = [trial.name for trial in out]
    for trial in out:
        if names.count(trial.name) > 1:
            raise BadInput(f"{trial.name}: two runs have this name; give each task, seed and value once")
        trial.config()
    return out


def _label(chosen: tuple[tuple[str, str], ...], grid: Grid) -> str:
    """The settings that have several values, fit for a file's name."""
    text = ",".join(f"{key}={value}" for key, value in chosen if len(grid.settings[key]) > 1)
    return re.sub(r"[^\w.=,+-]+", "_", text)
