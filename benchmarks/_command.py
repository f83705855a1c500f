"""``ddiffpg`` as a process of its own, for benchmarks that train for long or several at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ddiffpg_cli.errors import Failed


def ddiffpg(words: Iterable[object], log: Path, threads: int = 1) -> None:
    """What it says is added to ``log``. Raises Failed, which names that, where it does not come to its end."""
    command = [sys.executable, "-m", "ddiffpg_cli", *map(str, words)]
    path = os.pathsep.join(p for p in sys.path if p)  # ours are found where this process found them
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    with open(log, "a", encoding="utf-8") as out:
        code = subprocess.run(command, stdout=out, stderr=out, env=environment, check=False).returncode
    if code:
        raise Failed(f"ddiffpg {command[3]} ended with exit code {code}; {log} says why")
