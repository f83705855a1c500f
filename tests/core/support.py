"""What the tests of learning share: a small task, and trajectories written down by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ddiffpg_core.credit import project
from ddiffpg_core.paths import resample
from ddiffpg_core.replay import Replay
from ddiffpg_core.spec import ActionField, ActionSpec, ObservationField, Step, TaskSpec

NEXT_START = (77.0, 77.0)
"""Where the episode after each hand-written one begins: far from everything, so that a mix-up shows."""


def plane(max_steps: int = 4) -> TaskSpec:
    """A point in the plane: observation x, y (m), action vx, vy in ±1 m/s."""
    fields = tuple(ObservationField(n, f"odom.position.{n}", "m", scale=4.0) for n in "xy")
    action = ActionSpec("base_velocity", tuple(ActionField(f"v{n}", "m/s", -1.0, 1.0) for n in "xy"))
    return TaskSpec("plane", "point", 10.0, max_steps, fields, action, ("x", "y"), 0.6)


def memory(spec: TaskSpec, slots: int = 8, num_envs: int = 1, points: int = 5) -> Replay:
    """An empty replay memory on the CPU."""
    return Replay(spec, slots, num_envs, points, torch.device("cpu"))


def one_step(to: Sequence[float], *, reward: float = 0.0, terminated: bool = False, truncated: bool = False,
             success: bool | None = None) -> Step:
    """One environment's step to ``to``; where it ends the episode, the next begins at NEXT_START."""
    ended = terminated or truncated
    first = np.array([NEXT_START if ended else to], np.float32)
    flags = [np.array([f]) for f in (terminated, truncated, terminated if success is None else success)]
    return Step(first, np.array([reward], np.float32), *flags, np.array([to], np.float32))


def play(replay: Replay, path: Sequence[Sequence[float]], *, goal: bool, explorer: bool = True,
         rng: np.random.Generator | None = None) -> int:
    """The only environment goes along ``path``; a goal pays 1 and terminates, else it is the time limit.

    Its k-th action is (k / 10, -k / 10), k from 1. Returns the slot that holds the trajectory.
    """
    points = np.asarray(path, np.float32)
    replay.start(torch.from_numpy(points[:1]))
    step = None
    for k, point in enumerate(points[1:], 1):
        last = k == len(points) - 1
        step = one_step(point, reward=float(goal and last), terminated=goal and last, truncated=last and not goal)
        replay.append(torch.tensor([[k / 10, -k / 10]]), step, explorer)
    assert step is not None
    slot = replay.close(0, step)
    replay.reopen(0, torch.tensor(NEXT_START), rng or np.random.default_rng(0))
    return slot


def ways_along(corners: Sequence[Sequence[float]], count: int, rng: np.random.Generator, spread: float = 0.05,
               points: int = 20) -> np.ndarray:
    """``count`` ways ``[count, points, 2]`` along ``corners`` (m), each corner moved a little."""
    moved = np.asarray(corners, float) + rng.normal(size=(count, len(corners), 2)) * spread
    return np.stack([resample(line, points) for line in moved]).astype(np.float32)


def steering(ways: dict[int, np.ndarray], comes_back: bool = True) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A policy that follows the way it is asked for (``obs [N, O]`` from x, y on, mode ids ``[N]``), at 1 m/s.

    Off that way it follows the nearest one: back to where it began if ``comes_back``, else on. Without a mode
    every other row follows the first way, the others the last.
    """
    ids = sorted(ways)

    def act(obs: np.ndarray, mode: np.ndarray) -> np.ndarray:
        out = np.zeros((len(obs), 2), np.float32)
        for i, (point, asked) in enumerate(zip(obs[:, :2], mode)):
            asked = ids[0 if i % 2 else -1] if asked < 0 else int(asked)
            near = {k: [float(v) for v in project(point, w)] for k, w in ways.items()}
            way, ahead = asked, 0.4
            if near[asked][0] > 0.6:
                way = min(near, key=lambda k: near[k][0])
                ahead = -0.4 if comes_back else 0.4
            out[i] = np.clip((_along(ways[way], near[way][1] + ahead) - point) * 5, -1, 1)
        return out

    return act


def _along(way: np.ndarray, metres: float) -> np.ndarray:
    """The point so far along ``way``."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    return np.array([np.interp(metres, length, column) for column in way.T])
