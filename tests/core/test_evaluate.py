"""Evaluation speaks of modes: held against policies whose every figure is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ddiffpg_core.evaluate import KnownMode, ModeResult, Plan, Report, evaluate, run_episodes
from ddiffpg_core.paths import resample
from ddiffpg_core.spec import Step
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from tests.core.support import plane, steering

TASK = tasks.make("pointmaze-v1")
WAYS = {3: resample(np.array(TASK.ways[0].points), 20), 8: resample(np.array(TASK.ways[1].points), 20)}
MODES = [KnownMode(i, w) for i, w in WAYS.items()]
N = 10


@pytest.fixture(scope="module")
def env():
    return BatchedEnv(TASK, 16)


def by_id(report: Report) -> dict[int, ModeResult]:
    return {m.id: m for m in report.modes}


def test_a_policy_that_does_as_it_is_asked(env):
    report = evaluate(env, steering(WAYS), MODES, N, seed=0)
    for mode, other in ((3, 8), (8, 3)):
        result = by_id(report)[mode]
        assert (result.success, result.adherence, result.returns) == (1, 1, 1)
        assert result.returns_from == {other: 1.0}
        assert 30 < result.mean_steps < 60  # about 4 m at 1 m/s and 10 steps a second
        assert result.learned
        assert result.worst == 1
    assert report.modes_learned == 2
    assert report.unconditioned_success == 1
    assert report.mode_share == {3: 0.5, 8: 0.5}


def test_a_policy_that_does_not_listen(env):
    # the authors' evaluation never asks for a mode, and would find nothing wrong here
    deaf = steering({3: WAYS[3]})
    report = evaluate(env, lambda obs, mode: deaf(obs, np.full(len(obs), 3)), MODES, N, seed=0)
    assert (by_id(report)[3].success, by_id(report)[3].adherence) == (1, 1)
    assert (by_id(report)[8].success, by_id(report)[8].adherence, by_id(report)[8].returns) == (1, 0, 0)
    assert report.modes_learned == 1
    assert report.unconditioned_success == 1
    assert report.mode_share == {3: 1.0, 8: 0.0}


def test_a_policy_that_cannot_come_back(env):
    # reaches the goal all the same, by the way that it is on
    report = evaluate(env, steering(WAYS, comes_back=False), MODES, N, seed=0)
    for result in report.modes:
        assert (result.success, result.adherence, result.returns) == (1, 1, 0)
    assert report.modes_learned == 2


def test_a_policy_that_stands_still(env):
    report = evaluate(env, lambda obs, mode: np.zeros((len(obs), 2)), MODES, N, seed=0)
    for result in report.modes:
        assert (result.success, result.adherence, result.returns, result.mean_steps) == (0, 0, None, None)
    assert report.modes_learned == 0
    assert report.unconditioned_success == 0
    assert report.mode_share == {3: 0.0, 8: 0.0}


def test_one_mode_has_nothing_to_come_back_from(env):
    report = evaluate(env, steering({3: WAYS[3]}), MODES[:1], N, seed=0)
    assert by_id(report)[3].returns is None
    assert by_id(report)[3].worst == 1


def test_another_way_than_the_modes_is_no_adherence(env):
    # nearest to the only mode that is known, and still not its way
    report = evaluate(env, lambda obs, mode: steering(WAYS)(obs, np.full(len(obs), 8)), MODES[:1], N, seed=0)
    assert by_id(report)[3].success == 1
    assert by_id(report)[3].adherence == 0
    assert report.mode_share == {3: 0.0}


def test_without_modes_there_is_the_unconditioned_policy(env):
    report = evaluate(env, steering(WAYS), [], N, seed=0)
    assert report.modes == ()
    assert report.unconditioned_success == 1
    assert report.mode_share == {}


def test_the_form_of_the_json(env):
    report = evaluate(env, steering(WAYS), MODES, N, seed=4)
    plain = json.loads(json.dumps(report.to_dict()))
    assert set(plain) == {"task", "episodes", "seed", "modes_learned", "modes", "unconditioned"}
    assert (plain["task"], plain["episodes"], plain["seed"], plain["modes_learned"]) == ("pointmaze-v1", N, 4, 2)
    assert set(plain["modes"][0]) == {"id", "success", "adherence", "return", "mean_steps", "return_from"}
    assert plain["modes"][0]["return_from"] == {"8": 1.0}
    assert plain["unconditioned"] == {"success": 1.0, "mode_share": {"3": 0.5, "8": 0.5},
                                      "ways": None, "way_share": None, "mean_action_success": None}


def test_the_same_seed_gives_the_same_report(env):
    assert evaluate(env, steering(WAYS), MODES, N, seed=1) == evaluate(env, steering(WAYS), MODES, N, seed=1)


@pytest.mark.parametrize(
    ("success", "adherence", "learned"), [(0.8, 0.8, True), (0.79, 1, False), (1, 0.79, False), (1, 1, True)]
)
def test_when_a_mode_counts_as_learned(success, adherence, learned):
    assert ModeResult(0, success, adherence, None, 30.0, {}).learned == learned


# ---- episodes -------------------------------------------------------------------------------------


def plan(first: list[int], then: list[int] | None = None, switch_at: int = 0) -> Plan:
    return Plan(np.array(first), np.array(then or first), np.full(len(first), switch_at))


def test_each_episode_ends_once(env):
    # more than there are environments, not a multiple of them, long and short ones together
    asked = [3, 8, -1] * 7
    episodes = run_episodes(env, steering(WAYS), plan(asked), seed=2)
    assert len(episodes.paths) == 21
    assert episodes.success.all()
    for path, steps in zip(episodes.paths, episodes.steps):
        assert len(path) == steps + 1
        assert np.isfinite(path).all()
        assert np.linalg.norm(path[0]) < 0.15  # begins at the start
        assert np.linalg.norm(path[-1] - TASK.goals[0]) < TASK.goal_radius + 0.01  # and ends at the goal
        assert (np.linalg.norm(path[:-1] - TASK.goals[0], axis=1) > TASK.goal_radius - 0.01).all()
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 0.2  # without a jump


class Cliff:
    """Two steps to the right is the goal, two to the left is a fall: an end without success, before the time is up."""

    num_envs = 3
    spec = replace(plane(max_steps=8), name="cliff")

    def reset(self, seed: int) -> np.ndarray:
        self.x = np.zeros(3)
        return self._observe()

    def step(self, action: np.ndarray) -> Step:
        self.x += np.sign(action[:, 0])
        final_obs, success, fell = self._observe(), self.x >= 2, self.x <= -2
        self.x[success | fell] = 0.0
        return Step(self._observe(), success.astype(np.float32), success | fell, np.zeros(3, bool), success, final_obs)

    def _observe(self) -> np.ndarray:
        return np.stack([self.x, np.zeros(3)], 1).astype(np.float32)


def test_what_comes_after_the_end_does_not_count():
    # Mode 1 falls with the second step; the goal that mode 2 reaches two steps later is another episode's, and it
    # is still looked at because mode 3 stands there until the time is up.
    def act(obs, mode):
        return np.select([mode == 1, mode == 2], [-1.0, 1.0], 0.0)[:, None] * [1.0, 0.0]

    episodes = run_episodes(Cliff(), act, plan([1, 2, 3], [2, 2, 3], switch_at=2), seed=0)
    assert episodes.success.tolist() == [False, True, False]
    assert episodes.steps.tolist() == [2, 2, 8]
    assert [p[:, 0].tolist() for p in episodes.paths] == [[0, -1, -2], [0, 1, 2], [0] * 9]


def test_a_time_limit_is_no_success(env):
    episodes = run_episodes(env, lambda obs, mode: np.zeros((len(obs), 2)), plan([3, 8]), seed=2)
    assert not episodes.success.any()
    assert episodes.steps.tolist() == [150, 150]


def test_the_mode_changes_when_the_plan_says(env):
    asked = []

    def act(obs, mode):
        asked.append(mode.copy())
        return np.zeros((len(obs), 2))

    run_episodes(env, act, plan([3, 3], [8, -1], switch_at=20), seed=2)
    assert (np.array(asked[:20]) == [3, 3]).all()
    assert (np.array(asked[20:]) == [8, -1]).all()


def test_episodes_do_not_depend_on_how_many_run_side_by_side(env):
    few = run_episodes(BatchedEnv(TASK, 4), steering(WAYS), plan([3] * 4), seed=5)
    many = run_episodes(BatchedEnv(TASK, 4), steering(WAYS), plan([3] * 8), seed=5)
    np.testing.assert_array_equal(few.steps, many.steps[:4])
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(many.paths[:4], many.paths[4:]))  # other starts
