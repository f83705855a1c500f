"""What a recording says of its robot's motion and commands, whoever sent them. Needs no ROS, and no controller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddiffpg.observation import JointState, RobotState, rotation
from ddiffpg.readings import read_joints, read_odometry, seconds
from ddiffpg_cli.recording import Heard, Recording, RecordingFault, latest_parameters, said_of_policy
from ddiffpg_sim.shooting import Motion
from ddiffpg_sim.task import Task

ODOMETRY, JOINTS = "nav_msgs/msg/Odometry", "sensor_msgs/msg/JointState"
TWIST, NUMBERS = "geometry_msgs/msg/TwistStamped", "std_msgs/msg/Float64MultiArray"
COMMANDS = {
    "base_velocity": (TWIST, "cmd_vel"),
    "joint_effort": (NUMBERS, "forward_effort_controller/commands"),
    "joint_position_delta": (NUMBERS, "forward_position_controller/commands"),
}
"""Kind of action -> type of its commands, and the topic's usual name."""
LATE = 2.5  # periods: where the next message comes later than that, one is missing
UNDER_WAY = 0.1  # s that a message may have been under way to the recorder
AHEAD = 0.005  # s that a stamp may be ahead of the recorder's clock
DRIFT = 0.02  # s that clocks may have moved against each other within a recording
LEAP = 20.0  # times what 95 % of readings are off where their velocities lead: then the robot was put there


@dataclass(frozen=True)
class Read:
    """``motion``, and ``notes`` on what of the recording is left out, a sentence each."""

    motion: Motion
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Series:
    """Messages of ``topic`` as ``rows [N, X]`` with the ``times [N]`` (s) that they are of."""

    topic: str
    times: np.ndarray
    rows: np.ndarray


def read_motion(recording: Recording, task: Task, allow_gaps: bool = False) -> Read:
    """RecordingFault where it is of another task, lacks something, or has gaps that are not allowed."""
    find = _Finder(recording, task)
    odometry, joints, commands = find.odometry(), find.joints(), find.commands()
    base = odometry if odometry is not None else joints
    assert base is not None
    gaps = [*_gaps(recording, base), *_gaps(recording, commands)]
    if gaps and not allow_gaps:
        more = f", and {len(gaps) - 1} more gaps" if len(gaps) > 1 else ""
        raise RecordingFault(f"{gaps[0]}{more}; --allow-gaps leaves these parts out")
    times, states = _states(base.times, odometry, joints, find.joint_names)
    qpos, qvel = (np.stack([of(state) for state in states]) for of in (task.qpos_of, task.qvel_of))
    _check_finite(recording, base.topic, times, qpos, qvel)
    inputs = _inputs(task, commands, states, qpos)
    leaps = _leaps(times, qpos, qvel)
    whole = _whole(times, commands.times) & ~leaps
    notes = [*(f"left out: {gap}" for gap in gaps),
             *(f"left out: the robot was put elsewhere at {times[i] - times[0]:.2f} s" for i in np.flatnonzero(leaps))]
    return Read(Motion(times, qpos, qvel, commands.times, inputs, whole), tuple(notes))


# ---- topics --------------------------------------------------------------------------------------------


class _Finder:
    """Finds what is needed among a recording's topics: where its controller's parameters say, or by usual names."""

    def __init__(self, recording: Recording, task: Task) -> None:
        self._recording, self._spec = recording, task.spec
        self._controller = f"/{recording.facts.get('controller', 'controller').strip('/')}"
        self._settings = latest_parameters(recording, self._controller)
        said = said_of_policy(recording, self._controller)
        for what, wanted in (("task", self._spec.name), ("robot", self._spec.robot)):
            if what in said and said[what] != wanted:
                raise RecordingFault(
                    f"{recording.name}: {what} is {said[what]!r} in the recording, {wanted!r} in the task"
                )
        self._sources = {f.source.split(".")[0] for f in self._spec.observation}
        self.joint_names = tuple(_at_start(task).joints)

    def odometry(self) -> _Series | None:
        """Pose and twist, in the fixed frame: ``[N, 13]``. None for a robot that has no moving base."""
        if "odom" not in self._sources:
            return None
        heard = self._messages("odom_topic", "odom", ODOMETRY)
        states = [read_odometry(h.message, 0.0) for h in heard]
        rows = [np.concatenate([s.position, s.orientation, s.linear_velocity, s.angular_velocity]) for s in states]
        return _Series(heard[0].topic, self._stamps(heard), np.stack(rows))

    def joints(self) -> _Series | None:
        """Positions and velocities of the task's joints: ``[N, 2 J]``. A message may tell of some of them only."""
        names = self.joint_names
        if not names:
            return None
        heard = self._messages("joint_topic", "joint_states", JOINTS)
        known, rows = {}, []
        for h in heard:
            known.update(read_joints(h.message))
            if all(name in known for name in names):
                rows.append([*(known[n].position for n in names), *(known[n].velocity for n in names)])
        lacking = [name for name in names if name not in known]
        if lacking:
            raise RecordingFault(f"{self._recording.name}: {heard[0].topic} has no joint {', '.join(lacking)}, which "
                                 f"{self._spec.name} has; it has {', '.join(known) or 'none'}")  # fmt: skip
        return _Series(heard[0].topic, self._stamps(heard)[-len(rows) :], np.array(rows))

    def commands(self) -> _Series:
        """As they were sent: ``[K, count]``; velocities x, y, z in the robot's own frame."""
        kind, usual = COMMANDS[self._spec.action.kind]
        heard = self._messages("command_topic", usual, kind)
        late = np.array([h.received - h.published for h in heard])
        _check_clocks(self._recording, heard[0].topic, late, "were published")
        if kind == TWIST:
            v = [h.message.twist.linear for h in heard]
            rows = np.array([(u.x, u.y, u.z) for u in v])
        else:
            rows = self._numbers(heard)
        if not np.isfinite(rows).all():
            raise RecordingFault(f"{self._recording.name}: {heard[0].topic} has commands that are not finite")
        times = np.array([h.published for h in heard])
        order = np.flatnonzero(np.diff(times, prepend=-np.inf) > 0.0)
        return _Series(heard[0].topic, times[order], rows[order])

    def _numbers(self, heard: Sequence[Heard]) -> np.ndarray:
        for h in heard:
            count = len(h.message.data)
            if count != self._spec.action_dim:
                raise RecordingFault(f"{self._recording.name}: {h.topic} has commands of {count} numbers, "
                                     f"{self._spec.name} takes {self._spec.action_dim}")  # fmt: skip
        return np.array([h.message.data for h in heard], float)

    def _messages(self, parameter: str, usual: str, kind: str) -> list[Heard]:
        named = self._settings.get(parameter) or usual
        name = named if named.startswith("/") else f"{self._controller.rpartition('/')[0]}/{named}"
        topics = self._recording.topics
        if name not in topics or topics[name].type != kind or topics[name].count < 2:
            others = [t for t in self._recording.of_type(kind) if topics[t].count > 1]
            raise RecordingFault(f"{self._recording.name}: has no messages of {name} ({kind}), which {self._spec.name} "
                                 f"needs; of this type it has {', '.join(others) or 'none'}. {_HOW}")  # fmt: skip
        return list(self._recording.messages([name]))

    def _stamps(self, heard: Sequence[Heard]) -> np.ndarray:
        """When the readings were made, by the clock of the robot; RecordingFault where that is not the recorder's."""
        stamps = np.array([seconds(h.message.header.stamp) for h in heard])
        if not stamps.any():
            return np.array([h.published for h in heard])
        topic = heard[0].topic
        back = np.flatnonzero(np.diff(stamps) <= 0.0)
        if len(back):
            to = f"from {stamps[back[0]]:.3f} to {stamps[back[0] + 1]:.3f} s"
            raise RecordingFault(f"{self._recording.name}: the stamps of {topic} go back, {to}: the robot's clock was "
                                 "set while it was recorded; record anew")  # fmt: skip
        _check_clocks(self._recording, topic, np.array([h.received for h in heard]) - stamps, "are stamped")
        return stamps


_HOW = "ddiffpg record --topic NAME adds a topic"


def _at_start(task: Task) -> RobotState:
    qpos, qvel = task.start(np.random.default_rng(0), 1)
    return task.robot_state(0.0, qpos[0], qvel[0])


def _check_clocks(recording: Recording, topic: str, late: np.ndarray, done: str) -> None:
    """``late [N]`` (s): how long before they were received messages were published, by the clock of who did."""
    quarter = max(len(late) // 4, 1)
    usual, drift = float(np.median(late)), float(np.median(late[-quarter:]) - np.median(late[:quarter]))
    where, what = f"{recording.name}: messages of {topic}", "synchronise them (chrony, ptp) and record anew"
    if not -AHEAD <= usual <= UNDER_WAY:
        when = f"{abs(usual):.3f} s {'before' if usual > 0 else 'after'} they were received"
        raise RecordingFault(f"{where} {done} {when}: clocks disagree, or the way is too slow to tell; {what}")
    if abs(drift) > DRIFT:
        raise RecordingFault(f"{where} {done} {drift:+.3f} s later at the end than at the beginning, measured by when "
                             f"they were received: clocks drift apart; {what}")  # fmt: skip


# ---- time ----------------------------------------------------------------------------------------------


def _gaps(recording: Recording, series: _Series) -> list[str]:
    between = np.diff(series.times)
    late = np.flatnonzero(between > LATE * np.median(between))
    return [f"{recording.name}: no message of {series.topic} for {between[i]:.2f} s, at "
            f"{series.times[i] - series.times[0]:.2f} s" for i in late]  # fmt: skip


def _whole(times: np.ndarray, commands: np.ndarray) -> np.ndarray:
    """``[T - 1]``: is no message missing between a reading and the next?"""
    between, period = np.diff(commands), float(np.median(np.diff(commands)))
    whole = np.diff(times) <= LATE * np.median(np.diff(times))
    for i in np.flatnonzero(between > LATE * period):
        whole &= (times[1:] <= commands[i] + period) | (times[:-1] >= commands[i + 1])
    return whole & (times[:-1] >= commands[0]) & (times[1:] <= commands[-1] + period)


def _leaps(times: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    """``[T - 1]``: is the robot then elsewhere than its velocities lead? How a free body is turned is not looked at."""
    moved = np.diff(qpos, axis=0)
    led = 0.5 * (qvel[1:] + qvel[:-1]) * np.diff(times)[:, None]
    if qpos.shape[1] == qvel.shape[1] + 1:  # a free body first: its place, and then its joints
        moved = np.concatenate([moved[:, :3], moved[:, 7:]], axis=1)
        led = np.concatenate([led[:, :3], led[:, 6:]], axis=1)
    off = np.abs(moved - led).max(axis=1)
    return off > LEAP * np.quantile(off, 0.95) + 1e-6


# ---- states and motor inputs -----------------------------------------------------------------------------


def _states(
    times: np.ndarray, odometry: _Series | None, joints: _Series | None, names: Sequence[str]
) -> tuple[np.ndarray, list[RobotState]]:
    """The robot at ``times [T]`` as far as all of it is known; joints in proportion between their readings."""
    if odometry is not None and joints is not None:
        within = (times >= joints.times[0]) & (times <= joints.times[-1])
        times, bodies = times[within], odometry.rows[within]
        rows = np.stack([np.interp(times, joints.times, column) for column in joints.rows.T], axis=1)
    else:
        bodies = np.full((len(times), 13), np.nan) if odometry is None else odometry.rows
        rows = np.zeros((len(times), 0)) if joints is None else joints.rows
    return times, [_state(float(t), body, row, names) for t, body, row in zip(times, bodies, rows)]


def _state(time: float, body: np.ndarray, row: np.ndarray, names: Sequence[str]) -> RobotState:
    count = len(names)
    joints = {n: JointState(float(p), float(v)) for n, p, v in zip(names, row[:count], row[count:])}
    return RobotState(time, body[:3], body[3:7], body[7:10], body[10:], joints)


def _check_finite(recording: Recording, topic: str, times: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(np.concatenate([qpos, qvel], axis=1)).all(axis=1))
    if len(bad):
        raise RecordingFault(f"{recording.name}: {topic} lacks a position or a velocity, or it is not finite, at "
                             f"{times[bad[0]] - times[0]:.2f} s: both are needed")  # fmt: skip


def _inputs(task: Task, commands: _Series, states: Sequence[RobotState], qpos: np.ndarray) -> np.ndarray:
    """What each command tells the motors: ``[K, nu]``."""
    times, action = np.array([state.stamp for state in states]), task.spec.action
    nearest = np.clip(np.searchsorted(times, commands.times), 0, len(times) - 1)
    rows = commands.rows
    if action.kind == "base_velocity":
        turned = [rotation(states[i].orientation) @ row for i, row in zip(nearest, rows)]
        rows = np.clip(np.array(turned)[:, : task.spec.action_dim], action.low, action.high)
    elif action.kind == "joint_position_delta":
        names = [field.joint or "" for field in action.fields]
        rows = rows - np.array([[states[i].joints[name].position for name in names] for i in nearest])
    else:
        rows = np.clip(rows, action.low, action.high)
    return task.control(rows, qpos[nearest])
