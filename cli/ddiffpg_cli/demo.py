"""The demo: a simulated robot and its controller in two processes over ROS 2, and an obstacle on the chosen way.

Needs neither torch nor a display. What ROS brings is imported only when the demo runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddiffpg.contract import Contract, ContractError
from ddiffpg.observation import path_body
from ddiffpg.policy import Policy
from ddiffpg_cli.barrier import Barrier, place_barrier
from ddiffpg_cli.demo_pictures import Sample, write_pictures
from ddiffpg_cli.ros_processes import CommandProcess, NodeProcess, ProcessError, private_domain

if TYPE_CHECKING:
    from ddiffpg_cli.observer_node import Observer

UNDER_WAY = 0.3  # share of the way that lies behind the robot when the obstacle drops
START_SECONDS = 20.0
RECORDING = "recording.mcap"
PATIENCE = 2.0  # times the longest episode of the policy: how long the drive may take with an obstacle


@dataclass
class Timeline:
    """What happened when: seconds since the controller's first decision to drive, and what it came to."""

    obstacle_sent: float | None = None
    obstacle_seen: float | None = None
    mode_before: int | None = None
    mode_after: int | None = None
    switched: float | None = None
    obstacle_to_command_ms: float | None = None
    goal: float | None = None
    collided: bool = False
    obstacle: tuple[float, float] | None = None
    events: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """The goal was reached, after a change of mode, and nothing was touched."""
        return self.goal is not None and self.switched is not None and not self.collided


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
    (out / "timeline.json").write_text(json.dumps(asdict(timeline), indent=2) + "\n")
    files = write_pictures(contract, samples, out, say)
    say(f"written: {', '.join(str(file) for file in [*files, out / RECORDING, out / 'timeline.json'])}")
    say("the goal was reached by another way" if timeline.succeeded else f"not as it should be: {asdict(timeline)}")
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
    os.environ.update(environment)  # this process listens in the same domain
    from ddiffpg_cli.observer_node import Observer

    say(f"simulated robot and controller, two processes, ROS_DOMAIN_ID {environment['ROS_DOMAIN_ID']} on loopback")
    _start(contract, policy, out, seed, environment, nodes)

    def alive() -> None:
        for node in nodes:
            node.check()

    observer = Observer(alive)
    try:
        _activate(observer, nodes[-1])
        play = _Play(observer, contract, say)
        play.wait_for_drive()
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


class _Play:
    """Watches the drive and writes down what happens."""

    def __init__(self, observer: Observer, contract: Contract, say: Callable[[str], None]) -> None:
        self._observer, self._contract, self._say = observer, contract, say
        self._patience = PATIENCE * contract.max_steps / contract.rate_hz  # s
        self.timeline, self.samples = Timeline(), []
        self._began: float | None = None
        self._sent_at: float | None = None
        self._messages_before = 0
        self._barrier: Barrier | None = None
        observer.listen(self._hear)

    def wait_for_drive(self) -> None:
        observer = self._observer
        observer.obstacle_listeners(3, START_SECONDS)  # robot, controller, recorder
        observer.wait("a chosen way", lambda: observer.way and self._began is not None, START_SECONDS)
        whole = self._to_go()
        self._note(f"mode {observer.controller['mode']} chosen: {observer.controller['reason']}")
        observer.wait("progress", lambda: self._to_go() < (1 - UNDER_WAY) * whole, self._patience)

    def drop_obstacle(self) -> None:
        """Put a box ahead on the chosen way, where it leaves another way open."""
        observer, driving = self._observer, lambda: self._observer.controller["state"] == "DRIVE"
        observer.wait("a way to block", lambda: observer.way and driving(), self._patience)
        mode = int(observer.controller["mode"])
        others = [np.array(m.path, float) for m in self._contract.modes if m.id != mode]
        self._barrier = barrier = place_barrier(
            np.array(observer.way), self._position(), others, self._contract.path_tolerance
        )
        x, y = barrier.center
        self._messages_before = int(observer.controller["obstacle_messages"])
        self._sent_at = time.time()
        observer.put(1, barrier.center, barrier.size, yaw=barrier.yaw)
        self.timeline.mode_before, self.timeline.obstacle = mode, barrier.center
        self.timeline.obstacle_sent = self._since(self._sent_at)
        self._note(f"obstacle sent: a box at ({x:.2f}, {y:.2f}) m on mode {mode}'s way", self._sent_at)

    def wait_for_end(self) -> None:
        from ddiffpg_cli.observer_node import NotSeen

        try:
            self._observer.wait("the goal", lambda: self._observer.robot.get("success") == "True", self._patience)
            self.timeline.goal = self._since(time.time())
            self._note("goal reached")
        except NotSeen as error:
            self._note(str(error))
        self.timeline.collided = self._observer.robot.get("collided") == "True"
        if self.timeline.collided:
            self._note("the robot touched the obstacle")

    def _hear(self, topic: str, message: Any) -> None:
        if topic == "controller/status":
            self._hear_controller(self._observer.controller)

    def _hear_controller(self, said: dict[str, str]) -> None:
        if said["state"] not in ("DRIVE", "NO_WAY", "HOLD", "ARRIVED"):
            return
        at = float(said["now"])
        if self._began is None and said["state"] == "DRIVE":
            self._began = at
        if self._began is None or self._observer.odom is None:
            return
        x, y = self._position()
        self.samples.append(Sample(self._since(at), (x, y), int(said["mode"]), self._barrier))
        self._follow(at + 1e-3 * float(said["tick_ms"]), said)

    def _follow(self, at: float, said: dict[str, str]) -> None:
        """The first tick that knows of the obstacle, and the first that drives another way."""
        timeline = self.timeline
        if self._sent_at is None or timeline.switched is not None:
            return
        if timeline.obstacle_seen is None and int(said["obstacle_messages"]) > self._messages_before:
            timeline.obstacle_seen = self._since(at)
            self._note("obstacle seen by the controller", at)
        if int(said["mode"]) not in (-1, timeline.mode_before) and said["state"] == "DRIVE":
            timeline.mode_after, timeline.switched = int(said["mode"]), self._since(at)
            timeline.obstacle_to_command_ms = round((at - self._sent_at) * 1e3, 1)
            self._note(f"mode {timeline.mode_before} -> {timeline.mode_after}: {said['reason']}", at)
            self._note(
                f"{timeline.obstacle_to_command_ms:.1f} ms from the obstacle to the new mode's first command", at
            )

    def _note(self, text: str, at: float | None = None) -> None:
        line = f"{self._since(time.time() if at is None else at):7.3f} s  {text}"
        self.timeline.events.append(line.strip())
        self._say(line)

    def _since(self, at: float) -> float:
        return at - (at if self._began is None else self._began)

    def _to_go(self) -> float:
        """Metres left on the chosen way."""
        return float(self._observer.controller["to_go_m"])

    def _position(self) -> np.ndarray:
        """The robot's, in m; NaN before the first odometry."""
        if self._observer.odom is None:
            return np.full(2, np.nan)
        point = self._observer.odom.pose.pose.position
        return np.array([point.x, point.y])
