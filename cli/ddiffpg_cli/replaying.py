"""Runs the controller's ``tick`` over a recording, and compares what it decides with what was decided then."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ddiffpg.controller import Controller
from ddiffpg.decision import POLICY, TELEOP, ControllerConfig, Decision, Operator
from ddiffpg.handoff import BLEND, Hand, HandoffConfig
from ddiffpg.parameters import build, describe
from ddiffpg.policy import Policy
from ddiffpg_cli.recording import (
    PARAMETER_EVENT,
    Heard,
    Recording,
    RecordingFault,
    Status,
    changed_parameters,
    latest_parameters,
    read_status,
    said_of_policy,
    statuses,
)
from ddiffpg_cli.replay_inputs import ReplayedInputs

SLACK = 0.5  # s by which what a tick knew of may have reached the recorder after what the tick said
RUN_IN = 1.0  # s that are not compared where the recording begins in the middle of a drive
COMMANDS = ("geometry_msgs/msg/TwistStamped", "std_msgs/msg/Float64MultiArray")
NEEDED = (
    "in_command",
    "source",
    "command_reason",
    "now",
    "ticks",
    "stamps",
    "scan_at",
    "tick_ms",
    "obstacle_messages",
    "sent",
)


@dataclass(frozen=True)
class Difference:
    """A tick that decides otherwise: ``at`` (s since the first tick), ``what`` (state, mode, in_command or command),
    both values, and by how much a command is off at most, in the contract's units."""

    at: float
    what: str
    recorded: str
    replayed: str
    by: float | None = None


@dataclass(frozen=True)
class Result:
    """``ticks`` were recorded and ``compared`` of them, those after the run-in. ``largest`` is how far a command was
    off at most, ``gaps`` what was not recorded and the decisions depended on."""

    controller: str
    ticks: int
    compared: int
    largest: float
    gaps: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        differing = len({difference.at for difference in self.differences})
        counts = Counter(difference.what for difference in self.differences)
        return {"same": self.same, "differing_ticks": differing, "counts": dict(counts), **asdict(self)}


@dataclass(frozen=True)
class Replayed:
    """A recorded tick and what it decides now; ``counts`` where that can be compared, ``gaps`` is what it lacks."""

    status: Status
    decision: Decision
    counts: bool
    gaps: tuple[str, ...]


def replay(recording: Recording, controller: str, policy: Policy, tolerance: float) -> Result:
    """``tolerance`` is how far a command may be off, in the contract's units.

    Raises RecordingFault where the recording lacks what it takes, or is of another policy.
    """
    check(recording, controller, policy)
    gaps: dict[str, None] = {}
    differences: list[Difference] = []
    count, compared, largest, first = 0, 0, 0.0, math.nan
    for tick in Replay(recording, controller, policy).run():
        first = tick.status.number("now") if count == 0 else first
        at = round(tick.status.number("now") - first, 6)
        count += 1
        gaps.update(dict.fromkeys(f"at {at:.2f} s: {gap}" for gap in tick.gaps))
        if tick.counts:
            found, off = compare(at, tick, tolerance)
            compared, largest = compared + 1, max(largest, off)
            differences += found
    if not compared:
        raise RecordingFault(f"{recording.name}: is too short: nothing is left after a run-in of {RUN_IN:g} s")
    return Result(controller, count, compared, largest, tuple(gaps), tuple(differences))


def check(recording: Recording, controller: str, policy: Policy) -> None:
    """RecordingFault where the recording is of another policy, or holds no commands although some were sent."""
    ticks = (status for status in statuses(recording, controller) if status.is_tick)
    status = next(ticks)
    missing = [key for key in (*NEEDED, *Operator().said()) if key not in status.values]
    if missing:
        raise RecordingFault(
            f"{recording.name}: the status of {controller} lacks {', '.join(missing)}: "
            "it is of a version of the controller that cannot be replayed"
        )
    contract, about = policy.contract, said_of_policy(recording, controller)
    modes = [int(name) for name in status.pairs("clearance_m")]
    for what, recorded, given in (
        ("task", about.get("task", contract.task), contract.task),
        ("robot", about.get("robot", contract.robot), contract.robot),
        ("modes", modes, list(contract.mode_ids)),
        ("size of the action", len(status.numbers("action")), len(contract.action)),
    ):
        if recorded != given:
            raise RecordingFault(f"{recording.name}: {what} is {recorded!r} in the recording, {given!r} in the policy")
    sent = any(status.values["sent"] for status in ticks)
    said = [topic for topic in recording.topics.values() if topic.type in COMMANDS and topic.role != "in"]  # no teleop
    if sent and not any(topic.count for topic in said):
        raise RecordingFault(f"{recording.name}: commands were sent, and none was recorded ({', '.join(COMMANDS)})")


def compare(at: float, tick: Replayed, tolerance: float) -> tuple[list[Difference], float]:
    """How a tick differs, and how far its command is off."""
    status, decision = tick.status, tick.decision
    mode = "-1" if decision.mode is None else str(decision.mode)
    now = {"state": decision.state, "mode": mode, "in_command": decision.in_command}
    pairs = [(what, status.values[what], decided) for what, decided in now.items()]
    found = [Difference(at, what, then, decided) for what, then, decided in pairs if then != decided]
    sent = np.empty(0) if decision.sent is None else decision.sent
    off = max(_off(status.numbers("action"), decision.action), _off(status.numbers("sent"), sent))
    if off > tolerance:
        said = ",".join(f"{value:.4f}" for value in sent)
        by = off if math.isfinite(off) else None
        found.append(Difference(at, "command", status.values["sent"] or "none", said or "none", by))
    return found, off if math.isfinite(off) else 0.0


def _off(recorded: np.ndarray, replayed: np.ndarray) -> float:
    if recorded.shape != replayed.shape:
        return math.inf
    return float(np.abs(recorded - replayed).max(initial=0.0))


class Replay:
    """Goes through a recording once, tick by tick."""

    def __init__(self, recording: Recording, controller: str, policy: Policy) -> None:
        self._recording, self._name, self._policy = recording, controller, policy
        self._parameters: dict[str, Any] = {}
        self._inputs: ReplayedInputs | None = None
        self._early: list[Heard] = []  # came before the first tick
        self._controller: Controller | None = None
        self._seen_inactive = False
        self._began: float | None = None  # of the run-in; None where there is none, or it is over
        self._ticks: float | None = None

    def run(self) -> Iterator[Replayed]:
        recording, status = self._recording, f"{self._name}/status"
        events = {status, *recording.of_type(PARAMETER_EVENT)}
        heard = {topic.name for topic in recording.topics.values() if topic.role != "out"}
        waiting: deque[Heard] = deque()
        for message in recording.messages(events | heard):
            while waiting and waiting[0].received < message.received - SLACK:
                yield from self._event(waiting.popleft())
            if message.topic in events:
                waiting.append(message)
            elif self._inputs is None:
                self._early.append(message)
            else:
                self._inputs.add(message)
        for message in waiting:
            yield from self._event(message)

    def _event(self, heard: Heard) -> Iterator[Replayed]:
        if heard.topic != f"{self._name}/status":
            if heard.message.node == self._name:
                self._parameters.update(changed_parameters(heard.message))
            return
        status = read_status(heard)
        if status.is_tick:
            yield self._tick(status)
        else:
            self._controller, self._seen_inactive = None, True

    def _tick(self, status: Status) -> Replayed:
        inputs = self._prepare(status)
        now = status.number("now")
        gaps = [*self._lost_ticks(status), *inputs.advance(status)]
        assert self._controller is not None
        runs_in = self._runs_in(status)
        operator = Operator.read(status.values)
        if runs_in and status.number("mode") in self._policy.contract.mode_ids:
            operator = replace(operator, mode=int(status.number("mode")))  # it remembers it from before
        decision = self._controller.tick(now, inputs.inputs.state(), inputs.inputs.obstacles(now), operator)
        lost = [inputs.lost] if inputs.lost else []
        inputs.lost = None
        return Replayed(status, decision, not runs_in, (*lost, *(() if runs_in else gaps)))

    def _prepare(self, status: Status) -> ReplayedInputs:
        """What hears and what decides: made anew where the recorded ones were."""
        if self._inputs is not None and int(status.values["obstacle_messages"]) < self._inputs.counted:
            self._inputs, self._early = None, self._inputs.left()
        if self._inputs is None:
            settings = self._settings()
            self._inputs = ReplayedInputs(self._recording, self._name, self._policy.contract, settings)
            for heard in self._early:
                self._inputs.add(heard)
        if self._controller is None:
            settings = self._settings()
            config = build(ControllerConfig, {p.name: settings[p.name] for p in describe(ControllerConfig)})
            rules = build(HandoffConfig, {p.name: settings[p.name] for p in describe(HandoffConfig)})
            noise = np.random.default_rng(settings["seed"])
            self._controller = Controller(self._policy, config, noise, rules=rules)
            fresh = self._seen_inactive or status.number("ticks") == 0
            self._began = None if fresh else status.number("now")
            self._controller.hand = self._controller.hand if fresh else _hand(status)
        return self._inputs

    def _runs_in(self, status: Status) -> bool:
        """Does what it decided before the recording still count? For a time after it began, or a hand-over ended."""
        if self._began is None:
            return False
        now, handed = status.number("now"), status.values["in_command"] in (TELEOP, BLEND)
        self._began = now if handed else None if now - self._began >= RUN_IN else self._began
        return self._began is not None

    def _settings(self) -> dict[str, Any]:
        settings = self._parameters or latest_parameters(self._recording, self._name)
        needed = (*describe(ControllerConfig), *describe(HandoffConfig))
        missing = [p.name for p in needed if p.name not in settings]
        if missing:
            raise RecordingFault(
                f"{self._recording.name}: lacks parameters of {self._name} ({', '.join(missing[:3])}, ...): "
                "ddiffpg record puts them in"
            )
        return settings

    def _lost_ticks(self, status: Status) -> list[str]:
        """Decisions that are not in the recording: the controller remembers them, and this one does not."""
        expected, ticks = self._ticks, status.number("ticks")
        self._ticks = ticks + 1
        lost = 0 if expected is None else ticks - expected
        return [f"{lost:.0f} decisions before this one were not recorded"] if lost > 0 else []


def _hand(status: Status) -> Hand:
    """Who was in command before this tick, as far as it tells. What a human had done before counts for a human only."""
    source, now = status.values["source"], status.number("now")
    heard = -math.inf if source == TELEOP else now
    return Hand(source, status.values["command_reason"], now, engaged=source == POLICY, heard=heard)
