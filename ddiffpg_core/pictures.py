"""Pictures of a run, for people who would rather look than read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from scipy.cluster.hierarchy import dendrogram

from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.batch import FIRST_MODE
from ddiffpg_core.clustering import cluster

Background = Callable[[Axes], None]
"""Draws what does not move (walls, goals) into the axes, in metres."""

COLOURS = [plt.get_cmap("tab10")(i) for i in range(10)]


def draw_all(agent: DDiffPG, folder: Path, background: Background) -> list[Path]:
    """Trajectories by mode, coverage, dendrogram and Q maps of a run, as PNG files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {"trajectories": draw_trajectories, "coverage": draw_coverage, "q_maps": draw_values}
    written = []
    for name, draw in drawings.items():
        written.append(_save(draw(agent, background), folder / f"{name}.png"))
    if len(agent.bank.library.path) > 1:
        written.append(_save(draw_dendrogram(agent), folder / "dendrogram.png"))
    return written


def draw_trajectories(agent: DDiffPG, background: Background, most: int = 40) -> plt.Figure:
    """The newest successes of each mode, and its prototype as a thick line: from above, in space from behind too."""
    planes = [(0, 1), (1, 2)][: len(agent.spec.path) - 1]
    figure, grid = plt.subplots(1, len(planes), figsize=(6 * len(planes), 6), squeeze=False)
    background(grid[0, 0])
    for axes, plane in zip(grid[0], planes):
        _draw_ways(agent, axes, plane, most)
    grid[0, 0].set_title("successes by mode")
    if agent.bank.modes:
        grid[0, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _draw_ways(agent: DDiffPG, axes: Axes, plane: tuple[int, int], most: int) -> None:
    """The ways of all modes as they are seen in a ``plane`` of two axes."""
    replay, columns = agent.replay, list(plane)
    for i, mode in enumerate(agent.bank.modes):
        slots = np.flatnonzero(replay.live & replay.success & (replay.mode == mode.id))
        for slot in slots[np.argsort(replay.born[slots])][-most:]:
            axes.plot(*replay.path(slot)[:, columns].T, color=COLOURS[i % 10], alpha=0.25, linewidth=0.7)
        axes.plot(*mode.prototype[:, columns].T, color=COLOURS[i % 10], linewidth=2.5, label=f"mode {mode.id}")
    horizontal, vertical = ("xyz"[column] for column in plane)
    axes.set(aspect="equal", xlabel=f"{horizontal} / m", ylabel=f"{vertical} / m")


def draw_coverage(agent: DDiffPG, background: Background) -> plt.Figure:
    """Where the trajectories in memory have been."""
    figure, axes = plt.subplots(figsize=(6, 6))
    background(axes)
    replay = agent.replay
    points = np.concatenate([replay.path(int(slot)) for slot in np.flatnonzero(replay.length > 0)])
    image = axes.hexbin(points[:, 0], points[:, 1], gridsize=50, bins="log", mincnt=1, alpha=0.8)
    figure.colorbar(image, label="visits")
    axes.set(aspect="equal", xlabel="x / m", ylabel="y / m", title=f"coverage: {len(agent.cells)} cells")
    return figure


def draw_values(agent: DDiffPG, background: Background) -> plt.Figure:
    """What each critic thinks of the states in memory, under its own mode's actions."""
    names = ["explore", "find", *(f"mode {m.id}" for m in agent.bank.modes)]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4 * columns, 3.6 * rows), squeeze=False)
    obs, value = sample_values(agent, 3000)
    for i, axes in enumerate(grid.flat):
        if i >= len(names):
            axes.axis("off")
            continue
        background(axes)
        points = obs[:, agent.spec.path_columns]
        image = axes.scatter(points[:, 0], points[:, 1], c=value[i], s=4)
        figure.colorbar(image)
        axes.set(aspect="equal", title=f"Q {names[i]}")
    figure.tight_layout()
    return figure


@torch.no_grad()
def sample_values(agent: DDiffPG, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` states from memory ``[N, O]`` and each critic's value of its own action there ``[G, N]``.

    Draws from generators of its own: looking does not change training.
    """
    rng, noise = np.random.default_rng(0), torch.Generator(agent.device).manual_seed(0)
    rows = agent.replay.rows(rng.choice(agent.replay.collected(), count), rng)
    obs = agent.replay.obs[rows.slot, rows.time]
    groups = FIRST_MODE + len(agent.bank.modes)
    x = agent.features(obs).expand(groups, -1, -1)
    embedding = np.stack([*agent.special, *(m.embedding for m in agent.bank.modes)])
    wide = torch.as_tensor(embedding, device=agent.device)[:, None].expand(-1, count, -1)
    action = agent.slow_actor.sample(x, wide, noise)
    value = agent.critic.online.value(torch.cat([x, action], -1))
    return obs.cpu().numpy(), value.cpu().numpy()


def draw_dendrogram(agent: DDiffPG) -> plt.Figure:
    """The hierarchy of the successful ways, and where they are one."""
    result = cluster(agent.bank.library.distance, agent.bank.apart, agent.config.modes)
    figure, axes = plt.subplots(figsize=(8, 4))
    dendrogram(result.tree, ax=axes, no_labels=True, color_threshold=agent.bank.apart)
    axes.axhline(agent.bank.apart, linestyle="--", color="grey")
    axes.set(ylabel="distance / m", title=f"{result.label.max() + 1} clusters among {len(result.label)} ways")
    return figure


def _save(figure: plt.Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return path
