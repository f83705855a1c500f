"""How fast is BatchedEnv? Against MuJoCo's own rollout and against gymnasium's AsyncVectorEnv, in one run.

    python benchmarks/sim.py [--task pointmaze-v1] [--envs 64 256] [--threads 1 2] [--rounds 7] [--json FILE|-]

The two of a comparison take turns step by step, with the same task, batch, start and actions. A round's
figure is its median step, so that a step during which the machine did something else does not count; the
ratio is the median over rounds.
``rollout``: ``mujoco.rollout`` on the same model, threads and batch at one control step a call, outputs
allocated beforehand, checks skipped. ``async``: one process an environment around the same task.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for room in ("", "sim", "ros2_ws/src/ddiffpg"):
    sys.path.insert(0, str(ROOT / room))

import gymnasium  # noqa: E402
import mujoco  # noqa: E402
import mujoco.rollout  # noqa: E402
import numpy as np  # noqa: E402

import ddiffpg_sim.gym_env  # noqa: E402, F401 (registers the tasks)
from ddiffpg_sim import tasks  # noqa: E402
from ddiffpg_sim.batch import BatchedEnv  # noqa: E402

HELD = 8  # steps that a random action is held, so that the robots get somewhere and meet walls


@dataclass(frozen=True)
class Result:
    """Control steps a second (median over rounds) of one candidate, and the batched environment's ratio to it."""

    other: str
    envs: int
    threads: int
    batched_steps_per_s: float
    other_steps_per_s: float
    ratio: float
    ratio_lowest: float
    ratio_highest: float


class RawRollout:
    """What MuJoCo itself needs for the same physics, and nothing else."""

    def __init__(self, task, envs: int, threads: int) -> None:
        self._substeps = task.substeps
        model = mujoco.MjModel.from_xml_string(task.model_xml())
        self._models = [model] * envs
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self._states = np.zeros((envs, self._substeps, size))

    def reset(self, start: np.ndarray) -> None:
        """Go on from ``start [N, S]``."""
        self._state = start.copy()

    def step(self, control: np.ndarray) -> None:
        """One control step of ``control [N, substeps, A]``."""
        self._pool.rollout(
            self._models, self._data, self._state, control, nstep=self._substeps, state=self._states, skip_checks=True
        )
        self._state[:] = self._states[:, -1]

    def close(self) -> None:
        self._pool.close()


def take_turns(one, other, ones: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Seconds of the median step of each, which get their own inputs ``[T, ...]`` one by one, in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn, inputs in enumerate(zip(ones, others)):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            began = time.perf_counter()
            (one, other)[which].step(inputs[which])
            seconds[which].append(time.perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def random_actions(rng: np.random.Generator, steps: int, envs: int, dim: int) -> np.ndarray:
    """``[T, N, A]`` float32, each held for HELD steps."""
    coarse = rng.uniform(-1, 1, (-(-steps // HELD), envs, dim)).astype(np.float32)
    return np.repeat(coarse, HELD, axis=0)[:steps]


def against_rollout(task, envs: int, threads: int, rounds: int, steps: int) -> Result:
    env, raw = BatchedEnv(task, envs, threads), RawRollout(task, envs, threads)
    pairs = []
    for index in range(rounds + 1):
        actions = random_actions(np.random.default_rng(index), steps, envs, task.spec.action_dim)
        controls = np.repeat(actions[:, :, None], task.substeps, axis=2).astype(float)
        env.reset(index)
        raw.reset(env.state_dict()["physics"])
        pairs.append(take_turns(env, raw, actions, controls))
    env.close()
    raw.close()
    return summarise("rollout", envs, threads, pairs[1:])


def against_async(task, envs: int, threads: int, rounds: int, steps: int) -> Result:
    env = BatchedEnv(task, envs, threads)
    other = gymnasium.make_vec(f"ddiffpg/{task.spec.name}", num_envs=envs, vectorization_mode="async")
    pairs = []
    for index in range(rounds + 1):
        actions = random_actions(np.random.default_rng(index), steps, envs, task.spec.action_dim)
        env.reset(index)
        other.reset(seed=index)
        pairs.append(take_turns(env, other, actions, actions))
    env.close()
    other.close()
    return summarise("async", envs, threads, pairs[1:])


def summarise(other: str, envs: int, threads: int, pairs: list[tuple[float, float]]) -> Result:
    ratios = [theirs / ours for ours, theirs in pairs]
    ours, theirs = (statistics.median(column) for column in zip(*pairs))
    return Result(other, envs, threads, envs / ours, envs / theirs, statistics.median(ratios), min(ratios), max(ratios))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="pointmaze-v1", choices=tasks.names())
    parser.add_argument("--envs", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100, help="control steps a round")
    parser.add_argument("--async-envs", type=int, default=64, help="batch for the comparison with AsyncVectorEnv")
    parser.add_argument("--json", help="file for the result, - for standard output")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    task = tasks.make(args.task)
    results = [
        against_rollout(task, envs, threads, args.rounds, args.steps) for envs in args.envs for threads in args.threads
    ]
    results += [against_async(task, args.async_envs, threads, args.rounds, args.steps) for threads in args.threads]
    for r in results:
        print(
            f"{r.other:8s} envs {r.envs:4d} threads {r.threads}: batched {r.batched_steps_per_s:9.0f}/s, "
            f"other {r.other_steps_per_s:9.0f}/s, ratio {r.ratio:.2f} ({r.ratio_lowest:.2f} to {r.ratio_highest:.2f})",
            file=sys.stderr,
        )
    machine = {
        "python": platform.python_version(),
        "mujoco": mujoco.__version__,
        "gymnasium": gymnasium.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average_1_min": os.getloadavg()[0],
    }
    report = {"task": args.task, "rounds": args.rounds, "steps": args.steps, **machine}
    text = json.dumps({**report, "results": [asdict(r) for r in results]}, indent=2)
    if args.json == "-":
        print(text)
    elif args.json:
        Path(args.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
