"""Q as a function of the action alone: what the state adds to the first layer is worked out once."""

from __future__ import annotations

import torch

from ddiffpg_core.heads import Weights, centred, outputs, to_heads


class ActionValue:
    """What actions are worth at the features ``x [G, B, F]`` to categorical twin critics over ``atoms [N]``.

    Of the two heads the one with the smaller mean counts. Nothing here is recorded for autograd:
    :meth:`gradient` is written out, because improvement and the choice between actions are most of an update.
    """

    @torch.no_grad()
    def __init__(self, layers: Weights, norm: bool, atoms: torch.Tensor, x: torch.Tensor) -> None:
        (first, bias), *self._layers = centred(layers) if norm else layers
        self._norm = norm
        self._atoms = atoms
        of_x, self._of_action = first.split((x.shape[-1], first.shape[1] - x.shape[-1]), 1)
        self._from_x = torch.baddbmm(bias, to_heads(x), of_x)

    @torch.no_grad()
    def lower(self, action: torch.Tensor) -> torch.Tensor:
        """The lower head's distribution: ``action [G, B, A]`` -> ``[G, B, N]``."""
        return _lower(*self._judge(action[:, :, None]))[0].squeeze(2)

    @torch.no_grad()
    def best(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The best of C actions ``[G, B, C, A]`` -> ``[G, B, A]``, and its lower head's distribution ``[G, B, N]``."""
        probability, mean = self._judge(action)
        index = mean.amin(1).argmax(2)[..., None]
        both = index[:, None].expand(-1, 2, -1, -1)
        lower, _ = _lower(_take(probability, both), mean.gather(3, both).squeeze(3))
        return _take(action, index), lower

    @torch.no_grad()
    def gradient(self, action: torch.Tensor) -> torch.Tensor:
        """How the lower head's mean grows with the action: ``[G, B, A]`` -> ``[G, B, A]``."""
        first = torch.baddbmm(self._from_x, to_heads(action), self._of_action)
        hidden, logits = outputs(first, self._layers, self._norm)
        probability = logits.softmax(-1)
        mean = probability @ self._atoms
        back = probability * (self._atoms - mean[..., None]) * _is_lower(mean)[..., None]
        for before, (weight, _) in zip(reversed(hidden), reversed(self._layers)):
            back = before.backward(torch.bmm(back, weight.mT))
        slope = torch.bmm(back, self._of_action.mT)
        return slope[::2] + slope[1::2]

    def _judge(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distributions ``[G, 2, B, C, N]`` and their means ``[G, 2, B, C]`` of actions ``[G, B, C, A]``."""
        first = torch.bmm(to_heads(action.flatten(1, 2)), self._of_action).unflatten(1, action.shape[1:3])
        _, logits = outputs(first.add_(self._from_x[:, :, None]).flatten(1, 2), self._layers, self._norm)
        probability = logits.softmax(-1).unflatten(1, action.shape[1:3]).unflatten(0, (len(action), 2))
        return probability, probability @ self._atoms


def _is_lower(mean: torch.Tensor) -> torch.Tensor:
    """Where each head's mean ``[2 G, B]`` is the smaller of its group's: the first head's where they are equal."""
    first = mean[::2] <= mean[1::2]
    return torch.stack([first, ~first], 1).flatten(0, 1)


def _lower(probability: torch.Tensor, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distribution and mean of the head with the smaller mean: ``[G, 2, ...]`` -> ``[G, ...]``."""
    first = mean[:, 0] <= mean[:, 1]
    return torch.where(first[..., None], probability[:, 0], probability[:, 1]), mean.amin(1)


def _take(y: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``y [..., C, D]`` at ``index [..., 1]`` -> ``[..., D]``."""
    wide = index[..., None].expand(*index.shape, y.shape[-1])
    return y.gather(-2, wide).squeeze(-2)
