"""Many small networks side by side, forwards and backwards without autograd: products of all heads at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

Weights = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Of each layer the weights ``[2 G, I, O]`` and the biases ``[2 G, 1, O]``, two heads a group."""

_EPSILON = 1e-5  # of layer normalisation, as torch has it


class Hidden:
    """A hidden layer: ``product [..., H]`` -> ``activation [..., H]`` by SiLU, with ``norm`` after layer normalisation.

    With ``norm`` the product's mean must be 0, as :func:`centred` weights make it.
    """

    def __init__(self, product: torch.Tensor, norm: bool) -> None:
        self._product, self._scale = product, _scale(product) if norm else None
        self._normal = product if self._scale is None else product * self._scale
        self.activation = functional.silu(self._normal)

    def backward(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient at the product from that at the activation ``[..., H]``."""
        gradient = torch.ops.aten.silu_backward(gradient, self._normal)
        if self._scale is None:
            return gradient
        shape, mean = self._product.shape[-1:], torch.zeros_like(self._scale)
        return torch.ops.aten.native_layer_norm_backward(gradient, self._product, shape, mean, self._scale, None, None,
                                                         [True, False, False])[0]


def outputs(product: torch.Tensor, layers: Weights, norm: bool) -> tuple[list[Hidden], torch.Tensor]:
    """The hidden layers, the first of them from its ``product [2 G, B, H]``, and the logits ``[2 G, B, N]``."""
    hidden = []
    for weight, bias in layers:
        hidden.append(Hidden(product, norm))
        product = torch.baddbmm(bias, hidden[-1].activation, weight)
    return hidden, product


def centred(layers: Weights) -> Weights:
    """Weights and biases with which the products of hidden layers have a mean of 0 over their outputs.

    Layer normalisation (Ba et al. 2016) takes this mean from every row; from the weights it is taken once for all rows.
    """
    *hidden, last = layers
    return [*((w - w.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)) for w, b in hidden), last]


def to_heads(x: torch.Tensor) -> torch.Tensor:
    """``[G, ...]`` -> ``[2 G, ...]``: both heads of a group see its rows."""
    return x.repeat_interleave(2, 0)


def _scale(product: torch.Tensor) -> torch.Tensor:
    """What layer normalisation multiplies rows of mean 0 by: ``[..., H]`` -> ``[..., 1]``."""
    size = torch.linalg.vector_norm(product, dim=-1, keepdim=True)
    return size.square_().div_(product.shape[-1]).add_(_EPSILON).rsqrt_()
