"""Recordings end readable: when they are closed, split, cut short, or when the disk fills. Read by other libraries."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mcap", reason="mcap (extra ros) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")

from mcap.reader import NonSeekingReader, make_reader
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from ddiffpg_cli.mcap_writer import Limits, McapFile, McapRecording, RecordingError, Topic

TYPES = get_typestore(Stores.ROS2_KILTED)
NOISE = Topic("/noise", "std_msgs/msg/String", TYPES.generate_msgdef("std_msgs/msg/String", ros_version=2)[0])
MAP = Topic("/map", "std_msgs/msg/Int32", TYPES.generate_msgdef("std_msgs/msg/Int32", ros_version=2)[0], repeat="last")


def text(number: int) -> bytes:
    """A message that compression does not make small."""
    data = f"{number} {os.urandom(500).hex()}"
    return bytes(TYPES.serialize_cdr(TYPES.types[NOISE.type](data=data), NOISE.type))


def number(value: int) -> bytes:
    return bytes(TYPES.serialize_cdr(TYPES.types[MAP.type](data=value), MAP.type))


def read(path: Path, topic: str = NOISE.name) -> list[tuple[int, str]]:
    """Time and content of all messages of a topic, by rosbags."""
    with AnyReader([path]) as bag:
        connections = [c for c in bag.connections if c.topic == topic]
        if not connections:
            return []
        return [(t, bag.deserialize(d, c.msgtype).data) for c, t, d in bag.messages(connections)]  # type: ignore[attr-defined]


def fill(recording: McapFile | McapRecording, count: int, first: int = 0) -> None:
    for i in range(first, first + count):
        recording.write(NOISE.name, i, i, text(i))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_closed_file_is_complete_and_indexed(tmp_path):
    file = McapFile(tmp_path / "a.mcap", {"controller": "/controller"})
    file.add(NOISE)
    fill(file, 100)
    file.close()
    assert [t for t, _ in read(file.path)] == list(range(100))
    with file.path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.message_count == 100 and summary.chunk_indexes


def test_nothing_is_replaced(tmp_path):
    path = tmp_path / "a.mcap"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        McapFile(path, {})
    with pytest.raises(FileExistsError):
        (tmp_path / "b_1.mcap").write_bytes(b"mine too")
        McapRecording(tmp_path / "b.mcap", Limits(split=1000), {})
    assert path.read_bytes() == b"mine" and not (tmp_path / "b.mcap").exists()


def test_a_disk_that_fills_is_named_and_what_was_recorded_can_be_read(small_disk):
    recording = McapRecording(small_disk / "a.mcap", Limits(), {})
    recording.add(NOISE)
    flushed = -1
    with pytest.raises(RecordingError, match=r"a\.mcap: No space left on device.*is kept"):
        for i in range(10_000):
            fill(recording, 1, first=i)
            if i % 20 == 19:
                recording.flush()
                flushed = i
    assert flushed > 100
    assert [t for t, _ in read(recording.files[0])] == list(range(flushed + 1))
    with recording.files[0].open("rb") as stream:  # and it has an end, so that strict readers take it
        assert sum(1 for _ in NonSeekingReader(stream, validate_crcs=True).iter_messages()) == flushed + 1


def test_a_disk_without_any_room_leaves_no_file(small_disk):
    (small_disk / "full").write_bytes(bytes(250_000))
    (small_disk / "rest").write_bytes(bytes((os.statvfs(small_disk).f_bavail) * os.statvfs(small_disk).f_frsize))
    with pytest.raises(RecordingError, match="No space left"):
        McapFile(small_disk / "a.mcap", {})
    assert not (small_disk / "a.mcap").exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RecordingError, match=r"cannot be written: No such file"):
        McapFile(tmp_path / "none" / "a.mcap", {})


def test_a_file_that_was_never_closed_can_be_read_up_to_its_last_flush(tmp_path):
    file = McapFile(tmp_path / "a.mcap", {})
    file.add(NOISE)
    fill(file, 10)
    file.flush()
    fill(file, 10, first=10)  # and then the process was killed
    with file.path.open("rb") as stream:
        messages = NonSeekingReader(stream).iter_messages(log_time_order=False)
        seen = [next(messages)[2].log_time for _ in range(10)]
    assert seen == list(range(10))


def test_split_files_can_be_read_on_their_own_and_the_oldest_go(tmp_path):
    out = tmp_path / "a.mcap"
    recording = McapRecording(out, Limits(split=50_000, keep=3), {"controller": "/c"})
    recording.add(NOISE)
    recording.add(MAP)
    recording.write(MAP.name, 0, 0, number(41))
    recording.write(MAP.name, 0, 0, number(42))
    fill(recording, 400)
    recording.close()
    assert len(recording.files) == 3 and sorted(recording.files) == sorted(tmp_path.iterdir())
    assert out not in recording.files
    for file in recording.files:
        assert [value for _, value in read(file, MAP.name)] == [42]  # what holds until it is said anew
        assert file.stat().st_size < 80_000
    times = [t for file in recording.files for t, _ in read(file)]
    assert times == list(range(times[0], 400))


def test_the_limit_of_all_files(tmp_path):
    recording = McapRecording(tmp_path / "a.mcap", Limits(split=20_000, most=100_000), {})
    recording.add(NOISE)
    for i in range(1000):
        if recording.full:
            break
        fill(recording, 1, first=i)
    recording.close()
    assert 50_000 < sum(file.stat().st_size for file in recording.files) < 120_000


def test_times_never_go_back(tmp_path):
    """The clock may: but readers of files that were cut short count on the order."""
    recording = McapRecording(tmp_path / "a.mcap", Limits(), {})
    recording.add(NOISE)
    for received in (5, 7, 3, 8):
        recording.write(NOISE.name, received, received, text(received))
    recording.close()
    assert [t for t, _ in read(tmp_path / "a.mcap")] == [5, 7, 7, 8]
