"""Real policy files for robots of joints: an arm and its end effector in space, and a torque pattern for any joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

from ddiffpg.contract import (
    VERSION,
    ActionField,
    Contract,
    JointLimits,
    Mode,
    ObservationField,
    Training,
)
from tests.robot.scripted_policy import dense, interface, write_model

ARM_JOINTS = ("shoulder", "elbow")
STEP = 0.05  # rad
# Round a post, on the left and on the right of it: x, y, z in metres.
ARM_WAYS = {
    0: [(0.3, 0.0, 0.5), (0.4, 0.2, 0.5), (0.6, 0.2, 0.5), (0.7, 0.0, 0.5)],
    1: [(0.3, 0.0, 0.5), (0.4, -0.2, 0.5), (0.6, -0.2, 0.5), (0.7, 0.0, 0.5)],
}


def arm_contract(ways=None, tolerance: float = 0.1, radius: float = 0.03) -> Contract:
    """An arm of two joints that sees its end effector only, as those of the paper do."""
    ways = ways or ARM_WAYS
    return Contract(
        version=VERSION,
        task="arm",
        robot="arm",
        rate_hz=25.0,
        max_steps=100,
        observation=(
            *(ObservationField(a, f"end_effector.position.{a}", "m") for a in "xyz"),
            *(ObservationField(f"v{a}", f"end_effector.linear_velocity.{a}", "m/s") for a in "xyz"),
        ),
        action_kind="joint_position_delta",
        action=tuple(ActionField(joint, "rad", -STEP, STEP, joint) for joint in ARM_JOINTS),
        path=("x", "y", "z"),
        path_tolerance=tolerance,
        robot_radius=radius,
        noise_dim=1,
        denoising_steps=1,
        modes=tuple(_mode(i, path) for i, path in ways.items()),
        training=Training("0" * 40, 0, 0, {}),
        joint_limits=(JointLimits("shoulder", -2.0, 2.0), JointLimits("elbow", -1.0, 1.0)),
    )


def _mode(number: int, path) -> Mode:
    points = dense(path, 0.05)
    return Mode(number, (), 1.0, 1.0, 1.0, 50.0, tuple(map(tuple, points.tolist())), ())


def write_pattern(
    path: Path, contract: Contract, rows: dict[int, np.ndarray], gains: np.ndarray | None = None
) -> Path:
    """A policy whose action is one of ``rows``, by mode, each ``[A]`` in the contract's units, plus observation
    times ``gains [O, A]``, within the contract's limits. Returns ``path``."""
    table = np.zeros((max(rows) + 2, len(contract.action)), np.float32)  # by mode + 1; unconditional is the first
    for mode, row in rows.items():
        table[mode + 1] = row
    gains = np.zeros((len(contract.observation), len(contract.action))) if gains is None else gains
    constants = {
        "table": table,
        "gains": gains.astype(np.float32),
        "silence": np.zeros((contract.noise_dim, len(contract.action)), np.float32),
        "one": np.array(1, np.int64),
        "low": np.array([f.low for f in contract.action], np.float32),
        "high": np.array([f.high for f in contract.action], np.float32),
    }
    steps = [
        ("Add", ["mode", "one"], "row", {}),
        ("Gather", ["table", "row"], "pattern", {}),
        ("Gemm", ["observation", "gains", "pattern"], "seen", {}),
        ("Gemm", ["noise", "silence", "seen"], "wanted", {}),
        ("Max", ["wanted", "low"], "bounded", {}),
        ("Min", ["bounded", "high"], "action", {}),
    ]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [output], **more) for op, inputs, output, more in steps],
        "pattern",
        *interface(len(contract.observation), contract.noise_dim, len(contract.action)),
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return write_model(path, graph, contract.to_json())
