"""The actor: a diffusion model over actions, conditioned on the observation and a mode embedding."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from ddiffpg_core.config import ActorConfig


class DiffusionActor(nn.Module):
    """DDPM over actions in ±1 (Ho et al. 2020), squared-cosine schedule; the network predicts the noise in a noisy
    action, or the clean action (``ActorConfig``)."""

    time: torch.Tensor
    beta: torch.Tensor
    keep: torch.Tensor
    keep_before: torch.Tensor

    def __init__(self, features: int, action_dim: int, config: ActorConfig) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.steps = config.denoising_steps
        self.predicts_action = config.predicts == "action"
        self.register_buffer("time", torch.randn(self.steps, config.time_dim))
        widths = [features + action_dim + config.embedding_dim + config.time_dim, *config.hidden]
        layers: list[nn.Module] = []
        for a, b in zip(widths[:-1], widths[1:]):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], action_dim))
        beta = _cosine_schedule(self.steps)
        keep = torch.cumprod(1 - beta, 0)
        self.register_buffer("beta", beta)
        self.register_buffer("keep", keep)
        self.register_buffer("keep_before", torch.cat([torch.ones(1), keep[:-1]]))
        # as plain numbers: reading one from a GPU waits for all that it has to do
        self._schedule = [(float(keep[k]), *self.coefficients(k)) for k in range(self.steps)]

    def predict(self, noisy: torch.Tensor, step: torch.Tensor, x: torch.Tensor,
                embedding: torch.Tensor) -> torch.Tensor:
        """What the network says of ``noisy [..., A]`` at ``step [...]``, given features ``x [..., F]``, embedding
        ``[..., E]``: the noise in it, or the clean action."""
        return self.net(torch.cat([x, noisy, embedding, self.time[step]], -1))

    def denoiser(self, x: torch.Tensor, embedding: torch.Tensor) -> Callable[[torch.Tensor, int], torch.Tensor]:
        """:meth:`predict` at one step ``(noisy, k)``: what stays the same at every step is worked out once."""
        first, *rest = self.net.children()
        assert isinstance(first, nn.Linear)
        sizes = (x.shape[-1], self.action_dim, embedding.shape[-1], self.time.shape[1])
        of_x, of_noisy, of_embedding, of_time = first.weight.split(sizes, 1)
        given = functional.linear(x, of_x, first.bias) + functional.linear(embedding, of_embedding)
        of_step = functional.linear(self.time, of_time)

        def predict(noisy: torch.Tensor, k: int) -> torch.Tensor:
            hidden = given + functional.linear(noisy, of_noisy, of_step[k])
            for layer in rest:
                hidden = layer(hidden)
            return hidden

        return predict

    @property
    def noise_dim(self) -> int:
        """How many standard normal numbers make one action: those of each denoising step."""
        return self.steps * self.action_dim

    @torch.no_grad()
    def sample(self, x: torch.Tensor, embedding: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Ancestral sampling: ``x [..., F]``, ``embedding [..., E]`` -> actions ``[..., A]`` in ±1."""
        return self.from_noise(self.draw_noise(x.shape[:-1], generator), x, embedding)

    def draw_noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Standard normal numbers for ``shape`` actions: ``[*shape, noise_dim]``."""
        wide = (*shape, self.action_dim)
        drawn = [torch.randn(wide, generator=generator, device=self.beta.device) for _ in range(self.steps)]
        return torch.cat(drawn, -1)

    def from_noise(self, noise: torch.Tensor, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """The action that ancestral sampling makes of ``noise [..., noise_dim]`` -> ``[..., A]`` in ±1.

        The same noise gives the same action, which is what a student can be taught.
        """
        return self.states(noise, x, embedding)[-1].clamp(-1, 1)

    def states(self, noise: torch.Tensor, x: torch.Tensor, embedding: torch.Tensor) -> list[torch.Tensor]:
        """The state ``[..., A]`` after each denoising step of :meth:`from_noise`, not clamped."""
        parts, predict = noise.split(self.action_dim, -1), self.denoiser(x, embedding)
        states = [parts[0]]
        for i, k in enumerate(reversed(range(self.steps))):
            keep, of_clean, of_state, spread = self._schedule[k]
            clean = predict(states[-1], k)
            if not self.predicts_action:
                clean = (states[-1] - math.sqrt(1 - keep) * clean) / math.sqrt(keep)
            state = of_clean * clean.clamp(-1, 1) + of_state * states[-1]
            states.append(state + spread * parts[i + 1] if k else state)
        return states[1:]

    def coefficients(self, k: int) -> tuple[float, float, float]:
        """Of clean action, state and fresh noise in the state after step ``k`` (Ho et al. 2020, equations 6 and 7)."""
        beta, keep, before = (float(b[k]) for b in (self.beta, self.keep, self.keep_before))
        of_clean = math.sqrt(before) * beta / (1 - keep)
        of_state = math.sqrt(1 - beta) * (1 - before) / (1 - keep)
        return of_clean, of_state, math.sqrt((1 - before) / (1 - keep) * beta)

    def loss(self, x: torch.Tensor, embedding: torch.Tensor, target: torch.Tensor,
             generator: torch.Generator, taught: torch.Tensor | None = None) -> torch.Tensor:
        """Denoising loss of the target actions ``[..., A]`` (paper, equation 6; of the clean action where that is
        predicted), where they are ``taught [...]``."""
        step = torch.randint(0, self.steps, target.shape[:-1], generator=generator, device=target.device)
        noise = torch.randn(target.shape, generator=generator, device=target.device)
        keep = self.keep[step][..., None]
        noisy = keep.sqrt() * target + (1 - keep).sqrt() * noise
        wanted = target if self.predicts_action else noise
        error = nn.functional.mse_loss(self.predict(noisy, step, x, embedding), wanted, reduction="none")
        return (error if taught is None else error * taught[..., None]).mean()


def _cosine_schedule(steps: int) -> torch.Tensor:
    """Squared-cosine betas (Nichol and Dhariwal 2021)."""
    def level(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    return torch.tensor([min(1 - level((i + 1) / steps) / level(i / steps), 0.999) for i in range(steps)])
