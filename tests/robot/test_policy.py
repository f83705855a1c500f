"""Policy files: the good one acts by its modes, and every bad one is refused for what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ddiffpg.contract import ActionField, ContractError, ObservationField
from ddiffpg.policy import Policy, PolicyError
from tests.robot.scripted_policy import MAZE_V1, contract_of, interface, steering_graph, write_model, write_policy

SHIPPED = Path(__file__).resolve().parents[2] / "policies" / "pointmaze-v1.onnx"
CONTRACT = contract_of(MAZE_V1)
AT_START = np.zeros(4, np.float32)
NO_NOISE = np.zeros(2, np.float32)


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Policy:
    return Policy.load(write_policy(tmp_path_factory.mktemp("policy") / "v1.onnx", MAZE_V1))


def load(path, contract_json: str | None, graph=None) -> Policy:
    return Policy.load(write_model(path / "p.onnx", graph or steering_graph(MAZE_V1, CONTRACT, 0.8), contract_json))


# ---- the good one ------------------------------------------------------------------------------


def test_it_carries_its_contract(policy):
    assert policy.contract == CONTRACT
    assert policy.providers == ("CPUExecutionProvider",)


def test_modes_lead_different_ways_in_physical_units(policy):
    up, down = (policy.act(AT_START, mode, NO_NOISE) for mode in (0, 1))
    np.testing.assert_allclose(up, [0.0, -0.8], atol=1e-6)
    np.testing.assert_allclose(down, [0.0, 0.8], atol=1e-6)
    assert np.isfinite(policy.act(AT_START)).all()  # unconditional, without noise


def test_a_batch_is_its_rows_and_noise_counts(policy):
    rng = np.random.default_rng(0)
    observation = rng.uniform(-1, 1, (5, 4)).astype(np.float32)
    mode, noise = np.array([0, 1, -1, 1, 0]), rng.standard_normal((5, 2)).astype(np.float32)
    batch = policy.act_batch(observation, mode, noise)
    rows = [policy.act(o, int(m), n) for o, m, n in zip(observation, mode, noise)]
    np.testing.assert_allclose(batch, rows, atol=1e-6)
    assert not np.allclose(batch[0], policy.act(observation[0], 0, NO_NOISE))


def test_mode_ids_are_no_positions(tmp_path):
    ways = {7: MAZE_V1[0], 3: MAZE_V1[1]}
    policy = Policy.load(write_policy(tmp_path / "p.onnx", ways))
    assert policy.act(AT_START, 7)[1] < 0 < policy.act(AT_START, 3)[1]


def test_warm_up_needs_nothing(policy):
    policy.warm_up()


# ---- what it is asked --------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["observation", "noise"])
def test_what_is_not_finite_never_becomes_a_number(policy, what, bad):
    observation, noise = np.zeros((2, 4), np.float32), np.zeros((2, 2), np.float32)
    (observation if what == "observation" else noise)[1, 0] = bad
    action = policy.act_batch(observation, np.array([0, 0]), noise)
    assert np.isfinite(action[0]).all() and np.isnan(action[1]).all()


@pytest.mark.parametrize("unknown", [2, -2, 99])
def test_an_unknown_mode_is_refused_with_the_known_ones(policy, unknown):
    with pytest.raises(KeyError, match=rf"mode {unknown} .*\[0, 1\]"):
        policy.act(AT_START, unknown)


def test_wrong_dimensions_are_refused_by_name(policy):
    for observation, mode, noise, name in [
        (np.zeros((1, 3)), np.zeros(1, int), np.zeros((1, 2)), "observation"),
        (np.zeros((2, 4)), np.zeros(1, int), np.zeros((2, 2)), "mode"),
        (np.zeros((1, 4)), np.zeros(1, int), np.zeros((1, 3)), "noise"),
        (np.zeros((1, 4)), np.zeros(1, int), np.zeros((2, 2)), "noise"),
    ]:
        with pytest.raises(ValueError, match=f"{name} has shape"):
            policy.act_batch(observation, mode, noise)


# ---- bad files ---------------------------------------------------------------------------------


def test_no_file_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        Policy.load(tmp_path / "gone.onnx")


@pytest.mark.parametrize("share", np.linspace(0.02, 0.98, 25))
def test_a_file_with_a_checksum_in_which_any_bit_is_wrong_is_refused(tmp_path, share):
    content = bytearray(SHIPPED.read_bytes())
    assert Policy.load(SHIPPED).checked
    content[int(share * len(content))] ^= 1 << int(1000 * share) % 8
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(content)
    with pytest.raises((PolicyError, ContractError), match="damaged"):
        Policy.load(damaged)


def test_a_file_without_a_checksum_says_so(policy):
    assert not policy.checked


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    whole = write_policy(tmp_path / "whole.onnx", MAZE_V1).read_bytes()
    part = tmp_path / "part.onnx"
    part.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises((PolicyError, ContractError)):
        Policy.load(part)


def test_what_is_no_onnx_at_all_is_refused(tmp_path):
    path = tmp_path / "p.onnx"
    path.write_text("modes: [left, right]")
    with pytest.raises(PolicyError, match=r"p\.onnx cannot be read"):
        Policy.load(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = write_policy(tmp_path / "p.onnx", MAZE_V1)
    path.chmod(0)
    with pytest.raises(PolicyError):
        Policy.load(path)


def test_a_foreign_onnx_file_is_no_policy(tmp_path):
    with pytest.raises(PolicyError, match=r"no metadata 'ddiffpg\.contract'"):
        load(tmp_path, None)


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_another_contract_version_is_refused(tmp_path, version):
    raw = json.loads(CONTRACT.to_json())
    raw["version"] = version
    with pytest.raises(ContractError) as caught:
        load(tmp_path, json.dumps(raw))
    assert caught.value.field == "version" and "expected a whole number from 1 to 2" in str(caught.value)


X, VX = ObservationField("z", "odom.position.z", "m"), ActionField("wz", "rad/s", -1.0, 1.0)


@pytest.mark.parametrize(
    "field, contract",
    [
        ("observation", dataclasses.replace(CONTRACT, observation=(*CONTRACT.observation, X))),
        ("noise_dim", dataclasses.replace(CONTRACT, noise_dim=3)),
        ("action", dataclasses.replace(CONTRACT, action=(*CONTRACT.action, VX))),
    ],
)
def test_a_contract_that_does_not_fit_its_graph_names_the_field(tmp_path, field, contract):
    with pytest.raises(ContractError) as caught:
        load(tmp_path, contract.to_json())
    assert caught.value.field == field and "graph" in str(caught.value)


def identity_graph(inputs, outputs):
    """A graph that passes its first input on as its output."""
    node = helper.make_node("Identity", [inputs[0].name], [outputs[0].name])
    return helper.make_graph([node], "foreign", inputs, outputs)


def info(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def foreign_interfaces():
    (observation, mode, noise), (action,) = interface(4, 2, 4)
    floats = TensorProto.FLOAT
    yield "graph inputs", [observation, mode], [action]
    yield "graph inputs", [observation, mode, noise, info("extra", floats, [1])], [action]
    yield "graph outputs", [observation, mode, noise], [info("velocity", floats, ["B", 4])]
    yield (
        "graph input 'observation'",
        [info("observation", floats, [1, 4]), mode, noise],
        [info("action", floats, [1, 4])],
    )
    yield "graph input 'mode'", [observation, info("mode", TensorProto.INT32, ["B"]), noise], [action]
    yield "graph input 'mode'", [observation, info("mode", TensorProto.INT64, ["B", 1]), noise], [action]
    yield "graph input 'noise'", [observation, mode, info("noise", TensorProto.DOUBLE, ["B", 2])], [action]


@pytest.mark.parametrize("field, inputs, outputs", list(foreign_interfaces()))
def test_a_graph_with_another_interface_names_what_differs(tmp_path, field, inputs, outputs):
    with pytest.raises(ContractError) as caught:
        load(tmp_path, CONTRACT.to_json(), identity_graph(inputs, outputs))
    assert caught.value.field == field


def test_a_provider_that_is_not_there_is_an_error_and_never_replaced(tmp_path):
    path = write_policy(tmp_path / "p.onnx", MAZE_V1)
    missing = next(p for p in onnxruntime.get_all_providers() if p not in onnxruntime.get_available_providers())
    with pytest.raises(PolicyError, match=f"'{missing}' is not available; there are .*CPUExecutionProvider"):
        Policy.load(path, providers=(missing, "CPUExecutionProvider"))
