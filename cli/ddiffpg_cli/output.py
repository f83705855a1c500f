"""How results and progress are shown: tables for people, JSON for scripts, a bar where someone looks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

from .errors import BadInput

T = TypeVar("T")
STDOUT = "-"
BAR = 28


def check_json_target(target: str | None) -> None:
    """BadInput where ``--json`` could not be written, before any work is done for it."""
    if target in (None, STDOUT):
        return
    path = Path(target)
    if path.is_dir():
        raise BadInput(f"--json {target}: is a directory, expected a file's name or -")
    if not path.parent.is_dir():
        raise BadInput(f"--json {target}: there is no directory {path.parent}; make it first")


def write_json(value: Any, target: str | None) -> None:
    """``value`` as JSON to the file ``target`` (``-``: standard output); nothing where it is None."""
    if target is None:
        return
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if target == STDOUT:
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")


def text_out(target: str | None) -> TextIO:
    """Where text for people goes: standard error while standard output carries JSON."""
    return sys.stderr if target == STDOUT else sys.stdout


def share(value: float | None) -> str:
    """A share with two digits; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns of text under their heads."""
    cells = [list(head), *([str(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells)


def progress(items: Sequence[T], what: str, stream: TextIO | None = None) -> Iterator[T]:
    """``items`` one by one, with a bar and the time left on standard error where that is a terminal."""
    out = sys.stderr if stream is None else stream
    if not out.isatty():
        yield from items
        return
    begin = time.monotonic()
    for done, item in enumerate(items):
        out.write("\r" + bar(done, len(items), time.monotonic() - begin, what))
        out.flush()
        yield item
    out.write("\r" + " " * len(bar(len(items), len(items), 0.0, what)) + "\r")
    out.flush()


def bar(done: int, total: int, elapsed: float, what: str) -> str:
    """One line of fixed length: how much is done, and how long the rest takes at the pace so far."""
    full = BAR * done // max(total, 1)
    left = "--:--" if done == 0 else clock(elapsed / done * (total - done))
    return f"{what} [{'#' * full}{'.' * (BAR - full)}] {done}/{total}, {left} left "


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
