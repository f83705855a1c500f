"""Arguments that several subcommands share, and a parser whose errors are one line."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .errors import BAD_INPUT, BadInput

if TYPE_CHECKING:
    from ddiffpg_sim.variation import Variation


class Parser(argparse.ArgumentParser):
    """No abbreviated flags, so that a new one never changes what a script means."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE|-", help="write the result as JSON to FILE, or - for standard output")


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=not_negative, default=0, metavar="N", help="seed of all randomness (default 0)")


def add_episodes(parser: argparse.ArgumentParser, default: int | None, what: str) -> None:
    shown = "the run's own setting" if default is None else str(default)
    parser.add_argument("--episodes", type=positive, default=default, metavar="N", help=f"{what} (default {shown})")


def add_randomise(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--randomise", nargs="?", const="", metavar="FILE.yaml",
        help="let robot, delays and noise differ from episode to episode, as FILE says (default: the task's own)",
    )  # fmt: skip


def variation(file: str | None, task: str) -> Variation | None:
    """What ``--randomise`` asks for: the description in ``file``, that of ``task`` where it is empty, None without."""
    if file is None:
        return None
    from ddiffpg_sim import tasks
    from ddiffpg_sim.variation import Variation

    if not file:
        return Variation.of_task(task)
    path = existing_file(Path(file), "--randomise")
    found = Variation.load(path)
    found.check(tasks.make(task), str(path))
    return found


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def not_negative(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, 0)


def positive_number(text: str) -> float:
    """A finite number of more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of more than 0")
    return value


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value


def existing_file(path: Path, flag: str = "") -> Path:
    """``path``, if there is a file to read; BadInput naming the flag that it was given by where not."""
    given = f"{flag} {path}".lstrip()
    if path.is_dir():
        raise BadInput(f"{given}: is a directory, expected a file")
    if not path.exists():
        raise BadInput(f"{given}: no such file")
    return path
