"""A policy that thinks for long, or for ever, when its robot says that it is very fast: a real graph with a loop."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ddiffpg.contract import CHECKSUM_KEY
from ddiffpg.policy import Policy

SLOW, STUCK = 5.0, 9.0  # m/s along x, from which on it thinks for about LONG, and for ever
LONG = 0.1  # s, on this machine while nothing else runs
_TRIAL, _EVER = 2_000, 10**15  # rounds
_COLUMN = 2  # of the observation: x, y, vx, vy
_SIZE = 64


def slow_down(source: Path, target: Path) -> Path:
    """Write the policy ``source`` to ``target``, with a loop in it whose length depends on the observation's ``vx``."""
    trial = Policy.load(_with_loop(source, target, _TRIAL))
    return _with_loop(source, target, round(_TRIAL * LONG / min(_seconds(trial) for _ in range(5))))


def _seconds(policy: Policy) -> float:
    """How long it thinks where its robot says that it is very fast."""
    observation = np.zeros(len(policy.contract.observation), np.float32)
    observation[_COLUMN] = SLOW
    began = time.perf_counter()
    policy.act(observation)
    return time.perf_counter() - began


def _with_loop(source: Path, target: Path, rounds: int) -> Path:
    """With so many ``rounds`` where it is slow."""
    model = onnx.load(str(source))
    graph = model.graph
    ends = {SLOW: rounds, STUCK: _EVER}
    constants = {
        "slow.column": np.array([_COLUMN], np.int64),
        "slow.weights": (np.eye(_SIZE) * 0.999).astype(np.float32),
        "slow.zero": np.array(0.0, np.float32),
        "slow.true": np.array(True),
        "slow.none": np.array(0, np.int64),
        **{f"slow.from{i}": np.array(speed, np.float32) for i, speed in enumerate(ends)},
        **{f"slow.rounds{i}": np.array(n, np.int64) for i, n in enumerate(ends.values())},
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    (action,) = [node for node in graph.node if "action" in node.output]
    action.output[list(action.output).index("action")] = "slow.action"
    make = helper.make_node
    graph.node.extend([
        make("Gather", ["observation", "slow.column"], ["slow.speeds"], axis=1),
        make("ReduceMax", ["slow.speeds"], ["slow.speed"], keepdims=0),
        make("GreaterOrEqual", ["slow.speed", "slow.from0"], ["slow.is0"]),
        make("GreaterOrEqual", ["slow.speed", "slow.from1"], ["slow.is1"]),
        make("Where", ["slow.is0", "slow.rounds0", "slow.none"], ["slow.some"]),
        make("Where", ["slow.is1", "slow.rounds1", "slow.some"], ["slow.rounds"]),
        make("Loop", ["slow.rounds", "slow.true", "slow.weights"], ["slow.end"], body=_body()),
        make("ReduceMax", ["slow.end"], ["slow.number"], keepdims=0),
        make("Mul", ["slow.number", "slow.zero"], ["slow.nothing"]),
        make("Add", ["slow.action", "slow.nothing"], ["action"]),
    ])  # fmt: skip
    props = {p.key: p.value for p in model.metadata_props if p.key != CHECKSUM_KEY}
    helper.set_model_props(model, props)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    return target


def _body() -> onnx.GraphProto:
    """One round: a product of matrices, so that there is something to do."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Identity", ["more"], ["go_on"]),
        helper.make_node("MatMul", ["matrix", "slow.weights"], ["product"]),
    ]
    inputs = [info("round", TensorProto.INT64, []), info("more", TensorProto.BOOL, []),
              info("matrix", TensorProto.FLOAT, [_SIZE, _SIZE])]  # fmt: skip
    outputs = [info("go_on", TensorProto.BOOL, []), info("product", TensorProto.FLOAT, [_SIZE, _SIZE])]
    return helper.make_graph(nodes, "round", inputs, outputs)
