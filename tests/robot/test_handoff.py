"""Who is in command: each transition by hand, and what must hold for any sequence of inputs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddiffpg import handoff
from ddiffpg.decision import E_STOP, ENGAGE, FAULT, HOLD, OFF, POLICY, REARM, RELEASE, TELEOP, Operator, Teleop
from ddiffpg.handoff import BLEND, COMMANDS, Hand, HandoffConfig

SIZE, FUTURE = 2, 0.1
PLAIN, NO_BLEND = HandoffConfig(), HandoffConfig(blend_time=0.0)
NOBODY = Operator()
DRIVES, STANDS = (0.5, 0.0), (0.0, 0.0)


def by_hand(stamp: float, command=DRIVES) -> Teleop:
    return Teleop(stamp, command)


def after(hand: Hand, operator: Operator, now: float = 10.0, config: HandoffConfig = NO_BLEND, size=SIZE) -> Hand:
    return handoff.step(hand, handoff.hear(now, operator, config, size, FUTURE), config)


def refused(hand: Hand, request: str, operator: Operator = NOBODY) -> str | None:
    return handoff.refusal(hand, request, handoff.hear(10.0, operator, NO_BLEND, SIZE, FUTURE), NO_BLEND)


AT_POLICY, AT_OFF = Hand(POLICY, "engaged", 5.0, engaged=True), Hand(OFF, "released", 5.0)
AT_TELEOP, AT_HOLD = Hand(TELEOP, "a teleop command came", 5.0, engaged=True), Hand(HOLD, "lost", 5.0, engaged=True)
AT_FAULT = Hand(FAULT, "an e-stop was asked for", 5.0)
EVERYWHERE = [AT_POLICY, AT_OFF, AT_TELEOP, AT_HOLD]


# ---- at first ----------------------------------------------------------------------------------


def test_the_policy_is_in_command_from_the_start_unless_it_shall_not_be():
    assert handoff.begin(PLAIN).source == POLICY
    assert handoff.begin(HandoffConfig(engaged=False)) == Hand(OFF, "not engaged yet")


@pytest.mark.parametrize("hand", [AT_POLICY, AT_OFF, AT_HOLD])
def test_as_long_as_nobody_does_anything_nothing_changes(hand):
    assert after(hand, Operator()) is hand


# ---- a human takes over ------------------------------------------------------------------------


@pytest.mark.parametrize("hand", [AT_POLICY, AT_OFF, AT_HOLD])
@pytest.mark.parametrize(
    "operator, reason",
    [
        (Operator(teleop=by_hand(9.9)), "a teleop command came"),
        (Operator(teleop=by_hand(9.9, STANDS)), "a teleop command came"),
        (Operator(deadman=9.9), "the dead man's switch is pressed"),
        (Operator(teleop=by_hand(2.0), deadman=10.05), "the dead man's switch is pressed"),
    ],
)
def test_whatever_a_human_does_takes_over_at_once(hand, operator, reason):
    found = after(hand, operator)
    assert (found.source, found.reason, found.since) == (TELEOP, reason, 10.0)


@pytest.mark.parametrize("teleop", [by_hand(9.4), by_hand(10.2), by_hand(math.nan), by_hand(-math.inf)])
def test_a_command_that_is_old_or_of_the_future_or_without_time_counts_for_nothing(teleop):
    assert after(AT_POLICY, Operator(teleop=teleop)) is AT_POLICY


def test_a_human_in_command_stays_so():
    assert after(AT_TELEOP, Operator(teleop=by_hand(9.8))) is AT_TELEOP


def test_where_the_policy_has_precedence_it_must_be_released_first():
    config = replace(NO_BLEND, human_wins=False)
    driving = Operator(teleop=by_hand(9.9))
    assert after(AT_POLICY, driving, config=config) is AT_POLICY
    assert after(AT_POLICY, replace(driving, requests=(RELEASE,)), config=config).source == TELEOP
    assert after(AT_OFF, driving, config=config).source == TELEOP


def test_where_the_dead_mans_switch_is_needed_commands_alone_count_for_nothing():
    config = replace(NO_BLEND, need_deadman=True)
    driving = Operator(teleop=by_hand(9.9))
    assert after(AT_POLICY, driving, config=config) is AT_POLICY
    assert after(AT_POLICY, replace(driving, deadman=9.9), config=config).source == TELEOP
    lost = after(AT_TELEOP, driving, config=config)
    assert (lost.source, lost.reason) == (HOLD, "the dead man's switch is not pressed")


def test_what_the_human_wants_is_nothing_while_only_the_switch_is_pressed():
    heard = handoff.hear(10.0, Operator(teleop=by_hand(9.0), deadman=9.9), PLAIN, SIZE, FUTURE)
    assert heard.human.wanted is None and heard.human.pressed
    heard = handoff.hear(10.0, Operator(teleop=by_hand(9.8), deadman=9.9), PLAIN, SIZE, FUTURE)
    assert heard.human.wanted == DRIVES and heard.human.stamp == 9.9


# ---- a human lets go or is lost ----------------------------------------------------------------


@pytest.mark.parametrize(
    "operator, reason",
    [
        (Operator(), "the dead man's switch is not pressed"),
        (Operator(teleop=by_hand(9.4)), "the teleop command is 0.600 s old, more than 0.5 s"),
        (Operator(deadman=9.4), "the dead man's switch, when last pressed, is 0.600 s old, more than 0.5 s"),
    ],
)
def test_without_the_human_it_holds_and_the_policy_does_not_go_on_by_itself(operator, reason):
    found = after(AT_TELEOP, operator)
    assert (found.source, found.reason, found.since, found.blending) == (HOLD, reason, 10.0, False)


def test_the_policy_goes_on_by_itself_only_where_a_parameter_says_so_and_it_was_engaged():
    config = replace(NO_BLEND, resume=True)
    found = after(AT_TELEOP, Operator(teleop=by_hand(9.4)), config=config)
    assert found.source == POLICY and found.reason.startswith("goes on by itself: the teleop command is 0.600 s old")
    assert after(replace(AT_TELEOP, engaged=False), Operator(), config=config).source == HOLD


# ---- engage and release ------------------------------------------------------------------------


@pytest.mark.parametrize("hand", EVERYWHERE)
def test_engaged_the_policy_is_in_command(hand):
    found = after(hand, Operator(requests=(ENGAGE,)))
    assert (found.source, found.engaged) == (POLICY, True)


def test_what_the_human_did_before_engaging_does_not_take_over_again_but_what_comes_after_does():
    driving = Operator(teleop=by_hand(9.9), requests=(ENGAGE,))
    found = after(AT_TELEOP, driving)
    assert found.source == POLICY
    found = after(found, Operator(teleop=by_hand(9.9)), 10.1)
    assert found.source == POLICY
    assert after(found, Operator(teleop=by_hand(10.15)), 10.2).source == TELEOP


def test_it_cannot_be_engaged_while_the_dead_mans_switch_is_pressed():
    pressed = Operator(deadman=9.9, requests=(ENGAGE,))
    assert after(AT_TELEOP, pressed) is AT_TELEOP
    assert refused(AT_TELEOP, ENGAGE, pressed) == "the dead man's switch is pressed: let go of it first"
    assert after(AT_TELEOP, pressed, config=replace(NO_BLEND, human_wins=False)).source == POLICY


@pytest.mark.parametrize("hand", [AT_POLICY, AT_OFF, AT_HOLD])
def test_released_nobody_is_in_command_or_the_human_who_drives(hand):
    found = after(hand, Operator(requests=(RELEASE,)))
    assert (found.source, found.reason, found.engaged) == (OFF, "released", False)
    assert after(hand, Operator(teleop=by_hand(9.9), requests=(RELEASE,))).source == TELEOP


def test_released_while_a_human_drives_the_human_goes_on_and_the_policy_has_no_say():
    found = after(AT_TELEOP, Operator(teleop=by_hand(9.9), requests=(RELEASE,)))
    assert found == replace(AT_TELEOP, engaged=False)


def test_requests_count_in_their_order():
    assert after(AT_OFF, Operator(requests=(ENGAGE, RELEASE))).source == OFF
    assert after(AT_OFF, Operator(requests=(RELEASE, ENGAGE))).source == POLICY
    assert after(AT_FAULT, Operator(requests=(REARM, ENGAGE))).source == POLICY


def test_a_request_that_is_none_is_refused_by_name():
    with pytest.raises(ValueError, match="request 'dance' is none of engage, release, e_stop, rearm"):
        Operator(requests=("dance",))


# ---- faults ------------------------------------------------------------------------------------

DANGERS = {
    "the e-stop is pressed": Operator(e_stop=True),
    "an e-stop was asked for": Operator(requests=(REARM, E_STOP)),
    "the e-stop is silent": Operator(e_stop_fault="the e-stop is silent"),
    "a teleop command has 3 numbers: expected 2": Operator(teleop=by_hand(9.9, (1.0, 2.0, 3.0))),
    "a teleop command is [nan, 0.0]: expected finite numbers": Operator(teleop=by_hand(9.9, (math.nan, 0.0))),
}


@pytest.mark.parametrize("hand", EVERYWHERE)
@pytest.mark.parametrize("reason", DANGERS)
def test_every_danger_is_a_fault_wherever_it_comes(hand, reason):
    found = after(hand, replace(DANGERS[reason], requests=(*DANGERS[reason].requests, ENGAGE)))
    assert (found.source, found.reason, found.engaged, found.blending) == (FAULT, reason, False, False)


@pytest.mark.parametrize("operator", [Operator(teleop=by_hand(9.9)), Operator(deadman=9.9)])
def test_a_robot_of_efforts_takes_no_teleop_and_says_so(operator):
    found = after(AT_POLICY, operator, size=None)
    assert found.source == FAULT and "driven by efforts" in found.reason


@pytest.mark.parametrize(
    "operator", [Operator(), Operator(requests=(ENGAGE, RELEASE)), Operator(teleop=by_hand(9.9), deadman=9.9)]
)
def test_a_fault_stays_with_its_first_reason(operator):
    assert after(AT_FAULT, operator) == AT_FAULT
    assert after(AT_FAULT, Operator(e_stop=True)) == AT_FAULT


def test_re_armed_nobody_is_in_command_until_somebody_does_something_new():
    found = after(AT_FAULT, Operator(requests=(REARM,), teleop=by_hand(9.9)))
    assert (found.source, found.reason, found.engaged) == (OFF, "re-armed", False)
    assert after(found, Operator(teleop=by_hand(9.9)), 10.1).source == OFF
    assert after(found, Operator(teleop=by_hand(10.05)), 10.1).source == TELEOP


def test_it_cannot_be_re_armed_while_the_e_stop_is_pressed_or_without_a_fault():
    pressed = Operator(e_stop=True, requests=(REARM,))
    assert after(AT_FAULT, pressed) is AT_FAULT
    assert refused(AT_FAULT, REARM, pressed) == "the e-stop is still pressed"
    assert after(AT_POLICY, Operator(requests=(REARM,))) is AT_POLICY
    assert refused(AT_POLICY, REARM) == "there is no fault to re-arm from"


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        (Operator(teleop=by_hand(9.9, (math.nan, 0.0))), "a teleop command is [nan, 0.0]: expected finite numbers"),
        (Operator(requests=(E_STOP,)), "an e-stop was asked for"),
        (Operator(e_stop_fault="the e-stop is silent"), "the e-stop is silent"),
    ],
)
def test_it_cannot_be_re_armed_while_what_comes_next_would_be_a_fault_again(operator, reason):
    assert refused(AT_FAULT, REARM, operator) == reason
    asked = replace(operator, requests=(*operator.requests, REARM))
    assert after(AT_FAULT, asked).source == FAULT


def test_in_a_fault_requests_are_refused_with_its_reason():
    for request in (ENGAGE, RELEASE):
        assert refused(AT_FAULT, request) == "in FAULT (an e-stop was asked for): re-arm first"
    assert refused(AT_FAULT, REARM) is None and refused(AT_POLICY, E_STOP) is None


# ---- not enabled -------------------------------------------------------------------------------


def test_not_enabled_nobody_is_in_command_and_enabled_again_it_is_as_before():
    hand = handoff.seen(AT_POLICY, Operator(enabled=False))
    assert (hand.source, hand.reason) == (OFF, "not enabled")
    assert handoff.seen(AT_POLICY, Operator()) is AT_POLICY
    assert handoff.seen(AT_FAULT, Operator(enabled=False)) is AT_FAULT


# ---- blending ----------------------------------------------------------------------------------


def test_a_change_of_source_is_blended_for_the_blend_time_from_its_first_tick_on():
    hand = after(AT_POLICY, Operator(teleop=by_hand(9.9)), config=PLAIN)
    assert hand.state == BLEND and hand.source == TELEOP
    shares = [handoff.share(hand, now, 0.1, PLAIN) for now in (10.0, 10.1, 10.2, 10.3)]
    assert shares == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    parts = [handoff.portion(hand, now, 0.1, PLAIN) for now in (10.0, 10.1, 10.2)]
    assert parts == pytest.approx([1 / 3, 1 / 2, 1.0])  # of what is left each time: evenly in all


def test_without_a_blend_time_nothing_is_blended():
    hand = after(AT_POLICY, Operator(teleop=by_hand(9.9)))
    assert hand.state == TELEOP and handoff.share(hand, 10.0, 0.1, NO_BLEND) == 1.0


@pytest.mark.parametrize(
    "now, there, blends", [(10.1, True, True), (10.2, True, False), (10.2, False, True), (11.8, False, False)]
)
def test_a_blend_ends_when_the_source_is_reached_and_at_the_latest_when_it_could_have_been(now, there, blends):
    hand = after(AT_POLICY, Operator(teleop=by_hand(9.9)), config=PLAIN)
    assert handoff.settle(hand, now, 0.1, there, PLAIN, swing=1.4).blending == blends


def test_a_clock_that_goes_back_neither_stops_a_blend_nor_shuts_the_human_out():
    hand = after(AT_OFF, Operator(requests=(ENGAGE,)), config=PLAIN)
    hand = after(hand, Operator(), 3.0, PLAIN)
    assert handoff.share(hand, 3.2, 0.1, PLAIN) == 1.0
    assert after(hand, Operator(teleop=by_hand(3.1)), 3.2).source == TELEOP


def test_a_clock_without_time_lets_nobody_drive_and_breaks_nothing():
    lost = after(AT_TELEOP, Operator(teleop=by_hand(9.9)), math.nan, PLAIN)
    assert lost.source == HOLD
    engaged = after(AT_OFF, Operator(requests=(ENGAGE,)), math.nan, PLAIN)
    assert handoff.share(engaged, 10.0, 0.1, PLAIN) == 1.0
    assert not handoff.settle(engaged, 10.0, 0.1, False, PLAIN, 1.0).blending
    assert after(engaged, Operator(teleop=by_hand(9.9)), 10.0).source == TELEOP


# ---- for any sequence --------------------------------------------------------------------------

times = st.floats(0.0, 0.6) | st.floats(-30.0, 30.0) | st.just(math.nan)
ages = st.floats(-0.2, 1.0) | st.just(math.nan)
commands = st.sampled_from([DRIVES, STANDS, DRIVES, DRIVES, (math.nan, 0.0), (1.0,)])
requests = st.lists(st.sampled_from([ENGAGE, ENGAGE, RELEASE, REARM, REARM, E_STOP]), max_size=2).map(tuple)
pressed = st.sampled_from([False] * 5 + [True])
inputs = st.tuples(times, st.none() | st.tuples(ages, commands), st.none() | ages, pressed, requests)
configs = st.builds(
    HandoffConfig,
    *[st.booleans()] * 5,
    st.sampled_from([0.2, 0.5]),
    st.sampled_from([0.0, 0.3]),
)


def operator_of(now: float, teleop, deadman, e_stop, asked) -> Operator:
    given_by_hand = None if teleop is None else Teleop(now - teleop[0], teleop[1])
    return Operator(-1, True, given_by_hand, None if deadman is None else now - deadman, e_stop, asked)


@given(configs, st.lists(inputs, max_size=30))
def test_faults_are_left_by_re_arming_only_and_the_policy_comes_only_when_asked(config, sequence):
    hand, now = handoff.begin(config), 0.0
    for passed, teleop, deadman, e_stop, asked in sequence:
        before, now = hand, (now if math.isfinite(now) else 0.0) + passed
        operator = operator_of(now, teleop, deadman, e_stop, asked)
        hand = after(hand, operator, now, config)
        assert hand.state in COMMANDS and hand.reason
        assert hand.source == FAULT or not (e_stop or E_STOP in asked)
        if before.source == FAULT and hand.source != FAULT:
            assert REARM in asked and not e_stop
        if hand.source == POLICY and before.source != POLICY:
            assert ENGAGE in asked or (config.resume and before.engaged and before.source == TELEOP)
        if hand.source == TELEOP:
            fresh = [age for age in (teleop and teleop[0], deadman) if age is not None and -0.1 <= age < 0.5 + 1e-6]
            assert fresh, "nobody drives without a human"


def test_what_the_status_says_of_an_operator_can_be_read_back():
    driven = Operator(3, False, Teleop(12.345678901234, (0.1, -1e-7)), 12.3, True, (ENGAGE, REARM))
    for operator in (Operator(), driven):
        assert Operator.read({"state": "TELEOP", **operator.said()}) == operator
    with pytest.raises(KeyError, match="e_stop_asked"):
        Operator.read({key: value for key, value in driven.said().items() if key != "e_stop_asked"})
