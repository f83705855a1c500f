"""Which loop keeps its deadlines best: a timer in the thread that takes readings in, or a thread of its own for ticks.

    python benchmarks/control_loop.py [--rate HZ] [--seconds S] [--rounds N] [--json FILE|-]

Another process sends odometry at the rate and scans of 360 beams at 40 Hz, and every loop takes both in by the
controller's own code. A tick computes for as long as one of the controller's. What is measured is how late ticks begin
after their deadlines, which are absolute. The loops take turns in short stretches. Writes milliseconds, as JSON.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _result import write

from ddiffpg.policy import Policy
from ddiffpg_cli.ros_processes import CommandProcess, private_domain
from ddiffpg_cli.shipped import shipped_policy

TICK_SECONDS, SCAN_HZ, BEAMS = 0.0007, 40.0, 360
OVERRUN_AT, OVERRUN_PERIODS = 50, 3.5  # one tick of each stretch takes that many periods
LOOPS = ("timer, single executor", "timer, events executor", "own thread, single executor")


class Ticks:
    """Keeps when each tick began; computes like one; overruns once."""

    def __init__(self, period: float) -> None:
        self._period = period
        self.begun: list[float] = []

    def __call__(self) -> None:
        self.begun.append(time.perf_counter())
        seconds = OVERRUN_PERIODS * self._period if len(self.begun) == OVERRUN_AT else TICK_SECONDS
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    def lateness(self) -> np.ndarray:
        """Seconds after the deadline, of every tick after the overrun. The grid is the one with the least lateness in
        all: with one that most ticks fit a tick of a microsecond before its deadline is nearly a period late."""
        after = np.array(self.begun[OVERRUN_AT + 1 :])
        phase = np.mod(after, self._period)
        shifts = [np.mod(phase - p, self._period) for p in phase]
        return min(shifts, key=np.mean)


def stretch(loop: str, rate: float, seconds: float) -> dict[str, Any]:
    import rclpy
    from rclpy.clock import Clock, ClockType
    from rclpy.node import Node

    from ddiffpg.inputs_node import PARAMETERS, Inputs
    from ddiffpg.run_node import make_executor

    node, ticks = Node("loop"), Ticks(1.0 / rate)
    settings: Any = {spec.name: spec.default for spec in PARAMETERS}
    contract = Policy.load(shipped_policy("pointmaze-v1")).contract
    inputs = Inputs(node, contract, settings, time.time)
    executor = make_executor("events" if "events" in loop else "single")
    executor.add_node(node)
    own = "own thread" in loop
    end = time.perf_counter() + seconds
    if own:
        runner = threading.Thread(target=run_thread, args=(ticks, 1.0 / rate, lambda: time.perf_counter() < end))
        runner.start()
    else:
        node.create_timer(1.0 / rate, ticks, clock=Clock(clock_type=ClockType.STEADY_TIME))
    while time.perf_counter() < end:
        executor.spin_once(timeout_sec=0.05)
    if own:
        runner.join()
    executor.remove_node(node)
    heard = inputs.stamps
    node.destroy_node()
    if set(heard) != {"odom_topic", "scan_topic"}:
        raise RuntimeError(f"{loop}: no readings came ({rclpy.get_rmw_implementation_identifier()})")
    expected = seconds * rate - OVERRUN_PERIODS
    return {"lateness": ticks.lateness(), "ticks": len(ticks.begun), "expected": expected}


def run_thread(tick: Callable[[], None], period: float, going: Callable[[], bool]) -> None:
    """Absolute deadlines; those that an overrun has passed are left out."""
    due = time.perf_counter() + period
    while going():
        time.sleep(max(0.0, due - time.perf_counter()))
        tick()
        due += period * max(1, math.ceil((time.perf_counter() - due) / period))


def send(rate: float) -> None:
    """Odometry and scans, until the process is ended."""
    import rclpy
    from nav_msgs.msg import Odometry
    from rclpy.node import Node
    from sensor_msgs.msg import LaserScan

    from ddiffpg.messages_node import LATEST, SENSOR

    rclpy.init()
    node = Node("sensor")
    odometry, scan = node.create_publisher(Odometry, "odom", LATEST), node.create_publisher(LaserScan, "scan", SENSOR)
    state, beams = Odometry(), LaserScan(angle_increment=2 * math.pi / BEAMS, range_max=8.0, ranges=[5.0] * BEAMS)
    state.header.frame_id, state.pose.pose.orientation.w = "odom", 1.0
    due, count = time.perf_counter(), 0
    while True:
        for message, publisher in ((state, odometry), (beams, scan)):
            if publisher is odometry or count % max(1, round(rate / SCAN_HZ)) == 0:
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
                publisher.publish(message)
        count, due = count + 1, due + 1.0 / rate
        time.sleep(max(0.0, due - time.perf_counter()))


def main() -> None:
    args = parse()
    if args.send:
        send(args.rate)
    found: dict[str, list[dict[str, Any]]] = {loop: [] for loop in LOOPS}
    with tempfile.TemporaryDirectory() as folder, private_domain(Path(folder)) as environment:
        import rclpy

        rclpy.init()
        words = ["--send", "--rate", str(args.rate)]
        sensor = CommandProcess("control_loop", words, environment, Path(folder) / "sensor.log")
        try:
            for _ in range(args.rounds):
                for loop in LOOPS:
                    sensor.check()
                    found[loop].append(stretch(loop, args.rate, args.seconds))
        finally:
            sensor.end()
            rclpy.shutdown()
    result = {
        "benchmark": "control_loop",
        "settings": {"rate_hz": args.rate, "seconds": args.seconds, "rounds": args.rounds, "scan_hz": SCAN_HZ},
        "loops": {loop: summarise(stretches) for loop, stretches in found.items()},
    }
    write(result, args.json)


def summarise(stretches: list[dict[str, Any]]) -> dict[str, float]:
    late = 1e3 * np.concatenate([s["lateness"] for s in stretches])
    ticks, expected = (sum(s[key] for s in stretches) for key in ("ticks", "expected"))
    shown = {name: round(float(np.percentile(late, q)), 3) for name, q in (("p50", 50), ("p99", 99), ("p99.9", 99.9))}
    return {**{f"late_{name}_ms": value for name, value in shown.items()}, "ticks_share": round(ticks / expected, 4)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=100.0, metavar="HZ")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a stretch, s (default 5)")
    parser.add_argument("--rounds", type=int, default=6, help="stretches of each loop (default 6)")
    parser.add_argument("--json", default="benchmarks/results/control_loop.json", metavar="FILE|-")
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
