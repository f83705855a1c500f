"""What a policy knows is what it was seen to arrive from, and is written into its file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from ddiffpg.known_states import Nearest
from ddiffpg.policy import Policy
from ddiffpg_export.known_states import NeverArrived, Pushed, farthest, known_states, nearest
from ddiffpg_export.onnx_export import ExportConfig, add_known_states, export
from tests.export.support import RoofEnv, roof_spec, world


def test_the_farthest_points_by_hand():
    line = np.array([[0.0], [1.0], [2.0], [10.0], [4.5]])
    assert farthest(line, 4, 0).ravel().tolist() == [0.0, 10.0, 4.5, 2.0]
    assert nearest(np.array([[3.0], [9.0]]), np.array([[0.0], [10.0]])).tolist() == [3.0, 1.0]


def test_pushes_are_some_random_actions_and_the_rest_is_the_policys():
    env = RoofEnv(50)
    pushed = Pushed(env, lambda obs, mode: np.zeros((len(obs), 2), np.float32), np.random.default_rng(0))
    actions = np.stack([pushed(env.reset(0), np.full(50, -1)) for _ in range(200)])
    away = actions.any(axis=2)
    assert 0.03 < away.mean() < 0.15 and len(pushed.seen) == 200
    low, high = roof_spec().action.low, roof_spec().action.high
    assert (actions >= low).all() and (actions <= high).all() and actions[..., 1].max() > 1.5


@pytest.fixture(scope="module")
def exported(distilled: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("known") / "roof.onnx"
    export(distilled, out, world(), ExportConfig(episodes=50))
    return out


def test_an_exported_file_knows_the_roof_and_not_what_is_far_from_it(exported):
    known = Policy.load(exported).contract.known_states
    assert known is not None
    far = Nearest(known)
    assert max(far(np.array(place)) for place in ((0.0, 0.0), (0.5, 0.45), (0.5, -0.45), (0.9, 0.1))) < 1.0
    assert min(far(np.array(place)) for place in ((0.5, 2.0), (-1.5, 0.0), (0.5, -2.0), (0.0, 2.0))) > 2.0


def test_an_exported_file_has_a_checksum_and_its_report_says_how_it_was_driven(exported):
    assert Policy.load(exported).checked
    said = json.loads(exported.with_suffix(".json").read_text())
    assert said["known_states"]["episodes"] >= 125 and said["known_states"]["arrived"] > 0.5


def test_they_can_be_added_to_a_file_alone(exported, tmp_path):
    contract, visit = add_known_states(exported, tmp_path / "more.onnx", RoofEnv(100), 300, seed=1)
    again = Policy.load(tmp_path / "more.onnx")
    assert again.checked and again.contract == contract
    first = Policy.load(exported).contract
    assert contract.known_states != first.known_states and contract.modes == first.modes
    said = json.loads((tmp_path / "more.json").read_text())
    assert said["sha256"] == hashlib.sha256((tmp_path / "more.onnx").read_bytes()).hexdigest()
    assert said["student"] and said["known_states"] == visit.to_dict() and visit.episodes == 300
    obs = np.zeros((1, 2), np.float32)
    assert np.array_equal(again.act(obs[0]), Policy.load(exported).act(obs[0]))


def test_the_same_seed_gives_the_same_file(exported, tmp_path):
    for name in ("a", "b"):
        add_known_states(exported, tmp_path / f"{name}.onnx", RoofEnv(50), 100, seed=3)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_policy_that_never_arrives_knows_nothing(exported):
    def stand(obs, mode):
        return np.zeros((len(obs), 2), np.float32)

    env = RoofEnv(4)
    stuck = Policy.load(exported).contract
    with pytest.raises(NeverArrived, match="no goal was reached"):
        known_states(env, stand, stuck, 4, 0)
