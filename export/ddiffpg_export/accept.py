"""The gate: a policy file is tried beside its teacher in the task's environment, and refused if a mode is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ddiffpg.policy import Policy
from ddiffpg_core.acting import act_of
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.evaluate import LEARNED, KnownMode, ModeResult, Report, evaluate, typical_ways
from ddiffpg_core.modes import Mode
from ddiffpg_core.spec import VecEnv
from ddiffpg_export.file_act import file_act

WAY_EPISODES = 50
"""Episodes a mode among which its typical way is looked for."""


@dataclass(frozen=True)
class Tolerance:
    """How much worse than its teacher a student's mode may be, in shares of episodes.

    A mode whose success or adherence is below ``least`` is lost, whatever the teacher's is. Over 800 episodes
    chance alone makes shares near 0.95 differ by up to 0.02 (two standard errors).
    """

    least: float = LEARNED
    success: float = 0.03
    adherence: float = 0.03
    returns: float = 0.1


@dataclass(frozen=True)
class Trial:
    """Teacher and policy file, evaluated in the same way: starts, modes, number of episodes."""

    teacher: Report
    student: Report


def try_out(file: Policy, policy: SavedPolicy, modes: Sequence[Mode], env: VecEnv, episodes: int, seed: int) -> Trial:
    """Evaluate the file itself, and the teacher as it was trained (its random sampling) beside it."""
    known = [KnownMode(m.id, m.prototype, m.outcome) for m in modes]
    acts = (act_of(policy, env.spec, seed), file_act(file, seed))
    return Trial(*(evaluate(env, act, known, episodes, seed) for act in acts))


def ways_gone(file: Policy, modes: Sequence[Mode], env: VecEnv, seed: int) -> tuple[Mode, ...]:
    """``modes`` with the ways that the file really takes as prototypes, at the resolution of its steps."""
    known = [KnownMode(m.id, m.prototype, m.outcome) for m in modes]
    ways = typical_ways(env, file_act(file, seed), known, WAY_EPISODES, seed)
    return tuple(replace(m, prototype=ways[m.id]) for m in modes)


def judge(trial: Trial, tolerance: Tolerance) -> tuple[str, ...]:
    """Why the student is not good enough: a sentence for each mode that it lost or does worse; empty where it is."""
    pairs = zip(trial.teacher.modes, trial.student.modes)
    return tuple(reason for teacher, student in pairs if (reason := _judge_mode(teacher, student, tolerance)))


@dataclass(frozen=True)
class Figure:
    """One share of a mode, of teacher and student."""

    name: str
    teacher: float
    student: float

    def __str__(self) -> str:
        return f"{self.name} {self.student:.3f} (teacher {self.teacher:.3f})"


def _judge_mode(teacher: ModeResult, student: ModeResult, tolerance: Tolerance) -> str:
    figures = [Figure(name, getattr(teacher, name), getattr(student, name)) for name in ("success", "adherence")]
    lost = [str(f) for f in figures if f.student < tolerance.least]
    if lost:
        return f"mode {student.id} is lost: {', '.join(lost)}"
    if teacher.returns is not None and student.returns is not None:
        figures.append(Figure("returns", teacher.returns, student.returns))
    worse = [
        f"{f}, allowed is {allowed:g} less"
        for f in figures
        if f.teacher - f.student > (allowed := getattr(tolerance, f.name)) + 1e-9  # 1 - 0.97 is a little over 0.03
    ]
    return f"mode {student.id} is worse: {', '.join(worse)}" if worse else ""
