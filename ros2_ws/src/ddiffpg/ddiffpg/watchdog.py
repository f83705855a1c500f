"""Notices that a task does not end, from a thread of its own: the task's own thread cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable

LOOKS = 4  # in the time that a task may take


class Watchdog:
    """Calls ``bark`` as long as a task has been under way for more than ``limit`` (s), a quarter of that at the latest.

    It counts how often it has looked, not what the clock says: where the whole process was kept from running,
    the task has not hung. ``bark`` is called in the watchdog's own thread, never while a task begins or ends.
    """

    def __init__(self, limit: float, bark: Callable[[], None]) -> None:
        self._wait, self._bark = limit / LOOKS, bark
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._looks: int | None = None  # None: no task is under way
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """A task begins."""
        with self._lock:
            self._looks = 0

    def end(self) -> bool:
        """It has ended; did the watchdog bark?"""
        with self._lock:
            barked, self._looks = self.barked, None
        return barked

    @property
    def barked(self) -> bool:
        """At the task that is under way."""
        return self._looks is not None and self._looks > LOOKS

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(self._wait):
            with self._lock:
                if self._looks is None:
                    continue
                self._looks += 1
                if self.barked:
                    self._bark()
