"""The faults that are known of: what each is, by what it is noticed and when, what comes of it, how to go on.

One list for three readers: the tests bring each fault about, ``faults.py`` measures it, and docs/safety.md
shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from _fault_rig import FedRig
from _slow_policy import SLOW, STUCK

from ddiffpg.controller_node import PARAMETERS
from ddiffpg.margins import WINDOW
from ddiffpg_sim.sim_robot_node import PARAMETERS as ROBOT_PARAMETERS

BY_ITSELF, REARM = "by itself, once it is good again", "`~/rearm`, then `~/engage` or drive"
EMERGENCY = "to zero by `emergency_deceleration`"
GENTLE = "to zero by `max_acceleration`"
NOTHING = "nothing at all: the robot's base must stop by itself"
UNTOUCHED = "as before"
RATE = 10.0  # Hz, of the policy that the faults are brought about with


@dataclass(frozen=True)
class Fault:
    """One row. ``within`` are the parameters whose sum (s) is the longest time until it is noticed, ``period`` the
    controller's; empty where nothing needs to be noticed.

    ``state`` and ``reason`` are what the status says; ``sent`` what the robot is still told, and by whom. ``strike``
    brings it about at a rig that drives, ``mend`` takes it back; ``before`` makes the rig drive where the policy's
    driving will not do. ``parameters`` are those of the controller, ``slow`` says that its policy can be slow.
    Where ``test`` names a test, that one brings the fault about instead.
    """

    kind: str
    name: str
    noticed: str
    within: tuple[str, ...]
    state: str
    reason: str
    sent: str
    go_on: str
    strike: Callable[[FedRig], None] | None = None
    mend: Callable[[FedRig], None] = lambda rig: None
    before: Callable[[FedRig], None] = lambda rig: None
    parameters: tuple[tuple[str, Any], ...] = ()
    slow: bool = False
    test: str = ""

    @property
    def harmless(self) -> bool:
        return not self.within

    def seconds(self, of: Mapping[str, float]) -> float:
        """The longest time until it is noticed, with these parameters."""
        return sum({**of, **dict(self.parameters)}[name] for name in self.within)


def defaults() -> dict[str, float]:
    """What the times are made of, in seconds: parameters as they are where nobody sets them."""
    known = {spec.name: spec.default for spec in (*PARAMETERS, *ROBOT_PARAMETERS)}
    return {**known, "period": 1.0 / RATE, "quarter": known["tick_timeout"] / 4, "window": WINDOW}


# ---- how some are brought about ----------------------------------------------------------------------------


def spoil(part: str, name: str, value: float) -> Callable[[FedRig], None]:
    """Odometry in which ``part`` ("pose.pose.position") has ``value`` for ``name``."""

    def strike(rig: FedRig) -> None:
        where: Any = rig.robot.message
        for attribute in part.split("."):
            where = getattr(where, attribute)
        setattr(where, name, value)

    return strike


def put(name: str, value: Any) -> Callable[[FedRig], None]:
    """Set an attribute of the rig."""
    return lambda rig: setattr(rig, name, value)


def of_robot(name: str, value: Any) -> Callable[[FedRig], None]:
    return lambda rig: setattr(rig.robot, name, value)


def ask(*requests: str) -> Callable[[FedRig], None]:
    def mend(rig: FedRig) -> None:
        rig.heal()
        for request in requests:
            rig.ask(request)

    return mend


def other_frame(rig: FedRig) -> None:
    assert rig.robot.message is not None
    rig.robot.message.header.frame_id = "moon"


def good_map(rig: FedRig) -> None:
    rig.robot.map("odom", [0])


def mended_marker(rig: FedRig) -> None:
    rig.observer.clear_obstacles()


def press_e_stop(rig: FedRig) -> None:
    rig.e_stop = True
    rig.beat()


def let_go(rig: FedRig) -> None:
    rig.e_stop = False
    ask("rearm", "engage")(rig)


def hear_e_stop(rig: FedRig) -> None:
    """Say that it is not pressed; where the controller has waited too long for that already, re-arm it."""
    rig.e_stop = False
    state = rig.observer.wait("a state", lambda: {"DRIVE", "FAULT"} & {rig.observer.controller.get("state")})
    if "FAULT" in state:
        let_go(rig)


def hold_switch(rig: FedRig) -> None:
    rig.human, rig.pressed = (0.4, 0.0), True


SCAN = [5.0] * 60
MARKED = "what is known of obstacles has no usable time stamp"
HELD = (("deadman_button", 0), ("need_deadman", True))

FAULTS = (
    Fault("stale", "odometry (or joints, or the end effector) stops", "age of the state", ("state_timeout", "period"),
          "HOLD", "the robot's state is", EMERGENCY, BY_ITSELF, of_robot("message", None)),
    Fault("stale", "the scan stops", "age of what is known of obstacles", ("obstacle_timeout", "period"),
          "HOLD", "what is known of obstacles is", EMERGENCY, BY_ITSELF, put("scan", None), put("scan", SCAN),
          before=put("scan", SCAN)),
    Fault("stale", "a driver hangs and sends its last odometry again and again",
          "its stamp (not with `stamps: receipt`)", ("state_timeout", "period"),
          "HOLD", "the robot's state is", EMERGENCY, BY_ITSELF, FedRig.repeat),
    Fault("NaN, infinite", "a position that is NaN", "the observation must be finite", ("period",),
          "HOLD", "x (odom.position.x)", EMERGENCY, BY_ITSELF, spoil("pose.pose.position", "x", math.nan)),
    Fault("NaN, infinite", "an infinite velocity", "the observation must be finite", ("period",),
          "HOLD", "vy (odom.linear_velocity.y)", EMERGENCY, BY_ITSELF, spoil("twist.twist.linear", "y", math.inf)),
    Fault("NaN, infinite", "half of a scan's beams or more are NaN", "the scan is refused, and becomes stale",
          ("obstacle_timeout", "period"), "HOLD", "beams are NaN", EMERGENCY, BY_ITSELF,
          put("scan", [math.nan] * 60), put("scan", SCAN), before=put("scan", SCAN)),
    Fault("NaN, infinite", "an obstacle's marker with NaN", "all that is known of obstacles counts as stale",
          ("period",), "HOLD", MARKED, EMERGENCY, "by itself, once the marker is deleted or said anew",
          FedRig.bad_marker, mended_marker),
    Fault("NaN, infinite", "a teleop command with NaN", "a human who cannot be obeyed", ("period",),
          "FAULT", "expected finite numbers", EMERGENCY, REARM, put("human", (math.nan, 0.0)), ask("rearm", "engage"),
          before=put("human", (0.4, 0.0))),
    Fault("NaN, infinite", "the policy gives NaN", "its action must be finite", ("period",),
          "HOLD", "the policy gave", EMERGENCY, BY_ITSELF,
          test="tests/robot/test_controller_faults.py::test_a_policy_that_gives_no_number_holds"),
    Fault("wrong size, order", "odometry in another frame", "the message is refused, and the state becomes stale",
          ("state_timeout", "period"), "HOLD", "odometry is in frame 'moon'", EMERGENCY, BY_ITSELF, other_frame),
    Fault("wrong size, order", "a map whose cells do not fit its size",
          "all that is known of obstacles counts as stale", ("period",),
          "HOLD", "map refused", EMERGENCY, "by itself, with the next good map",
          lambda rig: rig.robot.map("odom", []), good_map),
    Fault("wrong size, order", "joints in another order", "joints are found by name", (),
          "DRIVE", "", UNTOUCHED, "",
          test="tests/ros/test_joints.py::test_joints_are_found_by_name_and_commanded_in_the_contracts_order"),
    Fault("wrong size, order", "joints that are not all there", "the observation must be finite", ("period",),
          "HOLD", "missing or not finite", EMERGENCY, BY_ITSELF,
          test="tests/ros/test_joints.py::test_a_joint_that_is_missing_is_named"),
    Fault("wrong size, order", "a teleop command of another size", "a human who cannot be obeyed", ("period",),
          "FAULT", "numbers: expected", EMERGENCY, REARM,
          test="tests/ros/test_handover.py::test_an_arm_is_driven_by_hand_in_the_contracts_order"),
    Fault("clock jump", "the robot's clock goes back", "age of the state", ("period",),
          "HOLD", "the robot's state is", EMERGENCY, BY_ITSELF + " (`stamps: receipt` where clocks differ for good)",
          of_robot("age", 5.0)),
    Fault("clock jump", "the robot's clock goes ahead", "a stamp beyond `future_tolerance`", ("period",),
          "HOLD", "ahead of the clock", EMERGENCY, BY_ITSELF, of_robot("age", -5.0)),
    Fault("clock jump", "the controller's clock goes back (simulated time)", "the time of the last tick", ("period",),
          "HOLD", "the clock went back", EMERGENCY, "by itself, in the next period",
          test="tests/ros/test_controller_input.py::test_a_clock_that_goes_back_is_noticed_and_it_goes_on"),
    Fault("clock jump", "somebody sets the system's clock",
          "the loop runs by a clock that nobody sets; stamps as above", (), "DRIVE", "", UNTOUCHED, "",
          test="tests/ros/test_faults.py::test_the_loop_runs_by_a_clock_that_nobody_sets"),
    Fault("dropped", "four of five odometry messages are lost", "not at all: what comes is fresh enough", (),
          "DRIVE", "", UNTOUCHED, "", FedRig.drop),
    Fault("duplicated", "each odometry message comes twice", "stamps", (),
          "DRIVE", "", UNTOUCHED, "", FedRig.double),
    Fault("reordered", "odometry comes in another order", "a message that another one has overtaken is left out", (),
          "DRIVE", "", UNTOUCHED, "", FedRig.swap),
    Fault("corrupt model", "a policy file that was cut short", "it cannot be read", (), "not configured",
          "cannot be read as an ONNX policy", "nothing yet", "another file",
          test="tests/ros/test_controller_lifecycle.py::test_a_truncated_policy_is_refused"),
    Fault("corrupt model", "a policy file in which a bit is not what it was", "the checksum in it (not in older files)",
          (), "not configured", "is damaged", "nothing yet", "another copy",
          test="tests/robot/test_policy.py::test_a_file_with_a_checksum_in_which_any_bit_is_wrong_is_refused"),
    Fault("unknown state", "a robot where the policy never was: carried away, other units, fields in another's place",
          "distance from the states in the policy file (not in older files)", ("period", "unknown_hold_after"),
          "HOLD", "the state is unknown", EMERGENCY, "by itself, once it is back, say by hand",
          test="tests/robot/test_known_states.py::test_in_a_state_that_it_does_not_know_the_policy_does_not_drive"),
    Fault("outside of the margins", "states that come later, or commands that come at another rate, than the policy "
          "holds with", "the last second's, against the policy file (not in older files)", ("period", "window"),
          "HOLD", "the policy holds", EMERGENCY,
          "by itself, once they are within; without `margins_hold` it only warns",
          parameters=(("margins_hold", True),),
          test="tests/robot/test_margins.py::test_or_holds_where_it_is_told_to"),
    Fault("slow inference", "a tick longer than a period", "each tick's time, in status and `/diagnostics`",
          ("period", "tick_timeout"), "DRIVE", "deadlines are missed", "late", "by itself, once it is fast again",
          spoil("twist.twist.linear", "x", SLOW), slow=True, parameters=(("rate", 50.0), ("state_timeout", 5.0))),
    Fault("slow inference", "inference hangs, for longer than `tick_timeout`", "a watchdog in a thread of its own",
          ("period", "tick_timeout", "quarter"), "FAULT", "a control tick took more than 0.5 s and goes on",
          "zero by the watchdog, again and again (joints stay)",
          "kill the process and start it again; where the tick ends after all: `~/rearm`",
          spoil("twist.twist.linear", "x", STUCK), slow=True),
    Fault("teleop lost", "teleop commands stop", "age of the last command", ("teleop_timeout", "period"),
          "HOLD", "the teleop command is", GENTLE, "`~/engage` or drive (`resume`: the policy goes on by itself)",
          put("human", None), ask("engage"), before=put("human", (0.4, 0.0))),
    Fault("teleop lost", "the joystick with the dead man's switch is gone", "age of its last message",
          ("teleop_timeout", "period"), "HOLD", "the dead man's switch, when last pressed,", GENTLE,
          "`~/engage` or press it again", put("pressed", None), ask("engage"),
          before=hold_switch, parameters=HELD),
    Fault("e-stop", "the e-stop is pressed", "its topic", ("period",), "FAULT", "the e-stop is pressed", EMERGENCY,
          "let go of it, " + REARM, press_e_stop, let_go),
    Fault("e-stop", "the e-stop's sender is gone", "its silence (only with `e_stop_timeout`)",
          ("e_stop_timeout", "period"), "FAULT", "the e-stop has said nothing", EMERGENCY,
          "make it speak again, " + REARM, put("e_stop", None), let_go, before=hear_e_stop,
          parameters=(("e_stop_timeout", 1.0),)),
    Fault("node killed", "the controller fails in a tick", "the exception", ("period",), "FAULT",
          "the error's text", "zero", "configure and activate it again",
          test="tests/ros/test_controller_lifecycle.py::test_an_exception_in_the_tick_stops_the_robot_and_leaves_an_error"),
    Fault("node killed", "the controller is killed", "by the robot alone: it has no command", ("command_timeout",),
          "(none)", "", NOTHING,
          "start it again: with `autostart` and `engaged` it drives at once; a FAULT is forgotten",
          test="tests/ros/test_faults.py::test_a_controller_that_is_killed_or_frozen_leaves_a_robot_that_stands"),
    Fault("node killed", "the controller is frozen as a whole", "by the robot alone: it has no command",
          ("command_timeout",), "(none)", "", NOTHING, "by itself, once it runs again",
          test="tests/ros/test_faults.py::test_a_controller_that_is_killed_or_frozen_leaves_a_robot_that_stands"),
    Fault("DDS peer gone", "the robot's node is killed, or the network is cut", "age of the state",
          ("state_timeout", "period"), "HOLD", "the robot's state is", EMERGENCY + ", unheard", BY_ITSELF,
          test="tests/ros/test_faults.py::test_a_robot_that_is_gone_holds_the_controller_until_it_is_back"),
    Fault("disk full", "the disk fills while recording",
          "the recorder ends with 1; the controller does not wait for it", (),
          "DRIVE", "", UNTOUCHED, "make room, record anew; what was recorded can be read",
          test="tests/ros/test_record.py::test_a_disk_that_fills_ends_it_with_1_and_what_was_recorded_is_there"),
)  # fmt: skip


# ---- the table of docs/safety.md -----------------------------------------------------------------------------

WORDS = {"period": "a period", "quarter": "a quarter of that", "window": "a second"}
HEAD = ("fault", "noticed by", "within", "ms", "measured ms", "stands after ms", "state: reason", "sent", "to go on")


def table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, with what ``faults.py`` has measured (by name)."""
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(cells(fault, measured.get(fault.name, {})))} |" for fault in FAULTS]
    return "\n".join(lines)


def cells(fault: Fault, figures: Mapping[str, Any]) -> tuple[str, ...]:
    said = f"{fault.state}: {fault.reason}" if fault.reason else fault.state
    within = " + ".join(WORDS.get(name, f"`{name}`") for name in fault.within)
    longest = "" if fault.harmless else f"{fault.seconds(defaults()) * 1e3:.0f}"
    spans = (_span(figures.get(name)) for name in ("noticed_ms", "stopped_ms"))
    return (f"**{fault.kind}**: {fault.name}", fault.noticed, within, longest, *spans, said, fault.sent, fault.go_on)


def _span(figures: Mapping[str, float] | None) -> str:
    """Median to worst."""
    return "" if figures is None else f"{figures['median']:.0f} to {figures['worst']:.0f}"
