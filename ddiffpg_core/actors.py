"""Every kind of actor that a policy may have.

All make an action of noise: ``from_noise(noise [..., noise_dim], x [..., F], embedding [..., E]) -> [..., A]`` in ±1,
where ``x`` are features of the observation; an actor that has no modes does not look at ``embedding``.
"""

from __future__ import annotations

from ddiffpg_core.config import Config
from ddiffpg_core.diffusion import DiffusionActor

Actor = DiffusionActor


def new_actor(config: Config, features: int, action_dim: int) -> Actor:
    """An untrained actor of the kind that ``config.train.method`` trains."""
    return DiffusionActor(features, action_dim, config.actor)
