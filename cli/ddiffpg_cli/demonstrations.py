"""Reads demonstrations out of recordings of a controller: drives to a goal, and who was in command at each step.

A step is what one decision of the controller knew of and what it then sent. Whether a goal was reached the task
itself says of the states that were measured. Needs neither ROS nor torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ddiffpg.observation import missing_fields, observe
from ddiffpg_cli.recorded_states import RecordedStates
from ddiffpg_cli.recording import Recording, RecordingFault, Status, find_controller, said_of_policy, statuses
from ddiffpg_core.demonstration import Demonstration
from ddiffpg_sim.task import Task

WHO = {"human": ("TELEOP",), "all": ("TELEOP", "POLICY")}
"""Whose steps are learned from: the sources of commands that count."""
NEEDED = ("now", "stamps", "source", "action")
LATE = 2.5  # control periods: where the next decision comes later than that, one is missing
IDLE = 0.01  # of the action's range ±1: whoever commands less lets the robot stand
STARTS = 100  # states to know by where episodes start


@dataclass(frozen=True)
class Shown:
    """What recordings show: demonstrations, and ``notes`` on what of them was left out and why, a sentence each."""

    demonstrations: tuple[Demonstration, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Moment:
    """One decision: ``at`` (s since the first), who was in command, ``action [A]`` in ±1, ``obs [O]``, ``place [D]`` on
    the path (m), ``qpos [nq]``. ``problem`` says why it is of no use, None where it is."""

    at: float
    source: str
    action: np.ndarray
    obs: np.ndarray
    place: np.ndarray
    qpos: np.ndarray
    success: bool
    problem: str | None

    @property
    def idle(self) -> bool:
        return bool(np.abs(self.action).max() < IDLE)


def read(paths: Sequence[Path], task: Task, who: str) -> Shown:
    """All demonstrations of ``task`` in recordings, or folders of them; ``who`` is one of WHO.

    Parts of one recording (NAME.mcap, NAME_1.mcap, ...) are put together. Raises RecordingFault where one cannot be
    read, or is of another task or rate.
    """
    found: list[Demonstration] = []
    notes: list[str] = []
    for files in sessions(paths):
        recording = Recording(files)
        cut = _Cut(task, WHO[who], f"{recording.name}: ")
        found += cut.episodes(moments(recording, task))
        notes += [f"{file}: was cut short, and read as far as it goes" for file in recording.cut_short]
        notes += cut.notes
    return Shown(tuple(found), tuple(notes))


def sessions(paths: Sequence[Path]) -> list[list[Path]]:
    """The files of each recording: those whose names differ in the number of their part only."""
    files = [file for path in paths for file in (sorted(path.glob("*.mcap")) if path.is_dir() else [path])]
    parts: dict[Path, list[Path]] = {}
    for file in dict.fromkeys(files):
        parts.setdefault(file.with_name(re.sub(r"_\d+$", "", file.stem)), []).append(file)
    empty = [path for path in paths if path.is_dir() and not any(path.glob("*.mcap"))]
    if empty:
        raise RecordingFault(f"{empty[0]}: holds no .mcap file")
    return list(parts.values())


# ---- decisions -----------------------------------------------------------------------------------------


def moments(recording: Recording, task: Task) -> Iterator[Moment]:
    """Every decision of the recording's controller, as a step of ``task``."""
    controller = find_controller(recording)
    ticks = [status for status in statuses(recording, controller) if status.is_tick]
    _check(recording, controller, ticks, task)
    states = RecordedStates(recording, controller, task.spec)
    first = ticks[0].number("now")
    for status in ticks:
        yield _moment(status, states, task, status.number("now") - first)


def _moment(status: Status, states: RecordedStates, task: Task, at: float) -> Moment:
    spec = task.spec
    state, problem = states.at(status)
    obs, qpos = observe(spec, state), task.qpos_of(state)
    missing = missing_fields(spec, obs)
    if problem is None and missing:
        problem = f"{', '.join(missing)} is missing or not finite in what was measured"
    if problem is None and not np.isfinite(qpos).all():
        problem = "what was measured does not say where all of the task's joints are"
    success = problem is None and bool(task.success(qpos[None])[0])
    action = np.clip(spec.action.to_normal(status.numbers("action")), -1.0, 1.0).astype(np.float32)
    return Moment(at, status.values["source"], action, obs, obs[spec.path_columns], qpos, success, problem)


def _check(recording: Recording, controller: str, ticks: Sequence[Status], task: Task) -> None:
    """RecordingFault where these decisions are none of ``task``'s, at its rate."""
    spec, where = task.spec, f"{recording.name}: {controller}/status"
    missing = [key for key in NEEDED if key not in ticks[0].values]
    if missing:
        raise RecordingFault(f"{where} lacks {', '.join(missing)}: it is of a version of the controller without them")
    said = said_of_policy(recording, controller)
    for what, recorded, wanted in (
        ("task", said.get("task", spec.name), spec.name),
        ("robot", said.get("robot", spec.robot), spec.robot),
        ("size of the action", len(ticks[0].numbers("action")), spec.action_dim),
    ):
        if recorded != wanted:
            raise RecordingFault(f"{recording.name}: {what} is {recorded!r} in the recording, {wanted!r} in the task")
    intervals = np.diff([status.number("now") for status in ticks])
    rate = 1.0 / float(np.median(intervals)) if len(intervals) else math.nan
    if not abs(rate / spec.rate_hz - 1.0) < 0.2:
        raise RecordingFault(f"{where}: decisions came at {rate:.3g} Hz, steps of {spec.name} at {spec.rate_hz:g} Hz: "
                             "leave the controller's parameter rate at 0")  # fmt: skip


# ---- episodes ------------------------------------------------------------------------------------------


@dataclass
class _Cut:
    """Cuts decisions into episodes. One begins where the robot, having stood where the task's episodes start, leaves
    there, and ends in a goal. ``sources`` are those whose steps count; ``notes`` say what was left out."""

    task: Task
    sources: tuple[str, ...]
    where: str
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        qpos, qvel = self.task.start(np.random.default_rng(0), STARTS)
        self._starts = self.task.observe(qpos, qvel)[:, self.task.spec.path_columns]
        self._late = LATE / self.task.spec.rate_hz

    def episodes(self, decisions: Iterable[Moment]) -> Iterator[Demonstration]:
        episode: list[Moment] = []
        before: Moment | None = None
        for moment in decisions:
            broken = moment.problem or self._broken(before, moment)
            if broken:
                self._leave_out(episode, broken)
                episode = []
            if moment.problem is None:
                episode = self._goes_on(episode, moment, before)
            elif not moment.idle and (before is None or before.problem is None):
                self._note(moment, moment.problem)
            if moment.success and episode:
                yield from self._finished(episode)
                episode = []
            before = moment
        self._leave_out(episode, "the recording ends")

    def _goes_on(self, episode: list[Moment], moment: Moment, before: Moment | None) -> list[Moment]:
        """The episode with ``moment``; none where that stands at a start, or is at none and nothing has begun."""
        if not episode and moment.success and not (before and before.success):
            self._note(moment, "a goal was reached on a way that was not recorded from a start on")
        at_start = self._at_start(moment)
        begins_anew = moment.idle if at_start else not episode
        return [] if begins_anew else [*episode, moment]

    def _at_start(self, moment: Moment) -> bool:
        away = np.linalg.norm(self._starts - moment.place, axis=1).min()
        return bool(away <= self.task.spec.path_tolerance)

    def _broken(self, before: Moment | None, moment: Moment) -> str | None:
        """Why no episode goes on from one decision to the next, or None."""
        if before is None:
            return None
        since = moment.at - before.at
        if not 0.0 < since <= self._late:
            return f"no decision was recorded for {since:.2f} s"
        leap = float(np.linalg.norm(moment.place - before.place))
        if leap > self.task.spec.path_tolerance:
            return f"the robot was put {leap:.2g} m away"
        return None

    def _leave_out(self, episode: Sequence[Moment], why: str) -> None:
        """Say that an episode ends without a goal, if it had come to anything."""
        if episode and not self._at_start(episode[-1]):
            self._note(episode[0], f"the episode that begins here reaches no goal: at {episode[-1].at:.1f} s {why}")

    def _finished(self, episode: Sequence[Moment]) -> Iterator[Demonstration]:
        """The demonstration that an episode is, if it is one."""
        steps, most = len(episode) - 1, self.task.spec.max_steps
        counts = np.array([moment.source in self.sources for moment in episode[:-1]], bool)
        if steps > most:
            self._note(episode[0], f"the episode that begins here has {steps} steps, the task allows {most}")
        elif not counts.any():
            self._note(episode[0], "of the episode that begins here no step counts: the policy drove all of it")
        else:
            obs, qpos = (np.stack([getattr(moment, name) for moment in episode]) for name in ("obs", "qpos"))
            action = np.stack([moment.action for moment in episode[:-1]])
            yield Demonstration(obs, action, self.task.reward(qpos[1:]), counts)

    def _note(self, moment: Moment, text: str) -> None:
        self.notes.append(f"{self.where}at {moment.at:.1f} s: {text}; left out")
