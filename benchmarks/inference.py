"""How long one action takes: a distilled student in ONNX Runtime against the actor it comes from in eager torch.

    python benchmarks/inference.py [--policy FILE.onnx] [--rounds N] [--calls N] [--json FILE|-]

Everything on one thread, one observation at a time, in one process: the candidates take turns, round by
round, so that whatever else the machine does hits all of them; a ratio is the median over rounds of that
round's ratio of medians. Microseconds by the wall clock, and by the time that this thread had on the
processor, which other processes on a busy machine do not add to. Without a policy the student and the other
files are made for pointmaze-v1 with the default sizes and random weights: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from _result import write

from ddiffpg.policy import Policy
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.config import Config
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Mode
from ddiffpg_export.describe import Subject, World, make_contract
from ddiffpg_export.graph import policy_graph
from ddiffpg_export.onnx_export import to_bytes
from ddiffpg_export.student import DistillConfig, SavedStudent, StudentReport, new_student
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv

RESULT = Path(__file__).parent / "results" / "inference.json"
STUDENT, EAGER, TEACHER_STEPS = "student of 1 step, ONNX Runtime", "5-step actor, eager torch", 5
NOISE = TEACHER_STEPS * 2  # numbers of noise an action
P50_US, P99_US, RATIO = 60.0, 150.0, 15.0
WARM_UP, OBSERVATIONS = 300, 512

Act = Callable[[np.ndarray, np.ndarray], Any]
"""``(observation [O], noise [Z])`` -> an action."""


@dataclass(frozen=True)
class Times:
    """Microseconds a call of one candidate, over all rounds; ``cpu`` is what its thread had on the processor."""

    name: str
    p50: float
    p99: float
    worst: float
    cpu_p50: float
    cpu_p99: float


def new_policy() -> tuple[SavedPolicy, World]:
    """An untrained policy of the default size for pointmaze-v1, with a mode for each of its ways."""
    task, config = tasks.make("pointmaze-v1"), Config()
    torch.manual_seed(0)
    features = Features(task.spec)
    actor = DiffusionActor(features.size, task.spec.action_dim, config.actor).requires_grad_(False)
    rng = np.random.default_rng(0)
    modes = tuple(
        Mode(i, (), rng.normal(size=config.actor.embedding_dim).astype(np.float32), np.array(way.points, np.float32))
        for i, way in enumerate(task.ways)
    )
    world = World(BatchedEnv(task, 1), task.robot_radius, task.clearance)
    return SavedPolicy(task.spec.name, 0, 0, "", config, features, actor, modes, {}), world


def write_file(policy: SavedPolicy, world: World, steps: int, folder: Path) -> Path:
    """The policy file of a student of so many steps."""
    config = DistillConfig(steps=steps)
    network = None if steps == policy.actor.steps else new_student(policy, config).requires_grad_(False)
    student = SavedStudent(network, StudentReport(steps, 0, 0, config, {}))
    model = policy_graph(policy, student, world.spec.action, [m.id for m in policy.modes])
    path = folder / f"steps{steps}.onnx"
    path.write_bytes(to_bytes(model, make_contract(Subject(policy, policy.modes, student.report), world, {})))
    return path


def runtime_act(path: Path) -> Act:
    """ONNX Runtime alone, set up as the robot's Policy sets it up."""
    policy = Policy.load(path)
    run, mode = policy._session.run, np.array([policy.contract.mode_ids[0]])

    def act(observation: np.ndarray, noise: np.ndarray) -> Any:
        return run(["action"], {"observation": observation[None], "mode": mode, "noise": noise[None]})

    return act


def policy_act(path: Path) -> Act:
    """What the controller calls: ONNX Runtime and the checks around it."""
    policy = Policy.load(path)
    mode = policy.contract.mode_ids[0]
    return lambda observation, noise: policy.act(observation, mode, noise)


def eager_act(policy: SavedPolicy, world: World) -> Act:
    """All denoising steps in torch, from observation to action in physical units."""
    embedding = torch.as_tensor(policy.modes[0].embedding)[None]

    def act(observation: np.ndarray, noise: np.ndarray) -> Any:
        with torch.inference_mode():
            x = policy.features(torch.from_numpy(observation)[None])
            normal = policy.actor.from_noise(torch.from_numpy(noise)[None], x, embedding)
        return world.spec.action.to_physical(normal.numpy())

    return act


def candidates(policy_file: Path | None, folder: Path) -> dict[str, Act]:
    policy, world = new_policy()
    student = policy_file or write_file(policy, world, 1, folder)
    return {
        STUDENT: runtime_act(student),
        "the same through Policy.act": policy_act(student),
        "student of 2 steps, ONNX Runtime": runtime_act(write_file(policy, world, 2, folder)),
        "5-step actor, ONNX Runtime": runtime_act(write_file(policy, world, TEACHER_STEPS, folder)),
        EAGER: eager_act(policy, world),
    }


def one_round(act: Act, inputs: list[tuple[np.ndarray, np.ndarray]], calls: int) -> np.ndarray:
    """Nanoseconds of each call, by the wall clock and on the processor: ``[calls, 2]``."""
    times = np.empty((calls, 2))
    for i in range(calls):
        observation, noise = inputs[i % len(inputs)]
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        act(observation, noise)
        times[i] = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
    return times


def measure(acts: dict[str, Act], rounds: int, calls: int) -> dict[str, np.ndarray]:
    """Microseconds of each candidate's calls: ``[rounds, calls, 2]``."""
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=4).astype(np.float32), rng.standard_normal(NOISE, np.float32))
              for _ in range(OBSERVATIONS)]
    for act in acts.values():
        one_round(act, inputs, WARM_UP)
    taken: dict[str, list[np.ndarray]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            taken[name].append(one_round(act, inputs, calls))
    return {name: np.stack(times) / 1e3 for name, times in taken.items()}


def summary(name: str, times: np.ndarray) -> Times:
    wall, cpu = times.reshape(-1, 2).T
    values = (*np.percentile(wall, [50, 99, 100]), *np.percentile(cpu, [50, 99]))
    return Times(name, *(round(float(v), 1) for v in values))


def report(measured: dict[str, np.ndarray], rounds: int, calls: int) -> dict[str, Any]:
    """Everything that is recorded."""
    medians = {name: np.median(times[:, :, 0], axis=1) for name, times in measured.items()}
    ratios = (medians[EAGER] / medians[STUDENT]).tolist()
    times = [summary(name, t) for name, t in measured.items()]
    ratio = statistics.median(ratios)
    return {
        "rounds": rounds, "calls": calls, "unit": "us", "results": [asdict(t) for t in times],
        "ratio": {"median": round(ratio, 1), "lowest": round(min(ratios), 1), "highest": round(max(ratios), 1)},
        "wanted": {"p50": P50_US, "p99": P99_US, "ratio": RATIO},
        "met": {"p50": times[0].p50 <= P50_US, "p99": times[0].p99 <= P99_US, "ratio": ratio >= RATIO},
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="a pointmaze policy in place of the 1-step student made here")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=250, help="calls of each candidate a round")
    parser.add_argument("--json", default=str(RESULT), help=f"file for the result, - for standard output ({RESULT})")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        acts = candidates(args.policy, Path(folder))
        result = report(measure(acts, args.rounds, args.calls), args.rounds, args.calls)
    for row in result["results"]:
        print(f"{row['name']:36s} p50 {row['p50']:7.1f}  p99 {row['p99']:7.1f} us   "
              f"(on the processor {row['cpu_p50']:.1f}, {row['cpu_p99']:.1f})", file=sys.stderr)  # fmt: skip
    print(f"{EAGER} / {STUDENT}: {result['ratio']['median']}; met: {result['met']}", file=sys.stderr)
    write(result, args.json, torch=torch.__version__, onnxruntime=onnxruntime.__version__, load=load)
    return 0 if all(result["met"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
