"""From one simulator to another: a policy file with the controller over ROS 2, and a robot that is not as its model.

    python benchmarks/sim_to_sim.py [--policies NAME ...] [--episodes N] [--seed N] [--json FILE|-]

Direct: the controller drives a simulated robot in this process, one tick a control period. Over ROS: the controller
node and the simulated robot are two processes, each by its own clock, and all goes over topics. The robots: one as the
policy's model has it, and one that is heavier, weaker, slower, stiffer in its joints, seen less well and computed by
another integrator in other steps with softer contacts. Both ways start from the same places. Success by mode within the
task's time, and the gap between the two, of which at most 0.02 is wanted. Writes JSON. Needs the extras sim and ros;
two minutes for 20 episodes a mode of two modes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from _result import write

from ddiffpg.controller import Controller, ControllerConfig, Operator
from ddiffpg.policy import Policy
from ddiffpg_cli.episodes import Episodes
from ddiffpg_cli.observer_node import NotSeen, Observer
from ddiffpg_cli.ros_processes import NodeProcess, private_domain
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_sim import tasks
from ddiffpg_sim.closed_loop import Conditions, run_episode
from ddiffpg_sim.deviation_file import deviation_text
from ddiffpg_sim.dynamics import Dynamics
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.signals import Deviation, Signals
from ddiffpg_sim.simulator import Simulator

WANTED = 0.02
SCAN_BEAMS, SCAN_RANGE = 180, 8.0  # as the simulated robot's node has them
ROBOTS = {
    "as its model": Deviation(),
    "another": Deviation(
        Dynamics(mass=1.3, strength=0.8, dry_friction=1.0),
        Signals(action_delay=0.08, noise=0.005, dropout=0.02),
        Simulator(timestep=0.005, integrator="Euler", cone="elliptic", contact_time=3.0, motor_lag=0.05),
    ),
}

Outcomes = dict[int, list[bool]]
"""Of each mode whether its episodes arrived."""


def direct(policy: Policy, deviation: Deviation, episodes: int, seed: int) -> Outcomes:
    """In this process."""
    contract = policy.contract
    robot = SimRobot(tasks.make(contract.task), seed, deviation=deviation)
    found: Outcomes = {}
    for mode in contract.mode_ids:
        conditions = Conditions(contract.max_steps, None, Operator(mode), SCAN_BEAMS, SCAN_RANGE)
        found[mode] = []
        for _ in range(episodes):
            robot.reset()
            controller = Controller(policy, ControllerConfig(), np.random.default_rng(seed))
            found[mode].append(run_episode(robot, controller, conditions).success)
    return found


@contextmanager
def pair(policy: Path, deviation: Deviation, seed: int, folder: Path) -> Iterator[Observer]:
    """Robot and controller, each in its process, and somebody who watches them."""
    file = folder / "robot.yaml"
    file.write_text(deviation_text(deviation) or "dynamics: {}\n", encoding="utf-8")
    task = Policy.load(policy).contract.task
    with private_domain(folder) as environment:
        about = {"task": task, "seed": seed, "deviation": str(file)}
        robot = NodeProcess("ddiffpg_sim.sim_robot_node", about, environment, folder / "robot.log")
        about = {"policy": str(policy.resolve()), "autostart": True}
        controller = NodeProcess("ddiffpg.controller_node", about, environment, folder / "controller.log")
        observer = Observer(alive=lambda: (robot.check(), controller.check()))
        try:
            observer.obstacle_listeners(2)
            observer.wait("both", lambda: observer.robot and observer.controller)
            yield observer
        finally:
            observer.close()
            controller.end()
            robot.end()


def over_ros(policy: Path, deviation: Deviation, episodes: int, seed: int, folder: Path) -> Outcomes:
    """In two other processes, in real time."""
    contract = Policy.load(policy).contract
    found: Outcomes = {}
    with pair(policy, deviation, seed, folder) as observer:
        drive = Episodes(observer, contract)
        for mode in contract.mode_ids:
            accepted, reason = observer.set_parameter("controller", "mode", mode)
            assert accepted, reason
            found[mode] = [arrives(drive, contract.max_steps / contract.rate_hz) for _ in range(episodes)]
    return found


def arrives(drive: Episodes, seconds: float) -> bool:
    """One episode that has so much time."""
    drive.begin()
    try:
        arrived = drive.goal(timeout=seconds)
    except NotSeen:
        arrived = False
    if not arrived:
        said, robot = drive.observer.controller, drive.observer.robot
        after = f"{robot['time']} s of its time ({robot['slipped']} s slipped)"
        print(f"not there after {after} at {drive.position.round(2)}: {said['state']}, {said['reason']}", flush=True)
    return arrived


def share(outcomes: Outcomes) -> float:
    """Of all episodes."""
    return float(np.mean([arrived for mode in outcomes.values() for arrived in mode]))


def compare(policy: Path, deviation: Deviation, episodes: int, seed: int) -> dict[str, Any]:
    """Success by mode and in all, both ways, and the gap."""
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "direct": direct(Policy.load(policy), deviation, episodes, seed),
            "over_ros": over_ros(policy, deviation, episodes, seed, Path(folder)),
        }
    found: dict[str, Any] = {"deviation": asdict(deviation), "episodes_a_mode": episodes}
    for way, outcomes in ways.items():
        modes = {str(mode): float(np.mean(arrived)) for mode, arrived in outcomes.items()}
        found[way] = {"success": share(outcomes), "modes": modes}
    found["gap"] = abs(found["direct"]["success"] - found["over_ros"]["success"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", nargs="+", default=["pointmaze-v1"], help="names of policies that ship")
    parser.add_argument("--episodes", type=int, default=20, help="episodes a mode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", default="-", help="where to write the result; - is the screen")
    args = parser.parse_args()
    policies: dict[str, Any] = {}
    for name in args.policies:
        policies[name] = {}
        for robot, deviation in ROBOTS.items():
            found = policies[name][robot] = compare(shipped_policy(name), deviation, args.episodes, args.seed)
            both = ", ".join(f"{way} {found[way]['success']:.3f}" for way in ("direct", "over_ros"))
            print(f"{name}, {robot}: {both}", flush=True)
    result = {
        "benchmark": "sim_to_sim", "seed": args.seed, "wanted_gap": WANTED, "policies": policies,
    }  # fmt: skip
    write(result, args.json)


if __name__ == "__main__":
    main()
