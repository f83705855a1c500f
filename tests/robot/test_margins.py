"""Delay and rate against what the policy was seen to hold in: when it warns, when it holds, in contract and tick."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ddiffpg.contract import Contract, ContractError, Margins
from ddiffpg.controller import Controller, ControllerConfig, Operator
from ddiffpg.margins import WITHIN, MarginWatch
from ddiffpg.obstacles import Obstacles
from ddiffpg.policy import Policy
from tests.robot.controllers import state_at
from tests.robot.scripted_policy import MAZE_V1, contract_of, write_policy

MARGINS = Margins(success=0.9, delay=0.1, rate_low=8.0, rate_high=12.0, noise=(0.05, 0.05, 0.1, 0.1))


def after(watch: MarginWatch, period: float, age: float, begin: float = 0.0, ticks: int = 30):
    """What it says at the end of so many ticks."""
    return [watch.look(begin + period * i, age) for i in range(ticks)][-1]


def test_within_them_there_is_nothing_to_say():
    watch = MarginWatch(MARGINS, ControllerConfig())
    assert after(watch, 0.1, 0.1) is WITHIN
    assert after(MarginWatch(MARGINS, ControllerConfig()), 1 / 12.3, 0.0) is WITHIN  # clocks are not that exact


def test_a_state_that_is_too_old_is_told_of_with_what_the_robot_adds():
    assert "the delay is 0.110 s: the policy holds up to 0.1 s" in after(
        MarginWatch(MARGINS, ControllerConfig()), 0.1, 0.11
    ).text
    slow = MarginWatch(MARGINS, ControllerConfig(robot_delay=0.08))
    assert "the delay is 0.110 s" in after(slow, 0.1, 0.03).text


@pytest.mark.parametrize(("hz", "said"), [(5.0, "5 Hz"), (7.0, "7 Hz"), (14.0, "14 Hz")])
def test_a_rate_outside_is_told_of(hz, said):
    found = after(MarginWatch(MARGINS, ControllerConfig()), 1 / hz, 0.0)
    assert found.text == f"commands come at {said}: the policy holds from 8 to 12 Hz" and not found.hold


def test_a_single_late_tick_is_nothing_and_a_second_of_them_is():
    watch = MarginWatch(MARGINS, ControllerConfig(margins_hold=True))
    assert after(watch, 0.1, 0.02) is WITHIN
    assert watch.look(3.0, 0.3) is WITHIN
    late = [watch.look(3.0 + 0.1 * i, 0.3) for i in range(1, 11)]
    assert late[0] is WITHIN and late[-1].hold and "delay" in late[-1].text
    assert after(watch, 0.1, 0.02, begin=4.1, ticks=12) is WITHIN


def test_it_waits_for_enough_and_begins_anew_where_the_clock_goes_back():
    watch = MarginWatch(MARGINS, ControllerConfig())
    assert [watch.look(0.1 * i, 5.0) for i in range(5)] == [WITHIN] * 5
    assert watch.look(0.5, 5.0).text
    assert watch.look(0.2, 5.0) is WITHIN


def test_ticks_that_are_seconds_apart_are_still_counted():
    assert "commands come at 0.5 Hz" in after(MarginWatch(MARGINS, ControllerConfig()), 2.0, 0.0, ticks=3).text


def test_without_margins_it_sees_nothing():
    assert after(MarginWatch(None, ControllerConfig(margins_hold=True)), 10.0, 10.0) is WITHIN


# ---- in the contract -------------------------------------------------------------------------------------


def test_they_come_back_as_they_were_and_files_without_them_read_as_before():
    contract = replace(contract_of(MAZE_V1), margins=MARGINS)
    assert Contract.from_json(contract.to_json()) == contract
    without = contract_of(MAZE_V1).to_json()
    assert "margins" not in json.loads(without) and Contract.from_json(without).margins is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("success", 0.0), ("success", 1.1), ("delay", -0.1), ("rate_low", 0.0), ("rate_high", 7.0), ("noise", [0.1]),
     ("noise", [0.1, 0.1, 0.1, -0.1]), ("delay", "0.1"), ("jitter", 0.1)],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_field(field, value):
    raw = json.loads(replace(contract_of(MAZE_V1), margins=MARGINS).to_json())
    raw["margins"][field] = value
    with pytest.raises(ContractError) as error:
        Contract.from_json(json.dumps(raw))
    assert error.value.field == f"margins.{field}"


# ---- in the tick -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Policy:
    contract = replace(contract_of(MAZE_V1), margins=MARGINS)
    return Policy.load(write_policy(tmp_path_factory.mktemp("margins") / "p.onnx", MAZE_V1, contract))


def drive(policy: Policy, age: float, **parameters):
    controller = Controller(policy, ControllerConfig(**parameters), np.random.default_rng(0))
    for i in range(15):
        now = 5.0 + 0.1 * i
        decision = controller.tick(now, state_at(0.0, 0.0, now - age), Obstacles(now), Operator())
    return decision


def test_the_controller_warns_and_drives(policy):
    decision = drive(policy, 0.2)
    assert decision.state == "DRIVE" and "the policy holds up to 0.1 s" in decision.warnings[0]
    assert not drive(policy, 0.05).warnings


def test_or_holds_where_it_is_told_to(policy):
    decision = drive(policy, 0.2, margins_hold=True)
    assert decision.state == "HOLD" and "the delay is 0.200 s" in decision.reason and not decision.action.any()
    assert drive(policy, 0.05, margins_hold=True).state == "DRIVE"
    assert drive(policy, 0.05, margins_hold=True, robot_delay=0.1).state == "HOLD"
