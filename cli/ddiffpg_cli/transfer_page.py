"""A transfer test as one HTML page that needs nothing else: curves, the worst cases as pictures, and all numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg_core.evaluate import UNCONDITIONED
from ddiffpg_sim.task import Task

from .output import share
from .transfer_charts import MEASURES, SUCCESS, chart, color, from_above, name_of, shown
from .transfer_curves import Curve, Point, worst_cases
from .transfer_grid import Transfer

CASES = 6
PATHS = 8  # in one picture


@dataclass(frozen=True)
class Scene:
    """What the pictures need: the ``task``, the policy's ``contract``, and the success that counts as holding."""

    task: Task
    contract: Contract
    least: float


def page(transfer: Transfer, found: Sequence[Curve], scene: Scene) -> str:
    """The whole page; ``found`` are the test's curves, the one of delay first where there is one."""
    files = resources.files("ddiffpg_cli") / "report"
    css, template = ((files / name).read_text(encoding="utf-8") for name in ("page.css", "transfer.html"))
    cases = worst_cases(found, CASES)
    values = {
        "title": escape(f"{transfer.head.policy} · transfer"),
        "heading": escape(f"{transfer.head.policy} on robots that differ from its model"),
        "lead": escape(_lead(transfer, found, scene)),
        "tiles": "".join(_tile(curve, scene.least) for curve in found),
        "legend": _legend(found[0].nominal.modes),
        "curves": "".join(_section(curve, scene.least) for curve in found),
        "cases_hint": escape(_cases_hint(cases)),
        "cases": "".join(_case(curve, point, scene) for curve, point in cases),
        "facts": _facts(transfer, found),
        "css": css,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda hit: values[hit.group(1)], template)


def _lead(transfer: Transfer, found: Sequence[Curve], scene: Scene) -> str:
    nominal, least = found[0].nominal, scene.least
    seeds = f"{len(nominal.cells)} seed{'s' if len(nominal.cells) > 1 else ''}"
    first = f"{transfer.head.episodes} episodes a mode at each point, {seeds}; one thing varied at a time."
    if nominal.least < least:
        return f"{first} Not even the nominal robot has {least:g}: {name_of(nominal.worst)} has {nominal.least:.2f}."
    whole = [c.axis.title for c in found if len(c.holding(least)) == len(c.points)]
    if not whole:
        return f"{first} On every axis some mode falls below {least:g} somewhere."
    return f"{first} Every mode keeps {least:g} in all that was tried of: {'; '.join(whole)}."


def held(curve: Curve, least: float) -> str:
    """The range in which every mode has at least that success, in words."""
    holding = curve.holding(least)
    if not holding:
        return "nowhere"
    if isinstance(curve.nominal.value, str):
        return f"{sum(point.least >= least for point in curve.points)} of {len(curve.points)}"
    low, high = holding[0].value, holding[-1].value
    begin = f"{shown(low)} to" if low else "up to"
    return f"{begin} {shown(high)} {curve.axis.unit}"


def _tile(curve: Curve, least: float) -> str:
    bad = ' class="bad"' if len(curve.holding(least)) < len(curve.points) else ""
    name = curve.axis.name.replace("_", " ")
    return f"<li{bad}><b>{escape(held(curve, least))}</b><span>{escape(name)}</span></li>"


def _legend(modes: Sequence[int]) -> str:
    entries = [f'<span><i style="background:{color(m)}"></i>{name_of(m)}</span>' for m in modes if m != UNCONDITIONED]
    more = "dashed upright line: nominal · dotted: the success to keep · bands and bars: lowest to highest seed"
    return "".join(entries) + f'<span><i class="dashed"></i>unconditioned</span><span>{more}</span>'


def _section(curve: Curve, least: float) -> str:
    """The large picture is success; the others are small below it. That of delay is what a robot asks first."""
    wide = curve.axis.name == "delay" or isinstance(curve.nominal.value, str)
    size, small_size = ((1100.0, 340.0), (350.0, 170.0)) if wide else ((530.0, 260.0), (180.0, 130.0))
    small = "".join(f"<div><h3>{m.title}</h3>{drawn}</div>" for m in MEASURES[1:]
                    if (drawn := chart(curve, m, least, *small_size)))  # fmt: skip
    return (
        f'<section{" class=wide" if wide else ""} id="{curve.axis.name}">'
        f"<h2>Success against {escape(curve.axis.title)}</h2>"
        f'{chart(curve, SUCCESS, least, *size)}<div class="small">{small}</div>'
        f"<details><summary>Numbers</summary>{_table(curve)}</details></section>"
    )


def _table(curve: Curve) -> str:
    head = "".join(f'<th scope="col">{text}</th>' for text in (curve.axis.name, "", *(m.title for m in MEASURES)))
    rows = "".join(_row(point, mode) for point in curve.points for mode in point.modes)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(point: Point, mode: int) -> str:
    cells = [shown(point.value) + (" (nominal)" if point.nominal else ""), name_of(mode)]
    for measure in MEASURES:
        spread = point.spread(mode, measure.of)
        cells.append("-" if spread is None else f"{spread.mean:.2f} ({spread.low:.2f} to {spread.high:.2f})")
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _cases_hint(cases: Sequence[tuple[Curve, Point]]) -> str:
    if not cases:
        return "There are none: every episode of every mode arrived."
    return ("Of each axis the worst value, and there the mode that suffers most. Dashed: the way that it should take; "
            "red: episodes that did not arrive, with a cross where they ended.")  # fmt: skip


def _case(curve: Curve, point: Point, scene: Scene) -> str:
    mode = point.worst
    paths = [path for cell in point.cells for o in cell.outcomes if o.mode == mode for path in o.failed][:PATHS]
    picture = from_above(scene.task, np.array(scene.contract.mode(mode).path), paths, mode)
    unit = f" {curve.axis.unit}" if curve.axis.unit else ""
    text = f"{curve.axis.title} {shown(point.value)}{unit}, {name_of(mode)}: success {share(point.least)}"
    return f"<figure>{picture}<figcaption>{escape(text)}</figcaption></figure>"


def _facts(transfer: Transfer, found: Sequence[Curve]) -> str:
    head = transfer.head
    nominal = ", ".join(f"{curve.axis.name} {shown(curve.nominal.value)}" for curve in found)
    seeds = ", ".join(str(cell.trial.seed) for cell in found[0].nominal.cells)
    facts = {"policy": head.policy, "SHA-256": head.sha256, "task": head.task, "policy's rate": f"{head.rate_hz:g} Hz",
             "episodes a mode": str(head.episodes), "seeds": seeds, "nominal robot": nominal}  # fmt: skip
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
