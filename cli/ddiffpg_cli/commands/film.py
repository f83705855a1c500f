"""``ddiffpg film``: a short video of a policy, and a picture, that show every one of its modes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import add_json, add_seed, existing_file, positive
from ..errors import FAILED, OK, BadInput
from ..output import check_json_target, progress, table, text_out, write_json
from .run import find_task

if TYPE_CHECKING:
    from ddiffpg.policy import Policy
    from ddiffpg_cli.filming import Take

HELP = {"film": "a short GIF of a policy, and a picture: an episode of each of its modes, side by side"}
EPILOG = """A robot on a floor is drawn from above. An arm is drawn by MuJoCo where it can draw without a screen (EGL or
OSMesa), else as a sketch; which one it is, is said.

Ends with 0 if every mode that was filmed reached the goal, with 1 if not (the film is written all the same)."""
CANVASES = ("auto", "pillow", "egl", "osmesa")
COLORS = 128  # of a GIF: no shade of these scenes is missed, and the file is small


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE.onnx", help="the policy to film")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.gif", help="where the film goes")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the ways of all modes into one picture")
    parser.add_argument("--modes", type=int, nargs="+", metavar="ID", help="film only these (default: all)")
    add_seed(parser)
    parser.add_argument(
        "--seconds", type=positive, metavar="N",
        help="how long the film plays (default: 10 where it is longer in real time, 3 where it is less than 2)",
    )  # fmt: skip
    parser.add_argument("--fps", type=positive, default=15, metavar="N", help="frames a second (default 15)")
    parser.add_argument(
        "--pixels", type=_pixels, default=280, metavar="N",
        help="longer side of each mode's tile (default 280); the picture's is twice that",
    )  # fmt: skip
    parser.add_argument(
        "--max-steps", type=positive, metavar="N", help="control periods an episode may take (default: the task's)"
    )
    parser.add_argument("--canvas", choices=CANVASES, default="auto", help="what to draw with (auto: see below)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ddiffpg.policy import Policy

    _check_target(args.out, "--out", ".gif")
    _check_target(args.picture, "--picture", ".png")
    check_json_target(args.json)
    policy = Policy.load(existing_file(args.policy, "--policy"))
    takes = _take_all(args, policy)
    out = text_out(args.json)
    rows = [(t.mode, "yes" if t.episode.success else "NO", t.episode.steps, f"{t.seconds:.1f}") for t in takes]
    print(table(("mode", "goal", "steps", "seconds"), rows), file=out)
    for file in _draw(args, policy, takes, say=lambda line: print(line, file=out, flush=True)):
        print(f"written: {file} ({file.stat().st_size / 1e6:.2f} MB)", file=out)
    write_json(_result(args, policy.contract.task, takes), args.json)
    return OK if all(t.episode.success for t in takes) else FAILED


def _pixels(text: str) -> int:
    """A size in which a caption fits below, and twice which MuJoCo can draw."""
    value = positive(text)
    if not 60 <= value <= 640:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 60 to 640")
    return value


def _check_target(path: Path | None, flag: str, suffix: str) -> None:
    """BadInput where a picture could not be written there, before any work is done for it."""
    if path is None:
        return
    if path.suffix.lower() != suffix:
        raise BadInput(f"{flag} {path}: expected a file's name that ends in {suffix}")
    if path.is_dir():
        raise BadInput(f"{flag} {path}: is a directory, expected a file's name")
    if not path.parent.is_dir():
        raise BadInput(f"{flag} {path}: there is no directory {path.parent}; make it first")


def _take_all(args: argparse.Namespace, policy: Policy) -> list[Take]:
    """An episode of each mode that is wanted."""
    from ddiffpg_cli.filming import take

    ids = policy.contract.mode_ids
    wanted = ids if args.modes is None else tuple(dict.fromkeys(args.modes))
    for mode in wanted:
        if mode not in ids:
            raise BadInput(f"--modes {mode}: the policy has the modes {list(ids)}")
    task = find_task(policy.contract.task, args.policy)
    limit = args.max_steps or policy.contract.max_steps
    return [take(policy, task, mode, args.seed, limit) for mode in progress(wanted, "mode")]


def _draw(args: argparse.Namespace, policy: Policy, takes: list[Take], say: Callable[[str], None]) -> list[Path]:
    """Draw and write the film, and the picture where one is wanted; their files."""
    from ddiffpg_cli.filming import HOLD, Studio, clock_for
    from ddiffpg_sim.render import save_gif

    task = find_task(policy.contract.task, args.policy)
    studio = Studio(policy, task, takes)
    clock = clock_for(max(t.seconds for t in takes), args.seconds, args.fps)
    with _canvas(args.canvas, task, args.pixels, say) as canvas:
        frames = [studio.frame(canvas, clock, i) for i in progress(range(clock.frames), "frame")]
    save_gif(frames, args.out, 1.0 / clock.period, HOLD, COLORS, studio.colors)
    if args.picture is None:
        return [args.out]
    with _canvas(args.canvas, task, args.pixels * 2, say=lambda line: None) as canvas:
        studio.picture(canvas).save(args.picture)
    return [args.out, args.picture]


@contextmanager
def _canvas(kind: str, task: Any, pixels: int, say: Callable[[str], None]) -> Iterator[Any]:
    """A canvas for as long as it is needed; BadInput where the one that was asked for does not work here."""
    from ddiffpg_sim.gl import open_canvas
    from ddiffpg_sim.task import PlanarTask

    if kind == "auto" and isinstance(task, PlanarTask):
        kind = "pillow"  # from above no wall is in the way
    try:
        canvas = open_canvas(task, pixels, kind, say)
    except RuntimeError as error:
        raise BadInput(f"--canvas {kind}: {error}; try auto") from error
    try:
        yield canvas
    finally:
        canvas.close()


def _result(args: argparse.Namespace, task: str, takes: list[Take]) -> dict[str, Any]:
    return {
        "policy": str(args.policy),
        "task": task,
        "seed": args.seed,
        "modes": [{"id": t.mode, **t.episode.to_dict(), "seconds": t.seconds} for t in takes],
    }
