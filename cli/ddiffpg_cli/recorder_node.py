"""Records topics into an MCAP bag, as the bytes that came over the wire."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore


class Recorder:
    """Writes every message of ``topics`` (name -> message class, quality of service) into the bag ``folder``.

    A bag that is there already is replaced. ``close`` makes the bag complete.
    """

    def __init__(self, node: Node, folder: Path, topics: Mapping[str, tuple[Any, QoSProfile]]) -> None:
        if (folder / "metadata.yaml").exists():
            shutil.rmtree(folder)
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._node, self.count = node, 0
        types = get_typestore(Stores.ROS2_KILTED)  # standard messages: the same in every ROS 2 that we serve
        self._subscriptions = [
            node.create_subscription(kind, topic, self._receiver(types, topic, kind), qos, raw=True)
            for topic, (kind, qos) in topics.items()
        ]

    def _receiver(self, types: Any, topic: str, kind: Any) -> Callable[[bytes], None]:
        name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        absolute = self._node.resolve_topic_name(topic)
        connection = self._writer.add_connection(absolute, name, typestore=types)

        def receive(data: bytes) -> None:
            self._writer.write(connection, time.time_ns(), data)
            self.count += 1

        return receive

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._writer.close()
