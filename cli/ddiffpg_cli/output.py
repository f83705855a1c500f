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


def check_file(flag: str, path: Path) -> None:
    """BadInput where a file could not be written to ``path``, before any work is done for it."""
    if path.is_dir() or not path.parent.is_dir():
        raise BadInput(f"{flag} {path}: expected a file's name in a directory that is there")


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


class Progress:
    """How far ``what`` has come of ``total``: a bar on a terminal, else a line for each tenth of the way.

    The time left goes by the pace since this object was made, so it is right for what is resumed too.
    """

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self._what, self._total = what, total
        self._out = sys.stderr if stream is None else stream
        self._begun: tuple[float, int] | None = None
        self._tenth = -1
        self._width = 0

    def show(self, done: int, note: str = "") -> None:
        """``done`` of the total is done."""
        now = time.monotonic()
        if self._begun is None:
            self._begun, self._tenth = (now, done), 10 * done // self._total
        since, first = self._begun
        left = (now - since) / (done - first) * (self._total - done) if done > first else None
        if self._out.isatty():
            self._draw(bar(self._what, done, self._total, left, note))
        elif 10 * done // self._total > self._tenth:
            self._tenth = 10 * done // self._total
            print(plain(self._what, done, self._total, left, note), file=self._out, flush=True)

    def end(self) -> None:
        """Take the bar away."""
        if self._width:
            self._draw("")
            self._out.write("\r")

    def _draw(self, text: str) -> None:
        self._out.write("\r" + text.ljust(self._width))
        self._out.flush()
        self._width = len(text)


def progress(items: Sequence[T], what: str) -> Iterator[T]:
    """``items`` one by one, with a bar where standard error is a terminal."""
    shown = Progress(what, len(items)) if sys.stderr.isatty() else None
    for done, item in enumerate(items):
        if shown is not None:
            shown.show(done)
        yield item
    if shown is not None:
        shown.end()


def plain(what: str, done: int, total: int, left: float | None, note: str) -> str:
    """How far it has come, in words; ``left`` in seconds."""
    parts = [f"{what} {done}/{total}", "--:-- left" if left is None else f"{clock(left)} left", note]
    return ", ".join(part for part in parts if part)


def bar(what: str, done: int, total: int, left: float | None, note: str = "") -> str:
    """The same as a bar."""
    full = BAR * done // max(total, 1)
    return f"[{'#' * full}{'.' * (BAR - full)}] {plain(what, done, total, left, note)}"


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
