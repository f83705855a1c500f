"""Settings of the actor."""

from __future__ import annotations

from dataclasses import dataclass

from ddiffpg_core.strict_yaml import ConfigError

PREDICTS = ("noise", "action")


@dataclass(frozen=True)
class ActorConfig:
    """The diffusion policy (paper, section 4.1).

    ``predicts``, one of PREDICTS: what the network says of a noisy action, the noise in it (paper, equation 6) or the
    clean action. The noisiest of few steps keeps a hundredth of the action: what is made of the noise there is wrong by
    a hundred times what the network is (Salimans and Ho 2022, section 4).
    ``candidates``: of so many of its own actions the one is taken that the asked mode's critic holds for the best
    (Hansen-Estruch et al. 2023): while data is collected for a mode or by who heads for a goal, in evaluation, and in
    what is exported. Explorers, and who is asked for nothing, take the first.
    """

    hidden: tuple[int, ...] = (128, 128, 128)
    denoising_steps: int = 5
    predicts: str = "noise"
    candidates: int = 1
    embedding_dim: int = 8
    mode_embedding: bool = True  # false: every mode's embedding is the null one, so the policy cannot be asked for any
    time_dim: int = 16
    learning_rate: float = 5e-4
    ema: float = 0.997

    def __post_init__(self) -> None:
        if self.predicts not in PREDICTS:
            raise ConfigError(f"actor.predicts is {self.predicts!r}: expected {' or '.join(PREDICTS)}")
        if self.candidates < 1:
            raise ConfigError(f"actor.candidates is {self.candidates}: expected 1 or more")
