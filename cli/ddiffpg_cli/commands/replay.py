"""``ddiffpg replay``: the controller over a recording, and where it decides otherwise than it did then."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import add_json, existing_file, positive_number
from ..errors import FAILED, OK, BadInput
from ..output import check_json_target, table, text_out, write_json

if TYPE_CHECKING:
    from ddiffpg_cli.recording import Recording
    from ddiffpg_cli.replaying import Result

HELP = {"replay": "run the controller over a recording, and show where it decides otherwise than it did then"}
EPILOG = """Ends with 0 where every decision is the same, with 1 where one differs, with 2 where the recording does not
allow to tell. What differs: the state, the mode, or a component of the command by more than the tolerance."""
SHOWN = 12


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("recording", type=Path, nargs="+", metavar="FILE.mcap", help="the recording, or its parts")
    parser.add_argument(
        "--policy", type=Path, metavar="FILE.onnx", help="run this one (default: the file that the controller had)"
    )
    parser.add_argument("--controller", metavar="NAME", help="which, where the recording has more than one")
    parser.add_argument(
        "--tolerance", type=positive_number, default=1e-3, metavar="X",
        help="a command may be off by so much, in the policy's units (default 0.001)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-gaps", action="store_true", help="go on where something that decisions depended on was not recorded"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    check_json_target(args.json)
    from ddiffpg.policy import Policy
    from ddiffpg_cli.recording import Recording, find_controller
    from ddiffpg_cli.replaying import replay

    recording = Recording(args.recording)
    controller = find_controller(recording, args.controller)
    file = _policy_file(args.policy, recording, controller)
    result = replay(recording, controller, Policy.load(file), args.tolerance)
    _check_gaps(list(result.gaps), recording, args.allow_gaps)
    out = text_out(args.json)
    for file_ in recording.cut_short:
        print(f"{file_} was cut short: replayed as far as it goes", file=out)
    print(_text(result), file=out)
    facts = {"recording": [str(path) for path in args.recording], "policy": str(file), "tolerance": args.tolerance}
    write_json({**facts, **result.to_dict()}, args.json)
    return OK if result.same else FAILED


def _policy_file(given: Path | None, recording: Recording, controller: str) -> Path:
    from ddiffpg_cli.recording import latest_parameters

    if given is not None:
        return existing_file(given, "--policy")
    recorded = latest_parameters(recording, controller).get("policy")
    if not recorded:
        raise BadInput(f"{recording.name}: lacks the parameters of {controller}; ddiffpg record puts them in")
    if not Path(recorded).is_file():
        raise BadInput(f"{recording.name}: its policy {recorded} is not here; give --policy FILE.onnx")
    return Path(recorded)


def _check_gaps(gaps: list[str], recording: Recording, allowed: bool) -> None:
    if gaps and not allowed:
        more = f", and {len(gaps) - 1} more gaps" if len(gaps) > 1 else ""
        raise BadInput(f"{recording.name}: {gaps[0]}{more}; --allow-gaps compares all the same")


def _text(result: Result) -> str:
    lines = [f"{result.controller}: {result.ticks} decisions recorded, {result.compared} compared"]
    lines += [f"not recorded, {gap}" for gap in result.gaps[:SHOWN]]
    if result.same:
        return "\n".join([*lines, f"all the same; a command is off by {result.largest:.4f} at most"])
    summary = result.to_dict()
    counts = ", ".join(f"{what} {count}" for what, count in summary["counts"].items())
    lines.append(f"{summary['differing_ticks']} differ ({counts}), the first at {result.differences[0].at:.2f} s")
    rows = [
        (f"{d.at:.2f}", d.what, d.recorded, d.replayed, "" if d.by is None else f"{d.by:.4f}")
        for d in result.differences[:SHOWN]
    ]
    lines.append(table(("s", "what", "recorded", "replayed", "off by"), rows))
    left = len(result.differences) - SHOWN
    return "\n".join(lines + ([f"and {left} more (all of them with --json)"] if left > 0 else []))
