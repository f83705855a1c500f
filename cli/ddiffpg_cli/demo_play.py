"""What the demo plays, and what it writes down: a human takes over and gives back, then an obstacle drops onto the way.

The human drives another way than the policy has chosen, lets go as soon as the controller says that it
knows which, and asks it to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from std_srvs.srv import Trigger

from ddiffpg.contract import Contract
from ddiffpg.decision import DRIVE, POLICY, TELEOP
from ddiffpg.handoff import BLEND
from ddiffpg_cli.barrier import Barrier, place_barrier
from ddiffpg_cli.demo_pictures import Sample
from ddiffpg_cli.human import Human
from ddiffpg_cli.observer_node import NotSeen, Observer

START_SECONDS = 20.0
PATIENCE = 2.0  # times the longest episode of the policy: how long each part of the drive may take
BEFORE_HUMAN = 0.2  # m that the policy drives before the human takes over
BEFORE_OBSTACLE = 0.3  # share of the rest of the way that it drives by itself before the obstacle drops


@dataclass
class HandOver:
    """A human takes over and gives back: seconds since the controller's first decision to drive, mode ids.

    ``largest_step`` (m/s) is the most that the command changed from one tick to the next while it was led over, and
    ``step_asked`` the most that who took over asked for at once.
    """

    human_began: float | None = None
    human_in_command: float | None = None
    take_over_ms: float | None = None
    drove: int | None = None
    confidence: float | None = None
    let_go: float | None = None
    given_back: float | None = None
    give_back_ms: float | None = None
    mode: int | None = None
    largest_step: float = 0.0
    step_asked: float = 0.0


@dataclass
class Timeline:
    """What happened when: seconds since the controller's first decision to drive, and what it came to."""

    first_mode: int | None = None
    hand_over: HandOver = field(default_factory=HandOver)
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
        """The policy went on in the human's mode, and reached the goal after a change of mode; nothing was touched."""
        kept = self.hand_over.mode is not None and self.hand_over.mode == self.hand_over.drove
        return kept and self.goal is not None and self.switched is not None and not self.collided

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Play:
    """Plays the demo's parts in their order, watches the drive and writes down what happens."""

    def __init__(self, observer: Observer, contract: Contract, seed: int, say: Callable[[str], None]) -> None:
        self._observer, self._contract, self._say = observer, contract, say
        self._rng = np.random.default_rng(seed)
        self._patience = PATIENCE * contract.max_steps / contract.rate_hz  # s
        self.timeline, self.samples = Timeline(), []
        self._began: float | None = None
        self._human: Human | None = None
        self._human_at: float | None = None  # the first command by hand
        self._let_go_at: float | None = None
        self._sent_at: float | None = None  # the obstacle
        self._last_sent: np.ndarray | None = None
        self._messages_before = 0
        self._barrier: Barrier | None = None
        observer.listen(self._hear)

    # ---- the parts -----------------------------------------------------------------------------------

    def wait_for_drive(self) -> None:
        observer = self._observer
        observer.obstacle_listeners(3, START_SECONDS)  # robot, controller, recorder
        observer.teleop_listeners(2, START_SECONDS)  # controller, recorder
        observer.wait("a chosen way", lambda: observer.way and self._began is not None, START_SECONDS)
        observer.wait("odometry", lambda: observer.odom is not None, START_SECONDS)
        self.timeline.first_mode = int(observer.controller["mode"])
        self._note(f"mode {observer.controller['mode']} chosen: {observer.controller['reason']}")
        start = self._position()
        moved = lambda: float(np.linalg.norm(self._position() - start)) > BEFORE_HUMAN  # noqa: E731
        observer.wait("progress", moved, self._patience)

    def drive_by_hand(self) -> None:
        """A human drives the way of another mode until the controller says that it is that one, lets go, gives back."""
        observer, found = self._observer, self.timeline.hand_over
        found.drove = mode = self._another_mode()
        self._human_at = time.time()
        found.human_began = self._since(self._human_at)
        self._note(f"a human begins to drive the way of mode {mode}", self._human_at)
        self._human = Human(np.array(self._contract.mode(mode).path, float), self._rng)
        observer.wait(f"mode {mode} seen to be driven by hand", lambda: self._understood() == mode, self._patience)
        found.confidence = float(observer.controller["intent_confidence"])
        self._human = None
        self._let_go_at = time.time()
        found.let_go = self._since(self._let_go_at)
        text = f"the controller understands mode {mode} (confidence {found.confidence:.2f}); the human lets go"
        self._note(text, self._let_go_at)
        answer = observer.call(Trigger, "controller/engage", Trigger.Request())
        self._note(f"engage: {answer.message}")
        observer.wait("the policy in command", lambda: found.given_back is not None, self._patience)

    def drop_obstacle(self) -> None:
        """Put a box ahead on the chosen way, where it leaves another way open."""
        observer = self._observer
        observer.wait("the policy driving", lambda: self._drives() and observer.way, self._patience)
        rest = self._to_go()
        observer.wait("progress", lambda: self._to_go() < (1 - BEFORE_OBSTACLE) * rest, self._patience)
        observer.wait("a way to block", lambda: self._drives() and observer.way, self._patience)
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
        try:
            self._observer.wait("the goal", lambda: self._observer.robot.get("success") == "True", self._patience)
            self.timeline.goal = self._since(time.time())
            self._note("goal reached")
        except NotSeen as error:
            self._note(str(error))
        self.timeline.collided = self._observer.robot.get("collided") == "True"
        if self.timeline.collided:
            self._note("the robot touched the obstacle")
        found = self.timeline.hand_over
        self._note(
            f"while it was handed over, the command changed by at most {found.largest_step:.2f} m/s from tick to tick; "
            f"{found.step_asked:.2f} m/s were asked for at once"
        )

    # ---- what is heard -------------------------------------------------------------------------------

    def _hear(self, topic: str, message: Any) -> None:
        if topic == "controller/status":
            self._hear_controller(self._observer.controller)
        elif topic == "odom" and self._human is not None:
            self._observer.drive(self._human.wish(self._position()))

    def _hear_controller(self, said: dict[str, str]) -> None:
        if said["state"] not in ("DRIVE", "NO_WAY", "HOLD", "ARRIVED", "TELEOP"):
            return
        at = float(said["now"])
        if self._began is None and said["state"] == "DRIVE":
            self._began = at
        if self._began is None or self._observer.odom is None:
            return
        x, y = self._position()
        by_hand = said["source"] == TELEOP
        self.samples.append(Sample(self._since(at), (x, y), int(said["mode"]), self._barrier, by_hand))
        done = at + 1e-3 * float(said["tick_ms"])
        self._follow_hand(done, said)
        self._follow_obstacle(done, said)

    def _follow_hand(self, at: float, said: dict[str, str]) -> None:
        """The first tick of the human's, and the first of the policy's again."""
        found = self.timeline.hand_over
        handed = False
        if self._human_at is not None and found.human_in_command is None and said["source"] == TELEOP:
            handed, found.human_in_command = True, self._since(at)
            found.take_over_ms = round((at - self._human_at) * 1e3, 1)
            self._note(f"the human is in command, {found.take_over_ms:.1f} ms after the first command by hand", at)
        if self._let_go_at is not None and found.given_back is None and said["source"] == POLICY:
            handed = True
            found.given_back, found.mode = self._since(at), int(said["mode"])
            found.give_back_ms = round((at - self._let_go_at) * 1e3, 1)
            self._note(f"the policy goes on, {found.give_back_ms:.1f} ms after that: {said['reason']}", at)
        self._follow_step(said, handed)

    def _follow_step(self, said: dict[str, str], handed: bool) -> None:
        """How far commands are apart from one tick to the next, and would be if they were not led over."""
        found = self.timeline.hand_over
        sent, wanted = (np.array(said[key].split(","), float) for key in ("sent", "wanted"))
        if self._last_sent is not None and said["in_command"] == BLEND:
            found.largest_step = round(max(found.largest_step, float(np.linalg.norm(sent - self._last_sent))), 3)
        if self._last_sent is not None and handed:
            found.step_asked = round(max(found.step_asked, float(np.linalg.norm(wanted - self._last_sent))), 3)
        self._last_sent = sent

    def _follow_obstacle(self, at: float, said: dict[str, str]) -> None:
        """The first tick that knows of the obstacle, and the first that drives another way."""
        timeline = self.timeline
        if self._sent_at is None or timeline.switched is not None:
            return
        if timeline.obstacle_seen is None and int(said["obstacle_messages"]) > self._messages_before:
            timeline.obstacle_seen = self._since(at)
            self._note("obstacle seen by the controller", at)
        if int(said["mode"]) not in (-1, timeline.mode_before) and said["state"] == DRIVE:
            timeline.mode_after, timeline.switched = int(said["mode"]), self._since(at)
            timeline.obstacle_to_command_ms = round((at - self._sent_at) * 1e3, 1)
            self._note(f"mode {timeline.mode_before} -> {timeline.mode_after}: {said['reason']}", at)
            self._note(
                f"{timeline.obstacle_to_command_ms:.1f} ms from the obstacle to the new mode's first command", at
            )

    # ---- small things --------------------------------------------------------------------------------

    def _another_mode(self) -> int:
        """The mode with the shortest way of those that the policy did not choose."""
        lengths = dict(pair.split(":") for pair in self._observer.controller["length_m"].split(","))
        others = [int(mode) for mode in lengths if int(mode) != self.timeline.first_mode]
        return min(others, key=lambda mode: float(lengths[str(mode)]))

    def _understood(self) -> int | None:
        """The mode that the controller takes the human to have begun."""
        said = self._observer.controller
        return int(said["intent"]) if said["source"] == TELEOP and said["intent"] else None

    def _drives(self) -> bool:
        """Does the policy drive?"""
        return self._observer.controller["state"] == DRIVE

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
        """The robot's, in m; the first odometry must have come."""
        assert self._observer.odom is not None
        point = self._observer.odom.pose.pose.position
        return np.array([point.x, point.y])
