"""Reads recordings: MCAP files of ROS 2 messages, ours or of ``ros2 bag record``. Needs no ROS.

What is said of a controller is taken as it comes: whatever key-values its status has are there by their names.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

STATUS = "diagnostic_msgs/msg/DiagnosticStatus"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
PARAMETER_EVENT = "rcl_interfaces/msg/ParameterEvent"
SAID = ("state", "reason", "mode", "action")  # what the status of a controller has in every tick
PADDING = 4  # bytes
_VALUES = {1: "bool_value", 2: "integer_value", 3: "double_value", 4: "string_value", 6: "bool_array_value",
           7: "integer_array_value", 8: "double_array_value", 9: "string_array_value"}  # fmt: skip


class RecordingFault(ValueError):
    """A recording cannot be read, or lacks what it is asked for; the text says which file and what."""


@dataclass(frozen=True)
class Heard:
    """A message of ``topic``: when it was ``received`` by the recorder and ``published`` (s)."""

    topic: str
    received: float
    published: float
    message: Any


@dataclass(frozen=True)
class TopicInfo:
    """``role`` is "in" for what the controller heard, "out" for what it said, "" where that was not recorded."""

    name: str
    type: str
    role: str
    count: int


@dataclass(frozen=True)
class Status:
    """What the controller said of one tick, or of its end: ``values`` by key, as text."""

    received: float
    published: float
    level: int
    values: Mapping[str, str]

    @property
    def is_tick(self) -> bool:
        """Else the controller has said that it is not active."""
        return all(key in self.values for key in SAID)

    def number(self, key: str) -> float:
        """NaN where it is not said."""
        return float(self.values.get(key) or "nan")

    def numbers(self, key: str) -> np.ndarray:
        """``a,b,...`` as ``[N]``; empty where it is not said."""
        text = self.values.get(key, "")
        return np.array([float(part) for part in text.split(",")] if text else [], float)

    def pairs(self, key: str) -> dict[str, float]:
        """``name:number,...``; empty where it is not said."""
        parts = [part.rpartition(":") for part in self.values.get(key, "").split(",") if ":" in part]
        return {name: float(number) for name, _, number in parts}


class Recording:
    """One or more files (or folders of them), read anew by each look through it, in the order of receipt.

    Raises RecordingFault where one is no MCAP file, or holds nothing. A file that was ``cut_short`` is read as far
    as it goes.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.cut_short: list[Path] = []
        self.facts: dict[str, str] = {}
        self._types = get_typestore(Stores.EMPTY)
        self._counts: dict[tuple[str, str, str], int] = {}
        starts = [(self._scan(file), file) for path in paths for file in _files(path)]
        self._files = [file for start, file in sorted(starts) if start is not None]
        if not self._files:
            raise RecordingFault(f"{', '.join(map(str, paths))}: holds no messages")

    @property
    def name(self) -> str:
        return ", ".join(str(file) for file in self._files)

    @cached_property
    def topics(self) -> dict[str, TopicInfo]:
        return {name: TopicInfo(name, kind, role, n) for (name, kind, role), n in sorted(self._counts.items())}

    def of_type(self, kind: str, role: str | None = None) -> list[str]:
        """Names of the topics of a type, and of a role where that is given."""
        return [t.name for t in self.topics.values() if t.type == kind and (role is None or t.role == role)]

    def topic_of(self, controller: str, kind: str, name: str, taken: Collection[str] = ()) -> str | None:
        """Full name of the topic of a type that the controller's parameter calls ``name``; None where it is not there.

        Where the controller was started with another name (remapped) it is the only one of its type that is not
        ``taken``.
        """
        full = name if name.startswith("/") else f"{controller.rpartition('/')[0]}/{name}"
        if full in self.topics:
            return full
        others = [topic for topic in self.of_type(kind, "in") if topic not in taken]
        return others[0] if len(others) == 1 else None

    def messages(self, topics: Collection[str]) -> Iterator[Heard]:
        """Those of ``topics``, deserialized."""
        for file in self._files:
            kinds: dict[int, tuple[str, str]] = {}
            schemas: dict[int, str] = {}
            for record in self._records(file):
                if isinstance(record, Schema):
                    schemas[record.id] = record.name
                elif isinstance(record, Channel) and record.topic in topics:
                    kinds[record.id] = record.topic, schemas[record.schema_id]
                elif isinstance(record, Message) and record.channel_id in kinds:
                    topic, kind = kinds[record.channel_id]
                    message = self._read(record.data, kind)
                    yield Heard(topic, record.log_time * 1e-9, record.publish_time * 1e-9, message)

    def _read(self, data: bytes, kind: str) -> Any:
        """Where a message ends with an empty array of doubles, as joint states without efforts do, ROS leaves four
        more bytes behind it than the library lets pass."""
        try:
            return self._types.deserialize_cdr(data, kind)
        except SerdeError:
            return self._types.deserialize_cdr(data[:-PADDING], kind)

    def _records(self, file: Path) -> Iterator[Any]:
        at_end = False
        try:
            with file.open("rb") as stream:
                try:
                    yield from StreamReader(stream, validate_crcs=True).records
                except (EndOfFile, struct.error):  # the library tells the end within a number so
                    at_end = not stream.read(1)
                    if not at_end:
                        raise
        except (McapError, ValueError, struct.error) as error:
            if isinstance(error, RecordingFault):
                raise
            raise RecordingFault(f"{file}: is no MCAP file, or damaged ({type(error).__name__}: {error})") from error
        if at_end and file not in self.cut_short:
            self.cut_short.append(file)

    def _scan(self, file: Path) -> int | None:
        """Take in what the file holds; the time of its first message."""
        schemas: dict[int, str] = {}
        channels: dict[int, tuple[str, str, str]] = {}
        start: int | None = None
        for record in self._records(file):
            if isinstance(record, Metadata) and record.name == "ddiffpg":
                self.facts.update(record.metadata)
            elif isinstance(record, Schema):
                schemas[record.id] = record.name
                self._learn(file, record)
            elif isinstance(record, Channel):
                channels[record.id] = record.topic, schemas[record.schema_id], record.metadata.get("role", "")
                self._counts.setdefault(channels[record.id], 0)
            elif isinstance(record, Message):
                start = record.log_time if start is None else start
                self._counts[channels[record.channel_id]] += 1
        return start

    def _learn(self, file: Path, schema: Schema) -> None:
        if schema.encoding != "ros2msg":
            raise RecordingFault(f"{file}: the schema of {schema.name} is {schema.encoding!r}: expected 'ros2msg'")
        if schema.name not in self._types.fielddefs:
            known = self._types.fielddefs
            new = get_types_from_msg(schema.data.decode(), schema.name)
            self._types.register({name: fields for name, fields in new.items() if name not in known})


def _files(path: Path) -> list[Path]:
    found = sorted(path.glob("*.mcap")) if path.is_dir() else [path]
    if not found or not found[0].exists():
        raise RecordingFault(f"{path}: " + ("holds no .mcap file" if path.is_dir() else "no such file"))
    return found


def find_controller(recording: Recording, name: str | None = None) -> str:
    """Full name of the controller whose status is recorded. RecordingFault where there is none, or no telling which."""
    name = name or recording.facts.get("controller")
    found = [topic.removesuffix("/status") for topic in recording.of_type(STATUS) if _has_ticks(recording, topic)]
    if name is not None and f"/{name.strip('/')}" in found:
        return f"/{name.strip('/')}"
    if len(found) == 1 and name is None:
        return found[0]
    asked = "a controller" if name is None else f"a controller {name}"
    have = f"those of {', '.join(found)}" if found else "none"
    raise RecordingFault(f"{recording.name}: expected decisions of {asked} on its topic ~/status, found {have}")


def _has_ticks(recording: Recording, topic: str) -> bool:
    return topic.endswith("/status") and any(status.is_tick for status in _statuses(recording, topic))


def statuses(recording: Recording, controller: str) -> Iterator[Status]:
    """All that the controller said of its ticks, in their order."""
    return _statuses(recording, f"{controller}/status")


def _statuses(recording: Recording, topic: str) -> Iterator[Status]:
    for heard in recording.messages([topic]):
        yield read_status(heard)


def read_status(heard: Heard) -> Status:
    values = {pair.key: pair.value for pair in heard.message.values}
    return Status(heard.received, heard.published, heard.message.level, values)


def changed_parameters(event: Any) -> dict[str, Any]:
    """Values by name of what a rcl_interfaces/ParameterEvent says is new or changed."""
    changed = (*event.new_parameters, *event.changed_parameters)
    found = {p.name: getattr(p.value, _VALUES[p.value.type]) for p in changed if p.value.type in _VALUES}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def latest_parameters(recording: Recording, controller: str) -> dict[str, Any]:
    """The controller's parameters as they are recorded at the end; empty where they are not."""
    values: dict[str, Any] = {}
    for heard in recording.messages(recording.of_type(PARAMETER_EVENT)):
        if heard.message.node == controller:
            values.update(changed_parameters(heard.message))
    return values


def said_of_policy(recording: Recording, controller: str) -> dict[str, str]:
    """What the controller's diagnostics say of its policy; empty where there are none."""
    name = f"{controller.lstrip('/')}: policy"
    for heard in recording.messages(recording.of_type(DIAGNOSTICS)):
        for status in heard.message.status:
            if status.name == name:
                return {pair.key: pair.value for pair in status.values}
    return {}
