"""What a policy file says of itself: the contract, made from task, trained policy and measured figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddiffpg import contract as wire
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.config import to_dict
from ddiffpg_core.evaluate import LEARNED
from ddiffpg_core.modes import Mode
from ddiffpg_core.paths import resample
from ddiffpg_core.spec import TaskSpec, VecEnv
from ddiffpg_export.graph import noise_dim
from ddiffpg_export.student import StudentReport

NOT_MEASURED = {"success": 0.0, "adherence": 0.0, "return": 0.0, "mean_steps": None}
PATH_SPACING = 0.1
"""Metres between points of a mode's path: the robot's corridor checks look at points."""


@dataclass(frozen=True)
class World:
    """Where a policy is tried before it is accepted, and what the robot must know of that world.

    ``clearance`` gives for ``points [P, 2]`` (metres) the free distance to the nearest wall ``[P]``;
    ``robot_radius`` is in metres.
    """

    env: VecEnv
    robot_radius: float
    clearance: Callable[[np.ndarray], np.ndarray]

    @property
    def spec(self) -> TaskSpec:
        return self.env.spec


@dataclass(frozen=True)
class LeftOut:
    """A mode of the run that the policy file does not have, and why."""

    id: int
    reason: str


def choose_modes(policy: SavedPolicy, unlearned: bool) -> tuple[tuple[Mode, ...], tuple[LeftOut, ...]]:
    """The modes to export: those that the run's report calls learned, all of them if ``unlearned``; and the rest."""
    figures = {m["id"]: m for m in policy.report.get("modes", [])}
    left_out = [] if unlearned else [LeftOut(m.id, why) for m in policy.modes if (why := _unlearned(figures.get(m.id)))]
    gone = {m.id for m in left_out}
    return tuple(m for m in policy.modes if m.id not in gone), tuple(left_out)


def _unlearned(figures: dict[str, Any] | None) -> str:
    """Why a mode does not count as learned; empty where it does."""
    if figures is None:
        return "the run's report does not have it"
    bad = [f"{name} {figures[name]:.2f}" for name in ("success", "adherence") if figures[name] < LEARNED]
    return f"not learned: {', '.join(bad)} (at least {LEARNED:g} is learned)" if bad else ""


@dataclass(frozen=True)
class Subject:
    """What is exported: the trained policy, those of its modes that the file will have, how its student was made."""

    policy: SavedPolicy
    modes: tuple[Mode, ...]
    distillation: StudentReport


def make_contract(
    subject: Subject, world: World, figures: dict[str, Any], objections: Sequence[str] = ()
) -> wire.Contract:
    """The contract. ``figures`` is an evaluation's report (``Report.to_dict``); modes that it does not have count as 0.

    ``objections`` against the file that were overridden go into it, so that nobody takes it for accepted.
    """
    spec, policy = world.spec, subject.policy
    of_mode = {f["id"]: f for f in figures.get("modes", [])}
    return wire.Contract(
        version=wire.VERSION,
        task=spec.name,
        robot=spec.robot,
        rate_hz=spec.rate_hz,
        max_steps=spec.max_steps,
        observation=tuple(wire.ObservationField(f.name, f.source, f.unit, f.joint) for f in spec.observation),
        action_kind=spec.action.kind,
        action=tuple(wire.ActionField(f.name, f.unit, f.low, f.high, f.joint) for f in spec.action.fields),
        path=spec.path,
        path_tolerance=spec.path_tolerance,
        robot_radius=world.robot_radius,
        noise_dim=noise_dim(policy),
        denoising_steps=subject.distillation.steps,
        modes=tuple(_describe_mode(m, of_mode.get(m.id, NOT_MEASURED), world) for m in subject.modes),
        training=wire.Training(policy.commit, policy.seed, policy.transitions, _settings(subject, objections)),
        joint_limits=tuple(wire.JointLimits(j.joint, j.low, j.high) for j in spec.action.joint_limits),
        randomisation={"seed": policy.seed, **policy.randomise} if policy.randomise else {},
        candidates=1 if policy.judges is None else policy.config.actor.candidates,
    )


def _settings(subject: Subject, objections: Sequence[str]) -> dict[str, Any]:
    """Those of training and distillation, and whether the export was forced."""
    distill = subject.distillation.to_dict()["config"]
    return {**to_dict(subject.policy.config), "distill": distill, "export": {"forced_against": list(objections)}}


def _describe_mode(mode: Mode, figures: dict[str, Any], world: World) -> wire.Mode:
    """A mode with its figures. Return is 1 where there is no other mode, steps are the time limit without a success."""
    path, clearance = way_of(mode.prototype, world)
    returns, steps = figures["return"], figures["mean_steps"]
    return wire.Mode(
        id=mode.id,
        lineage=mode.lineage,
        success=figures["success"],
        adherence=figures["adherence"],
        returns=1.0 if returns is None else returns,
        mean_steps=float(world.spec.max_steps) if steps is None else steps,
        path=path,
        clearance=clearance,
        outcome=tuple(np.asarray(mode.outcome, float).tolist()),
    )


def way_of(gone: np.ndarray, world: World) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """The path ``gone [P, D]`` as a contract has it, and how much room there is along it, both in metres."""
    path = dense_path(np.asarray(gone, float))
    free = np.maximum(world.clearance(path), 0.0)  # between two points of a way a corner may be cut by a hair
    return tuple(map(tuple, path.tolist())), tuple(free.tolist())


def dense_path(path: np.ndarray) -> np.ndarray:
    """``path [P, D]`` with a point at least every ``PATH_SPACING`` metres, evenly spaced."""
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    return resample(path, max(2, math.ceil(length / PATH_SPACING) + 1))
