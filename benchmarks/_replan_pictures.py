"""Pictures of the paths that were driven in ``benchmarks/replan.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ddiffpg.contract import Contract
from ddiffpg_sim import tasks
from ddiffpg_sim.render import Line, Scene, draw, faint, mode_color

if TYPE_CHECKING:
    from replan import Outcome, Sample

PIXELS, COLUMNS, SHOWN = 300, 4, 12


def draw_paths(outcomes: Sequence[Outcome], folder: Path, contract: Contract) -> None:
    """One picture a kind and strategy, ``KIND-STRATEGY.png``: up to twelve episodes, those that failed first."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, strategy in dict.fromkeys((o.case.kind, o.strategy) for o in outcomes):
        mine = [o for o in outcomes if (o.case.kind, o.strategy) == (kind, strategy)]
        _tiles([_picture(o, contract) for o in sorted(mine, key=_is_good)[:SHOWN]]).save(
            folder / f"{kind}-{strategy}.png"
        )


def _is_good(outcome: Outcome) -> bool:
    return (outcome.stopped if outcome.case.kind == "all" else outcome.success) and not outcome.collided


def _picture(outcome: Outcome, contract: Contract) -> Image.Image:
    """All ways faint, the path in the colours of its modes, every obstacle where it was first and last."""
    ways = [Line(np.array(m.path, float)[:, :2], faint(mode_color(m.id)), 0.05) for m in contract.modes]
    stood = [s.obstacles for s in outcome.samples if s.obstacles]
    shown = (*stood[0], *stood[-1]) if stood else ()
    last = outcome.samples[-1]
    end = "goal" if outcome.success else "COLLIDED" if outcome.collided else last.state
    scene = Scene(
        robot=last.position,
        robot_color=mode_color(last.mode),
        lines=(*ways, *_trail(outcome.samples)),
        obstacles=shown,
        caption=f"{outcome.case.seed}: {outcome.seconds:.1f} s, {outcome.changes} changes, {end}",
    )
    return draw(tasks.make(contract.task), scene, PIXELS)


def _trail(samples: Sequence[Sample]) -> Iterator[Line]:
    """A line for each stretch of the same mode, each beginning where the one before ended."""
    starts = [0, *(i for i in range(1, len(samples)) if samples[i].mode != samples[i - 1].mode)]
    for a, b in zip(starts, [*starts[1:], len(samples) - 1]):
        yield Line(np.array([s.position for s in samples[a : b + 1]]), mode_color(samples[a].mode), 0.05)


def _tiles(pictures: Sequence[Image.Image]) -> Image.Image:
    wide, high = pictures[0].size
    columns = min(COLUMNS, len(pictures))
    sheet = Image.new("RGB", (columns * wide, -(-len(pictures) // columns) * high), (255, 255, 255))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * wide, i // columns * high))
    return sheet
