"""How fast is BatchedEnv? Against MuJoCo's own rollout and gymnasium's AsyncVectorEnv, for every task, in one run.

    python benchmarks/sim.py [--tasks pointmaze-v1 ...] [--envs 64 256] [--threads 1 2] [--json FILE|-]
    python benchmarks/sim.py --tasks --grow --json benchmarks/results/randomised.json    # --randomised alone
    python benchmarks/sim.py --table            # the recorded result as Markdown, measuring nothing

The two of a comparison take turns step by step, with the same task, batch, start and actions. A round's
figure is its median step, so that a step during which the machine did something else does not count; the
ratio is the median over rounds.
``rollout``: ``mujoco.rollout`` on the same model, threads and batch at one control step a call, outputs
allocated beforehand, checks skipped. ``async``: one process an environment around the same task. The first task of
each family is also measured from 1 to 4096 environments (``--grow``). ``randomised``: the same environment with robots
that differ from episode to episode, as each task's own description says, over its full range; on one thread, with
episodes that begin all the time, by the mean of the processor's time. All of it takes about five minutes on two cores;
``--seconds`` is how long one comparison may take.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for room in ("", "cli", "sim", "ros2_ws/src/ddiffpg"):
    sys.path.insert(0, str(ROOT / room))

import gymnasium  # noqa: E402
import mujoco  # noqa: E402
import mujoco.rollout  # noqa: E402
import numpy as np  # noqa: E402
from _result import write  # noqa: E402

import ddiffpg_sim.gym_env  # noqa: E402, F401 (registers the tasks)
from ddiffpg_sim import tasks  # noqa: E402
from ddiffpg_sim.batch import BatchedEnv  # noqa: E402
from ddiffpg_sim.randomised import RandomisedEnv  # noqa: E402
from ddiffpg_sim.variation import Variation  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "sim.json"
HELD = 8  # steps that a random action is held, so that the robots get somewhere and meet walls
STEPS = (3, 100)  # fewest and most of a round
SIZES = (1, 4, 16, 64, 256, 1024, 4096)


@dataclass(frozen=True)
class Result:
    """Control steps a second (median over rounds) of one candidate, and the batched environment's ratio to it."""

    task: str
    other: str
    envs: int
    threads: int
    steps: int
    batched_steps_per_s: float
    other_steps_per_s: float
    ratio: float
    ratio_lowest: float
    ratio_highest: float


@dataclass(frozen=True)
class Effort:
    """How many rounds a comparison has, and how many seconds they may take together."""

    rounds: int
    seconds: float

    def steps(self, one_step: float) -> int:
        """Of a round, where one step of both takes so many seconds."""
        fitting = int(self.seconds / (self.rounds + 1) / one_step)
        return min(max(fitting, STEPS[0]), STEPS[1])


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


def take_turns(one, other, ones: Iterable, others: Iterable, average=statistics.median, clock=time.perf_counter
               ) -> tuple[float, float]:
    """Seconds of the average step of each, which get their own inputs one by one, in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn, inputs in enumerate(zip(ones, others)):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            began = clock()
            (one, other)[which].step(inputs[which])
            seconds[which].append(clock() - began)
    return average(seconds[0]), average(seconds[1])


def random_actions(task, seed: int, steps: int, envs: int) -> np.ndarray:
    """``[T, N, A]`` float32 over all that the robot may do, each held for HELD steps."""
    action = task.spec.action
    coarse = np.random.default_rng(seed).uniform(-1, 1, (-(-steps // HELD), envs, task.spec.action_dim))
    return np.repeat(action.to_physical(coarse).astype(np.float32), HELD, axis=0)[:steps]


def inputs_of(env: BatchedEnv, actions: np.ndarray) -> list[np.ndarray]:
    """What the environment gives MuJoCo for each of ``actions [T, N, A]``: ``[N, substeps, nu]``."""
    controls = []
    for action in actions:
        env.step(action)
        controls.append(env._control.copy())
    return controls


def seconds_of_a_step(env: BatchedEnv) -> float:
    """The second of two steps: the first makes MuJoCo's buffers."""
    actions = random_actions(env.task, 0, 2, env.num_envs)
    env.step(actions[0])
    began = time.perf_counter()
    env.step(actions[1])
    return time.perf_counter() - began


def against_rollout(task, envs: int, threads: int, effort: Effort) -> Result:
    env, raw = BatchedEnv(task, envs, threads), RawRollout(task, envs, threads)
    steps = effort.steps(3 * seconds_of_a_step(env))  # once for the inputs, once each
    pairs = []
    for seed in range(effort.rounds + 1):
        actions = random_actions(task, seed, steps, envs)
        env.reset(seed)
        controls = inputs_of(env, actions)
        env.reset(seed)
        raw.reset(env.state_dict()["physics"])
        pairs.append(take_turns(env, raw, actions, controls))
    env.close()
    raw.close()
    return summarise(task, "rollout", (envs, threads, steps), pairs[1:])


def against_async(task, envs: int, threads: int, effort: Effort) -> Result:
    env = BatchedEnv(task, envs, threads)
    other = gymnasium.make_vec(f"ddiffpg/{task.spec.name}", num_envs=envs, vectorization_mode="async")
    steps = effort.steps(8 * seconds_of_a_step(env))
    pairs = []
    for seed in range(effort.rounds + 1):
        actions = random_actions(task, seed, steps, envs)
        env.reset(seed)
        other.reset(seed=seed)
        pairs.append(take_turns(env, other, actions, actions))
    env.close()
    other.close()
    return summarise(task, "async", (envs, threads, steps), pairs[1:])


def against_randomised(task, envs: int, threads: int, effort: Effort) -> Result:
    env = BatchedEnv(task, envs, threads)
    varied = RandomisedEnv(task, envs, threads, replace(Variation.of_task(task.spec.name), curriculum=None), True)
    steps = effort.steps(2 * seconds_of_a_step(env))
    pairs = []
    for seed in range(effort.rounds + 1):
        actions = random_actions(task, seed, steps, envs)
        for one in (env, varied):
            one.reset(seed)
            state = one.state_dict()
            state["steps"] = np.random.default_rng(seed).integers(0, task.spec.max_steps, envs)
            one.load_state_dict(state)
        pairs.append(take_turns(env, varied, actions, actions, statistics.mean, time.process_time))
    env.close()
    varied.close()
    return summarise(task, "randomised", (envs, threads, steps), pairs[1:])


def summarise(task, other: str, size: tuple[int, int, int], pairs: list[tuple[float, float]]) -> Result:
    ratios, envs = [theirs / ours for ours, theirs in pairs], size[0]
    ours, theirs = (statistics.median(column) for column in zip(*pairs))
    spread = (statistics.median(ratios), min(ratios), max(ratios))
    return Result(task.spec.name, other, *size, envs / ours, envs / theirs, *spread)


def families() -> list[str]:
    """The first task of each family (``pointmaze-v1`` of all point mazes)."""
    first: dict[str, str] = {}
    for name in tasks.names():
        first.setdefault(name.partition("-")[0], name)
    return list(first.values())


def measure(args: argparse.Namespace) -> list[Result]:
    """All comparisons that were asked for, each told as soon as it is there."""
    effort, most = Effort(args.rounds, args.seconds), max(args.threads)
    wanted = [(against_rollout, name, n, t) for name in args.tasks for n in args.envs for t in args.threads]
    wanted += [(against_async, name, args.async_envs, most) for name in args.tasks]
    wanted += [(against_rollout, name, n, most) for name in args.grow for n in SIZES]
    wanted += [(against_randomised, name, n, 1) for name in args.randomised for n in args.envs]
    results = []
    for compare, name, envs, threads in dict.fromkeys(wanted):
        r = compare(tasks.make(name), envs, threads, effort)
        results.append(r)
        print(
            f"{r.task:14s} {r.other:8s} envs {r.envs:4d} threads {r.threads}: batched {r.batched_steps_per_s:9.0f}/s, "
            f"other {r.other_steps_per_s:9.0f}/s, ratio {r.ratio:.2f} ({r.ratio_lowest:.2f} to {r.ratio_highest:.2f})",
            file=sys.stderr,
        )
    return results


def table(results: list[dict]) -> str:
    """Two tables: the ratios of every task, and how steps a second grow with the number of environments."""
    cells = {(r["task"], r["other"], r["envs"], r["threads"]): r for r in results}
    names, threads = sorted({r["task"] for r in results}), max(r["threads"] for r in results)
    lines = ["| task | rollout, 64 | rollout, 256 | AsyncVectorEnv, 64 |", "|---|---|---|---|"]
    for name in names:
        found = [cells.get((name, *key, threads)) for key in (("rollout", 64), ("rollout", 256), ("async", 64))]
        lines.append(f"| {name} | " + " | ".join(f"{r['ratio']:.2f}" if r else "" for r in found) + " |")
    lines += ["", "| environments | " + " | ".join(map(str, SIZES)) + " |", "|---" * (len(SIZES) + 1) + "|"]
    for name in names:
        found = [cells.get((name, "rollout", n, threads)) for n in SIZES]
        if all(found):
            shown = (f"{r['batched_steps_per_s']:,.0f} ({r['ratio']:.2f})" for r in found if r)
            lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=tasks.names(), choices=tasks.names(), metavar="TASK")
    parser.add_argument("--envs", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--grow", nargs="*", default=families(), choices=tasks.names(), metavar="TASK",
                        help="measured from 1 to 4096 environments (default: the first of each family)")
    parser.add_argument("--randomised", nargs="*", default=["pointmaze-v1", "antmaze-v1", "panda-reach"],
                        choices=tasks.names(), metavar="TASK", help="measured against robots that differ")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="for one comparison (default 2.5)")
    parser.add_argument("--async-envs", type=int, default=64, help="batch for the comparison with AsyncVectorEnv")
    parser.add_argument("--table", action="store_true", help="print the recorded result as Markdown and end")
    parser.add_argument("--json", help="file for the result, - for standard output")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.table:
        print(table(json.loads(RESULT.read_text())["results"]))
        return
    cores = len(os.sched_getaffinity(0))
    if max(args.threads) > cores:
        print(f"--threads {max(args.threads)} is more than this machine's {cores} cores", file=sys.stderr)
    results = measure(args)
    report = {"rounds": args.rounds, "seconds": args.seconds, "results": [asdict(r) for r in results]}
    write(report, args.json, mujoco=mujoco.__version__, gymnasium=gymnasium.__version__)


if __name__ == "__main__":
    main()
