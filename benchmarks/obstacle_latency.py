"""From an obstacle message to the new mode's first command: robot and controller in two processes over ROS 2.

    python benchmarks/obstacle_latency.py [--policy FILE.onnx] [--episodes N] [--seed N] [--json FILE|-]

In every episode a barrier drops ahead on the chosen way, at a random moment of the drive and of the
control period. Measured on one clock: from just before the message is published to when the controller
has sent the first command of another mode. Prints milliseconds, p50 / p99 / worst, as JSON.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _result import write

from ddiffpg.policy import Policy
from ddiffpg_cli.ros_processes import NodeProcess, private_domain
from ddiffpg_cli.shipped import shipped_policy

ALLOWED_MS = 5.0  # beyond one control period


def measure(policy: Path, episodes: int, seed: int, folder: Path) -> dict[str, Any]:
    """Milliseconds by episode, and how many episodes took another way, reached the goal, touched the barrier."""
    contract = Policy.load(policy).contract
    with private_domain(folder) as environment:
        robot = {"task": contract.task, "seed": seed}
        serve = {"policy": str(policy.resolve()), "autostart": True}
        nodes = [
            NodeProcess("ddiffpg_sim.sim_robot_node", robot, environment, folder / "robot.log"),
            NodeProcess("ddiffpg.controller_node", serve, environment, folder / "controller.log"),
        ]
        try:
            return _drive(contract, nodes, episodes, np.random.default_rng(seed))
        finally:
            for node in nodes:
                node.end()


def _drive(contract: Any, nodes: list[NodeProcess], episodes: int, rng: np.random.Generator) -> dict[str, Any]:
    from ddiffpg_cli.episodes import Episodes
    from ddiffpg_cli.observer_node import Observer

    observer = Observer(alive=lambda: [node.check() for node in nodes] and None)
    observer.obstacle_listeners(2)
    observer.wait("both nodes", lambda: observer.robot and observer.controller)
    drive, milliseconds, goals = Episodes(observer, contract), [], 0
    for _ in range(episodes):
        drive.begin()
        drive.come(rng.uniform(0.0, 0.55))
        observer.settle(rng.uniform(0.0, 1.0 / contract.rate_hz))
        first = drive.block_chosen_way()
        goals += drive.goal()
        sent = drive.blocked_at
        switched = next((t for t in drive.ticks if t.sent > sent and t.state == "DRIVE" and t.mode != first), None)
        if switched is not None:
            milliseconds.append((switched.sent - sent) * 1e3)
    observer.close()
    return {"switched": len(milliseconds), "goals": goals, "milliseconds": milliseconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="a policy file (default: the shipped one for pointmaze-v1)")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", default="-", help="where to write the result; - is the screen")
    args = parser.parse_args()
    policy = args.policy or shipped_policy("pointmaze-v1")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(policy, args.episodes, args.seed, Path(folder))
    period = 1e3 / Policy.load(policy).contract.rate_hz
    taken = found.pop("milliseconds")
    p50, p99 = np.percentile(taken, (50, 99))
    result = {
        "benchmark": "obstacle_latency",
        "policy": policy.name,
        "episodes": args.episodes,
        "seed": args.seed,
        **found,
        "obstacle_to_command_ms": {"p50": round(p50, 2), "p99": round(p99, 2), "worst": round(max(taken), 2)},
        "allowed_ms": period + ALLOWED_MS,
        "within": sum(ms <= period + ALLOWED_MS for ms in taken),
    }
    write(result, args.json)


if __name__ == "__main__":
    main()
