"""Runs trials on Ray: each in a worker process of its own, gone on with from its checkpoint when that dies."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, WorkerCrashedError

from .errors import BadInput
from .output import Progress
from .trials import Trial, record

STORE_BYTES = 80 * 2**20  # the least that Ray takes; runs hand nothing over but an exit code
LOOK_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class Room:
    """Where runs go: a Ray cluster at ``address`` (None: this machine alone), at most ``jobs`` at a time (None: as
    many as fit); a run whose process dies is gone on with ``retries`` times.
    """

    address: str | None
    jobs: int | None
    retries: int


def sweep(trials: Sequence[Trial], folder: Path, room: Room) -> dict[str, list[dict[str, Any]]]:
    """Train what is not trained yet: ``runs``, the records of all that came to their end, and ``failed``.

    Run directories and logs are named for their trials, below ``folder``, which all machines of a cluster must
    share. Ray's environment is set before this module is imported (see ``ddiffpg sweep``). Raises BadInput where
    there is no such cluster, or none of its machines is large enough for a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = [trial for trial in trials if not trial.is_done(folder / trial.name)]
    reasons: dict[str, str] = {}
    beside: int | None = None
    if todo:
        with started(room.address):
            machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            check_room(todo, machines)
            beside = side_by_side(todo, machines, room)
            reasons = run_all(todo, folder, room)
    runs = [record(trial, folder / trial.name, beside if trial in todo else None)
            for trial in trials if trial.name not in reasons]
    failed = [{"name": name, "log": str(log_of(folder, name)), "reason": reason} for name, reason in reasons.items()]
    return {"runs": runs, "failed": failed}


# ---- Ray ------------------------------------------------------------------------------------------


@contextmanager
def started(address: str | None) -> Iterator[None]:
    """Ray, for as long as it is needed. A local one leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="ddiffpg-", ignore_cleanup_errors=True) as scratch:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if address is None:
                ray.init("local", include_dashboard=False, _temp_dir=scratch, object_store_memory=STORE_BYTES, **quiet)
            else:
                check_answers(address)
                ray.init(address, **quiet)
            yield
        finally:
            ray.shutdown()


def check_answers(address: str) -> None:
    """BadInput where nobody listens: Ray itself would try for long, and say little."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal()):
        raise BadInput(f"--ray {address}: expected host:port or ray://host:port")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise BadInput(f"--ray {address}: no Ray cluster answers there ({error})") from error


def needs(trial: Trial) -> dict[str, int]:
    """What Ray sets aside for a run: a core a thread, and a GPU where it learns on one."""
    train = trial.config().train
    need = {"CPU": max(train.sim_threads, train.torch_threads)}
    return need | ({"GPU": 1} if train.device.startswith("cuda") else {})


def check_room(trials: Sequence[Trial], machines: Sequence[dict[str, float]]) -> None:
    """Ray waits for ever for what no machine has; that is an error here."""
    for trial in trials:
        for kind, count in needs(trial).items():
            most = max((machine.get(kind, 0.0) for machine in machines), default=0.0)
            if count > most:
                raise BadInput(f"{trial.name} asks for {count} {kind}, and no machine has more than {most:.0f}: "
                               "lower train.sim_threads and train.torch_threads, or choose another train.device")


def side_by_side(trials: Sequence[Trial], machines: Sequence[dict[str, float]], room: Room) -> int | None:
    """How many runs will share the machine; None where there are several."""
    if room.address is not None:
        return None
    fit = int(machines[0]["CPU"] // max(needs(trial)["CPU"] for trial in trials))
    return min(fit, len(trials), room.jobs or len(trials))


# ---- runs -----------------------------------------------------------------------------------------


def run_all(trials: Sequence[Trial], folder: Path, room: Room) -> dict[str, str]:
    """Run them; the reasons of those that did not come to their end, by name."""
    waiting, running, reasons = list(trials), {}, {}
    iterations = {trial.name: trial.config().train.iterations for trial in trials}
    shown = Progress("iteration", sum(iterations.values()))
    while waiting or running:
        while waiting and len(running) < (room.jobs or len(trials)):
            trial = waiting.pop(0)
            running[submit(trial, folder, room.retries)] = trial
        ended, _ = ray.wait(list(running), timeout=LOOK_EVERY)
        for job in ended:
            trial = running.pop(job)
            reason = outcome(job, room.retries)
            reasons |= {trial.name: reason} if reason else {}
        far = sum(min(iteration_of(folder / name), last) for name, last in iterations.items())
        over = len(trials) - len(waiting) - len(running)
        shown.show(far, f"{over} of {len(trials)} runs over" + (f", {len(reasons)} failed" if reasons else ""))
    shown.end()
    return reasons


def submit(trial: Trial, folder: Path, retries: int) -> ray.ObjectRef:
    """Hand a run to Ray. A process runs one trial only, so that nothing of the one before is left in it."""
    need = needs(trial)
    job = ray.remote(max_calls=1, max_retries=retries, num_cpus=need["CPU"], num_gpus=need.get("GPU", 0))(train_here)
    return job.remote(trial.words(folder / trial.name), str(log_of(folder, trial.name)))


def train_here(words: list[str], log: str) -> int:
    """``ddiffpg train`` in this very process: whoever kills it stops the training too, and it can be gone on with."""
    from .main import main

    with open(log, "a", buffering=1, encoding="utf-8") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
        with redirect_stdout(out), redirect_stderr(out):
            print(f"== process {os.getpid()}: ddiffpg {' '.join(words)}")
            return main(words)


def outcome(job: ray.ObjectRef, retries: int) -> str | None:
    """Why a run that is over did not come to its end; None where it did."""
    try:
        code = ray.get(job)
    except WorkerCrashedError:
        return f"its process died {retries + 1} times"
    except RayError as error:
        return str(error).strip().splitlines()[-1]
    return f"ddiffpg train ended with exit code {code}" if code else None


def log_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def iteration_of(folder: Path) -> int:
    """How far a run has come, by the last whole line of its log of numbers; 0 where it has none yet."""
    try:
        with open(folder / "metrics.csv", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
            lines = file.read().decode().splitlines()
    except OSError:
        return 0
    numbers = [line.split(",")[0] for line in lines[1:-1]]
    return int(numbers[-1]) if numbers and numbers[-1].isdecimal() else 0
