"""The fit of an identified robot as a picture: what was measured against what was simulated, before and after."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ddiffpg_sim.dynamics import NOMINAL
from ddiffpg_sim.shooting import Candidate, Shooting

SHOWN, SECONDS = 4, 4.0
BEFORE, AFTER = "#c44536", "#1f6fb4"


def draw(path: Path, shooting: Shooting, robot: Candidate) -> None:
    """Write ``path``, in the format that its ending says: the velocities that changed most, in the first seconds."""
    motion, velocities = shooting.motion, shooting.channels // 2
    shown = np.argsort(-motion.qvel[shooting.starts].std(axis=0))[:SHOWN]
    _, simulated = shooting.simulate([Candidate(NOMINAL, 0.0), robot])
    first = motion.times[shooting.starts[0]]
    until = int(np.searchsorted(motion.times, first + SECONDS))
    figure = Figure(figsize=(9, 1.9 * len(shown) + 0.8), layout="constrained")
    for axes, channel in zip(np.atleast_1d(figure.subplots(len(shown), 1, sharex=True)), shown.tolist()):
        span = slice(shooting.starts[0], until)
        axes.plot(motion.times[span] - first, motion.qvel[span, channel], color="black", lw=2.2, label="measured")
        for color, name, rows in ((BEFORE, "model as it is", simulated[0]), (AFTER, "identified", simulated[1])):
            _draw_pieces(axes, shooting, rows[..., channel], channel, until, color=color, label=name)
        axes.set_ylabel(f"velocity {channel + 1}\nof {velocities}")
        axes.grid(alpha=0.3)
        axes.set_xlabel("s" if channel == shown[-1] else "")
    figure.axes[0].legend(loc="upper right", ncols=3, fontsize=8)
    figure.suptitle("Each piece begins where the robot was measured to be")
    with matplotlib.rc_context({"svg.hashsalt": "ddiffpg"}):
        figure.savefig(path, dpi=110)


def _draw_pieces(axes, shooting: Shooting, rows: np.ndarray, channel: int, until: int, color: str, label: str) -> None:
    motion, first = shooting.motion, shooting.motion.times[shooting.starts[0]]
    for number, (start, readings) in enumerate(zip(shooting.starts, shooting.readings)):
        if readings[-1] >= until:
            return
        times = motion.times[np.append(start, readings)] - first
        values = np.append(motion.qvel[start, channel], rows[number])
        axes.plot(times, values, color=color, lw=1.1, label="_" if number else label)
