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
from ddiffpg.observation import RobotState, missing_fields, observe
from ddiffpg.obstacles import Approach, Obstacles
from ddiffpg.policy import UNCONDITIONAL, Policy
from ddiffpg.replan import Chances, Patience, Replanner
from ddiffpg.safety import (
    Braking,
    Command,
    Limits,
    Scene,
    age_problem,
    emergency_stop,
    planar_fields,
    restrain,
)

__all__ = ["Controller", "ControllerConfig", "Decision", "Operator", "WayStatus"]

AT_REST = 0.05  # m/s
HELD_SHARE = 0.2  # held off by an obstacle: slower than this share of what the policy wants


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
    """What one tick saw: ``observation [O]``, ``position [2]`` and ``speed`` in the plane (m, m/s; NaN where the
    state does not say), the ways, and which of them may be taken."""

    observation: np.ndarray
    position: np.ndarray
    speed: float
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
        self._limits = Limits(
            np.array([f.low for f in contract.action]),
            np.array([f.high for f in contract.action]),
            planar_fields(contract),
            config.max_speed,
            config.max_acceleration,
            config.emergency_deceleration,
        )
        names = [f.name for f in contract.observation]
        self._path_columns = [names.index(name) for name in contract.path]
        self._ways = WayMap(contract, Rules(self.radius, config.margin, config.tolerance, 2 * config.hysteresis))
        patience = Patience(config.hysteresis, config.dwell, config.stuck_after, config.retry_after)
        self._replanner = Replanner({m.id: Chances(m.success, m.returns) for m in contract.modes}, patience)
        firm = Braking(self.radius + config.stop_margin, config.max_acceleration, config.reaction_time)
        self._period = 1.0 / contract.rate_hz
        # The policy knows the walls of its training: it is only kept from running into them at full speed.
        late = min(config.reaction_time, self._period)
        self._braking = firm, Braking(self.radius, config.max_acceleration, late, config.wall_speed)
        self._last: float | None = None
        self._sent = np.zeros(len(contract.action))
        self._held = False
        # Nothing farther off than this can ever be approached too fast.
        top = float(np.linalg.norm(np.maximum(-self._limits.low, self._limits.high)))
        self._horizon = firm.stop_distance + top * firm.reaction_time + top * top / (2 * firm.deceleration)

    def tick(self, now: float, state: RobotState | None, obstacles: Obstacles | None, command: Operator) -> Decision:
        """Decide what to send at ``now`` (s, the clock of all stamps).

        ``obstacles`` None means that nothing is known of any. Call it once every control period.
        """
        watch = Stopwatch(self._clock)
        elapsed, fault = self._advance(now)
        fault = fault or self._input_fault(now, state, obstacles, command)
        if fault or state is None:
            return self._hold(now, command, fault or "no state", elapsed, watch)
        observation = observe(self.policy.contract, state)
        bad = missing_fields(self.policy.contract, observation)
        watch.lap("observe")
        if bad:
            return self._hold(now, command, f"missing or not finite: {', '.join(bad)}", elapsed, watch)
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
        problem = age_problem(now, obstacles.stamp, config.obstacle_timeout, config.future_tolerance)
        return f"what is known of obstacles {problem}" if problem else None

    def _look(self, now: float, observation: np.ndarray, state: RobotState, obstacles: Obstacles | None) -> _View:
        position = observation[self._path_columns].astype(float)
        ways = self._ways.look(position, obstacles)
        free = self._replanner.update(now, ways, self._held)
        return _View(observation, position, math.hypot(*state.linear_velocity[:2]), ways, free)

    def _decide(
        self, now: float, view: _View, obstacles: Obstacles | None, command: Operator, elapsed: float, watch: Stopwatch
    ) -> Decision:
        """What to do when everything that is needed is there."""
        wanted = np.full(len(self._sent), math.nan)
        state, mode, reason = self._choose(view, command)
        if state == DRIVE and mode is not None:
            wanted = self._ask(view.observation, mode)
            if not np.isfinite(wanted).all():
                return self._hold(now, command, f"the policy gave {wanted.tolist()}", elapsed, watch)
        watch.lap("policy")
        target = wanted if state == DRIVE else np.zeros(len(wanted))
        sent = restrain(target, self._sent, elapsed, self._limits, self._scenes(view.position, obstacles))
        self._held = state == DRIVE and self._is_held(sent, wanted)
        status = tuple(WayStatus(w.id, w.id in view.free, w.clearance, w.length) for w in view.ways)
        chosen = next((w for w in view.ways if w.id == mode), None)
        corridor = np.empty((0, 2)) if chosen is None else self._ways.corridor(chosen, view.position)
        watch.lap("safety")
        self._sent = sent.action
        return Decision(
            now, state, reason, mode, sent.action.copy(), wanted, sent.limited_by, status, corridor, watch.seconds
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
        if distance <= self.config.arrive_radius:
            return past >= 0.0 or view.speed <= AT_REST
        return past >= self.config.arrive_radius and distance <= self.policy.contract.path_tolerance

    def _ask(self, observation: np.ndarray, mode: int) -> np.ndarray:
        """The policy's action ``[A]``."""
        size, scale = self.policy.contract.noise_dim, self.config.noise_scale
        noise = scale * self._rng.standard_normal(size) if scale > 0 else np.zeros(size)
        return self.policy.act(observation, mode, noise.astype(np.float32)).astype(float)

    def _scenes(self, position: np.ndarray, obstacles: Obstacles | None) -> tuple[Scene, ...]:
        """What may be approached, and how: obstacles firmly not, what stood there in training softly."""
        if obstacles is None:
            return ()
        firm, soft = self._braking
        near, seen = obstacles.approach_points(position, self._horizon)
        new = self._ways.room.unexplained(obstacles.points[near], position)
        return (
            (obstacles.approach_shapes(position), firm),
            (Approach(seen.distance[new], seen.direction[new]), firm),
            (Approach(seen.distance[~new], seen.direction[~new]), soft),
        )

    def _is_held(self, sent: Command, wanted: np.ndarray) -> bool:
        planar = list(self._limits.planar)
        speed, wish = (float(np.linalg.norm(v[planar])) for v in (sent.action, wanted))
        return "approach" in sent.limited_by and wish > AT_REST and speed < HELD_SHARE * wish

    def _hold(self, now: float, command: Operator, reason: str, elapsed: float, watch: Stopwatch) -> Decision:
        """Stop at the emergency rate: what is needed to do better is not there."""
        sent = emergency_stop(self._sent, elapsed, self._limits)
        self._sent, self._held = sent.action, False
        ways = tuple(WayStatus(i, False, math.nan, math.nan) for i in self.policy.contract.mode_ids)
        watch.lap("safety")
        return Decision(
            now,
            HOLD if command.enabled else OFF,
            reason if command.enabled else f"not enabled ({reason})",
            self._replanner.present if command.enabled else None,
            sent.action.copy(),
            np.full(len(self._sent), math.nan),
            sent.limited_by,
            ways,
            stage_seconds=watch.seconds,
        )
