"""How near ``ddiffpg identify`` comes to hidden robots that were recorded.

    python benchmarks/identify.py [--tasks NAME ...] [--robots N] [--conditions NAME ...] [--far] [--json FILE|-]
    python benchmarks/identify.py --record FILE.mcap --tasks NAME --robot FILE.yaml [--seconds S] [--seed N]

Each hidden robot is drawn at random: every factor from 0.65 to 1.5, dry friction, a delay of up to 0.16 s. It is moved
about by random commands (velocities, efforts, steps of the joints) and recorded as the node sim_robot is recorded, at
50 Hz, without the wall clock. Its mass is given, as if it had been weighed; all else that the motion shows is fitted.
With exact readings, with noise, and with readings of another simulator (a quarter of the step size, Euler integration,
contacts twice as stiff). Where a policy ships, it is driven on the hidden robot, and in simulation on the identified
one, 100 episodes a mode: the gap is that between their successes, all modes together. ``--far`` draws robots whose
motors have a thirtieth to a third of their strength, with which policies do fail. ``--record`` writes one such
recording of a given robot. Writes JSON. Needs the extras train and ros; some seconds a robot on one core, for the ant a
minute.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _excited_session import record
from _result import write

from ddiffpg.policy import Policy
from ddiffpg_cli.commands.identify import pieces
from ddiffpg_cli.errors import BadInput
from ddiffpg_cli.identifying import DELAY, DRY, Identified, identify
from ddiffpg_cli.recorded_motion import read_motion
from ddiffpg_cli.recording import Recording
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_cli.transfer_axes import NOMINAL, Target
from ddiffpg_cli.transfer_grid import Bench, Trial
from ddiffpg_sim import tasks
from ddiffpg_sim.deviation_file import read_deviation
from ddiffpg_sim.dynamics import Dynamics
from ddiffpg_sim.shooting import Shooting
from ddiffpg_sim.signals import Deviation, Signals
from ddiffpg_sim.simulator import Simulator

TASKS = ("pointmaze-v1", "panda-reach", "antmaze-v1")
SECONDS = 20.0
FACTORS, MOST_DRY, MOST_DELAY = (0.65, 1.5), 0.3, 0.16  # dry friction in N or N m, delay in s
FAR = (0.03, 0.3)  # factor of the strength
EPISODES, EVALUATION_SEED = 100, 1_000_003  # a mode
DELAY_STEP = 0.02  # s: whole physics steps of all these tasks, which simulated robots have
NOISE = 0.003  # of each observed field's scale
WANTED = 0.1  # of a factor, or of the typical effort


def hidden(seed: int, far: bool) -> Deviation:
    rng = np.random.default_rng(seed)
    names = ("mass", "friction", "damping", "armature", "strength")
    factors = {name: float(np.exp(rng.uniform(*np.log(FACTORS)))) for name in names}
    dry, steps = float(rng.uniform(0.0, MOST_DRY)), int(rng.integers(MOST_DELAY / DELAY_STEP, endpoint=True))
    if far:
        factors["strength"] = float(np.exp(rng.uniform(*np.log(FAR))))
    return Deviation(Dynamics(**factors, dry_friction=dry), Signals(action_delay=DELAY_STEP * steps))


def conditions(task_name: str) -> dict[str, Deviation]:
    """What comes on top of a hidden robot."""
    task = tasks.make(task_name)
    step = 1.0 / (task.spec.rate_hz * task.substeps)
    other = Simulator(timestep=step / 4, integrator="Euler", contact_time=0.5)
    found = {"exact": Deviation(), "noise": Deviation(signals=Signals(noise=NOISE)),
             "another simulator": Deviation(simulator=other)}  # fmt: skip
    if task.spec.action.kind == "joint_position_delta":
        del found["noise"]  # it is of what the policy observes, which is the arm's tip: its joints are read exactly
    return found


def measure(folder: Path, task_name: str, condition: str, seed: int, far: bool) -> dict[str, Any]:
    robot, more, task = hidden(seed, far), conditions(task_name)[condition], tasks.make(task_name)
    signals = replace(more.signals, action_delay=robot.signals.action_delay)
    file, real = folder / f"{task_name}-{condition}-{seed}.mcap", Deviation(robot.dynamics, signals, more.simulator)
    record(file, task_name, real, SECONDS, seed)
    began = time.process_time()
    shooting = pieces(task, read_motion(Recording([file]), task).motion, 1)
    found = identify(shooting, 1.0 / task.spec.rate_hz, None, {"mass": robot.dynamics.mass})
    seconds = time.process_time() - began
    errors = _errors(robot, found, shooting, task)
    factors = [abs(e["off"]) for name, e in errors.items() if name != DELAY]
    delay = abs(errors[DELAY]["off"])
    return {"task": task_name, "condition": condition, "seed": seed, "parameters": errors,
            "worst_factor": max(factors), "delay_off_periods": delay, "within": max(factors) <= WANTED and delay <= 1.0,
            "in_interval": sum(e["low"] <= e["true"] <= e["high"] for e in errors.values()),
            "held": list(found.held), "off_before": found.before, "off": found.unexplained,
            "cpu_seconds": round(seconds, 1),
            "policy": driven(task_name, real, Deviation(found.robot.dynamics, Signals(action_delay=found.robot.delay)))}


def driven(task_name: str, real: Deviation, identified: Deviation) -> dict[str, Any] | None:
    """Success by mode of the policy that ships, on two robots, and how much they differ; None where none ships."""
    try:
        policy = Policy.load(shipped_policy(task_name))
    except BadInput:
        return None
    task, shares = tasks.make(task_name), []
    for robot in (real, identified):
        cell = Bench(policy, task, Target(robot), (), EPISODES).run(Trial(NOMINAL, None, EVALUATION_SEED))
        shares.append([outcome.success for outcome in cell.outcomes[1:]])  # the first is unconditioned
    return {"hidden": shares[0], "identified": shares[1], "gap": abs(float(np.mean(shares[0]) - np.mean(shares[1])))}


def _errors(robot: Deviation, found: Identified, shooting: Shooting, task: Any) -> dict[str, Any]:
    """How far each estimate is off: a factor in proportion, dry friction in typical efforts, the delay in periods.
    Where the strength was held, what it goes with is known in proportion to it."""
    truth = {**vars(robot.dynamics), DELAY: robot.signals.action_delay}
    if "strength" in found.held:
        truth |= {name: truth[name] / truth["strength"] for name in ("mass", "damping", "armature", DRY)}
    units = {DRY: shooting.typical_effort(), DELAY: 1.0 / task.spec.rate_hz}
    return {
        e.name: {
            "true": truth[e.name],
            "value": e.value,
            "low": e.low,
            "high": e.high,
            "off": (e.value - truth[e.name]) / units.get(e.name, truth[e.name]),
        }
        for e in found.estimates
    }


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for task, condition in dict.fromkeys((run["task"], run["condition"]) for run in runs):
        own = [run for run in runs if (run["task"], run["condition"]) == (task, condition)]
        fitted = sorted({name for run in own for name in run["parameters"]} - {DELAY})
        worst = {name: max(abs(run["parameters"][name]["off"]) for run in own if name in run["parameters"])
                 for name in fitted}  # fmt: skip
        rows.append({"task": task, "condition": condition, "robots": len(own), "within": sum(r["within"] for r in own),
                     "worst": worst, "worst_delay_periods": max(r["delay_off_periods"] for r in own),
                     "off": max(r["off"] for r in own),
                     "worst_gap": max((r["policy"]["gap"] for r in own if r["policy"]), default=None)})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), metavar="NAME")
    parser.add_argument("--robots", type=int, default=4, help="how many hidden robots, of seeds from --seed on")
    parser.add_argument("--conditions", nargs="+", default=["exact", "noise", "another simulator"], metavar="NAME")
    parser.add_argument("--far", action="store_true", help="robots on which policies fail: weak motors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of the recording of --record")
    parser.add_argument("--record", type=Path, metavar="FILE.mcap", help="only write a recording of --robot")
    parser.add_argument("--robot", type=Path, metavar="FILE.yaml", help="which robot to record")
    parser.add_argument("--json", default="-", help="where to write the result; - is the screen")
    args = parser.parse_args()
    if args.record is not None:
        robot = read_deviation(args.robot) if args.robot else Deviation()
        record(args.record, args.tasks[0], robot, args.seconds, args.seed)
        return
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for task in args.tasks:
            for seed in range(args.seed, args.seed + args.robots):
                for condition in (c for c in args.conditions if c in conditions(task)):
                    runs.append(measure(Path(folder), task, condition, seed, args.far))
                    _write(args.json, runs, args.far)
    _write(args.json, runs, args.far, last=True)


def _write(target: str, runs: list[dict[str, Any]], far: bool, last: bool = False) -> None:
    """So far: a run of hours is not lost when it is stopped."""
    result = {
        "benchmark": "identify",
        "seconds": SECONDS,
        "noise": NOISE,
        "far": far,
        "episodes": EPISODES,
        "wanted": f"factors within {WANTED:.0%} (dry friction of the typical effort), delay within a control period",
        "summary": summary(runs),
        "runs": runs,
    }
    if target != "-" or last:
        write(result, target)


if __name__ == "__main__":
    main()
