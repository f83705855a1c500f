"""What a recorded controller knew of its robot in each tick. Needs no ROS."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from ddiffpg.observation import JointState, RobotState
from ddiffpg.readings import read_joints, read_odometry, seconds, with_end_effector, with_joints
from ddiffpg_cli.recording import Heard, Recording, RecordingFault, Status, latest_parameters
from ddiffpg_core.spec import TaskSpec

SAME = 2e-6  # s: stamps are said with six digits
LATE = 0.1  # s that a message may have been under way, where its time is that of its receipt
ODOMETRY, JOINTS = "nav_msgs/msg/Odometry", "sensor_msgs/msg/JointState"
TOPICS = {
    "odom": ("odom_topic", ODOMETRY),
    "joint": ("joint_topic", JOINTS),
    "end_effector": ("end_effector_topic", ODOMETRY),
}
"""What is measured -> the parameter that names its topic, and the type of that."""


@dataclass
class _Topic:
    """Messages of one topic, in order: those that no tick has known of yet, and the time (s) of the last one taken."""

    name: str
    waiting: deque[Heard]
    last: float = -math.inf


class RecordedStates:
    """Goes through a recording's ticks in their order. RecordingFault where what ``spec`` observes was not recorded."""

    def __init__(self, recording: Recording, controller: str, spec: TaskSpec) -> None:
        settings = latest_parameters(recording, controller)
        sources = {f.source.split(".")[0] for f in spec.observation} | {"joint" for f in spec.action.fields if f.joint}
        lacking = [name for name in ("stamps", *(TOPICS[s][0] for s in sorted(sources))) if name not in settings]
        if lacking:
            raise RecordingFault(f"{recording.name}: lacks parameters of {controller} ({', '.join(lacking)}): "
                                 "ddiffpg record puts them in")  # fmt: skip
        self._by_header = settings["stamps"] == "header"
        self._topics: dict[str, _Topic] = {}
        for source in sorted(sources, reverse=True):  # odometry first, whose type an end effector has too
            parameter, kind = TOPICS[source]
            taken = [topic.name for topic in self._topics.values()]
            name = recording.topic_of(controller, kind, settings[parameter], taken)
            if name is None or not recording.topics[name].count:
                raise RecordingFault(f"{recording.name}: has no messages of {settings[parameter]}, which {source} of "
                                     f"{spec.name} is read from")  # fmt: skip
            self._topics[source] = _Topic(name, deque(recording.messages([name])))
        self._body = self._tip = RobotState(math.nan)
        self._joints: dict[str, JointState] = {}

    def at(self, status: Status) -> tuple[RobotState, str | None]:
        """The robot as the tick of ``status`` knew it, NaN where it did not; and what of that was not recorded."""
        stamps, problem = status.pairs("stamps"), None
        for source, topic in self._topics.items():
            stamp = stamps.get(TOPICS[source][0], -math.inf)
            while topic.waiting and self._time_of(topic.waiting[0]) <= stamp + SAME:
                heard = topic.waiting.popleft()
                topic.last = self._time_of(heard)
                self._take(source, heard)
            if topic.last < stamp - (SAME if self._by_header else LATE):
                problem = f"the reading of {topic.name} of {stamp:.6f} s was not recorded"
        now = status.number("now")
        state = with_joints(replace(self._body, stamp=now), self._joints, now)
        return with_end_effector(state, replace(self._tip, stamp=now)), problem

    def _take(self, source: str, heard: Heard) -> None:
        """A message of joints may tell of some of them only."""
        if source == "joint":
            self._joints = {**self._joints, **read_joints(heard.message)}
        elif source == "odom":
            self._body = read_odometry(heard.message, math.nan)
        else:
            self._tip = read_odometry(heard.message, math.nan)

    def _time_of(self, heard: Heard) -> float:
        stamp = seconds(heard.message.header.stamp)
        return stamp if self._by_header and stamp > 0 else heard.published
