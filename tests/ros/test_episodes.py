"""Whole episodes in two processes over DDS: to the goal, another way round an obstacle, or a stop.

One pair of processes drives all episodes of a policy. An obstacle drops at a random moment; the seeds are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

from ddiffpg.policy import Policy
from ddiffpg_cli.barrier import SIZE, place_barrier

EPISODES = 20
SHIPPED = Path(__file__).resolve().parents[2] / "policies" / "pointmaze-v1.onnx"


@pytest.fixture(scope="module", params=["field", "shipped"])
def policy(request: pytest.FixtureRequest) -> Path:
    """A policy made from the maze's own ways, and the trained one that ships."""
    if request.param == "field":
        return request.getfixturevalue("field_policy")
    if not SHIPPED.is_file():
        pytest.skip(f"{SHIPPED.name} is not there yet")
    return SHIPPED


@dataclass(frozen=True)
class Tick:
    """One control tick as its status told it."""

    state: str
    mode: int
    to_go: float


class Drive:
    """The running pair; remembers every tick of the present episode."""

    def __init__(self, observer, contract) -> None:
        self.observer = observer
        self.ways = {mode.id: np.array(mode.path, float) for mode in contract.modes}
        self.ticks: list[Tick] = []
        observer.listen(self._hear)

    def _hear(self, topic: str, message) -> None:
        said = self.observer.controller
        if topic == "controller/status" and said["state"] in ("DRIVE", "NO_WAY", "HOLD", "ARRIVED"):
            self.ticks.append(Tick(said["state"], int(said["mode"]), float(said["to_go_m"])))

    def begin(self) -> None:
        """A new episode: no obstacles, a new start, a controller that remembers nothing; wait until it drives."""
        observer = self.observer
        observer.transition("deactivate")
        observer.clear_obstacles()
        observer.wait("a free world", lambda: observer.robot.get("obstacles") == "0")
        observer.reset()
        assert observer.transition("activate")
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
        mode = self.ticks[-1].mode
        others = [way for number, way in self.ways.items() if number != mode]
        barrier = place_barrier(np.array(self.observer.way), self.position, others)
        self.observer.put(mode, barrier.center, SIZE, yaw=barrier.yaw)
        return mode

    def block_others(self, mode: int) -> None:
        """A barrier across the middle of every other way."""
        for number, way in self.ways.items():
            if number != mode:
                (x, y), (dx, dy) = way[len(way) // 2], way[len(way) // 2] - way[len(way) // 2 - 1]
                self.observer.put(number, (x, y), SIZE, yaw=float(np.arctan2(dy, dx)))

    @property
    def position(self) -> np.ndarray:
        point = self.observer.odom.pose.pose.position
        return np.array([point.x, point.y])

    @property
    def modes(self) -> list[int]:
        """The modes that drove, in order, without repetition."""
        driven = [tick.mode for tick in self.ticks if tick.state == "DRIVE"]
        return [mode for i, mode in enumerate(driven) if i == 0 or mode != driven[i - 1]]


@pytest.fixture(scope="module")
def drive(policy, module_nodes, ros_environment):
    from ddiffpg_cli.observer_node import Observer

    robot = module_nodes.start("ddiffpg_sim.sim_robot_node", seed=1)
    controller = module_nodes.start("ddiffpg.controller_node", policy=str(policy), autostart=True)
    observer = Observer(alive=lambda: (robot.check(), controller.check()))
    observer.obstacle_listeners(2)
    observer.wait("both", lambda: observer.robot and observer.controller)
    yield Drive(observer, Policy.load(policy).contract)
    observer.close()
    controller.end()
    robot.end()


def test_the_goal_is_reached_without_a_false_switch(drive):
    for episode in range(EPISODES):
        drive.begin()
        assert drive.goal(), f"episode {episode}: {drive.observer.robot}"
        assert len(drive.modes) == 1, f"episode {episode} switched: {drive.modes}"
        assert {tick.state for tick in drive.ticks} <= {"DRIVE", "ARRIVED"}


def test_another_way_is_taken_when_an_obstacle_drops_ahead(drive):
    rng = np.random.default_rng(0)
    failed = []
    for episode in range(EPISODES):
        drive.begin()
        drive.come(rng.uniform(0.0, 0.65))  # later there is no room left before the goal
        first = drive.block_chosen_way()
        if not drive.goal() or drive.modes[-1] == first:
            failed.append((episode, first, drive.modes, drive.observer.robot))
    assert len(failed) <= 1, failed


def test_it_stops_where_every_way_is_blocked_and_goes_on_when_one_opens(drive):
    rng = np.random.default_rng(1)
    for episode in range(EPISODES):
        drive.begin()
        drive.come(rng.uniform(0.0, 0.6))
        chosen = drive.block_chosen_way()
        drive.block_others(chosen)
        drive.observer.wait("the stop", lambda: drive.ticks[-1].state == "NO_WAY")
        drive.observer.wait("standstill", lambda: speed(drive.observer.odom) < 0.01)
        assert drive.observer.robot["collided"] == "False", f"episode {episode}"
        drive.observer.remove(int(rng.choice(list(drive.ways))))
        assert drive.goal(), f"episode {episode}: {drive.observer.robot}"


def speed(odometry) -> float:
    v = odometry.twist.twist.linear
    return float(np.hypot(v.x, v.y))
