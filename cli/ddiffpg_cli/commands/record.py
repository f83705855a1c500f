"""``ddiffpg record``: everything that a running controller hears and says, as MCAP."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import positive, positive_number
from ..errors import OK, BadInput, Failed

if TYPE_CHECKING:
    from ddiffpg_cli.recorder_node import RecorderNode

HELP = {"record": "record what a running controller hears, decides and sends, as MCAP; Ctrl-C ends it"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.mcap", help="the recording; never replaced")
    parser.add_argument(
        "--controller", default="/controller", metavar="NAME", help="full name of its node (default /controller)"
    )
    parser.add_argument(
        "--topic", action="append", default=[], metavar="NAME", help="record this topic too; may be given again"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="NAME", help="leave this topic out; may be given again"
    )
    parser.add_argument("--duration", type=positive_number, metavar="S", help="end after so many seconds")
    parser.add_argument("--max-mb", type=positive_number, metavar="MB", help="end when all files have this size")
    parser.add_argument(
        "--split-mb", type=positive_number, metavar="MB",
        help="begin a next file (FILE_1.mcap, ...) at this size; each can be read on its own",
    )  # fmt: skip
    parser.add_argument(
        "--keep", type=positive, metavar="N", help="with --split-mb: keep the last N files, delete older ones"
    )


def run(args: argparse.Namespace) -> int:
    _check(args)
    from ddiffpg.run_node import run as run_node
    from ddiffpg_cli.mcap_writer import MEGABYTE, Limits
    from ddiffpg_cli.recorder_node import RecorderNode, Wanted

    split, most = (None if mb is None else int(mb * MEGABYTE) for mb in (args.split_mb, args.max_mb))
    wanted = Wanted(_full(args.controller), tuple(map(_full, args.topic)), tuple(map(_full, args.without)))
    made: list[RecorderNode] = []

    def make() -> RecorderNode:
        made.append(RecorderNode(args.out, wanted, Limits(split, args.keep, most), args.duration, _say))
        return made[0]

    code = run_node(make, [])
    return _end(made[0], wanted.controller) if made else code


def _check(args: argparse.Namespace) -> None:
    """BadInput where these flags cannot be."""
    if args.keep is not None and args.split_mb is None:
        raise BadInput("--keep needs --split-mb: without it there is one file")
    if args.out.suffix != ".mcap":
        raise BadInput(f"--out {args.out}: expected a name that ends with .mcap")
    if args.out.exists():
        raise BadInput(f"--out {args.out}: is there already and is not replaced; give another name")
    if not args.out.parent.is_dir():
        raise BadInput(f"--out {args.out}: there is no directory {args.out.parent}; make it first")


def _full(name: str) -> str:
    """A full name of a node or a topic; BadInput where it is none."""
    if not name.strip("/"):
        raise BadInput(f"{name!r} is no name of a node or a topic")
    return "/" + name.strip("/")


def _end(node: RecorderNode, controller: str) -> int:
    """Say what there is, after the end."""
    recording = node.recording
    if node.error is not None:
        raise Failed(str(node.error))
    if not recording.messages:
        for file in recording.files:
            file.unlink()
        raise Failed(f"nothing was recorded: no node {controller} said anything; is it running, in this ROS_DOMAIN_ID?")
    size = sum(file.stat().st_size for file in recording.files) / 1e6
    files = ", ".join(str(file) for file in recording.files)
    why = "; the limit --max-mb is reached" if recording.full else ""
    _say(f"{recording.messages} messages of {len(recording.topics)} topics, {size:.1f} MB, in {files}{why}")
    return OK


def _say(line: str) -> None:
    print(line, flush=True)
