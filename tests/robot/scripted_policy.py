"""A real policy file without learning: a real ONNX graph with a real contract that steers along given ways.

From anywhere it looks up the nearest node of all ways and heads for the node a little further on the
way of the mode asked for: on the mode's own way forward, on another one back to where they part. So it
does what a trained policy does that can return from the middle of another mode's way.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ddiffpg.contract import METADATA_KEY, VERSION, ActionField, Contract, Mode, ObservationField, Training

Point = tuple[float, float]
Ways = Mapping[int, Sequence[Point]]

SPEED = 0.8  # m/s
STEP = 0.05  # metres between nodes
LOOKAHEAD = 5  # nodes
OPSET, IR_VERSION = 17, 8

# The ways of the point mazes v1 and v4, as x (column), y (row) in metres from the start.
MAZE_V1: Ways = {
    0: [(0.0, 0.0), (0.0, -1.0), (-2.0, -1.0), (-2.0, -0.2)],
    1: [(0.0, 0.0), (0.0, 1.0), (-2.0, 1.0), (-2.0, 0.2)],
}
MAZE_V4: Ways = {
    0: [(0.0, 0.0), (0.0, -1.0), (-2.0, -1.0), (-2.0, -2.0), (-4.0, -2.0), (-4.0, -1.2)],
    1: [(0.0, 0.0), (0.0, -1.0), (-2.0, -1.0), (-2.0, 0.0), (-4.0, 0.0), (-4.0, -0.8)],
    2: [(0.0, 0.0), (0.0, 1.0), (-2.0, 1.0), (-2.0, 0.0), (-4.0, 0.0), (-4.0, 0.8)],
    3: [(0.0, 0.0), (0.0, 1.0), (-2.0, 1.0), (-2.0, 2.0), (-4.0, 2.0), (-4.0, 1.2)],
}


def contract_of(ways: Ways, clearance: float | None = 0.5, noise_dim: int = 2) -> Contract:
    """The contract of a policy for a holonomic base with these ways; ``clearance`` (m) the same all along them."""
    return Contract(
        version=VERSION,
        task="scripted",
        robot="pointbase",
        rate_hz=10.0,
        max_steps=200,
        observation=(
            ObservationField("x", "odom.position.x", "m"),
            ObservationField("y", "odom.position.y", "m"),
            ObservationField("vx", "odom.linear_velocity.x", "m/s"),
            ObservationField("vy", "odom.linear_velocity.y", "m/s"),
        ),
        action_kind="base_velocity",
        action=(ActionField("vx", "m/s", -1.0, 1.0), ActionField("vy", "m/s", -1.0, 1.0)),
        path=("x", "y"),
        path_tolerance=0.6,
        robot_radius=0.1,
        noise_dim=noise_dim,
        denoising_steps=1,
        modes=tuple(mode_of(i, path, clearance) for i, path in ways.items()),
        training=Training(commit="0" * 40, seed=0, transitions=0, config={}),
    )


def mode_of(mode_id: int, path: Sequence[Point], clearance: float | None) -> Mode:
    points = dense(path, 0.25)
    known = () if clearance is None else (float(clearance),) * len(points)
    steps = 10.0 * float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum()) / SPEED
    return Mode(mode_id, (), 1.0, 1.0, 1.0, steps, tuple(map(tuple, points.tolist())), known)


def write_policy(path: Path, ways: Ways, contract: Contract | None = None, speed: float = SPEED) -> Path:
    """Write the policy of ``ways`` to ``path``; ``speed`` in m/s. Returns ``path``."""
    contract = contract or contract_of(ways)
    return write_model(path, steering_graph(ways, contract, speed), contract.to_json())


def write_model(path: Path, graph: onnx.GraphProto, contract_json: str | None) -> Path:
    """Write ``graph`` with ``contract_json`` in its metadata, or without any."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    if contract_json is not None:
        helper.set_model_props(model, {METADATA_KEY: contract_json})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def steering_graph(ways: Ways, contract: Contract, speed: float) -> onnx.GraphProto:
    """``observation [B, O]``, ``mode [B]``, ``noise [B, Z]`` -> ``action [B, 2]``: to the next node, plus 0.1 noise."""
    nodes, ahead = flow(ways)
    row_of = np.zeros(max(ways) + 2, np.int64)  # by mode + 1; unconditional is the first
    for row, mode in enumerate(ways):
        row_of[mode + 1] = row
    constants = {
        "row_of": row_of,
        "nodes": nodes.astype(np.float32),
        "targets": nodes[ahead].astype(np.float32),  # [K, M, 2]
        "one": np.array(1, np.int64),
        "columns": np.array([0, 1], np.int64),
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
        "tiny": np.array(1e-3, np.float32),
        "speed": np.array(speed, np.float32),
        "some": np.array(0.1, np.float32),
        "low": np.array(-1.0, np.float32),
        "high": np.array(1.0, np.float32),
    }
    steps = [
        ("Gather", ["observation", "columns"], "position", {"axis": 1}),
        ("Unsqueeze", ["position", "axis1"], "position1", {}),
        ("Sub", ["position1", "nodes"], "offsets", {}),
        ("Mul", ["offsets", "offsets"], "offsets2", {}),
        ("ReduceSum", ["offsets2", "axis2"], "distance2", {"keepdims": 0}),
        ("ArgMin", ["distance2"], "nearest", {"axis": 1, "keepdims": 1}),
        ("Add", ["mode", "one"], "mode1", {}),
        ("Gather", ["row_of", "mode1"], "row", {}),
        ("Unsqueeze", ["row", "axis1"], "row1", {}),
        ("Concat", ["row1", "nearest"], "place", {"axis": 1}),
        ("GatherND", ["targets", "place"], "target", {}),
        ("Sub", ["target", "position"], "way", {}),
        ("ReduceL2", ["way"], "far", {"axes": [1], "keepdims": 1}),
        ("Max", ["far", "tiny"], "far1", {}),
        ("Div", ["way", "far1"], "direction", {}),
        ("Mul", ["direction", "speed"], "velocity", {}),
        ("Gather", ["noise", "columns"], "noise2", {"axis": 1}),
        ("Mul", ["noise2", "some"], "shake", {}),
        ("Add", ["velocity", "shake"], "shaken", {}),
        ("Clip", ["shaken", "low", "high"], "action", {}),
    ]
    return helper.make_graph(
        [helper.make_node(op, inputs, [output], **options) for op, inputs, output, options in steps],
        "steering",
        *interface(len(contract.observation), contract.noise_dim, len(contract.action)),
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )


def interface(obs_dim: int, noise_dim: int, action_dim: int) -> tuple[list, list]:
    """The inputs and outputs that every policy's graph has."""
    inputs = [
        helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["B", obs_dim]),
        helper.make_tensor_value_info("mode", TensorProto.INT64, ["B"]),
        helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["B", noise_dim]),
    ]
    return inputs, [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["B", action_dim])]


def dense(path: Sequence[Point], step: float) -> np.ndarray:
    """``path`` with points at most ``step`` apart, corners kept: ``[P, 2]``."""
    points = [np.array(path[0], float)]
    for begin, end in zip(path[:-1], path[1:]):
        count = int(np.ceil(np.linalg.norm(np.subtract(end, begin)) / step - 1e-9))
        points += [begin + (np.subtract(end, begin)) * (i + 1) / count for i in range(count)]
    return np.array(points)


def flow(ways: Ways) -> tuple[np.ndarray, np.ndarray]:
    """Nodes ``[M, 2]`` of all ways, and for each mode and node the node to head for ``[K, M]``."""
    paths = [dense(path, STEP) for path in ways.values()]
    starts = np.cumsum([0, *map(len, paths)])
    nodes = np.concatenate(paths)
    ahead = np.array([_heads(nodes, starts, k) for k in range(len(paths))])
    return nodes, ahead


def _heads(nodes: np.ndarray, starts: np.ndarray, goal: int) -> np.ndarray:
    """For each node the one ``LOOKAHEAD`` steps on, by Dijkstra from the goal mode's nodes against the flow."""
    following = np.arange(len(nodes))
    own = range(starts[goal], starts[goal + 1])
    following[own[0] : own[-1]] += 1
    cost = dict.fromkeys(own, 0.0)
    queue = [(0.0, i) for i in own]
    while queue:
        reached, i = heapq.heappop(queue)
        if reached > cost[i]:
            continue
        for j, distance in _reaching(nodes, starts, i, goal):
            if reached + distance < cost.get(j, np.inf):
                cost[j], following[j] = reached + distance, i
                heapq.heappush(queue, (reached + distance, j))
    heads = np.arange(len(nodes))
    for _ in range(LOOKAHEAD):
        heads = following[heads]
    return heads


def _reaching(nodes: np.ndarray, starts: np.ndarray, i: int, goal: int) -> list[tuple[int, float]]:
    """From where node ``i`` can be reached: the next node of its own way (one goes back), close ones of other ways."""
    way = int(np.searchsorted(starts, i, "right")) - 1
    found = [(i + 1, STEP)] if way != goal and i + 1 < starts[way + 1] else []
    apart = np.hypot(*(nodes - nodes[i]).T)
    close = np.flatnonzero(apart < STEP)
    return found + [(int(j), float(apart[j]) + 1e-3) for j in close if not starts[way] <= j < starts[way + 1]]
