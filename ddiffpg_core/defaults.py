"""The settings that ship: what a kind of machine asks for, and what a task does.

A preset is a YAML file in ``ddiffpg_core/presets`` and says what a kind of machine asks for. What a task asks for is in
``presets/tasks``, for all tasks of a family (what their names begin with) and for each, in sections: ``any`` holds
under every preset, one named like a preset under that preset only.
"""

from __future__ import annotations

from importlib import resources

from ddiffpg_core.config import Config
from ddiffpg_core.strict_yaml import ConfigError, merge, parse_yaml


def presets() -> list[str]:
    """Names of the presets that ship."""
    return _yaml_files("presets")


def tasks_with_settings() -> list[str]:
    """Names of the tasks, and of the families (what a name begins with), that ask for anything beyond a preset."""
    return _yaml_files("presets/tasks")


def load_preset(name: str, task: str | None = None) -> Config:
    """What the machine asks for, then what ``task`` asks for on any, then what it asks for on this one.

    A task without a file of its own asks for nothing. Raises ConfigError where there is no such preset, naming the
    known ones.
    """
    if name not in presets():
        raise ConfigError(f"preset '{name}' does not exist (known: {', '.join(presets())})")
    folder = resources.files("ddiffpg_core") / "presets"
    where = f"preset {name}"
    config = merge(Config(), parse_yaml((folder / f"{name}.yaml").read_text(), where), where)
    for asks in _family_first(task):
        config = for_task(config, (folder / "tasks" / f"{asks}.yaml").read_text(), name, f"settings of {asks}")
    return config


def _family_first(task: str | None) -> list[str]:
    """Whose settings ``task`` has: of ``robot-task`` those of ``robot``, then its own; those that there are."""
    names = (task.split("-")[0], task) if task else ()
    return [name for name in dict.fromkeys(names) if name in tasks_with_settings()]


def for_task(base: Config, text: str, preset: str, where: str) -> Config:
    """``base`` with what a task's YAML asks for under ``preset``; the sections for other presets are checked too."""
    sections, known = parse_yaml(text, where), ("any", *presets())
    if not isinstance(sections, dict):
        raise ConfigError(f"{where}: expected sections ({', '.join(known)}), not {sections!r}")
    for name in sections:
        if name not in known:
            raise ConfigError(f"{where}: unknown section '{name}' (known: {', '.join(known)})")
    for name in (n for n in known if n in sections):
        merged = merge(base, sections[name], f"{where}: {name}")
        base = merged if name in ("any", preset) else base
    return base


def _yaml_files(folder: str) -> list[str]:
    inside = (resources.files("ddiffpg_core") / folder).iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in inside if p.name.endswith(".yaml"))
