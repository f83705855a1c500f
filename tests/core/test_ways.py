"""The ways of a policy that knows no modes: counted by the rule of discovery, and null where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ddiffpg_core.config import Config
from ddiffpg_core.evaluate import Report, evaluate
from ddiffpg_core.paths import resample
from ddiffpg_core.run import curve_points, score
from ddiffpg_core.ways import label_ways, share_ways
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from tests.core.support import plane, steering, ways_along

OVER, UNDER = [[0, 0], [2, 2], [4, 0]], [[0, 0], [2, -2], [4, 0]]
MODES = Config().modes


def paths(*counts: int) -> list[np.ndarray]:
    """So many over and so many under."""
    rng = np.random.default_rng(0)
    return [p for corners, count in zip((OVER, UNDER), counts) for p in ways_along(corners, count, rng)]


def label(given: Sequence[np.ndarray]) -> np.ndarray:
    """Their labels on the plane, where nothing but ways counts."""
    return label_ways(given, np.zeros((len(given), 0)), plane(), MODES)


def shares(given: Sequence[np.ndarray], episodes: int) -> tuple[float, ...]:
    return share_ways(plane(), MODES)(given, np.zeros((len(given), 0)), episodes)


def test_two_ways_are_told_apart_and_ordered_by_size():
    assert label(paths(6, 14)).tolist() == [1] * 6 + [0] * 14


def test_one_way_is_one():
    assert set(label(paths(20))) == {0}


def test_no_path_takes_no_way():
    assert len(label([])) == 0
    assert shares([], 20) == ()


def test_a_detour_is_no_way():
    long = ways_along([[0, 0], [0, 9], [4, 9], [4, 0]], 1, np.random.default_rng(1))
    assert label([*paths(10), long[0]]).tolist() == [0] * 10 + [-1]


def test_one_way_to_two_outcomes_is_two_ways():
    outcomes = np.repeat([[0.0], [4.0 * plane().path_tolerance]], 10, axis=0)
    assert sorted(label_ways(paths(20), outcomes, plane(), MODES)) == [0] * 10 + [1] * 10


def test_shares_are_of_all_episodes():
    assert shares(paths(6, 14), 40) == (0.35, 0.15)


def test_what_hardly_ever_happens_is_no_way():
    assert shares(paths(6, 94), 100) == (0.94, 0.06)
    assert shares(paths(4, 96), 100) == (0.96,)


def test_an_evaluation_counts_them_without_knowing_any_mode():
    task = tasks.make("pointmaze-v1")
    known = {i: resample(np.array(w.points), 20) for i, w in enumerate(task.ways)}
    env = BatchedEnv(task, 20)
    report = evaluate(env, steering(known), [], 20, 0, share_ways(task.spec, MODES))
    assert (report.unconditioned_success, report.way_share) == (1.0, (0.5, 0.5))


UNIMODAL = Report("plane", 20, 0, (), 0.9, {}, (0.5, 0.4), conditioned=False)


def test_what_a_policy_without_modes_does_not_have_is_null():
    plain = UNIMODAL.to_dict()
    assert (plain["modes"], plain["modes_learned"], plain["unconditioned"]["mode_share"]) == (None, None, None)
    assert (plain["unconditioned"]["ways"], plain["unconditioned"]["way_share"]) == (2, [0.5, 0.4])
    assert curve_points(UNIMODAL) == {"eval/unconditioned_success": 0.9, "eval/ways": 2}


def test_of_policies_without_modes_the_one_that_arrives_is_better():
    assert score(replace(UNIMODAL, unconditioned_success=0.95, way_share=(0.95,))) > score(UNIMODAL)
    assert score(UNIMODAL) > score(replace(UNIMODAL, way_share=(0.9,)))
