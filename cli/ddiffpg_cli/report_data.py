"""What a recording says, gathered for a page: the drive over time, where it went, what was in the way.

Nothing is known here of states or of most keys of the status: what is said is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg_cli.recording import Recording, RecordingFault, Status, latest_parameters, said_of_policy, statuses
from ddiffpg_cli.report_map import Scene, scene

POINTS = 3000  # of a curve; more are not seen
ERROR = 2  # level of a diagnostic_msgs/DiagnosticStatus
LANE_VALUES = 12  # a key of the status with more values than that is no lane of the timeline
# Keys that are shown as curves, or that change in every tick.
CURVES = ("action", "wanted", "sent", "clearance_m", "length_m", "to_go_m", "now", "stamps", "tick_ms", "ticks",
          "reason", "scan_at", "missed_deadlines", "obstacle_messages")  # fmt: skip


@dataclass(frozen=True)
class Span:
    """A ``value`` of a lane from ``start`` to ``end`` (s), and the ``reasons`` that were given meanwhile."""

    start: float
    end: float
    value: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """Something that happened ``at`` (s); ``kind`` is the key of the status that changed."""

    at: float
    kind: str
    text: str
    level: str = "info"  # or warn


@dataclass(frozen=True)
class Curve:
    """``values`` over the ticks' times; ``low`` and ``high`` are limits, ``wanted`` what the policy asked for."""

    name: str
    unit: str
    values: list[float | None]
    wanted: list[float | None] = field(default_factory=list)
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Report:
    """All of a page. Times are seconds since ``start`` (s, the clock of the recorded ticks)."""

    files: str
    controller: str
    start: float
    duration: float
    times: list[float]
    lanes: dict[str, list[Span]]
    reasons: list[tuple[float, str]]  # from when on
    commands: list[Curve]
    latency: list[Curve]
    events: list[Event]
    scene: Scene
    facts: dict[str, str]
    parameters: dict[str, str]
    counts: dict[str, int]


def collect(recording: Recording, controller: str, contract: Contract | None) -> Report:
    """``contract`` is the policy's, None where its file is not at hand: limits are not known then."""
    said = list(statuses(recording, controller))
    ticks = [status for status in said if status.is_tick]
    if len(ticks) < 2:
        raise RecordingFault(f"{recording.name}: has {len(ticks)} decisions of {controller}: too few to show anything")
    clock = ticks[0].number("now")
    if not math.isfinite(clock):
        raise RecordingFault(f"{recording.name}: the status of {controller} lacks now: expected the time of each tick")
    times = [_time(status, ticks[0]) for status in ticks]
    shown = _shown(len(ticks))
    parameters = latest_parameters(recording, controller)
    return Report(
        files=recording.name,
        controller=controller,
        start=clock,
        duration=round(max(times[-1], _time(said[-1], ticks[0])), 3),
        times=[round(times[i], 3) for i in shown],
        lanes=_lanes(said, ticks[0]),
        reasons=[(span.start, span.value) for span in _spans(said, ticks[0], "reason")],
        commands=_commands([ticks[i] for i in shown], contract, parameters),
        latency=_latency(ticks, times, shown, contract),
        events=_events(said, ticks[0]),
        scene=scene(recording, controller, parameters, contract, clock),
        facts=said_of_policy(recording, controller),
        parameters={name: str(value) for name, value in sorted(parameters.items())},
        counts=_counts(said, recording),
    )


def _time(status: Status, first: Status) -> float:
    """Seconds since the first tick; what is no tick has no time of its own and counts from when it was sent."""
    now = status.number("now")
    return now - first.number("now") if math.isfinite(now) else status.published - first.published


def _shown(count: int) -> list[int]:
    step = -(-count // POINTS)
    return list(range(0, count, step))


# ---- lanes ---------------------------------------------------------------------------------------------


def _lanes(said: Sequence[Status], first: Status) -> dict[str, list[Span]]:
    """State and mode, and whatever else of the status has few values and more than one."""
    keys = dict.fromkeys(key for status in said for key in status.values if key not in CURVES)
    lanes = {}
    for key in ("state", "mode", *(key for key in keys if key not in ("state", "mode"))):
        spans = _spans(said, first, key)
        values = {status.values.get(key, "") for status in said if status.is_tick}
        if key in ("state", "mode") or 1 < len(values) <= LANE_VALUES:
            lanes[key] = spans
    return lanes


def _spans(said: Sequence[Status], first: Status, key: str) -> list[Span]:
    found: list[list[Any]] = []
    for status in said:
        at, value = _time(status, first), status.values.get(key, "")
        reason = status.values.get("reason", "")
        if found and found[-1][2] == value:
            found[-1][1] = at
            if reason not in found[-1][3]:
                found[-1][3].append(reason)
        else:
            if found:
                found[-1][1] = at
            found.append([at, at, value, [reason]])
    return [Span(round(a, 3), round(b, 3), value, tuple(reasons[:5])) for a, b, value, reasons in found]


# ---- events --------------------------------------------------------------------------------------------


def _events(said: Sequence[Status], first: Status) -> list[Event]:
    events = [_event(said[0], None, "state", first), _event(said[0], None, "mode", first)]
    lanes = _lanes(said, first)
    keys = [key for key in lanes if key not in ("limited_by", "tick_ms")]
    for before, status in zip(said, said[1:]):
        if not status.is_tick:
            keys_now = ["state"]
        else:
            keys_now = [key for key in keys if before.is_tick or key in ("state", "mode")]
        changed = [key for key in keys_now if status.values.get(key, "") != before.values.get(key, "")]
        events += [_event(status, before, key, first) for key in changed]
        late = status.number("missed_deadlines") - before.number("missed_deadlines")
        if late > 0:
            events.append(Event(round(_time(status, first), 3), "deadline", f"{late:.0f} missed", "warn"))
    return events


def _event(status: Status, before: Status | None, key: str, first: Status) -> Event:
    at, value = round(_time(status, first), 3), status.values.get(key, "") or "none"
    change = value if before is None else f"{before.values.get(key, '') or 'none'} → {value}"
    reason = f": {status.values.get('reason', '')}" if key in ("state", "mode") else ""
    return Event(
        at, key, change + reason, "warn" if status.level > 0 or (key == "faults" and value != "none") else "info"
    )


# ---- curves --------------------------------------------------------------------------------------------


def _commands(ticks: Sequence[Status], contract: Contract | None, parameters: Mapping[str, Any]) -> list[Curve]:
    size = len(ticks[0].numbers("action"))
    action, wanted = ([status.numbers(key) for status in ticks] for key in ("action", "wanted"))
    curves = []
    for i in range(size):
        field_ = contract.action[i] if contract is not None and len(contract.action) == size else None
        low, high = (None, None) if field_ is None else _limits(contract, field_.low, field_.high, parameters)
        name, unit = (f"{i + 1}", "") if field_ is None else (field_.name, field_.unit)
        values, asked = ([_number(v[i]) if len(v) == size else None for v in rows] for rows in (action, wanted))
        curves.append(Curve(name, unit, values, asked, low, high))
    return curves


def _limits(
    contract: Contract | None, low: float, high: float, parameters: Mapping[str, Any]
) -> tuple[float | None, float | None]:
    """The contract's, or the controller's own where that is tighter."""
    kind = "" if contract is None else contract.action_kind
    own = parameters.get({"base_velocity": "max_speed", "joint_effort": "max_effort"}.get(kind, ""), math.inf)
    return _number(max(low, -own)), _number(min(high, own))


def _latency(
    ticks: Sequence[Status], times: Sequence[float], shown: Sequence[int], contract: Contract | None
) -> list[Curve]:
    """Milliseconds: a tick with reading and sending, against its period; how old each kind of reading was."""
    step = shown[1] - shown[0] if len(shown) > 1 else 1
    period = float(np.median(np.diff(times))) * 1e3
    curves = [Curve("tick", "ms", _worst([t.number("tick_ms") for t in ticks], step), high=round(period, 1))]
    names = dict.fromkeys(name for status in ticks for name in status.pairs("stamps"))
    for name in names:
        ages = [(t.number("now") - t.pairs("stamps").get(name, math.nan)) * 1e3 for t in ticks]
        curves.append(Curve(f"age of {name.removesuffix('_topic')}", "ms", _worst(ages, step)))
    return curves


def _worst(values: Sequence[float], step: int) -> list[float | None]:
    """The largest of every ``step`` values."""
    parts = (values[i : i + step] for i in range(0, len(values), step))
    return [_number(max((v for v in part if math.isfinite(v)), default=math.nan)) for part in parts]


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _counts(said: Sequence[Status], recording: Recording) -> dict[str, int]:
    ticks = [status for status in said if status.is_tick]
    modes = [status.values["mode"] for status in ticks if status.values["mode"] != "-1"]
    return {
        "decisions": len(ticks),
        "modes driven": len(set(modes)),
        "changes of mode": sum(a != b for a, b in zip(modes, modes[1:])),
        "missed deadlines": _rise(status.number("missed_deadlines") for status in ticks),
        "with a fault": sum(bool(status.values.get("faults")) or status.level >= ERROR for status in said),
        "topics recorded": sum(topic.count > 0 for topic in recording.topics.values()),
    }


def _rise(values: Iterable[float]) -> int:
    known = [value for value in values if math.isfinite(value)]
    return int(sum(max(0.0, b - a) for a, b in zip(known, known[1:])))
