"""Recordings made from others: with messages changed or left out, begun later, split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcap.reader import make_reader
from rosbags.typesys import Stores, get_typestore

from ddiffpg_cli.mcap_writer import Limits, McapRecording, Topic

TYPES = get_typestore(Stores.ROS2_KILTED)
Change = Callable[[str, int, Any], Any]  # topic, its how manieth message, message -> the one to write, None for none


def rewrite(source: Path, target: Path, change: Change = lambda topic, n, message: message, split: int | None = None):
    """Paths of the files written. Parameters are kept as they are."""
    with source.open("rb") as stream:
        reader = make_reader(stream)
        facts = next(record.metadata for record in reader.iter_metadata() if record.name == "ddiffpg")
        recording = McapRecording(target, Limits(split=split), facts)
        counts: dict[str, int] = {}
        for schema, channel, message in reader.iter_messages(log_time_order=False):
            n = counts[channel.topic] = counts.get(channel.topic, -1) + 1
            data = _changed(change, channel.topic, n, schema.name, message.data)
            if data is None:
                continue
            if channel.topic not in recording.topics:
                qos, role = channel.metadata["offered_qos_profiles"], channel.metadata["role"]
                repeat = "all" if channel.topic == "/parameter_events" else ""
                recording.add(Topic(channel.topic, schema.name, schema.data.decode(), qos, role, repeat))
            recording.write(channel.topic, message.log_time, message.publish_time, data)
        recording.close()
    return recording.files


def _changed(change: Change, topic: str, n: int, kind: str, data: bytes) -> bytes | None:
    message = TYPES.deserialize_cdr(data, kind)
    changed = change(topic, n, message)
    return None if changed is None else bytes(TYPES.serialize_cdr(changed, kind))


def without(*topics: str, parameters: bool = False) -> Change:
    """No messages of these topics."""
    return lambda topic, n, message: None if topic in topics else message


def said_otherwise(tick: int, key: str, value: str) -> Change:
    """In one status, one value."""

    def change(topic: str, n: int, message: Any) -> Any:
        if topic == "/controller/status" and n == tick:
            (pair,) = [pair for pair in message.values if pair.key == key]
            object.__setattr__(pair, "value", value)
        return message

    return change


def begun_later(source: Path, share: float) -> Change:
    """Only what came after ``share`` of the decisions, and the parameters."""
    seen = [False]
    with source.open("rb") as stream:
        count = sum(1 for _ in make_reader(stream).iter_messages(topics=["/controller/status"]))

    def change(topic: str, n: int, message: Any) -> Any:
        seen[0] = seen[0] or (topic == "/controller/status" and n >= share * count)
        return message if seen[0] or topic == "/parameter_events" else None

    return change
