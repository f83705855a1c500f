"""The contract survives JSON exactly, and whatever is wrong in it is named."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from ddiffpg.contract import Contract, ContractError
from ddiffpg.policy import Policy
from tests.robot.joint_policies import arm_contract
from tests.robot.scripted_policy import MAZE_V1, contract_of

GOOD = json.loads(contract_of(MAZE_V1).to_json())
OPTIONAL = {"joint", "clearance", "joint_limits", "outcome"}


def places(raw: Any, where: str = "", keys: tuple = ()):
    """Every place in the JSON: its name as an error gives it, and the keys that lead there."""
    yield where, keys
    if where == "training.config":
        return
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield from places(value, f"{where}.{key}" if where else key, (*keys, key))
    elif isinstance(raw, list) and raw:
        yield from places(raw[-1], f"{where}[{len(raw) - 1}]", (*keys, len(raw) - 1))


PLACES = [(where, keys) for where, keys in places(GOOD) if keys]


def changed(keys: tuple, value: Any) -> str:
    raw = copy.deepcopy(GOOD)
    inner = raw
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return json.dumps(raw)


def fault(text: str) -> ContractError:
    with pytest.raises(ContractError) as caught:
        Contract.from_json(text)
    return caught.value


def test_json_gives_back_the_same_contract_at_full_precision():
    contract = dataclasses.replace(contract_of(MAZE_V1), robot_radius=1 / 3, path_tolerance=math.pi)
    assert Contract.from_json(contract.to_json()) == contract


def test_what_varied_in_training_is_there_if_anything_did():
    plain = contract_of(MAZE_V1)
    assert "randomisation" not in json.loads(plain.to_json())
    ranges = {"seed": 3, "dynamics": {"mass": {"uniform": [0.7, 1.3], "unit": "factor"}}}
    varied = dataclasses.replace(plain, randomisation=ranges)
    assert Contract.from_json(varied.to_json()) == varied
    assert fault(json.dumps({**GOOD, "randomisation": 0.3})).field == "randomisation"


@pytest.mark.parametrize("where, keys", PLACES)
def test_a_value_of_the_wrong_type_is_named(where, keys):
    """An object with a key that nobody knows fits nowhere, except where any object does."""
    if where == "training.config":
        assert fault(changed(keys, [])).field == where
    else:
        error = fault(changed(keys, {"nobody": 1}))
        assert error.field in (where, f"{where}.nobody")
        assert where in str(error)


@pytest.mark.parametrize("where, keys", [p for p in PLACES if isinstance(p[1][-1], str)])
def test_what_is_not_there_is_named(where, keys):
    raw = copy.deepcopy(GOOD)
    inner = raw
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    if keys[-1] in OPTIONAL:
        Contract.from_json(json.dumps(raw))
    else:
        assert fault(json.dumps(raw)).field == where


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400, "true", '"1.0"', "null"])
def test_a_number_must_be_finite_and_a_number(number):
    text = contract_of(MAZE_V1).to_json().replace('"robot_radius": 0.1', f'"robot_radius": {number}')
    assert fault(text).field == "robot_radius"


@pytest.mark.parametrize("number", [1.0, True, "1"])
def test_a_whole_number_must_be_one(number):
    assert fault(changed(("max_steps",), number)).field == "max_steps"


BAD_VALUES = [
    (("version",), 3, "version"),
    (("version",), True, "version"),
    (("version",), None, "version"),
    (("rate_hz",), 0.0, "rate_hz"),
    (("max_steps",), 0, "max_steps"),
    (("robot_radius",), -0.1, "robot_radius"),
    (("path_tolerance",), 0.0, "path_tolerance"),
    (("denoising_steps",), 0, "denoising_steps"),
    (("noise_dim",), -1, "noise_dim"),
    (("observation",), [], "observation"),
    (("observation", 1, "name"), "x", "observation"),
    (("observation", 1, "source"), "odom.position.w", "observation[1].source"),
    (("observation", 1, "source"), "joint.position", "observation[1].joint"),
    (("observation", 1, "joint"), "elbow", "observation[1].joint"),
    (("action_kind",), "telepathy", "action_kind"),
    (("action_kind",), "joint_effort", "action[0].joint"),
    (("action",), [], "action"),
    (("action", 1, "name"), "vx", "action"),
    (("action", 0, "low"), 1.0, "action[0].low"),
    (("action", 0, "joint"), "elbow", "action[0].joint"),
    (("path",), [], "path"),
    (("path",), ["x", "x"], "path"),
    (("path",), ["x", "height"], "path"),
    (("modes",), [], "modes"),
    (("modes", 1, "id"), 0, "modes"),
    (("modes", 1, "id"), -1, "modes"),
    (("modes", 1, "success"), 1.01, "modes[1].success"),
    (("modes", 1, "adherence"), -0.01, "modes[1].adherence"),
    (("modes", 1, "returns"), 2, "modes[1].returns"),
    (("modes", 1, "mean_steps"), -1.0, "modes[1].mean_steps"),
    (("modes", 1, "path"), [[0.0, 0.0]], "modes[1].path"),
    (("modes", 1, "path"), [[0.0, 0.0], [1.0]], "modes[1].path"),
    (("modes", 1, "clearance"), [0.5], "modes[1].clearance"),
    (("modes", 1, "clearance", 0), -0.5, "modes[1].clearance"),
]


@pytest.mark.parametrize("keys, value, field", BAD_VALUES)
def test_a_value_that_makes_no_sense_is_named(keys, value, field):
    error = fault(changed(keys, value))
    assert error.field == field
    assert repr(field)[1:-1] in str(error) and "expected" in str(error)


# ---- what came with version 2 --------------------------------------------------------------------

ARM = json.loads(arm_contract().to_json())
LIMITS = ARM["joint_limits"]
SHIPPED = sorted((Path(__file__).resolve().parents[2] / "policies").glob("*.onnx"))
BAD_ARMS = [
    ({"version": 1}, "observation[0].source"),
    ({"version": 1, "observation": GOOD["observation"], "path": ["x", "y"]}, "action_kind"),
    ({"joint_limits": LIMITS[:1]}, "joint_limits"),
    ({"joint_limits": []}, "joint_limits"),
    ({"joint_limits": [LIMITS[0], LIMITS[0]]}, "joint_limits"),
    ({"joint_limits": [*LIMITS, {"joint": "finger", "low": 0.0, "high": 1.0}]}, "joint_limits"),
    ({"joint_limits": [LIMITS[0], {**LIMITS[1], "low": 2.0}]}, "joint_limits[1].low"),
    ({"joint_limits": [LIMITS[0], {**LIMITS[1], "speed": 2.0}]}, "joint_limits[1].speed"),
    ({"action_kind": "joint_effort"}, "joint_limits"),
    ({"action": [ARM["action"][0], {**ARM["action"][1], "joint": "shoulder"}]}, "action"),
]


def test_an_arm_survives_json():
    assert Contract.from_json(json.dumps(ARM)) == arm_contract()


@pytest.mark.parametrize("changes, field", BAD_ARMS)
def test_an_arm_that_makes_no_sense_is_named(changes, field):
    assert fault(json.dumps({**ARM, **changes})).field == field


def test_a_file_of_version_1_is_read_and_knows_no_joint_limits():
    old = {key: value for key, value in GOOD.items() if key != "joint_limits"} | {"version": 1}
    assert Contract.from_json(json.dumps(old)).joint_limits == ()
    assert fault(json.dumps({**old, "joint_limits": LIMITS})).field == "joint_limits"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_policies_that_ship_are_read_whatever_their_version(file):
    assert Policy.load(file).contract.version in (1, 2)


def test_an_unknown_field_is_named_with_the_known_ones():
    error = fault(changed(("colour",), "red"))
    assert error.field == "colour" and "robot_radius" in str(error)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "null", "[" * 100_000, contract_of(MAZE_V1).to_json()[:-5]], ids=range(7)
)
def test_what_is_no_json_object_is_refused(text):
    assert fault(text).field == "(whole)"


def test_nothing_that_is_not_finite_is_written():
    with pytest.raises(ValueError, match="JSON compliant"):
        dataclasses.replace(contract_of(MAZE_V1), robot_radius=math.nan).to_json()


def test_a_mode_is_found_by_its_id_only():
    contract = contract_of({7: MAZE_V1[0], 3: MAZE_V1[1]})
    assert contract.mode_ids == (7, 3)
    assert contract.mode(3).path[1][1] > 0
    with pytest.raises(KeyError, match=r"mode 0 .*\[7, 3\]"):
        contract.mode(0)
