"""How long one control tick takes, stage by stage: five modes, ten boxes, 360 scan points, all new in every tick.

    python benchmarks/tick.py [--policy FILE.onnx] [--ticks N] [--json FILE|-]

Without a policy it makes one with the size of a distilled student (256 x 256) and the five ways of
pointmaze-v3. Prints milliseconds, p50 / p99 / worst, as JSON: by the wall clock, and by the time that
this thread had on the processor, which other processes on a busy machine do not add to. In every tick
the robot is somewhere else, the scan is that of the maze's walls from there, and boxes stand elsewhere,
two of them anywhere and the rest in the walls: nothing can be kept from the tick before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _result import write

from ddiffpg.contract import METADATA_KEY, VERSION, ActionField, Contract, Mode, ObservationField, Training
from ddiffpg.controller import Controller, ControllerConfig, Operator
from ddiffpg.observation import RobotState
from ddiffpg.obstacles import Box, Obstacles
from ddiffpg.policy import Policy

BEAMS, BOXES, WARM_UP, HIDDEN, NOISE = 360, 10, 200, 256, 2
BUDGET_MS = 1.0
MAZE = (
    "111111111",
    "1000001G1",
    "101100001",
    "100000101",
    "1010R0001",
    "100000101",
    "101100101",
    "1G0000001",
    "111111111",
)
ORIGIN, MAX_RANGE, RAY_STEP = (4, 4), 8.0, 0.02  # row and column of the start; metres
# The ways of pointmaze-v3: metres from the start, x by column, y by row.
WAYS = (
    ((0, 0), (0, -2), (3, -2), (3, -3)),
    ((0, 0), (3, 0), (3, -3)),
    ((0, 0), (0, 3), (-3, 3)),
    ((0, 0), (-1, 0), (-1, 1), (-3, 1), (-3, 3)),
    ((0, 0), (-1, 0), (-1, -1), (-3, -1), (-3, 3)),
)


def contract() -> Contract:
    names = (("x", "odom.position.x"), ("y", "odom.position.y"))
    speeds = (("vx", "odom.linear_velocity.x"), ("vy", "odom.linear_velocity.y"))
    return Contract(
        version=VERSION,
        task="benchmark",
        robot="pointbase",
        rate_hz=10.0,
        max_steps=200,
        observation=tuple(
            ObservationField(name, source, unit)
            for group, unit in ((names, "m"), (speeds, "m/s"))
            for name, source in group
        ),
        action_kind="base_velocity",
        action=(ActionField("vx", "m/s", -1.0, 1.0), ActionField("vy", "m/s", -1.0, 1.0)),
        path=("x", "y"),
        path_tolerance=0.6,
        robot_radius=0.1,
        noise_dim=NOISE,
        denoising_steps=1,
        modes=tuple(
            Mode(i, (), 1.0, 1.0, 1.0, 80.0, tuple((float(x), float(y)) for x, y in way), (0.5,) * len(way))
            for i, way in enumerate(WAYS)
        ),
        training=Training("0" * 40, 0, 0, {}),
    )


def write_student(path: Path, rng: np.random.Generator) -> Path:
    """A policy file of a student's size with random weights: observation, mode and noise in, two hidden layers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    said = contract()
    obs, act = len(said.observation), len(said.action)
    sizes = [obs + NOISE + 8, HIDDEN, HIDDEN, act]
    arrays: dict[str, Any] = {"table": rng.standard_normal((len(WAYS) + 1, 8)), "one": np.array(1, np.int64)}
    nodes = [
        helper.make_node("Add", ["mode", "one"], ["row"]),
        helper.make_node("Gather", ["table", "row"], ["embedding"]),
        helper.make_node("Concat", ["observation", "noise", "embedding"], ["h0"], axis=1),
    ]
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        arrays[f"w{i}"], arrays[f"b{i}"] = rng.standard_normal((a, b)) / np.sqrt(a), np.zeros(b)
        nodes.append(helper.make_node("Gemm", [f"h{i}", f"w{i}", f"b{i}"], [f"z{i}"]))
        nodes.append(helper.make_node("Tanh", [f"z{i}"], [f"h{i + 1}" if i < len(sizes) - 2 else "action"]))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "student",
        [
            info("observation", TensorProto.FLOAT, ["B", obs]),
            info("mode", TensorProto.INT64, ["B"]),
            info("noise", TensorProto.FLOAT, ["B", NOISE]),
        ],
        [info("action", TensorProto.FLOAT, ["B", act])],
        [numpy_helper.from_array(v if k == "one" else v.astype(np.float32), k) for k, v in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: said.to_json()})
    onnx.save(model, str(path))
    return path


def scan(place: np.ndarray) -> np.ndarray:
    """Hits ``[BEAMS, 2]`` of rays from ``place [2]`` on the maze's walls, in metres."""
    wall = np.array([[cell == "1" for cell in row] for row in MAZE])
    angle = np.linspace(-np.pi, np.pi, BEAMS, endpoint=False)
    reach = np.arange(0.0, MAX_RANGE, RAY_STEP)
    points = place + reach[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    column, row = np.moveaxis(np.round(points).astype(int), 2, 0) + np.array(ORIGIN[::-1])[:, None, None]
    hit = wall[row.clip(0, len(wall) - 1), column.clip(0, wall.shape[1] - 1)].argmax(axis=0)
    return points[hit, np.arange(BEAMS)]


def scenes(policy: Policy, rng: np.random.Generator, count: int) -> list[tuple[np.ndarray, Obstacles]]:
    """Places on the ways, each with what is around it."""
    paths = [np.array(mode.path)[:, :2] for mode in policy.contract.modes]
    walls = [(c - ORIGIN[1], r - ORIGIN[0]) for r, row in enumerate(MAZE) for c, cell in enumerate(row) if cell == "1"]
    found = []
    for i in range(count):
        path = paths[rng.integers(len(paths))]
        leg, share = rng.integers(len(path) - 1), rng.uniform()
        place = path[leg] * (1 - share) + path[leg + 1] * share + rng.uniform(-0.1, 0.1, 2)
        middles = [*rng.uniform(-3.5, 3.5, (2, 2)), *(walls[k] for k in rng.integers(len(walls), size=BOXES - 2))]
        boxes = tuple(Box((float(x), float(y)), (0.2, 0.2), rng.uniform(-3, 3)) for x, y in middles)
        found.append((place, Obstacles(0.1 * i, boxes, scan(place))))
    return found


def measure(policy: Policy, ticks: int, seed: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Milliseconds by stage, and of the whole ticks as ``total``; how many ticks ended in which state."""
    rng = np.random.default_rng(seed)
    controller = Controller(policy, ControllerConfig(noise_scale=1.0), rng, clock)
    seconds: dict[str, list[float]] = {}
    states: dict[str, int] = {}
    for i, (place, obstacles) in enumerate(scenes(policy, rng, ticks + WARM_UP)):
        now = 100.0 * i  # so far apart that no dwell time closes a way
        obstacles = Obstacles(now, obstacles.shapes, obstacles.points)
        state = RobotState(now, [*place, 0.0], [1.0, 0.0, 0.0, 0.0], [0.3, 0.1, 0.0], [0.0, 0.0, 0.0])
        begin = clock()
        decision = controller.tick(now, state, obstacles, Operator())
        if i >= WARM_UP:
            for stage, value in {**decision.stage_seconds, "total": clock() - begin}.items():
                seconds.setdefault(stage, []).append(value)
            states[decision.state] = states.get(decision.state, 0) + 1
    return {"stages": {stage: summarise(values) for stage, values in seconds.items()}, "states": states}


def summarise(seconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return {"p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4), "worst_ms": round(max(seconds) * 1e3, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="a policy file (default: one of a student's size, made here)")
    parser.add_argument("--ticks", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", default="-", help="where to write the result; - is the screen")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.policy or write_student(Path(folder) / "student.onnx", np.random.default_rng(args.seed))
        policy = Policy.load(path)
    wall, processor = (measure(policy, args.ticks, args.seed, c) for c in (time.perf_counter, time.thread_time))
    result = {
        "benchmark": "tick",
        "policy": policy.contract.task,
        "modes": len(policy.contract.modes),
        "boxes": BOXES,
        "scan_points": BEAMS,
        "ticks": args.ticks,
        "wall_clock": wall,
        "processor_time": processor,
        "budget_p99_ms": BUDGET_MS,
        "within_budget": wall["stages"]["total"]["p99_ms"] <= BUDGET_MS,
    }
    write(result, args.json)


if __name__ == "__main__":
    main()
