"""Safety rules: for any input a command stays within its limits and rates, and rules only ever take away."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddiffpg.contract import ActionField, ContractError
from ddiffpg.obstacles import Approach, Box, Cylinder, Obstacles
from ddiffpg.safety import (
    Braking,
    Limits,
    age_problem,
    allowed_speed,
    allowed_toward,
    approach_scale,
    beside,
    emergency_stop,
    linear_fields,
    restrain,
    slew,
    within_limits,
    within_speed,
)
from tests.robot.scripted_policy import MAZE_V1, contract_of

LIMITS = Limits(np.array([-1.0, -0.5, -2.0]), np.array([1.0, 0.75, 2.0]), (0, 1), 0.8, 4.0, 40.0)
FIRM = Braking(stop_distance=0.15, deceleration=4.0, reaction_time=0.2)
TINY = 1e-9

anything = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=3, max_size=3).map(np.array)
inside = st.tuples(*(st.floats(low, high) for low, high in zip(LIMITS.low, LIMITS.high))).map(np.array)
sendable = inside.map(lambda action: within_speed(action, LIMITS))
seconds = st.floats(0.0, 1.0)
coordinate = st.floats(-2.0, 2.0)
place = st.tuples(coordinate, coordinate).map(np.array)
size = st.floats(0.05, 1.0)
box = st.builds(
    lambda x, y, hx, hy, yaw: Box((x, y), (hx, hy), yaw), coordinate, coordinate, size, size, st.floats(-4, 4)
)
cylinder = st.builds(lambda x, y, r: Cylinder((x, y), r), coordinate, coordinate, size)
shapes = st.lists(box | cylinder, max_size=4).map(tuple)


@st.composite
def scenes(draw, max_size: int = 6):
    """Up to a few things at any distance and in any direction, and a rule how to come near them."""
    count = draw(st.integers(0, max_size))
    distance = np.array(draw(st.lists(st.floats(-1.0, 3.0), min_size=count, max_size=count)))
    angle = np.array(draw(st.lists(st.floats(-math.pi, math.pi), min_size=count, max_size=count)))
    seen = Approach(distance, np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(count, 2))
    return seen, Braking(draw(st.floats(0.0, 0.5)), 4.0, draw(st.floats(0.0, 0.5)), draw(st.floats(0.0, 0.5)))


def planar_speed(action: np.ndarray) -> float:
    return float(np.hypot(*action[:2]))


# ---- for any input -----------------------------------------------------------------------------


@given(anything, sendable, seconds, st.lists(scenes(), max_size=3))
def test_whatever_is_wanted_the_command_stays_within_limits_speed_and_rates(wanted, previous, elapsed, around):
    command = restrain(wanted, previous, elapsed, LIMITS, around)
    assert np.isfinite(command.action).all()
    assert (command.action >= LIMITS.low).all() and (command.action <= LIMITS.high).all()
    assert planar_speed(command.action) <= LIMITS.max_speed + TINY
    change = np.linalg.norm(command.action - previous)
    rate = LIMITS.emergency_deceleration if "approach" in command.limited_by else LIMITS.max_acceleration
    assert change <= rate * elapsed + TINY


@given(st.lists(st.tuples(anything, seconds, st.lists(scenes(), max_size=2)), max_size=20))
def test_a_whole_drive_never_leaves_limits_or_rates(ticks):
    sent = np.zeros(3)
    for wanted, elapsed, around in ticks:
        before, sent = sent, restrain(wanted, sent, elapsed, LIMITS, around).action
        assert (sent >= LIMITS.low).all() and (sent <= LIMITS.high).all()
        assert planar_speed(sent) <= LIMITS.max_speed + TINY
        assert np.linalg.norm(sent - before) <= LIMITS.emergency_deceleration * elapsed + TINY


@given(sendable, seconds)
def test_an_emergency_stop_only_shortens_the_command_at_its_own_rate(previous, elapsed):
    command = emergency_stop(previous, elapsed, LIMITS)
    left = max(0.0, np.linalg.norm(previous) - LIMITS.emergency_deceleration * elapsed)
    assert np.linalg.norm(command.action) == pytest.approx(left, abs=1e-6)
    assert (command.action * previous >= 0).all()  # never reversed
    assert bool(command.limited_by) == bool(command.action.any())


@given(sendable, seconds, st.lists(scenes(), max_size=2))
def test_stopping_never_speeds_up_or_reverses(previous, elapsed, around):
    command = restrain(np.zeros(3), previous, elapsed, LIMITS, around)
    assert (np.abs(command.action) <= np.abs(previous) + TINY).all()
    assert (command.action * previous >= -TINY).all()


@given(anything, sendable, seconds)
def test_it_names_a_rule_exactly_when_it_changed_something(wanted, previous, elapsed):
    command = restrain(wanted, previous, elapsed, LIMITS)
    assert (command.limited_by == ()) == np.array_equal(command.action, wanted)


# ---- limits ------------------------------------------------------------------------------------


@given(anything)
def test_limits_take_away_only(wanted):
    action = within_limits(wanted, LIMITS.low, LIMITS.high)
    if np.isnan(wanted).any():
        assert not action.any()
    else:
        assert (np.abs(action) <= np.abs(wanted)).all() and (action * np.sign(wanted) >= 0).all()


def test_speed_scales_the_whole_command():
    np.testing.assert_allclose(within_speed(np.array([0.9, 1.2, 1.0]), LIMITS), np.array([0.9, 1.2, 1.0]) * 0.8 / 1.5)
    slow = np.array([0.48, 0.64, 2.0])
    assert within_speed(slow, LIMITS) is slow


# ---- slew --------------------------------------------------------------------------------------


def test_a_stop_from_one_metre_a_second_takes_a_quarter_second():
    sent, ticks = np.array([1.0, 0.0, 0.0]), 0
    while sent.any():
        sent, ticks = slew(sent, np.zeros(3), 4.0 * 0.05), ticks + 1
    assert ticks == 5  # of 0.05 s


def test_slewing_goes_straight_to_the_target_and_stays_there():
    step = slew(np.array([0.0, 0.0]), np.array([3.0, 4.0]), 1.0)
    np.testing.assert_allclose(step, [0.6, 0.8])
    target = np.array([3.0, 4.0])
    assert slew(np.array([3.0, 3.5]), target, 1.0) is target


@given(anything, sendable)
def test_without_time_nothing_changes(wanted, previous):
    np.testing.assert_allclose(restrain(wanted, previous, 0.0, LIMITS).action, previous, atol=TINY)


# ---- approach ----------------------------------------------------------------------------------


def test_allowed_speed_by_hand():
    # 0.325 m left: v * 0.2 + v^2 / 8 = 0.325 gives v = 1.
    assert allowed_speed(np.array([0.475]), FIRM)[0] == pytest.approx(1.0)
    np.testing.assert_array_equal(allowed_speed(np.array([0.15, 0.1, -3.0]), FIRM), 0.0)
    soft = dataclasses.replace(FIRM, contact_speed=0.3)
    np.testing.assert_allclose(allowed_speed(np.array([-1.0, 0.475]), soft), [0.3, 1.0])
    assert allowed_speed(np.array([math.inf]), FIRM)[0] == math.inf


def test_what_comes_by_itself_is_approached_slower_by_as_much():
    """As above 1 m/s is allowed; what comes at 0.4 m/s leaves 0.6, what comes at 2 m/s none, what goes away no more."""
    comes = Approach(np.full(3, 0.475), np.tile([1.0, 0.0], (3, 1)), np.array([0.4, 2.0, -1.0]))
    np.testing.assert_allclose(allowed_toward(comes, FIRM), [0.6, 0.0, 1.0])
    assert approach_scale(np.array([1.2, 0.0]), Approach(*(part[:1] for part in comes)), FIRM) == pytest.approx(0.5)
    assert approach_scale(np.array([-1.0, 0.0]), comes, FIRM) == 1.0  # away from it


def test_an_approach_at_half_the_speed_wanted_halves_the_whole_command():
    seen = Approach(np.array([0.475]), np.array([[1.0, 0.0]]))
    assert approach_scale(np.array([2.0, 5.0]), seen, FIRM) == pytest.approx(0.5)
    assert approach_scale(np.array([0.9, 5.0]), seen, FIRM) == 1.0


@given(place, place, shapes)
def test_away_from_what_is_near_is_always_free(position, velocity, shapes):
    """Inside or beside obstacles: a velocity that approaches none of them is untouched, and none is reversed."""
    seen = Obstacles(0.0, shapes).approach_shapes(position)
    scale = approach_scale(velocity, seen, FIRM)
    assert 0.0 <= scale <= 1.0
    if (seen.direction @ velocity <= 0).all():
        assert scale == 1.0


@given(place, place, shapes, box | cylinder)
def test_one_more_obstacle_never_makes_it_faster(position, velocity, shapes, more):
    few, many = (Obstacles(0.0, s).approach_shapes(position) for s in (shapes, (*shapes, more)))
    assert approach_scale(velocity, many, FIRM) <= approach_scale(velocity, few, FIRM)


@given(scenes(), place, st.floats(0.0, 1.0))
def test_nearer_is_never_faster(scene, velocity, nearer):
    seen, braking = scene
    closer = Approach(seen.distance - nearer, seen.direction)
    assert approach_scale(velocity, closer, braking) <= approach_scale(velocity, seen, braking)


@given(st.floats(-math.pi, math.pi), shapes.filter(bool), st.floats(0.1, 1.4))
def test_driving_at_an_obstacle_it_stops_before_it(angle, shapes, speed):
    """Closed loop at 10 Hz with a third of the reaction time as pure delay: it keeps half of the stop margin."""
    obstacles, braking = Obstacles(0.0, shapes), dataclasses.replace(FIRM, reaction_time=0.3)
    position, late = 4.0 * np.array([math.cos(angle), math.sin(angle)]), [np.zeros(2)]
    for _ in range(100):
        seen = obstacles.approach_shapes(position)
        wish = speed * seen.direction[seen.distance.argmin()]
        late.append(wish * approach_scale(wish, seen, braking))
        position = position + 0.1 * late.pop(0)
        assert obstacles.approach_shapes(position).distance.min() > FIRM.stop_distance - 0.025


@given(st.floats(-math.pi, math.pi), st.floats(-0.7, 0.7), shapes.filter(bool))
def test_led_past_obstacles_it_keeps_as_far_from_them(angle, aside, shapes):
    """Closed loop as above, always the same way on, to the middle or past it."""
    obstacles, braking = Obstacles(0.0, shapes), dataclasses.replace(FIRM, reaction_time=0.3)
    position, late, sent = 4.0 * np.array([math.cos(angle), math.sin(angle)]), [np.zeros(3)], np.zeros(3)
    wish = np.array([-math.cos(angle + aside), -math.sin(angle + aside), 0.0])
    for _ in range(100):
        sent = restrain(wish, sent, 0.1, LIMITS, [(obstacles.approach_shapes(position), braking)]).action
        late.append(sent)
        position = position + 0.1 * late.pop(0)[:2]
        assert obstacles.approach_shapes(position).distance.min() > FIRM.stop_distance - 0.025


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_direction_that_is_no_number_stops(bad):
    seen = Approach(np.array([1.0, 0.5]), np.array([[0.0, 1.0], [bad, 0.0]]))
    assert approach_scale(np.array([1.0, 0.0]), seen, FIRM) == 0.0


@given(place, st.lists(scenes(), min_size=1, max_size=3))
def test_what_is_led_past_is_never_faster_and_what_approaches_nothing_is_left_alone(velocity, around):
    led = beside(velocity, around)
    assert np.linalg.norm(led) <= np.linalg.norm(velocity) + 1e-8
    if all(approach_scale(velocity, seen, braking) == 1.0 for seen, braking in around):
        np.testing.assert_array_equal(led, velocity)


@given(st.floats(-math.pi, math.pi), st.floats(-1.5, 1.5), st.floats(0.1, 2.0), st.floats(-0.2, 1.0))
def test_past_one_thing_all_is_left_that_does_not_lead_to_it(where, aside, speed, left):
    toward = np.array([math.cos(where), math.sin(where)])
    across = np.array([-toward[1], toward[0]])
    scene = Approach(np.array([0.15 + left]), toward[None]), FIRM
    led = beside(speed * (math.cos(aside) * toward + math.sin(aside) * across), [scene])
    assert led @ across == pytest.approx(speed * math.sin(aside), abs=1e-5)
    assert approach_scale(led, *scene) == pytest.approx(1.0)


def test_a_rate_that_changes_nothing_is_not_named():
    """From rest at 1 m/s into what is touched: by the rate 0.4 m/s, and nothing of it is left, with it or without."""
    seen = Approach(np.array([0.15]), np.array([[1.0, 0.0]]))
    assert restrain(np.array([0.8, 0.0, 0.0]), np.zeros(3), 0.1, LIMITS, [(seen, FIRM)]).limited_by == ("approach",)
    along = restrain(np.array([0.4, 0.6, 0.0]), np.zeros(3), 0.1, LIMITS, [(seen, FIRM)])
    assert along.limited_by == ("slew", "approach")


@pytest.mark.parametrize("distance, moves", [(0.13, True), (0.12, False)])
def test_closer_than_the_least_distance_it_stops_and_is_not_led_past(distance, moves):
    firm = dataclasses.replace(FIRM, least_distance=0.125)
    seen = Approach(np.array([distance]), np.array([[1.0, 0.0]]))
    command = restrain(np.array([0.4, 0.6, 0.0]), np.zeros(3), 1.0, LIMITS, [(seen, firm)])
    assert command.action.any() == moves
    away = restrain(np.array([-0.4, 0.6, 0.0]), np.zeros(3), 1.0, LIMITS, [(seen, firm)])
    np.testing.assert_allclose(away.action, [-0.4, 0.6, 0.0])


@pytest.mark.parametrize("measured, moves", [((0.0, 0.6), True), ((0.3, 0.0), False), ((np.nan, np.nan), False)])
def test_who_comes_nearer_in_spite_of_being_led_past_stops(measured, moves):
    """A wall that nobody knows of takes away what leads past, and what is left leads nearer."""
    seen = Approach(np.array([0.17]), np.array([[1.0, 0.0]]))
    measured = np.array(measured)
    command = restrain(np.array([0.4, 0.6, 0.0]), np.zeros(3), 1.0, LIMITS, [(seen, FIRM)], measured=measured)
    led = restrain(np.array([0.4, 0.6, 0.0]), np.zeros(3), 1.0, LIMITS, [(seen, FIRM)])
    assert (command.action[1] == led.action[1]) == moves
    assert moves or command.action[1] < 0.5 * led.action[1]


def test_into_a_corner_nothing_is_left():
    seen = Approach(np.array([0.15, 0.15]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    command = restrain(np.array([0.5, 0.3, 0.0]), np.zeros(3), 1.0, LIMITS, [(seen, FIRM)])
    np.testing.assert_allclose(command.action, 0.0, atol=1e-8)


def test_along_a_box_that_is_touched_it_goes_on_and_within_the_limits_of_each_axis():
    """45 degrees towards a side that runs at 60 degrees: what is left of it is along that, no faster than vy may be."""
    slope = math.radians(60.0)
    seen = Approach(np.array([0.15]), np.array([[math.sin(slope), -math.cos(slope)]]))
    command = restrain(np.array([1.0, 0.5, 0.0]), np.zeros(3), 1.0, LIMITS, [(seen, FIRM)])
    assert command.limited_by == ("speed", "approach")
    np.testing.assert_allclose(command.action[1] / command.action[0], math.tan(slope))
    assert 0.5 < command.action[1] <= 0.75


# ---- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "now, stamp, says",
    [
        (10.0, 9.8, None),
        (10.0, 10.0, None),
        (10.0, 10.04, None),
        (10.0, 9.65, "is 0.350 s old, more than 0.3 s"),
        (10.0, 10.2, "is stamped 0.200 s ahead of the clock"),
        (10.0, math.nan, "has no usable time stamp"),
        (10.0, -math.inf, "has no usable time stamp"),
    ],
)
def test_the_age_of_a_reading(now, stamp, says):
    assert age_problem(now, stamp, 0.3, 0.1) == says


# ---- which actions can be stopped --------------------------------------------------------------


def test_the_plane_is_found_by_name():
    contract = contract_of(MAZE_V1)
    turned = (ActionField("wz", "rad/s", -1.0, 1.0), *contract.action[::-1])
    assert linear_fields(contract) == (0, 1)
    assert linear_fields(dataclasses.replace(contract, action=turned)) == (2, 1)


@pytest.mark.parametrize(
    "change, field",
    [
        ({"action": (ActionField("vx", "m/s", -1.0, 1.0),)}, "action"),
        ({"action": (ActionField("vx", "m/s", 0.1, 1.0), ActionField("vy", "m/s", -1.0, 1.0))}, "action[0].low"),
    ],
)
def test_an_action_that_zero_does_not_stop_is_refused_by_name(change, field):
    with pytest.raises(ContractError) as caught:
        linear_fields(dataclasses.replace(contract_of(MAZE_V1), **change))
    assert caught.value.field == field
