"""What RViz and Foxglove are set up to show is what the controller hears and says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from visualization_msgs.msg import Marker, MarkerArray

from ddiffpg.messages_node import EVENTS

CONFIG = Path(__file__).resolve().parents[2] / "ros2_ws" / "src" / "ddiffpg" / "config"
RVIZ_TYPES = {"MarkerArray": "visualization_msgs/msg/MarkerArray", "Path": "nav_msgs/msg/Path",
              "Odometry": "nav_msgs/msg/Odometry", "LaserScan": "sensor_msgs/msg/LaserScan",
              "Map": "nav_msgs/msg/OccupancyGrid"}  # fmt: skip


def strings(value: Any) -> Iterator[str]:
    """All keys and texts in JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


@pytest.fixture
def said_and_heard(nodes, observer, robot, field_policy) -> dict[str, str]:
    """Type by topic of all that an active controller publishes or listens to."""
    nodes.start("ddiffpg.controller_node", policy=str(field_policy), autostart=True)
    robot.until("DRIVE")
    said = observer.node.get_publisher_names_and_types_by_node
    heard = observer.node.get_subscriber_names_and_types_by_node

    def topics() -> dict[str, str]:
        if "controller" not in observer.node.get_node_names():  # its topics may be known before its name
            return {}
        return {topic: kinds[0] for topic, kinds in (*said("controller", "/"), *heard("controller", "/"))}

    observer.wait("what it says and hears", lambda: {"/controller/markers", "/odom"} <= set(topics()))
    return topics()


def test_rviz_and_foxglove_name_topics_that_there_are(said_and_heard, observer):
    rviz = yaml.safe_load((CONFIG / "controller.rviz").read_text())
    shown = [d for d in rviz["Visualization Manager"]["Displays"] if "Topic" in d]
    assert {d["Topic"]["Value"] for d in shown} >= {"/controller/markers", "/controller/path", "/obstacles"}
    for display in shown:
        kind = RVIZ_TYPES[display["Class"].rpartition("/")[2]]
        assert said_and_heard.get(display["Topic"]["Value"]) == kind, display["Name"]

    layout = json.loads((CONFIG / "controller.foxglove.json").read_text())
    named = {match.group() for text in strings(layout) if (match := re.match(r"/[a-z_]+(/[a-z_]+)*", text))}
    assert named >= {"/controller/markers", "/controller/path", "/controller/status", "/cmd_vel", "/diagnostics"}
    assert named <= set(said_and_heard)
    keys = {key for text in strings(layout) for key in re.findall(r'key=="(\w+)"', text)}
    assert keys >= {"state", "mode", "reason"} and keys <= set(observer.controller)


def test_foxglove_lays_out_the_panels_that_it_describes():
    layout = json.loads((CONFIG / "controller.foxglove.json").read_text())
    placed = {text for text in strings(layout["layout"]) if "!" in text}
    assert placed == set(layout["configById"])


def test_the_state_stands_above_the_ways(said_and_heard, observer, robot):
    pictures: list[MarkerArray] = []
    observer.node.create_subscription(MarkerArray, "/controller/markers", pictures.append, EVENTS)
    observer.wait("a picture", lambda: robot.send() or pictures)
    (text,) = [marker for marker in pictures[-1].markers if marker.type == Marker.TEXT_VIEW_FACING]
    assert re.match(r"(DRIVE|ARRIVED): \w", text.text)
    ways = [point.y for marker in pictures[-1].markers if marker.ns == "modes" for point in marker.points]
    assert text.pose.position.y > max(ways)
