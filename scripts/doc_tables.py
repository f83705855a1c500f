"""The tables in docs/operator.md, ros.md and transfer.md: topics, services and parameters from what the nodes say,
latency and transfer from what was recorded.

    python scripts/doc_tables.py            # writes them into the pages
    python scripts/doc_tables.py --check    # exit code 1 where a page is not what the nodes say
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddiffpg import controller_node, inputs_node, interface_node, loop_node, operator_node, outputs_node
from ddiffpg.interface_node import Service, Topic
from ddiffpg.parameters_node import ParameterSpec
from ddiffpg_sim import sim_robot_node

ROOT = Path(__file__).resolve().parents[1]
DOCS, RESULTS = ROOT / "docs", ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- table: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NODE = ("policy", "provider", "threads", "seed", "mode", "autostart")


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def head(*cells: str) -> str:
    return row(*cells) + f"|{'---|' * len(cells)}\n"


def topics(found: Iterable[Topic]) -> str:
    rows = (row(f"`{t.name}`", type_name(t.kind), qos(t), f"`{t.parameter}`" if t.parameter else "", t.meaning)
            for t in found)  # fmt: skip
    return head("topic", "type", "quality of service", "renamed by", "") + "".join(rows)


def services(found: Iterable[Service]) -> str:
    return head("service", "type", "") + "".join(row(f"`{s.name}`", type_name(s.kind), s.meaning) for s in found)


def parameters(specs: Iterable[ParameterSpec]) -> str:
    return head("parameter", "default", "range", "fixed while", "meaning") + "".join(map(parameter, specs))


def parameter(spec: ParameterSpec) -> str:
    bounds = ", ".join(spec.choices)
    if spec.low is not None and spec.high is not None:
        bounds = " to ".join(f"{b:.0f}" if isinstance(spec.default, int) else f"{b:g}" for b in (spec.low, spec.high))
    default = str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)
    return row(f"`{spec.name}`", default or "(empty)", bounds, spec.fixed or "no", spec.description)


def type_name(kind: type) -> str:
    return f"{kind.__module__.split('.')[0]}/{kind.__name__}"


def qos(topic: Topic) -> str:
    profile = topic.qos
    durable = ", transient local" if profile.durability.name == "TRANSIENT_LOCAL" else ""
    return f"{profile.reliability.name.lower().replace('_', ' ')}, last {profile.depth}{durable}"


def latency() -> str:
    """From message to command, in ms: p50 / p99 / p99.9."""
    found = recorded("ros_latency")
    if found is None:
        return "Nothing has been recorded yet.\n"
    rows = []
    for run in found["runs"]:
        echo, state, timer = run["echo"], run["state"], run["timer"]
        shares = f"{100 * state['missed_share']:.2f} % / {100 * timer['missed_share']:.2f} %"
        over = state["overhead_ms"]["p99"], state["overhead_without_tick_ms"]["p99"]
        values = [triple(part) for part in (echo["ms"], state["ms"], state["tick_ms"], timer["ms"])]
        rows.append(row(run["load"], f"{run['rate_hz']:g}", *values, *(f"{ms:.2f}" for ms in over), shares))
    names = ("echo", "`state`", "its tick alone", "`timer`", "`state` over echo, p99", "the same without the tick")
    return about(found) + head("machine", "Hz", *names, "missed (`state` / `timer`)") + "".join(rows)


def loops() -> str:
    found = recorded("control_loop")
    if found is None:
        return "Nothing has been recorded yet.\n"
    rows = []
    for name, loop in found["loops"].items():
        late = [f"{loop[f'late_{q}_ms']:.2f}" for q in ("p50", "p99", "p99.9")]
        rows.append(row(name, *late, f"{100 * loop['ticks_share']:.1f} %"))
    return about(found) + head("loop", "late by, p50 (ms)", "p99", "p99.9", "ticks that ran") + "".join(rows)


TRANSFERS: tuple[tuple[str, tuple[str, ...], float, float], ...] = (
    ("delay up to 0.1 s", ("delay",), 0.0, 0.1), ("up to 0.2 s", ("delay",), 0.0, 0.2),
    ("mass, strength, friction 0.7 to 1.3", ("mass", "strength", "friction"), 0.7, 1.3),
    ("rate 0.5 to 2", ("rate",), 0.5, 2.0), ("noise up to 0.05", ("noise",), 0.0, 0.05),
)  # fmt: skip


def transfers() -> str:
    """Of each policy the least success that a mode has in each range, seeds taken together."""
    rows = []
    for file in sorted((RESULTS / "transfer").glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        cells = found["cells"]
        seeds = len({cell["seed"] for cell in cells})
        shares = [least(c for c in cells if c["axis"] in axes and low <= c["value"] <= high)
                  for _, axes, low, high in TRANSFERS]  # fmt: skip
        nominal, other = (least(c for c in cells if c["axis"] == axis) for axis in ("nominal", "simulator"))
        rows.append(row(f"`{file.stem}`", f"{found['episodes']} × {seeds}", nominal, *shares, other))
    names = (name for name, *_ in TRANSFERS)
    return head("policy", "episodes a mode × seeds", "nominal", *names, "another simulator") + "".join(rows)


RANDOMISED: tuple[tuple[str, float, float], ...] = (
    ("mass", 0.7, 1.3), ("friction", 0.7, 1.3), ("strength", 0.7, 1.3), ("delay", 0.0, 0.1), ("delay", 0.0, 0.2),
)  # fmt: skip


def randomising() -> str:
    """Of each policy, trained with and without randomised robots, the least success that a mode has in each range."""
    rows = []
    for file in sorted(RESULTS.glob("randomising_*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        for policy in sorted(found["policies"], key=lambda policy: policy["randomised"]):
            nominal = least(cell for cell in policy["cells"] if cell["axis"] == "nominal")
            ranges = [[cell for cell in policy["cells"] if cell["axis"] == axis and low <= cell["value"] <= high]
                      for axis, low, high in RANDOMISED]  # fmt: skip
            together = min(policy["together"].values())
            rows.append(row(f"`{found['task']}`", "with" if policy["randomised"] else "without", str(policy["seed"]),
                            str(len(policy["together"])), nominal,
                            *(least(cells) if cells else "-" for cells in ranges), f"{together:.2f}",
                            f"{policy['training_seconds'] / 60:.1f}"))
    names = ("mass 0.7 to 1.3", "friction", "strength", "delay up to 0.1 s", "up to 0.2 s", "all at once", "minutes")
    return head("task", "randomised", "seed", "modes", "nominal", *names) + "".join(rows)


def least(cells: Iterable[dict[str, Any]]) -> str:
    by_mode: dict[tuple[Any, ...], list[float]] = {}
    for cell in cells:
        for outcome in cell["outcomes"][1:]:  # the first is unconditioned
            by_mode.setdefault((cell["axis"], cell["value"], outcome["mode"]), []).append(outcome["success"])
    return f"{min(sum(shares) / len(shares) for shares in by_mode.values()):.2f}"


def identified(*names: str) -> str:
    """How near identification comes: parameters in per cent, and how a policy does on robot and simulation of it."""
    rows = []
    for one in (one for found in map(recorded, names) if found for one in found["summary"]):
        worst = ", ".join(f"`{parameter}` {100 * off:.1f}" for parameter, off in one["worst"].items())
        gap = "-" if one["worst_gap"] is None else f"{one['worst_gap']:.3f}"
        rows.append(row(f"`{one['task']}`", one["condition"], str(one["robots"]), str(one["within"]), worst,
                        f"{one['worst_delay_periods']:.2f}", f"{100 * one['off']:.1f} %", gap))  # fmt: skip
    heads = ("readings", "robots", "all within 10 %", "worst, in %", "worst delay, periods", "still off", "worst gap")
    return head("task", *heads) + "".join(rows)


def both_ways() -> str:
    """Success directly and over ROS."""
    rows = []
    for file in sorted(RESULTS.glob("sim_to_sim_*.json")):
        for policy, robots in json.loads(file.read_text(encoding="utf-8"))["policies"].items():
            rows += [row(f"`{policy}`", robot, f"{found['episodes_a_mode']} × {len(found['direct']['modes'])}",
                         *(f"{found[way]['success']:.3f}" for way in ("direct", "over_ros")), f"{found['gap']:.3f}")
                     for robot, found in robots.items()]  # fmt: skip
    return head("policy", "robot", "episodes × modes", "directly", "over ROS", "gap") + "".join(rows)


def recorded(name: str) -> dict[str, Any] | None:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def about(found: dict[str, Any]) -> str:
    machine = found["machine"]
    return f"On {machine['cores']} cores ({machine['processor']}), load {machine['load']:.1f}:\n\n"


def triple(values: dict[str, float]) -> str:
    return " / ".join(f"{value:.2f}" for value in values.values())


def tables() -> dict[str, str]:
    """Each table by its name in the pages."""
    own = {spec.name for part in (loop_node, inputs_node, outputs_node, operator_node) for spec in part.PARAMETERS}
    rules = [spec for spec in controller_node.PARAMETERS if spec.name not in own and spec.name not in NODE]
    return {
        "readings": topics(interface_node.READINGS),
        "human": topics(interface_node.HUMAN),
        "outputs": topics(interface_node.OUTPUTS),
        "services": services(interface_node.SERVICES),
        "node parameters": parameters(spec for spec in controller_node.PARAMETERS if spec.name in NODE),
        "loop parameters": parameters(loop_node.PARAMETERS),
        "topic parameters": parameters((*inputs_node.PARAMETERS, *outputs_node.PARAMETERS, *operator_node.PARAMETERS)),
        "rule parameters": parameters(rules),
        "simulated robot": parameters(sim_robot_node.PARAMETERS),
        "latency": latency(),
        "control loop": loops(),
        "transfers": transfers(),
        "randomising": randomising(),
        "identified": identified("identify", "identify_ant_exact", "identify_ant_noise"),
        "identified far": identified("identify_far"),
        "sim to sim": both_ways(),
    }


def filled(page: str) -> str:
    """The text of a page with its tables as the nodes have them now. KeyError for a table that there is none of."""
    made = tables()
    return BLOCK.sub(lambda found: found[1] + made[found["name"]] + found[3], page)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for page in (DOCS / "operator.md", DOCS / "ros.md", DOCS / "transfer.md"):
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            stale.append(page.name)
            if not check:
                page.write_text(filled(text), encoding="utf-8")
    print(f"{'stale' if check else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
