"""``ddiffpg report``: what the page says, of recordings made here; and that a browser draws it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mcap", reason="mcap (extra ros) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")

import numpy as np
from rosbags.typesys import Stores, get_typestore

from ddiffpg_cli.main import main
from ddiffpg_cli.mcap_writer import Limits, McapRecording, Topic

TYPES = get_typestore(Stores.ROS2_KILTED)
ROOT = Path(__file__).resolve().parents[1]
START = 1_700_000_000.0  # s
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Writer:
    """A recording, message by message."""

    def __init__(self, path: Path) -> None:
        self.recording = McapRecording(path, Limits(), {"controller": "/controller"})

    def say(self, at: float, topic: str, kind: str, message: object) -> None:
        if topic not in self.recording.topics:
            definition = TYPES.generate_msgdef(kind, ros_version=2)[0]
            self.recording.add(Topic(topic, kind, definition, "", "in" if topic == "/odom" else "out"))
        time = round((START + at) * 1e9)
        self.recording.write(topic, time, time, bytes(TYPES.serialize_cdr(message, kind)))

    def status(self, at: float, level: int = 0, **values: object) -> None:
        pair = TYPES.types["diagnostic_msgs/msg/KeyValue"]
        said = {"now": f"{START + at:.6f}", "action": "0.5,-0.25", "wanted": "1.0,nan", "mode": 0, "tick_ms": 2.5,
                "reason": "", "ticks": round(10 * at), "missed_deadlines": 0,
                "stamps": f"odom_topic:{START + at - 0.02:.6f}", **values}  # fmt: skip
        kind = "diagnostic_msgs/msg/DiagnosticStatus"
        pairs = [pair(key=key, value=str(value)) for key, value in said.items() if value is not None]
        message = TYPES.types[kind](level=level, name="controller", message="", hardware_id="", values=pairs)
        self.say(at, "/controller/status", kind, message)

    def odom(self, at: float, x: float, y: float) -> None:
        message = made("nav_msgs/msg/Odometry")
        message.pose.pose.position.x, message.pose.pose.position.y = x, y
        message.pose.pose.orientation.w = 1.0
        self.say(at, "/odom", "nav_msgs/msg/Odometry", message)

    def markers(self, at: float, *markers: object) -> None:
        kind = "visualization_msgs/msg/MarkerArray"
        self.say(at, "/controller/markers", kind, TYPES.types[kind](markers=list(markers)))


def made(kind: str):
    """A message of all zeros."""
    values = []
    for name, (node, detail) in TYPES.fielddefs[kind][1]:
        if node.name == "NAME":
            values.append(made(detail))
        elif node.name == "BASE":
            values.append("" if detail[0] == "string" else (False if detail[0] == "bool" else 0))
        elif node.name == "ARRAY":
            values.append(np.zeros(detail[1]))
        else:
            assert node.name == "SEQUENCE", name
            values.append(np.zeros(0, np.uint8) if detail[0][0].name == "BASE" else [])
    return TYPES.types[kind](*values)


def marker(ns: str, number: int, kind: int, points: Sequence[tuple[float, float]] = ()):
    message = made("visualization_msgs/msg/Marker")
    message.ns, message.id, message.type = ns, number, kind
    message.pose.orientation.w = 1.0
    message.scale.x, message.scale.y = 0.4, 0.6
    message.points = [TYPES.types["geometry_msgs/msg/Point"](x=x, y=y, z=0.0) for x, y in points]
    return message


def drive(writer: Writer) -> None:
    """Four seconds with states and a key of which this version knows nothing."""
    for i in range(40):
        at = i / 10
        writer.odom(at, -1 + i / 20, 0.2)
        state, source = ("POLICY", "policy") if at < 1 else ("TELEOP", "human") if at < 3 else ("FAULT", "none")
        reason = "<script>alert('of the reason')</script> & more" if state == "TELEOP" else f"because of {state}"
        writer.status(at, level=2 if state == "FAULT" else 0, state=state, source=source, reason=reason,
                      mode=[0, 3, -1][min(int(at / 1.5), 2)], missed_deadlines=int(at >= 2))  # fmt: skip
    writer.markers(1.0, marker("modes", 0, 4, [(-1, 0), (1, 0)]), marker("modes", 3, 4, [(-1, 0), (1, 1)]),
                   marker("obstacles", 0, 1))  # fmt: skip
    gone = dict.fromkeys(("now", "action", "wanted", "tick_ms", "ticks", "missed_deadlines", "stamps"))
    writer.status(4.0, state="INACTIVE", reason="not active", mode=-1, **gone)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def write(fill: Callable[[Writer], None] = drive) -> Path:
        writer = Writer(tmp_path / "a.mcap")
        fill(writer)
        writer.recording.close()
        return tmp_path / "a.mcap"

    return write


class Page(HTMLParser):
    """The text, the rows of the events, the data, and whatever the page would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.loads, self.tags, self._rows, self._stack = "", [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', self.source, re.S)
        assert found
        self.data = json.loads(found.group(1))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._stack.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self._rows.append([])
        if tag == "td":
            self._rows[-1].append("")

    def handle_data(self, data):
        if self._stack and self._stack[-1] not in ("script", "style"):
            self.text += data
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] += data

    def handle_endtag(self, tag):
        if tag in self._stack:
            while self._stack.pop() != tag:
                pass

    @property
    def rows(self) -> list[list[str]]:
        return [row for row in self._rows if row]


def report(path: Path, *flags: str) -> Page:
    out = path.with_name("report.html")
    assert main(["report", str(path), "--out", str(out), *flags]) == 0
    return Page(out)


def test_the_page_loads_nothing(make):
    page = report(make())
    assert page.loads == [] and "link" not in page.tags and "img" not in page.tags
    assert set(re.findall(r"https?://[^\"' ]*", page.source)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", page.source)


def test_states_and_keys_that_are_not_known_are_shown(make):
    data = report(make()).data
    assert [span["value"] for span in data["lanes"]["state"]] == ["POLICY", "TELEOP", "FAULT", "INACTIVE"]
    assert [span["value"] for span in data["lanes"]["source"]][:3] == ["policy", "human", "none"]
    assert "tick_ms" not in data["lanes"]
    fault = data["lanes"]["state"][2]
    assert (fault["start"], fault["reasons"]) == (3.0, ["because of FAULT"])


def test_events_are_told_in_words(make):
    rows = [(float(time.split()[0]), what, how.split(":")[0]) for time, what, how in report(make()).rows]
    assert (1.0, "state", "POLICY → TELEOP") in rows and (1.0, "source", "policy → human") in rows
    assert (1.5, "mode", "0 → 3") in rows and (2.0, "deadline", "1 missed") in rows
    assert (4.0, "state", "FAULT → INACTIVE") in rows
    assert rows == sorted(rows, key=lambda row: row[0])


def test_what_the_controller_said_cannot_become_part_of_the_page(make):
    page = report(make())
    assert "<script>alert" not in page.source and "alert('of the reason')" in page.text
    assert page.tags.count("script") == 2


def test_map_curves_and_latency(make):
    data = report(make(), "--policy", str(ROOT / "policies" / "pointmaze-v1.onnx")).data
    scene = data["scene"]
    assert scene["track"][0] == [0.0, -1.0, 0.2] and len(scene["track"]) == len(data["times"]) == 40
    assert set(scene["modes"]) == {"0", "1"}  # the policy's
    assert [(s["kind"], s["length"], s["width"], s["start"]) for s in scene["solids"]] == [("box", 0.4, 0.6, 1.0)]
    vx = data["commands"][0]
    assert (vx["name"], vx["unit"], vx["low"], vx["high"]) == ("vx", "m/s", -1.0, 1.0)
    assert set(vx["values"]) == {0.5} and data["commands"][1]["wanted"][0] is None
    tick, age = data["latency"]
    assert set(tick["values"]) == {2.5} and tick["high"] == pytest.approx(100)
    assert age["name"] == "age of odom" and age["values"][5] == pytest.approx(20, abs=0.1)


def test_without_the_policy_its_ways_are_those_that_were_drawn(make):
    page = report(make())
    assert set(page.data["scene"]["modes"]) == {"0", "3"}
    assert page.data["commands"][0]["high"] is None and "the policy's file was not at hand" in page.text


def test_long_recordings_are_thinned_out_and_the_worst_is_kept(make):
    def fill(writer: Writer) -> None:
        for i in range(7000):
            writer.status(i / 10, state="DRIVE", tick_ms=90 if i == 4001 else 1)

    data = report(make(fill)).data
    assert len(data["times"]) <= 3000
    for curve in (*data["commands"], *data["latency"]):
        assert len(curve["values"]) == len(data["times"])
    assert max(data["latency"][0]["values"]) == 90


def test_a_recording_that_cannot_be_shown(make, tmp_path, capsys):
    path = make(lambda writer: writer.status(0, state="DRIVE"))
    assert main(["report", str(path), "--out", str(tmp_path / "r.html")]) == 2
    assert "1 decisions" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none.mcap"), "--out", str(tmp_path / "r.html")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["report", str(path), "--out", str(tmp_path / "none" / "r.html")]) == 2
    assert not (tmp_path / "r.html").exists()


def test_a_browser_draws_it(make, tmp_path):
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    report(make())
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--disable-background-networking", "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom",
               f"file://{tmp_path / 'report.html'}#t=2"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert "CONSOLE" not in done.stderr, done.stderr
    assert re.search(r'<html[^>]* data-drawn="yes"', done.stdout)
    moment = re.search(r'<dl id="moment">(.*?)</dl>', done.stdout, re.S)
    assert moment and "TELEOP" in moment.group(1) and "human" in moment.group(1) and "<script>" not in moment.group(1)
    assert re.search(r'<output id="now"[^>]*>2.00 / 4.0 s<', done.stdout)
    lanes = re.search(r'<div id="lanes">(.*?)</div>', done.stdout, re.S)
    assert lanes and lanes.group(1).count('tabindex="0"') >= 4 + 3
    assert done.stdout.count("<svg") == 1 + len(report(tmp_path / "a.mcap").data["lanes"]) + 1 + 2 + 2
