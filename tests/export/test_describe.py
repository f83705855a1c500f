"""The contract says what task, policy and report say, and only what was learned is exported."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from ddiffpg.contract import Contract
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.config import to_dict
from ddiffpg_core.paths import distance_to_way
from ddiffpg_export.describe import PATH_SPACING, LeftOut, Subject, choose_modes, dense_path, make_contract
from ddiffpg_export.student import DistillConfig, StudentReport
from tests.export.support import DOWN, UP, roof_spec, world

DISTILLATION = StudentReport(2, 10, 20, DistillConfig(steps=2), {})


def figures(mode_id: int, **changes: Any) -> dict[str, Any]:
    known = {"id": mode_id, "success": 0.9, "adherence": 0.95, "return": 0.85, "mean_steps": 12.5}
    return {**known, **changes}


def contract_of(policy: SavedPolicy, *reported: dict[str, Any], objections: tuple[str, ...] = ()) -> Contract:
    """Made, written and read back."""
    subject = Subject(policy, policy.modes, DISTILLATION)
    made = make_contract(subject, world(), {"modes": list(reported)}, objections)
    read = Contract.from_json(made.to_json())
    assert read == made
    return read


def test_contract_is_the_task(policy: SavedPolicy) -> None:
    spec, contract = roof_spec(), contract_of(policy, figures(UP), figures(DOWN))
    for name in ("robot", "rate_hz", "max_steps", "path", "path_tolerance"):
        assert getattr(contract, name) == getattr(spec, name)
    assert contract.task == spec.name
    assert [asdict(f) for f in contract.action] == [asdict(f) for f in spec.action.fields]
    assert contract.action_kind == spec.action.kind
    for mine, theirs in zip(contract.observation, spec.observation):
        assert asdict(mine).items() <= asdict(theirs).items()  # offset and scale are in the graph
    assert contract.robot_radius == 0.05
    assert (contract.noise_dim, contract.denoising_steps) == (policy.actor.noise_dim, 2)


def test_contract_is_the_training(policy: SavedPolicy) -> None:
    training = contract_of(policy, objections=("mode 3 is lost",)).training
    assert (training.commit, training.seed, training.transitions) == ("a" * 40, 5, 1234)
    for section, values in to_dict(policy.config).items():
        assert training.config[section] == values
    assert training.config["distill"]["steps"] == 2
    assert training.config["export"] == {"forced_against": ["mode 3 is lost"]}


def test_contract_has_the_modes_with_their_figures(policy: SavedPolicy) -> None:
    contract = contract_of(policy, figures(DOWN, success=0.81), figures(UP))
    assert contract.mode_ids == (UP, DOWN)  # by id, in whatever order they are reported
    up, down = contract.mode(UP), contract.mode(DOWN)
    assert (up.success, up.adherence, up.returns, up.mean_steps) == (0.9, 0.95, 0.85, 12.5)
    assert down.success == 0.81
    assert (up.lineage, down.lineage) == ((), (1,))


def test_what_has_no_figure(policy: SavedPolicy) -> None:
    contract = contract_of(policy, figures(UP, **{"return": None}, mean_steps=None))
    assert contract.mode(UP).returns == 1.0  # no other mode to come back from
    assert contract.mode(UP).mean_steps == roof_spec().max_steps  # never reached the goal
    assert contract.mode(DOWN).success == 0.0  # not measured


def test_paths_are_dense_enough_to_be_looked_at_point_by_point(policy: SavedPolicy) -> None:
    contract = contract_of(policy, figures(UP), figures(DOWN))
    for mode, way in zip(contract.modes, policy.modes):
        path = np.array(mode.path)
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() <= PATH_SPACING + 1e-9
        np.testing.assert_allclose(path[[0, -1]], way.prototype[[0, -1]], atol=1e-6)
        assert distance_to_way(path, way.prototype.astype(float)).max() < 1e-6


def test_clearance_belongs_to_the_points(policy: SavedPolicy) -> None:
    for mode in contract_of(policy, figures(UP), figures(DOWN)).modes:
        np.testing.assert_allclose(mode.clearance, 0.6 - np.array(mode.path)[:, 1])


def test_clearance_is_never_negative(policy: SavedPolicy) -> None:
    through_the_wall = replace(policy.modes[0], prototype=np.array([[0.0, 0.0], [0.0, 1.0]], np.float32))
    contract = contract_of(replace(policy, modes=(through_the_wall,)), figures(UP))
    assert min(contract.modes[0].clearance) == 0.0


@pytest.mark.parametrize(("length", "points"), [(0.0, 2), (0.05, 2), (0.11, 3), (1.0, 11), (1.01, 12)])
def test_number_of_points(length: float, points: int) -> None:
    assert len(dense_path(np.array([[0.0, 0.0], [length, 0.0]]))) == points


# ---- which modes -------------------------------------------------------------------------------------


def test_only_learned_modes_are_exported(policy: SavedPolicy) -> None:
    report = {"modes": [figures(UP, adherence=0.79), figures(DOWN, success=0.8, adherence=0.8)]}
    modes, left_out = choose_modes(replace(policy, report=report), unlearned=False)
    assert [m.id for m in modes] == [DOWN]
    assert left_out == (LeftOut(UP, "not learned: adherence 0.79 (at least 0.8 is learned)"),)


def test_a_mode_that_was_not_evaluated_is_left_out(policy: SavedPolicy) -> None:
    modes, left_out = choose_modes(replace(policy, report={}), unlearned=False)
    assert modes == ()
    assert [m.id for m in left_out] == [UP, DOWN]
    assert left_out[0].reason == "the run's report does not have it"


def test_all_modes_where_that_is_asked_for(policy: SavedPolicy) -> None:
    modes, left_out = choose_modes(replace(policy, report={}), unlearned=True)
    assert [m.id for m in modes] == [UP, DOWN]
    assert left_out == ()
