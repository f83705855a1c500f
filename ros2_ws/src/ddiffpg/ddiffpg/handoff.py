"""Who is in command: nobody, a human, or the policy. Pure functions, one a transition, each with its reason.

    OFF       nobody: released, or not engaged yet
    HOLD      nobody: the human let go or was lost, and somebody must say who goes on
    TELEOP    a human
    POLICY    the policy (whether it drives, waits or has arrived, the controller says)
    BLEND     a human or the policy, whose commands are still being led over to
    FAULT     nobody, until it is re-armed

A human who does something takes over in the same tick. The policy takes over only when it is asked to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ddiffpg.decision import E_STOP, ENGAGE, FAULT, HOLD, OFF, POLICY, REARM, RELEASE, TELEOP, Operator
from ddiffpg.parameters import check, parameter
from ddiffpg.safety import age_problem

BLEND = "BLEND"
COMMANDS = (OFF, HOLD, TELEOP, POLICY, BLEND, FAULT)
REFUSED = "this robot is driven by efforts, which nobody can give by hand: no teleop"


@dataclass(frozen=True)
class HandoffConfig:
    """The parameters of taking over and giving back. Raises ParameterError for a value that is out of range."""

    engaged: bool = parameter(True, "", None, None, "the policy is in command from the start; false: off until engaged")
    human_wins: bool = parameter(
        True, "", None, None, "a human takes over from the policy at once; false: only once it was released"
    )
    resume: bool = parameter(
        False, "", None, None, "the policy, once engaged, goes on by itself when the human lets go or is lost"
    )
    need_deadman: bool = parameter(
        False, "", None, None, "teleop commands count only while the dead man's switch is pressed"
    )
    latch_holds: bool = parameter(
        False, "", None, None, "what stops it as it drives (HOLD) is a fault that stays until re-armed"
    )
    teleop_timeout: float = parameter(0.5, "s", 0.02, 10.0, "a human's input older than this is stale")
    blend_time: float = parameter(
        0.3, "s", 0.0, 10.0, "how long commands are led over to those of who takes over; 0: at once, by the plain rates"
    )
    intent_confidence: float = parameter(
        0.7, "", 0.5, 1.0, "how sure it must be of the mode that a human began for the policy to go on in it"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Human:
    """What one tick hears of the human. ``stamp`` (s) is that of the newest input that counts, -inf where there is
    none; ``wanted [A]`` what is asked for, None where nothing is (a dead man's switch alone); ``pressed``: that
    switch is held; ``fault`` says why an input cannot be taken, None where it can."""

    stamp: float
    reason: str
    wanted: tuple[float, ...] | None = None
    pressed: bool = False
    fault: str | None = None


@dataclass(frozen=True)
class Hand:
    """Who is in command (``source``: OFF, HOLD, TELEOP, POLICY or FAULT), ``since`` when (s), and the ``reason``.

    ``blending``: what is sent is still led over to what the source wants. ``engaged``: the policy was asked for and
    has not been released since. Of a human's inputs those count that are newer than ``heard`` (s).
    """

    source: str
    reason: str
    since: float = -math.inf
    blending: bool = False
    engaged: bool = False
    heard: float = -math.inf

    @property
    def state(self) -> str:
        """One of COMMANDS."""
        return BLEND if self.blending else self.source


@dataclass(frozen=True)
class Heard:
    """What a tick at ``now`` (s) makes of the operator. ``future`` (s) is how far a stamp may be ahead of it."""

    now: float
    operator: Operator
    human: Human
    future: float


def begin(config: HandoffConfig) -> Hand:
    """Who is in command at first."""
    if config.engaged:
        return Hand(POLICY, "engaged from the start", engaged=True)
    return Hand(OFF, "not engaged yet")


def hear(now: float, operator: Operator, config: HandoffConfig, size: int | None, future: float) -> Heard:
    """What the human does at ``now`` (s). ``size`` is A, None where the robot takes no teleop commands."""
    return Heard(now, operator, _listen(now, operator, config, size, future), future)


def _listen(now: float, operator: Operator, config: HandoffConfig, size: int | None, future: float) -> Human:
    teleop, deadman, timeout = operator.teleop, operator.deadman, config.teleop_timeout
    let_go = "is not pressed" if deadman is None else age_problem(now, deadman, timeout, future)
    late = "never came" if teleop is None else age_problem(now, teleop.stamp, timeout, future)
    pressed = -math.inf if deadman is None or let_go else deadman
    if teleop is not None and late is None and (let_go is None or not config.need_deadman):
        fault = _senseless(teleop.command, size)
        return Human(max(pressed, teleop.stamp), "a teleop command came", teleop.command, let_go is None, fault)
    if let_go is None:
        return Human(pressed, "the dead man's switch is pressed", None, True, REFUSED if size is None else None)
    if config.need_deadman or teleop is None:
        return Human(pressed, f"the dead man's switch{'' if deadman is None else ', when last pressed,'} {let_go}")
    return Human(pressed, f"the teleop command {late}")


def _senseless(command: tuple[float, ...], size: int | None) -> str | None:
    """Why a teleop command cannot be obeyed, or None."""
    if size is None:
        return REFUSED
    if len(command) != size:
        return f"a teleop command has {len(command)} numbers: expected {size}"
    if not np.isfinite(command).all():
        return f"a teleop command is {list(command)}: expected finite numbers"
    return None


# ---- transitions ---------------------------------------------------------------------------------------


def step(hand: Hand, heard: Heard, config: HandoffConfig) -> Hand:
    """Who is in command in this tick, where ``hand`` was in the last."""
    if hand.heard > heard.now + heard.future:  # the clock went back: nothing would count for long
        hand = replace(hand, heard=-math.inf)
    if hand.since > heard.now:
        hand = replace(hand, since=heard.now)
    danger = _danger(hand, heard)
    if danger is not None:
        return trip(hand, danger, heard.now)
    for request in heard.operator.requests:
        hand = _REQUESTS[request](hand, heard, config)
    if hand.source == FAULT:
        return hand
    if _present(hand, heard):
        return _take_over(hand, heard, config)
    return _lose(hand, heard, config)


def trip(hand: Hand, reason: str, now: float) -> Hand:
    """A fault, which stays with its first reason until it is re-armed."""
    return hand if hand.source == FAULT else Hand(FAULT, reason, now)


def seen(hand: Hand, operator: Operator) -> Hand:
    """Who is in command as far as the robot is concerned: nobody as long as it is not enabled."""
    if operator.enabled or hand.source == FAULT:
        return hand
    return replace(hand, source=OFF, reason="not enabled", blending=False)


def refusal(hand: Hand, request: str, heard: Heard, config: HandoffConfig) -> str | None:
    """Why a request is not met, or None."""
    if request == REARM:
        if heard.operator.e_stop:
            return "the e-stop is still pressed"
        if hand.source != FAULT:
            return "there is no fault to re-arm from"
        return _danger(hand, heard)  # what would be the next fault at once
    if hand.source == FAULT and request != E_STOP:
        return f"in FAULT ({hand.reason}): re-arm first"
    if request == ENGAGE and heard.human.pressed and config.human_wins:
        return "the dead man's switch is pressed: let go of it first"
    return None


def _danger(hand: Hand, heard: Heard) -> str | None:
    """What must stop the robot for good in this tick."""
    if heard.operator.e_stop:
        return "the e-stop is pressed"
    if heard.operator.e_stop_fault:
        return heard.operator.e_stop_fault
    if E_STOP in heard.operator.requests:
        return "an e-stop was asked for"
    return heard.human.fault if _present(hand, heard) else None


def _engage(hand: Hand, heard: Heard, config: HandoffConfig) -> Hand:
    """The policy takes over; what the human has done up to now does not count any more."""
    if refusal(hand, ENGAGE, heard, config):
        return hand
    if hand.source == POLICY:
        return replace(hand, engaged=True)
    return replace(_enter(hand, POLICY, "engaged", heard, config), engaged=True, heard=_up_to_now(heard))


def _release(hand: Hand, heard: Heard, config: HandoffConfig) -> Hand:
    """The policy has no more say. A human who drives goes on."""
    if hand.source in (FAULT, TELEOP):
        return replace(hand, engaged=False)
    return Hand(OFF, "released", heard.now, heard=hand.heard)


def _rearm(hand: Hand, heard: Heard, config: HandoffConfig) -> Hand:
    """Nobody is in command then; what the human has done before does not count."""
    if refusal(hand, REARM, heard, config):
        return hand
    return Hand(OFF, "re-armed", heard.now, heard=_up_to_now(heard))


_REQUESTS: Mapping[str, Callable[[Hand, Heard, HandoffConfig], Hand]] = {
    ENGAGE: _engage,
    RELEASE: _release,
    REARM: _rearm,
}


def _up_to_now(heard: Heard) -> float:
    return max(heard.human.stamp, heard.now if math.isfinite(heard.now) else -math.inf)


def _present(hand: Hand, heard: Heard) -> bool:
    return heard.human.stamp > hand.heard


def _take_over(hand: Hand, heard: Heard, config: HandoffConfig) -> Hand:
    """A human does something: takes over, unless the policy has precedence."""
    if hand.source == TELEOP or (hand.source == POLICY and not config.human_wins):
        return hand
    return _enter(hand, TELEOP, heard.human.reason, heard, config)


def _lose(hand: Hand, heard: Heard, config: HandoffConfig) -> Hand:
    """The human in command does nothing any more."""
    if hand.source != TELEOP:
        return hand
    if config.resume and hand.engaged:
        return _enter(hand, POLICY, f"goes on by itself: {heard.human.reason}", heard, config)
    return replace(hand, source=HOLD, reason=heard.human.reason, since=heard.now, blending=False)


def _enter(hand: Hand, source: str, reason: str, heard: Heard, config: HandoffConfig) -> Hand:
    return replace(hand, source=source, reason=reason, since=heard.now, blending=config.blend_time > 0)


# ---- leading over --------------------------------------------------------------------------------------


def share(hand: Hand, now: float, elapsed: float, config: HandoffConfig) -> float:
    """How far (0..1) the source will be led over to with the command of this tick, which comes ``elapsed`` s
    after the last; 1 where nothing is blended."""
    if not hand.blending:
        return 1.0
    done = (now - hand.since + elapsed) / config.blend_time
    return max(done, 0.0) if done < 1.0 - 1e-9 else 1.0  # no number too: a clock that has none


def portion(hand: Hand, now: float, elapsed: float, config: HandoffConfig) -> float:
    """Which part (0..1) of what is left between the last command and the wanted one this tick goes, so that the
    whole is led over to evenly in the blend time."""
    before, after = share(hand, now, 0.0, config), share(hand, now, elapsed, config)
    return 1.0 if after >= 1.0 else (after - before) / (1.0 - before)


def settle(hand: Hand, now: float, elapsed: float, there: bool, config: HandoffConfig, swing: float) -> Hand:
    """Has the blend ended with the command of this tick? ``there``: that is what the source wants. It ends too once
    the whole range of commands could have been crossed, in ``swing`` s: then the source itself changes too fast."""
    if not hand.blending:
        return hand
    since = now - hand.since
    over = since >= config.blend_time + swing or (there and share(hand, now, elapsed, config) >= 1.0)
    return replace(hand, blending=False) if over or not math.isfinite(since) else hand
