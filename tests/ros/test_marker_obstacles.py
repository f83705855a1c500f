"""Obstacles by marker: what RViz and scripts may send, and what must never be taken for free space."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from builtin_interfaces.msg import Duration
from visualization_msgs.msg import Marker

from ddiffpg.marker_obstacles import MarkerBook

PLACES = {"odom": (0.0, 0.0, 0.0), "base_link": (1.0, 2.0, math.pi / 2)}


@pytest.fixture
def book() -> MarkerBook:
    return MarkerBook(PLACES.get)


def marker(number: int = 0, kind: int = Marker.CUBE, frame: str = "odom", **more) -> Marker:
    """A box of 0.4 x 0.6 x 1 m at (1, 0, 0.5)."""
    message = Marker(ns="test", id=number, type=kind, action=Marker.ADD, **more)
    message.header.frame_id = frame
    message.pose.position.x, message.pose.position.z = 1.0, 0.5
    message.scale.x, message.scale.y, message.scale.z = 0.4, 0.6, 1.0
    return message


def test_a_box_has_half_its_scale(book):
    book.update([marker()], now=0.0)
    (box,) = book.at(0.0)
    assert (box.shape, box.center, box.half_size, box.yaw) == ("box", (1.0, 0.0, 0.5), (0.2, 0.3, 0.5), 0.0)


def test_an_elliptic_cylinder_counts_by_its_longer_axis(book):
    book.update([marker(kind=Marker.CYLINDER)], now=0.0)
    (cylinder,) = book.at(0.0)
    assert (cylinder.shape, cylinder.half_size) == ("cylinder", (0.3, 0.3, 0.5))


def test_yaw_is_read_from_the_orientation(book):
    turned = marker()
    turned.pose.orientation.w, turned.pose.orientation.z = math.cos(0.35), math.sin(0.35)
    book.update([turned], now=0.0)
    assert book.at(0.0)[0].yaw == pytest.approx(0.7)


def test_an_all_zero_orientation_is_none(book):
    plain = marker()
    plain.pose.orientation.w = 0.0
    book.update([plain], now=0.0)
    assert book.at(0.0)[0].yaw == 0.0 and not book.faults


def test_a_tilted_box_becomes_the_cylinder_that_holds_it(book):
    tilted = marker()
    tilted.pose.orientation.w, tilted.pose.orientation.x = math.cos(0.5), math.sin(0.5)
    book.update([tilted], now=0.0)
    (solid,) = book.at(0.0)
    assert solid.shape == "cylinder" and solid.half_size[0] == pytest.approx(math.hypot(0.2, 0.3, 0.5))


def test_a_frame_that_moves_is_placed_where_it_is_now(book):
    book.update([marker(frame="base_link")], now=0.0)
    (box,) = book.at(0.0)
    assert box.center == pytest.approx((1.0, 3.0, 0.5)) and box.yaw == pytest.approx(math.pi / 2)


def test_modify_moves_delete_removes_deleteall_clears(book):
    moved = marker(1)
    moved.pose.position.x = 5.0
    book.update([marker(0), marker(1), marker(2)], now=0.0)
    book.update([moved, Marker(ns="test", id=0, action=Marker.DELETE)], now=1.0)
    assert {o.key[1]: o.center[0] for o in book.at(1.0)} == {1: 5.0, 2: 1.0}
    book.update([Marker(action=Marker.DELETEALL)], now=2.0)
    assert book.at(2.0) == ()


def test_the_same_id_in_another_namespace_is_another_obstacle(book):
    book.update([marker(0), Marker(ns="other", id=0, action=Marker.DELETE)], now=0.0)
    assert len(book.at(0.0)) == 1


def test_a_lifetime_ends(book):
    book.update([marker(lifetime=Duration(sec=1, nanosec=500_000_000))], now=10.0)
    assert len(book.at(11.4)) == 1
    assert book.at(11.6) == ()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("pose.position.x", math.nan, "finite"),
        ("pose.position.y", math.inf, "finite"),
        ("pose.orientation.w", math.nan, "orientation"),
        ("scale.x", math.inf, "finite"),
        ("scale.y", 0.0, "scale"),
        ("scale.z", -1.0, "scale"),
        ("header.frame_id", "map", "frame 'map'"),
        ("type", Marker.MESH_RESOURCE, "type 10"),
        ("action", 7, "action 7"),
    ],
)
def test_what_cannot_be_read_is_a_fault_and_leaves_the_old_obstacle(book, field, value, says):
    book.update([marker()], now=0.0)
    bad = marker()
    *owners, name = field.split(".")
    target = bad
    for owner in owners:
        target = getattr(target, owner)
    setattr(target, name, value)
    book.update([bad], now=1.0)
    (fault,) = book.faults
    assert says in fault and "'test'/0" in fault
    assert book.at(1.0)[0].center == (1.0, 0.0, 0.5)


@pytest.mark.parametrize("cure", [marker(), Marker(ns="test", id=0, action=Marker.DELETE), Marker(action=3)])
def test_a_fault_ends_with_a_good_marker_or_its_deletion(book, cure):
    book.update([marker(frame="nowhere")], now=0.0)
    assert book.faults
    book.update([cure], now=1.0)
    assert not book.faults


def test_annotations_are_no_obstacles(book):
    book.update([marker(kind=kind) for kind in (Marker.ARROW, Marker.LINE_STRIP, Marker.TEXT_VIEW_FACING)], now=0.0)
    assert book.at(0.0) == () and not book.faults
