"""``ddiffpg inspect``: what a policy file says about itself."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..arguments import add_json, existing_file
from ..errors import OK
from ..output import check_json_target, share, table, text_out, write_json

HELP = {"inspect": "check a policy file and print its contract: observation, action, modes, where it came from"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.onnx", help="the policy")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ddiffpg.policy import Policy

    check_json_target(args.json)
    contract = Policy.load(existing_file(args.file)).contract
    print(describe(contract), file=text_out(args.json))
    write_json(json.loads(contract.to_json()), args.json)
    return OK


def describe(contract: Any) -> str:
    """The contract for people to read."""
    parts = [_facts(contract), _observation(contract), _action(contract), _modes(contract)]
    return "\n\n".join(parts)


def _facts(contract: Any) -> str:
    training, known = contract.training, contract.known_states
    rows = [
        ("task", contract.task),
        ("robot", f"{contract.robot}, radius {contract.robot_radius:g} m"),
        ("rate", f"{contract.rate_hz:g} Hz, at most {contract.max_steps} steps"),
        ("way", f"{', '.join(contract.path)}; off it at {contract.path_tolerance:g} m"),
        ("denoising steps", f"{contract.denoising_steps}, {contract.noise_dim} numbers of noise"),
        ("candidates", f"{contract.candidates}" + (", a mode's critic chooses" if contract.candidates > 1 else "")),
        ("trained", f"{training.transitions} transitions, seed {training.seed}, commit {training.commit or 'unknown'}"),
        ("randomised", _randomised(contract.randomisation)),
        ("known states", "not recorded" if known is None else f"{len(known.centers)}, within {known.usual:.3g} of one"),
        ("margins", margins_text(contract)),
        ("contract", f"version {contract.version}"),
    ]
    return table(("", ""), rows).lstrip("\n").lstrip()


def margins_text(contract: Any) -> str:
    """In which range the policy says that it holds."""
    m = contract.margins
    if m is None:
        return "not recorded"
    noise = ", ".join(f"{f.name} {n:.2g} {f.unit}" for f, n in zip(contract.observation, m.noise))
    return (f"every mode's success at least {m.success:g} up to {m.delay:g} s of delay, "
            f"from {m.rate_low:g} to {m.rate_high:g} Hz, noise up to {noise}")


def _randomised(randomisation: dict[str, Any]) -> str:
    """What varied in training, each with its range and unit."""
    prefixes = {"dynamics": "", "signals": "", "start": "start "}
    shown = [f"{prefix}{name} {_range(value)}" for section, prefix in prefixes.items()
             for name, value in randomisation.get(section, {}).items()]  # fmt: skip
    return f"{', '.join(shown)} (seed {randomisation.get('seed')})" if shown else "nothing"


def _range(value: dict[str, Any]) -> str:
    low, high = (value["normal"]["low"], value["normal"]["high"]) if "normal" in value else next(
        ends for kind, ends in value.items() if kind != "unit")  # fmt: skip
    return f"{low:g} to {high:g} {value['unit']}"


def _observation(contract: Any) -> str:
    rows = [(i, f.name, f.source, f.joint or "", f.unit) for i, f in enumerate(contract.observation)]
    return table(("observation", "name", "source", "joint", "unit"), rows)


def _action(contract: Any) -> str:
    rows = [(i, f.name, f.joint or "", f.unit, f"{f.low:g}", f"{f.high:g}") for i, f in enumerate(contract.action)]
    text = f"action kind {contract.action_kind}\n" + table(("action", "name", "joint", "unit", "low", "high"), rows)
    limits = [(j.joint, f"{j.low:g}", f"{j.high:g}") for j in contract.joint_limits]
    return text + (f"\n\n{table(('joint', 'lowest', 'highest'), limits)}" if limits else "")


def _modes(contract: Any) -> str:
    rows = []
    for m in contract.modes:
        end = ", ".join(f"{c:.2f}" for c in m.path[-1])
        rows.append((m.id, share(m.success), share(m.adherence), share(m.returns), f"{m.mean_steps:.0f}", f"({end})"))
    return table(("mode", "success", "adherence", "return", "steps", "ends at"), rows)
