"""States that the policy does not know: the distance by hand, when it is told of, when it holds, who may drive on."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddiffpg.contract import Contract, ContractError, KnownStates
from ddiffpg.controller import Controller, ControllerConfig, HandoffConfig, Operator
from ddiffpg.decision import Teleop
from ddiffpg.known_states import UNSEEN, Nearest, Watch
from ddiffpg.obstacles import Obstacles
from ddiffpg.parameters import ParameterError
from ddiffpg.policy import Policy
from tests.robot.controllers import state_at
from tests.robot.scripted_policy import MAZE_V1, contract_of, dense, write_policy

TWO = KnownStates(scale=(2.0, 1.0), centers=((0.0, 0.0), (4.0, 3.0)), usual=0.5)


def test_the_distance_from_the_nearest_in_terms_of_what_is_usual():
    nearest = Nearest(TWO)
    assert nearest(np.array([0.0, 0.0])) == 0.0
    assert nearest(np.array([2.0, 0.0])) == pytest.approx(2.0)  # one unit of x, of which half is usual
    assert nearest(np.array([4.0, 2.5], np.float32)) == pytest.approx(1.0)


def test_a_strange_place_is_not_lost_among_many_numbers():
    known = KnownStates((1.0,) * 30, ((0.0,) * 30, (4.0, 3.0) + (0.0,) * 28), usual=10.0)
    away = np.zeros(30)
    away[:2] = 4.0, -3.0  # 4 m from the first place in one number and 6 m from the second in the other
    assert Nearest(known)(away) == pytest.approx(0.5)
    assert Nearest(known, (0, 1), 2.0)(away) == pytest.approx(2.5)
    away[:2] = 0.0, 1.0
    assert Nearest(known, (0, 1), 2.0)(away) == pytest.approx(0.5)
    away[2:] = 10.0  # at a known place, but else in a way that nobody was
    assert Nearest(known, (0, 1), 2.0)(away) == pytest.approx(np.sqrt(1.0 + 28 * 100.0) / 10.0)


def seen(watch: Watch, now: float, x: float):
    return watch.look(now, np.array([x, 0.0]))


def test_it_warns_at_once_and_holds_once_it_has_lasted_until_the_state_is_known_again():
    watch = Watch(TWO, ControllerConfig(unknown_hold_after=0.5))
    assert seen(watch, 0.0, 0.5).distance == pytest.approx(0.5) and not seen(watch, 0.0, 0.5).text
    warned = seen(watch, 0.1, -1.5)
    assert "1.5 times as far from what the policy knows" in warned.text and not warned.hold
    assert not seen(watch, 1.0, -2.5).hold
    assert not seen(watch, 1.4, -2.5).hold
    assert seen(watch, 1.5, -2.5).hold
    assert seen(watch, 1.6, -1.5).hold  # still strange
    assert not seen(watch, 1.7, -0.9).hold
    assert not seen(watch, 1.8, -2.5).hold


def test_what_comes_and_goes_does_not_hold_and_time_that_goes_back_begins_anew():
    watch = Watch(TWO, ControllerConfig(unknown_hold_after=0.5))
    for i in range(21):
        assert not seen(watch, 0.3 * i, -2.5 if i % 2 else 0.0).hold
    assert not seen(watch, 10.0, -2.5).hold
    assert not seen(watch, 5.0, -2.5).hold
    assert seen(watch, 5.5, -2.5).hold


def test_it_can_be_told_not_to_hold_not_to_look_or_to_look_less_closely():
    never = Watch(TWO, ControllerConfig(unknown_hold=0.0, unknown_hold_after=0.0))
    assert seen(never, 0.0, -100.0).text and not seen(never, 9.0, -100.0).hold
    assert seen(Watch(TWO, ControllerConfig(unknown_warn=0.0)), 0.0, -100.0) is UNSEEN
    assert seen(Watch(None, ControllerConfig()), 0.0, -100.0) is UNSEEN
    wide = Watch(TWO, ControllerConfig(unknown_warn=3.0, unknown_hold=6.0))
    assert not seen(wide, 0.0, -2.5).text
    with pytest.raises(ParameterError, match="unknown_hold"):
        ControllerConfig(unknown_warn=3.0, unknown_hold=2.0)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(-8.0, 8.0)), max_size=30))
def test_it_never_holds_without_having_said_so(ticks):
    watch, now = Watch(TWO, ControllerConfig()), 0.0
    for passed, x in ticks:
        now += passed
        found = seen(watch, now, x)
        assert bool(found.text) == (found.distance > 1.0) and (found.text or not found.hold)


# ---- in the contract -------------------------------------------------------------------------------------


def test_a_contract_without_them_reads_and_writes_as_before():
    text = contract_of(MAZE_V1).to_json()
    assert "known_states" not in json.loads(text) and Contract.from_json(text).known_states is None


def test_they_come_back_as_they_were():
    contract = replace(contract_of(MAZE_V1), known_states=KnownStates((1.0,) * 4, ((0.1, 0.2, 0.3, 0.4),), 0.7))
    assert Contract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("known_states.scale", {"scale": [1.0]}),
        ("known_states.scale", {"scale": [1.0, 1.0, 0.0, 1.0]}),
        ("known_states.centers", {"centers": []}),
        ("known_states.centers", {"centers": [[1.0, 2.0]]}),
        ("known_states.centers[0][1]", {"centers": [[1.0, "2", 3.0, 4.0]]}),
        ("known_states.usual", {"usual": 0.0}),
        ("known_states.distance", {"distance": 1.0}),
    ],
)
def test_what_does_not_fit_is_refused_by_field(field, changes):
    good = {"scale": [1.0] * 4, "centers": [[0.0] * 4], "usual": 1.0}
    raw = {**json.loads(contract_of(MAZE_V1).to_json()), "known_states": {**good, **changes}}
    with pytest.raises(ContractError) as error:
        Contract.from_json(json.dumps(raw))
    assert error.value.field == field


# ---- in the tick -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def knowing(tmp_path_factory) -> Policy:
    """A policy that knows the places on its ways, standing and moving."""
    places = np.concatenate([dense(way, 0.2) for way in MAZE_V1.values()])
    centers = tuple((x, y, 0.0, 0.0) for x, y in places.tolist())
    contract = replace(contract_of(MAZE_V1), known_states=KnownStates((0.5, 0.5, 2.0, 2.0), centers, 1.0))
    return Policy.load(write_policy(tmp_path_factory.mktemp("knowing") / "p.onnx", MAZE_V1, contract))


def make(policy: Policy, **rules) -> Controller:
    return Controller(policy, ControllerConfig(), np.random.default_rng(0), rules=HandoffConfig(**rules))


def test_on_its_ways_it_says_how_well_it_knows_the_place(knowing):
    decision = make(knowing).tick(0.0, state_at(), Obstacles(0.0), Operator())
    assert decision.state == "DRIVE" and decision.unknown == 0.0 and not decision.warnings


def test_in_a_state_that_it_does_not_know_the_policy_does_not_drive(knowing):
    controller = make(knowing)
    states, actions = [], []
    for i in range(12):
        now = 0.1 * i
        place = (0.0, 0.0) if i < 4 else (3.0, 3.0)  # somebody carries it away
        decision = controller.tick(now, state_at(*place, now), Obstacles(now), Operator())
        states.append(decision.state)
        actions.append(float(np.linalg.norm(decision.action)))
        if i >= 4:
            assert decision.unknown > 5.0 and decision.warnings
    assert states == ["DRIVE"] * 9 + ["HOLD"] * 3 and actions[-3:] == [0.0] * 3
    assert "the state is unknown" in decision.reason
    decision = controller.tick(1.2, state_at(0.0, -0.5, 1.2), Obstacles(1.2), Operator())
    assert decision.state == "DRIVE" and not decision.warnings


def test_a_human_may_drive_where_the_policy_does_not_and_is_told(knowing):
    controller = make(knowing)
    for i in range(20):
        now = 0.1 * i
        wish = Operator(teleop=Teleop(now, (0.3, 0.0)))
        decision = controller.tick(now, state_at(3.0, 3.0, now), Obstacles(now), wish)
        assert decision.state == "TELEOP" and decision.warnings
    decision = controller.tick(2.0, state_at(3.0, 3.0, 2.0), Obstacles(2.0), Operator(requests=("engage",)))
    assert decision.state == "HOLD" and "the state is unknown" in decision.reason


def test_a_policy_that_does_not_say_what_it_knows_drives_anywhere(policies):
    controller = Controller(policies["v1"], ControllerConfig(), np.random.default_rng(0))
    for now in (0.0, 5.0):
        decision = controller.tick(now, state_at(3.0, 3.0, now), Obstacles(now), Operator())
        assert decision.state == "DRIVE" and math.isnan(decision.unknown) and not decision.warnings
