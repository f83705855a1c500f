"""Memory of whole trajectories: what is kept, in which slot, and what has to go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ddiffpg_core.checkpoint import load, save
from ddiffpg_core.replay import EXPLORE, FIND, MODE, Replay
from tests.core.support import NEXT_START, memory, one_step, plane, play

WAY = [(0, 0), (1, 0), (1, 1)]


def test_a_trajectory_is_kept_as_it_happened():
    replay = memory(plane())
    slot = play(replay, WAY, goal=True)
    assert replay.length[slot] == 2
    assert replay.success[slot]
    assert replay.terminated[slot]
    np.testing.assert_array_equal(replay.path(slot), WAY)
    torch.testing.assert_close(replay.obs[slot, :3], torch.tensor(WAY, dtype=torch.float32))
    torch.testing.assert_close(replay.action[slot, :2], torch.tensor([[0.1, -0.1], [0.2, -0.2]]))
    assert replay.reward[slot, :2].tolist() == [0, 1]
    for kind in (EXPLORE, FIND, MODE):  # improvement starts from what was done
        assert torch.equal(replay.target[kind, slot], replay.action[slot])


def test_at_a_time_limit_the_last_state_is_kept_and_not_the_next_start():
    replay = memory(plane())
    slot = play(replay, WAY, goal=False)
    assert not replay.terminated[slot]
    assert replay.obs[slot, 2].tolist() == [1, 1]
    assert replay.obs[replay.open[0], 0].tolist() == list(NEXT_START)


def test_steps_that_enter_a_cell_for_the_first_time_are_marked():
    replay = Replay(plane(8), 8, 1, 5, torch.device("cpu"), cell=1.0)
    # cells of a metre: stays, enters, comes back, enters the third, leaves it for the second
    path = [(0.2, 0.2), (0.8, 0.2), (1.2, 0.2), (0.3, 0.3), (0.3, 1.5), (1.7, 0.9)]
    slot = play(replay, path, goal=False)
    assert replay.enters[slot, :5].tolist() == [False, True, False, True, False]
    again = play(replay, [NEXT_START, (1.2, 0.2), (1.3, 0.2)], goal=False)  # another trajectory begins anew
    assert replay.enters[again, :2].tolist() == [True, False]


def test_what_moves_in_the_scene_is_a_cell_of_its_own():
    spec = replace(plane(8), path=("x",), outcome=("y",))  # y has a scale of 4: its cells are 0.25 wide
    replay = Replay(spec, 8, 1, 5, torch.device("cpu"), cell=1.0)
    slot = play(replay, [(0.2, 0.1), (0.2, 0.2), (0.2, 0.3), (0.2, 0.1), (1.2, 0.3)], goal=False)
    assert replay.enters[slot, :4].tolist() == [False, True, False, True]
    assert replay.way.shape == (8, 5, 2)


def test_success_and_termination_are_two_things():
    replay = memory(plane())
    replay.start(torch.zeros(1, 2))
    fell = one_step((0, 1), terminated=True, success=False)
    assert replay.append(torch.zeros(1, 2), fell).tolist() == [0]
    slot = replay.close(0, fell)
    assert replay.terminated[slot]
    assert not replay.success[slot]


def test_each_environment_fills_a_slot_of_its_own():
    replay = memory(plane(), slots=8, num_envs=2)
    replay.start(torch.tensor([[0.0, 0.0], [5.0, 0.0]]))
    far, goal = one_step((5, 1)), one_step((0, 1), reward=1.0, terminated=True)
    both = type(goal)(*(np.concatenate([getattr(goal, n), getattr(far, n)]) for n in goal.__dataclass_fields__))
    ended = replay.append(torch.zeros(2, 2), both, np.array([True, False]))
    assert ended.tolist() == [0]
    slot = replay.close(0, both)
    replay.reopen(0, torch.zeros(2), np.random.default_rng(0))
    assert replay.live.tolist() == [i == slot for i in range(8)]
    assert len(set(replay.open)) == 2
    assert replay.path(replay.open[1]).tolist() == [[5, 0], [5, 1]]
    assert (replay.explorer[slot], replay.explored[replay.open].tolist()) == (True, [0, 0])


def test_nothing_is_copied_when_an_episode_ends():
    # the authors' release copies every environment's whole episode at every step
    replay = memory(plane(), slots=4)
    before = {name: getattr(replay, name).data_ptr() for name in ("obs", "action", "reward", "target")}
    first = play(replay, WAY, goal=True)
    kept = replay.obs[first].clone()
    for _ in range(2):
        play(replay, [(9, 9), (8, 8)], goal=False)
    assert {name: getattr(replay, name).data_ptr() for name in before} == before
    assert torch.equal(replay.obs[first], kept)  # and it still lies where it was filled in


# ---- what has to go -------------------------------------------------------------------------------


def test_free_slots_are_used_first():
    replay = memory(plane(), slots=6)
    assert [play(replay, WAY, goal=True) for _ in range(5)] == list(range(5))


def test_failures_go_before_successes():
    replay = memory(plane(), slots=10)
    for k in range(10):
        play(replay, WAY, goal=k % 2 == 0)
    for _ in range(30):
        play(replay, WAY, goal=False)
        assert (replay.live & replay.success).sum() == 5


def test_failures_keep_a_third_of_the_memory():
    # three of nine are no more than a third: now successes make room for successes
    replay = memory(plane(), slots=10)
    for _ in range(9):
        play(replay, WAY, goal=False)
    for _ in range(40):
        play(replay, WAY, goal=True)
    assert (replay.live & ~replay.success).sum() == 3


def test_the_mode_that_holds_the_most_makes_room():
    replay = memory(plane(), slots=10)
    for mode in (0, 0, 0, 0, 1, 1, 2, 2, 2):
        replay.mode[play(replay, WAY, goal=True)] = mode
    for _ in range(20):
        replay.mode[play(replay, WAY, goal=True)] = 0
    live = replay.live & replay.success
    assert [(live & (replay.mode == i)).sum() for i in range(3)] == [4, 2, 3]


def test_successes_of_no_mode_stay_unless_they_are_many():
    replay = memory(plane(), slots=10)
    for mode in (-1, -1, -1, 0, 0):
        replay.mode[play(replay, WAY, goal=True)] = mode
    for _ in range(20):
        replay.mode[play(replay, WAY, goal=True)] = 0
    assert (replay.mode[replay.live & replay.success] == -1).sum() == 3  # what a third of ten rounds down to
    replay.mode[replay.live & replay.success] = -1
    for _ in range(20):
        replay.mode[play(replay, WAY, goal=True)] = 0
    assert (replay.mode[replay.live & replay.success] == -1).sum() == 4  # no more than the mode has


def test_a_slot_used_again_forgets_who_was_there():
    replay = memory(plane(), slots=4)
    for _ in range(12):
        replay.mode[play(replay, WAY, goal=True, explorer=False)] = 3
    slot = replay.open[0]
    assert replay.mode[slot] == -1
    assert replay.length[slot] == 0
    assert not (replay.live[slot] or replay.success[slot] or replay.terminated[slot] or replay.explorer[slot])


def test_too_little_memory_is_refused():
    with pytest.raises(ValueError, match=r"replay\.trajectories is 5: .* twice .* \(3\)"):
        Replay(plane(), 5, 3, 5, torch.device("cpu"))


# ---- drawing --------------------------------------------------------------------------------------


def test_rows_are_steps_that_happened():
    replay = memory(plane(max_steps=10))
    slots = [play(replay, [(k, i) for i in range(k + 2)], goal=True) for k in range(4)]
    rng = np.random.default_rng(0)
    rows = replay.rows(np.repeat([slots], 500, axis=0), rng)
    time, length = rows.time.numpy(), replay.length[rows.slot.numpy()]
    assert ((time >= 0) & (time < length)).all()
    for k, slot in enumerate(slots):  # every step of each, the last too
        assert set(time[rows.slot.numpy() == slot]) == set(range(k + 1))


def test_rows_of_exploration_are_steps_that_explored():
    replay = memory(plane(max_steps=10))
    slot = play(replay, [(0, i) for i in range(9)], goal=True)
    replay.explores[slot], replay.explored[slot] = [True] * 2 + [False] * 3 + [True] + [False] * 4, 3
    rows = replay.rows(np.full((2, 500), slot), np.random.default_rng(0), explores=0)
    assert set(rows.time[0].tolist()) == {0, 1, 5}
    assert set(rows.time[1].tolist()) == set(range(8))
    assert replay.length[slot] == 8


def test_only_slots_with_a_step_are_collected():
    replay = memory(plane())
    assert replay.collected().tolist() == []
    slot = play(replay, WAY, goal=True)
    assert replay.collected().tolist() == [slot]
    replay.append(torch.zeros(1, 2), one_step((1, 1)))
    assert replay.collected().tolist() == [slot, replay.open[0]]


# ---- keeping --------------------------------------------------------------------------------------


def restored(replay: Replay, tmp_path) -> Replay:
    """What a checkpoint file makes of it."""
    save(tmp_path / "replay.pt", replay.state_dict())
    other = memory(plane(), slots=len(replay.live))
    state = load(tmp_path / "replay.pt")
    state.pop("format")
    other.load_state_dict(state)
    return other


def assert_alike(a: Replay, b: Replay) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        if name.startswith("_"):
            continue  # kept at hand, and worked out again from the rest
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other), name
        else:
            np.testing.assert_array_equal(value, other, err_msg=name)


@pytest.mark.parametrize("trajectories", [0, 1, 3, 20])
@pytest.mark.parametrize("steps", [0, 1])
def test_state_holds_everything(trajectories, steps, tmp_path):
    # with 0 steps the newest slot holds nothing yet but where its episode begins
    replay = memory(plane())
    replay.start(torch.tensor([[3.0, 4.0]]))
    for k in range(trajectories):
        slot = play(replay, WAY, goal=k % 3 == 0)
        replay.mode[slot], replay.way[slot], replay.target[MODE, slot] = k, k, 0.5
    for _ in range(steps):
        replay.append(torch.ones(1, 2), one_step((1, 1)))
    assert_alike(replay, restored(replay, tmp_path))


def test_state_takes_no_memory_of_its_own():
    replay = memory(plane())
    play(replay, WAY, goal=True)
    state = replay.state_dict()
    for name in ("obs", "action", "reward"):
        assert np.shares_memory(state[name], getattr(replay, name).numpy())
    assert all(np.shares_memory(kept, kind.numpy()) for kept, kind in zip(state["target"], replay.target))


def test_state_is_as_large_as_what_is_used(tmp_path):
    few, many = (memory(plane(max_steps=100), slots=500) for _ in range(2))
    for _ in range(3):
        play(few, WAY, goal=True)
    for _ in range(300):
        play(many, WAY, goal=True)
    for name, replay in (("few", few), ("many", many)):
        save(tmp_path / name, replay.state_dict())
    assert (tmp_path / "few").stat().st_size < 0.1 * (tmp_path / "many").stat().st_size
