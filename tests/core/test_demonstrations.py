"""What was shown is kept for good, makes modes, is learned from where it counts, and may come from another run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.checkpoint import load, save
from ddiffpg_core.config import Config, override
from ddiffpg_core.demonstration import Demonstration
from ddiffpg_core.method import make_agent
from ddiffpg_core.paths import dtw, resample
from ddiffpg_core.replay import MODE
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from tests.core.support import memory, plane, play

TASK = tasks.make("pointmaze-v1")
ENVS = 8
SMALL = override(Config(), [
    f"train.num_envs={ENVS}", "train.warmup_iterations=0", "actor.hidden=[16]", "critic.hidden=[16]",
    "novelty.hidden=[16]", "replay.trajectories=60", "critic.batch_size=96", "critic.min_group_rows=32",
])


def along(path: np.ndarray, counts: slice = slice(None), action: float = 0.5) -> Demonstration:
    """Goes along ``path [L + 1, O]``; the goal at its end pays 1."""
    steps, marks = len(path) - 1, np.zeros(len(path) - 1, bool)
    marks[counts] = True
    return Demonstration(path.astype(np.float32), np.full((steps, 2), action, np.float32), np.eye(steps)[-1], marks)


def drives(way: int, count: int) -> list[Demonstration]:
    """Demonstrations of a way through the maze, each a little beside the others."""
    line = resample(np.array(TASK.ways[way].points, float), 40)
    moved = np.random.default_rng(way).uniform(-0.1, 0.1, (count, 1, 2)) + line
    return [along(np.concatenate([path, np.zeros_like(path)], 1)) for path in moved]


def agent(*settings: str, seed: int = 0) -> DDiffPG:
    return DDiffPG(TASK.spec, override(SMALL, list(settings)), seed)


def begun(learner: DDiffPG) -> BatchedEnv:
    env = BatchedEnv(TASK, ENVS)
    learner.begin(env.reset(0))
    return env


def go_on(learner: DDiffPG, env: BatchedEnv, steps: int) -> None:
    obs = env.state_dict()["physics"][:, 1:5].astype(np.float32)
    for _ in range(steps):
        action = learner.act(obs)
        step = env.step(action)
        learner.observe(action, step)
        obs = step.obs
        learner.update()


# ---- in the memory --------------------------------------------------------------------------------

WAY = np.array([(0, 0), (1, 0), (1, 1), (2, 1)], float)


def test_it_is_kept_as_it_was():
    replay = memory(plane())
    slot = replay.put(along(WAY), np.random.default_rng(0))
    assert slot not in replay.open
    assert replay.live[slot] and replay.success[slot] and replay.terminated[slot]
    np.testing.assert_array_equal(replay.path(slot), WAY)
    assert replay.reward[slot, :3].tolist() == [0, 0, 1]
    assert torch.equal(replay.target[MODE, slot, :3], torch.full((3, 2), 0.5))
    assert not replay.explorer[slot]


def test_it_never_makes_room_for_others():
    replay = memory(plane(), slots=10)
    kept = [replay.put(along(WAY), np.random.default_rng(0)) for _ in range(4)]
    for k in range(40):
        play(replay, [(9, 9), (8, 8)], goal=k % 3 == 0)
    assert all((replay.path(slot) == WAY).all() for slot in kept)
    with pytest.raises(ValueError, match=r"4 demonstrations fill half of the memory: .*replay\.trajectories \(10\)"):
        replay.put(along(WAY), np.random.default_rng(0))


def test_only_the_steps_that_count_are_drawn():
    replay = memory(plane())
    part = replay.put(along(WAY, counts=slice(1, 2)), np.random.default_rng(0))
    whole = replay.put(along(WAY), np.random.default_rng(0))
    rows = replay.rows(np.array([[part, whole] * 40]), np.random.default_rng(0))
    assert set(rows.time[0, ::2].tolist()) == {1}
    assert set(rows.time[0, 1::2].tolist()) == {0, 1, 2}


def test_it_is_saved_and_loaded(tmp_path):
    replay = memory(plane())
    slot = replay.put(along(WAY, counts=slice(1, 3)), np.random.default_rng(0))
    save(tmp_path / "state", replay.state_dict())
    other = memory(plane())
    other.load_state_dict(load(tmp_path / "state"))
    assert other.demos[slot].tolist() == [1, 2]
    old = {key: value for key, value in replay.state_dict().items() if key != "demos"}
    other.load_state_dict(old)  # of a version that had none
    assert other.demos == {}


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="2 actions, 4 observations"):
        Demonstration(WAY, np.zeros((2, 2)), np.zeros(2), np.ones(2, bool))
    with pytest.raises(ValueError, match="no step to learn from"):
        along(WAY, counts=slice(0, 0))


# ---- in the agent ---------------------------------------------------------------------------------


def test_a_way_that_was_shown_is_a_mode_at_once():
    learner = agent()
    learner.demonstrate(drives(0, 5))
    (first,) = learner.modes
    learner.demonstrate(drives(1, 5))
    assert [mode.id for mode in learner.modes] == [first.id, first.id + 1]
    ways = np.stack([resample(np.array(w.points, float), 20) for w in TASK.ways])
    assert dtw(ways, np.stack([mode.prototype for mode in learner.modes])).argmin(1).tolist() == [0, 1]
    assert (learner.replay.mode[learner.replay.live] == np.repeat([0, 1], 5)).all()


def test_too_few_are_kept_and_make_no_mode():
    learner = agent()
    learner.demonstrate(drives(0, SMALL.modes.min_cluster - 1))
    assert learner.modes == () and len(learner.replay.demos) == 3


def test_they_make_a_mode_beside_many_successes_of_another_way():
    learner = agent("modes.new_per_call=4", "modes.library=12")
    learner.demonstrate(drives(0, 12))
    learner.demonstrate(drives(1, 4))
    assert len(learner.modes) == 2


def test_training_goes_on_with_them_and_learns_from_no_step_that_does_not_count():
    learner = agent()
    half = [Demonstration(d.obs, d.action, d.reward, np.arange(len(d.action)) >= 20) for d in drives(0, 5)]
    learner.demonstrate(half)
    go_on(learner, begun(learner), 5)
    slots, rows = sorted(learner.replay.demos), learner.batch.rows
    drawn = torch.isin(rows.slot, torch.tensor(slots))
    assert drawn.any() and rows.time[drawn].min() >= 20
    moved = (learner.replay.target[MODE, slots] != learner.replay.action[slots]).any(-1)
    assert moved[:, 20:].any() and not moved[:, :20].any()


@pytest.mark.parametrize("method", ["sac", "dipo"])
def test_a_baseline_learns_from_them_too(method):
    learner = make_agent(TASK.spec, override(SMALL, [f"train.method={method}"]), 0)
    learner.demonstrate(drives(0, 5))
    env = BatchedEnv(TASK, ENVS)
    learner.begin(env.reset(0))
    learner.update()
    assert torch.isin(learner.batch.slot, torch.tensor(sorted(learner.replay.demos))).any()


# ---- from another run -----------------------------------------------------------------------------


def test_a_run_begins_with_what_another_has_come_to():
    first = agent()
    first.demonstrate(drives(0, 5))
    go_on(first, begun(first), 6)
    second = agent(seed=7)
    fresh = second.rng.bit_generator.state
    second.take_up(first.state_dict())
    assert second.rng.bit_generator.state == fresh
    assert second.transitions == first.transitions and [m.id for m in second.modes] == [m.id for m in first.modes]
    assert all(torch.equal(a, b) for a, b in zip(second.actor.parameters(), first.actor.parameters()))
    np.testing.assert_array_equal(second.replay.live, first.replay.live)
    assert (second.replay.length[second.replay.open] == 0).all()
    assert set(second.replay.open).isdisjoint(second.replay.demos)
    go_on(second, begun(second), 3)  # and its episodes are its own
    assert (second.replay.length[second.replay.open] == 3).all()
    assert len(second.replay.demos) == 5
