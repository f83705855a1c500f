"""The command ``ddiffpg``. Subcommands are in ``commands/``; each imports what it needs when it runs."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from .arguments import Parser
from .errors import FAILED, INTERRUPTED, explain

# name of the subcommand -> module in commands/ that has HELP[name], configure(name, parser) and run(args) -> exit code
COMMANDS = {
    "tasks": "tasks",
    "train": "train",
    "sweep": "sweep",
    "eval": "evaluate",
    "distill": "export",
    "export": "export",
    "states": "states",
    "adapt": "adapt",
    "inspect": "inspect",
    "transfer": "transfer",
    "run": "run",
    "film": "film",
    "demo": "demo",
    "record": "record",
    "replay": "replay",
    "report": "report",
    "identify": "identify",
    "bench": "bench",
}
EPILOG = """exit codes: 0 it went well; 1 the thing failed (a goal not reached, an export refused, an obstacle touched);
2 bad input (an unknown task, a wrong file, a wrong flag). Errors are one line; --debug adds the traceback."""


class ShowVersion(argparse.Action):
    """Prints the installed version and ends. Looks it up only then: that costs more than all the rest of ``--help``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        try:
            print(f"ddiffpg {metadata.version('ddiffpg-stack')}")
        except metadata.PackageNotFoundError:
            print("ddiffpg, run from a checkout that is not installed")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands. Imports nothing but the standard library."""
    parser = Parser(
        prog="ddiffpg",
        description="Learn several ways to do a robot task, export them with their modes, serve them in ROS 2.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(f"ddiffpg_cli.commands.{module_name}")
        sub = subparsers.add_parser(name, help=module.HELP[name], description=module.HELP[name])
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        module.configure(name, sub)
        sub.set_defaults(command=name, run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. Raises nothing but SystemExit for ``--help`` and wrong flags."""
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print(f"ddiffpg {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (such as head) has left: that is no failure, and Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        text, code = explain(error)
        print(f"ddiffpg {args.command}: {text}", file=sys.stderr)
        return code
