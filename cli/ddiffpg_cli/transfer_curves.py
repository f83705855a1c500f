"""What the cells of a transfer test say together: a curve an axis, the range in which it holds, the worst cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ddiffpg_core.evaluate import UNCONDITIONED

from .transfer_axes import AXES, NOMINAL, Axis, Target, Value
from .transfer_grid import Cell, Outcome, Transfer


@dataclass(frozen=True)
class Spread:
    """Of one figure over the seeds: its mean, lowest and highest."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """What all seeds gave at one ``value`` of an axis; ``nominal``: the one that nothing was changed for."""

    value: Value
    cells: tuple[Cell, ...]
    nominal: bool = False

    @property
    def modes(self) -> list[int]:
        return [outcome.mode for outcome in self.cells[0].outcomes]

    def spread(self, mode: int, of: Callable[[Outcome], float | None]) -> Spread | None:
        """Over the seeds; None where none has such a figure."""
        found = [of(outcome) for cell in self.cells for outcome in cell.outcomes if outcome.mode == mode]
        known = [value for value in found if value is not None]
        return Spread(float(np.mean(known)), min(known), max(known)) if known else None

    def success(self, mode: int) -> float:
        spread = self.spread(mode, lambda outcome: outcome.success)
        assert spread is not None
        return spread.mean

    @property
    def worst(self) -> int:
        """The mode with the least success."""
        return min((mode for mode in self.modes if mode != UNCONDITIONED), key=self.success)

    @property
    def least(self) -> float:
        """The success of that mode."""
        return self.success(self.worst)


@dataclass(frozen=True)
class Curve:
    """The ``points`` of one axis by value, among them the nominal robot's."""

    axis: Axis
    points: tuple[Point, ...]

    @property
    def nominal(self) -> Point:
        return next(point for point in self.points if point.nominal)

    @property
    def lowest(self) -> Point:
        """The changed robot on which the worst mode is worst."""
        return min((point for point in self.points if not point.nominal), key=lambda point: point.least)

    def holding(self, least: float) -> tuple[Point, ...]:
        """The points around the nominal one, without a gap, at which every mode's success is at least so much."""
        at = self.points.index(self.nominal)
        good = [point.least >= least for point in self.points]
        if not good[at]:
            return ()
        begin = next((i + 1 for i in range(at, -1, -1) if not good[i]), 0)
        end = next((i for i in range(at, len(good)) if not good[i]), len(good))
        return self.points[begin:end]


def curves(transfer: Transfer, target: Target) -> list[Curve]:
    """Of all axes that were looked at, in their order; ``target`` is the nominal robot."""
    names = {cell.trial.axis for cell in transfer.cells} - {NOMINAL}
    return [_curve(transfer, axis, target) for name, axis in AXES.items() if name in names]


def _curve(transfer: Transfer, axis: Axis, target: Target) -> Curve:
    values = dict.fromkeys(cell.trial.value for cell in transfer.cells if cell.trial.axis == axis.name)
    points = [Point(value, tuple(transfer.of_axis(axis.name, value))) for value in values if value is not None]
    nominal = Point(axis.of(target), tuple(transfer.of_axis(NOMINAL, None)), nominal=True)
    if isinstance(nominal.value, str):
        return Curve(axis, (nominal, *points))
    return Curve(axis, tuple(sorted((nominal, *points), key=lambda point: point.value)))


def worst_cases(found: Sequence[Curve], most: int) -> list[tuple[Curve, Point]]:
    """The worst point of each axis where some episode of a mode failed, the worst of them first."""
    cases = [(curve, curve.lowest) for curve in found if curve.lowest.least < 1.0]
    return sorted(cases, key=lambda case: case[1].least)[:most]
