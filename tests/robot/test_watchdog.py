"""The watchdog barks at what does not end, and at nothing else. Times are long or short, never exact."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ddiffpg.watchdog import Watchdog


@pytest.fixture
def barks() -> Iterator[tuple[Watchdog, threading.Semaphore]]:
    heard = threading.Semaphore(0)
    watchdog = Watchdog(0.02, heard.release)
    yield watchdog, heard
    watchdog.close()


def test_it_barks_again_and_again_at_a_task_that_does_not_end(barks):
    watchdog, heard = barks
    watchdog.begin()
    assert heard.acquire(timeout=10.0) and heard.acquire(timeout=10.0)
    assert watchdog.barked and watchdog.end()
    assert not watchdog.barked


def test_it_is_silent_where_no_task_is_under_way(barks):
    watchdog, heard = barks
    assert not heard.acquire(timeout=0.1)
    watchdog.begin()
    assert not watchdog.end()
    assert not heard.acquire(timeout=0.1)


def test_each_task_counts_from_its_own_beginning(barks):
    watchdog, heard = barks
    watchdog.begin()
    assert heard.acquire(timeout=10.0)
    watchdog.end()
    watchdog.begin()
    assert not watchdog.barked


def test_closed_it_has_no_thread():
    watchdog = Watchdog(0.02, lambda: None)
    watchdog.begin()
    watchdog.close()
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}
