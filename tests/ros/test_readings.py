"""From ROS messages to the controller's types: frames, missing values, broken input."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from nav_msgs.msg import OccupancyGrid, Odometry
from sensor_msgs.msg import JointState, LaserScan

from ddiffpg.observation import RobotState
from ddiffpg.readings import (
    ScanError,
    planar_pose,
    pose_at,
    read_grid,
    read_joints,
    read_odometry,
    read_scan,
    with_joints,
)

EVERYWHERE = (np.full(2, -np.inf), np.full(2, np.inf))


def odometry(yaw: float = 0.0) -> Odometry:
    message = Odometry()
    message.pose.pose.position.x, message.pose.pose.position.y = 1.0, 2.0
    message.pose.pose.orientation.w, message.pose.pose.orientation.z = math.cos(yaw / 2), math.sin(yaw / 2)
    return message


def scan(ranges: list[float], **more) -> LaserScan:
    """Beams at 0, 90, 180, 270 degrees."""
    return LaserScan(angle_min=0.0, angle_increment=math.pi / 2, range_min=0.1, range_max=5.0, ranges=ranges, **more)


def grid(data: list[int], width: int = 2, height: int = 2) -> OccupancyGrid:
    message = OccupancyGrid(data=data)
    message.info.width, message.info.height, message.info.resolution = width, height, 0.5
    return message


def test_the_twist_is_turned_from_the_child_frame():
    message = odometry(yaw=math.pi / 2)
    message.twist.twist.linear.x, message.twist.twist.angular.z = 0.5, 0.3
    state = read_odometry(message, stamp=7.0)
    assert state.stamp == 7.0
    np.testing.assert_allclose(state.linear_velocity, (0.0, 0.5, 0.0), atol=1e-12)
    np.testing.assert_allclose(state.angular_velocity, (0.0, 0.0, 0.3), atol=1e-12)
    assert planar_pose(state) == pytest.approx((1.0, 2.0, math.pi / 2))


@pytest.mark.parametrize("w", [0.0, math.nan, math.inf, 0.5])
def test_an_orientation_that_is_none_makes_velocities_missing_not_zero(w):
    message = odometry()
    message.pose.pose.orientation.w = w
    state = read_odometry(message, stamp=0.0)
    assert np.isnan(state.linear_velocity).all()
    np.testing.assert_array_equal(state.position[:2], (1.0, 2.0))


def moving(stamp: float, x: float, yaw: float, speed: float = 0.0, turn: float = 0.0) -> RobotState:
    quaternion = [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
    return RobotState(stamp, [x, 2.0, 0.0], quaternion, [speed, 0.0, 0.0], [0.0, 0.0, turn])


def test_between_two_states_the_pose_is_in_proportion():
    track = [moving(1.0, 0.0, 0.0), moving(2.0, 4.0, 0.4), moving(3.0, 4.0, 0.4)]
    np.testing.assert_allclose(pose_at(track, 1.25), (1.0, 2.0, 0.1))
    np.testing.assert_allclose(pose_at(track, 2.0), (4.0, 2.0, 0.4))


def test_a_turn_through_half_a_circle_goes_the_short_way():
    x, _, yaw = pose_at([moving(0.0, 0.0, 3.0), moving(1.0, 1.0, -3.0)], 0.5)
    assert x == 0.5 and math.cos(yaw) == pytest.approx(-1.0)


@pytest.mark.parametrize(("stamp", "since"), [(1.1, 0.1), (0.9, -0.1), (9.0, 0.2)])
def test_outside_of_what_is_known_the_velocities_tell_the_pose(stamp, since):
    track = [moving(1.0, 3.0, 0.5, speed=2.0, turn=-1.0)]
    np.testing.assert_allclose(pose_at(track, stamp), (3.0 + 2.0 * since, 2.0, 0.5 - since))


def test_a_robot_that_does_not_measure_its_turning_keeps_its_yaw():
    assert pose_at([moving(1.0, 3.0, 0.5, turn=math.nan)], 1.1)[2] == pytest.approx(0.5)


def test_joints_go_by_name_and_what_is_not_sent_is_missing():
    joints = read_joints(JointState(name=["b", "a"], position=[1.0, 2.0]))
    assert joints["a"].position == 2.0 and math.isnan(joints["a"].velocity)
    state = with_joints(read_odometry(odometry(), stamp=5.0), joints, stamp=4.0)
    assert state.joints["b"].position == 1.0 and state.stamp == 4.0


def test_joint_positions_of_another_length_are_missing():
    joints = read_joints(JointState(name=["b", "a"], position=[1.0]))
    assert math.isnan(joints["a"].position) and math.isnan(joints["b"].position)


def test_scan_hits_are_placed_by_the_scanners_pose():
    points = read_scan(scan([1.0, 2.0, math.inf, 9.0]), sensor=(1.0, 0.0, math.pi / 2))
    np.testing.assert_allclose(points, [(1.0, 1.0), (-1.0, 0.0)], atol=1e-6)


def test_too_near_to_measure_is_a_hit():
    points = read_scan(scan([-math.inf, 1.0, 1.0, 1.0]), sensor=(0.0, 0.0, 0.0))
    np.testing.assert_allclose(points[0], (0.1, 0.0), atol=1e-6)


@pytest.mark.parametrize(
    ("message", "sensor"),
    [
        (scan([math.nan, math.nan, 1.0, 1.0]), (0.0, 0.0, 0.0)),
        (scan([]), (0.0, 0.0, 0.0)),
        (scan([1.0]), (math.nan, 0.0, 0.0)),
    ],
)
def test_a_blind_scan_is_refused(message, sensor):
    with pytest.raises(ScanError):
        read_scan(message, sensor)


def test_a_map_gives_the_centres_of_occupied_cells():
    message = grid([0, 100, -1, 65])
    message.info.origin.position.x = 10.0
    np.testing.assert_allclose(read_grid(message, EVERYWHERE), [(10.75, 0.25), (10.75, 0.75)])


def test_a_turned_map():
    message = grid([0, 100, 0, 0])
    message.info.origin.orientation.w = message.info.origin.orientation.z = math.sqrt(0.5)
    np.testing.assert_allclose(read_grid(message, EVERYWHERE), [(-0.25, 0.75)], atol=1e-9)


def test_cells_outside_the_region_are_left_out():
    assert len(read_grid(grid([100, 100, 100, 100]), (np.zeros(2), np.full(2, 0.5)))) == 1


def test_a_map_whose_data_do_not_fit_is_refused():
    with pytest.raises(ScanError, match="3 cells"):
        read_grid(grid([0, 0, 0]), EVERYWHERE)
