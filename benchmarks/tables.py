"""Makes docs/results.md and its plots from the recorded runs in ``benchmarks/results/learn``; trains nothing.

    python benchmarks/tables.py            # or: make tables
    python benchmarks/tables.py --check    # exit code 1 where docs/results.md is not what the records give
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "results" / "learn"
PUBLISHED = ROOT / "benchmarks" / "results" / "published.json"
PAGE = ROOT / "docs" / "results.md"
PLOTS = ROOT / "docs" / "results"
BEGIN, END = "<!-- made by benchmarks/tables.py: begin -->", "<!-- made by benchmarks/tables.py: end -->"
OURS = "ddiffpg"

Record = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a task: shares of a good mode, how many of these, over how many goals, in so many minutes.

    Goals are told apart by where modes end: ``apart`` metres or more. ``returns`` None: return is not asked for.
    """

    success: float
    adherence: float
    returns: float | None
    modes: int
    goals: int
    minutes: float
    apart: float = 1.0


WANTED = {
    "pointmaze-v1": Wanted(0.98, 0.98, 0.9, 2, 1, 5), "pointmaze-v2": Wanted(0.95, 0.95, 0.8, 2, 2, 15),
    "pointmaze-v3": Wanted(0.95, 0.95, 0.8, 3, 2, 15), "pointmaze-v4": Wanted(0.95, 0.95, 0.8, 4, 2, 15),
    "antmaze-v1": Wanted(0.95, 0.8, 0.8, 2, 1, 120, 4.0), "antmaze-v2": Wanted(0.98, 0.8, None, 2, 2, 360, 4.0),
    "antmaze-v3": Wanted(0.98, 0.8, None, 4, 2, 360, 4.0), "antmaze-v4": Wanted(0.98, 0.8, None, 4, 2, 360, 4.0),
    "panda-reach": Wanted(0.98, 0.8, None, 4, 1, 360), "panda-peg": Wanted(0.98, 0.8, None, 2, 1, 360),
    "panda-drawer": Wanted(0.98, 0.8, None, 4, 1, 360), "panda-cabinet": Wanted(0.98, 0.8, None, 2, 1, 360),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; is the page what the records give?")
    args = parser.parse_args()
    records, text = load(RECORDS), PAGE.read_text(encoding="utf-8")
    made = put(text, page(records, json.loads(PUBLISHED.read_text(encoding="utf-8"))))
    if args.check:
        print("docs/results.md is what the records give" if made == text else "docs/results.md is out of date")
        return int(made != text)
    PAGE.write_text(made, encoding="utf-8")
    draw(records)
    return 0


def load(folder: Path) -> list[Record]:
    """All recorded runs, in an order that does not depend on the machine."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(records, key=lambda r: (r["task"], r["method"] != OURS, r["method"], r["label"], r["seed"]))


def put(text: str, made: str) -> str:
    """``text`` with ``made`` between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE}: has no '{BEGIN}' and '{END}' to put the tables between")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


# ---- what a run came to ---------------------------------------------------------------------------


def good_modes(record: Record) -> list[dict[str, Any]]:
    """The modes that are as good as is wanted of the record's task."""
    want = WANTED[record["task"]]
    return [m for m in record["modes"] or () if m["success"] >= want.success and m["adherence"] >= want.adherence
            and (want.returns is None or (m["return"] is not None and m["return"] >= want.returns))]


def count_goals(ends: Iterable[Sequence[float]], apart: float) -> int:
    """How many places these ends of ways are: two nearer than ``apart`` metres are one."""
    places: list[Sequence[float]] = []
    for end in ends:
        if all(sum((a - b) ** 2 for a, b in zip(end, other)) > apart**2 for other in places):
            places.append(end)
    return len(places)


def judge(record: Record) -> bool | None:
    """Whether the run is what is wanted of its task; None where nothing is: of other methods, and other tasks."""
    want = WANTED.get(record["task"])
    if want is None or record["modes"] is None:
        return None
    good = good_modes(record)
    goals = count_goals((mode["end"] for mode in good), want.apart)
    return len(good) >= want.modes and goals >= want.goals and record["seconds"] <= 60 * want.minutes


# ---- the page -------------------------------------------------------------------------------------


def page(records: list[Record], published: dict[str, Any]) -> str:
    """The tables as Markdown."""
    parts = []
    for task in sorted({*published["tasks"], *(r["task"] for r in records)}):
        mine = [r for r in records if r["task"] == task]
        shipped = [r for r in mine if not r["label"]]
        parts += [f"## {task}", overview(task, shipped, published)]
        if shipped:
            parts += [f"![Learning curves on {task}](results/{task}.svg)", single_runs(shipped)]
        if len(mine) > len(shipped):
            parts += [f"### Variants on {task}", variants(mine)]
    return "\n\n".join(parts)


HEAD = ("success", "modes learned", "ways taken", "worst mode", "return", "coverage", "transitions to 0.8",
        "minutes to 0.8", "minutes", "seeds")  # fmt: skip


def overview(task: str, records: list[Record], published: dict[str, Any]) -> str:
    """One line a method: ours, and what the authors published."""
    rows = [(method, *summary(mine)) for (method,), mine in groups(records, "method")]
    if not records:
        rows.append(("no run recorded yet", *[""] * len(HEAD)))
    return table(("method", *HEAD), rows + theirs(published["tasks"].get(task, {"return": {}})))


def theirs(entry: dict[str, Any]) -> list[tuple[str, ...]]:
    """What the authors published of a task, in the same columns; what they did not publish is left empty."""
    rows = []
    for method, success in entry["return"].items():
        seen = entry.get("coverage", {}).get(method)
        reached = [millions(entry[key][method]) + note for key, note in
                   (("transitions_to_0.8", ""), ("transitions_to_1.0", " (to 1.0)")) if method in entry.get(key, {})]
        cells = (share(success), "", "", "", "", "" if seen is None else share(seen), "".join(reached), "", "", "")
        rows.append((f"{method}, *published by the authors*", *cells))
    return rows


def variants(records: list[Record]) -> str:
    """One line a variant, with what it sets, beside the method as it ships."""
    rows = []
    for (method, label), mine in groups(records, "method", "label"):
        settings = ", ".join(f"`{k}={plain(v)}`" for k, v in sorted(mine[0]["settings"].items()))
        rows.append((f"{method} {label}".strip(), settings or "as it ships", *summary(mine)))
    return table(("variant", "settings", *HEAD), rows)


def groups(records: list[Record], *keys: str) -> list[tuple[tuple[str, ...], list[Record]]]:
    """Records that agree in these fields, in the order of their first."""
    out: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        out.setdefault(tuple(record[key] for key in keys), []).append(record)
    return list(out.items())


def summary(records: list[Record]) -> tuple[str, ...]:
    """The cells of :data:`HEAD`: mean over seeds, with least and most where they differ."""
    return (
        over_seeds(records, lambda r: r["unconditioned"]["success"], share),
        over_seeds(records, lambda r: r["modes_learned"], number),
        over_seeds(records, lambda r: r["unconditioned"].get("ways"), number),
        over_seeds(records, lambda r: min((m["success"] for m in r["modes"] or ()), default=None), share),
        over_seeds(records, mean_return, share),
        over_seeds(records, coverage, share),
        over_seeds(records, lambda r: r["transitions_to_0.8"], millions),
        over_seeds(records, lambda r: r["minutes_to_0.8"], number),
        over_seeds(records, lambda r: r["seconds"] / 60, number),
        ", ".join(str(r["seed"]) for r in records),
    )


def mean_return(record: Record) -> float | None:
    """Over the learned modes that there is another to come from."""
    known = [m["return"] for m in record["modes"] or ()
             if m["return"] is not None and m["success"] >= 0.8 and m["adherence"] >= 0.8]
    return sum(known) / len(known) if known else None


def coverage(record: Record) -> float | None:
    """Cells that were entered, as a share of those with room in them."""
    seen, free = record["coverage_cells"], record["free_cells"]
    return None if seen is None or free is None else seen / free


def over_seeds(records: list[Record], value: Callable[[Record], Any], show: Callable[[Any], str]) -> str:
    values = [value(record) for record in records]
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    text, low, high = show(sum(known) / len(known)), show(min(known)), show(max(known))
    text += f" ({low} to {high})" if low != high else ""
    return text if len(known) == len(values) else f"{text}, in {len(known)} of {len(values)}"


def single_runs(records: list[Record]) -> str:
    """One line a run: its modes with success / adherence / return."""
    rows = []
    for record in records:
        modes = ", ".join(" / ".join(map(share, (m["success"], m["adherence"], m["return"])))
                          for m in record["modes"] or ())
        met = {True: "yes", False: "no", None: "-"}[judge(record)]
        rows.append((record["method"], str(record["seed"]), number(record["seconds"] / 60), met, modes or "none"))
    return table(("method", "seed", "minutes", "met", "modes: success / adherence / return"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def millions(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.2f} M"


def plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---- the plots ------------------------------------------------------------------------------------


def draw(records: list[Record]) -> None:
    """One picture a task: success and modes learned over transitions, a line a method, with the range over seeds."""
    import matplotlib

    PLOTS.mkdir(exist_ok=True)
    # the same file every time, with text that stays text
    with matplotlib.rc_context({"backend": "Agg", "svg.hashsalt": "ddiffpg", "svg.fonttype": "none"}):
        for (task,), mine in groups([r for r in records if not r["label"]], "task"):
            draw_task(mine, PLOTS / f"{task}.svg")


def draw_task(records: list[Record], path: Path) -> None:
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
    for (method,), mine in groups(records, "method"):
        draw_curve(panels[0], mine, "unconditioned_success", method)
        draw_curve(panels[1], mine, "modes_learned", method)
    panels[0].set(ylabel="unconditioned success", xlabel="transitions", ylim=(-0.03, 1.03))
    panels[1].set(ylabel="modes learned", xlabel="transitions")
    panels[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw_curve(axes: Any, records: list[Record], name: str, label: str) -> None:
    """Mean and range over runs, on the transitions that all of them have been evaluated at, or come between."""
    import numpy as np

    curves = [[(p["transitions"], p[name]) for p in r["curve"] if None not in (p["transitions"], p[name])]
              for r in records]
    lines = [np.array(curve, float).T for curve in curves if curve]
    if not lines:
        return
    at = np.unique(np.concatenate([x for x, _ in lines]))
    at = at[(at >= max(x[0] for x, _ in lines)) & (at <= min(x[-1] for x, _ in lines))]
    values = np.stack([np.interp(at, x, y) for x, y in lines])
    axes.plot(at, values.mean(0), label=label)
    axes.fill_between(at, values.min(0), values.max(0), alpha=0.2, linewidth=0)


if __name__ == "__main__":
    sys.exit(main())
