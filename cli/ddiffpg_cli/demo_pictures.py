"""The picture and the video of the demo, drawn after the run from what was heard in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg_cli.barrier import Barrier

PIXELS = 480
BY_HAND = (40, 40, 40)
FRAMES = 100  # at most: without a graphics card each takes up to 0.2 s to draw


@dataclass(frozen=True)
class Sample:
    """One control tick: time (s), the robot's ``position`` (m), the mode (-1: none), what stood in the way, and
    whether a human drove."""

    time: float
    position: tuple[float, float]
    mode: int
    barrier: Barrier | None
    by_hand: bool = False


def write_pictures(contract: Contract, samples: Sequence[Sample], out: Path, say: Callable[[str], None]) -> list[Path]:
    """``demo.png`` (the whole drive) and ``demo.gif`` (in real time) in ``out``; returns their paths.

    ``say`` is told what they are drawn with.
    """
    from ddiffpg_sim import tasks
    from ddiffpg_sim.gl import open_canvas
    from ddiffpg_sim.render import save_gif

    canvas = open_canvas(tasks.make(contract.task), PIXELS, say=say)
    try:
        step = -(-len(samples) // FRAMES)
        shown = [*range(0, len(samples) - 1, step), len(samples) - 1]
        frames = [canvas.draw(_scene(contract, samples[: i + 1])) for i in shown]
    finally:
        canvas.close()
    picture, video = out / "demo.png", out / "demo.gif"
    frames[-1].save(picture)
    save_gif(frames, video, fps=contract.rate_hz / step)
    return [picture, video]


def _scene(contract: Contract, samples: Sequence[Sample]):
    """All ways faint, the trail so far in the colours of its modes and that of the human, the obstacle, the robot."""
    from ddiffpg_sim.render import Line, Scene, faint, mode_color

    now = samples[-1]
    ways = [Line(np.array(m.path, float)[:, :2], faint(mode_color(m.id)), 0.05) for m in contract.modes]
    return Scene(
        robot=now.position,
        robot_color=_color(now),
        lines=(*ways, *_trail(samples)),
        obstacles=_obstacles(now),
        caption=f"{now.time:4.1f} s   {_who(now)}",
    )


def _who(sample: Sample) -> str:
    if sample.by_hand:
        return "a human drives"
    return f"mode {sample.mode}" if sample.mode >= 0 else "no way"


def _color(sample: Sample) -> tuple[int, int, int]:
    from ddiffpg_sim.render import mode_color

    return BY_HAND if sample.by_hand else mode_color(sample.mode)


def _trail(samples: Sequence[Sample]) -> list:
    """A line for each stretch of the same colour, each beginning where the one before ended."""
    from ddiffpg_sim.render import Line

    starts = [0, *(i for i in range(1, len(samples)) if _color(samples[i]) != _color(samples[i - 1]))]
    ends = [*starts[1:], len(samples) - 1]
    return [
        Line(np.array([s.position for s in samples[a : b + 1]]), _color(samples[a]), 0.06)
        for a, b in zip(starts, ends)
    ]


def _obstacles(sample: Sample) -> tuple:
    from ddiffpg_sim.obstacles import Obstacle

    if sample.barrier is None:
        return ()
    along, across, up = (side / 2 for side in sample.barrier.size)
    return (Obstacle(0, "box", (*sample.barrier.center, up), (along, across, up), sample.barrier.yaw),)
