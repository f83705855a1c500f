"""The demo: a simulated robot and its controller in two processes over ROS 2, a human who takes over, an obstacle.

Needs neither torch nor a display. What ROS brings is imported only when the demo runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ddiffpg.contract import Contract, ContractError
from ddiffpg.observation import path_body
from ddiffpg.policy import Policy
from ddiffpg_cli.demo_pictures import Sample, write_pictures
from ddiffpg_cli.ros_processes import CommandProcess, NodeProcess, ProcessError, private_domain

if TYPE_CHECKING:
    from ddiffpg_cli.demo_play import Timeline
    from ddiffpg_cli.observer_node import Observer

START_SECONDS = 20.0
RECORDING = "recording.mcap"


def run(policy: Path, out: Path, seed: int = 0, say: Callable[[str], None] = print) -> int:
    """Play the demo with ``policy`` and write pictures and a recording into ``out``; 0 where it succeeded, else 1.

    Raises ContractError or PolicyError for a policy that cannot be served, ProcessError or NotSeen
    where the nodes do not come up.
    """
    contract = Policy.load(policy).contract
    if path_body(contract) != "odom" or len(contract.path) != 2:
        raise ContractError("path", contract.path, "ways on a floor, which the demo draws (try ddiffpg run)")
    out.mkdir(parents=True, exist_ok=True)
    logs = out / "log"
    logs.mkdir(exist_ok=True)
    with private_domain(logs) as environment:
        nodes: list[CommandProcess] = []
        try:
            timeline, samples = _play(contract, policy, out, seed, environment, nodes, say)
        finally:
            for node in reversed(nodes):
                node.end()
    found = timeline.to_dict()
    (out / "timeline.json").write_text(json.dumps(found, indent=2) + "\n")
    files = write_pictures(contract, samples, out, say)
    say(f"written: {', '.join(str(file) for file in [*files, out / RECORDING, out / 'timeline.json'])}")
    good = "the policy went on in the human's mode, and reached the goal by another when that was blocked"
    say(good if timeline.succeeded else f"not as it should be: {found}")
    return 0 if timeline.succeeded else 1


def _play(
    contract: Contract,
    policy: Path,
    out: Path,
    seed: int,
    environment: dict[str, str],
    nodes: list[CommandProcess],
    say: Callable[[str], None],
) -> tuple[Timeline, list[Sample]]:
    from ddiffpg_cli.demo_play import Play
    from ddiffpg_cli.observer_node import Observer

    say(f"simulated robot and controller, two processes, ROS_DOMAIN_ID {environment['ROS_DOMAIN_ID']} on loopback")
    _start(contract, policy, out, seed, environment, nodes)

    def alive() -> None:
        for node in nodes:
            node.check()

    observer = Observer(alive)
    try:
        _activate(observer, nodes[-1])
        play = Play(observer, contract, seed, say)
        play.wait_for_drive()
        play.drive_by_hand()
        play.drop_obstacle()
        play.wait_for_end()
        return play.timeline, play.samples
    finally:
        observer.close()


def _start(
    contract: Contract, policy: Path, out: Path, seed: int, environment: dict[str, str], nodes: list[CommandProcess]
) -> None:
    """The recorder, which is ended last, the robot, and the controller, which waits to be activated."""
    logs, recording = out / "log", out / RECORDING
    recording.unlink(missing_ok=True)
    record = ["record", "--out", str(recording), "--topic", "/sim_robot/status"]
    nodes.append(CommandProcess("ddiffpg_cli", record, environment, logs / "record.log"))
    robot = {"task": contract.task, "seed": seed}
    nodes.append(NodeProcess("ddiffpg_sim.sim_robot_node", robot, environment, logs / "sim_robot.log"))
    serve = {"policy": str(policy.resolve()), "seed": seed}
    nodes.append(NodeProcess("ddiffpg.controller_node", serve, environment, logs / "controller.log"))


def _activate(observer: Observer, controller: CommandProcess) -> None:
    """Start the control loop as soon as what it says is recorded from the first word on."""
    if not observer.transition("configure"):
        raise ProcessError(f"the controller cannot be configured:\n{controller.output()[-2000:]}")
    observer.listeners("controller/status", 2, START_SECONDS)  # we and the recorder
    observer.listeners("odom", 3, START_SECONDS)  # the controller too
    observer.transition("activate")
