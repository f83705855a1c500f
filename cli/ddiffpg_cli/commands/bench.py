"""``ddiffpg bench``: the scripts in ``benchmarks/``, by name."""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from pathlib import Path

from ..errors import BAD_INPUT, FAILED, OK, BadInput

HELP = {"bench": "list the benchmarks, or run one: ddiffpg bench NAME [its own flags]"}
FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the benchmark to run (default: list them)")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="passed on to it; try NAME --help")


def run(args: argparse.Namespace) -> int:
    scripts = _scripts()
    if args.name is None:
        for name, path in scripts.items():
            print(f"{name:16} {_summary(path)}")
        return OK
    if args.name not in scripts:
        raise BadInput(f"benchmark {args.name!r} does not exist; known: {', '.join(scripts)}")
    code = _run_script(scripts[args.name], args.rest)
    return code if code in (OK, BAD_INPUT) else FAILED


def _scripts() -> dict[str, Path]:
    if not FOLDER.is_dir():
        raise BadInput(f"{FOLDER}: no such directory; the benchmarks are in the source checkout, not in the wheel")
    return {path.stem: path for path in sorted(FOLDER.glob("*.py")) if not path.stem.startswith("_")}


def _summary(path: Path) -> str:
    """The first line of the script's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def _run_script(path: Path, rest: list[str]) -> int:
    """Its exit code. It finds our packages where this process found them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run([sys.executable, str(path), *rest], env=environment, check=False).returncode
