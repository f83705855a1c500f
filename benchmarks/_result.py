"""How benchmarks end: their result, with what it was measured on, as JSON."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from ddiffpg_cli.output import STDOUT, write_json
from ddiffpg_core.machine import host


def write(result: dict[str, Any], target: str | None, **more: Any) -> None:
    """``result`` to the file ``target`` (``-``: standard output; None: nowhere). ``more`` are facts of the machine
    beyond those that every benchmark tells, or in place of them."""
    if target is not None and target != STDOUT:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    write_json({**result, "machine": {**facts(), **more}}, target)


def facts() -> dict[str, Any]:
    """``load``: of the last minute."""
    return {**host(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 2)}
