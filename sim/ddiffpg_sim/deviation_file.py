"""Files that say how one robot differs from its model: what ``identify`` writes and others read.

Sections ``dynamics``, ``signals``, ``simulator`` and ``start``, each with the fields of its dataclass; what is not
there is as in the model::

    dynamics: {mass: 1.3, strength: 0.8}      # factors; dry_friction in N or N m
    signals: {action_delay: 0.06}             # s
    simulator: {timestep: 0.005, integrator: Euler}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from ddiffpg_core.strict_yaml import ConfigError, merge, parse_yaml

from .signals import Deviation


def read_deviation(path: Path) -> Deviation:
    """The robot of a file. ConfigError names file, field and value where one is wrong; OSError."""
    raw = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if raw is None:
        raise ConfigError(f"{path}: is empty: expected sections such as dynamics")
    try:
        return merge(Deviation(), raw, str(path))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def deviation_text(deviation: Deviation, about: Sequence[str] = ()) -> str:
    """What such a file says of ``deviation``: only what differs from the model, under lines of comment ``about`` it."""
    nominal = Deviation()
    found = {section.name: _differing(getattr(deviation, section.name), getattr(nominal, section.name))
             for section in fields(deviation)}  # fmt: skip
    body = yaml.safe_dump({name: values for name, values in found.items() if values}, sort_keys=False)
    return "".join(f"# {line}\n" for line in about) + body


def _differing(section: Any, nominal: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(section).items() if value != getattr(nominal, name)}
