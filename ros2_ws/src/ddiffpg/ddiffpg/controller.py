"""One control tick: state -> observation -> free ways -> mode -> policy -> safety -> command and reason.

The simulator, the benchmarks and the robot all run this same tick. It knows nothing of ROS, never
raises for what comes in at run time, and whatever it is given, what it sends is finite and within
limits: where something is missing, stale or not finite it holds, and says why.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ddiffpg.actuation import AT_REST, Moment, actuation_of
from ddiffpg.decision import (
    ARRIVED,
    DRIVE,
    HOLD,
    NO_WAY,
    OFF,
    ControllerConfig,
    Decision,
    Operator,
    WayStatus,
)
from ddiffpg.modes import Rules, Way, WayMap
from ddiffpg.observation import RobotState, missing_fields, observe, path_body, velocity_of
from ddiffpg.obstacles import Approach, Obstacles
from ddiffpg.policy import UNCONDITIONAL, Policy
from ddiffpg.replan import Chances, Patience, Replanner
from ddiffpg.safety import Braking, Command, Scene, age_problem

__all__ = ["Controller", "ControllerConfig", "Decision", "Operator", "WayStatus"]


class Stopwatch:
    """Seconds that each stage of a tick took; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = self._clock()
        self.seconds[stage] = now - self._last
        self._last = now


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


class Controller:
    """Drives by ``policy``. ``rng`` makes the policy's noise, ``clock`` (s) only times the stages.

    Raises ContractError where the policy is none that this controller can stop or find ways for.
    """

    def __init__(
        self,
        policy: Policy,
        config: ControllerConfig,
        rng: np.random.Generator,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        contract = policy.contract
        self.policy, self.config = policy, config
        self.radius = max(config.radius, contract.robot_radius)
        self._rng, self._clock = rng, clock
        self._actuation = actuation_of(contract, config)
        self._velocity_of = velocity_of(path_body(contract))
        names = [f.name for f in contract.observation]
        self._path_columns = [names.index(name) for name in contract.path]
        self._ways = WayMap(contract, Rules(self.radius, config.margin, config.tolerance, 2 * config.hysteresis))
        patience = Patience(config.hysteresis, config.dwell, config.stuck_after, config.retry_after)
        self._replanner = Replanner({m.id: Chances(m.success, m.returns) for m in contract.modes}, patience)
        firm = Braking(self.radius + config.stop_margin, config.max_acceleration, config.reaction_time)
        self._period = 1.0 / contract.rate_hz
        self._nothing = np.full(len(contract.action), math.nan)
        # The policy knows the walls of its training: it is only kept from running into them at full speed.
        late = min(config.reaction_time, self._period)
        self._braking = firm, Braking(self.radius, config.max_acceleration, late, config.wall_speed)
        scale = self._ways.roadmap.scale  # small ways end in a small place; of large ones one may be far beside the end
        self._near, self._past = config.arrive_radius * min(1.0, scale), config.arrive_radius * scale
        self._last: float | None = None
        self._held = False

    def tick(self, now: float, state: RobotState | None, obstacles: Obstacles | None, command: Operator) -> Decision:
        """Decide what to send at ``now`` (s, the clock of all stamps).

        ``obstacles`` None means that nothing is known of any. Call it once every control period.
        """
        watch = Stopwatch(self._clock)
        elapsed, fault = self._advance(now)
        fault = fault or self._input_fault(now, state, obstacles, command)
        if fault or state is None:
            return self._hold(now, command, fault or "no state", elapsed, watch)
        obstacles = obstacles and obstacles.of(len(self._path_columns))
        observation = observe(self.policy.contract, state)
        fault = self._state_fault(observation, state)
        watch.lap("observe")
        if fault:
            return self._hold(now, command, fault, elapsed, watch)
        view = self._look(now, observation, state, obstacles)
        watch.lap("ways")
        return self._decide(now, view, obstacles, command, elapsed, watch)

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
        ways = self._ways.look(position, obstacles)
        free = self._replanner.update(now, ways, self._held)
        velocity = getattr(state, self._velocity_of)[: len(position)]
        return _View(state, observation, position, velocity, ways, free)

    def _decide(
        self, now: float, view: _View, obstacles: Obstacles | None, command: Operator, elapsed: float, watch: Stopwatch
    ) -> Decision:
        """What to do when everything that is needed is there."""
        wanted = self._nothing
        state, mode, reason = self._choose(view, command)
        if state == DRIVE and mode is not None:
            wanted = self._ask(view.observation, mode)
            if not np.isfinite(wanted).all():
                return self._hold(now, command, f"the policy gave {wanted.tolist()}", elapsed, watch)
        watch.lap("policy")
        moment = Moment(view.state, view.velocity, elapsed, self._scenes(view, obstacles))
        sent = self._actuation.drive(wanted, moment) if state == DRIVE else self._actuation.rest(moment)
        self._held = state == DRIVE and self._actuation.held(sent, wanted)
        status = tuple(WayStatus(w.id, w.id in view.free, w.clearance, w.length) for w in view.ways)
        chosen = next((w for w in view.ways if w.id == mode), None)
        corridor = np.empty((0, len(view.position))) if chosen is None else self._ways.corridor(chosen, view.position)
        watch.lap("safety")
        return Decision(
            now, state, reason, mode, *_copies(sent, wanted), sent.limited_by, status, corridor, watch.seconds
        )

    def _choose(self, view: _View, command: Operator) -> tuple[str, int | None, str]:
        """State, mode and reason."""
        present = self._replanner.present if command.mode == UNCONDITIONAL else command.mode
        if not command.enabled:
            return OFF, None, "not enabled"
        if present is not None and self._arrived(present, view):
            return ARRIVED, present, f"at the end of mode {present}"
        choice = self._replanner.choose(view.ways, view.free, command.mode)
        if choice.mode is None:
            return NO_WAY, None, choice.reason
        if self._arrived(choice.mode, view):
            return ARRIVED, choice.mode, f"at the end of mode {choice.mode}"
        return DRIVE, choice.mode, choice.reason

    def _arrived(self, mode: int, view: _View) -> bool:
        """Near the mode's end and past it, or near and at rest, or well past it beside the path.

        Not as soon as it is near: a goal may be only just reached at the end of the path.
        """
        distance, past = self._ways.beyond_end(mode, view.position)
        if distance <= self._near:
            return past >= 0.0 or math.hypot(*view.velocity) <= AT_REST
        return past >= self._past and distance <= self.policy.contract.path_tolerance

    def _ask(self, observation: np.ndarray, mode: int) -> np.ndarray:
        """The policy's action ``[A]``."""
        size, scale = self.policy.contract.noise_dim, self.config.noise_scale
        noise = scale * self._rng.standard_normal(size) if scale > 0 else np.zeros(size)
        return self.policy.act(observation, mode, noise.astype(np.float32)).astype(float)

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

    def _hold(self, now: float, command: Operator, reason: str, elapsed: float, watch: Stopwatch) -> Decision:
        """Stop at the emergency rate: what is needed to do better is not there."""
        sent = self._actuation.stop(elapsed)
        self._held = False
        ways = tuple(WayStatus(i, False, math.nan, math.nan) for i in self.policy.contract.mode_ids)
        watch.lap("safety")
        return Decision(
            now,
            HOLD if command.enabled else OFF,
            reason if command.enabled else f"not enabled ({reason})",
            self._replanner.present if command.enabled else None,
            *_copies(sent, self._nothing),
            sent.limited_by,
            ways,
            stage_seconds=watch.seconds,
        )


def _copies(sent: Command, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Action, what was wanted, and what is sent, for a decision: whoever gets it may change them."""
    return sent.action.copy(), wanted.copy(), None if sent.sent is None else sent.sent.copy()
