"""Puts task, environment, agent and run directory together: the composition root of training."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from ddiffpg_core import checkpoint, precision
from ddiffpg_core.acting import evaluate_policy
from ddiffpg_core.checkpoint import CheckpointError, SavedPolicy
from ddiffpg_core.config import TRANSFER, Config
from ddiffpg_core.evaluate import Report
from ddiffpg_core.method import make_agent
from ddiffpg_core.pictures import draw_all
from ddiffpg_core.run import Evaluator, Run, RunError
from ddiffpg_core.spec import VecEnv
from ddiffpg_core.train import train
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.randomised import environment
from ddiffpg_sim.task import PlanarTask, Task
from ddiffpg_sim.variation import Variation, first_difference

from .beginning import Beginning, Loaded
from .errors import BadInput, Failed
from .transfer_axes import different_robots

EVALUATION_ENVS = 200


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line. None: what the run has, where one is, and else nothing in particular."""

    task: str
    folder: Path
    seed: int | None
    config: Config | None
    beginning: Beginning | None
    variation: Variation | None = None


@dataclass(frozen=True)
class Opened:
    """A run, and what it is still to be given before its first step."""

    run: Run
    loaded: Loaded


def open_run(wanted: Wanted, default: Callable[[], Config], resume: bool) -> Opened:
    """A new run, or with ``resume`` the one that is there (a new one where there is none).

    Raises BadInput where the directory is used or holds no run, where its settings are others than those asked
    for, where what it is to begin with does not fit it, and where the device is not there.
    """
    task = tasks.make(wanted.task)
    try:
        if resume and (wanted.folder / "run.json").exists():
            run = _there(wanted)
            return Opened(run, Loaded() if run.begun else Beginning.of(run).load(task, run.config))
        config, beginning = wanted.config or default(), wanted.beginning or Beginning()
        _check_device(config)
        loaded = beginning.load(task, config)
        began_with = beginning.plain() | ({"randomise": wanted.variation.plain()} if wanted.variation else {})
        run = Run.create(wanted.folder, wanted.task, wanted.seed or 0, config, commit(), began_with)
        return Opened(run, loaded)
    except RunError as error:
        raise BadInput(str(error)) from error


def _there(wanted: Wanted) -> Run:
    """The run that is there; RunError where it is another than the one that is asked for."""
    run = Run.open(wanted.folder)
    run.check_same(wanted.task, run.seed if wanted.seed is None else wanted.seed, wanted.config or run.config)
    if wanted.beginning is not None:
        wanted.beginning.check_same(run)
    if wanted.variation is not None:
        _check_same_variation(run, wanted.variation)
    _check_device(run.config)
    return run


def train_run(opened: Opened, on_progress: Callable[[int, str], None], say: Callable[[str], None]) -> Report:
    """Train a run to its end, from its last checkpoint where it has one, and draw its pictures.

    ``say`` is told what the run begins with.
    """
    run = opened.run
    task, config = tasks.make(run.task), run.config
    torch.set_num_threads(config.train.torch_threads)
    precision.use(config.train.matmul, config.train.device)
    run.on_progress = on_progress
    begun = run.iteration
    with ExitStack() as stack:
        stack.enter_context(naming_what_fills_memory(config))
        threads, variation = config.train.sim_threads, variation_of(run)
        env = stack.enter_context(closing(environment(task, config.train.num_envs, threads, variation, training=True)))
        evaluation_env = stack.enter_context(closing(environment(task, EVALUATION_ENVS, threads, variation)))
        if config.train.select == TRANSFER:
            judges = BatchedEnv(task, EVALUATION_ENVS, threads, deviate=different_robots)
            run.judge = evaluator(stack.enter_context(closing(judges)))
        agent = make_agent(task.spec, config, run.seed)
        for note in opened.loaded.give(agent):
            say(note)
        try:
            report = train(env, agent, evaluator(evaluation_env), run, config.train)
        except CheckpointError as error:
            if run.iteration == begun:  # it could not even be read
                raise BadInput(str(error)) from error
            raise
    draw_all(agent, run.folder / "pictures", lambda axes: draw_world(task, axes))
    return report


def variation_of(run: Run) -> Variation | None:
    """What varies from episode to episode of ``run``; None: nothing."""
    raw = run.began_with.get("randomise")
    return None if raw is None else Variation.from_plain(raw, str(run.folder / "run.json"))


def _check_same_variation(run: Run, variation: Variation) -> None:
    """RunError where something else varied when ``run`` began, naming the first difference."""
    before = run.began_with.get("randomise")
    yours = variation.plain()
    difference = ("", "nothing", yours) if before is None else first_difference(before, yours)
    if difference is not None:
        field, old, new = difference
        flag = f"--randomise {field}".rstrip()
        raise RunError(f"{run.folder}: {flag} was {old} when the run began and is {new} now; "
                       "resume with the same or start a new run")


def evaluate_run(folder: Path, episodes: int, seed: int,
                 vary: Callable[[str], Variation | None] = lambda task: None) -> Report:
    """The best policy of the run in ``folder``, mode by mode. Raises BadInput where there is none.

    ``vary`` says what varies from episode to episode of a task.
    """
    try:
        run = Run.open(folder)
        task = tasks.make(run.task)
        policy = checkpoint.load_policy(folder / "policy.pt", task.spec)
    except (RunError, CheckpointError) as error:
        raise BadInput(str(error)) from error
    with closing(environment(task, EVALUATION_ENVS, 1, vary(run.task))) as env:
        return evaluate_policy(env, policy, episodes, seed)


def evaluator(env: VecEnv) -> Evaluator:
    """Evaluates policies in ``env``, each time from a seed of its own that a resumed run has again.

    A fixed seed would choose the policy that suits these episodes best, and then measure it on them.
    """

    def evaluate_now(policy: SavedPolicy, episodes: int) -> Report:
        return evaluate_policy(env, policy, episodes, policy.transitions + episodes)

    return evaluate_now


def notes(config: Config) -> list[str]:
    """What these settings come to on this machine, where that may not be what was meant."""
    cores = len(os.sched_getaffinity(0))
    asked = {name: getattr(config.train, name) for name in ("sim_threads", "torch_threads")}
    return [f"train.{name} is {threads}: this machine has {cores} cores, so more than that gain nothing"
            for name, threads in asked.items() if threads > cores]


@contextmanager
def naming_what_fills_memory(config: Config) -> Iterator[None]:
    """Where memory does not hold the run, raise Failed with the settings that ask for the most of it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # Where the CPU's memory is full torch raises a plain RuntimeError, with its allocator's name in the text.
        full = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)
        if not full:
            raise
        raise Failed(
            f"the memory of {config.train.device} is full: begin a new run with a lower critic.batch_size "
            f"({config.critic.batch_size}), train.num_envs ({config.train.num_envs}) or replay.trajectories "
            f"({config.replay.trajectories}), for example --set replay.trajectories={config.replay.trajectories // 2}"
        ) from error


def draw_world(task: Task, axes: Axes) -> None:
    """Walls and goals of ``task`` from above, in metres; an arm has no goal in the plane."""
    for wall in task.walls:
        (x, y), (hx, hy) = wall.center, wall.half_size
        axes.add_patch(Rectangle((x - hx, y - hy), 2 * hx, 2 * hy, color="0.75", linewidth=0))
    if isinstance(task, PlanarTask):
        for x, y in task.goals:
            axes.add_patch(Circle((x, y), task.goal_radius, color="tab:green", alpha=0.3, linewidth=0))


def commit() -> str:
    """The commit of the checkout that this code is from, with a plus sign where files are changed; empty elsewhere."""
    git = ["git", "-C", str(Path(__file__).resolve().parents[2])]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed.stdout else "")


def _check_device(config: Config) -> None:
    try:
        torch.empty(1, device=config.train.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInput(f"train.device is {config.train.device!r}: torch cannot use it ({reason}); "
                       "choose --preset cpu, or --set train.device=cpu") from error
