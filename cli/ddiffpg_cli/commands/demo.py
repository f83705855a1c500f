"""``ddiffpg demo``: simulated robot and controller in two processes over ROS 2, and an obstacle on the way."""

from __future__ import annotations

import argparse

HELP = {"demo": "simulated robot and controller over ROS 2: an obstacle drops onto the way, another is taken"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from ddiffpg_cli import demo

    return demo.run(args)
