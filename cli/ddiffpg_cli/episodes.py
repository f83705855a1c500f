"""Episodes of the simulated robot with its controller over ROS 2, with barriers: for tests and benchmarks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg_cli.barrier import barrier_at, place_barrier
from ddiffpg_cli.observer_node import NotSeen, Observer


@dataclass(frozen=True)
class Tick:
    """One control tick as its status told it; ``sent`` is when its command went out (s), ``to_go`` in m."""

    state: str
    mode: int
    to_go: float
    sent: float


class Episodes:
    """Drives one episode after another with a running pair; remembers every tick of the present one."""

    def __init__(self, observer: Observer, contract: Contract) -> None:
        self.observer = observer
        self._tolerance = contract.path_tolerance
        self.ways = {mode.id: np.array(mode.path, float) for mode in contract.modes}
        self.ticks: list[Tick] = []
        self.blocked_at = math.inf  # s, the clock of Tick.sent: when the last barrier's message was published
        observer.listen(self._hear)

    def _hear(self, topic: str, message: Any) -> None:
        said = self.observer.controller
        if topic == "controller/status" and said["state"] in ("DRIVE", "NO_WAY", "HOLD", "ARRIVED"):
            sent = float(said["now"]) + 1e-3 * float(said["tick_ms"])
            self.ticks.append(Tick(said["state"], int(said["mode"]), float(said["to_go_m"]), sent))

    def begin(self) -> None:
        """A new episode: no obstacles, a new start, a controller that remembers nothing; wait until it drives."""
        observer = self.observer
        observer.transition("deactivate")
        observer.clear_obstacles()
        observer.wait("a free world", lambda: observer.robot.get("obstacles") == "0")
        observer.reset()
        if not observer.transition("activate"):
            raise NotSeen("the controller did not become active")
        self.ticks.clear()
        observer.wait("the drive", lambda: self.ticks and self.ticks[-1].state == "DRIVE" and observer.way)
        del self.ticks[:-1]  # the first may still have seen the robot where the last episode left it

    def goal(self, timeout: float = 30.0) -> bool:
        """Wait for the goal or a collision; was it the goal?"""
        self.observer.wait(
            "the end", lambda: "True" in (self._of_robot("success"), self._of_robot("collided")), timeout
        )
        return (self._of_robot("success"), self._of_robot("collided")) == ("True", "False")

    def _of_robot(self, key: str) -> str:
        return self.observer.robot[key]

    def come(self, share: float) -> None:
        """Wait until this share of the chosen way lies behind the robot."""
        whole = self.ticks[0].to_go
        self.observer.wait("progress", lambda: self.ticks[-1].to_go < (1 - share) * whole)

    def block_chosen_way(self) -> int:
        """Drop a barrier ahead, where another way stays open; the mode whose way it is, and the obstacle's id."""
        self.observer.wait("a way to block", lambda: self.ticks[-1].state == "DRIVE" and self.observer.way)
        mode = self.ticks[-1].mode
        others = [way for number, way in self.ways.items() if number != mode]
        barrier = place_barrier(np.array(self.observer.way), self.position, others, self._tolerance)
        self.blocked_at = time.time()
        self.observer.put(mode, barrier.center, barrier.size, yaw=barrier.yaw)
        return mode

    def block_others(self, mode: int) -> None:
        """A barrier across the middle of every other way."""
        for number, way in self.ways.items():
            if number != mode:
                middle = len(way) // 2
                barrier = barrier_at(way[middle], way[middle] - way[middle - 1], self._tolerance)
                self.observer.put(number, barrier.center, barrier.size, yaw=barrier.yaw)

    @property
    def position(self) -> np.ndarray:
        """Where the robot says that it is, in m."""
        if self.observer.odom is None:
            raise NotSeen("no odometry yet")
        point = self.observer.odom.pose.pose.position
        return np.array([point.x, point.y])

    @property
    def speed(self) -> float:
        """m/s in the plane; NaN before the first odometry."""
        if self.observer.odom is None:
            return np.nan
        v = self.observer.odom.twist.twist.linear
        return float(np.hypot(v.x, v.y))

    @property
    def modes(self) -> list[int]:
        """The modes that drove, in order, without repetition."""
        driven = [tick.mode for tick in self.ticks if tick.state == "DRIVE"]
        return [mode for i, mode in enumerate(driven) if i == 0 or mode != driven[i - 1]]
