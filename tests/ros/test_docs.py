"""docs/operator.md and docs/ros.md list the topics, services and parameters that the nodes really have; what was
recorded stands on the pages as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter

from ddiffpg import interface_node
from ddiffpg.controller_node import PARAMETERS, SUCCESS, ControllerNode

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "policies" / "pointmaze-v1.onnx"
ROS_OWN = ("/parameter_events", "/rosout", "/controller/transition_event")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("doc_tables", ROOT / "scripts" / "doc_tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["operator.md", "ros.md", "transfer.md"])
def test_tables_are_up_to_date(script, page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert script.BLOCK.search(text)
    assert script.filled(text) == text, "python scripts/doc_tables.py writes them"


def test_every_table_is_on_a_page_and_every_parameter_in_a_table(script):
    pages = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("operator.md", "ros.md", "transfer.md")]
    shown = [found["name"] for page in pages for found in script.BLOCK.finditer(page)]
    assert sorted(shown) == sorted(script.tables())
    assert all(pages[0].count(f"\n| `{spec.name}` |") == 1 for spec in PARAMETERS)


def test_a_node_has_the_topics_and_services_that_are_described(ros_environment):
    context = Context()
    rclpy.init(context=context)
    values = {"policy": str(SHIPPED), "deadman_button": 4}
    node = ControllerNode(context=context, parameter_overrides=[Parameter(n, value=v) for n, v in values.items()])
    try:
        assert node.trigger_configure() == SUCCESS
        assert heard(node, node.subscriptions) == described(*interface_node.READINGS, *interface_node.HUMAN)
        assert heard(node, node.publishers) == described(*interface_node.OUTPUTS)
        assert {s.name for s in interface_node.SERVICES} <= {service.srv_name for service in node.services}
    finally:
        node.close()
        node.destroy_node()
        rclpy.shutdown(context=context)


def heard(node: ControllerNode, ends) -> set[tuple[str, type, str]]:
    found = {(end.topic_name, end.msg_type, str(end.qos_profile.durability)) for end in ends}
    return {entry for entry in found if entry[0] not in ROS_OWN}


def described(*topics: interface_node.Topic) -> set[tuple[str, type, str]]:
    """Of those that a base has which drives on a floor."""
    others = (interface_node.JOINTS, interface_node.END_EFFECTOR, interface_node.TELEOP_JOINTS)
    joints = (interface_node.EFFORTS, interface_node.POSITIONS)
    return {
        ("/" + topic.name.replace("~", "controller").lstrip("/"), topic.kind, str(topic.qos.durability))
        for topic in topics
        if topic not in (*others, *joints)
    }
