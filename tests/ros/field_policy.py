"""A policy file that needs no training: a real ONNX graph with a real contract, for tests of what serves it.

It knows the task's ways. On a grid over the maze a table holds, for every mode, the place to steer to
next: some way ahead on the corridor that the controller itself would choose from there. So, like a
trained policy, it takes the mode asked for from anywhere, from the middle of another mode's way too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ddiffpg.contract import (
    METADATA_KEY,
    VERSION,
    ActionField,
    Contract,
    JointLimits,
    Mode,
    ObservationField,
    Training,
)
from ddiffpg.modes import Rules, WayMap
from ddiffpg_sim import tasks

CELL, LOOK_AHEAD, GAIN = 0.1, 0.3, 4.0


def write_field_policy(task_name: str, path: Path) -> Contract:
    """Write the policy for a point maze to ``path``; returns its contract."""
    task = tasks.make(task_name)
    contract = contract_of_task(task)
    walls = np.array([(*w.center, *w.half_size) for w in task.walls])
    low, high = (walls[:, :2] - walls[:, 2:]).min(axis=0), (walls[:, :2] + walls[:, 2:]).max(axis=0)
    shape = np.ceil((high - low) / CELL).astype(int)
    model = _graph(_table(contract, low, shape), low, shape)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return contract


def contract_of_task(task) -> Contract:
    """The contract of a policy for ``task`` that knows all the ways which the task was made to allow."""
    spec = task.spec
    fields = [{"name": f.name, "unit": f.unit, "joint": f.joint} for f in spec.observation]
    return Contract(
        version=VERSION,
        task=spec.name,
        robot=spec.robot,
        rate_hz=spec.rate_hz,
        max_steps=spec.max_steps,
        observation=tuple(ObservationField(source=f.source, **known) for f, known in zip(spec.observation, fields)),
        action_kind=spec.action.kind,
        action=tuple(ActionField(f.name, f.unit, f.low, f.high, f.joint) for f in spec.action.fields),
        path=spec.path,
        path_tolerance=spec.path_tolerance,
        robot_radius=task.robot_radius,
        noise_dim=2,
        denoising_steps=1,
        modes=tuple(_mode(task, i, way) for i, way in enumerate(task.ways)),
        training=Training(commit="none", seed=0, transitions=0, config={}),
        joint_limits=tuple(JointLimits(j.joint, j.low, j.high) for j in spec.action.joint_limits),
    )


def _mode(task, number: int, way) -> Mode:
    points = _resample(np.array(way.points, float), 0.1)
    return Mode(
        id=number,
        lineage=(),
        success=1.0,
        adherence=1.0,
        returns=1.0,
        mean_steps=len(points),
        path=tuple(map(tuple, points.tolist())),
        clearance=tuple(np.maximum(task.clearance(points), 0.0).tolist()),
    )


def _resample(points: np.ndarray, spacing: float) -> np.ndarray:
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    even = np.linspace(0.0, at[-1], round(at[-1] / spacing) + 1)
    return np.stack([np.interp(even, at, points[:, i]) for i in range(points.shape[1])], axis=1)


def _table(contract: Contract, low: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Where to steer to: ``[modes * columns * rows, 2]``, metres."""
    ways = WayMap(contract, Rules(contract.robot_radius, 0.1, 0.1, 0.1, 0.1))
    table = np.zeros((len(contract.modes), *shape, 2), np.float32)
    for column, row in np.ndindex(*shape):
        position = low + (np.array([column, row]) + 0.5) * CELL
        for number, way in enumerate(ways.look(position, None)):
            table[number, column, row] = _ahead(ways.corridor(way, position))
    return table.reshape(-1, 2)


def _ahead(corridor: np.ndarray) -> np.ndarray:
    """The point ``LOOK_AHEAD`` along ``corridor [P, 2]``, at most its end."""
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corridor, axis=0), axis=1))])
    if at[-1] <= LOOK_AHEAD:
        return corridor[-1]
    return np.array([np.interp(LOOK_AHEAD, at, corridor[:, i]) for i in range(2)])


def _graph(table: np.ndarray, low: np.ndarray, shape: np.ndarray) -> onnx.ModelProto:
    """action = GAIN * (target - position), at most 1 m/s, plus nothing of the noise."""
    constants = {
        "table": table,
        "low": low.astype(np.float32),
        "cell": np.float32(CELL),
        "last": (shape - 1).astype(np.float32),
        "zeros": np.zeros(2, np.float32),
        "strides": np.array([shape[1], 1], np.int64),
        "layer": np.int64(shape[0] * shape[1]),
        "first_mode": np.int64(0),
        "gain": np.float32(GAIN),
        "one": np.float32(1.0),
        "nothing": np.float32(0.0),
        "begin": np.array([0], np.int64),
        "end": np.array([2], np.int64),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        ("Slice", ["observation", "begin", "end", "axis"], "position"),
        ("Sub", ["position", "low"], "offset"),
        ("Div", ["offset", "cell"], "cells"),
        ("Floor", ["cells"], "floored"),
        ("Max", ["floored", "zeros"], "at_least"),
        ("Min", ["at_least", "last"], "inside"),
        ("Cast", ["inside"], "indices", {"to": TensorProto.INT64}),
        ("Mul", ["indices", "strides"], "strided"),
        ("ReduceSum", ["strided", "axis"], "within", {"keepdims": 0}),
        ("Max", ["mode", "first_mode"], "known_mode"),
        ("Mul", ["known_mode", "layer"], "layers"),
        ("Add", ["layers", "within"], "row"),
        ("Gather", ["table", "row"], "target"),
        ("Sub", ["target", "position"], "toward"),
        ("Mul", ["toward", "gain"], "velocity"),
        ("ReduceL2", ["velocity", "axis"], "speed", {"keepdims": 1}),
        ("Max", ["speed", "one"], "divisor"),
        ("Div", ["velocity", "divisor"], "limited"),
        ("Mul", ["noise", "nothing"], "silence"),
        ("Add", ["limited", "silence"], "action"),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **dict(*more)) for kind, inputs, output, *more in nodes],
        "field",
        [
            helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 4]),
            helper.make_tensor_value_info("mode", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", 2]),
        ],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
