"""Mode-consistent credit by hand, and what batches make of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ddiffpg_core.batch import FIRST_MODE, Batch, Sampler
from ddiffpg_core.config import CriticConfig, GuideConfig, NoveltyConfig, ReplayConfig
from ddiffpg_core.credit import Credit, judge, project
from ddiffpg_core.features import Features
from ddiffpg_core.guide import Guide
from ddiffpg_core.novelty import Novelty
from ddiffpg_core.paths import beside, way
from ddiffpg_core.replay import EXPLORE, FIND, MODE
from ddiffpg_core.symmetry import Symmetries
from tests.core.support import NEXT_START, memory, one_step, plane, play

WAY = np.array([(0, 0), (2, 0), (4, 0)], np.float32)  # 4 m straight on
TOLERANCE = 0.5
STEPS = 8
SHARES = ReplayConfig(own_share=0.5, any_share=0.25)

STRAIGHT = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]
SHORTCUT = [(0, 0), (1, 0), (1, 2), (3, 2), (3, 0), (4, 0)]  # off after state 1, on again with step 3, 2 m ahead
THERE_AND_BACK = [(0, 0), (1, 0), (1, 2), (1, 0), (2, 0), (4, 0)]  # on again where it left
ELSEWHERE = [(0, 0), (2, 0), (2, 2), (2, 4)]  # off after state 1, ends 4 m from the way


# ---- judging --------------------------------------------------------------------------------------


def test_projection_onto_a_corner():
    corner = np.array([(0, 0), (2, 0), (2, 2)], np.float32)
    points = np.array([(1, 0.25), (2.5, 1), (-3, -4), (3, 3)], np.float32)
    gap, along = project(points, corner)
    # beside the first leg; beside the second, 2 + 1 m along; before the beginning, 5 m; past the end
    np.testing.assert_allclose(gap, [0.25, 0.5, 5, np.sqrt(2)], rtol=1e-6)
    np.testing.assert_allclose(along, [1, 3, 0, 4], rtol=1e-6)


def test_projection_with_a_point_twice():
    gap, along = project(np.array([(1.0, 1.0)]), np.array([(0.0, 0.0), (0.0, 0.0), (2.0, 0.0)]))
    assert (gap[0], along[0]) == (1, 1)


@pytest.mark.parametrize(
    ("path", "joins", "arrives", "leaves"),
    [
        (STRAIGHT, [], True, 4),
        (SHORTCUT, [3], True, 1),
        (THERE_AND_BACK, [], True, 5),
        (ELSEWHERE, [], False, 1),
        ([(0, 0), (1, 0), (1, 2), (1.9, 2), (1.9, 0), (4, 0)], [], True, 5),  # 0.9 m ahead: within two tolerances
        ([(0, 0), (1, 0), (1, 2), (2.1, 2), (2.1, 0), (4, 0)], [3], True, 1),  # 1.1 m ahead: beyond
        ([(3, 2), (3, 0), (4, 0)], [0], True, 0),  # never on it before: joins ahead of its beginning
        ([(0, 2), (0, 0), (4, 0)], [], True, 2),  # joins it at its beginning
        ([(0, 3), (4, 3)], [], False, 0),  # never on it at all
        ([(4, 0), (4, 2), (1, 2), (1, 0)], [], True, 3),  # comes in behind where it left
        # two shortcuts: all after the first departure is worth nothing
        ([(0, 0), (0, 2), (2, 2), (2, 0), (2, 2), (4, 2), (4, 0)], [2, 5], True, 0),
    ],
)
def test_judgement_by_hand(path, joins, arrives, leaves):
    paths = np.array([path], np.float32)
    verdict = judge(paths, np.array([len(path) - 1]), WAY, TOLERANCE)
    assert np.flatnonzero(verdict.joins[0]).tolist() == joins
    assert verdict.arrives.tolist() == [arrives]
    assert verdict.leaves.tolist() == [leaves]


def test_what_lies_behind_the_end_does_not_count():
    # the slot held a longer trajectory before, that came in again far ahead
    path = [(0, 0), (1, 0), (1, 2), (3, 2), (3, 0), (4, 0)]
    verdict = judge(np.array([path], np.float32), np.array([2]), WAY, TOLERANCE)
    assert not verdict.joins.any()
    assert (verdict.arrives[0], verdict.leaves[0]) == (False, 1)


def test_many_at_once_are_judged_as_one_by_one():
    rng = np.random.default_rng(0)
    paths = np.cumsum(rng.normal(size=(20, 9, 2)), axis=1).astype(np.float32)
    length = rng.integers(1, 9, 20)
    together = judge(paths, length, WAY, TOLERANCE)
    for i in range(20):
        alone = judge(paths[i : i + 1], length[i : i + 1], WAY, TOLERANCE)
        np.testing.assert_array_equal(alone.joins[0], together.joins[i])
        assert (alone.arrives[0], alone.leaves[0]) == (together.arrives[i], together.leaves[i])


# ---- batches --------------------------------------------------------------------------------------


NOVELTY = NoveltyConfig(hidden=(8,), features=4, gamma=0.5)


class Table:
    """A memory of hand-written trajectories, and batches drawn from it: n = 3, gamma = 0.5."""

    def __init__(self, max_steps: int = STEPS, novelty: NoveltyConfig = NOVELTY) -> None:
        spec = plane(max_steps)
        torch.manual_seed(0)
        self.replay = memory(spec, slots=40)
        self.credit = Credit(40, max_steps, TOLERANCE)
        self.features = Features(spec)
        self.novelty = Novelty(self.features, novelty)
        self.critic = CriticConfig(gamma=0.5, n_step=3, batch_size=64, min_group_rows=400)
        self.guide = Guide(GuideConfig(), 0.5, TOLERANCE, 40)
        alike = Symmetries((), spec.obs_dim, spec.action_dim, torch.device("cpu"))
        parts = (self.replay, self.credit, self.guide, self.features, self.novelty, self.critic, SHARES, alike)
        self.sampler = Sampler(*parts)

    def add(self, path, mode: int, *, goal: bool = True, explorer: bool = True) -> int:
        """A trajectory along ``path`` that is labelled ``mode``."""
        slot = play(self.replay, path, goal=goal, explorer=explorer)
        self.replay.mode[slot] = mode
        self.credit.add(slot, self.replay)
        return slot

    def draw(self, *modes: int, seed: int = 0) -> Batch:
        embedding = np.ones((2 + len(modes), 3), np.float32)
        return self.sampler.draw(np.array(modes, int), embedding, np.random.default_rng(seed))

    def seen(self, batch: Batch, group: int, slot: int) -> dict[int, tuple[float, float, tuple[float, ...]]]:
        """For each time of ``slot`` in a group: reward, discount, and the path point it bootstraps from."""
        out = {}
        for i in np.flatnonzero(batch.rows.slot[group].numpy() == slot):
            where = (batch.x_next[group, i, :2] * 4.0).tolist()  # features begin with position / scale
            reward = round(float(batch.reward[group, i]), 6)
            value = (reward, float(batch.discount[group, i]), tuple(np.round(where, 4)))
            time = int(batch.rows.time[group, i])
            assert out.setdefault(time, value) == value
        return out


def test_returns_of_three_steps_by_hand():
    # reward 1 with the last of four steps, which terminates: from time 1 on it is within three steps
    table = Table()
    slot = table.add(STRAIGHT, 7)
    table.credit.follow({7: WAY}, table.replay)
    batch = table.draw(7)
    expected = {0: (0, 0.125, (3, 0)), 1: (0.25, 0, (4, 0)), 2: (0.5, 0, (4, 0)), 3: (1, 0, (4, 0))}
    assert table.seen(batch, FIND, slot) == expected
    assert table.seen(batch, FIRST_MODE, slot) == expected


def test_a_time_limit_bootstraps_from_where_it_ended():
    # in the authors' release from the next episode's first observation
    table = Table(max_steps=4)
    slot = table.add(STRAIGHT, -1, goal=False)
    seen = table.seen(table.draw(), FIND, slot)
    assert seen == {0: (0, 0.125, (3, 0)), 1: (0, 0.125, (4, 0)), 2: (0, 0.25, (4, 0)), 3: (0, 0.5, (4, 0))}
    assert NEXT_START not in {point for _, _, point in seen.values()}


def test_an_episode_under_way_bootstraps_from_its_newest_state():
    table = Table()
    replay = table.replay
    replay.start(torch.zeros(1, 2))
    for x in (1, 2):
        replay.append(torch.zeros(1, 2), one_step((x, 0)))
    seen = table.seen(table.draw(), FIND, int(replay.open[0]))
    assert seen == {0: (0, 0.25, (2, 0)), 1: (0, 0.5, (2, 0))}


def test_exploration_is_paid_for_novelty_one_step_at_a_time():
    table = Table()
    slot = table.add(STRAIGHT, -1)
    batch = table.draw()
    seen = table.seen(batch, EXPLORE, slot)
    assert {t: (d, p) for t, (_, d, p) in seen.items()} == {t: (0.5, (t + 1, 0)) for t in range(4)}
    here, there = table.novelty(batch.x[EXPLORE]), table.novelty(batch.x_next[EXPLORE])
    config, spread = table.novelty.config, table.novelty.spread
    expected = ((there - 0.5 * here).clamp(min=0) / (spread + 1e-6)).clamp(max=config.clip) * config.scale
    torch.testing.assert_close(batch.reward[EXPLORE], expected.detach())


def test_exploration_over_several_steps_by_hand():
    # discount 0.5; only steps into new cells pay, and nothing beyond the end
    table = Table(novelty=NoveltyConfig(hidden=(8,), features=4, gamma=0.5, n_step=3, cell=1.0))
    slot = table.add(STRAIGHT, -1)
    table.replay.enters[slot, 1] = False
    batch = table.draw()
    x = table.features(table.replay.obs[slot, : len(STRAIGHT)])
    novel = table.novelty(x).detach()
    raw = (novel[1:] - 0.5 * novel[:-1]).clamp(min=0) * table.replay.enters[slot, : len(STRAIGHT) - 1]
    config, spread = table.novelty.config, table.novelty.spread
    paid = (raw / (spread + 1e-6)).clamp(max=config.clip) * config.scale
    paid = [*paid.tolist(), 0.0, 0.0]
    last = len(STRAIGHT) - 1
    seen = table.seen(batch, EXPLORE, slot)
    assert set(seen) == set(range(last))
    for t, (reward, discount, point) in seen.items():
        assert reward == pytest.approx(paid[t] + 0.5 * paid[t + 1] + 0.25 * paid[t + 2], abs=2e-6)
        assert discount == 0.5 ** min(3, last - t)
        assert point == tuple(STRAIGHT[min(t + 3, last)])


def test_the_other_critics_are_paid_for_the_task_alone():
    # in the authors' release for novelty too
    calm, excited = Table(), Table()
    for parameter in excited.novelty.predictor.parameters():
        parameter.data.mul_(100)
    batches = []
    for table in (calm, excited):
        table.add(STRAIGHT, 7)
        table.add(ELSEWHERE, 3)
        table.credit.follow({3: np.array(ELSEWHERE, np.float32), 7: WAY}, table.replay)
        batches.append(table.draw(3, 7))
    a, b = batches
    assert torch.equal(a.reward[FIND:], b.reward[FIND:])
    assert not torch.allclose(a.reward[EXPLORE], b.reward[EXPLORE])
    assert set(a.reward[FIND:].unique().tolist()) == {0.0, 0.25, 0.5, 1.0}


# the rows of mode 7, whose way is WAY, in a trajectory that ends at a goal
@pytest.mark.parametrize(
    ("path", "label", "expected"),
    [
        # its own always count whole, shortcuts and all
        (SHORTCUT, 7, {0: (0, 0.125), 1: (0, 0.125), 2: (0.25, 0), 3: (0.5, 0), 4: (1, 0)}),
        # another mode's: nothing after its departure with step 1; step 0 is followed by it
        (SHORTCUT, 3, {0: (0, 0), 1: (0, 0), 2: (0, 0), 3: (0, 0), 4: (0, 0)}),
        (ELSEWHERE, 3, {0: (0, 0), 1: (0, 0), 2: (0, 0)}),
        # nobody's: ends with the step that joins; after it the goal counts, for it is reached on the way
        (SHORTCUT, -1, {0: (0, 0.125), 1: (0, 0), 2: (0, 0), 3: (0, 0), 4: (1, 0)}),
        # nobody's, to a goal elsewhere: worth nothing
        (ELSEWHERE, -1, {0: (0, 0), 1: (0, 0), 2: (0, 0)}),
        # whoever goes back to where it left and on along the way is paid
        (THERE_AND_BACK, 3, {0: (0, 0.125), 1: (0, 0.125), 2: (0.25, 0), 3: (0.5, 0), 4: (1, 0)}),
        (THERE_AND_BACK, -1, {0: (0, 0.125), 1: (0, 0.125), 2: (0.25, 0), 3: (0.5, 0), 4: (1, 0)}),
    ],
)
def test_what_a_trajectory_is_worth_to_a_mode(path, label, expected):
    table = Table()
    slot = table.add(path, label)
    if label != 7:
        table.add(STRAIGHT, 7)
    table.credit.follow({7: WAY}, table.replay)
    seen = table.seen(table.draw(7), FIRST_MODE, slot)
    assert {t: (r, d) for t, (r, d, _) in seen.items()} == expected


def test_a_failure_off_the_way_goes_on_for_ever():
    # no goal, no shortcut: it is a place to come back from
    table = Table(max_steps=3)
    table.add([(0, 0), (2, 0), (3, 0), (4, 0)], 7)
    slot = table.add(ELSEWHERE, -1, goal=False)
    table.credit.follow({7: WAY}, table.replay)
    seen = table.seen(table.draw(7), FIRST_MODE, slot)
    assert seen == {0: (0, 0.125, (2, 4)), 1: (0, 0.25, (2, 4)), 2: (0, 0.5, (2, 4))}


def test_a_slot_used_again_is_judged_anew():
    table = Table(max_steps=6)
    table.credit.follow({7: WAY}, table.replay)
    table.add([*STRAIGHT, (4, 0.1), (4, 0.2)], 7)
    slots = [table.add(SHORTCUT, 3) for _ in range(60)]
    assert len(set(slots)) < 40  # so some were used more than once
    fresh = Credit(40, 6, TOLERANCE)
    fresh.follow({7: WAY}, table.replay)
    live = np.flatnonzero(table.replay.live)
    np.testing.assert_array_equal(fresh.arrives[7][live], table.credit.arrives[7][live])
    np.testing.assert_array_equal(fresh.leaves[7][live], table.credit.leaves[7][live])
    for s in live:
        n = table.replay.length[s]
        np.testing.assert_array_equal(fresh.joins[7][s, :n], table.credit.joins[7][s, :n])


def test_a_way_that_changes_is_judged_anew_and_one_that_goes_is_forgotten():
    table = Table()
    slot = table.add(ELSEWHERE, -1)
    table.credit.follow({7: WAY, 8: np.array(ELSEWHERE, np.float32)}, table.replay)
    assert (table.credit.arrives[7][slot], table.credit.arrives[8][slot]) == (False, True)
    table.credit.follow({7: np.array(ELSEWHERE, np.float32)}, table.replay)
    assert table.credit.arrives[7][slot]
    assert 8 not in table.credit.arrives


def test_a_goal_with_another_outcome_is_worth_nothing():
    spec = replace(plane(STEPS), path=("x",), outcome=("y",))
    replay, credit = memory(spec, slots=8), Credit(8, STEPS, TOLERANCE)
    slots = [play(replay, [(0, 0), (2, 0), (4, end)], goal=True) for end in (0, 4)]
    for slot, end in zip(slots, (0, 4)):
        taken = way(replay.path(slot), replay.way.shape[1], TOLERANCE)
        replay.way[slot] = beside(taken, spec.outcome_of(np.array([4.0, end], np.float32)))
    credit.follow({7: replay.way[slots[1]].copy()}, replay)
    assert credit.arrives[7][slots].tolist() == [False, True]


# ---- who is in a batch ----------------------------------------------------------------------------


def mixed() -> Table:
    """Two modes, explorers and failures."""
    table = Table()
    for _ in range(3):
        table.add(STRAIGHT, 7, explorer=False)
        table.add(SHORTCUT, 3, explorer=False)
        table.add(ELSEWHERE, 7, goal=False, explorer=False)
        table.add(ELSEWHERE, -1, explorer=True)
    table.credit.follow({3: np.array(SHORTCUT, np.float32), 7: WAY}, table.replay)
    return table


def test_every_group_has_the_same_share():
    table = mixed()
    batch = table.draw(3, 7)
    assert batch.reward.shape == (4, 400)
    assert batch.kind.tolist() == [EXPLORE, FIND, MODE, MODE]
    table.sampler = replace(table.sampler, critic=CriticConfig(batch_size=256, min_group_rows=10))
    assert table.draw(3, 7).reward.shape == (4, 64)
    assert table.draw().reward.shape == (2, 128)


def test_exploration_draws_rare_ways_more_often():
    shares = replace(SHARES, rare_share=0.5)
    table = Table()
    common = [table.add(STRAIGHT, -1) for _ in range(9)]
    rare = table.add(ELSEWHERE, -1)
    for slot in (*common, rare):
        table.replay.way[slot] = way(table.replay.path(slot), table.replay.way.shape[1], TOLERANCE)
    count = {}
    for name, given in (("even", SHARES), ("rare", shares)):
        table.sampler = replace(table.sampler, shares=given)
        count[name] = (table.draw().rows.slot[EXPLORE] == rare).float().mean()
    assert count["even"] < 0.2  # one trajectory in eleven, the one under way included
    assert count["rare"] > 0.25  # half of the rows are shared evenly between the ends of the two ways
    assert len(table.draw().visited) == 2 * 400 - 200  # rows that were drawn for being rare are not visits


def test_quick_successes_are_drawn_more_often_where_that_is_asked_for():
    table = Table()
    slow, quick = table.add(STRAIGHT, 7, explorer=False), table.add(STRAIGHT[2:], 7, explorer=False)
    table.credit.follow({7: WAY}, table.replay)
    for asked, expected in ((False, 0.5), (True, 0.8)):  # two steps more, each worth half: four times as often
        table.sampler = replace(table.sampler, shares=replace(SHARES, prefer_quick=asked))
        drawn = table.draw(7).rows.slot
        for rows in (drawn[FIND, :200], drawn[FIRST_MODE, :200]):
            assert set(rows.tolist()) == {slow, quick}
            assert abs((rows == quick).float().mean() - expected) < 0.1


def test_a_modes_rows_are_its_successes_then_anybodys_then_other_modes():
    table = mixed()
    batch, replay = table.draw(3, 7), table.replay
    for group, mode in ((2, 3), (3, 7)):
        slot = batch.rows.slot[group].numpy()
        own, anybody, others = slot[:200], slot[200:300], slot[300:]
        assert (replay.success[own] & (replay.mode[own] == mode)).all()
        assert (replay.explorer[anybody] | ~replay.success[anybody]).all()
        assert (replay.success[others] & (replay.mode[others] != mode)).all()
        assert batch.own[group].tolist() == [True] * 200 + [False] * 200
    assert batch.own[:FIRST_MODE].all()


def test_exploration_learns_from_explorers_and_the_finder_from_successes():
    table = mixed()
    batch, replay = table.draw(3, 7), table.replay
    assert replay.explorer[batch.rows.slot[EXPLORE].numpy()].all()
    assert replay.success[batch.rows.slot[FIND, :200].numpy()].all()
    assert not replay.success[batch.rows.slot[FIND, 200:].numpy()].all()


def test_a_finder_of_new_ways_sees_goals_that_few_have_reached_as_often_as_others():
    table = Table()
    slots = [table.add(STRAIGHT, -1) for _ in range(9)] + [table.add(ELSEWHERE, -1)]
    for slot in slots:
        table.replay.way[slot] = way(table.replay.path(slot), table.replay.way.shape[1], TOLERANCE)
    for known_at, expected in ((0, 0.1), (100, 0.5)):
        table.sampler = replace(table.sampler, shares=replace(SHARES, known_at=known_at))
        assert abs((table.draw().rows.slot[FIND, :200] == slots[-1]).float().mean() - expected) < 0.1


def test_the_finder_may_be_paid_for_new_ways_alone():
    table = mixed()
    new = table.add(ELSEWHERE, -1)
    for known_at in (0, 3, 4):  # both modes have three successes
        table.sampler = replace(table.sampler, shares=replace(SHARES, known_at=known_at))
        batch, replay = table.draw(3, 7), table.replay
        slot, paid = batch.rows.slot[FIND], batch.reward[FIND] > 0
        known = torch.as_tensor(replay.success & (replay.mode >= 0))[slot]
        assert paid[slot == new].any()
        assert paid[known].any() == (known_at != 3)
        assert known[:200].any() == (known_at != 3)
        assert known[200:].any()  # anything it is, unpaid
    table.sampler = replace(table.sampler, shares=replace(SHARES, known_at=3))
    replay.mode[replay.mode < 0] = 3
    batch = table.draw(3, 7)
    assert not (batch.reward[FIND] > 0).any()
    assert not table.sampler.to_find().any()


def test_each_group_has_stored_targets_of_its_own_kind():
    table = mixed()
    for kind in (EXPLORE, FIND, MODE):
        table.replay.target[kind] = kind / 4
    batch = table.draw(3, 7)
    for group, kind in enumerate(batch.kind.tolist()):
        assert (batch.target[group] == kind / 4).all()
    slot, time = batch.rows.slot, batch.rows.time
    torch.testing.assert_close(batch.action[..., 0], (time + 1) / 10)
    assert torch.equal(batch.x, table.features(table.replay.obs[slot, time]))


def test_before_any_success_there_is_something_to_draw():
    table = Table()
    table.replay.start(torch.zeros(1, 2))
    table.replay.append(torch.zeros(1, 2), one_step((1, 1)))
    assert table.draw().reward.shape == (2, 400)
