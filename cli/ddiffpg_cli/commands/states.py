"""``ddiffpg states``: drive a policy file in the simulator, and write into it which states it knows."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from ..arguments import add_episodes, add_json, add_seed, existing_file
from ..errors import OK
from ..output import check_json_target, share, text_out, write_json

HELP = {"states": "drive a policy in its task, and write into its file which states it knows, and a checksum"}
ENVS = 200


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.onnx", help="the policy")
    parser.add_argument("--out", type=Path, metavar="FILE.onnx", help="the file to write (default: the same)")
    add_episodes(parser, 2000, "how many to drive")
    add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ddiffpg.policy import Policy
    from ddiffpg_export.onnx_export import add_known_states
    from ddiffpg_sim.batch import BatchedEnv

    from .run import find_task

    check_json_target(args.json)
    task = find_task(Policy.load(existing_file(args.file)).contract.task, args.file)
    out = args.out or args.file
    with closing(BatchedEnv(task, min(ENVS, args.episodes))) as env:
        contract, visit = add_known_states(args.file, out, env, args.episodes, args.seed)
    known = contract.known_states
    assert known is not None
    print(
        f"{contract.task}: {visit.episodes} episodes, {share(visit.arrived)} arrived; {len(known.centers)} of "
        f"{visit.states} states are kept, usual is within {known.usual:.3g} of one\nwrote {out}",
        file=text_out(args.json),
    )
    write_json(visit.to_dict(), args.json)
    return OK
