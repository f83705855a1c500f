"""How far to trust what another robot did: value-guided data filtering (VGDF: Xu et al. 2023).

Dynamics of the robot that is learned on say where it would come from a state by an action. What the other robot's
transition is worth counts to the degree that it agrees with what theirs are worth: robots may come to different places
that are as good. The paper keeps the quarter of a batch that agrees best; here each row counts in part.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ddiffpg_core.config import AgreementConfig
from ddiffpg_core.spec import TaskSpec


class Dynamics:
    """M networks ``[O + A] -> [O]`` that learn by how much a step changes the observation, in units of its scale.

    They differ in where they began: where they have seen little they say different things.
    """

    def __init__(self, spec: TaskSpec, config: AgreementConfig, device: torch.device, generator: torch.Generator):
        sizes = [spec.obs_dim + spec.action_dim, *config.hidden, spec.obs_dim]
        self._offset, self._scale = (torch.tensor([getattr(f, name) for f in spec.observation], device=device)
                                     for name in ("offset", "scale"))
        self.weight, self.bias = [], []
        for a, b in zip(sizes, sizes[1:]):
            drawn = torch.rand(config.members, a, b, generator=generator, device=device)
            self.weight.append(((drawn * 2 - 1) / a**0.5).requires_grad_())
            self.bias.append(torch.zeros(config.members, 1, b, device=device, requires_grad=True))
        self._optimizer = torch.optim.Adam([*self.weight, *self.bias], config.learning_rate)

    def update(self, obs: torch.Tensor, action: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """One step towards ``after [R, O]``, which ``action [R, A]`` in ±1 led to from ``obs [R, O]``; the loss."""
        loss = (self._change(obs, action) - (after - obs) / self._scale).square().mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def predict(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Where each of them says that the robot comes: ``obs [R, O]``, ``action [R, A]`` -> ``[M, R, O]``."""
        return obs + self._change(obs, action) * self._scale

    def _change(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        x = torch.cat([(obs - self._offset) / self._scale, action], -1).expand(len(self.weight[0]), -1, -1)
        for i, (weight, bias) in enumerate(zip(self.weight, self.bias)):
            x = torch.baddbmm(bias, nn.functional.silu(x) if i else x, weight)
        return x

    def state_dict(self) -> dict[str, Any]:
        return {"weight": [w.detach() for w in self.weight], "bias": [b.detach() for b in self.bias],
                "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for mine, kept in ((self.weight, state["weight"]), (self.bias, state["bias"])):
                for parameter, value in zip(mine, kept):
                    parameter.copy_(torch.as_tensor(value))
        self._optimizer.load_state_dict(state["optimizer"])


def agreement(there: torch.Tensor, here: torch.Tensor, least: float) -> torch.Tensor:
    """How much each transition counts, 0 to 1 ``[...]``: ``there [...]`` is what the other robot's next state is worth,
    ``here [M, ...]`` what those are that the dynamics of this one say.

    It is the density of ``there`` in the normal distribution of ``here``, as part of its peak; the distribution is
    taken to be no narrower than ``least``.
    """
    spread = here.std(0, correction=0).clamp(min=least)
    return torch.exp(-0.5 * ((there - here.mean(0)) / spread).square())
