"""MCAP files of ROS 2 messages that can be read whatever ends the recording.

A chunk is written whole or taken back. So where the disk fills, or the process is killed, a file ends with a whole
chunk; only what came after that is lost.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.records import DataEnd, Footer
from mcap.writer import MCAP0_MAGIC, Writer

MEGABYTE = 1_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RecordingError(RuntimeError):
    """What was received cannot be written; what was written before is kept."""


@dataclass(frozen=True)
class Topic:
    """A topic to record: its full ``name``, ``type`` (pkg/msg/Name) and message ``definition`` (ros2msg).

    ``qos`` are the offered profiles as YAML. ``role`` is "in" where the controller listens to it, "out" where it
    publishes, else "". ``repeat``: which messages each further file begins with: "last", "all" or "" for none.
    """

    name: str
    type: str
    definition: str
    qos: str = ""
    role: str = ""
    repeat: str = ""


@dataclass(frozen=True)
class Limits:
    """Bytes after which a next file is begun (``split``), how many files are kept (``keep``, the oldest go), and
    bytes of all files after which the recording ends (``most``). None: no such limit."""

    split: int | None = None
    keep: int | None = None
    most: int | None = None


class _Pending:
    """A stream for the MCAP library that holds what is not on the disk yet."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.before = 0  # bytes that are on the disk

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)

    def tell(self) -> int:
        return self.before + len(self.data)

    def flush(self) -> None:
        """On the disk is what the file's own drain has written."""


class McapFile:
    """One file. Raises FileExistsError rather than replace one, RecordingError where something cannot be written."""

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        self.path, self.messages = path, 0
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            raise
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written: {error.strerror}") from error
        self._pending, self._waiting = _Pending(), 0
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._writer = Writer(self._pending)  # type: ignore[arg-type]  # takes anything with write, tell and flush
        self._writer.start(profile="ros2")
        self._writer.add_metadata("ddiffpg", dict(facts))
        self.flush()  # a disk that takes nothing is known at once

    @property
    def size(self) -> int:
        """Bytes, with what waits to be written (before compression)."""
        return self._pending.tell() + self._waiting

    def add(self, topic: Topic) -> None:
        if topic.type not in self._schemas:
            definition = topic.definition.encode()
            self._schemas[topic.type] = self._writer.register_schema(topic.type, "ros2msg", definition)
        facts = {"offered_qos_profiles": topic.qos, "role": topic.role}
        self._channels[topic.name] = self._writer.register_channel(topic.name, "cdr", self._schemas[topic.type], facts)

    def write(self, name: str, received: int, published: int, data: bytes) -> None:
        """A message of the topic ``name``; times in ns. It is on the disk at the latest after the next ``flush``."""
        self._writer.add_message(self._channels[name], received, data, published)
        self.messages += 1
        self._waiting += len(data)
        if self._pending.data:  # the library has ended a chunk
            self._drain()

    def flush(self) -> None:
        self._writer.flush()
        self._drain()

    def close(self) -> None:
        """Make the file complete, with its index."""
        if not self._file.closed:
            self._writer.finish()
            self._drain()
            self._file.close()

    def _drain(self) -> None:
        pending = self._pending
        try:
            _write_all(self._file, bytes(pending.data))
        except OSError as error:
            self._end_short(pending.before)
            full = f"{error.strerror}; the disk or the quota is full" if error.errno in _FULL else error.strerror
            raise RecordingError(f"{self.path}: {full}; what was recorded before is kept") from error
        pending.before += len(pending.data)
        pending.data.clear()
        self._waiting = 0

    def _end_short(self, whole: int) -> None:
        """End the file after its last whole chunk, without an index, as far as there is room for that."""
        end = RecordBuilder()
        DataEnd(0).write(end)
        Footer(summary_start=0, summary_offset_start=0, summary_crc=0).write(end)
        try:
            self._file.truncate(whole)
            self._file.seek(whole)
            _write_all(self._file, end.end() + MCAP0_MAGIC)
        except OSError:
            with contextlib.suppress(OSError):  # readers that need no end find all chunks all the same
                self._file.truncate(whole)
        finally:
            self._file.close()
            if not whole:
                self.path.unlink(missing_ok=True)


def _write_all(file, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


class McapRecording:
    """``out``, and where it is split ``out`` with _1, _2, ... before its ending: each can be read on its own.

    Raises FileExistsError rather than replace anything, RecordingError where it cannot be written.
    """

    def __init__(self, out: Path, limits: Limits, facts: Mapping[str, str]) -> None:
        self._out, self._limits, self._facts = out, limits, dict(facts)
        self._topics: dict[str, Topic] = {}
        self._repeated: dict[str, list[tuple[int, bytes]]] = {}
        self._count, self._latest, self._earlier = 0, 0, 0
        self.messages, self.full = 0, False  # full: the limit of all files is reached
        left = [path for path in out.parent.glob(f"{out.stem}_*{out.suffix}") if limits.split is not None]
        if left:
            raise FileExistsError(errno.EEXIST, "File exists", str(sorted(left)[0]))
        self._file = McapFile(out, self._facts)
        self.files = [out]

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(self._topics)

    def add(self, topic: Topic) -> None:
        """Record this topic too, from now on."""
        self._topics[topic.name] = topic
        self._file.add(topic)

    def write(self, name: str, received: int, published: int, data: bytes) -> None:
        """A message of the topic ``name``, as it was serialized; times in ns."""
        self._latest = received = max(received, self._latest)  # readers of files without an index rely on the order
        if self._reached(self._limits.split, 0):
            self._next(received)
        self._file.write(name, received, published, data)
        self.messages += 1
        repeat = self._topics[name].repeat
        if repeat:
            kept = self._repeated.setdefault(name, [])
            kept[:] = [*(kept if repeat == "all" else ()), (published, data)]
        self.full = self._reached(self._limits.most, self._earlier)

    def _reached(self, limit: int | None, earlier: int) -> bool:
        """Is the limit reached, as it is on the disk: compressed?"""
        if limit is None or earlier + self._file.size < limit:
            return False
        self._file.flush()
        return earlier + self._file.size >= limit

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Make the last file complete."""
        self._file.close()

    def _next(self, received: int) -> None:
        self._file.close()
        self._earlier += self._file.size
        self._count += 1
        path = self._out.with_name(f"{self._out.stem}_{self._count}{self._out.suffix}")
        self._file = McapFile(path, {**self._facts, "part": str(self._count)})
        self.files.append(path)
        while self._limits.keep is not None and len(self.files) > self._limits.keep:
            self.files.pop(0).unlink(missing_ok=True)
        for topic in self._topics.values():
            self._file.add(topic)
            for published, data in self._repeated.get(topic.name, ()):
                self._file.write(topic.name, received, published, data)
