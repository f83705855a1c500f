"""Replanning in closed loop: obstacles of every kind, against never replanning, one mode after another, and periodic.

    python benchmarks/replan.py [--policy FILE.onnx] [--obstacles KIND ...] [--episodes N] [--seeds N ...]
                                [--jobs N] [--json FILE|-] [--out DIR]

The robot's controller drives the simulated robot, without ROS. Kinds of obstacles: ``none``; ``static``, there
from the start across the way that the robot begins; ``popup``, ahead of the robot at a moment that is swept along
its way; ``moving``, across the way or along it against the robot; ``several``, one that pops up and others across
other ways; ``all``, every way blocked. The controller is told of an obstacle once it is in sight. Every strategy
gets the same episodes, and begins each with the same mode. Writes a table, JSON, and with ``--out`` pictures of
the paths, those that failed first.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _replan_cases import KINDS, Case, Cases
from _replan_strategies import STRATEGIES
from _result import write

from ddiffpg.controller import Controller, ControllerConfig, Decision, Operator
from ddiffpg.decision import DRIVE
from ddiffpg.obstacles import Obstacles
from ddiffpg.policy import Policy
from ddiffpg.roadmap import TOLERANCE
from ddiffpg.tracking import Tracker
from ddiffpg_cli.arguments import existing_file, not_negative, positive, positive_number
from ddiffpg_cli.commands.run import find_task
from ddiffpg_cli.errors import BadInput
from ddiffpg_cli.output import Progress, check_json_target, table, text_out
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_sim import tasks
from ddiffpg_sim.closed_loop import declared, tell
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.task import planar

STILL = 0.02  # m/s; this and what follows for ways of the tolerance TOLERANCE, in proportion for others
RESTS = 0.05  # m that a robot at rest moves at most
SIGHT = 2.0  # m from which on an obstacle is seen
IDLE = 150  # ticks: half as long again as a way is given up for
WANTED = {"success": 0.97, "collided": 0.01, "tick_p99_ms": 5.0}


@dataclass(frozen=True)
class Sample:
    """One tick: time (s), ``position`` (m), the mode that drives (-1: none), the state, and all that stood there."""

    time: float
    position: tuple[float, float]
    mode: int
    state: str
    obstacles: tuple[Obstacle, ...]


@dataclass(frozen=True)
class Outcome:
    """How one episode went. ``seconds`` to the goal or the limit; ``switched_after`` (s) from when the controller was
    told of the first obstacle to the first command of another mode, NaN where there was none; ``least`` (m) between
    robot and obstacles; ``stopped``: at rest in the end, by itself; ``hit_at_rest``: what was touched ran into it."""

    case: Case
    strategy: str
    success: bool
    collided: bool
    hit_at_rest: bool
    stopped: bool
    seconds: float
    switched_after: float
    changes: int
    least: float
    ticks: tuple[float, ...]
    samples: tuple[Sample, ...]


class Drive:
    """One episode of a ``controller`` on a ``robot``. ``sight`` (m) is how near an obstacle must have been to be told
    of; from then on it is, wherever it goes."""

    def __init__(self, robot: SimRobot, controller: Controller, case: Case, sight: float) -> None:
        self._robot, self._controller, self._case, self._sight = robot, controller, case, sight
        self._scale = robot.task.spec.path_tolerance / TOLERANCE
        self._seen: set[int] = set()
        self._tracker = Tracker()
        self._told_at = self._switched_at = math.nan
        self._least, self._hit_at_rest = math.inf, False
        self._ticks: list[float] = []
        self._samples: list[Sample] = []

    def run(self, strategy: str, limit: int) -> Outcome:
        robot, case = self._robot, self._case
        robot.clear_obstacles()
        robot.reset(case.seed)
        while not (robot.success or robot.collided or len(self._samples) >= limit or self._idle()):
            robot.set_obstacles(case.script.at(robot.time))
            self._step()
        modes = [s.mode for s in self._samples if s.state == DRIVE]
        return Outcome(
            case,
            strategy,
            robot.success and not robot.collided,
            robot.collided,
            self._hit_at_rest,
            not robot.success and _speed(robot) < STILL * self._scale and self._samples[-1].state != DRIVE,
            robot.time,
            self._switched_at - self._told_at,
            sum(a != b for a, b in zip(modes, modes[1:])),
            self._least,
            tuple(self._ticks),
            tuple(self._samples),
        )

    def _idle(self) -> bool:
        """Has nothing moved for so long that nothing will?"""
        ago, most = self._samples[-IDLE:], RESTS * self._scale
        return len(ago) == IDLE and all(
            s.obstacles == ago[0].obstacles and math.dist(s.position, ago[0].position) < most for s in ago
        )

    def _step(self) -> None:
        robot = self._robot
        position, there = robot.state().position[:2], robot.obstacles
        gaps = [_gap(obstacle, position) for obstacle in there]
        self._seen |= {o.id for o, gap in zip(there, gaps) if gap <= self._sight}
        obstacles = tell(robot, [o for o in there if o.id in self._seen], self._tracker)
        if self._seen and math.isnan(self._told_at):
            self._told_at = robot.time
        self._least = min(self._least, *(gap - robot.task.robot_radius for gap in gaps), math.inf)
        operator = Operator(-1 if self._samples else self._case.first)
        state, begin = robot.state(), time.thread_time()
        decision = self._controller.tick(robot.time, state, obstacles, operator)
        self._ticks.append(time.thread_time() - begin)
        self._note(decision, position, there)
        before = _speed(robot)
        robot.step(decision.action)
        self._hit_at_rest = robot.collided and before < STILL * self._scale

    def _note(self, decision: Decision, position: np.ndarray, there: tuple[Obstacle, ...]) -> None:
        mode = -1 if decision.mode is None else decision.mode
        driven = next((s.mode for s in reversed(self._samples) if s.state == DRIVE), mode)
        other = decision.state == DRIVE and mode != driven
        if other and decision.now >= self._told_at and math.isnan(self._switched_at):
            self._switched_at = decision.now
        x, y = position.tolist()
        self._samples.append(Sample(decision.now, (x, y), mode, decision.state, there))


def _gap(obstacle: Obstacle, point: np.ndarray) -> float:
    """Metres from ``point [2]`` to an obstacle's surface."""
    return float(Obstacles(0.0, (declared(obstacle),)).distance(point[None]).declared[0])


def _speed(robot: SimRobot) -> float:
    return math.hypot(*robot.state().linear_velocity[:2])


@dataclass(frozen=True)
class Plan:
    """What is measured: ``count`` episodes of each kind in all, shared out over the seeds."""

    policy: Path
    kinds: tuple[str, ...]
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    count: int
    sight: float

    def parts(self) -> list[tuple[str, int, int]]:
        """Kind, seed and index of every case."""
        shares = [self.count * (i + 1) // len(self.seeds) - self.count * i // len(self.seeds)
                  for i in range(len(self.seeds))]  # fmt: skip
        return [(k, seed, i) for k in self.kinds for seed, n in zip(self.seeds, shares) for i in range(n)]


class Bench:
    """Runs the cases of a plan in one process."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._config = plan, ControllerConfig()
        self._policy = Policy.load(plan.policy)
        self._policy.warm_up()
        self._robot = SimRobot(tasks.make(self._policy.contract.task))
        self._cases = Cases(self._policy, self._robot, self._config)

    def outcomes(self, part: tuple[str, int, int]) -> list[Outcome]:
        """Of one case, by every strategy."""
        kind, seed, index = part
        case = self._cases.make(kind, seed, index, math.ceil(self._plan.count / len(self._plan.seeds)))
        found = []
        for name in self._plan.strategies:
            noise = np.random.default_rng(case.seed)
            controller = Controller(self._policy, self._config, noise, strategy=STRATEGIES[name])
            drive = Drive(self._robot, controller, case, self._plan.sight)
            found.append(drive.run(name, 2 * self._policy.contract.max_steps))
        return found


_bench: Bench | None = None  # of a process that works for others


def _begin(plan: Plan) -> None:
    global _bench
    _bench = Bench(plan)


def _work(part: tuple[str, int, int]) -> list[Outcome]:
    assert _bench is not None
    return _bench.outcomes(part)


def run(plan: Plan, jobs: int) -> Iterator[Outcome]:
    """All outcomes, in an order that does not depend on ``jobs``; how far it has come on standard error."""
    parts = plan.parts()
    shown = Progress(plan.policy.stem, len(parts))
    with contextlib.ExitStack() as stack:
        found = map(Bench(plan).outcomes, parts)
        if jobs > 1:
            spawn = multiprocessing.get_context("spawn")
            found = stack.enter_context(spawn.Pool(jobs, _begin, (plan,))).imap(_work, parts)
        for done, outcomes in enumerate(found):
            yield from outcomes
            shown.show(done + 1)
    shown.end()


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Figures of the episodes of one kind and one strategy."""
    count = len(outcomes)
    good = [o for o in outcomes if o.success]
    waited = [o.switched_after for o in outcomes if not math.isnan(o.switched_after)]
    ticks = 1e3 * np.concatenate([o.ticks for o in outcomes])
    least = [o.least for o in outcomes if math.isfinite(o.least)]
    return {
        "episodes": count,
        "success": round(len(good) / count, 4),
        "collided": round(sum(o.collided for o in outcomes) / count, 4),
        "hit_at_rest": sum(o.hit_at_rest for o in outcomes),
        "stopped": round(sum(o.stopped and not o.collided for o in outcomes) / count, 4),
        "time_to_unblocked": _mean([o.seconds / o.case.unblocked for o in good]),
        "obstacle_to_new_mode_s": _mean(waited),
        "changes": _mean([o.changes for o in outcomes]),
        "changed_episodes": sum(o.changes > 0 for o in outcomes),
        "least_clearance_m": round(min(least), 3) if least else None,
        # By the time that this process had on the processor: others on the machine do not count.
        "tick_ms_p50": round(float(np.percentile(ticks, 50)), 3),
        "tick_ms_p99": round(float(np.percentile(ticks, 99)), 3),
        "failed": [[o.case.seed, o.case.first] for o in outcomes if not o.success][:50],
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None


def report(outcomes: Sequence[Outcome], plan: Plan, commit: str) -> dict[str, Any]:
    by = {
        kind: {s: summarise([o for o in outcomes if o.case.kind == kind and o.strategy == s]) for s in plan.strategies}
        for kind in plan.kinds
    }
    return {
        "benchmark": "replan",
        "policy": plan.policy.name,
        "seeds": list(plan.seeds),
        "sight_m": plan.sight,
        "commit": commit,
        "wanted": WANTED,
        "kinds": by,
    }


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


HEAD = ("obstacles", "strategy", "goal", "collided", "stopped", "time", "new mode", "changes", "nearest", "tick p99")


def rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for kind, strategies in result["kinds"].items():
        for name, f in strategies.items():
            yield (
                kind, name, f"{f['success']:.3f}", f"{f['collided']:.3f}", f"{f['stopped']:.3f}",
                _said(f["time_to_unblocked"], "x"), _said(f["obstacle_to_new_mode_s"], " s"), _said(f["changes"]),
                _said(f["least_clearance_m"], " m"), f"{f['tick_ms_p99']:.2f} ms",
            )  # fmt: skip


def _said(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.2f}{unit}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="a policy of a maze (default: the shipped one of pointmaze-v1)")
    parser.add_argument("--obstacles", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND",
                        help=f"kinds: {', '.join(KINDS)} (default: each)")  # fmt: skip
    parser.add_argument("--strategies", nargs="+", choices=tuple(STRATEGIES), default=list(STRATEGIES), metavar="NAME",
                        help=f"of {', '.join(STRATEGIES)} (default: each)")  # fmt: skip
    parser.add_argument("--episodes", type=positive, default=200, help="of each kind, over all seeds (default 200)")
    parser.add_argument("--seeds", type=not_negative, nargs="+", default=[0])
    seen = f"m from which on an obstacle is seen (default {SIGHT:g}, in proportion to the tolerance of ways)"
    parser.add_argument("--sight", type=positive_number, metavar="M", help=seen)
    parser.add_argument("--jobs", type=positive, default=1, help="processes side by side (default 1)")
    parser.add_argument("--json", metavar="FILE|-", help="where to write the result; - is standard output")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write pictures of the paths there")
    args = parser.parse_args()
    check_json_target(args.json)
    policy = args.policy or shipped_policy("pointmaze-v1")
    try:
        planar(find_task(Policy.load(existing_file(policy, "--policy")).contract.task, policy), "this benchmark")
    except (ValueError, BadInput) as error:
        parser.error(str(error))
    kinds, strategies = tuple(dict.fromkeys(args.obstacles)), tuple(dict.fromkeys(args.strategies))
    sight = args.sight or SIGHT * Policy.load(policy).contract.path_tolerance / TOLERANCE
    plan = Plan(policy, kinds, strategies, tuple(args.seeds), args.episodes, sight)
    commit = _commit()  # of what is run, whatever happens to the files meanwhile
    outcomes = list(run(plan, args.jobs))
    result = report(outcomes, plan, commit)
    print(table(HEAD, rows(result)), file=text_out(args.json))
    if args.out is not None:
        from _replan_pictures import draw_paths

        draw_paths(outcomes, args.out, Policy.load(policy).contract)
    write(result, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
