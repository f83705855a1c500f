"""The last say on every velocity command: pure functions that can only make it more conservative.

What commands of other kinds need beyond that is in ``actuation.py``. Two rates bound how fast a command
may change. In ordinary driving, starting, stopping and switching included, it changes by at most
``max_acceleration``. Only towards zero, on a fault or before an obstacle, may it change faster: by at
most ``emergency_deceleration``. A command of zero is always within the limits, and it is never exceeded
or reversed on the way there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ddiffpg.contract import Contract, ContractError
from ddiffpg.obstacles import Approach


@dataclass(frozen=True, eq=False)
class Limits:
    """What a velocity command may be: ``low [A]`` and ``high [A]`` in its units, with zero between them; at
    most ``max_speed`` (m/s) in the ways' plane or space, whose components are ``linear``; changing by at
    most ``max_acceleration``, in an emergency ``emergency_deceleration`` (m/s^2, over the whole vector)."""

    low: np.ndarray
    high: np.ndarray
    linear: tuple[int, ...]
    max_speed: float
    max_acceleration: float
    emergency_deceleration: float


@dataclass(frozen=True)
class Braking:
    """How to come near something: closer than ``stop_distance`` (m, from the robot's centre) it is not
    approached faster than ``contact_speed`` (m/s); before that, no faster than ``deceleration`` (m/s^2)
    can take away after ``reaction_time`` (s). Where that is no more than the true delay, the robot
    overshoots; with three times the delay it does not. Closer than ``least_distance`` (m) nothing is led past
    it, but stopped: a wall at the side may turn what leads past into what leads nearer."""

    stop_distance: float
    deceleration: float
    reaction_time: float
    contact_speed: float = 0.0
    least_distance: float = 0.0


CORNERS = 4  # times that a velocity is led past one more thing: enough for a wide corner, where it does not end in one
CLEARLY = 0.8  # of what is measured would be allowed: less than a servo that lags by some periods makes of it
TINY = 1e-9  # m/s, for rounding: what is led past something does not approach it
NOTHING = 1e-6  # m/s: slower is none
Scene = tuple[Approach, Braking]


def linear_fields(contract: Contract) -> tuple[int, ...]:
    """Where the velocity along each axis of the ways stands in a ``base_velocity`` action. ContractError where
    it is not there, or where sending zero would not stop the robot."""
    names = [f.name for f in contract.action]
    axes = ("vx", "vy", "vz")[: len(contract.path)]
    for name in axes:
        if name not in names:
            raise ContractError("action", names, f"a field '{name}' for base_velocity")
    check_zero(contract)
    return tuple(names.index(name) for name in axes)


def check_zero(contract: Contract) -> None:
    """ContractError where zero is outside of an action field's limits."""
    for i, field in enumerate(contract.action):
        if not field.low <= 0.0 <= field.high:
            raise ContractError(f"action[{i}].low", field.low, "limits with zero between them, so that it can stop")


def within_limits(wanted: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``wanted [A]`` cut to ``low [A]`` .. ``high [A]``; all zero where any of it is not a number."""
    if np.isnan(wanted).any():
        return np.zeros(len(low))
    return np.minimum(np.maximum(wanted, low), high)


def within_speed(action: np.ndarray, limits: Limits) -> np.ndarray:
    """``action [A]`` (within its limits) scaled as a whole so that its linear speed is at most ``max_speed``."""
    speed = math.hypot(*action[list(limits.linear)])
    return action if speed <= limits.max_speed else action * (limits.max_speed / speed)


def slew(previous: np.ndarray, target: np.ndarray, step: float) -> np.ndarray:
    """From ``previous [A]`` straight towards ``target [A]``, by at most ``step``."""
    change = target - previous
    size = math.hypot(*change)
    # The last step is a whole one in spite of rounding: a stop ends at zero.
    return target if size <= step * (1 + 1e-9) else previous + change * (step / size)


def allowed_speed(distance: np.ndarray, braking: Braking) -> np.ndarray:
    """How fast things at ``distance [N]`` (m) may be approached, ``[N]`` in m/s.

    The v that solves ``v * reaction_time + v^2 / (2 * deceleration) = distance left``.
    """
    left = np.maximum(distance - braking.stop_distance, 0.0)
    a, t = braking.deceleration, braking.reaction_time
    return np.maximum(a * (np.sqrt(t * t + 2.0 * left / a) - t), braking.contact_speed)


def allowed_toward(seen: Approach, braking: Braking) -> np.ndarray:
    """How fast each of the things ``seen`` may be approached, ``[N]`` in m/s: slower where it comes by itself."""
    return np.maximum(allowed_speed(seen.distance, braking) - np.maximum(seen.coming, 0.0), braking.contact_speed)


def approach_scale(velocity: np.ndarray, seen: Approach, braking: Braking) -> float:
    """The share 0..1 of ``velocity [D]`` (m/s) at which nothing seen is approached faster than allowed.

    What is not approached does not count: away from an obstacle is always free, however near it is.
    """
    if not len(seen.distance):
        return 1.0
    toward = seen.direction @ velocity
    allowed = allowed_toward(seen, braking)
    too_fast = ~(toward <= allowed) & ~(toward <= 0.0)  # what is not a number counts as too fast
    if not too_fast.any():
        return 1.0
    share = allowed[too_fast] / toward[too_fast]
    return float(np.nan_to_num(share, nan=0.0).min())


def beside(velocity: np.ndarray, scenes: Sequence[Scene]) -> np.ndarray:
    """``velocity [D]`` (m/s) less what of it leads toward things faster than allowed: past them, not into them.

    It is no faster than before. In a narrow corner some may be left that is too fast.
    """
    past = velocity
    for _ in range(CORNERS):
        excess, direction = max((_worst(past, *scene) for scene in scenes), key=lambda found: found[0])
        if excess <= 0.0:
            break
        past = past - (excess + TINY) * direction
    if past is velocity or not np.isfinite(past).all():
        return velocity
    return past if math.hypot(*past) > NOTHING else np.zeros(len(past))


def _worst(velocity: np.ndarray, seen: Approach, braking: Braking) -> tuple[float, np.ndarray]:
    """What is approached most too fast, by how much (m/s; zero where nothing is), and the direction to it ``[D]``."""
    if not len(seen.distance):
        return 0.0, velocity
    toward = seen.direction @ velocity
    excess = np.where(toward > 0.0, toward - allowed_toward(seen, braking), 0.0)
    i = int(excess.argmax())
    return float(excess[i]), seen.direction[i]


def too_close(velocity: np.ndarray, scenes: Sequence[Scene]) -> bool:
    """Is something nearer than it may come, or approached faster than allowed, at ``velocity [D]`` (m/s)?

    For commands that are no velocities: which of them leads away is not known, so none can be let
    through. What may be touched (``contact_speed``) does not count. A velocity that is not known is too
    fast for whatever is seen.
    """
    return any(
        bool((seen.distance < braking.stop_distance).any()) or approach_scale(velocity, seen, braking) < 1.0
        for seen, braking in scenes
        if braking.contact_speed == 0.0
    )


@dataclass(frozen=True, eq=False)
class Command:
    """``action [A]`` in the contract's units, and the names of the rules that made it other than what was wanted.

    ``sent [A]`` is what goes to the robot: the action itself, but joint positions for a
    ``joint_position_delta``; None where nothing may be sent. Nobody changes these arrays.
    """

    action: np.ndarray
    limited_by: tuple[str, ...]
    sent: np.ndarray | None


def led_over(previous: np.ndarray, target: np.ndarray, portion: float) -> np.ndarray:
    """The ``portion`` (0..1) of the way from ``previous [A]`` to ``target [A]``."""
    return target if portion >= 1.0 else previous + portion * (target - previous)


def held_off(action: np.ndarray, limits: Limits, scenes: Sequence[Scene], stops: bool) -> np.ndarray:
    """``action [A]`` led past what it approaches faster than allowed, unless it only ``stops``; and where that cannot
    be, less of it as a whole. Itself where it approaches nothing too fast."""
    linear = list(limits.linear)
    if all(approach_scale(action[linear], seen, braking) >= 1.0 for seen, braking in scenes):
        return action
    led = action.copy()
    if not stops:
        led[linear] = beside(action[linear], scenes)
        if any(_too_near_to_pass(v[linear], *scene) for v in (action, led) for scene in scenes):
            led = action
    return led * min(_share_within(led, limits), *(approach_scale(led[linear], *scene) for scene in scenes))


def _gains(measured: np.ndarray, scenes: Sequence[Scene]) -> bool:
    """Is something approached clearly faster than allowed, at the velocity that is ``measured``?"""
    firm = (scene for scene in scenes if scene[1].contact_speed == 0.0)
    return any(approach_scale(measured, *scene) < CLEARLY for scene in firm)


def _too_near_to_pass(velocity: np.ndarray, seen: Approach, braking: Braking) -> bool:
    toward = seen.direction @ velocity if len(seen.distance) else np.empty(0)
    return bool(((toward > 0.0) & (seen.distance < braking.least_distance)).any())


def _share_within(action: np.ndarray, limits: Limits) -> float:
    """The share 0..1 of ``action [A]`` that is within the limits."""
    over = (action < limits.low) | (action > limits.high)
    bound = np.where(action > 0.0, limits.high, limits.low)
    return float((bound[over] / action[over]).min(initial=1.0))


def restrain(
    wanted: np.ndarray,
    previous: np.ndarray,
    elapsed: float,
    limits: Limits,
    scenes: Sequence[Scene] = (),
    portion: float = 1.0,
    measured: np.ndarray | None = None,
) -> Command:
    """What may be sent of ``wanted [A]`` when ``previous [A]`` (within the limits) was sent ``elapsed`` s ago.

    The result is within the limits; it differs from ``previous`` by at most ``max_acceleration *
    elapsed``, where the approach rule applies by at most ``emergency_deceleration * elapsed``. Without that
    rule it goes no farther than the ``portion`` (0..1) of the way from ``previous`` to ``wanted``. Who is ``measured``
    (m/s, ``[D]``) to approach something too fast in spite of that rule is not led past it any more: a wall that nobody
    knows of turns what leads past into what leads nearer.
    """
    cut = within_limits(wanted, limits.low, limits.high)
    fast = within_speed(cut, limits)
    target = led_over(previous, fast, portion)
    eased = slew(previous, target, limits.max_acceleration * elapsed)
    stops = not target.any() or (measured is not None and _gains(measured, scenes))
    safe = held_off(eased, limits, scenes, stops)
    near = safe is not eased
    action = slew(previous, safe, limits.emergency_deceleration * elapsed) if near else eased
    rules = {
        "limits": not np.array_equal(cut, wanted),
        "speed": fast is not cut,
        "blend": not np.array_equal(target, fast),
        # Where it is the obstacle that holds it back, with or without a limit on changes, that limit does nothing.
        "slew": eased is not target and not (near and np.allclose(safe, held_off(target, limits, scenes, stops))),
        "approach": near,
        "emergency": near and not np.array_equal(action, safe),
    }
    action = within_limits(action, limits.low, limits.high)
    return Command(action, applied(rules), action)


def emergency_stop(previous: np.ndarray, elapsed: float, limits: Limits) -> Command:
    """Towards zero from ``previous [A]`` at the emergency rate, with no regard to obstacles: they may not be known."""
    action = slew(previous, np.zeros(len(previous)), limits.emergency_deceleration * elapsed)
    action = within_limits(action, limits.low, limits.high)
    return Command(action, () if not action.any() else ("emergency",), action)


def applied(rules: Mapping[str, bool]) -> tuple[str, ...]:
    """Names of those that are true."""
    return tuple(name for name, true in rules.items() if true)


def age_problem(now: float, stamp: float, timeout: float, future_tolerance: float) -> str | None:
    """What is wrong with the age of a reading (all in s), or None."""
    age = now - stamp
    if not math.isfinite(age):
        return "has no usable time stamp"
    if age > timeout:
        return f"is {age:.3f} s old, more than {timeout:g} s"
    if age < -future_tolerance:
        return f"is stamped {-age:.3f} s ahead of the clock"
    return None
