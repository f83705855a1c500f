"""What goes into one control tick and what comes out of it, besides the robot's state and the obstacles."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from ddiffpg.intent import Intent
from ddiffpg.parameters import ParameterError, check, parameter

# States of the controller. DRIVE follows the policy, TELEOP a human; in all others the command goes to zero.
OFF = "OFF"  # the operator has not enabled or engaged it
HOLD = "HOLD"  # something that it needs is missing, stale or not finite: stops at the emergency rate
NO_WAY = "NO_WAY"  # no way is free, or not the one that was asked for; goes on by itself when one opens
DRIVE = "DRIVE"
ARRIVED = "ARRIVED"
TELEOP = "TELEOP"
FAULT = "FAULT"  # stops at the emergency rate and stays so until it is re-armed
STATES = (OFF, HOLD, NO_WAY, DRIVE, ARRIVED, TELEOP, FAULT)

POLICY = "POLICY"  # who is in command, if it is the policy; handoff.py has the others
ENGAGE, RELEASE, E_STOP, REARM = REQUESTS = ("engage", "release", "e_stop", "rearm")


@dataclass(frozen=True)
class Teleop:
    """What a human wants the robot to do, said at ``stamp`` (s): ``command [A]`` is an action in the contract's
    units, a ``base_velocity`` in the odometry frame."""

    stamp: float
    command: tuple[float, ...]


@dataclass(frozen=True)
class Operator:
    """What a human wants. ``mode`` is the id of the only mode to use, or -1: choose by itself.

    ``enabled`` False: nothing moves, whoever is in command. ``teleop`` is the last command given by hand;
    ``deadman`` when the dead man's switch was last heard of as pressed (s), None once it is let go. ``e_stop``: it
    is pressed. ``requests`` are those of REQUESTS that came since the last tick; ValueError for any other.
    ``e_stop_fault`` says why the e-stop cannot be relied upon, None where it can.
    """

    mode: int = -1
    enabled: bool = True
    teleop: Teleop | None = None
    deadman: float | None = None
    e_stop: bool = False
    requests: tuple[str, ...] = ()
    e_stop_fault: str | None = None

    def __post_init__(self) -> None:
        for request in self.requests:
            if request not in REQUESTS:
                raise ValueError(f"request '{request}' is none of {', '.join(REQUESTS)}")

    def said(self) -> dict[str, str]:
        """Each field as JSON, by its name and ``_asked``: what the status says of the operator."""
        return {f"{name}_asked": json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def read(cls, status: Mapping[str, str]) -> Operator:
        """Back from :meth:`said`, among other keys. KeyError where one is missing, ValueError where it is no JSON."""
        plain: dict[str, Any] = {f.name: json.loads(status[f"{f.name}_asked"]) for f in fields(cls)}
        if plain["teleop"] is not None:
            plain["teleop"] = Teleop(plain["teleop"]["stamp"], tuple(plain["teleop"]["command"]))
        plain["requests"] = tuple(plain["requests"])
        return cls(**plain)


@dataclass(frozen=True)
class WayStatus:
    """One mode's way from where the robot is.

    ``free``: it may be chosen now. ``clearance`` (m): room to spare at its tightest place, beyond what
    is kept free around the robot, negative where it is blocked; nothing nearer than the map looks gives
    infinity. ``length`` (m): from the robot to the end, back along known ways first where it must. Both
    are NaN in a tick that did not look.
    """

    id: int
    free: bool
    clearance: float
    length: float


@dataclass(frozen=True, eq=False)
class Decision:
    """What one tick decided, and why. ``sent`` is what goes to the robot.

    ``action [A]`` and ``wanted [A]`` are in the contract's units; ``wanted`` is what the policy or the human
    asked for, NaN where neither was asked, ``action`` what is left of it: it is always finite. A
    ``base_velocity`` action is in the odometry frame. ``sent [A]`` is the action, but the joints'
    positions for a ``joint_position_delta``, and None there as long as nothing may be sent.
    ``limited_by`` names each safety rule that made it less: "limits", "speed", "blend", "slew", "approach",
    "emergency", "joint limits". ``mode`` is the chosen mode's id, None where there is none. ``corridor
    [P, D]`` (m) is the chosen way from the robot to its end, empty where there is none.
    ``stage_seconds`` is what each stage took.

    ``in_command`` is one of ``handoff.COMMANDS``, and ``command_reason`` why; while that is BLEND, ``source`` says
    who comes into command and ``blend`` (0..1) how far it has. ``intent`` is what the last drive by hand
    says of modes, None where there was none.

    ``unknown`` is how far the state is from those that the policy knows, in terms of what is usual, or its place of the
    path's tolerance; NaN where that is not known. ``warnings`` are sentences about what did not stop the robot.
    """

    now: float
    state: str
    reason: str
    mode: int | None
    action: np.ndarray
    wanted: np.ndarray
    sent: np.ndarray | None
    limited_by: tuple[str, ...] = ()
    ways: tuple[WayStatus, ...] = ()
    corridor: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    in_command: str = POLICY
    source: str = POLICY
    command_reason: str = ""
    blend: float = 1.0
    intent: Intent | None = None
    unknown: float = math.nan
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ControllerConfig:
    """The controller's parameters. Raises ParameterError for a value that is out of range."""

    radius: float = parameter(0.0, "m", 0.0, 10.0, "radius of the robot with its load; the contract's if larger")
    margin: float = parameter(0.1, "m", 0.0, 10.0, "distance that a way keeps between robot and obstacle")
    least_margin: float = parameter(
        0.0, "m", 0.0, 10.0, "where no way keeps margin, one that keeps so much is taken, if nothing moves"
    )
    tolerance: float = parameter(
        0.1, "m", 0.0, 1.0, "how much nearer than anything in training a sensed point must be to count as new"
    )
    hysteresis: float = parameter(
        0.03, "m", 0.0, 1.0, "room to spare, on average over dwell, with which a blocked way counts as free again"
    )
    dwell: float = parameter(1.0, "s", 0.0, 60.0, "how long a blocked way must have been free to be taken again")
    stuck_after: float = parameter(1.5, "s", 0.1, 60.0, "held off by an obstacle for so long, a way counts as blocked")
    retry_after: float = parameter(10.0, "s", 0.1, 600.0, "a way given up for that reason may be tried again after")
    progress_time: float = parameter(
        3.0, "s", 0.1, 600.0, "driven for so long and no nearer to the end of its way, a way counts as stuck"
    )
    patience: float = parameter(4.0, "s", 0.0, 600.0, "how long it waits for what moves past, or close to the end")
    commit_distance: float = parameter(
        0.5, "m", 0.0, 100.0, "so near to its end a way is kept; for ways of the tolerance 0.6 m, others in proportion"
    )
    max_changes: int = parameter(6, "", 1, 1000, "changes of mode within changes_time, after which it stops and waits")
    changes_time: float = parameter(20.0, "s", 0.1, 600.0, "the time in which changes of mode are counted")
    foresight: float = parameter(1.5, "s", 0.0, 10.0, "how far ahead the ways of moving obstacles are looked at")
    arrive_radius: float = parameter(0.1, "m", 0.01, 10.0, "distance from the way's end that counts as arrived")
    max_speed: float = parameter(
        100.0, "m/s", 0.01, 100.0, "speed limit of base velocities; the contract's limits stay"
    )
    max_acceleration: float = parameter(
        4.0, "m/s^2", 0.01, 1000.0, "change of a base velocity, stopping included; any robot is taken to brake so hard"
    )
    emergency_deceleration: float = parameter(
        40.0, "m/s^2", 0.01, 10000.0, "change of a base velocity towards zero on a fault or before an obstacle"
    )
    max_effort: float = parameter(10000.0, "N m or N", 0.0, 10000.0, "limit of efforts; the contract's limits stay")
    max_effort_rate: float = parameter(
        1e6, "N m/s or N/s", 0.01, 1e6, "change of an effort; it goes to zero at once where it must stop"
    )
    max_joint_speed: float = parameter(
        100.0, "rad/s or m/s", 0.0, 100.0, "change of joint positions that are sent; the contract's limits stay"
    )
    transition_acceleration: float = parameter(
        2.0, "m/s^2", 0.01, 1000.0, "change of a base velocity while command is handed over, if lower than the others"
    )
    transition_effort_rate: float = parameter(
        1e6, "N m/s or N/s", 0.01, 1e6, "change of an effort while command is handed over, if lower"
    )
    transition_joint_acceleration: float = parameter(
        10.0, "rad/s^2 or m/s^2", 0.01, 1e6, "change of a joint's speed while command is handed over"
    )
    stop_margin: float = parameter(0.05, "m", 0.0, 10.0, "distance from obstacles below which none is approached")
    reaction_time: float = parameter(0.3, "s", 0.0, 10.0, "braking is that early: two to three times the robot's delay")
    wall_speed: float = parameter(0.3, "m/s", 0.0, 100.0, "approach allowed however near to things known from training")
    state_timeout: float = parameter(0.3, "s", 0.01, 60.0, "a state older than this is stale")
    obstacle_timeout: float = parameter(0.5, "s", 0.01, 60.0, "obstacles older than this are stale")
    future_tolerance: float = parameter(0.1, "s", 0.0, 60.0, "how far a stamp may be ahead of the clock")
    need_obstacles: bool = parameter(False, "", None, None, "hold while no obstacle has been received at all")
    unknown_warn: float = parameter(
        1.0, "", 0.0, 1000.0, "warn where the state is so many times farther from known ones than usual; 0: do not look"
    )
    unknown_hold: float = parameter(
        2.0, "", 0.0, 1000.0, "the policy does not drive where it is so many times farther; 0: it does everywhere"
    )
    unknown_hold_after: float = parameter(0.5, "s", 0.0, 60.0, "once that has lasted for so long")
    robot_delay: float = parameter(
        0.0, "s", 0.0, 10.0, "what the robot takes to do as it is told; with the age of its state, against the margins"
    )
    margins_hold: bool = parameter(
        False, "", None, None, "the policy does not drive at delays or rates outside of its margins; false: it warns"
    )
    noise_scale: float = parameter(0.0, "", 0.0, 1.0, "0: the policy's most typical action, 1: samples; "
                                   "candidates beyond the first are always samples")

    def __post_init__(self) -> None:
        check(self)
        if self.hysteresis > self.tolerance:
            # The training world's own walls leave a way just `tolerance` to spare: it would never open again.
            raise ParameterError("hysteresis", f"is {self.hysteresis}: expected at most tolerance ({self.tolerance})")
        if self.least_margin > self.margin:
            raise ParameterError("least_margin", f"is {self.least_margin}: expected at most margin ({self.margin})")
        if self.stop_margin > self.margin:
            raise ParameterError("stop_margin", f"is {self.stop_margin}: expected at most margin ({self.margin})")
        if 0.0 < self.unknown_hold < self.unknown_warn:
            raise ParameterError(
                "unknown_hold", f"is {self.unknown_hold}: expected 0 or at least unknown_warn ({self.unknown_warn})"
            )
        if self.emergency_deceleration < self.max_acceleration:
            raise ParameterError(
                "emergency_deceleration",
                f"is {self.emergency_deceleration}: expected at least max_acceleration ({self.max_acceleration})",
            )
