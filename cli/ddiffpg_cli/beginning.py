"""What a run begins with beside its settings: what another run has come to, and demonstrations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ddiffpg_core import checkpoint
from ddiffpg_core.checkpoint import CheckpointError
from ddiffpg_core.config import DDIFFPG, Config, to_dict
from ddiffpg_core.demonstration import Demonstration
from ddiffpg_core.learner import Learner
from ddiffpg_core.run import Run, RunError
from ddiffpg_sim.task import Task

from .errors import BadInput

CHECKPOINT = "checkpoint.pt"
SAME = ("train.method", "train.num_envs", "actor.hidden", "actor.denoising_steps", "actor.embedding_dim",
        "actor.time_dim", "critic.hidden", "critic.atoms", "critic.value_max", "critic.layer_norm", "novelty.hidden",
        "novelty.features", "novelty.sees", "novelty.cell", "replay.trajectories", "modes.path_points")  # fmt: skip
"""Settings that say what networks and memory look like: a run that begins from another has the same."""


@dataclass(frozen=True)
class File:
    """A file, and what it held."""

    file: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> File:
        """BadInput where it cannot be read."""
        digest = hashlib.sha256()
        try:
            with path.open("rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}") from error
        return cls(str(path.resolve()), digest.hexdigest())

    def checked(self) -> Path:
        """Its path; BadInput where it has gone, or holds something else by now."""
        now = File.of(Path(self.file))
        if now != self:
            raise BadInput(f"{self.file}: has changed since the run began: it was {self}, and is {now}")
        return Path(self.file)

    def __str__(self) -> str:
        return f"{Path(self.file).name} (sha256 {self.sha256[:12]})"


@dataclass(frozen=True)
class Loaded:
    """What is there before a run's first step: the ``state`` of another run's agent, None where there is none, and
    demonstrations; ``notes`` say what of those was left out."""

    state: dict[str, Any] | None = None
    shown: tuple[Demonstration, ...] = ()
    notes: tuple[str, ...] = ()

    def give(self, agent: Learner) -> list[str]:
        """Begin with it; says what it came to. BadInput where it does not fit."""
        try:
            if self.state is not None:
                agent.take_up(self.state)
            before = {mode.id for mode in agent.modes}
            if self.shown:
                agent.demonstrate(self.shown)
        except (KeyError, ValueError, RuntimeError) as error:
            raise BadInput(f"what the run is to begin with does not fit it: {error}") from error
        if not self.shown:
            return []
        new = [str(mode.id) for mode in agent.modes if mode.id not in before]
        steps = sum(int(demonstration.counts.sum()) for demonstration in self.shown)
        modes = f"modes {', '.join(new)} are new" if new else "no new mode came of them"
        return [f"{len(self.shown)} demonstrations, {steps} steps of which count: {modes}"]


@dataclass(frozen=True)
class Beginning:
    """``origin`` is the checkpoint of another run, None where there is none; ``demos`` are recordings, of which the
    steps count that those in ``who`` drove (``demonstrations.WHO``)."""

    origin: File | None = None
    demos: tuple[File, ...] = ()
    who: str = "human"

    @classmethod
    def given(cls, origin: Path | None, demos: Sequence[Path], who: str) -> Beginning:
        """As the command line has it: a run's directory or checkpoint, recordings or folders of them."""
        found = None if origin is None else File.of(origin_run(origin).folder / CHECKPOINT)
        files = [file for path in demos for file in (sorted(path.glob("*.mcap")) if path.is_dir() else [path])]
        if demos and not files:
            raise BadInput(f"--demos {demos[0]}: holds no .mcap file")
        return cls(found, tuple(File.of(file) for file in files), who)

    @classmethod
    def of(cls, run: Run) -> Beginning:
        """What ``run`` began with."""
        raw = run.began_with
        try:
            origin = File(**raw["from"]) if "from" in raw else None
            return cls(origin, tuple(File(**file) for file in raw.get("demos", ())), raw.get("demos_who", cls.who))
        except TypeError as error:
            raise RunError(f"{run.folder / 'run.json'}: damaged ({error})") from error

    def plain(self) -> dict[str, Any]:
        """As run.json has it."""
        demos = {"demos": [asdict(file) for file in self.demos], "demos_who": self.who} if self.demos else {}
        return ({"from": asdict(self.origin)} if self.origin else {}) | demos

    def check_same(self, run: Run) -> None:
        """RunError where ``run`` began with something else, whatever the files are called, naming the first."""
        then = Beginning.of(run)
        pairs = (("--from", _files(then.origin), _files(self.origin)), ("--demos", then.demos, self.demos))
        for flag, old, new in pairs:
            if [file.sha256 for file in old] != [file.sha256 for file in new]:
                raise _other(run, flag, ", ".join(map(str, old)) or "none", ", ".join(map(str, new)) or "none")
        if self.demos and then.who != self.who:
            raise _other(run, "--demos-who", then.who, self.who)

    def load(self, task: Task, config: Config) -> Loaded:
        """Read it all. BadInput where it is of another task, does not fit ``config``, or shows nothing."""
        self._check_settings(config)
        state = None if self.origin is None else _state(self.origin.checked(), task, config)
        if not self.demos:
            return Loaded(state)
        from .demonstrations import read  # only then are the readers of recordings needed

        shown = read([file.checked() for file in self.demos], task, self.who)
        if not shown.demonstrations:
            more = f": {shown.notes[0]}" if shown.notes else ", and no drive that leaves a start"
            raise BadInput(f"--demos: there is no demonstration of {task.spec.name} in them{more}")
        return Loaded(state, shown.demonstrations, shown.notes)

    def _check_settings(self, config: Config) -> None:
        """BadInput where they ask for what is not there to begin with."""
        if config.train.offline_updates and not self.demos and self.origin is None:
            raise BadInput(f"train.offline_updates is {config.train.offline_updates}, but the run begins with nothing "
                           "that it could learn from: give --from or --demos")
        if config.agreement.filter and (self.origin is None or config.train.method != DDIFFPG):
            raise BadInput(f"agreement.filter is true with method {config.train.method}: it weighs what an earlier run "
                           f"of {DDIFFPG} has driven; give that with --from")


def _files(file: File | None) -> tuple[File, ...]:
    return () if file is None else (file,)


def _other(run: Run, flag: str, old: str, new: str) -> RunError:
    return RunError(f"{run.folder}: {flag} was {old} when the run began and is {new} now; "
                    "resume with the same or start a new run")


def _state(path: Path, task: Task, config: Config) -> dict[str, Any]:
    """What the agent of the run to which the checkpoint ``path`` belongs had come to."""
    try:
        run = origin_run(path)
        if run.task != task.spec.name:
            raise BadInput(f"--from {path}: is of task {run.task!r}, not {task.spec.name!r}")
        there, here = to_dict(run.config), to_dict(config)
        for section, key in (name.split(".") for name in SAME):
            if there[section][key] != here[section][key]:
                raise BadInput(f"--from {path}: {section}.{key} is {there[section][key]!r} there and "
                               f"{here[section][key]!r} here: what it has come to fits no other")
        return checkpoint.load(path)["agent"]
    except CheckpointError as error:
        raise BadInput(f"--from {error}") from error


def origin_run(origin: Path) -> Run:
    """The run of which ``origin`` is the directory or the checkpoint."""
    folder = origin if origin.is_dir() else origin.parent
    if not origin.is_dir() and origin.name != CHECKPOINT:
        raise BadInput(f"--from {origin}: expected the directory of a run, or its {CHECKPOINT}")
    try:
        return Run.open(folder)
    except RunError as error:
        raise BadInput(f"--from {error}") from error
