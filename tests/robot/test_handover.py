"""The control tick with a human: taking over, giving back, losing the human, stops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddiffpg.controller import Controller, ControllerConfig, HandoffConfig, Operator
from ddiffpg.decision import E_STOP, ENGAGE, FAULT, REARM, RELEASE, Teleop
from ddiffpg.handoff import BLEND
from ddiffpg.obstacles import Box, Obstacles
from ddiffpg.policy import Policy
from tests.robot.controllers import start_driving, state_at
from tests.robot.joint_policies import arm_contract, write_pattern
from tests.robot.point_robot import PointRobot
from tests.robot.test_actuation import ARM_JOINTS, LEGS
from tests.robot.test_actuation import state as arm_state

TINY = 1e-9


def make(policies, world="v1", config=None, **rules) -> Controller:
    rng = np.random.default_rng(0)
    return Controller(policies[world], config or ControllerConfig(), rng, rules=HandoffConfig(**rules))


class Loop:
    """A controller and a point robot in closed loop, and a human beside them."""

    def __init__(self, controller: Controller, at=(0.0, 0.0)) -> None:
        self.controller, self.robot = controller, PointRobot(np.array(at, float))
        self.decisions: list = []
        self.shapes: tuple = ()

    def tick(self, by_hand=None, *requests: str, **operator):
        now = self.robot.time
        teleop = None if by_hand is None else Teleop(now, tuple(map(float, by_hand)))
        wish = Operator(teleop=teleop, requests=requests, **operator)
        decision = self.controller.tick(now, self.robot.state(), Obstacles(now, self.shapes), wish)
        self.decisions.append(decision)
        self.robot.step(decision.action)
        return decision

    def ticks(self, count: int, by_hand=None, **operator):
        return [self.tick(by_hand, **operator) for _ in range(count)]

    def until(self, state: str, limit: int = 400):
        while self.tick().state != state:
            limit -= 1
            assert limit, f"never {state}"
        return self.decisions[-1]

    def steps(self) -> np.ndarray:
        """How far each command is from the one before, ``[T]`` in m/s."""
        sent = np.array([np.zeros(2), *(d.action for d in self.decisions)])
        return np.linalg.norm(np.diff(sent, axis=0), axis=1)


# ---- taking over -------------------------------------------------------------------------------


def test_a_human_is_in_command_in_the_tick_of_the_command_and_is_led_over_to(policies):
    loop = Loop(make(policies))
    loop.ticks(8)
    assert loop.decisions[-1].in_command == "POLICY"
    before = loop.decisions[-1].action
    first = loop.tick((0.0, -before[1] / 2))
    assert (first.in_command, first.source, first.state, first.mode) == (BLEND, "TELEOP", "TELEOP", None)
    assert first.reason == first.command_reason == "a teleop command came"
    assert first.blend == pytest.approx(1 / 3)
    assert 0 < np.linalg.norm(first.action - before) <= 0.2 + TINY
    rest = loop.ticks(12, (0.0, -0.4))
    assert rest[-1].in_command == "TELEOP" and rest[-1].blend == 1.0
    np.testing.assert_allclose(rest[-1].action, [0.0, -0.4])
    np.testing.assert_allclose(rest[-1].wanted, [0.0, -0.4])


def test_no_step_of_a_hand_over_is_above_the_limit_of_transitions(policies):
    loop = Loop(make(policies))
    loop.ticks(8)
    loop.ticks(20, (0.9, 0.0))
    loop.tick(None, ENGAGE)
    loop.ticks(20)
    steps = loop.steps()
    blended = np.array([d.in_command == BLEND for d in loop.decisions])
    assert blended.sum() > 5 and steps[blended].max() <= 0.2 + TINY
    assert steps.max() <= 0.4 + TINY


def test_without_a_blend_time_the_plain_rate_counts(policies):
    loop = Loop(make(policies, blend_time=0.0))
    loop.ticks(8)
    first = loop.tick((0.9, 0.0))
    assert first.in_command == "TELEOP" and loop.steps()[-1] == pytest.approx(0.4)


def test_the_dead_mans_switch_alone_stops_the_robot_at_the_plain_rate(policies):
    loop = Loop(make(policies))
    loop.ticks(8)
    decision = loop.tick(deadman=loop.robot.time)
    assert decision.state == "TELEOP" and loop.steps()[-1] == pytest.approx(0.4)
    loop.tick(deadman=loop.robot.time)
    assert not loop.tick(deadman=loop.robot.time).action.any()


def test_a_human_is_held_off_from_obstacles_as_the_policy_is(policies):
    loop = Loop(make(policies, engaged=False), at=(-2.0, 0.8))
    loop.shapes = (Box((-2.0, 0.2), (0.3, 0.2)),)
    loop.ticks(60, (0.0, -1.0))
    assert "approach" in loop.decisions[-1].limited_by
    assert 0.5 < loop.robot.position[1] < 0.65  # the box ends at 0.4, the robot has 0.1


def test_held_off_by_an_obstacle_the_hand_over_ends_all_the_same(policies):
    """0.3 s of blending: then it is the obstacle, and not the transition, that keeps the command from what is asked."""
    loop = Loop(make(policies, engaged=False), at=(-2.0, 0.56))
    loop.shapes = (Box((-2.0, 0.2), (0.3, 0.2)),)
    said = [(d.in_command, d.limited_by) for d in loop.ticks(5, (0.0, -1.0))]
    assert [who for who, _ in said[:2]] == [BLEND, BLEND] and said[-1] == ("TELEOP", ("approach",))


def test_what_a_human_asks_too_much_gets_its_limits(policies):
    loop = Loop(make(policies))
    loop.ticks(25, (5.0, -5.0))
    np.testing.assert_allclose(loop.decisions[-1].action, [1.0, -1.0])
    assert "limits" in loop.decisions[-1].limited_by


# ---- losing the human --------------------------------------------------------------------------


def test_a_human_who_is_lost_is_a_stop_and_the_policy_stays_out(policies):
    loop = Loop(make(policies))
    loop.ticks(10, (0.0, 0.5))
    stale = Teleop(loop.robot.time - 0.1, (0.0, 0.5))
    states = []
    for _ in range(20):
        now = loop.robot.time
        decision = loop.controller.tick(now, loop.robot.state(), Obstacles(now), Operator(teleop=stale))
        loop.robot.step(decision.action)
        states.append(decision.state)
    assert states[:4] == ["TELEOP"] * 4 and states[5:] == ["HOLD"] * 15
    assert (decision.in_command, decision.source, decision.mode) == ("HOLD", "HOLD", None)
    assert "the teleop command is" in decision.reason and not decision.action.any()


def test_where_it_shall_the_policy_goes_on_when_the_human_lets_go(policies):
    loop = Loop(make(policies, resume=True))
    loop.ticks(10, (0.0, 0.5))
    decision = loop.tick()
    assert decision.source == "POLICY" and decision.in_command == BLEND
    assert decision.command_reason.startswith("goes on by itself")
    assert loop.until("ARRIVED")


def test_stale_odometry_holds_a_human_too_and_lets_go_on(policies):
    loop = Loop(make(policies))
    loop.ticks(5, (0.0, 0.5))
    now = loop.robot.time
    decision = loop.controller.tick(now, state_at(now=now - 1.0), Obstacles(now), Operator(teleop=Teleop(now, (0, 1))))
    assert (decision.state, decision.source, decision.mode) == ("HOLD", "TELEOP", None)
    assert loop.tick((0.0, 0.5)).state == "TELEOP"


# ---- giving back -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode, y", [(0, -1.0), (1, 1.0)])
def test_the_policy_goes_on_in_the_mode_that_the_human_began(policies, mode, y):
    loop = Loop(make(policies, engaged=False))
    loop.ticks(10, (0.0, 0.7 * y))
    assert loop.decisions[-1].intent.mode == mode
    decision = loop.tick(None, ENGAGE)
    assert (decision.state, decision.mode) == ("DRIVE", mode)
    assert decision.reason.startswith(f"mode {mode} is still free; mode {mode} was begun by hand (confidence 0.9")
    assert decision.command_reason == "engaged"
    assert loop.until("ARRIVED").mode == mode


def test_after_a_stop_in_between_it_still_knows_what_the_human_began(policies):
    loop = Loop(make(policies, engaged=False))
    loop.ticks(10, (0.0, 0.7))
    assert {d.state for d in loop.ticks(10)} == {"HOLD"}
    assert loop.tick(None, ENGAGE).mode == 1


def test_a_mode_that_is_not_free_is_not_taken_up(policies):
    loop = Loop(make(policies, engaged=False))
    loop.shapes = (Box((-1.0, 1.0), (0.2, 0.5)),)
    loop.ticks(8, (0.0, 0.7))
    decision = loop.tick(None, ENGAGE)
    assert decision.mode == 0 and "mode 0 is the best free way" in decision.reason
    assert "mode 1 was begun by hand" in decision.reason and decision.reason.endswith("and is not free")


def test_a_forced_mode_wins(policies):
    loop = Loop(make(policies, engaged=False))
    loop.ticks(8, (0.0, 0.7))
    decision = loop.tick(None, ENGAGE, mode=0)
    assert (decision.mode, decision.reason) == (0, "mode 0 is asked for")


def test_where_ways_begin_alike_it_takes_the_best_free_one_and_says_so(policies):
    loop = Loop(make(policies, "v4", engaged=False))
    loop.ticks(12, (0.0, -0.7))
    decision = loop.tick(None, ENGAGE)
    assert decision.mode in (0, 1) and "by hand, modes 0 and 1 begin alike (confidence 0." in decision.reason


def test_a_nudge_leaves_the_mode_that_drove(policies):
    loop = Loop(make(policies))
    loop.ticks(15)
    before = loop.decisions[-1].mode
    loop.ticks(2, (0.3, 0.0))
    decision = loop.tick(None, ENGAGE)
    assert decision.mode == before and "too little was driven by hand" in decision.reason


def test_who_takes_over_from_one_mode_and_begins_another_gets_the_other(policies):
    loop = Loop(make(policies))
    loop.ticks(6, mode=0)
    assert loop.decisions[-1].mode == 0 and loop.robot.position[1] < -0.2
    loop.ticks(25, (0.0, 0.6))
    decision = loop.tick(None, ENGAGE)
    assert decision.mode == 1 and loop.until("ARRIVED").mode == 1


def test_released_it_stands_and_is_off(policies):
    loop = Loop(make(policies))
    loop.ticks(8)
    decision = loop.tick(None, RELEASE)
    assert (decision.state, decision.reason) == ("OFF", "released")
    loop.ticks(3)
    assert not loop.decisions[-1].action.any()
    assert loop.tick(None, ENGAGE).state == "DRIVE"


# ---- faults ------------------------------------------------------------------------------------


def test_an_e_stop_stops_at_the_emergency_rate_and_stays(policies):
    controller = make(policies)
    start_driving(controller)
    decision = controller.tick(0.5, state_at(now=0.5), Obstacles(0.5), Operator(e_stop=True))
    assert (decision.state, decision.in_command, decision.reason) == (FAULT, FAULT, "the e-stop is pressed")
    assert not decision.action.any() and decision.mode is None
    for now, operator in [
        (0.6, Operator()),
        (0.7, Operator(requests=(ENGAGE,))),
        (0.8, Operator(teleop=Teleop(0.8, (1.0, 0.0)))),
        (0.9, Operator(requests=(REARM,), e_stop=True)),
    ]:
        decision = controller.tick(now, state_at(now=now), Obstacles(now), operator)
        assert decision.state == FAULT and not decision.action.any()
    decision = controller.tick(1.0, state_at(now=1.0), Obstacles(1.0), Operator(requests=(REARM,)))
    assert (decision.state, decision.reason) == ("OFF", "re-armed")
    assert controller.tick(1.1, state_at(now=1.1), Obstacles(1.1), Operator(requests=(ENGAGE,))).state == "DRIVE"


def test_a_stop_works_without_a_state_and_without_a_clock(policies):
    controller = make(policies)
    start_driving(controller)
    decision = controller.tick(math.nan, None, None, Operator(requests=(E_STOP,)))
    assert decision.state == FAULT and not decision.action.any()


def test_what_it_holds_for_is_a_fault_where_a_parameter_says_so(policies):
    controller = make(policies, latch_holds=True)
    assert controller.tick(0.0, None, None, Operator()).state == "HOLD"  # it did not drive
    start_driving(controller, 0.1)
    decision = controller.tick(0.6, None, None, Operator())
    assert (decision.state, decision.reason) == (FAULT, "no state of the robot yet")
    assert controller.tick(0.7, state_at(now=0.7), Obstacles(0.7), Operator()).state == FAULT


def test_a_fault_of_before_can_be_carried_over(policies):
    controller = make(policies)
    controller.trip("an e-stop was asked for", 0.0)
    assert controller.tick(0.0, state_at(), None, Operator()).state == FAULT
    assert controller.refusal(ENGAGE, 0.0, Operator()) == "in FAULT (an e-stop was asked for): re-arm first"


# ---- joints ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arm_policy(tmp_path_factory):
    rows = {0: np.array([0.02, 0.01]), 1: np.array([-0.02, 0.01])}
    return Policy.load(write_pattern(tmp_path_factory.mktemp("arm") / "arm.onnx", arm_contract(), rows))


class ArmLoop:
    """An arm that is where it was sent; its end effector stands at the start of its ways."""

    def __init__(self, policy: Policy, **rules) -> None:
        self.controller = Controller(policy, ControllerConfig(), np.random.default_rng(0), rules=HandoffConfig(**rules))
        self.now, self.positions = 0.0, np.array([0.0, 0.0])
        self.sent: list[np.ndarray] = [self.positions]

    def tick(self, by_hand=None, *requests: str, mode: int = 0):
        self.now += 0.04
        joints = arm_state(self.positions).joints
        state = type(state_at())(
            self.now, joints=joints, end_effector_position=[0.3, 0.0, 0.5], end_effector_velocity=[0.0] * 3
        )
        teleop = None if by_hand is None else Teleop(self.now, by_hand)
        decision = self.controller.tick(self.now, state, None, Operator(mode, teleop=teleop, requests=requests))
        self.positions = decision.sent
        self.sent.append(decision.sent)
        return decision


def test_an_arm_is_driven_by_steps_of_its_joints_and_led_over(arm_policy):
    loop = ArmLoop(arm_policy)
    for _ in range(5):
        assert loop.tick().source == "POLICY"
    for _ in range(20):
        decision = loop.tick((0.0, -0.03))
    assert (decision.state, decision.in_command) == ("TELEOP", "TELEOP")
    np.testing.assert_allclose(decision.action, [0.0, -0.03], atol=1e-9)
    loop.tick(None, ENGAGE)
    for _ in range(20):
        decision = loop.tick()
    np.testing.assert_allclose(decision.action, [0.02, 0.01], atol=1e-6)
    paces = np.diff(np.array(loop.sent), axis=0)[5:] / 0.04
    assert np.abs(np.diff(paces, axis=0)).max() <= 10.0 * 0.04 + 1e-6


def test_an_arm_stays_where_it_was_sent_when_the_human_is_lost(arm_policy):
    loop = ArmLoop(arm_policy, engaged=False)
    for _ in range(10):
        loop.tick((0.03, 0.0))
    before = loop.sent[-1]
    decision = loop.tick()
    assert decision.state == "HOLD" and np.array_equal(decision.sent, before)
    assert set(ARM_JOINTS) == set(arm_state().joints)


def test_efforts_are_led_over_when_the_policy_is_engaged_and_are_none_by_hand(tmp_path):
    push = {0: np.array([20.0, -20.0]), 1: np.array([20.0, -20.0])}
    policy = Policy.load(write_pattern(tmp_path / "legs.onnx", LEGS, push))
    controller = Controller(policy, ControllerConfig(), np.random.default_rng(0), rules=HandoffConfig(engaged=False))
    assert controller.tick(0.0, state_at(), None, Operator()).state == "OFF"
    shares = []
    for i in range(1, 5):
        asked = (ENGAGE,) if i == 1 else ()
        shares.append(controller.tick(0.1 * i, state_at(now=0.1 * i), None, Operator(requests=asked)).sent[0] / 20)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    teleop = Teleop(0.5, (1.0, 1.0))
    decision = controller.tick(0.5, state_at(now=0.5), None, Operator(teleop=teleop))
    assert decision.state == FAULT and "efforts, which nobody can give by hand" in decision.reason
    assert not decision.sent.any()
