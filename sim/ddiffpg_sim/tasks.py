"""The tasks by name."""

from __future__ import annotations

from collections.abc import Callable

from . import antmaze, panda_tasks, pointmaze
from .task import Task

_FAMILIES: tuple[dict[str, Callable[[], Task]], ...] = (pointmaze.TASKS, antmaze.TASKS, panda_tasks.TASKS)


def _all() -> dict[str, Callable[[], Task]]:
    return {name: build for family in _FAMILIES for name, build in family.items()}


def names() -> list[str]:
    """Names of all tasks, sorted."""
    return sorted(_all())


def make(name: str) -> Task:
    """The task called ``name``; KeyError naming the known ones where there is none."""
    tasks = _all()
    if name not in tasks:
        raise KeyError(f"no task '{name}'; known tasks: {', '.join(sorted(tasks))}")
    return tasks[name]()
