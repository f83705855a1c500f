"""Does it stay as it is: an hour of ticks, two minutes over ROS 2 in real time, and 200 times up and down.

    python benchmarks/soak.py [--ticks N] [--seconds N] [--rounds N] [--json FILE|-]

Ticks: the controller drives the simulated robot of a maze in this process, episode after episode with
obstacles that come and go, as fast as it can; at 100 Hz 360,000 ticks are an hour. By minute of that hour
the process's memory (RSS) and the tick's time; flat is a fitted slope that would add less than 1 MB, and
less than a tenth of the first minute's median, in an hour. ROS: a controller and a simulated robot in
two processes at 100 Hz, with the deadlines that the controller says were missed. Up and down: configure,
activate, drive, deactivate, clean up, in one process. Writes JSON.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _result import write

from ddiffpg.controller import Controller, ControllerConfig, Operator
from ddiffpg.policy import Policy
from ddiffpg.tracking import Tracker
from ddiffpg_cli.output import STDOUT
from ddiffpg_cli.ros_processes import NodeProcess, private_domain
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_sim import tasks
from ddiffpg_sim.closed_loop import Conditions, sense
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot

HZ = 100.0
MINUTE = round(60 * HZ)  # ticks
FLAT_MB, FLAT_SHARE = 1.0, 0.1  # by which an hour may raise memory, and the tick's median


def rss_mb(pid: int | str = "self") -> float:
    """Resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def slope_per_hour(by_minute: list[float]) -> float:
    """What a straight line through the values of the minutes after the first tenth gains in an hour."""
    values = np.array(by_minute[len(by_minute) // 10 :])
    return float(np.polyfit(np.arange(len(values)), values, 1)[0] * 60.0) if len(values) > 1 else 0.0


# ---- an hour of ticks ------------------------------------------------------------------------------------


def drive(policy: Policy, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """One tick after another, of one controller, without end: seconds by the wall clock, and those that this thread
    had on the processor, to which other processes do not add. The controller's time never begins anew."""
    robot = SimRobot(tasks.make(policy.contract.task), int(rng.integers(2**31)))
    controller = Controller(policy, ControllerConfig(noise_scale=1.0), rng)
    conditions = Conditions(policy.contract.max_steps, scan_beams=90)
    now, places = 0.0, [np.array(mode.path) for mode in policy.contract.modes]
    while True:
        robot.clear_obstacles()
        robot.reset()
        tracker = Tracker()
        for step in range(round(policy.contract.max_steps / policy.contract.rate_hz * HZ)):
            if step == HZ:
                way = places[rng.integers(len(places))]
                robot.set_obstacle(Obstacle(0, "box", (*way[len(way) // 2], 0.25), (0.2, 0.2, 0.25)))
            state = robot.state()
            seen = sense(robot, state, conditions, tracker)
            now += 1.0 / HZ
            state, seen = replace(state, stamp=now), replace(seen, stamp=now)
            wall, busy = time.perf_counter(), time.thread_time()
            decision = controller.tick(now, state, seen, Operator())
            busy, wall = time.thread_time() - busy, time.perf_counter() - wall
            yield wall, busy
            robot.advance(decision.action, 1.0 / HZ)
            if robot.success:
                break


def soak(policy: Policy, ticks: int, seed: int) -> dict[str, Any]:
    """By minute of 100 Hz: memory, and median and 99th percentile of the tick in ms of processor and of wall clock."""
    memory: list[float] = []
    kinds = ("processor_p50_ms", "processor_p99_ms", "wall_p50_ms", "wall_p99_ms")
    minutes: dict[str, list[float]] = {kind: [] for kind in kinds}
    running = drive(policy, np.random.default_rng(seed))
    for _ in range(2000):  # warm
        next(running)
    for _ in range(ticks // MINUTE):
        wall, busy = np.array([next(running) for _ in range(MINUTE)]).T * 1e3
        gc.collect()
        memory.append(round(rss_mb(), 2))
        figures = np.concatenate([np.percentile(busy, (50, 99)), np.percentile(wall, (50, 99))])
        for kind, value in zip(kinds, figures):
            minutes[kind].append(round(float(value), 4))
        print(f"minute {len(memory)}: {memory[-1]} MB, {dict(zip(kinds, figures.round(3).tolist()))}", flush=True)
    median = minutes["processor_p50_ms"]
    gains = {"rss_mb": slope_per_hour(memory), "processor_p50_ms": slope_per_hour(median)}
    return {
        "ticks": len(memory) * MINUTE,
        "by_minute": {"rss_mb": memory, **minutes},
        "gain_in_an_hour": {name: round(value, 4) for name, value in gains.items()},
        "flat": abs(gains["rss_mb"]) < FLAT_MB and gains["processor_p50_ms"] < FLAT_SHARE * median[0],
    }


# ---- over ROS 2 --------------------------------------------------------------------------------------------


def over_ros(policy: Path, seconds: float, folder: Path) -> dict[str, Any]:
    """Two processes at 100 Hz: ticks, missed deadlines and memory, every ten seconds."""
    from ddiffpg_cli.observer_node import Observer

    contract = Policy.load(policy).contract
    with private_domain(folder) as environment:
        serve = {"policy": str(policy.resolve()), "autostart": True, "rate": HZ}
        robot = {"task": contract.task, "rate": HZ}
        nodes = [
            NodeProcess("ddiffpg_sim.sim_robot_node", robot, environment, folder / "r.log"),
            NodeProcess("ddiffpg.controller_node", serve, environment, folder / "c.log"),
        ]
        observer = Observer(alive=lambda: [node.check() for node in nodes] and None)
        try:
            observer.wait("a drive", lambda: observer.controller.get("state") == "DRIVE" and observer.robot)
            return _watch(observer, nodes[1], seconds)
        finally:
            observer.close()
            for node in nodes:
                node.end()


def _watch(observer: Any, controller: NodeProcess, seconds: float) -> dict[str, Any]:
    """Begins a new episode whenever one has ended."""
    end, first = time.monotonic() + seconds, _counts(observer)
    memory: list[float] = []
    while time.monotonic() < end:
        memory.append(round(rss_mb(controller.pid), 2))
        part = time.monotonic() + 10.0
        while time.monotonic() < part:
            observer.spin(0.1)
            if observer.robot.get("success") == "True":
                observer.reset()
    ticks, missed = (now - then for now, then in zip(_counts(observer), first))
    return {"seconds": seconds, "ticks": ticks, "missed_deadlines": missed, "missed_share": round(missed / ticks, 5),
            "rss_mb": memory}  # fmt: skip


def _counts(observer: Any) -> tuple[int, int]:
    return int(observer.controller["ticks"]), int(observer.controller["missed_deadlines"])


# ---- up and down -------------------------------------------------------------------------------------------


def up_and_down(policy: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """Configure, activate, drive, deactivate, clean up, ``rounds`` times in one process, which must end well."""
    from ddiffpg_cli.observer_node import Observer
    from ddiffpg_cli.odometry_robot import Robot

    with private_domain(folder) as environment:
        serve = {"policy": str(policy.resolve())}
        process = NodeProcess("ddiffpg.controller_node", serve, environment, folder / "u.log")
        observer = Observer(alive=process.check)
        robot, memory, threads, took = Robot(observer), [], [], []
        try:
            for _ in range(rounds):
                began = time.monotonic()
                once(observer, robot)
                took.append(time.monotonic() - began)
                memory.append(rss_mb(process.pid))
                threads.append(len(list(Path(f"/proc/{process.pid}/task").iterdir())))
        finally:
            observer.close()
        process.send(signal.SIGTERM)
        code = process.wait()
    return {
        "rounds": rounds, "exit_code": code, "seconds_a_round": round(float(np.median(took)), 3),
        "rss_mb": {"after_10": round(memory[min(9, rounds - 1)], 2), "at_the_end": round(memory[-1], 2)},
        "kb_a_round": round(float(np.polyfit(np.arange(rounds), memory, 1)[0]) * 1e3, 2) if rounds > 1 else 0.0,
        "threads": {"after_the_first": threads[0], "at_the_end": threads[-1]},
    }  # fmt: skip


def once(observer: Any, robot: Any) -> None:
    """Up, a drive, and down. RuntimeError where a transition is refused."""
    for name in ("configure", "activate", "deactivate", "cleanup"):
        if name == "deactivate":
            robot.until("DRIVE")
        if not observer.transition(name):
            raise RuntimeError(f"the controller did not {name}: {observer.controller}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="a policy file (default: the shipped one for pointmaze-v1)")
    parser.add_argument("--ticks", type=int, default=60 * MINUTE, help=f"at least {2 * MINUTE}, two minutes")
    parser.add_argument("--seconds", type=float, default=120.0, help="over ROS 2, in real time")
    parser.add_argument("--rounds", type=int, default=200, help="up and down")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", default="-", help="where to write the result; - is the screen")
    args = parser.parse_args()
    if args.ticks < 2 * MINUTE:
        parser.error(f"--ticks {args.ticks}: expected {2 * MINUTE} or more, two minutes of {HZ:g} Hz")
    policy = args.policy or shipped_policy("pointmaze-v1")
    load = os.getloadavg()[0]
    result: dict[str, Any] = {"benchmark": "soak", "policy": policy.stem, "hz": HZ, "seed": args.seed}
    with tempfile.TemporaryDirectory() as folder:
        parts = {"ticks": lambda: soak(Policy.load(policy), args.ticks, args.seed),
                 "up_and_down": lambda: up_and_down(policy, args.rounds, Path(folder)),
                 "ros": lambda: over_ros(policy, args.seconds, Path(folder))}  # fmt: skip
        for name, measure in parts.items():
            result[name] = measure()
            if args.json != STDOUT or name == "ros":  # an hour of ticks is not lost with what comes after it
                loads = {"at_the_start": load, "at_the_end": os.getloadavg()[0]}
                write(result, args.json, load={when: round(value, 2) for when, value in loads.items()})


if __name__ == "__main__":
    main()
