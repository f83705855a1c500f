"""A report as one HTML page that needs nothing else: style, script and data are in it, and it loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from html import escape
from importlib import resources

from ddiffpg_cli.report_data import Event, Report

EVENTS = 2000  # in the table; a drive with more of them is read by its lanes


def page(report: Report, notes: Sequence[str] = ()) -> str:
    """The whole page; ``notes`` are what a reader must know of the recording first."""
    files = resources.files("ddiffpg_cli") / "report"
    css, js, template = ((files / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "page.html"))
    shown = report.events[:EVENTS]
    left = len(report.events) - len(shown)
    more = [*notes, *([f"{left} more events are left out of the table"] if left else [])]
    values = {
        "title": escape(f"{report.controller} · {_day(report.start)}"),
        "heading": escape(_heading(report)),
        "lead": escape(_lead(report)),
        "notes": "".join(f'<p class="note">{escape(note)}</p>' for note in more),
        "tiles": _tiles(report),
        "duration": f"{report.duration:.3f}",
        "map_label": escape(_map_label(report)),
        "command_hint": escape(_command_hint(report)),
        "latency_hint": "Blue: measured. Dashed: the control period, in which a tick must be done.",
        "events": "".join(map(_row, shown)),
        "facts": _list(_facts(report)),
        "parameters": _list(report.parameters),
        "parameter_count": str(len(report.parameters)),
        "css": css,
        "js": js,
        "data": _data(report),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found.group(1)], template)


def _data(report: Report) -> str:
    """JSON that cannot end the script element that it is in."""
    whole = asdict(report)
    kept = ("duration", "times", "lanes", "commands", "latency", "scene", "reasons")
    text = json.dumps({name: whole[name] for name in kept}, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _day(start: float) -> str:
    return datetime.fromtimestamp(start, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _heading(report: Report) -> str:
    task = report.facts.get("task")
    return f"{task} by {report.controller}" if task else report.controller


def _lead(report: Report) -> str:
    """The drive in a few sentences."""
    states = [span.value for span in report.lanes["state"] if span.end > span.start]
    first, last = (states[0], states[-1]) if states else ("", "")
    seen = f"It was in {first} all the time." if len(set(states)) < 2 else f"It began in {first} and ended in {last}."
    changes, driven = report.counts["changes of mode"], report.counts["modes driven"]
    changed = "It kept to one way." if changes == 0 else f"It changed its way {_times(changes)}."
    way = changed if driven else "It followed no way."
    return f"{report.duration:.1f} seconds from {_day(report.start)}. {way} {seen}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _tiles(report: Report) -> str:
    bad = ("missed deadlines", "with a fault")
    tiles = [("seconds", f"{report.duration:.1f}"), *((name, str(count)) for name, count in report.counts.items())]
    return "".join(
        f"<li{_warns(name in bad and value != '0')}><b>{escape(value)}</b><span>{escape(name)}</span></li>"
        for name, value in tiles
    )


def _warns(bad: bool) -> str:
    return ' class="bad"' if bad else ""


def _map_label(report: Report) -> str:
    scene = report.scene
    return (
        f"map from above: the path that was driven, the ways of {len(scene.modes)} modes, "
        f"{len(scene.solids)} obstacles; the events below say the same in words"
    )


def _command_hint(report: Report) -> str:
    limits = any(curve.high is not None for curve in report.commands)
    dashed = "Dashed: limits." if limits else "Limits are not shown: the policy's file was not at hand."
    return f"Blue: sent. Dotted: what the policy asked for. {dashed}"


def _row(event: Event) -> str:
    button = f'<button type="button" data-time="{event.at}">{event.at:.2f} s</button>'
    kind = escape(event.kind.replace("_", " "))
    return f'<tr class="{event.level}"><td>{button}</td><td>{kind}</td><td>{escape(event.text)}</td></tr>'


def _facts(report: Report) -> dict[str, str]:
    return {"recording": report.files, "controller": report.controller, "began": _day(report.start), **report.facts}


def _list(facts: Mapping[str, str]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value or '(empty)')}</dd>" for name, value in facts.items())
