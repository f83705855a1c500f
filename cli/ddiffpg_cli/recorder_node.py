"""A ROS node that records a controller: all that it listens to and all that it says, as the bytes that came.

It asks the graph which topics these are, so it knows none of them by name. It runs in a process of its own:
the controller waits for none of its readers.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rclpy.node import Node
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from ddiffpg_cli.mcap_writer import Limits, McapRecording, RecordingError, Topic

LOOK_SECONDS = 0.1  # how often new topics are looked for
FLUSH_SECONDS = 1.0  # what a process that is killed may lose
DEPTH = 1000  # messages of a topic that may wait while the disk is slow
PARAMETERS = "/parameter_events"
PARAMETER_EVENT = "rcl_interfaces/msg/ParameterEvent"


@dataclass(frozen=True)
class Wanted:
    """What to record: of the ``controller`` (full name) all but the topics in ``without``, and ``more`` topics."""

    controller: str = "/controller"
    more: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


class RecorderNode(Node):
    """Records into ``out`` until ``duration`` s are over, a limit is reached or the disk is full (then ``error``)."""

    executor_name = "single"

    def __init__(
        self, out: Path, wanted: Wanted, limits: Limits, duration: float | None, say: Callable[[str], None]
    ) -> None:
        super().__init__("recorder", start_parameter_services=False)
        self._wanted, self._say = wanted, say
        self._types = get_typestore(Stores.ROS2_KILTED)  # standard messages: the same in every ROS 2 that we serve
        self._end = None if duration is None else time.monotonic() + duration
        self._subscriptions_of: dict[str, tuple[Any, QoSProfile]] = {}
        self._left_out: set[str] = set()
        self._several = False
        self._client: AsyncParameterClient | None = None
        self.error: RecordingError | None = None
        self.recording = McapRecording(out, limits, {"controller": wanted.controller})
        self._add(PARAMETERS, PARAMETER_EVENT, (), "out")
        self._clockwork = [
            self.create_timer(LOOK_SECONDS, self._look),
            self.create_timer(FLUSH_SECONDS, lambda: self._guarded(self.recording.flush)),
        ]
        say(f"recording {wanted.controller} into {out}")

    # ---- what run() asks of a node -----------------------------------------------------------------

    def exit_code(self) -> int | None:
        """None while it should go on."""
        if self.error is not None:
            return 1
        over = self._end is not None and time.monotonic() >= self._end
        return 0 if over or self.recording.full else None

    def close(self) -> None:
        """No more messages; the file is made complete."""
        for timer in self._clockwork:
            self.destroy_timer(timer)
        for subscription, _ in self._subscriptions_of.values():
            self.destroy_subscription(subscription)
        if self.error is None:
            self._guarded(self.recording.close)

    # ---- topics --------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Subscribe to what the controller hears and says by now, as soon as somebody publishes it."""
        if self.error is not None:
            return
        namespace, _, name = self._wanted.controller.rpartition("/")
        present = self.get_node_names_and_namespaces().count((name, namespace or "/"))
        self._say_if_several(present)
        if present:
            self._ask_parameters()
            heard = self.get_subscriber_names_and_types_by_node(name, namespace or "/")
            said = self.get_publisher_names_and_types_by_node(name, namespace or "/")
            for role, topics in (("in", heard), ("out", said)):
                self._follow(role, (topic for topic, _ in topics))
        self._follow("", self._wanted.more)

    def _say_if_several(self, present: int) -> None:
        """ROS tells of one node of a name only, and not of which: what another one says would not be recorded."""
        if present > 1 and not self._several:
            self._say(f"{present} nodes are named {self._wanted.controller}: what is recorded may be that of another")
        self._several = present > 1

    def _follow(self, role: str, topics: Iterable[str]) -> None:
        for topic in topics:
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers and topic not in self._wanted.without and topic not in self._left_out:
                self._guarded(lambda t=topic, p=publishers: self._add(t, p[0].topic_type, p, role))

    def _add(self, topic: str, kind: str, publishers: Sequence[TopicEndpointInfo], role: str) -> None:
        qos = _reader_of(publishers)
        present = self._subscriptions_of.get(topic)
        if present is not None and present[1] == qos:
            return
        message = _message_class(kind)
        if message is None or kind not in self._types.fielddefs:
            self._left_out.add(topic)
            self._say(f"not recorded: {topic}, its type {kind} is not known here")
            return
        if present is not None:  # a publisher came that offers less: take what all of them offer
            self.destroy_subscription(present[0])
        elif topic not in self.recording.topics:
            self.recording.add(self._described(topic, kind, publishers, role))
        subscription = self.create_subscription(message, topic, self._receiver(topic), qos, raw=True)
        self._subscriptions_of[topic] = subscription, qos

    def _described(self, topic: str, kind: str, publishers: Sequence[TopicEndpointInfo], role: str) -> Topic:
        definition, _ = self._types.generate_msgdef(kind, ros_version=2)
        latched = any(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
        repeat = "all" if topic == PARAMETERS else "last" if latched else ""
        return Topic(topic, kind, definition, _profiles(publishers), role, repeat)

    def _receiver(self, topic: str) -> Callable[[bytes, Any], None]:
        def receive(data: bytes, info: Any) -> None:
            self._write(topic, info["source_timestamp"], data)

        return receive

    def _write(self, topic: str, published: int, data: bytes) -> None:
        if self.error is None:
            self._guarded(lambda: self.recording.write(topic, time.time_ns(), published, data))

    def _guarded(self, action: Callable[[], None]) -> None:
        """What cannot be written ends the recording; the node's spinning sees ``error``."""
        try:
            action()
        except RecordingError as error:
            self.error = error

    # ---- parameters ----------------------------------------------------------------------------------

    def _ask_parameters(self) -> None:
        """Once: the controller's parameters as they are now. Each later change is a message by itself."""
        if self._client is None:
            self._client = AsyncParameterClient(self, self._wanted.controller.lstrip("/"))
        if not self._client.services_are_ready() or PARAMETERS in self._left_out:
            return
        self._left_out.add(PARAMETERS)
        self._client.list_parameters(callback=self._ask_values)

    def _ask_values(self, listed: Any) -> None:
        assert self._client is not None
        names = list(listed.result().result.names)
        self._client.get_parameters(names, callback=lambda got: self._write_values(names, got))

    def _write_values(self, names: Sequence[str], got: Any) -> None:
        """As an event that says that all of them changed: so whoever reads it needs to know of one thing only."""
        now, values = time.time_ns(), dict(zip(names, got.result().values))
        self._write(PARAMETERS, now, parameter_event(self._types, self._wanted.controller, values, now))


def parameter_event(types: Typestore, node: str, values: Mapping[str, Any], now: int) -> bytes:
    """rcl_interfaces/ParameterEvent, serialized: at ``now`` (ns) all ``values`` (ParameterValue by name) changed."""
    known = types.types
    parameter: Any = known["rcl_interfaces/msg/Parameter"]
    changed: Any = [parameter(name=name, value=_copy(value, known)) for name, value in values.items()]
    stamp = known["builtin_interfaces/msg/Time"](sec=now // 10**9, nanosec=now % 10**9)
    event = known[PARAMETER_EVENT](
        stamp=stamp, node=node, new_parameters=[], changed_parameters=changed, deleted_parameters=[]
    )
    return bytes(types.serialize_cdr(event, PARAMETER_EVENT))


def _copy(value: Any, types: Any) -> Any:
    """rcl_interfaces/ParameterValue of rclpy as that of rosbags, whose serialization strict readers take."""
    kinds = {"byte_array_value": np.uint8, "integer_array_value": np.int64, "double_array_value": np.float64}
    fields = {name.lstrip("_"): getattr(value, name.lstrip("_")) for name in value.get_fields_and_field_types()}
    fields["byte_array_value"] = [int.from_bytes(b, "little") for b in fields["byte_array_value"]]
    fields["bool_array_value"] = np.array(fields["bool_array_value"], np.bool_)
    for name, kind in kinds.items():
        fields[name] = np.array(fields[name], kind)
    return types["rcl_interfaces/msg/ParameterValue"](**fields)


def _message_class(kind: str) -> Any:
    """The class of a message type such as std_msgs/msg/Int32; None where it is not installed."""
    package, _, name = kind.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None


def _reader_of(publishers: Sequence[TopicEndpointInfo]) -> QoSProfile:
    """The most that all publishers offer."""
    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in profiles)
    latched = bool(profiles) and all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _profiles(publishers: Sequence[TopicEndpointInfo]) -> str:
    """Offered profiles as rosbag2 writes them: `ros2 bag play` offers the same again."""
    endless = {"sec": 2**63 // 10**9, "nsec": (2**63 - 1) % 10**9}
    return yaml.safe_dump(
        [
            {
                "history": "keep_last",
                "depth": p.qos_profile.depth or 1,
                "reliability": p.qos_profile.reliability.name.lower(),
                "durability": p.qos_profile.durability.name.lower(),
                "deadline": endless,
                "lifespan": endless,
                "liveliness": "automatic",
                "liveliness_lease_duration": endless,
                "avoid_ros_namespace_conventions": False,
            }
            for p in publishers
        ]
    )
