"""How many ways are there? Rules for mode discovery compared, and what a clustering costs.

    python benchmarks/discovery.py [--seeds N] [--json FILE]   # measures; default benchmarks/results/discovery.json
    python benchmarks/discovery.py --table                     # the recorded result as Markdown, measuring nothing
    python benchmarks/discovery.py --gather RUN [RUN ...]      # keep the last clusterings of these runs as the data

Sets of trajectories: the last clusterings of training runs (benchmarks/data), a few of their paths as in the early
part of a run, and noisy paths along the intended ways of every task: in equal shares, one way common and the
others rare, one way alone, with wandering and odd ones. What is right is the homotopy class of each path: around which
walls it goes, and to which goal. As many ways are intended as classes have four paths or more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from _discovery_paths import CONFIG, PathSet, early, gather, generated, pillars, stored
from _discovery_rules import RULES
from _result import write
from sklearn.metrics import adjusted_rand_score

from ddiffpg_core.config import ModesConfig
from ddiffpg_core.modes import ModeBank
from ddiffpg_core.paths import pairwise

RESULT = Path(__file__).parent / "results" / "discovery.json"
DISTANCES = {"bottleneck": np.inf, "length-normalised DTW": 1.0}


def compare(sets: list[PathSet]) -> list[dict[str, Any]]:
    """One row for each distance and rule."""
    rows = []
    for name, order in DISTANCES.items():
        distances = [pairwise(s.ways, order) for s in sets]
        for rule in RULES:
            rows.append({"distance": name, "rule": rule, "kinds": judge(rule, zip(sets, distances))})
            print(name, rule, flush=True)
    return rows


def judge(rule: str, cases: Iterable[tuple[PathSet, np.ndarray]]) -> dict[str, dict[str, float]]:
    """By kind of set: share with the intended number, mean adjusted Rand index, mean seconds of one core."""
    kinds: dict[str, list[tuple[bool, float, float]]] = defaultdict(list)
    for s, distance in cases:
        begun = time.process_time()
        label = RULES[rule](distance, s)
        seconds = time.process_time() - begun
        kinds[s.kind].append((len(set(label[label >= 0])) == s.intended, agreement(s.truth, label), seconds))
    return {kind: dict(zip(("right", "rand", "seconds"), map(float, np.mean(found, 0)))) | {"sets": len(found)}
            for kind, found in kinds.items()}


def agreement(truth: np.ndarray, label: np.ndarray) -> float:
    """Adjusted Rand index over the paths of classes that count."""
    counts = np.bincount(truth)[truth] >= CONFIG.min_cluster
    return float(adjusted_rand_score(truth[counts], label[counts]))


def cost(sizes: Iterable[tuple[int, int]]) -> list[dict[str, float]]:
    """Seconds of one core for a call with fields of pillars: all distances anew, then clustering and naming, twice."""
    rows = []
    for side, each in sizes:
        s = pillars(side, each, np.random.default_rng(0))
        config = ModesConfig(library=len(s.ways), max_modes=len(s.ways))
        bank, rng = ModeBank(config, 2, 8, 2.0 * s.tolerance), np.random.default_rng(0)
        times = [time.process_time()]
        bank.library.add(s.ways, np.full(len(s.ways), -1), np.arange(len(s.ways)))
        times.append(time.process_time())
        for _ in range(2):  # the second time there are modes to be continued
            bank.rediscover(rng)
            times.append(time.process_time())
        assert bank.last is not None
        spent = dict(zip(("distances", "first", "again"), np.diff(times).tolist()))
        rows.append({"paths": len(s.ways), "ways": len(set(s.truth)), "found": len(bank.modes),
                     "rand": agreement(s.truth, bank.last.label), **spent, "call": times[2] - times[0]})
        print(rows[-1], flush=True)
    return rows


def table(result: dict[str, Any]) -> str:
    """Share of sets with the intended number / adjusted Rand index, by rule and kind of set; then the cost."""
    kinds = list(result["rows"][0]["kinds"])
    lines = ["| distance | rule | " + " | ".join(kinds) + " | ms |", "|---" * (len(kinds) + 3) + "|"]
    for row in result["rows"]:
        cells = [f"{row['kinds'][k]['right']:.2f} / {row['kinds'][k]['rand']:.2f}" for k in kinds]
        spent = sum(k["seconds"] * k["sets"] for k in row["kinds"].values()) / result["sets"]
        lines.append(f"| {row['distance']} | {row['rule']} | " + " | ".join(cells) + f" | {1e3 * spent:.1f} |")
    return "\n".join([*lines, "", *cost_table(result["cost"])])


def cost_table(rows: list[dict[str, float]]) -> list[str]:
    """One line a field of pillars."""
    lines = ["| paths | ways | found | agreement | distances, s | clustering, s | again, s |", "|---" * 7 + "|"]
    for r in rows:
        spent = " | ".join(f"{r[name]:.2f}" for name in ("distances", "first", "again"))
        lines.append(f"| {r['paths']} | {r['ways']} | {r['found']} | {r['rand']:.3f} | {spent} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="generated sets of each kind for each task (default 2)")
    parser.add_argument("--json", type=Path, default=RESULT, help="where to write the result")
    parser.add_argument("--table", action="store_true", help="print the recorded result as Markdown and end")
    parser.add_argument("--gather", type=Path, nargs="+", metavar="RUN", help="run directories to take the data from")
    args = parser.parse_args()
    if args.gather:
        gather(args.gather)
        return
    if args.table:
        print(table(json.loads(RESULT.read_text())))
        return
    sets = [*stored(), *early(), *generated(args.seeds)]
    spent = cost([(2, 40), (4, 4), (4, 28), (5, 8)])
    result = {"benchmark": "discovery", "seeds": args.seeds, "sets": len(sets), "rows": compare(sets), "cost": spent}
    write(result, str(args.json))
    print(table(result))


if __name__ == "__main__":
    main()
