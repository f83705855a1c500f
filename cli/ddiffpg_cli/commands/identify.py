"""``ddiffpg identify``: a robot's dynamics and delay from a recording of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import add_json, positive
from ..errors import FAILED, OK, BadInput
from ..output import check_file, check_json_target, table, text_out, write_json
from .train import check_task

if TYPE_CHECKING:
    from ddiffpg_cli.identifying import Identified
    from ddiffpg_sim.shooting import Shooting

HELP = {"identify": "fit a model's mass, friction, damping, motor strength and delay to a recording of the robot"}
EPILOG = """Parameters are factors of what the task's model says; dry_friction is in N or N m, action_delay in s. Masses
and forces are known in proportion only: give one that you know, such as the mass that you weighed. docs/transfer.md
says what to record. Ends with 1 where the model does not describe the motion, with 2 where the recording does not allow
to tell."""
PIECE = 0.1  # s, the length of the pieces that are simulated; at least one control period and LEAST readings
LEAST = 3
DOUBTFUL = 0.5  # of the motion's size: a fit that is off by more describes something else


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("recording", type=Path, nargs="+", metavar="FILE.mcap", help="the recording, or its parts")
    parser.add_argument("--task", required=True, metavar="NAME", help="whose model is fitted: one of ddiffpg tasks")
    parser.add_argument(
        "--parameters", metavar="NAME,...",
        help="fit these, and refuse where one cannot be known (default: all that can be)",
    )  # fmt: skip
    parser.add_argument(
        "--given", action="append", default=[], metavar="NAME=VALUE", help="this is known; may be repeated"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.yaml", help="write the robot as it was identified")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw what was measured and simulated, before and after (or .svg)"
    )
    parser.add_argument("--allow-gaps", action="store_true", help="leave out parts where messages are missing")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads that simulate (default 1)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    check_json_target(args.json)
    for flag, path in (("--out", args.out), ("--plot", args.plot)):
        _check_target(flag, path)
    check_task(args.task)
    wanted, given = _wanted(args.parameters), dict(_given(text) for text in args.given)
    _check_given(wanted, given)
    from ddiffpg_cli.identifying import identify
    from ddiffpg_cli.recorded_motion import read_motion
    from ddiffpg_cli.recording import Recording
    from ddiffpg_sim import tasks

    task, recording = tasks.make(args.task), Recording(args.recording)
    read = read_motion(recording, task, args.allow_gaps)
    out = text_out(args.json)
    for note in (*read.notes, *(f"{file}: was cut short, and read as far as it goes" for file in recording.cut_short)):
        print(note, file=out)
    shooting = pieces(task, read.motion, args.threads)
    found = identify(shooting, 1.0 / task.spec.rate_hz, wanted, given)
    print(_text(found, given, shooting), file=out)
    _write(args, found, given, shooting)
    facts = {"recording": [str(path) for path in args.recording], "task": args.task, "given": given}
    write_json({**facts, **_plain(found, shooting)}, args.json)
    return FAILED if found.unexplained > DOUBTFUL else OK


def pieces(task: Any, motion: Any, threads: int) -> Shooting:
    """``motion`` cut into pieces."""
    from ddiffpg_cli.identifying import MOST_DELAY
    from ddiffpg_sim.shooting import Shooting

    count = max(LEAST, round(max(PIECE, 1.0 / task.spec.rate_hz) / motion.period))
    return Shooting(task, motion, count, MOST_DELAY, threads)


# ---- what was asked for --------------------------------------------------------------------------------


def _check_target(flag: str, path: Path | None) -> None:
    if path is None:
        return
    check_file(flag, path)
    if flag == "--plot" and path.suffix not in (".png", ".svg"):
        raise BadInput(f"--plot {path}: expected a name that ends with .png or .svg")


def _wanted(text: str | None) -> list[str] | None:
    return None if text is None else [_known("--parameters", name.strip()) for name in text.split(",")]


def _given(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return _known("--given", name.strip()), float(number)
    except ValueError:
        raise BadInput(f"--given {text}: expected NAME=NUMBER, such as mass=1.2") from None


def _known(flag: str, name: str) -> str:
    from ddiffpg_cli.identifying import NAMES

    if name not in NAMES:
        raise BadInput(f"{flag}: no parameter '{name}'; known: {', '.join(NAMES)}")
    return name


def _check_given(wanted: list[str] | None, given: dict[str, float]) -> None:
    from ddiffpg_sim.dynamics import Dynamics
    from ddiffpg_sim.signals import Signals

    both = [name for name in wanted or () if name in given]
    if both:
        raise BadInput(f"--given {both[0]} and --parameters {both[0]}: what is given is not fitted")
    for name, value in given.items():
        try:
            Signals(action_delay=value) if name == "action_delay" else Dynamics(**{name: value})
        except ValueError as error:
            raise BadInput(f"--given: {error}") from error


# ---- what was found --------------------------------------------------------------------------------------


def _text(found: Identified, given: dict[str, float], shooting: Shooting) -> str:
    rows = [(e.name, f"{e.value:.4g}", f"{e.low:.4g} to {e.high:.4g}") for e in found.estimates]
    rows += [(name, f"{value:.4g}", "given") for name, value in given.items()]
    rows += [(name, "as in the model", "") for name in found.held]
    lines = [table(("parameter", "value", "95 %"), rows), *found.held.values(), _fit(found, shooting)]
    return "\n".join(lines + ([_DOUBT] if found.unexplained > DOUBTFUL else []))


_DOUBT = "the model does not describe this motion: is it of this task's robot, and the odometry in the task's frame?"


def _fit(found: Identified, shooting: Shooting) -> str:
    seconds = len(shooting.starts) * shooting.count * shooting.motion.period
    off = f"{100 * found.before:.1f} % of their size as the model was, by {100 * found.unexplained:.1f} % now"
    return f"{len(shooting.starts)} pieces, {seconds:.1f} s: simulated, they are off by {off}"


def _write(args: argparse.Namespace, found: Identified, given: dict[str, float], shooting: Shooting) -> None:
    if args.plot is not None:
        from ddiffpg_cli.identified_plot import draw

        draw(args.plot, shooting, found.robot)
    if args.out is not None:
        from ddiffpg_sim.deviation_file import deviation_text
        from ddiffpg_sim.dynamics import Dynamics
        from ddiffpg_sim.signals import Deviation, Signals

        values = {name: _rounded(value) for name, value in vars(found.robot.dynamics).items()}
        robot = Deviation(Dynamics(**values), Signals(action_delay=_rounded(found.robot.delay)))
        names = ", ".join(path.name for path in args.recording)
        about = [f"identified from {names} as a robot of {args.task}: {_fit(found, shooting)}"]
        about += [f"{e.name}: {e.value:.4g}, with 95 % from {e.low:.4g} to {e.high:.4g}" for e in found.estimates]
        about += [f"{name}: given" for name in given] + [f"as in the model: {why}" for why in found.held.values()]
        args.out.write_text(deviation_text(robot, about), encoding="utf-8")


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _plain(found: Identified, shooting: Shooting) -> dict[str, Any]:
    return {
        "parameters": {e.name: {"value": e.value, "low": e.low, "high": e.high} for e in found.estimates},
        "held": dict(found.held),
        "pieces": len(shooting.starts),
        "off_before": found.before,
        "off": found.unexplained,
    }
