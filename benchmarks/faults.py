"""How soon each fault is noticed and the robot told to stand: a controller in a process of its own, over ROS 2.

    python benchmarks/faults.py [--rounds N] [--json FILE|-] [--table]

Brings every fault of ``_faults.py`` about that needs no special robot, at a controller that drives, each
from another moment of its period. Milliseconds from the last good message (the first bad one, the signal)
to when a listener heard of it in the status, and to the first command of zero; where a process is killed,
to when the simulated robot stood. The messages' own time is in it, and up to 20 ms between two of them.
With ``--table`` prints the table of docs/safety.md from what has been recorded, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _fault_rig import PATIENT, STANDS, FedRig, Outcome, Pair
from _faults import FAULTS, Fault, defaults, table
from _result import write
from _slow_policy import slow_down

from ddiffpg_cli.observer_node import Observer
from ddiffpg_cli.ros_processes import NodeProcess, private_domain
from ddiffpg_cli.shipped import shipped_policy

RESULT = Path(__file__).parent / "results" / "faults.json"


class Scene:
    """Node processes that end with it."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment, self._folder = environment, folder
        self._running: list[NodeProcess] = []

    def start(self, module: str, **parameters: object) -> NodeProcess:
        log = self._folder / f"{len(self._running)}.log"
        self._running.append(NodeProcess(module, parameters, self._environment, log))
        return self._running[-1]

    def end(self) -> None:
        for process in self._running:
            process.end()


@contextmanager
def scene(environment: dict[str, str], folder: Path) -> Iterator[tuple[Scene, Observer]]:
    with tempfile.TemporaryDirectory(dir=folder) as logs:
        made, observer = Scene(environment, Path(logs)), Observer()
        try:
            yield made, observer
        finally:
            observer.close()
            made.end()


def measure(rounds: int, folder: Path, rng: np.random.Generator) -> dict[str, list[Outcome]]:
    """What came of each fault, by name."""
    plain = shipped_policy("pointmaze-v1").resolve()
    slow = slow_down(plain, folder / "slow.onnx")
    found: dict[str, list[Outcome]] = {}
    with private_domain(folder) as environment:
        for fault in FAULTS:
            if not fault.test and not fault.harmless:
                hangs = fault.slow and fault.state == "FAULT"
                policy = str(slow if fault.slow else plain)
                times = [1] * rounds if hangs else [rounds]  # a tick that hangs ends with its process
                found[fault.name] = [
                    outcome for count in times for outcome in of_fault(fault, count, policy, environment, folder, rng)
                ]
                print(f"{fault.name}: {len(found[fault.name])} times", flush=True)
        found.update(of_processes(rounds, str(plain), environment, folder, rng))
    return found


def of_fault(
    fault: Fault, rounds: int, policy: str, environment: dict[str, str], folder: Path, rng: np.random.Generator
) -> list[Outcome]:
    """The same fault ``rounds`` times at one controller."""
    assert fault.strike is not None
    outcomes = []
    with scene(environment, folder) as (made, observer):
        rig = FedRig(observer)
        parameters = {**PATIENT, **dict(fault.parameters)}
        process = made.start("ddiffpg.controller_node", policy=policy, autostart=True, **parameters)
        for i in range(rounds):
            fault.before(rig)
            rig.drive()
            observer.settle(rng.uniform(0.0, 0.1))
            outcomes.append(rig.suffer(fault.strike, fault.state, fault.reason))
            if i + 1 < rounds:
                rig.heal()
                fault.mend(rig)
        if fault.slow:
            process.send(signal.SIGKILL)
    return outcomes


def of_processes(
    rounds: int, policy: str, environment: dict[str, str], folder: Path, rng: np.random.Generator
) -> dict[str, list[Outcome]]:
    """The controller killed and frozen, the robot killed, at a pair of processes."""
    found: dict[str, list[Outcome]] = {}

    def note(name: str, outcome: Outcome) -> None:
        found.setdefault(name, []).append(outcome)

    for _ in range(rounds):
        with scene(environment, folder) as (made, observer):
            pair = Pair(observer, made.start, policy)
            ready(pair, rng)
            seconds = pair.stop(pair.controller, signal.SIGSTOP, lambda p=pair: p.speed < STANDS)
            note("the controller is frozen as a whole", Outcome(None, seconds))
            pair.controller.send(signal.SIGCONT)
            ready(pair, rng)
            seconds = pair.stop(pair.controller, signal.SIGKILL, lambda p=pair: p.speed < STANDS)
            note("the controller is killed", Outcome(None, seconds))
            pair.start_controller()
            ready(pair, rng)
            seconds = pair.stop(pair.robot, signal.SIGKILL, lambda o=observer: o.controller["state"] == "HOLD")
            note("the robot's node is killed, or the network is cut", Outcome(seconds, None))
    return found


def ready(pair: Pair, rng: np.random.Generator) -> None:
    pair.drive()
    pair.observer.settle(rng.uniform(0.0, 0.1))


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    kinds: dict[str, Callable[[Outcome], float | None]] = {
        "noticed_ms": lambda outcome: outcome.noticed,
        "stopped_ms": lambda outcome: outcome.stopped,
    }
    return {"rounds": len(outcomes), **{name: spread([of(o) for o in outcomes]) for name, of in kinds.items()}}


def spread(seconds: Sequence[float | None]) -> dict[str, float] | None:
    """Milliseconds: median and worst; None where it was not to be expected."""
    known = [1e3 * value for value in seconds if value is not None]
    return {"median": round(statistics.median(known), 1), "worst": round(max(known), 1)} if known else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", default="-", help="where to write the result; - is the screen")
    parser.add_argument("--table", action="store_true", help="print the table of docs/safety.md; measure nothing")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(RESULT.read_text(encoding="utf-8"))["faults"]))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.rounds, Path(folder), np.random.default_rng(args.seed))
    names = {name for fault in FAULTS for name in fault.within}
    result = {
        "benchmark": "faults",
        "policy": "pointmaze-v1",
        "seed": args.seed,
        "seconds": {name: value for name, value in defaults().items() if name in names},
        "faults": {name: summary(outcomes) for name, outcomes in found.items()},
    }
    write(result, args.json)


if __name__ == "__main__":
    main()
