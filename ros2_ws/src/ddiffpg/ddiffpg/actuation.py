"""What it takes to send each kind of action safely: one class a kind, with the same few verbs.

A velocity is slewed, scaled down before obstacles, and stopped by zero. An effort is bounded, and
stopped by none at all: the robot goes limp. A step of joint positions is bounded by the joints' limits
and by its own, and stopped by staying where the joints were last told to be. For the latter two it is
not known which command leads away from an obstacle. So they are stopped as soon as the robot, as
measured, comes too near to one or approaches it too fast, and stay so until it is gone.

While command is handed over, what is sent goes from what was sent last to what the new source wants, by
part of the way in each tick (``Moment.portion``) and under the lower limits of a transition. Coming to
rest and stopping are never slowed down by that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ddiffpg.contract import Contract, ContractError
from ddiffpg.decision import ControllerConfig
from ddiffpg.observation import RobotState, joint_positions
from ddiffpg.safety import (
    Command,
    Limits,
    Scene,
    applied,
    check_zero,
    emergency_stop,
    led_over,
    linear_fields,
    restrain,
    too_close,
    within_limits,
)

AT_REST = 0.05  # m/s
SHORTEST = 1e-6  # s between two commands, for which there is a speed
HELD_SHARE = 0.2  # held off by an obstacle: slower than this share of what the policy wants


@dataclass(frozen=True, eq=False)
class Moment:
    """What a command is decided on: the robot's ``state``, how fast it moves along the axes of the ways
    (``velocity [D]``, m/s, NaN where not known), how long ago the last command was sent (``elapsed``, s),
    and what may be approached in which way (``scenes``). While command is handed over, the ``portion`` (0..1)
    of the way from the last command to the wanted one that may be gone now; None at other times."""

    state: RobotState
    velocity: np.ndarray
    elapsed: float
    scenes: Sequence[Scene]
    portion: float | None = None


class Actuation(Protocol):
    """Turns what is wanted into what is sent; remembers what was sent last.

    ``teleop_size`` is how many numbers a human's command has, None where no human can give one; ``swing`` (s) the
    time in which all commands there are can be crossed by the limits of a transition. ``leads_past``: commands are led
    past obstacles; others stop where one is too near, until it is gone."""

    teleop_size: int | None
    leads_past: bool
    swing: float

    def problem(self, state: RobotState) -> str | None:
        """Why ``state`` does not allow a command, or None."""
        ...

    def drive(self, wanted: np.ndarray, moment: Moment) -> Command:
        """What is sent of ``wanted [A]``."""
        ...

    def rest(self, moment: Moment) -> Command:
        """Come to rest in the ordinary way, and stay there."""
        ...

    def stop(self, elapsed: float) -> Command:
        """Stop where nothing of the robot and its surroundings is sure."""
        ...

    def stopped(self) -> None:
        """Somebody else has told the robot to stop: what comes next goes on from there."""
        ...

    def held(self, sent: Command, wanted: np.ndarray) -> bool:
        """Did obstacles hold the robot off from what the policy wanted?"""
        ...

    def top_speed(self, velocity: np.ndarray) -> float:
        """No faster than this (m/s) can anything be approached by the next command, now at ``velocity [D]``."""
        ...


def actuation_of(contract: Contract, config: ControllerConfig) -> Actuation:
    """What the contract's kind of action needs. ContractError where no safe way to send it is known."""
    if contract.action_kind == "base_velocity":
        return BaseVelocity(contract, config)
    if contract.action_kind == "joint_effort":
        return JointEffort(contract, config)
    if contract.action_kind == "joint_position_delta":
        return JointPositionDelta(contract, config)
    expected = "base_velocity, joint_effort or joint_position_delta (no safe stop is known for others)"
    raise ContractError("action_kind", contract.action_kind, expected)


class BaseVelocity:
    """Velocities of the base, in the odometry frame."""

    leads_past: bool = True

    def __init__(self, contract: Contract, config: ControllerConfig) -> None:
        self._limits = Limits(
            *_bounds(contract),
            linear_fields(contract),
            config.max_speed,
            config.max_acceleration,
            config.emergency_deceleration,
        )
        gentle = min(config.max_acceleration, config.transition_acceleration)
        self._gentle = replace(self._limits, max_acceleration=gentle)
        self._sent = np.zeros(len(contract.action))
        self.teleop_size: int | None = len(contract.action)
        self.swing = float(np.linalg.norm(self._limits.high - self._limits.low)) / gentle
        self._top = float(np.linalg.norm(np.maximum(-self._limits.low, self._limits.high)))

    def problem(self, state: RobotState) -> str | None:
        return None

    def drive(self, wanted: np.ndarray, moment: Moment) -> Command:
        limits, portion = (self._limits, 1.0) if moment.portion is None else (self._gentle, moment.portion)
        sent = restrain(wanted, self._sent, moment.elapsed, limits, moment.scenes, portion, moment.velocity)
        return self._remember(sent)

    def rest(self, moment: Moment) -> Command:
        return self.drive(np.zeros(len(self._sent)), replace(moment, portion=None))

    def stop(self, elapsed: float) -> Command:
        return self._remember(emergency_stop(self._sent, elapsed, self._limits))

    def stopped(self) -> None:
        self._sent = np.zeros(len(self._sent))

    def held(self, sent: Command, wanted: np.ndarray) -> bool:
        linear = list(self._limits.linear)
        speed, wish = (float(np.linalg.norm(v[linear])) for v in (sent.action, wanted))
        return "approach" in sent.limited_by and wish > AT_REST and speed < HELD_SHARE * wish

    def top_speed(self, velocity: np.ndarray) -> float:
        return self._top

    def _remember(self, command: Command) -> Command:
        self._sent = command.action
        return command


class JointEffort:
    """Torques or forces of joints: bounded in size and rate, and gone at once where it must stop.

    No human can give them: what keeps a robot on its legs is a loop of many joints' efforts, closed in every tick.
    """

    teleop_size: int | None = None
    leads_past: bool = False

    def __init__(self, contract: Contract, config: ControllerConfig) -> None:
        check_zero(contract)
        low, high = _bounds(contract)
        self._low, self._high = np.maximum(low, -config.max_effort), np.minimum(high, config.max_effort)
        self._rate = config.max_effort_rate
        self._gentle = min(config.max_effort_rate, config.transition_effort_rate)
        self.swing = float((self._high - self._low).max()) / self._gentle
        self._sent = np.zeros(len(low))

    def problem(self, state: RobotState) -> str | None:
        return None

    def drive(self, wanted: np.ndarray, moment: Moment) -> Command:
        cut = within_limits(wanted, self._low, self._high)
        rate, portion = (self._rate, 1.0) if moment.portion is None else (self._gentle, moment.portion)
        target, step = led_over(self._sent, cut, portion), rate * moment.elapsed
        eased = np.minimum(np.maximum(target, self._sent - step), self._sent + step)
        near = too_close(moment.velocity, moment.scenes)
        self._sent = np.zeros(len(cut)) if near else eased
        rules = {
            "limits": not np.array_equal(cut, wanted),
            "blend": not np.array_equal(target, cut),
            "slew": not np.array_equal(eased, target),
            "approach": near,
        }
        return Command(self._sent, applied(rules), self._sent)

    def rest(self, moment: Moment) -> Command:
        return self.stop(moment.elapsed)

    def stop(self, elapsed: float) -> Command:
        self.stopped()
        return Command(self._sent, (), self._sent)

    def stopped(self) -> None:
        self._sent = np.zeros(len(self._sent))

    def held(self, sent: Command, wanted: np.ndarray) -> bool:
        return "approach" in sent.limited_by

    def top_speed(self, velocity: np.ndarray) -> float:
        return _speed(velocity)


class JointPositionDelta:
    """Steps of joint positions, from where the joints are measured to be.

    What is sent is within the contract's joint limits and no farther from what was measured than the
    contract's step. At rest, and where nothing is sure, the joints stay where they were last told to be.
    While command is handed over, the speed at which the positions that are sent change is led over and
    bounded in its own change; the bounds above come first.
    """

    leads_past: bool = False

    def __init__(self, contract: Contract, config: ControllerConfig) -> None:
        check_zero(contract)
        self._joints = [field.joint or "" for field in contract.action]
        self._low, self._high = _bounds(contract)
        of_joint = {limits.joint: limits for limits in contract.joint_limits}
        self._lowest = np.array([of_joint[joint].low for joint in self._joints])
        self._highest = np.array([of_joint[joint].high for joint in self._joints])
        self._max_speed = config.max_joint_speed
        self._gentle = config.transition_joint_acceleration
        self._sent: np.ndarray | None = None
        self._pace = np.zeros(len(self._joints))  # units a second by which what is sent last changed
        self.teleop_size: int | None = len(self._joints)
        self.swing = float((self._high - self._low).max()) * contract.rate_hz / self._gentle

    def problem(self, state: RobotState) -> str | None:
        """A joint of the action whose position is not known, or farther outside its limits than one step."""
        measured = self._measured(state)
        unknown = [joint for joint, position in zip(self._joints, measured) if not math.isfinite(position)]
        if unknown:
            return f"missing or not finite: the position of {', '.join(unknown)}"
        out = (measured + self._high < self._lowest) | (measured + self._low > self._highest)
        if not out.any():
            return None
        i = int(out.argmax())
        limits = f"{self._lowest[i]:.4g} to {self._highest[i]:.4g}"
        return f"joint '{self._joints[i]}' is at {measured[i]:.4g}, outside its limits {limits}"

    def drive(self, wanted: np.ndarray, moment: Moment) -> Command:
        if too_close(moment.velocity, moment.scenes):
            return self._keep(moment, ("approach",))
        cut = within_limits(wanted, self._low, self._high)
        most = self._max_speed * moment.elapsed
        step = np.minimum(np.maximum(cut, -most), most)
        measured = self._measured(moment.state)
        goal, last = measured + step, measured if self._sent is None else self._sent
        eased = goal if moment.portion is None else self._eased(goal, last, moment.elapsed, moment.portion)
        target = self._reachable(eased, measured)
        rules = {
            "limits": not np.array_equal(cut, wanted),
            "speed": not np.array_equal(step, cut),
            "blend": not np.array_equal(eased, goal),
            "joint limits": not np.array_equal(target, eased),
        }
        self._remember(target, last, moment.elapsed)
        return Command(target - measured, applied(rules), target)

    def rest(self, moment: Moment) -> Command:
        return self._keep(moment, ())

    def stop(self, elapsed: float) -> Command:
        self.stopped()
        return Command(np.zeros(len(self._joints)), (), self._sent)

    def stopped(self) -> None:
        self._pace = np.zeros(len(self._joints))

    def held(self, sent: Command, wanted: np.ndarray) -> bool:
        return "approach" in sent.limited_by

    def top_speed(self, velocity: np.ndarray) -> float:
        return _speed(velocity)

    def _keep(self, moment: Moment, limited_by: tuple[str, ...]) -> Command:
        measured = self._measured(moment.state)
        last = measured if self._sent is None else self._sent
        kept = self._reachable(last, measured)
        self._remember(kept, last, moment.elapsed)
        return Command(kept - measured, limited_by, kept)

    def _remember(self, sent: np.ndarray, last: np.ndarray, elapsed: float) -> None:
        if elapsed > SHORTEST:
            self._pace = (sent - last) / elapsed
        self._sent = sent

    def _eased(self, goal: np.ndarray, last: np.ndarray, elapsed: float, portion: float) -> np.ndarray:
        """On the way to ``goal [A]`` from where the joints were sent ``last [A]``, at a speed led over from before."""
        if elapsed <= SHORTEST:
            return last
        change = led_over(self._pace, (goal - last) / elapsed, portion) - self._pace
        most = self._gentle * elapsed
        pace = self._pace + np.minimum(np.maximum(change, -most), most)
        return last + np.minimum(np.maximum(pace, -self._max_speed), self._max_speed) * elapsed

    def _reachable(self, target: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """``target [A]`` no farther than a step from where the joints are, and within their limits."""
        low = np.maximum(measured + self._low, self._lowest)
        high = np.minimum(measured + self._high, self._highest)
        return np.minimum(np.maximum(target, low), high)

    def _measured(self, state: RobotState) -> np.ndarray:
        """Positions ``[A]`` of the action's joints, NaN where not known."""
        return joint_positions(state, self._joints)


def _bounds(contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    """``low [A]`` and ``high [A]`` of the action."""
    return np.array([f.low for f in contract.action]), np.array([f.high for f in contract.action])


def _speed(velocity: np.ndarray) -> float:
    """Metres a second; infinite where not known."""
    speed = math.hypot(*velocity)
    return speed if math.isfinite(speed) else math.inf
