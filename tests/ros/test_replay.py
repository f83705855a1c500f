"""``ddiffpg replay``: over what a real demo recorded, and over the same with something changed."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mcap", reason="mcap (extra ros) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")

from mcap.reader import make_reader

from ddiffpg_cli.main import main
from ddiffpg_cli.recording import Recording, statuses

POLICIES = Path(__file__).resolve().parents[2] / "policies"


@pytest.fixture
def replayed(tmp_path, capsys):
    """Exit code and result of a replay; what was said instead where there is none."""

    def replay(*flags: object):
        target = tmp_path / "result.json"
        code = main(["replay", *map(str, flags), "--json", str(target)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err and len(said.err.splitlines()) <= 1
        return code, json.loads(target.read_text()) if code < 2 else said.err

    return replay


@pytest.fixture
def changed(demo_recording, recordings, tmp_path):
    def change(how, **settings):
        return recordings.rewrite(demo_recording, tmp_path / "changed.mcap", how, **settings)

    return change


def test_the_same_controller_decides_the_same(demo_recording, replayed):
    code, result = replayed(demo_recording)
    assert code == 0 and result["same"] and result["differences"] == [] and result["gaps"] == []
    assert result["controller"] == "/controller"
    assert result["compared"] == result["ticks"] > 50
    assert result["largest"] < result["tolerance"]
    assert result["policy"].endswith("pointmaze-v1.onnx")


def test_a_recorded_hand_over_is_decided_the_same(demo, demo_recording, replayed):
    hand = json.loads(demo.done.stdout)["hand_over"]
    ticks = [status.values for status in statuses(Recording([demo_recording]), "/controller") if status.is_tick]
    sources = [source for source, _ in groupby(tick["source"] for tick in ticks)]
    assert sources == ["POLICY", "TELEOP", "POLICY"]
    assert {tick["in_command"] for tick in ticks} == {"POLICY", "BLEND", "TELEOP"}
    (given,) = [tick for tick in ticks if tick["requests_asked"] == '["engage"]']
    assert given["intent"] == given["mode"] == str(hand["mode"])
    code, result = replayed(demo_recording)
    assert code == 0 and result["compared"] == len(ticks) and result["differences"] == []


def test_without_the_human_it_is_decided_otherwise_who_is_in_command(changed, replayed):
    def unheard(topic, n, message):
        if topic == "/controller/status":
            for pair in message.values:
                if pair.key == "teleop_asked":
                    object.__setattr__(pair, "value", "null")
        return message

    code, result = replayed(*changed(unheard))
    assert code == 1 and result["counts"]["in_command"] > 3 and result["counts"]["state"] > 3


def test_a_decision_that_was_another_is_found(changed, recordings, replayed):
    files = changed(recordings.said_otherwise(10, "mode", "7"))
    code, result = replayed(*files)
    assert code == 1 and result["counts"] == {"mode": 1} and result["differing_ticks"] == 1
    (difference,) = result["differences"]
    assert (difference["what"], difference["recorded"]) == ("mode", "7") and difference["replayed"] in ("0", "1", "-1")
    assert difference["at"] == pytest.approx(1.0, abs=0.3)


def test_other_readings_give_other_commands(changed, replayed):
    def push(topic, n, message):
        if topic == "/odom" and n > 100:
            message.pose.pose.position.y += 0.3
        return message

    code, result = replayed(*changed(push))
    assert code == 1 and result["counts"]["command"] > 10
    assert all(d["by"] > result["tolerance"] for d in result["differences"] if d["what"] == "command")


def test_another_policy_of_the_same_task_differs(demo_recording, replayed, field_policy):
    code, result = replayed(demo_recording, "--policy", field_policy)
    assert code == 1 and result["counts"]["command"] > 10
    loose = replayed(demo_recording, "--policy", field_policy, "--tolerance", 1000)
    assert "command" not in loose[1]["counts"]


def test_a_policy_of_another_task_is_refused(demo_recording, replayed):
    code, said = replayed(demo_recording, "--policy", POLICIES / "pointmaze-v2.onnx")
    assert code == 2 and "task is 'pointmaze-v1' in the recording, 'pointmaze-v2' in the policy" in said


def test_a_policy_with_other_modes_is_refused(changed, recordings, replayed, demo_recording):
    files = changed(recordings.said_otherwise(0, "clearance_m", "4:0.1,9:0.1"))
    code, said = replayed(*files)
    assert code == 2 and "modes is [4, 9] in the recording, [0, 1] in the policy" in said


def test_split_files_are_put_in_order(changed, replayed):
    files = changed(lambda topic, n, message: message, split=40_000)
    assert len(files) > 2
    code, result = replayed(*reversed(files))
    assert code == 0 and result["gaps"] == []


def test_a_recording_that_begins_in_the_middle_runs_in(demo_recording, changed, recordings, replayed):
    code, result = replayed(*changed(recordings.begun_later(demo_recording, 0.05)))
    assert code == 0, result
    assert 0 < result["compared"] < result["ticks"]


def test_obstacles_from_before_the_recording_are_missed(demo_recording, changed, recordings, replayed):
    files = changed(recordings.begun_later(demo_recording, 0.5))
    code, said = replayed(*files)
    assert code == 2 and "1 messages about obstacles came before the recording began" in said
    assert replayed(*files, "--allow-gaps")[0] < 2


@pytest.mark.parametrize(
    ("topic", "first", "words"),
    [
        ("/controller/status", 20, "1 decisions before this one were not recorded"),
        ("/obstacles", 0, "1 messages about obstacles were not recorded"),
    ],
)
def test_gaps_are_named(topic, first, words, changed, replayed):
    files = changed(lambda name, n, message: None if name == topic and n == first else message)
    code, said = replayed(*files)
    assert code == 2 and words in said and "--allow-gaps" in said
    assert replayed(*files, "--allow-gaps")[1]["gaps"]


def test_readings_that_a_tick_knew_of_and_were_not_recorded_are_named(changed, replayed):
    code, said = replayed(*changed(lambda name, n, m: None if name == "/odom" and 100 <= n < 150 else m))
    assert code == 2 and "the reading of /odom" in said and "was not recorded" in said


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("/controller/status", "expected decisions of a controller /controller"),
        ("/odom", "has no messages of odom"),
        ("/cmd_vel", "commands were sent, and none was recorded"),
        ("/parameter_events", "lacks the parameters of /controller"),
    ],
)
def test_a_recording_that_lacks_what_it_takes(topic, words, changed, recordings, replayed):
    code, said = replayed(*changed(recordings.without(topic)))
    assert code == 2 and words in said


def chunk_in_the_middle(recording: Path) -> tuple[int, int]:
    """Where it begins and ends."""
    with recording.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    chunk = summary.chunk_indexes[len(summary.chunk_indexes) // 2]
    return chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length


@pytest.mark.parametrize("place", ["in a chunk", "after one", "in a number after one"])
def test_what_was_cut_short_is_replayed_as_far_as_it_goes(place, demo_recording, replayed, tmp_path):
    begin, end = chunk_in_the_middle(demo_recording)
    at = {"in a chunk": (begin + end) // 2, "after one": end, "in a number after one": end + 4}[place]
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(demo_recording.read_bytes()[:at])
    code, result = replayed(cut)
    assert code == 0 and 10 < result["ticks"] < replayed(demo_recording)[1]["ticks"]


def test_files_that_are_no_recordings(demo_recording, replayed, tmp_path):
    assert "no such file" in replayed(tmp_path / "none.mcap")[1]
    (tmp_path / "text.mcap").write_text("this is a text and no recording")
    assert "text.mcap: is no MCAP file" in replayed(tmp_path / "text.mcap")[1]
    data = bytearray(demo_recording.read_bytes())
    data[sum(chunk_in_the_middle(demo_recording)) // 2] ^= 0x55
    (tmp_path / "damaged.mcap").write_bytes(data)
    assert "damaged" in replayed(tmp_path / "damaged.mcap")[1]
    assert "no such file" in replayed(demo_recording, "--policy", tmp_path / "none.onnx")[1]
    assert "expected decisions of a controller other" in replayed(demo_recording, "--controller", "other")[1]
