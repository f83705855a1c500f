"""What lies between a robot and its controller: delays, noise, what is lost, and who pushes."""

from __future__ import annotations

from dataclasses import dataclass, field

from .dynamics import NOMINAL, Dynamics, check_numbers
from .simulator import Simulator
from .start import AS_TASK, Start


@dataclass(frozen=True)
class Signals:
    """Of one robot. ``action_delay`` and ``observation_delay`` (s) are whole physics steps after rounding;
    ``action_jitter`` (s) is drawn anew for each command, up to that much more. ``noise`` (standard deviation) and
    ``bias`` (drawn once an episode, up to so much either way) are parts of each observation field's scale;
    ``dropout`` is the chance that an observation is lost and the last one seen again. ``rate_jitter`` is by what part
    of it, at most, a control period is longer or shorter. Each ``push_every`` (s) on average the base is given
    ``push`` (m/s) in a random direction; 0: never. ValueError where one makes no sense."""

    action_delay: float = 0.0
    action_jitter: float = 0.0
    observation_delay: float = 0.0
    noise: float = 0.0
    bias: float = 0.0
    dropout: float = 0.0
    rate_jitter: float = 0.0
    push: float = 0.0
    push_every: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(vars(self))
        for name in ("dropout", "rate_jitter"):
            if getattr(self, name) >= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 to below 1")


@dataclass(frozen=True)
class Deviation:
    """How one robot's world differs from that of the model. ``deviation_file`` reads and writes it."""

    dynamics: Dynamics = NOMINAL
    signals: Signals = field(default_factory=Signals)
    simulator: Simulator = field(default_factory=Simulator)
    start: Start = AS_TASK
