"""Gives the controller's own input handling what was recorded, as far as each recorded tick knew of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ddiffpg.contract import Contract
from ddiffpg.inputs_node import Inputs
from ddiffpg.marker_obstacles import Pose2
from ddiffpg.readings import seconds
from ddiffpg_cli.recording import Heard, Recording, RecordingFault, Status

SAME = 2e-6  # s: stamps are said with six digits
LATE = 0.1  # s that a message may have been under way, where its time is that of its receipt


class _Topics:
    """Stands in for the node that ``Inputs`` subscribes with: keeps the callback of each recorded topic."""

    def __init__(self, recording: Recording, controller: str) -> None:
        self._recording, self._controller = recording, controller
        self.callbacks: dict[str, Callable[[Any], None]] = {}
        self.names: dict[str, str] = {}  # as the parameter has it -> as it was recorded

    def create_subscription(self, kind: Any, name: str, callback: Callable[[Any], None], qos: Any) -> None:
        type_name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        found = self._recording.topic_of(self._controller, type_name, name, self.callbacks)
        if found is not None:
            self.callbacks[found], self.names[name] = callback, found


class _PlacedInputs(Inputs):
    """Takes the scanner to be where it was taken to be: that depended on which odometry had come when the scan did."""

    place: Pose2 = (math.nan, math.nan, math.nan)

    def _scanner(self, stamp: float) -> Pose2:
        return self.place


class ReplayedInputs:
    """``Inputs`` over a recording. ``settings`` are the controller's parameters as recorded.

    Raises RecordingFault where a topic that the policy's observation is read from was not recorded.
    """

    def __init__(self, recording: Recording, controller: str, contract: Contract, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._topics = _Topics(recording, controller)
        self._time = 0.0
        inputs: Any = _PlacedInputs
        self.inputs: _PlacedInputs = inputs(self._topics, contract, settings, lambda: self._time)
        self._waiting: dict[str, deque[Heard]] = {topic: deque() for topic in self._topics.callbacks}
        self._last: dict[str, float] = {}
        self._uncounted: int | None = None  # messages about obstacles that the controller had before the first here
        self.lost: str | None = None  # what is not known of obstacles, for good
        self._check(recording, contract)

    def _check(self, recording: Recording, contract: Contract) -> None:
        kinds = {"odom": "odom_topic", "end_effector": "end_effector_topic", "joint": "joint_topic"}
        for source in sorted({field.source.split(".")[0] for field in contract.observation}):
            name = self._settings[kinds[source]]
            topic = self._topics.names.get(name)
            if topic is None or not recording.topics[topic].count:
                raise RecordingFault(
                    f"{recording.name}: has no messages of {name}, which the policy's {source} is read from"
                )

    def add(self, heard: Heard) -> None:
        """A recorded message, which a tick may know of that ran later."""
        if heard.topic in self._waiting:
            self._waiting[heard.topic].append(heard)

    @property
    def counted(self) -> int:
        """Messages about obstacles, as the controller counts them."""
        return self.inputs.obstacle_messages + (self._uncounted or 0)

    def left(self) -> list[Heard]:
        """What no tick has known of yet."""
        return sorted((h for waiting in self._waiting.values() for h in waiting), key=lambda heard: heard.received)

    def advance(self, status: Status) -> list[str]:
        """Take in what the tick of ``status`` knew of. Says what it knew of and was not recorded."""
        now = status.number("now")
        began = status.published - 1e-3 * status.number("tick_ms")
        stamps = {self._topics.names.get(self._settings[n]): status.pairs("stamps").get(n) for n in _STAMPED}
        gaps: list[str] = []
        due = [(heard, None) for heard in self._take_obstacles(status, began)]
        for topic, waiting in self._waiting.items():
            if topic in stamps:
                taken = self._take_until(stamps[topic], waiting, topic, gaps)
            elif topic != self._obstacle_topic:
                taken = _while(waiting, lambda heard: heard.published <= began)
            else:
                continue
            due += [(heard, stamps.get(topic) if heard is taken[-1] else None) for heard in taken]
        place = status.numbers("scan_at")
        if len(place) == 3:
            self.inputs.place = (float(place[0]), float(place[1]), float(place[2]))
        for heard, stamp in sorted(due, key=lambda pair: pair[0].published):
            self._time = now - max(0.0, began - heard.published) if stamp is None or self._by_header else stamp
            self._topics.callbacks[heard.topic](heard.message)
        return gaps

    @property
    def _obstacle_topic(self) -> str | None:
        """None where it was not recorded."""
        return self._topics.names.get(self._settings["obstacle_topic"])

    @property
    def _by_header(self) -> bool:
        return self._settings["stamps"] == "header"

    def _time_of(self, heard: Heard) -> float:
        stamp = seconds(heard.message.header.stamp)
        return stamp if self._by_header and stamp > 0 else heard.published

    def _take_until(self, stamp: float | None, waiting: deque[Heard], topic: str, gaps: list[str]) -> list[Heard]:
        """All up to the reading that the tick knew of as the last one."""
        if stamp is None:
            return []
        taken = _while(waiting, lambda heard: self._time_of(heard) <= stamp + SAME)
        last = self._time_of(taken[-1]) if taken else self._last.get(topic, -math.inf)
        if last < stamp - (SAME if self._by_header else LATE):
            gaps.append(f"the reading of {topic} of {stamp:.6f} s was not recorded")
        self._last[topic] = max(last, stamp)
        return taken

    def _take_obstacles(self, status: Status, began: float) -> list[Heard]:
        """As many messages as the controller had counted."""
        waiting = self._waiting.get(self._obstacle_topic or "", deque())
        count = int(status.values["obstacle_messages"])
        if self._uncounted is None:
            self._uncounted = count - sum(heard.published <= began for heard in waiting)
            if self._uncounted > 0:
                self.lost = f"{self._uncounted} messages about obstacles came before the recording began"
        missing = count - self._uncounted - self.inputs.obstacle_messages
        if missing > len(waiting):
            self.lost = f"{missing - len(waiting)} messages about obstacles were not recorded"
            self._uncounted += missing - len(waiting)
        return [waiting.popleft() for _ in range(min(missing, len(waiting)))]


_STAMPED = ("odom_topic", "joint_topic", "end_effector_topic", "scan_topic")


def _while(waiting: deque[Heard], condition: Callable[[Heard], bool]) -> list[Heard]:
    taken = []
    while waiting and condition(waiting[0]):
        taken.append(waiting.popleft())
    return taken
