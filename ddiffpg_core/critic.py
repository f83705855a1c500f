"""Twin categorical critics of all groups (exploration, finder, each mode) as one batched network."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ddiffpg_core.action_value import ActionValue
from ddiffpg_core.config import CriticConfig
from ddiffpg_core.heads import centred, outputs, to_heads


class CriticEnsemble(nn.Module):
    """G groups x 2 heads, each an MLP of its own, evaluated together by batched products."""

    atoms: torch.Tensor

    def __init__(self, inputs: int, groups: int, config: CriticConfig) -> None:
        super().__init__()
        self.groups, self.config = groups, config
        self.norm = config.layer_norm
        widths = [inputs, *config.hidden, config.atoms]
        self.weight = nn.ParameterList(
            [nn.Parameter((torch.rand(2 * groups, i, o) * 2 - 1) / math.sqrt(i)) for i, o in zip(widths, widths[1:])])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(2 * groups, 1, o)) for o in widths[1:]])
        with torch.no_grad():
            self.bias[-1][..., 0] = config.low_start
        self.register_buffer("atoms", torch.linspace(0.0, config.value_max, config.atoms))

    def layers(self, groups: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each layer the weights ``[2 G, I, O]`` and biases ``[2 G, 1, O]`` that serve ``groups``."""
        return list(zip(self.weight, self.bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [G, B, I]`` -> logits ``[G, 2, B, atoms]``."""
        groups, x = len(x), x.repeat_interleave(2, 0)
        for i, (weight, bias) in enumerate(self.layers(groups)):
            x = torch.baddbmm(bias, self._activate(x) if i else x, weight)
        return x.unflatten(0, (groups, 2))

    def _activate(self, x: torch.Tensor) -> torch.Tensor:
        """What follows a hidden layer ``[..., H]``: SiLU, with ``norm`` after layer normalisation (Ba et al. 2016)."""
        return functional.silu(functional.layer_norm(x, x.shape[-1:]) if self.norm else x)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Expected value of the lower head: ``x [G, B, I]`` -> ``[G, B]``."""
        return (self(x).softmax(-1) @ self.atoms).amin(1)

    @torch.no_grad()
    def cross_entropy(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Of both heads towards ``target [G, B, atoms]`` at ``x [G, B, I]``: ``[G]``; its gradients go to ``grad``."""
        layers, x = self.layers(len(x)), to_heads(x)
        layers = centred(layers) if self.norm else layers
        (weight, bias), *rest = layers
        hidden, logits = outputs(torch.baddbmm(bias, x, weight), rest, self.norm)
        target, log = to_heads(target), logits.log_softmax(-1)
        back = (log.exp() * target.sum(-1, keepdim=True) - target) / x.shape[1]
        inputs = [x, *(h.activation for h in hidden)]
        for i in reversed(range(len(layers))):
            self._set_gradient(i, torch.bmm(inputs[i].mT, back), back.sum(1, keepdim=True))
            if i:
                back = hidden[i - 1].backward(torch.bmm(back, layers[i][0].mT))
        return -(target * log).sum(-1).mean(1).unflatten(0, (-1, 2)).sum(1)

    def _set_gradient(self, layer: int, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """What the loss's slope is at the layer's parameters, from that at ``layers``."""
        self.weight[layer].grad, self.bias[layer].grad = weight, bias

    def at(self, x: torch.Tensor, first: int = 0) -> ActionValue:
        """What actions are worth at features ``x [G, B, F]`` of G groups from ``first`` on, now."""
        heads = slice(2 * first, 2 * (first + len(x)))
        layers = self.layers(first + len(x))
        return ActionValue([(w[heads], b[heads]) for w, b in layers], self.norm, self.atoms, x)

    def part(self, first: int) -> CriticEnsemble:
        """A copy of what serves the groups from ``first`` on, as an ensemble of its own."""
        layers = self.layers(self.groups)
        copied = CriticEnsemble(layers[0][0].shape[1], 0, self.config)
        for i, (weight, bias) in enumerate(layers):
            copied.weight[i] = nn.Parameter(weight[2 * first:].detach().clone(), requires_grad=False)
            copied.bias[i] = nn.Parameter(bias[2 * first:].detach().clone(), requires_grad=False)
        copied.groups = self.groups - first
        return copied.to(layers[0][0].device)

    def rearrange(self, sources: list[int]) -> None:
        """Group i becomes a copy of the former group ``sources[i]``; there are len(sources) groups then."""
        rows = _head_rows(sources)
        for parameters in (self.weight, self.bias):
            for parameter in parameters:
                parameter.data = parameter.data[rows].clone()
                parameter.grad = None
        self.groups = len(sources)


class SharedEnsemble(CriticEnsemble):
    """Two networks for any number of groups: exploration's, and one for all others, which knows of no modes."""

    def layers(self, groups: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The same weights for all groups but the first."""
        rows = _head_rows([0] + [1] * (groups - 1))
        return [(weight[rows], bias[rows]) for weight, bias in super().layers(groups)]

    def _set_gradient(self, layer: int, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """As above: what all groups but the first have add up."""
        pairs = ((g[:2], g[2:].unflatten(0, (-1, 2)).sum(0)) for g in (weight, bias))
        super()._set_gradient(layer, *(torch.cat(pair) for pair in pairs))

    def rearrange(self, sources: list[int]) -> None:
        """There are len(sources) groups then; whoever they are, the networks stay."""
        self.groups = len(sources)


class Critic:
    """The ensemble, its slow target and its optimiser."""

    def __init__(self, inputs: int, groups: int, config: CriticConfig, device: torch.device) -> None:
        self.config = config
        ensemble = CriticEnsemble if config.per_mode else SharedEnsemble
        self.online = ensemble(inputs, groups, config).to(device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.online.parameters(), config.learning_rate,
                                           weight_decay=1e-4, fused=True)

    def rearrange(self, sources: list[int]) -> None:
        """Group i becomes a copy of the former group ``sources[i]``, its optimiser's moments with it.

        A new group that began with moments of zero would take steps several times too long: Adam counts its steps
        for all groups together, and corrects the start of its averages only once.
        """
        self.online.rearrange(sources)
        self.target.rearrange(sources)
        if not self.config.per_mode:
            return
        rows = _head_rows(sources)
        for state in self.optimizer.state.values():
            for key in ("exp_avg", "exp_avg_sq"):
                state[key] = state[key][rows].clone()

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimiser, with the number of groups."""
        return {"groups": self.online.groups, "online": dict(self.online.state_dict()),
                "target": dict(self.target.state_dict()), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.online.rearrange([0] * state["groups"])
        self.target.rearrange([0] * state["groups"])
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])

    def update(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """One step of cross-entropy towards ``target [G, B, atoms]`` at ``x [G, B, I]``; returns loss ``[G]``."""
        loss = self.online.cross_entropy(x, target)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), self.config.tau)
        return loss


def project(probability: torch.Tensor, reward: torch.Tensor, discount: torch.Tensor,
            atoms: torch.Tensor) -> torch.Tensor:
    """Move mass ``probability [..., N]`` from ``atoms [N]`` to ``reward + discount * atoms``, back onto the atoms."""
    width = atoms[1] - atoms[0]
    moved = (reward[..., None] + discount[..., None] * atoms).clamp(float(atoms[0]), float(atoms[-1]))
    position = (moved - atoms[0]) / width
    low = position.floor().long().clamp(0, len(atoms) - 1)
    high = (low + 1).clamp(max=len(atoms) - 1)
    share = position - low
    out = torch.zeros_like(probability)
    out.scatter_add_(-1, low, probability * (1 - share))
    return out.scatter_add_(-1, high, probability * share)


def _head_rows(groups: list[int]) -> list[int]:
    return [2 * g + head for g in groups for head in (0, 1)]
