"""The pictures of a transfer test as SVG: a figure of every mode along an axis, and paths from above."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from ddiffpg_core.evaluate import UNCONDITIONED
from ddiffpg_sim.task import PlanarTask, Task

from .transfer_axes import Value
from .transfer_curves import Curve, Point, Spread
from .transfer_grid import Outcome

LEFT, RIGHT, TOP, BOTTOM = 40.0, 16.0, 10.0, 22.0  # around the plot, in the units of the picture
TITLE = 16.0  # for the name of the axis, where there is one
MARGIN = 0.25  # m, around paths from above


@dataclass(frozen=True)
class Measure:
    """What is drawn over an axis; a share goes from 0 to 1, anything else from 0 to its largest value."""

    title: str
    of: Callable[[Outcome], float | None]
    share: bool = True


SUCCESS = Measure("success", lambda outcome: outcome.success)
MEASURES = (
    SUCCESS,
    Measure("adherence", lambda outcome: outcome.adherence),
    Measure("seconds to the goal", lambda outcome: outcome.seconds, share=False),
    Measure("time at a wall", lambda outcome: outcome.touched),
)


def color(mode: int) -> str:
    return "var(--none)" if mode == UNCONDITIONED else f"var(--m{mode % 5})"


def name_of(mode: int) -> str:
    return "unconditioned" if mode == UNCONDITIONED else f"mode {mode}"


def shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


# ---- curves -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plot:
    """Where values lie in a picture of ``width`` and ``height``: ``places [P]`` are 0..1 of the points, values go up
    to ``top``, and below ``bottom`` are the labels."""

    width: float
    height: float
    places: tuple[float, ...]
    top: float
    bottom: float

    def x(self, place: float) -> float:
        return LEFT + place * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.bottom - value / self.top * (self.bottom - TOP)


def chart(curve: Curve, measure: Measure, least: float, width: float, height: float) -> str:
    """``measure`` of every mode along the axis; empty where no episode has such a figure. Success is drawn with the
    name of the axis and the ``least`` that counts as holding."""
    modes = [m for m in curve.nominal.modes if any(p.spread(m, measure.of) for p in curve.points)]
    highs = [s.high for m in modes for p in curve.points if (s := p.spread(m, measure.of))]
    if not highs:
        return ""
    top = 1.0 if measure.share else 1.05 * max(highs) or 1.0
    plot = _Plot(width, height, _places(curve), top, height - BOTTOM - (TITLE if measure is SUCCESS else 0.0))
    label = f"{measure.title} by {curve.axis.title}; the table says the same in numbers"
    parts = [_frame(plot, curve, measure), _nominal(plot, curve)]
    if measure is SUCCESS:
        y = plot.y(least)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{width - RIGHT}" stroke="var(--warn)" stroke-dasharray="2 4"/>')
    parts += [_line(plot, curve, measure, mode) for mode in modes]
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _places(curve: Curve) -> tuple[float, ...]:
    values = [point.value for point in curve.points]
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values) or len(values) < 2:
        return tuple((i + 0.5) / len(values) for i in range(len(values)))
    low, high = min(numbers), max(numbers)
    return tuple((value - low) / (high - low) for value in numbers)


def _frame(plot: _Plot, curve: Curve, measure: Measure) -> str:
    parts = []
    for value in np.linspace(0.0, 1.0 if measure.share else plot.top / 1.05, 5 if measure.share else 3):
        y = plot.y(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{plot.width - RIGHT}" stroke="var(--line)"/>')
        text = f"{value:.2f}" if measure.share else f"{value:.3g}"
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    end = -np.inf
    for place, point in zip(plot.places, curve.points):
        x, text = plot.x(place), shown(point.value)
        if x - end > 4.0 * len(text):  # where labels would meet, one is left out
            parts.append(_below(x, plot.bottom + 16, text))
            end = x + 4.0 * len(text)
    if measure is SUCCESS:
        unit = f", {curve.axis.unit}" if curve.axis.unit else ""
        parts.append(_below(plot.x(0.5), plot.bottom + 16 + TITLE, curve.axis.title + unit))
    return "".join(parts)


def _below(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'


def _nominal(plot: _Plot, curve: Curve) -> str:
    x = plot.x(plot.places[curve.points.index(curve.nominal)])
    ends = f"M{x:.1f} {TOP}V{plot.bottom:.1f}"
    style = 'stroke="var(--ink)" stroke-width="1.5" stroke-dasharray="5 4"'
    return f'<path d="{ends}" {style}><title>nominal</title></path>'


def _line(plot: _Plot, curve: Curve, measure: Measure, mode: int) -> str:
    found = [(plot.x(place), point, point.spread(mode, measure.of)) for place, point in zip(plot.places, curve.points)]
    known = [(x, point, spread) for x, point, spread in found if spread is not None]
    paint = color(mode)
    parts = []
    if not isinstance(curve.nominal.value, str):
        above = [(x, plot.y(s.high)) for x, _, s in known]
        below = [(x, plot.y(s.low)) for x, _, s in reversed(known)]
        dash = ' stroke-dasharray="6 4"' if mode == UNCONDITIONED else ""
        parts.append(f'<path d="{_path((*above, *below))}Z" fill="{paint}" opacity="0.15"/>')
        middle = _path((x, plot.y(s.mean)) for x, _, s in known)
        parts.append(f'<path d="{middle}" fill="none" stroke="{paint}" stroke-width="2.5"{dash}/>')
    parts += [_dot(plot, x, point, spread, mode, measure) for x, point, spread in known]
    return "".join(parts)


def _dot(plot: _Plot, x: float, point: Point, spread: Spread, mode: int, measure: Measure) -> str:
    where = "nominal" if point.nominal else shown(point.value)
    text = f"{name_of(mode)} at {where}: {measure.title} {spread.mean:.3g} ({spread.low:.3g} to {spread.high:.3g})"
    ends = f"M{x:.1f} {plot.y(spread.low):.1f}V{plot.y(spread.high):.1f}"
    return (f'<path d="{ends}" stroke="{color(mode)}"/><circle cx="{x:.1f}" cy="{plot.y(spread.mean):.1f}" r="4" '
            f'fill="{color(mode)}"><title>{escape(text)}</title></circle>')  # fmt: skip


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


# ---- from above -------------------------------------------------------------------------------------


def from_above(task: Task, way: np.ndarray, paths: Sequence[Sequence[Sequence[float]]], mode: int) -> str:
    """Walls and goals of ``task``, the mode's ``way [P, D]`` dashed, and ``paths`` with a cross where each ended."""
    low, high = _bounds(task, [way, *map(np.asarray, paths)])
    width, height = high - low
    unit = max(width, height) / 240
    parts = [_wall(*wall.center, *wall.half_size) for wall in task.walls]
    if isinstance(task, PlanarTask):
        parts += [f'<circle cx="{x:.2f}" cy="{-y:.2f}" r="{task.goal_radius}" fill="var(--m2)" opacity="0.35"/>'
                  for x, y in task.goals]  # fmt: skip
    dash = f'stroke="{color(mode)}" stroke-width="{2 * unit:.4f}" stroke-dasharray="{5 * unit:.4f} {4 * unit:.4f}"'
    parts.append(f'<path d="{_trace(way)}" fill="none" {dash}/>')
    for path in paths:
        parts.append(f'<path d="{_trace(path)}" fill="none" stroke="var(--warn)" stroke-width="{1.5 * unit:.4f}"/>')
        parts.append(_cross(path[-1], 5 * unit))
    box = f"{low[0]:.3f} {-high[1]:.3f} {width:.3f} {height:.3f}"
    label = f"the way of {name_of(mode)} and {len(paths)} paths that did not arrive, from above"
    return f'<svg viewBox="{box}" class="above" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _bounds(task: Task, lines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The corners of what is shown: a maze whole, of an arm's world what is near the paths."""
    points = np.concatenate([line[:, :2] for line in lines])
    if isinstance(task, PlanarTask):
        corners = [np.add(w.center, np.multiply(sign, w.half_size)) for w in task.walls for sign in (1, -1)]
        points = np.concatenate([points, corners])
        return points.min(0), points.max(0)
    return points.min(0) - MARGIN, points.max(0) + MARGIN


def _wall(x: float, y: float, half_x: float, half_y: float) -> str:
    box = f'x="{x - half_x:.3f}" y="{-y - half_y:.3f}" width="{2 * half_x:.3f}" height="{2 * half_y:.3f}"'
    return f'<rect {box} fill="var(--wall)"/>'


def _trace(points: Iterable[Sequence[float]]) -> str:
    return "M" + "L".join(f"{p[0]:.3f} {-p[1]:.3f}" for p in points)


def _cross(end: Sequence[float], size: float) -> str:
    x, y, d = end[0], -end[1], size
    lines = f"M{x - d:.3f} {y - d:.3f}l{2 * d:.3f} {2 * d:.3f}M{x - d:.3f} {y + d:.3f}l{2 * d:.3f} {-2 * d:.3f}"
    return f'<path d="{lines}" stroke="var(--ink)" stroke-width="{size / 3:.4f}"/>'
