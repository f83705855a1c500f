"""From a run's student to a policy file that was accepted, with the report that it was accepted on beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ddiffpg.contract import CHECKSUM_KEY, METADATA_KEY, Contract, KnownStates, Margins
from ddiffpg.policy import Policy, checksum
from ddiffpg_core.spec import TaskSpec, VecEnv
from ddiffpg_export.accept import Tolerance, Trial, judge, try_out, ways_gone
from ddiffpg_export.describe import LeftOut, Subject, World, choose_modes, make_contract
from ddiffpg_export.distill import recorded
from ddiffpg_export.file_act import file_act
from ddiffpg_export.graph import policy_graph
from ddiffpg_export.known_states import NeverArrived, Visit, known_states
from ddiffpg_export.parity import Parity, parity
from ddiffpg_export.student import SavedStudent, StudentReport, load_student, load_teacher, reading_run

PARITY_ROWS = 4096
NO_DIGITS = "0" * 64


class ExportError(ValueError):
    """An export was asked for in a way that cannot work: names the file or field and what is wrong."""


class ExportRefused(RuntimeError):
    """The policy file is not good enough: names each mode and its figures."""


@dataclass(frozen=True)
class ExportConfig:
    """``episodes`` a mode; ``force`` writes what is not accepted, ``unlearned`` also modes that are not learned."""

    episodes: int = 800
    seed: int = 0
    force: bool = False
    unlearned: bool = False
    tolerance: Tolerance = field(default_factory=Tolerance)

    @property
    def visits(self) -> int:
        """Episodes in which it is seen what the policy knows: 2000 where nobody says otherwise."""
        return 5 * self.episodes // 2

    @property
    def allowed(self) -> Tolerance:
        """What the gate goes by: where modes that are not learned are wanted, none can be lost."""
        return replace(self.tolerance, least=0.0) if self.unlearned else self.tolerance


@dataclass(frozen=True)
class ExportReport:
    """What was written, and on which figures. ``objections`` are empty, or were overridden by force."""

    file: str
    sha256: str
    size: int
    contract: Contract
    left_out: tuple[LeftOut, ...]
    objections: tuple[str, ...]
    parity: Parity
    trial: Trial
    distillation: StudentReport
    config: ExportConfig
    visit: Visit | None

    @property
    def accepted(self) -> bool:
        return not self.objections

    def to_dict(self) -> dict[str, Any]:
        """The form of the file beside the policy; the contract is in the policy itself."""
        return {
            "file": self.file, "sha256": self.sha256, "bytes": self.size, "task": self.contract.task,
            "accepted": self.accepted, "objections": list(self.objections),
            "modes": list(self.contract.mode_ids), "left_out": [asdict(m) for m in self.left_out],
            "episodes": self.config.episodes, "seed": self.config.seed, "tolerance": asdict(self.config.allowed),
            "parity": asdict(self.parity),
            "teacher": self.trial.teacher.to_dict(), "student": self.trial.student.to_dict(),
            "known_states": None if self.visit is None else self.visit.to_dict(),
            "distillation": self.distillation.to_dict(),
            "training": {k: v for k, v in asdict(self.contract.training).items() if k != "config"},
        }  # fmt: skip


def export(run_dir: Path, out: Path, world: World, config: ExportConfig) -> ExportReport:
    """Write ``out`` and, under the same name with the suffix .json, the report. If it fails, both stay as they were.

    Raises ExportRefused where the file is not good enough, RunFileError where the run's files are missing or
    broken, ExportError where ``out`` cannot be a policy file, OSError where it cannot be written.
    """
    check_target(out)
    candidate = load_candidate(run_dir, world.spec, config)
    with parts(out, out.with_suffix(".json")) as (policy_part, report_part):
        report = _write_accepted(candidate, policy_part, world, config)
        report = replace(report, file=out.name)
        write(report_part, (json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n").encode())
    return report


@dataclass(frozen=True)
class Candidate:
    """What may become a policy file. ``observations [N, O]`` are recorded ones to compare actions on."""

    subject: Subject
    student: SavedStudent
    left_out: tuple[LeftOut, ...]
    observations: np.ndarray


def load_candidate(run_dir: Path, spec: TaskSpec, config: ExportConfig) -> Candidate:
    """From the files of a run; ExportRefused where no mode of it may be exported."""
    with reading_run():
        policy = load_teacher(run_dir, spec)
        student = load_student(run_dir, policy)
        obs = np.concatenate(recorded(run_dir, spec))
    modes, left_out = choose_modes(policy, config.unlearned)
    if not modes:
        why = "; ".join(f"mode {m.id} is {m.reason}" for m in left_out) or "it has none"
        raise ExportRefused(f"{run_dir}: no mode to export ({why})")
    rows = np.random.default_rng(config.seed).choice(len(obs), PARITY_ROWS)
    return Candidate(Subject(policy, modes, student.report), student, left_out, obs[rows])


def _write_accepted(candidate: Candidate, path: Path, world: World, config: ExportConfig) -> ExportReport:
    """Write the file without figures, try it, and write it again with them if they are good enough."""
    subject, student = candidate.subject, candidate.student
    model = policy_graph(subject.policy, student, world.spec.action, [m.id for m in subject.modes])
    write(path, to_bytes(model, make_contract(subject, world, {})))
    file = Policy.load(path)
    same = parity(file, subject.policy, student, candidate.observations, config.seed)
    trial = try_out(file, subject.policy, subject.modes, world.env, config.episodes, config.seed)
    objections = (*parity_objection(same), *judge(trial, config.allowed))
    if objections and not config.force:
        raise ExportRefused("the student is not good enough: " + "; ".join(objections))
    gone = replace(subject, modes=ways_gone(file, subject.modes, world.env, config.seed))
    contract = make_contract(gone, world, trial.student.to_dict(), objections)
    known, visit = _known_states(file, world, contract, config)
    contract = replace(contract, known_states=known)
    content = to_bytes(model, contract)
    write(path, content)
    Policy.load(path)
    return ExportReport(path.name, hashlib.sha256(content).hexdigest(), len(content), contract, candidate.left_out,
                        objections, same, trial, student.report, config, visit)


def _known_states(
    file: Policy, world: World, contract: Contract, config: ExportConfig
) -> tuple[KnownStates | None, Visit | None]:
    """What the policy knows; None for one that never arrives and is written by force."""
    try:
        return known_states(world.env, file_act(file, config.seed), contract, config.visits, config.seed)
    except NeverArrived:
        if not config.force:
            raise
        return None, None


def add_known_states(path: Path, out: Path, env: VecEnv, episodes: int, seed: int) -> tuple[Contract, Visit]:
    """Write ``out``, which is the policy ``path`` with the states that it knows, and a checksum.

    Where a report lies beside ``path`` it is written beside ``out``, with what has changed. Raises PolicyError or
    ContractError where ``path`` is no policy, NeverArrived where the policy never arrives, OSError where ``out``
    cannot be written.
    """
    check_target(out)
    policy = Policy.load(path)
    known, visit = known_states(env, file_act(policy, seed), policy.contract, episodes, seed)
    contract = replace(policy.contract, known_states=known)
    _write_again(path, out, contract, {"known_states": visit.to_dict()})
    return contract, visit


def add_margins(path: Path, out: Path, margins: Margins, tested: dict[str, Any]) -> Contract:
    """Write ``out``, which is the policy ``path`` with these ``margins``, and a checksum.

    The report beside it says in addition how they were ``tested``. Raises as :func:`add_known_states`.
    """
    check_target(out)
    contract = replace(Policy.load(path).contract, margins=margins)
    _write_again(path, out, contract, {"margins": tested})
    return contract


def _write_again(path: Path, out: Path, contract: Contract, more: dict[str, Any]) -> None:
    """The graph of ``path`` with another ``contract``; the report of ``path``, where there is one, with ``more``."""
    report = path.with_suffix(".json")
    content = to_bytes(onnx.load(str(path)), contract)
    said: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    said.update(file=out.name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), **more)
    with parts(out, out.with_suffix(".json")) as (policy_part, report_part):
        write(policy_part, content)
        Policy.load(policy_part)
        write(report_part, (json.dumps(said, indent=2, allow_nan=False) + "\n").encode())


def parity_objection(same: Parity) -> tuple[str, ...]:
    """One sentence where the file does not compute what torch does."""
    if same.good:
        return ()
    return (f"its actions differ from torch's by {same.largest:.1e} of half their range, allowed is {same.limit:.0e}",)


def to_bytes(model: onnx.ModelProto, contract: Contract) -> bytes:
    """The policy file's content: graph, contract and checksum."""
    helper.set_model_props(model, {METADATA_KEY: contract.to_json(), CHECKSUM_KEY: NO_DIGITS})
    content = model.SerializeToString(deterministic=True)
    return content.replace(NO_DIGITS.encode(), checksum(content, NO_DIGITS).encode())


def check_target(out: Path) -> None:
    """ExportError where ``out`` cannot be a policy file."""
    if out.suffix != ".onnx":
        raise ExportError(f"{out}: expected a name that ends in .onnx")
    if out.is_dir():
        raise ExportError(f"{out}: is a directory, expected a file's name")
    if not out.parent.is_dir():
        raise ExportError(f"{out}: there is no directory {out.parent}; make it first")


@contextlib.contextmanager
def parts(*targets: Path) -> Iterator[list[Path]]:
    """Temporary names beside ``targets``, which take their place when all went well and are gone when not."""
    beside = [t.with_name(t.name + ".part") for t in targets]
    try:
        for part in beside:
            part.touch()
        yield beside
        for part, target in zip(beside, targets):
            os.replace(part, target)
    finally:
        for part in beside:
            part.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """Until it is on the disk."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
