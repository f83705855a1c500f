"""``ddiffpg tasks``: what can be trained on."""

from __future__ import annotations

import argparse
from typing import Any

from ..arguments import add_json
from ..errors import OK
from ..output import check_json_target, table, text_out, write_json

HELP = {"tasks": "list the tasks that policies can be trained for"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ddiffpg_sim import tasks

    check_json_target(args.json)
    described = [_describe(tasks.make(name)) for name in tasks.names()]
    rows = [(t["name"], t["robot"], len(t["observation"]), t["action"]["kind"], len(t["action"]["fields"]),
             f"{t['rate_hz']:g}", t["max_steps"], t["ways"]) for t in described]  # fmt: skip
    head = ("task", "robot", "observations", "action", "numbers", "Hz", "max steps", "ways")
    print(table(head, rows), file=text_out(args.json))
    write_json(described, args.json)
    return OK


def _describe(task: Any) -> dict[str, Any]:
    spec = task.spec
    return {
        "name": spec.name,
        "robot": spec.robot,
        "rate_hz": spec.rate_hz,
        "max_steps": spec.max_steps,
        "observation": [{"name": f.name, "source": f.source, "unit": f.unit} for f in spec.observation],
        "action": {
            "kind": spec.action.kind,
            "fields": [{"name": f.name, "unit": f.unit, "low": f.low, "high": f.high} for f in spec.action.fields],
        },
        "ways": len(task.ways),
    }
