"""Fits a model's dynamics and delay to a recorded motion: robust least squares over pieces that are simulated again.

Factors are fitted by their logarithms, so that twice and half are equally far; the delay in control periods; dry
friction in the effort that the motion typically takes. Intervals are of 95 %, from the Jacobian where the fit ends,
with the errors of one piece taken together, since they depend on each other (White's sandwich).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares, minimize

from ddiffpg_sim.dynamics import NOMINAL, PARAMETERS
from ddiffpg_sim.shooting import Candidate, Shooting

DELAY, DRY = "action_delay", "dry_friction"
NAMES = (*PARAMETERS, DELAY)
MOST_DELAY = 0.5  # s
FACTORS = (0.01, 100.0)  # what is looked for
MOST_DRY = 10.0  # typical efforts
LEAST_PIECES = 10
FLAT = 0.25  # standard error (of a logarithm, of a control period) from which on a parameter is not known
FINE = 0.01  # of a motion's size: differences below that are not believed, however well the simulation fits,
FINEST = 0.003  # and below that not looked at
SHOWS = 0.02  # of its size, for some times a parameter: a motion that changes by less says too little of it
ROUGH = 0.1  # the same, while the parameters are far off
TOLERANCE = 1e-5
FEW = 60  # pieces that are enough while the parameters are far off
KINK = 3.0  # standard deviations of an error from which on it counts less than its square
STEP, STEPS = 2e-3, {DELAY: 0.02, DRY: 1e-3}  # for finite differences
INSIDE, EDGE = 0.1, 1e-4  # how far from its bounds a parameter sets out, since it hardly moves there, and stays
JUMPS = (-0.3, 0.3)  # how far is looked for a better place, parameter by parameter
SIMPLEXES, TRIES = (0.1, 0.03), 100  # how large each is that creeps on from where the descent ends; for each parameter
LEVERS, TRIED = ("strength", "mass"), (0.6, 1.0, 1.6)
HOLD_FIRST = ("strength", "armature", "damping", DRY, "friction", "mass", DELAY)
FORCES = ("mass", "damping", "armature", "strength")
RECORD = {
    "mass": "a motion with hard accelerations of the whole robot, or weigh it and give --given mass=FACTOR",
    "friction": "a motion in which the robot slides on what it touches: hard starts, stops and turns",
    "damping": "the same motion slowly and fast",
    "armature": "hard accelerations of the joints, back and forth",
    "strength": "a motion with hard accelerations",
    DRY: "slow motion that changes its direction again and again",
    DELAY: "commands that change at once (steps), again and again",
}


class NotIdentifiable(ValueError):
    """A parameter cannot be known from this motion: which, and what to record instead."""


@dataclass(frozen=True)
class Estimate:
    """A fitted parameter with the ``low`` and ``high`` end of its interval of 95 %."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Identified:
    """``robot`` as it was fitted. ``held`` says of each parameter that was not fitted, and not given, why.
    ``unexplained`` is what part of the motion's size the simulation is off by, ``before`` (the model as it is) too."""

    robot: Candidate
    estimates: tuple[Estimate, ...]
    held: Mapping[str, str]
    before: float
    unexplained: float


def identify(
    shooting: Shooting, period: float, wanted: Sequence[str] | None = None, given: Mapping[str, float] | None = None
) -> Identified:
    """Fit ``wanted`` parameters, all that can be known where that is None, with those that are ``given`` fixed.

    ``period`` (s) is that of control. NotIdentifiable where a wanted one cannot be known, or the motion is too short.
    """
    if len(shooting.starts) < LEAST_PIECES:
        needed, pieces = LEAST_PIECES * shooting.count * shooting.motion.period, len(shooting.starts)
        raise NotIdentifiable(f"the recording is too short: of motion with known commands it has {pieces} pieces, at "
                              f"least {LEAST_PIECES} are needed, {needed:.1f} s")  # fmt: skip
    problem = _Problem(shooting, period, given or {})
    names = [name for name in (wanted or NAMES) if name not in problem.given]
    held: dict[str, str] = {}

    def hold(unknown: tuple[str, str]) -> None:
        name, why = unknown
        names.remove(name)
        held[name] = why
        if wanted is not None or not names:
            raise NotIdentifiable(why)

    for name in shooting.absent:
        if name in names:
            hold((name, f"{name} cannot be identified: the model has none, and no factor makes any"))
    for unknown in problem.unknown(tuple(names), problem.first(names)):
        hold(unknown)
    while True:
        x, sigma = problem.fit(names, problem.first(names))
        unsure = problem.unsure(names, x, sigma)
        if unsure is None:
            problem.check_inside(names, x)
            return problem.result(names, x, sigma, held)
        hold(unsure)


class _Problem:
    """Parameters ``names`` as numbers ``x [P]``, and what they do to the errors of the pieces."""

    def __init__(self, shooting: Shooting, period: float, given: Mapping[str, float]) -> None:
        self._shooting, self.given = shooting, dict(given)
        self._units = {DELAY: period, DRY: shooting.typical_effort()}
        self._slopes: np.ndarray | None = None
        self._few = math.ceil(len(shooting.starts) / FEW)
        changes = shooting.changes()
        size = np.sqrt((changes**2).mean(axis=(0, 1)))
        half = len(size) // 2
        self.size = np.concatenate([np.maximum(part, 1e-3 * part.max() + 1e-9) for part in (size[:half], size[half:])])

    # ---- numbers and robots ----------------------------------------------------------------------

    def robot(self, names: Sequence[str], x: np.ndarray) -> Candidate:
        values = {**self.given, **{name: self.value(name, number) for name, number in zip(names, x.tolist())}}
        delay = values.pop(DELAY, 0.0)
        return Candidate(replace(NOMINAL, **values), delay)

    def value(self, name: str, number: float) -> float:
        return number * self._units[name] if name in self._units else math.exp(number)

    def _bounds(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        most = {DELAY: MOST_DELAY / self._units[DELAY], DRY: MOST_DRY}
        low = [0.0 if name in most else math.log(FACTORS[0]) for name in names]
        return np.array(low), np.array([most.get(name, math.log(FACTORS[1])) for name in names])

    def first(self, names: Sequence[str]) -> np.ndarray:
        """Where to begin: the best of a few delays and of how much the motors do."""
        self._shooting.every = self._few
        low, high = self._bounds(names)
        lever = next((name for name in LEVERS if name in names), None)
        delays = np.arange(0.0, high[names.index(DELAY)], 0.5) if DELAY in names else [0.0]
        tried = []
        for factor in TRIED if lever else (1.0,):
            for delay in delays:
                chosen = {DELAY: float(delay), **({lever: math.log(factor)} if lever else {})}
                tried.append(np.array([chosen.get(name, 0.0) for name in names]))
        costs = [self._cost(errors, ROUGH * self.size) for errors in self._errors(names, tried)]
        return np.clip(tried[int(np.argmin(costs))], low, high)

    def _cost(self, errors: np.ndarray, sigma: np.ndarray) -> float:
        return float(np.sqrt(1.0 + (errors / (KINK * sigma)) ** 2).mean())

    # ---- errors ------------------------------------------------------------------------------------

    def _errors(self, names: Sequence[str], xs: Sequence[np.ndarray]) -> np.ndarray:
        return self._shooting.errors([self.robot(names, x) for x in xs])

    def residuals(self, names: Sequence[str], x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """``[S, N]`` in standard deviations."""
        return _by_piece(self._errors(names, [x])[0] / sigma)

    def jacobian(self, names: Sequence[str], x: np.ndarray, sigma: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """``[S, N, P]`` by finite differences to both sides, all in one go; ``scale`` makes them wider."""
        low, high = self._bounds(names)
        steps = scale * np.array([STEPS.get(name, STEP) for name in names])
        up, down = np.minimum(x + steps, high), np.maximum(x - steps, low)
        axes = np.eye(len(x), dtype=bool)
        errors = self._errors(names, [np.where(axis, end, x) for end in (up, down) for axis in axes])
        slopes = [_by_piece((a - b) / sigma) / gap for a, b, gap in zip(errors, errors[len(x) :], up - down)]
        return np.stack(slopes, axis=-1)

    # ---- the fit -------------------------------------------------------------------------------------

    def fit(self, names: Sequence[str], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the errors are least, and the standard deviation of each channel there, ``[2 nv]``."""
        low, high = self._bounds(names)
        sigma, x = ROUGH * self.size, np.clip(x, low + INSIDE, high - INSIDE)
        self._shooting.every = self._few
        x = self._descend(names, x, sigma, "soft_l1", 10.0)
        better = self._jump(names, x, sigma)
        x = x if better is None else self._descend(names, better, sigma, "soft_l1", 10.0)
        self._shooting.every = 1
        for wide in (3.0, 1.0):
            sigma = self._scatter(names, x)
            x = self._descend(names, x, sigma, "cauchy", wide)
        for size in SIMPLEXES:
            x = self._creep(names, x, self._scatter(names, x, FINEST), size)
        return x, sigma

    def _creep(self, names: Sequence[str], x: np.ndarray, sigma: np.ndarray, size: float) -> np.ndarray:
        """On without slopes (Nelder and Mead 1965). Contacts that are made or missed put kinks into the errors, where a
        descent ends early: most of all along parameters of which the motion shows little but their proportion."""
        low, high = self._bounds(names)
        simplex = np.clip(np.concatenate([x[None], x + size * np.eye(len(x))]), low, high)
        found = minimize(
            lambda x: np.log1p((self._errors(names, [x])[0] / (KINK * sigma)) ** 2).mean(),  # Cauchy's, as before
            x,
            method="Nelder-Mead",
            bounds=list(zip(low, high)),
            options={"initial_simplex": simplex, "maxfev": TRIES * len(x), "xatol": 1e-4, "fatol": 1e-9},
        )
        return found.x

    def _descend(self, names: Sequence[str], x: np.ndarray, sigma: np.ndarray, loss: str, wide: float) -> np.ndarray:
        """``cauchy`` hardly looks at pieces in which contacts go another way, and comes home from nearby only."""
        low, high = self._bounds(names)
        found = least_squares(
            lambda x: self.residuals(names, x, sigma).ravel(),
            np.clip(x, low + EDGE, high - EDGE),
            lambda x: self.jacobian(names, x, sigma, wide).reshape(-1, len(x)),  # type: ignore[arg-type]  # it may be one
            bounds=(low, high),
            loss=loss,
            f_scale=KINK,
            xtol=TOLERANCE,
            ftol=TOLERANCE,
            x_scale="jac",  # what the motion shows little of is still brought to its place
            max_nfev=60,
        )
        return found.x

    def _jump(self, names: Sequence[str], x: np.ndarray, sigma: np.ndarray) -> np.ndarray | None:
        """A better place some way off along one parameter; None where there is none."""
        low, high = self._bounds(names)
        tried = [np.clip(x + jump * axis, low, high) for axis in np.eye(len(x)) for jump in JUMPS]
        now, *costs = [self._cost(errors, sigma) for errors in self._errors(names, [x, *tried])]
        return tried[int(np.argmin(costs))] if min(costs) < now else None

    def _scatter(self, names: Sequence[str], x: np.ndarray, least: float = FINE) -> np.ndarray:
        errors = self._errors(names, [x])[0]
        return np.maximum(1.4826 * np.median(np.abs(errors), axis=(0, 1)), least * self.size)

    def standard_errors(self, names: Sequence[str], x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """``[P]``: with the errors of a piece taken together, and at least what errors by themselves would give."""
        slopes, residuals = self.jacobian(names, x, sigma), self.residuals(names, x, sigma)
        weights = 1.0 / (1.0 + (residuals / KINK) ** 2)
        inverse = np.linalg.pinv(np.einsum("snp,sn,snq->pq", slopes, weights, slopes))
        scores = np.einsum("snp,sn->sp", slopes, weights * residuals)
        together = inverse @ (scores.T @ scores) @ inverse
        return np.sqrt(np.maximum(np.diag(together), np.diag(inverse)))

    # ---- what cannot be known --------------------------------------------------------------------

    def unknown(self, names: Sequence[str], x: np.ndarray) -> Iterator[tuple[str, str]]:
        """Parameters that this motion says nothing of, by themselves or beside others, and why; each as if those before
        were known."""
        left = list(names)
        while left:
            alone = [np.array([float(name == one) for name in names]) for one in left]
            together = np.array([self._as_force(name, n) if name in left else 0.0 for name, n in zip(names, x)])
            tried = [*alone, together, self._flattest(names, x, left)]
            changes = self._sizes_of_change(names, x, tried)
            flat = next((way for way, change in zip(tried, changes) if change <= SHOWS), None)
            if flat is None:
                return
            involved = [name for name in left if abs(flat[names.index(name)]) > 0.2 * np.abs(flat).max()]
            name = next(name for name in HOLD_FIRST if name in involved)
            yield name, _why_unknown(name, involved)
            left.remove(name)

    def _as_force(self, name: str, number: float) -> float:
        """How a parameter goes where all forces and inertias grow alike, which no motion shows."""
        return number if name == DRY else float(name in FORCES)

    def _flattest(self, names: Sequence[str], x: np.ndarray, left: Sequence[str]) -> np.ndarray:
        """The direction among those ``left`` in which the errors change least, by their slopes."""
        if self._slopes is None:
            self._slopes = self.jacobian(names, x, self.size).reshape(-1, len(x))
        places = [names.index(name) for name in left]
        columns, direction = self._slopes[:, places], np.zeros(len(x))
        direction[places] = np.linalg.eigh(columns.T @ columns)[1][:, 0]
        return direction

    def _sizes_of_change(self, names: Sequence[str], x: np.ndarray, ways: Sequence[np.ndarray]) -> list[float]:
        """How much of its size the motion changes by where the parameters go each way by 1. Tried, since slopes err."""
        low, high = self._bounds(names)
        units = [way / max(float(np.linalg.norm(way)), 1e-9) for way in ways]
        ends = [np.clip(x + jump * unit, low, high) for unit in units for jump in JUMPS]
        errors = self._errors(names, ends)
        return [self._off(errors[i + 1] - errors[i]) / max(float(np.linalg.norm(ends[i + 1] - ends[i])), 1e-9)
                for i in range(0, len(ends), 2)]  # fmt: skip

    def unsure(self, names: Sequence[str], x: np.ndarray, sigma: np.ndarray) -> tuple[str, str] | None:
        """The parameter that is known least, where that is too little."""
        errors = self.standard_errors(names, x, sigma)
        worst = int(np.argmax(errors))
        if errors[worst] <= FLAT:
            return None
        e = self._estimate(names[worst], float(x[worst]), float(errors[worst]))
        return e.name, (f"{e.name} cannot be identified: from this motion it may be anything from {e.low:.3g} to "
                        f"{e.high:.3g}; record {RECORD[e.name]}")  # fmt: skip

    def check_inside(self, names: Sequence[str], x: np.ndarray) -> None:
        """NotIdentifiable where a parameter has come to the end of what is looked for: the truth may lie beyond."""
        low, high = self._bounds(names)
        for name, number, least, most in zip(names, x.tolist(), low.tolist(), high.tolist()):
            if number > most - 10 * EDGE or (name not in self._units and number < least + 10 * EDGE):
                raise NotIdentifiable(
                    f"{name} comes out at {self.value(name, number):.3g}, the end of what is looked for: this robot is "
                    "too far from the model; are task, topics and units those of the recording?"
                )

    # ---- the result ------------------------------------------------------------------------------

    def result(self, names: Sequence[str], x: np.ndarray, sigma: np.ndarray, held: Mapping[str, str]) -> Identified:
        errors = self.standard_errors(names, x, sigma)
        estimates = tuple(self._estimate(*part) for part in zip(names, x.tolist(), errors.tolist()))
        before, after = (self._off(e) for e in self._errors(names, [np.zeros(len(x)), x]))
        return Identified(self.robot(names, x), estimates, dict(held), before, after)

    def _estimate(self, name: str, number: float, error: float) -> Estimate:
        ends = number - 1.96 * error, number, number + 1.96 * error
        low, value, high = (self.value(name, max(n, 0.0) if name in self._units else n) for n in ends)
        return Estimate(name, value, low, high)

    def _off(self, errors: np.ndarray) -> float:
        """Of the motion's size, without the twentieth of the pieces that are off most."""
        by_piece = ((errors / self.size) ** 2).mean(axis=(1, 2))
        return float(np.sqrt(np.sort(by_piece)[: math.ceil(0.95 * len(by_piece))].mean()))


def _why_unknown(name: str, involved: Sequence[str]) -> str:
    if len(involved) == 1:
        return f"{name} cannot be identified: (nearly) nothing in this motion depends on it; record {RECORD[name]}"
    together = " and ".join((", ".join(involved[:-1]), involved[-1]))
    return (f"{together} cannot be told apart: this motion says only how large they are compared with each other; "
            f"give one that is known, as a robot's mass that was weighed (--given {involved[0]}=FACTOR)")  # fmt: skip


def _by_piece(errors: np.ndarray) -> np.ndarray:
    """``[S, count, 2 nv]`` -> ``[S, N]``."""
    return errors.reshape(len(errors), -1)
