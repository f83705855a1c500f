"""Every setting of a training run, in one tree of dataclasses; strict YAML in, the same YAML out.

A preset is a YAML file in ``ddiffpg_core/presets``; it names only what differs from the defaults here.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """A setting is unknown or has a wrong value: names the key, the value and what was expected."""


@dataclass(frozen=True)
class TrainConfig:
    """The loop: how long, how many episodes side by side, how often to look."""

    iterations: int = 6000
    num_envs: int = 64
    sim_threads: int = 1
    torch_threads: int = 1
    warmup_iterations: int = 120
    updates_per_iteration: int = 2
    recluster_every: int = 100
    log_every: int = 100
    eval_every: int = 1000
    eval_episodes: int = 20
    final_episodes: int = 100
    checkpoint_every: int = 500
    fade_from: float = 0.7
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("iterations", "num_envs", "recluster_every", "log_every", "eval_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}: expected 1 or more")


@dataclass(frozen=True)
class ActorConfig:
    """The diffusion policy (paper, section 4.1)."""

    hidden: tuple[int, ...] = (128, 128, 128)
    denoising_steps: int = 5
    embedding_dim: int = 8
    time_dim: int = 16
    learning_rate: float = 5e-4
    ema: float = 0.997


@dataclass(frozen=True)
class CriticConfig:
    """Twin categorical critics, one pair a mode (paper, section 4.3)."""

    hidden: tuple[int, ...] = (128, 128)
    atoms: int = 51
    value_max: float = 1.2
    learning_rate: float = 5e-4
    tau: float = 0.02
    gamma: float = 0.98
    n_step: int = 3
    batch_size: int = 256
    min_group_rows: int = 48


@dataclass(frozen=True)
class ImproveConfig:
    """Action improvement by gradient steps on Q (paper, equation 5)."""

    steps: int = 4
    learning_rate: float = 0.06
    candidates: int = 4


@dataclass(frozen=True)
class NoveltyConfig:
    """NovelD on random-network distillation (paper, section 4.2)."""

    hidden: tuple[int, ...] = (128, 128)
    features: int = 64
    learning_rate: float = 3e-4
    scale: float = 0.004
    clip: float = 6.0  # clip * scale / (1 - gamma) is at most critic.value_max


@dataclass(frozen=True)
class ExploreConfig:
    """How episodes are shared out and disturbed while data is collected."""

    explorer_share: float = 0.5
    sigma_min: float = 0.05
    sigma_max: float = 0.5
    hold_steps: int = 8
    hold_scale: float = 0.7
    finder_share: float = 0.5
    switch_share: float = 0.5
    null_share: float = 0.25


@dataclass(frozen=True)
class ReplayConfig:
    """Trajectories kept, and what a mode's rows are drawn from (the rest: other modes' successes)."""

    trajectories: int = 4000
    own_share: float = 0.34
    any_share: float = 0.33


RULES = ("apart", "share")
"""Where the dendrogram is cut: where ways begin to count as two; or, as published for the arm, at a share of its
largest merge."""


@dataclass(frozen=True)
class ModesConfig:
    """Mode discovery: paths, their distance, the linkage and the rule that counts clusters."""

    path_points: int = 20
    library: int = 240
    new_per_call: int = 60
    max_modes: int = 8
    min_cluster: int = 4
    rule: str = RULES[0]
    cut_share: float = 0.7  # of the largest merge, where the rule "share" cuts the dendrogram
    joined: float = 0.9  # share of the distance that makes two ways, up to which paths are joined: 20 points blur it
    outliers_max: float = 0.25
    longest_detour: float = 2.0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"modes.rule is {self.rule!r}: no such rule (known: {', '.join(RULES)})")
        if self.min_cluster < 2:
            raise ConfigError(f"modes.min_cluster is {self.min_cluster}: expected 2 or more")


@dataclass(frozen=True)
class Config:
    """A whole run."""

    train: TrainConfig = field(default_factory=TrainConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    improve: ImproveConfig = field(default_factory=ImproveConfig)
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    modes: ModesConfig = field(default_factory=ModesConfig)


def presets() -> list[str]:
    """Names of the presets that ship."""
    folder = resources.files("ddiffpg_core") / "presets"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_preset(name: str) -> Config:
    """A preset by name; ConfigError naming the known ones where there is none."""
    if name not in presets():
        raise ConfigError(f"preset '{name}' does not exist (known: {', '.join(presets())})")
    text = (resources.files("ddiffpg_core") / "presets" / f"{name}.yaml").read_text()
    return _merge(Config(), _yaml(text, f"preset {name}"), f"preset {name}")


def load_file(path: Path, base: Config) -> Config:
    """``base`` with the settings of a YAML file; ConfigError names file and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    return _merge(base, _yaml(text, str(path)) or {}, str(path))


def override(config: Config, assignments: list[str]) -> Config:
    """``config`` with ``section.key=value`` applied; values are YAML."""
    for text in assignments:
        key, equals, value = text.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot):
            raise ConfigError(f"override '{text}': expected section.key=value")
        config = _merge(config, {section: {name: _yaml(value, f"override '{text}'")}}, "override")
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain values, fit for YAML and JSON."""
    return {s: {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
            for s, values in dataclasses.asdict(config).items()}


def from_dict(raw: dict[str, Any], where: str) -> Config:
    """The tree from plain values; every unknown key is an error."""
    return _merge(Config(), raw, where)


def dump(config: Config) -> str:
    """The whole tree as YAML."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {error}") from error


def _merge(base: Any, raw: Any, where: str) -> Any:
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
        changes[key] = _merge(old, value, inner) if dataclasses.is_dataclass(old) else _value(value, old, inner)
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
    int: (_whole, "int, 0 or more"),
    float: (_number, "float, 0 or more"),
    str: (_text, "str"),
}
