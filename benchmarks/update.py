"""How fast is one learning update? Against a plain loop of the same mathematics, side by side in one run.

    python benchmarks/update.py [--device cpu|cuda] [--batch 256 512 1024 2048 4096] [--rounds 15] [--json FILE|-]

A memory of ``antmaze-v4`` is filled with made-up trajectories along its four ways, so that there are four modes,
exploration and the finder: six groups. The plain loop (``_plain_update.py``) goes through them one after another: one
``nn.Sequential`` a head, gradients by autograd. First both make the same update from the same state, and must come to
the same losses and improved actions. Then they take turns, an update each; a figure is the median over rounds.

``plain`` has torch's default for products of float32 (MKL on a CPU); ``plain, same products`` has what training sets
(``ddiffpg_core/precision.py``), so that what the other library alone brings can be told. On a CPU the seconds are
those that this process had on its cores: what else the machine does adds nothing to them.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from _plain_update import PlainUpdate
from _result import write

from ddiffpg_core import precision
from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.config import Config, override
from ddiffpg_core.defaults import load_preset
from ddiffpg_core.machine import machine
from ddiffpg_core.paths import resample
from ddiffpg_core.spec import Step
from ddiffpg_sim import tasks

TASK, MODES = "antmaze-v4", 4
NETWORKS = {"cpu": "cpu", "paper": "gpu"}  # what they are called here, and the preset that has them
STEPS = 600  # of all environments, to fill the memory with


@dataclass(frozen=True)
class Result:
    """Milliseconds of an update (median over rounds) and how many of ours fit into one of the others'."""

    networks: str
    batch: int
    ours_ms: float
    plain_ms: float
    same_products_ms: float
    ratio: float
    ratio_lowest: float
    ratio_highest: float
    ratio_same_products: float


class MadeUp:
    """Episodes along the ways of a task, without physics: half arrive, half stop on the way. Only the path means
    anything; the other observations are noise.
    """

    def __init__(self, agent: DDiffPG, envs: int) -> None:
        task, self.rng = tasks.make(TASK), np.random.default_rng(0)
        self.agent, self.spec = agent, task.spec
        self.lines = np.stack([resample(np.array(way.points), 200) for way in task.ways])
        self.way, self.at, self.age = np.arange(envs) % len(self.lines), np.zeros(envs, int), np.zeros(envs, int)
        self.stops = self.rng.random(envs) < 0.5

    def run(self, steps: int) -> None:
        """Let the agent look on for so many steps of all environments, and find its modes."""
        self.agent.begin(self._observe())
        for _ in range(steps):
            self.agent.observe(self.rng.uniform(-1, 1, (len(self.at), self.spec.action_dim)).astype(np.float32),
                               self._step())
        self.agent.rediscover_modes()

    def _step(self) -> Step:
        self.at += ~(self.stops & (self.at > 80))
        self.age += 1
        final, success = self._observe(), self.at >= len(self.lines[0]) - 1
        truncated = (self.age >= self.spec.max_steps // 3) & ~success
        done = success | truncated
        self.at[done] = self.age[done] = 0
        self.way[done] = self.rng.integers(len(self.lines), size=done.sum())
        self.stops[done] = self.rng.random(done.sum()) < 0.5
        obs = np.where(done[:, None], self._observe(), final)
        return Step(obs, 10.0 * success.astype(np.float32), success, truncated, success, final)

    def _observe(self) -> np.ndarray:
        obs = 0.3 * self.rng.normal(size=(len(self.at), self.spec.obs_dim))
        place = self.lines[self.way, self.at] + 0.1 * self.rng.normal(size=(len(self.at), 2))
        obs[:, self.spec.path_columns] = place
        return obs.astype(np.float32)


def filled(networks: str, device: str) -> DDiffPG:
    """An agent with ``MODES`` modes and the networks of that name."""
    sizes, settings = load_preset(NETWORKS[networks], TASK), load_preset("cpu", TASK)
    settings = override(settings, [f"train.device={device}", "train.num_envs=64", "replay.trajectories=400"])
    config = replace(settings, actor=sizes.actor, critic=replace(sizes.critic, value_max=settings.critic.value_max),
                     novelty=replace(settings.novelty, hidden=sizes.novelty.hidden))
    agent = DDiffPG(tasks.make(TASK).spec, config, 0)
    MadeUp(agent, config.train.num_envs).run(STEPS)
    if len(agent.bank.modes) != MODES:
        raise SystemExit(f"the made-up trajectories gave {len(agent.bank.modes)} modes: expected {MODES}")
    return agent


def with_batch(agent: DDiffPG, rows: int) -> DDiffPG:
    """A copy that draws ``rows`` rows an update, over all groups together."""
    agent = copy.deepcopy(agent)
    settings = replace(agent.sampler.critic, batch_size=rows, min_group_rows=1)
    agent.sampler = replace(agent.sampler, critic=settings)
    return agent


def check(agent: DDiffPG, config: Config) -> dict[str, float]:
    """Make one update both ways from the state of ``agent``; the largest differences. SystemExit if too large."""
    ours, plain = copy.deepcopy(agent), PlainUpdate(agent)
    precision.use(config.train.matmul, config.train.device)
    mine = ours.update()
    torch.set_float32_matmul_precision("highest")
    theirs = plain.update()
    before, after, other = (a.replay.target for a in (agent, ours, plain.agent))
    if not (after != before).any():
        raise SystemExit("no improved action was stored: there is nothing to compare")
    worst = {f"loss/{k}": float((mine[k] - theirs[k]).abs() / theirs[k].abs()) for k in mine}
    worst["improved actions"] = float((after - other).abs().max())
    if max(worst.values()) > 1e-3:
        raise SystemExit(f"the two updates do not agree; largest differences: {worst}")
    return worst


def clock(device: str) -> Callable[[], float]:
    """Seconds: of this process on a CPU, by the wall with a GPU once it is done with all that it was given."""
    if torch.device(device).type == "cpu":
        return time.process_time

    def wall() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def measure(agent: DDiffPG, networks: str, batch: int, rounds: int) -> Result:
    """Take turns, ``rounds`` times after two that do not count."""
    train = agent.config.train
    now = clock(train.device)
    plain, same = PlainUpdate(agent), PlainUpdate(agent)
    ways = {"ours": agent.update, "plain": plain.update, "same": same.update}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            if name == "plain":
                torch.set_float32_matmul_precision("highest")
            else:
                precision.use(train.matmul, train.device)
            began = now()
            ways[name]()
            seconds[name].append(now() - began)
    ours, theirs, others = (np.array(seconds[name][2:]) for name in ways)
    ratios = theirs / ours
    typical = (1e3 * statistics.median(s.tolist()) for s in (ours, theirs, others))
    return Result(networks, batch, *typical, float(np.median(ratios)), ratios.min(), ratios.max(),
                  float(np.median(others / ours)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096], help="rows, all groups")
    parser.add_argument("--paper-batch", type=int, nargs="*", default=[1024, 4096], help="with the paper's")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--json", help="file for the result, - for standard output")
    return parser.parse_args()


def check_device(device: str) -> None:
    """End with one line where torch cannot use the device."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise SystemExit(f"--device {device}: torch cannot use it here ({reason}); nothing was measured") from error


def main() -> None:
    args = arguments()
    check_device(args.device)
    torch.set_num_threads(args.threads)
    results, agreement = [], {}
    for networks, batches in (("cpu", args.batch), ("paper", args.paper_batch)):
        agent = filled(networks, args.device) if batches else None
        for batch in batches if agent else ():
            sized = with_batch(agent, batch)
            agreement[f"{networks} {batch}"] = check(sized, agent.config)
            results.append(measure(sized, networks, batch, args.rounds))
            r = results[-1]
            print(f"{networks:5s} networks, {batch:4d} rows: ours {r.ours_ms:7.1f} ms, plain {r.plain_ms:7.1f} ms, "
                  f"ratio {r.ratio:.2f} ({r.ratio_lowest:.2f} to {r.ratio_highest:.2f}), with the same products "
                  f"{r.ratio_same_products:.2f}", file=sys.stderr)
    about = {"threads": args.threads, "task": TASK, "modes": MODES, "rounds": args.rounds,
             "medium_is_float32": precision.medium_is_float32(), "largest_differences": agreement}
    results = [asdict(r) for r in results]
    write({**about, "results": results}, args.json, torch=torch.__version__, **machine(args.device))


if __name__ == "__main__":
    main()
