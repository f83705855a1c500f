"""Ways in space: shapes with a height, the roadmap of an end effector, and the tick of an arm's controller."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ddiffpg.contract import ContractError
from ddiffpg.controller import Controller, ControllerConfig, Operator
from ddiffpg.modes import Rules, WayMap
from ddiffpg.observation import JointState, RobotState, path_body
from ddiffpg.obstacles import Box, Cylinder, Obstacles, Solids
from ddiffpg.policy import Policy
from tests.robot.joint_policies import ARM_JOINTS, ARM_WAYS, arm_contract, write_pattern
from tests.robot.scripted_policy import MAZE_V1, contract_of

ARM = arm_contract()
TURN = {0: np.array([0.02, 0.01]), 1: np.array([-0.02, 0.01])}  # rad a step, by mode
CONFIG = ControllerConfig(margin=0.05, stop_margin=0.02, tolerance=0.02, hysteresis=0.01)
START, LEFT, RIGHT, END = (0.3, 0.0, 0.5), (0.5, 0.2, 0.5), (0.5, -0.2, 0.5), (0.7, 0.0, 0.5)

# ---- shapes --------------------------------------------------------------------------------------------

TABLE = Box((0.0, 0.0), (1.0, 1.0), height=(0.0, 2.0))
POST = Cylinder((0.0, 0.0), 1.0, height=(0.0, 2.0))
inside_and_out = st.tuples(*[st.floats(-3, 3)] * 3).map(np.array)
shapes = st.builds(
    lambda x, y, h, yaw, z: Box((x, y), (h, 0.5), yaw, (z, z + 0.7)),
    st.floats(-1, 1), st.floats(-1, 1), st.floats(0.1, 1), st.floats(-3, 3), st.floats(-1, 1),
) | st.builds(lambda x, y, r, z: Cylinder((x, y), r, (z, z + 0.7)), *[st.floats(0.1, 1)] * 4)  # fmt: skip


def distance(shape, *point: float) -> float:
    return float(Solids((shape,)).distance(np.array([point]))[0])


@pytest.mark.parametrize(
    "shape, point, expected",
    [
        (TABLE, (0.0, 0.0, 3.0), 1.0),  # above it
        (TABLE, (0.0, 0.0, -0.5), 0.5),  # below
        (TABLE, (1.5, 0.0, 1.0), 0.5),  # beside
        (TABLE, (1.3, 0.0, 2.4), 0.5),  # off its edge: a 3-4-5 triangle
        (TABLE, (2.0, 3.0, 4.0), 3.0),  # off its corner: 1, 2, 2
        (TABLE, (0.0, 0.0, 1.6), -0.4),  # inside, near the top
        (TABLE, (0.9, 0.0, 1.0), -0.1),  # inside, near a side
        (POST, (1.3, 0.0, 2.4), 0.5),
        (POST, (0.0, 0.0, 1.9), -0.1),
        (POST, (0.0, -0.8, 1.0), -0.2),
        (Box((0.0, 0.0), (1.0, 1.0)), (0.0, 1.5, 1e6), 0.5),  # without a height it is everywhere
    ],
)
def test_distances_by_hand(shape, point, expected):
    assert distance(shape, *point) == pytest.approx(expected)


def test_in_the_plane_the_height_does_not_count():
    points = np.array([[1.5, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(Solids((TABLE,)).distance(points), [0.5, -1.0])


@given(shapes, inside_and_out)
@example(Box((0.0, 0.0), (1.0, 0.5), height=(0.0, 0.7)), np.array([0.0, 0.0, -1e-165]))
def test_the_direction_is_a_unit_vector_along_which_the_distance_shrinks(shape, point):
    seen = Obstacles(0.0, (shape,)).approach_shapes(point)
    assert seen.distance[0] == pytest.approx(distance(shape, *point), abs=1e-9)
    assert np.linalg.norm(seen.direction[0]) == pytest.approx(1.0)
    if seen.distance[0] > 0:
        step = 0.5 * seen.distance[0]
        assert distance(shape, *(point + step * seen.direction[0])) == pytest.approx(step, abs=1e-9)


@pytest.mark.parametrize("height", [(1.0, 0.0), (math.nan, 1.0), (0.0,)])
def test_a_height_that_is_none_is_refused(height):
    for make in (lambda: Box((0, 0), (1, 1), height=height), lambda: Cylinder((0, 0), 1, height=height)):
        with pytest.raises(ValueError, match="height"):
            make()


# ---- the roadmap ---------------------------------------------------------------------------------------


def ways(position, *solids, points=None):
    obstacles = Obstacles(0.0, solids, np.empty((0, 3)) if points is None else np.array(points))
    found = WayMap(ARM, Rules(0.03, 0.05, 0.05, 0.02, 0.02)).look(np.array(position), obstacles)
    return {way.id: way for way in found}


def test_a_box_in_the_way_blocks_it_at_its_own_height_only():
    in_it = ways(START, Box(LEFT[:2], (0.05, 0.05), height=(0.45, 0.55)))
    assert in_it[0].blocked and not in_it[1].blocked
    over_it = ways(START, Box(LEFT[:2], (0.05, 0.05), height=(0.65, 0.75)))
    assert not over_it[0].blocked
    assert over_it[0].clearance == pytest.approx(0.15 - 0.03 - 0.05, abs=1e-6)


def test_a_sensed_point_blocks_where_the_sphere_would_touch_it():
    assert ways(START, points=[(*LEFT[:2], 0.52)])[0].blocked
    free = ways(START, points=[(*LEFT[:2], 0.54), (5.0, 5.0, 5.0)])[0]
    assert free.clearance == pytest.approx(0.01, abs=0.002)  # measured from nodes along the way


def test_lengths_are_those_in_space_and_from_one_way_the_other_is_reached_back():
    assert ways(START)[0].length == pytest.approx(2 * math.hypot(0.1, 0.2) + 0.2, abs=0.01)
    back = ways(LEFT)
    assert back[0].on_own and back[0].length == pytest.approx(0.1 + math.hypot(0.1, 0.2), abs=0.01)
    assert not back[1].on_own and back[1].length > ways(START)[1].length


@pytest.mark.parametrize("path", [("x",), ("y", "x"), ("x", "z"), ("x", "y", "vz"), ("x", "y", "z", "vx")])
def test_a_path_that_nothing_traces_is_refused(path):
    with pytest.raises(ContractError) as caught:
        path_body(dataclasses.replace(ARM, path=path))
    assert caught.value.field == "path"
    assert path_body(ARM) == "end_effector" and path_body(contract_of(MAZE_V1)) == "odom"


# ---- the tick ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return Policy.load(write_pattern(tmp_path_factory.mktemp("arm") / "arm.onnx", ARM, TURN))


@pytest.fixture
def controller(policy) -> Controller:
    return Controller(policy, CONFIG, np.random.default_rng(0))


def arm(tip=START, joints=(0.5, 0.2), speed=(0.0, 0.0, 0.0), now: float = 0.0) -> RobotState:
    known = {name: JointState(value, 0.0) for name, value in zip(ARM_JOINTS, joints)}
    return RobotState(now, joints=known, end_effector_position=tip, end_effector_velocity=speed)


def tick(controller, state, obstacles=None, mode: int = -1):
    return controller.tick(state.stamp, state, obstacles, Operator(mode))


@pytest.mark.parametrize("mode", TURN)
def test_it_sends_where_the_joints_are_and_the_policys_step(controller, mode):
    decision = tick(controller, arm(), mode=mode)
    assert (decision.state, decision.limited_by) == ("DRIVE", ())
    np.testing.assert_allclose(decision.sent, np.array([0.5, 0.2]) + TURN[mode], atol=1e-7)
    np.testing.assert_allclose(decision.action, TURN[mode], atol=1e-7)
    assert decision.corridor.shape[1] == 3
    np.testing.assert_allclose(decision.corridor[[0, -1]], [START, END])


def test_a_box_on_the_chosen_way_changes_the_mode_in_the_same_tick_and_on_both_stops_it(controller):
    first = tick(controller, arm(), Obstacles(0.0))
    way = ARM_WAYS[first.mode][1]
    closed = (Box((way[0], way[1]), (0.03, 0.03), height=(0.4, 0.6)),)
    second = tick(controller, arm(now=0.04), Obstacles(0.04, closed))
    assert second.state == "DRIVE" and second.mode == 1 - first.mode
    np.testing.assert_allclose(second.sent, np.array([0.5, 0.2]) + TURN[second.mode], atol=1e-7)
    other = (Box((way[0], -way[1]), (0.03, 0.03), height=(0.4, 0.6)),)
    third = tick(controller, arm(now=0.08), Obstacles(0.08, closed + other))
    assert third.state == "NO_WAY" and third.mode is None
    np.testing.assert_allclose(third.sent, second.sent)  # it stays where it was last sent
    fourth = tick(controller, arm(joints=(0.49, 0.19), now=0.12), Obstacles(0.12, closed + other))
    np.testing.assert_allclose(fourth.sent, second.sent)  # and does not sink with the arm


@pytest.mark.parametrize("gap, state", [(0.035, "DRIVE"), (0.01, "NO_WAY")])
def test_no_narrow_way_leads_an_arm_to_where_it_must_stop(controller, gap, state):
    """Beside the one way, closed the other. It keeps 0.05 m, and stops for good at 0.02 m."""
    beside = Box((0.5, 0.2 + 0.03 + gap + 0.05), (0.05, 0.05), height=(0.4, 0.6))
    closed = Box((0.5, -0.2), (0.03, 0.03), height=(0.4, 0.6))
    decision = tick(controller, arm(), Obstacles(0.0, (beside, closed)))
    assert decision.state == state and ("narrow" in decision.reason) == (state == "DRIVE")


def test_what_comes_too_near_the_tip_or_too_fast_keeps_the_joints_where_they_are(controller):
    before = tick(controller, arm(), Obstacles(0.0), mode=0)
    near = Box((0.3, -0.1), (0.06, 0.06), height=(0.0, 1.0))  # 0.04 m from the tip, beside its way
    held = tick(controller, arm(now=0.04), Obstacles(0.04, (near,)), mode=0)
    assert held.limited_by == ("approach",)
    np.testing.assert_allclose(held.sent, before.sent)
    ahead = Box((0.3, -0.4), (0.06, 0.06), height=(0.0, 1.0))
    for now, speed, rules in ((0.08, 1.5, ("approach",)), (0.12, 0.1, ()), (0.16, -1.5, ())):
        state = arm(speed=(0.0, -speed, 0.0), now=now)
        assert tick(controller, state, Obstacles(now, (ahead,)), mode=0).limited_by == rules


def test_it_arrives_at_the_end_of_the_end_effectors_way(controller):
    assert tick(controller, arm(tip=(0.67, 0.06, 0.5), speed=(0.1, -0.2, 0.0)), mode=0).state == "DRIVE"
    arrived = tick(controller, arm(tip=(0.701, -0.002, 0.5), speed=(0.1, -0.2, 0.0), now=0.04), mode=0)
    assert (arrived.state, arrived.mode) == ("ARRIVED", 0)


FAULTS = {
    "no tip": (RobotState(0.0, joints=arm().joints), None, "x (end_effector.position.x)"),
    "no speed": (arm(speed=(0.0, math.nan, 0.0)), None, "vy (end_effector.linear_velocity.y)"),
    "no joints": (dataclasses.replace(arm(), joints={}), None, "the position of shoulder, elbow"),
    "one joint": (arm(joints=(0.5,)), None, "the position of elbow"),
    "a joint out of its limits": (arm(joints=(0.5, 1.2)), None, "joint 'elbow' is at 1.2, outside its limits -1 to 1"),
    "points of the plane": (arm(), Obstacles(0.0, points=np.zeros((5, 2))), "sensed points of shape (5, 2)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_on_a_fault_nothing_is_sent_before_and_nothing_new_after_the_first_command(controller, name):
    state, obstacles, says = FAULTS[name]
    decision = tick(controller, state, obstacles)
    assert decision.state == "HOLD" and says in decision.reason
    assert decision.sent is None and not decision.action.any()
    driving = tick(controller, arm(now=0.04))
    assert driving.state == "DRIVE"
    stamped = dataclasses.replace(state, stamp=0.08)
    held = tick(controller, stamped, obstacles and dataclasses.replace(obstacles, stamp=0.08))
    np.testing.assert_array_equal(held.sent, driving.sent)
