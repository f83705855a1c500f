"""A robot whose parts are alike: what it has done with one of them, it may have done with another.

Each row of a batch is seen through one of the task's symmetries, drawn anew, so the networks learn once what the robot
can do with any of its parts (augmentation as in Mittal et al. 2024, "Symmetry considerations for learning task
symmetric robot policies"). Where the robot is stays as it is: no way becomes another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ddiffpg_core.spec import Symmetry


class Symmetries:
    """K of them, of which the first changes nothing: ``obs [K, O, O]`` and ``action [K, A, A]``."""

    def __init__(self, symmetries: Sequence[Symmetry], obs_dim: int, action_dim: int, device: torch.device) -> None:
        obs = [np.eye(obs_dim), *(s.observation for s in symmetries)]
        action = [np.eye(action_dim), *(s.action for s in symmetries)]
        self._obs, self._action = (torch.tensor(np.array(m), dtype=torch.float32, device=device) for m in (obs, action))

    def __len__(self) -> int:
        return len(self._obs)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
        """Which one each row is seen through: numbers ``[...]`` of ``shape``. Nothing is drawn where there is one."""
        which = rng.integers(len(self), size=shape) if len(self) > 1 else np.zeros(shape, np.int64)
        return torch.as_tensor(which, device=self._obs.device)

    def of_obs(self, obs: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """``obs [..., O]`` as seen through ``which [...]``."""
        return _seen(self._obs, obs, which)

    def of_action(self, action: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """``action [..., A]`` (±1) as seen through ``which [...]``."""
        return _seen(self._action, action, which)

    def back(self, action: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """The action that :meth:`of_action` shows as ``action [..., A]``."""
        return _seen(self._action.transpose(1, 2), action, which)


def _seen(maps: torch.Tensor, x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    if len(maps) == 1:
        return x
    return torch.einsum("...ij,...j->...i", maps[which], x)
