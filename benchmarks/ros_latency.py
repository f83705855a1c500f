"""From a sensor's message to the command, over DDS between processes: the controller beside a bare rclpy echo.

    python benchmarks/ros_latency.py [--policy FILE.onnx] [--rates HZ ...] [--seconds S] [--rounds N]
                                     [--executor single|events] [--json FILE|-]

This process is the sensor: it sends odometry at the rate and a scan of 360 beams ten times a second, and takes the
commands. What answers is a process of its own: an echo that does nothing but answer, or the controller, once with a
tick as soon as odometry comes (``state``), once with one by the clock (``timer``), which adds the wait for it. They
take turns in short stretches, so that all see the same machine; then once more with a busy process on each core. The
time of a command is that at which the middleware had it here. Writes milliseconds, p50 / p99 / p99.9, as JSON:
"overhead" is the difference of two such percentiles; "without tick" leaves out what the controller says that its tick
took, which is the time from reading its inputs to having sent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _result import write

from ddiffpg_cli.ros_processes import NodeProcess, private_domain
from ddiffpg_cli.shipped import shipped_policy

RATES = (50.0, 100.0, 250.0, 500.0)
ECHO, STATE, TIMER = SUBJECTS = ("echo", "state", "timer")
BEAMS, SCAN_HZ = 360, 10.0
WARM_UP = 0.5  # s of each stretch that do not count
WANTED_OVERHEAD_MS, WANTED_MISSES = 0.5, 0.001


@dataclass
class Found:
    """What one subject has shown so far: ms from message to command, ms of the tick alone, ticks, missed deadlines."""

    latency: list[float] = field(default_factory=list)
    tick: list[float] = field(default_factory=list)
    sent: int = 0
    ticks: int = 0
    missed: int = 0


class Sensor:
    """Sends to one subject at a time, and keeps the bytes of what comes back."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticStatus
        from geometry_msgs.msg import TwistStamped
        from nav_msgs.msg import Odometry
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from sensor_msgs.msg import LaserScan

        from ddiffpg.messages_node import EVENTS, LATEST, SENSOR

        rclpy.init()
        self.node, self._executor = Node("sensor"), SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._odometry = {s: self.node.create_publisher(Odometry, f"/{s}/odom", LATEST) for s in SUBJECTS}
        self._scans = {s: self.node.create_publisher(LaserScan, f"/{s}/scan", SENSOR) for s in SUBJECTS}
        self.commands: list[tuple[int, bytes]] = []  # received (ns), as it came
        self.statuses: list[bytes] = []
        for subject in SUBJECTS:
            self.node.create_subscription(TwistStamped, f"/{subject}/cmd_vel", self._take, EVENTS, raw=True)
        for subject in (STATE, TIMER):
            topic = f"/{subject}/controller/status"
            self.node.create_subscription(DiagnosticStatus, topic, lambda m: self.statuses.append(m), EVENTS, raw=True)
        self._message = Odometry()
        self._message.header.frame_id = "odom"
        self._message.pose.pose.orientation.w = 1.0
        ranges = [5.0] * BEAMS
        self._scan = LaserScan(angle_min=-math.pi, angle_increment=2 * math.pi / BEAMS, range_max=8.0, ranges=ranges)

    def _take(self, data: Any, info: Any) -> None:
        self.commands.append((info["received_timestamp"], data))

    def drive(self, subject: str, rate: float, seconds: float) -> int:
        """Send for so long, and take what comes; how many odometry messages were sent after the warm-up."""
        self.commands, self.statuses = [], []
        start = time.perf_counter()
        count, every = round(seconds * rate), max(1, round(rate / SCAN_HZ))
        for n in range(count):
            self._spin(start + n / rate)
            if n % every == 0:
                self._stamp(self._scan)
                self._scans[subject].publish(self._scan)
            self._message.pose.pose.position.y = 0.02 * math.sin(n / rate)
            self._stamp(self._message)
            self._odometry[subject].publish(self._message)
        self._spin(time.perf_counter() + 0.2)
        return count - round(WARM_UP * rate)

    def _stamp(self, message: Any) -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)

    def _spin(self, until: float) -> None:
        while (left := until - time.perf_counter()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def wait_for_listeners(self, alive: list[NodeProcess], timeout: float = 30.0) -> None:
        end = time.monotonic() + timeout
        publishers = self._odometry.values()
        while not all(p.get_subscription_count() for p in publishers):
            for process in alive:
                process.check()
            if time.monotonic() > end:
                raise TimeoutError(f"not all of {SUBJECTS} listen to odometry after {timeout:g} s")
            self._executor.spin_once(timeout_sec=0.05)

    def transition(self, subject: str, number: int) -> None:
        """Ask the controller for a transition of its life cycle."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        client = self.node.create_client(ChangeState, f"/{subject}/controller/change_state")
        client.wait_for_service(timeout_sec=20.0)
        future = client.call_async(ChangeState.Request(transition=Transition(id=number)))
        self._executor.spin_until_future_complete(future, timeout_sec=20.0)
        result = future.result()
        if result is None or not result.success:
            raise RuntimeError(f"{subject}: transition {number} failed")
        self.node.destroy_client(client)


def main() -> None:
    args = parse()
    runs = []
    with tempfile.TemporaryDirectory() as folder, private_domain(Path(folder)) as environment:
        sensor = Sensor()
        for load in ("idle", "busy"):
            with busy_processes(load == "busy"):
                for rate in args.rates:
                    found = measure(sensor, args, rate, environment, Path(folder))
                    runs.append(summarise(load, rate, found))
                    print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    result = {
        "benchmark": "ros_latency",
        "settings": {"policy": args.policy.name, "executor": args.executor, "seconds": args.seconds,
                     "rounds": args.rounds, "beams": BEAMS, "scan_hz": SCAN_HZ,
                     "busy": f"{os.cpu_count()} processes that compute without end, one for each core"},
        "wanted": {"overhead_p99_ms_idle": WANTED_OVERHEAD_MS, "missed_share_100_hz": WANTED_MISSES},
        "runs": runs,
    }  # fmt: skip
    write(result, args.json)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--policy", type=Path, default=shipped_policy("pointmaze-v1"), metavar="FILE.onnx")
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES), metavar="HZ")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a stretch, s (default 5)")
    parser.add_argument("--rounds", type=int, default=6, help="stretches of each subject (default 6)")
    parser.add_argument("--executor", choices=("single", "events"), default="single", help="of echo and controller")
    parser.add_argument("--json", default="benchmarks/results/ros_latency.json", metavar="FILE|-")
    return parser.parse_args()


@contextlib.contextmanager
def busy_processes(wanted: bool) -> Iterator[None]:
    count = (os.cpu_count() or 1) if wanted else 0
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(
    sensor: Sensor, args: argparse.Namespace, rate: float, environment: dict[str, str], folder: Path
) -> dict[str, Found]:
    """Each subject in turn, for so many rounds."""
    from lifecycle_msgs.msg import Transition

    found = {subject: Found() for subject in SUBJECTS}
    nodes = start(args, rate, environment, folder)
    try:
        for subject in (STATE, TIMER):
            sensor.transition(subject, Transition.TRANSITION_CONFIGURE)
        sensor.wait_for_listeners(nodes)
        for _ in range(args.rounds):
            for subject in SUBJECTS:
                if subject != ECHO:
                    sensor.transition(subject, Transition.TRANSITION_ACTIVATE)
                found[subject].sent += sensor.drive(subject, rate, args.seconds)
                take(found[subject], subject, sensor)
                if subject != ECHO:
                    sensor.transition(subject, Transition.TRANSITION_DEACTIVATE)
    finally:
        for node in nodes:
            node.end()
    return found


def start(args: argparse.Namespace, rate: float, environment: dict[str, str], folder: Path) -> list[NodeProcess]:
    def namespace(name: str) -> tuple[str, str]:
        return ("-r", f"__ns:=/{name}")

    nodes = [
        NodeProcess("_latency_echo", {"executor": args.executor}, environment, folder / "echo.log", *namespace(ECHO))
    ]
    for trigger in (STATE, TIMER):
        serve = {"policy": str(args.policy.resolve()), "rate": rate, "trigger": trigger, "executor": args.executor}
        log = folder / f"{trigger}.log"
        nodes.append(NodeProcess("ddiffpg.controller_node", serve, environment, log, *namespace(trigger)))
    return nodes


def take(found: Found, subject: str, sensor: Sensor) -> None:
    """Add what the stretch that was just driven has shown."""
    from geometry_msgs.msg import TwistStamped
    from rclpy.serialization import deserialize_message

    commands = [(received, deserialize_message(data, TwistStamped)) for received, data in sensor.commands]
    stamped = [(received, c.header.stamp.sec + 1e-9 * c.header.stamp.nanosec) for received, c in commands]
    if not stamped:
        raise RuntimeError(f"{subject} sent no commands")
    begin = 1e-9 * stamped[0][0] + WARM_UP
    if subject == ECHO:
        found.latency += [1e3 * (1e-9 * received - stamp) for received, stamp in stamped if stamp > begin]
        return
    ticks = [values for values in map(read_status, sensor.statuses) if "tick_ms" in values]
    driving = [t for t in ticks if t["state"] == "DRIVE" and float(t["now"]) > begin]
    found.ticks += len(driving)
    found.missed += int(driving[-1]["missed_deadlines"]) - int(driving[0]["missed_deadlines"])
    match(found, stamped, driving)


def match(found: Found, commands: list[tuple[int, float]], ticks: list[dict[str, str]]) -> None:
    """A command belongs to the tick during which it was made, and that says which odometry it was made from."""
    begins = np.array([float(t["now"]) for t in ticks])
    seen: set[float] = set()
    for received, made in commands:
        n = int(np.searchsorted(begins, made + 2e-6, side="right")) - 1
        if n < 0 or made > begins[n] + 1e-3 * float(ticks[n]["tick_ms"]) + 1e-5:
            continue
        odometry = dict(part.split(":") for part in ticks[n]["stamps"].split(","))["odom_topic"]
        if float(odometry) in seen:  # a tick with nothing new, by the clock: the wait for it is another matter
            continue
        seen.add(float(odometry))
        found.latency.append(1e3 * (1e-9 * received - float(odometry)))
        found.tick.append(float(ticks[n]["tick_ms"]))


def read_status(data: bytes) -> dict[str, str]:
    from diagnostic_msgs.msg import DiagnosticStatus
    from rclpy.serialization import deserialize_message

    return {pair.key: pair.value for pair in deserialize_message(data, DiagnosticStatus).values}


def summarise(load: str, rate: float, found: dict[str, Found]) -> dict[str, Any]:
    subjects: dict[str, dict[str, Any]] = defaultdict(dict)
    echo = np.array(found[ECHO].latency)
    for subject, one in found.items():
        latency, tick = np.array(one.latency), np.array(one.tick)
        subjects[subject] = {"sent": one.sent, "answered": len(latency), "ms": percentiles(latency)}
        if subject != ECHO:
            subjects[subject] |= {
                "tick_ms": percentiles(tick),
                "without_tick_ms": percentiles(latency - tick),
                "overhead_ms": difference(latency, echo),
                "overhead_without_tick_ms": difference(latency - tick, echo),
                "ticks": one.ticks,
                "missed_share": round(one.missed / max(1, one.ticks + one.missed), 6),
            }
    return {"load": load, "rate_hz": rate, **subjects}


def percentiles(values: np.ndarray) -> dict[str, float]:
    return {name: round(float(np.percentile(values, q)), 4) for name, q in (("p50", 50), ("p99", 99), ("p99.9", 99.9))}


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    a, b = percentiles(ours), percentiles(theirs)
    return {name: round(a[name] - b[name], 4) for name in a}


if __name__ == "__main__":
    main()
