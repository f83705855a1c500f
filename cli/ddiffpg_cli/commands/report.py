"""``ddiffpg report``: a recording as one HTML page to look at."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import existing_file
from ..errors import OK
from ..output import check_file

if TYPE_CHECKING:
    from ddiffpg.contract import Contract

HELP = {"report": "show a recording as one HTML page: where the robot went, what was decided and why, how fast"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", type=Path, nargs="+", metavar="FILE.mcap", help="the recording, or its parts")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.html", help="the page; replaced if it is there"
    )
    parser.add_argument(
        "--policy", type=Path, metavar="FILE.onnx",
        help="says names, units and limits of the command (default: the file that the controller had, if it is here)",
    )  # fmt: skip
    parser.add_argument("--controller", metavar="NAME", help="which, where the recording has more than one")


def run(args: argparse.Namespace) -> int:
    check_file("--out", args.out)
    from ddiffpg_cli.recording import Recording, find_controller, latest_parameters
    from ddiffpg_cli.report_data import collect
    from ddiffpg_cli.report_page import page

    recording = Recording(args.recording)
    controller = find_controller(recording, args.controller)
    contract = _contract(args.policy, str(latest_parameters(recording, controller).get("policy", "")))
    report = collect(recording, controller, contract)
    notes = [f"{file} was cut short: this is what there is of it" for file in recording.cut_short]
    args.out.write_text(page(report, notes), encoding="utf-8")
    print(f"{args.out}: {report.counts['decisions']} decisions in {report.duration:.1f} s")
    return OK


def _contract(given: Path | None, recorded: str) -> Contract | None:
    """Of the policy's file; None where none was given and the recorded one is not here."""
    from ddiffpg.policy import Policy

    if given is not None:
        return Policy.load(existing_file(given, "--policy")).contract
    return Policy.load(recorded).contract if recorded and Path(recorded).is_file() else None
