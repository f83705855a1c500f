"""One control tick: state -> observation -> free ways -> mode -> policy -> safety -> command and reason.

The simulator, the benchmarks and the robot all run this same tick. It knows nothing of ROS, never
raises for what comes in at run time, and whatever it is given, what it sends is finite and within
limits: where something is missing, stale or not finite it holds, and says why. A human who drives goes
through the same tick, and is held off from obstacles by the same rules.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddiffpg import handoff
from ddiffpg.actuation import Moment, actuation_of
from ddiffpg.arrival import Arrival
from ddiffpg.contract import Contract
from ddiffpg.decision import (
    ARRIVED,
    DRIVE,
    FAULT,
    HOLD,
    NO_WAY,
    OFF,
    POLICY,
    TELEOP,
    ControllerConfig,
    Decision,
    Operator,
    WayStatus,
)
from ddiffpg.handoff import Hand, HandoffConfig, Heard
from ddiffpg.intent import Intent, IntentTracker
from ddiffpg.known_states import UNSEEN, Watch
from ddiffpg.latency import Stopwatch
from ddiffpg.margins import WITHIN, MarginWatch
from ddiffpg.modes import Rules, Way, WayMap
from ddiffpg.observation import RobotState, missing_fields, observe, path_body, velocity_of
from ddiffpg.obstacles import Approach, Obstacles
from ddiffpg.policy import UNCONDITIONAL, Policy
from ddiffpg.replan import Last, Replanner, Strategy
from ddiffpg.safety import Braking, Command, Scene, age_problem

__all__ = ["Controller", "ControllerConfig", "Decision", "HandoffConfig", "Operator", "WayStatus"]


@dataclass(frozen=True, eq=False)
class _View:
    """What one tick saw: the robot's ``state`` and ``observation [O]``, ``position [D]`` and ``velocity [D]`` along
    the axes of the ways (m, m/s; NaN where the state does not say), the ways, and which of them may be taken."""

    state: RobotState
    observation: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    ways: tuple[Way, ...]
    free: frozenset[int]


@dataclass(frozen=True, eq=False)
class _Tick:
    """One tick at ``now`` (s), ``elapsed`` s after the last: the operator as heard, who is in command then."""

    now: float
    elapsed: float
    heard: Heard
    hand: Hand
    watch: Stopwatch

    @property
    def operator(self) -> Operator:
        return self.heard.operator


class Controller:
    """Drives by ``policy``, or as a human says. ``rng`` makes the policy's noise, ``clock`` (s) only times the stages.
    ``strategy`` makes what chooses the mode. ``hand`` is who is in command.

    Raises ContractError where the policy is none that this controller can stop or find ways for.
    """

    def __init__(
        self,
        policy: Policy,
        config: ControllerConfig,
        rng: np.random.Generator,
        clock: Callable[[], float] = time.perf_counter,
        rules: HandoffConfig | None = None,
        strategy: Callable[[Contract, ControllerConfig], Strategy] = Replanner.of,
    ) -> None:
        contract = policy.contract
        self.policy, self.config, self.rules = policy, config, rules or HandoffConfig()
        self.hand = handoff.begin(self.rules)
        self.radius = max(config.radius, contract.robot_radius)
        self._rng, self._clock = rng, clock
        self._actuation = actuation_of(contract, config)
        self._velocity_of = velocity_of(path_body(contract))
        names = [f.name for f in contract.observation]
        self._path_columns = [names.index(name) for name in contract.path]
        least = config.least_margin if self._actuation.leads_past else max(config.least_margin, config.stop_margin)
        room = Rules(self.radius, config.margin, least, config.tolerance, 2 * config.hysteresis)
        self._ways = WayMap(contract, room)
        self._replanner = strategy(contract, config)
        stop = self.radius + config.stop_margin
        firm = Braking(stop, config.max_acceleration, config.reaction_time, least_distance=stop)
        self._period = 1.0 / contract.rate_hz
        self._nothing = np.full(len(contract.action), math.nan)
        # The policy knows the walls of its training: it is only kept from running into them at full speed.
        late = min(config.reaction_time, self._period)
        self._braking = firm, Braking(self.radius, config.max_acceleration, late, config.wall_speed, stop)
        self._arrival = Arrival(self._ways, config.arrive_radius, contract.path_tolerance)
        known = contract.known_states
        self._watch, self._seen = Watch(known, config, self._path_columns, contract.path_tolerance), UNSEEN
        self._margins, self._outside = MarginWatch(contract.margins, config), WITHIN
        self._by_hand = IntentTracker(contract, self.rules.intent_confidence)
        self._intent: Intent | None = None
        self._last: float | None = None
        self._way_driven, self._moving = Last(), False

    def tick(self, now: float, state: RobotState | None, obstacles: Obstacles | None, command: Operator) -> Decision:
        """Decide what to send at ``now`` (s, the clock of all stamps).

        ``obstacles`` None means that nothing is known of any. Call it once every control period.
        """
        watch = Stopwatch(self._clock)
        elapsed, fault = self._advance(now)
        heard = self._hear(now, command)
        self.hand = handoff.step(self.hand, heard, self.rules)
        tick = _Tick(now, elapsed, heard, handoff.seen(self.hand, command), watch)
        self._seen, self._outside = UNSEEN, WITHIN
        fault = fault or self._input_fault(now, state, obstacles, command)
        if tick.hand.source == FAULT or fault or state is None:
            return self._hold(tick, fault or "no state")
        obstacles = obstacles and obstacles.of(len(self._path_columns))
        observation = observe(self.policy.contract, state)
        fault = self._state_fault(observation, state)
        watch.lap("observe")
        if fault:
            return self._hold(tick, fault)
        self._seen, self._outside = self._watch.look(now, observation), self._margins.look(now, now - state.stamp)
        view = self._look(now, observation, state, obstacles)
        watch.lap("ways")
        return self._decide(tick, view, obstacles)

    def trip(self, reason: str, now: float) -> None:
        """Stop for a ``reason``, until re-armed."""
        self.hand = handoff.trip(self.hand, reason, now)

    def stopped(self, reason: str, now: float) -> None:
        """The robot was told to stop without this controller, for a ``reason``: stays so until re-armed."""
        self.trip(reason, now)
        self._actuation.stopped()

    def refusal(self, request: str, now: float, command: Operator) -> str | None:
        """Why a request would not be met at ``now`` (s), or None."""
        return handoff.refusal(self.hand, request, self._hear(now, command), self.rules)

    def _hear(self, now: float, command: Operator) -> Heard:
        return handoff.hear(now, command, self.rules, self._actuation.teleop_size, self.config.future_tolerance)

    def _advance(self, now: float) -> tuple[float, str | None]:
        """Seconds since the last tick as far as the rates may count them, and what is wrong with the clock."""
        if not math.isfinite(now):
            return self._period, f"the clock says {now}"
        last, self._last = self._last, now
        if last is None:
            return self._period, None
        if now < last:
            self._replanner.forget_times()
            return self._period, f"the clock went back by {last - now:.3f} s"
        return min(now - last, 2 * self._period), None

    def _input_fault(
        self, now: float, state: RobotState | None, obstacles: Obstacles | None, command: Operator
    ) -> str | None:
        config, ids = self.config, self.policy.contract.mode_ids
        if command.mode != UNCONDITIONAL and command.mode not in ids:
            return f"mode {command.mode} is not in the policy; it has {list(ids)}"
        if state is None:
            return "no state of the robot yet"
        problem = age_problem(now, state.stamp, config.state_timeout, config.future_tolerance)
        if problem:
            return f"the robot's state {problem}"
        if obstacles is None:
            return "no obstacles received yet" if config.need_obstacles else None
        if len(obstacles.points) and obstacles.points.shape[1] != len(self._path_columns):
            return f"sensed points of shape {obstacles.points.shape} do not fit ways by {self.policy.contract.path}"
        problem = age_problem(now, obstacles.stamp, config.obstacle_timeout, config.future_tolerance)
        return f"what is known of obstacles {problem}" if problem else None

    def _state_fault(self, observation: np.ndarray, state: RobotState) -> str | None:
        bad = missing_fields(self.policy.contract, observation)
        return f"missing or not finite: {', '.join(bad)}" if bad else self._actuation.problem(state)

    def _look(self, now: float, observation: np.ndarray, state: RobotState, obstacles: Obstacles | None) -> _View:
        position = observation[self._path_columns].astype(float)
        ways = self._ways.look(position, obstacles, self.config.foresight)
        free = self._replanner.update(now, ways, self._way_driven)
        self._arrival.follow(self._replanner.present, ways)
        velocity = getattr(state, self._velocity_of)[: len(position)]
        return _View(state, observation, position, velocity, ways, free)

    def _decide(self, tick: _Tick, view: _View, obstacles: Obstacles | None) -> Decision:
        """What to do when everything that is needed is there."""
        state, mode, reason = self._choose(view, tick)
        doubt = next((seen for seen in (self._seen, self._outside) if seen.hold), None)
        if state == DRIVE and doubt is not None:
            return self._hold(tick, doubt.text)
        wanted = self._wanted(state, mode, view, tick)
        if state == DRIVE and not np.isfinite(wanted).all():
            return self._hold(tick, f"the policy gave {wanted.tolist()}")
        tick.watch.lap("policy")
        sent = self._send(state, wanted, tick, view, obstacles)
        self._way_driven = Last(state == DRIVE, state == DRIVE and self._actuation.held(sent, wanted))
        self._moving = state in (DRIVE, TELEOP)
        status = tuple(WayStatus(w.id, w.id in view.free, w.clearance, w.length) for w in view.ways)
        chosen = next((w for w in view.ways if w.id == mode), None)
        corridor = np.empty((0, len(view.position))) if chosen is None else self._ways.corridor(chosen, view.position)
        tick.watch.lap("safety")
        return Decision(
            tick.now,
            state,
            reason,
            mode,
            *_copies(sent, wanted),
            sent.limited_by,
            status,
            corridor,
            **self._said(tick),
        )

    def _wanted(self, state: str, mode: int | None, view: _View, tick: _Tick) -> np.ndarray:
        """What the policy or the human asks for, ``[A]``; NaN where neither is asked."""
        if state == DRIVE and mode is not None:
            return self._ask(view.observation, mode)
        if state != TELEOP:
            return self._nothing
        return np.array(tick.heard.human.wanted or np.zeros(len(self._nothing)), float)

    def _send(self, state: str, wanted: np.ndarray, tick: _Tick, view: _View, obstacles: Obstacles | None) -> Command:
        """The command, led over from the last one while command is handed over. Coming to rest needs none of that."""
        portion = handoff.portion(tick.hand, tick.now, tick.elapsed, self.rules) if tick.hand.blending else None
        moment = Moment(view.state, view.velocity, tick.elapsed, self._scenes(view, obstacles), portion)
        moves = state == DRIVE or (state == TELEOP and wanted.any())
        sent = self._actuation.drive(wanted, moment) if moves else self._actuation.rest(moment)
        there = not {"blend", "slew"} & set(sent.limited_by)
        self.hand = handoff.settle(self.hand, tick.now, tick.elapsed, there, self.rules, self._actuation.swing)
        return sent

    def _choose(self, view: _View, tick: _Tick) -> tuple[str, int | None, str]:
        """State, mode and reason."""
        hand, forced = tick.hand, tick.operator.mode
        if hand.source == TELEOP:
            self._by_hand.add(view.position)
            self._intent = self._by_hand.intent()
            return TELEOP, None, hand.reason
        if hand.source != POLICY:
            return hand.source, None, hand.reason
        if self._by_hand.begun:
            self._by_hand.go_on(view.position, view.velocity)
            self._intent = self._by_hand.intent()
            self._by_hand.forget()
            self._replanner.take_up(self._intent, view.free)
        present = self._replanner.present if forced == UNCONDITIONAL else forced
        if present is not None and self._at_end(present, view):
            return ARRIVED, present, f"at the end of mode {present}"
        choice = self._replanner.choose(view.ways, view.free, forced)
        if choice.mode is None:
            return NO_WAY, None, choice.reason
        if self._at_end(choice.mode, view):
            return ARRIVED, choice.mode, f"at the end of mode {choice.mode}"
        return DRIVE, choice.mode, choice.reason

    def _at_end(self, mode: int, view: _View) -> bool:
        return self._arrival.at_end(mode, view.position, view.velocity)

    def _ask(self, observation: np.ndarray, mode: int) -> np.ndarray:
        """The policy's action ``[A]``."""
        noise = self.policy.draw_noise(self._rng, self.config.noise_scale)
        return self.policy.act(observation, mode, noise).astype(float)

    def _scenes(self, view: _View, obstacles: Obstacles | None) -> tuple[Scene, ...]:
        """What may be approached, and how: obstacles firmly not, what stood there in training softly."""
        if obstacles is None:
            return ()
        firm, soft = self._braking
        near, seen = obstacles.approach_points(view.position, self._horizon(view))
        new = self._ways.room.unexplained(obstacles.points[near], view.position)
        return (
            (obstacles.approach_shapes(view.position), firm),
            (Approach(seen.distance[new], seen.direction[new]), firm),
            (Approach(seen.distance[~new], seen.direction[~new]), soft),
        )

    def _horizon(self, view: _View) -> float:
        """Metres: nothing farther off than this can be approached too fast."""
        firm, top = self._braking[0], self._actuation.top_speed(view.velocity)
        return firm.stop_distance + top * firm.reaction_time + top * top / (2 * firm.deceleration)

    def _hold(self, tick: _Tick, reason: str) -> Decision:
        """Stop at the emergency rate: what is needed to do better is not there."""
        sent = self._actuation.stop(tick.elapsed)
        if self.rules.latch_holds and self._moving and tick.hand.source in (POLICY, TELEOP):
            self.trip(reason, tick.now)
            tick = replace(tick, hand=self.hand)
        self._way_driven, self._moving = Last(), False
        ways = tuple(WayStatus(i, False, math.nan, math.nan) for i in self.policy.contract.mode_ids)
        tick.watch.lap("safety")
        return Decision(
            tick.now,
            *_standing(tick.hand, reason),
            self._replanner.present if tick.hand.source == POLICY else None,
            *_copies(sent, self._nothing),
            sent.limited_by,
            ways,
            **self._said(tick),
        )

    def _said(self, tick: _Tick) -> dict[str, Any]:
        """What a decision says of who is in command, and how long its stages took."""
        return {
            "stage_seconds": tick.watch.seconds,
            "in_command": tick.hand.state,
            "source": tick.hand.source,
            "command_reason": tick.hand.reason,
            "blend": handoff.share(tick.hand, tick.now, tick.elapsed, self.rules),
            "intent": self._intent,
            "unknown": self._seen.distance,
            "warnings": tuple(filter(None, (self._seen.text, self._outside.text))),
        }


def _standing(hand: Hand, reason: str) -> tuple[str, str]:
    """State and reason of a robot that must stop for a ``reason``."""
    if hand.source == FAULT:
        return FAULT, hand.reason
    return (OFF, f"{hand.reason} ({reason})") if hand.source == OFF else (HOLD, reason)


def _copies(sent: Command, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Action, what was wanted, and what is sent, for a decision: whoever gets it may change them."""
    return sent.action.copy(), wanted.copy(), None if sent.sent is None else sent.sent.copy()
