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
from ddiffpg_core.learner import Learner
from ddiffpg_core.replay import Replay

Background = Callable[[Axes], None]
"""Draws what does not move (walls, goals) into the axes, in metres."""

COLOURS = [plt.get_cmap("tab10")(i) for i in range(10)]


def draw_all(agent: Learner, folder: Path, background: Background) -> list[Path]:
    """Trajectories and coverage of a run, and of DDiffPG its Q maps and dendrogram, as PNG files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"trajectories": draw_trajectories(agent, background), "coverage": draw_coverage(agent, background)}
    if isinstance(agent, DDiffPG):
        drawn["q_maps"] = draw_values(agent, background)
        if len(agent.bank.library.path) > 1:
            drawn["dendrogram"] = draw_dendrogram(agent)
    return [_save(figure, folder / f"{name}.png") for name, figure in drawn.items()]


def draw_trajectories(agent: Learner, background: Background) -> plt.Figure:
    """The newest successes of each mode, and its prototype as a thick line; without modes the newest of all.

    From above, and ways in space from behind too.
    """
    planes = [(0, 1), (1, 2)][: len(agent.spec.path) - 1]
    figure, grid = plt.subplots(1, len(planes), figsize=(6 * len(planes), 6), squeeze=False)
    background(grid[0, 0])
    for axes, plane in zip(grid[0], planes):
        _draw_ways(agent, axes, plane)
    grid[0, 0].set_title("successes by mode" if agent.modes else "successes")
    if agent.modes:
        grid[0, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _draw_ways(agent: Learner, axes: Axes, plane: tuple[int, int]) -> None:
    """The ways of all modes as they are seen in a ``plane`` of two axes."""
    replay, columns = agent.replay, list(plane)
    success = replay.live & replay.success
    for i, mode in enumerate(agent.modes):
        _draw_newest(axes, replay, success & (replay.mode == mode.id), columns, COLOURS[i % 10])
        axes.plot(*mode.prototype[:, columns].T, color=COLOURS[i % 10], linewidth=2.5, label=f"mode {mode.id}")
    if not agent.modes:
        _draw_newest(axes, replay, success, columns, COLOURS[0])
    horizontal, vertical = ("xyz"[column] for column in plane)
    axes.set(aspect="equal", xlabel=f"{horizontal} / m", ylabel=f"{vertical} / m")


def _draw_newest(axes: Axes, replay: Replay, chosen: np.ndarray, columns: list[int], colour: tuple,
                 most: int = 40) -> None:
    """The newest trajectories among ``chosen [S]``, in the plane of two ``columns`` of their paths."""
    slots = np.flatnonzero(chosen)
    for slot in slots[np.argsort(replay.born[slots])][-most:]:
        axes.plot(*replay.path(slot)[:, columns].T, color=colour, alpha=0.25, linewidth=0.7)


def draw_coverage(agent: Learner, background: Background) -> plt.Figure:
    """Where the trajectories in memory have been."""
    figure, axes = plt.subplots(figsize=(6, 6))
    background(axes)
    replay = agent.replay
    points = np.concatenate([replay.path(int(slot)) for slot in np.flatnonzero(replay.length > 0)])
    image = axes.hexbin(points[:, 0], points[:, 1], gridsize=50, bins="log", mincnt=1, alpha=0.8)
    figure.colorbar(image, label="visits")
    cells = agent.measures()["coverage_cells"]
    axes.set(aspect="equal", xlabel="x / m", ylabel="y / m", title=f"coverage: {cells:.0f} cells")
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
    dendrogram(result.tree, ax=axes, no_labels=True, color_threshold=result.height)
    axes.axhline(result.height, linestyle="--", color="grey")
    axes.set(ylabel="distance / m", title=f"{result.label.max() + 1} clusters among {len(result.label)} ways")
    return figure


def _save(figure: plt.Figure, path: Path) -> Path:
    try:
        figure.savefig(path, dpi=110, bbox_inches="tight")
    except OSError as error:  # where the disk is full it does not say which file it was
        raise OSError(error.errno, error.strerror, str(path)) from error
    plt.close(figure)
    return path
