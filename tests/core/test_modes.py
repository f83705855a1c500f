"""Modes stay who they are when clustering runs again."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

from ddiffpg_core.config import ModesConfig
from ddiffpg_core.modes import Change, ModeBank
from tests.core.support import ways_along

CONFIG = ModesConfig()
APART = 1.2
LEFT = ((0, 0), (0, -1), (-2, -1), (-2, 0))
RIGHT = ((0, 0), (0, 1), (-2, 1), (-2, 0))
FAR = ((0, 0), (3, 0), (3, 3))


class Finder:
    """A bank that is shown ways one after another, as training does it."""

    def __init__(self, config: ModesConfig = CONFIG) -> None:
        self.bank = ModeBank(config, 2, 4, APART)
        self.rng = np.random.default_rng(0)
        self.shown = 0

    def show(self, *routes: tuple[tuple[tuple[float, float], ...], int], spread: float = 0.05) -> None:
        """``count`` more ways along each of the ``routes (corners, count)``."""
        for corners, count in routes:
            ways = ways_along(corners, count, self.rng, spread)
            owner = self.bank.label(ways) if self.bank.modes else np.full(count, -1)
            self.bank.library.add(ways, owner, self.shown + np.arange(count))
            self.shown += count

    def add(self, *routes: tuple[tuple[tuple[float, float], ...], int]) -> None:
        """The same through the bank, which leaves detours out."""
        for corners, count in routes:
            self.bank.add(ways_along(corners, count, self.rng), np.full(count, -1), self.shown + np.arange(count))
            self.shown += count

    def find(self) -> Change:
        change = self.bank.rediscover(self.rng)
        assert change is not None
        return change

    def mode_of(self, corners) -> int:
        """The id of the mode that goes along ``corners``."""
        found = int(self.bank.label(ways_along(corners, 1, self.rng, 0.0))[0])
        assert found >= 0
        return found


def test_nothing_is_said_before_there_is_enough():
    f = Finder()
    f.show((LEFT, CONFIG.min_cluster - 1))
    assert f.bank.rediscover(f.rng) is None
    f.show((LEFT, 1))
    assert len(f.find().modes) == 1


def test_a_new_mode_learns_from_nobody_when_it_is_the_first():
    f = Finder()
    f.show((LEFT, 10))
    change = f.find()
    assert change.source == (-1,)
    assert change.modes[0].id == 0
    assert change.modes[0].lineage == ()
    assert np.linalg.norm(change.modes[0].embedding) == pytest.approx(2.0)


def test_modes_keep_id_and_embedding_through_many_clusterings():
    f = Finder()
    f.show((LEFT, 12), (RIGHT, 12))
    first = f.find()
    who = {f.mode_of(LEFT), f.mode_of(RIGHT)}
    assert who == {0, 1}
    for _ in range(8):
        f.show((RIGHT, 9), (LEFT, 3))
        again = f.find()
        assert again.source == tuple(m.id for m in again.modes)
        assert [m.id for m in again.modes] == [m.id for m in first.modes]
        for old, new in zip(first.modes, again.modes):
            assert new.embedding is old.embedding


def test_a_prototype_moves_only_when_the_way_does():
    f = Finder()
    f.show((LEFT, 12))
    before = f.find().modes[0].prototype
    f.show((LEFT, 40))
    assert f.find().modes[0].prototype is before
    # the mode's newest trajectories cut the corner: more and more of them, until the way is another one
    inner = ((0, 0), (-0.2, -0.55), (-1.8, -0.55), (-2, 0))
    f.show((inner, 230), spread=0.02)
    moved = f.find().modes
    assert [m.id for m in moved] == [0]
    assert not np.array_equal(moved[0].prototype, before)


def test_a_second_way_gets_a_new_id_and_the_first_keeps_its_own():
    f = Finder()
    f.show((RIGHT, 20))
    f.find()
    f.show((LEFT, 6))
    change = f.find()
    assert f.mode_of(RIGHT) == 0
    assert f.mode_of(LEFT) == 1
    assert change.source == (0, -1)  # nobody knew those ways: the new one learns from nobody's critic


def test_a_part_of_a_mode_that_becomes_one_has_it_as_its_parent():
    f = Finder()
    f.show((LEFT, 20))
    f.find()
    f.show((FAR, 11))
    f.bank.library.owner[:] = 0  # as if those had counted as the first mode's
    change = f.find()
    assert f.mode_of(LEFT) == 0  # the larger part goes on as the mode
    assert [m.lineage for m in change.modes] == [(), (0,)]
    assert change.source == (0, 0)


def test_odd_ways_belong_to_no_mode_until_there_are_enough_of_them():
    f = Finder()
    f.show((LEFT, 20), (FAR, 2))
    f.find()
    assert f.bank.ids.tolist() == [0]
    assert f.bank.library.owner.tolist() == [0] * 20 + [-1] * 2
    f.show((FAR, 4))
    f.find()
    assert f.bank.library.owner.tolist() == [0] * 20 + [f.mode_of(FAR)] * 6


def test_a_mode_that_one_clustering_misses_stays():
    f = Finder()
    f.show((LEFT, 10), (RIGHT, 10))
    f.find()
    right = f.mode_of(RIGHT)
    kept = {m.id: m for m in f.bank.modes}[right]
    lib = f.bank.library
    lib.keep(lib.owner != right)  # as if all of its trajectories had gone from memory
    change = f.find()
    assert {m.id: m for m in change.modes}[right] is kept
    assert right in change.source


def test_a_mode_that_turns_out_to_be_a_detour_goes():
    f = Finder()
    detour = ((0, 0), (0, 2), (3, 2), (3, 0), (1, 0), (1, -2), (3, -2))
    f.add((detour, 10))
    f.find()
    long = f.mode_of(detour)
    f.add((((0, 0), (3, -2)), 10))  # to the same place, 3.6 m instead of 14
    assert [m.id for m in f.find().modes] == [long + 1]
    assert len(f.bank.library.path) == 10


def test_ways_that_do_different_things_to_the_scene_are_different():
    f = Finder()
    f.bank = ModeBank(CONFIG, 2, 4, APART, outcome_dim=1)
    for outcome in (0.0, -2.0 * APART):
        ways = ways_along(LEFT, 10, f.rng)
        f.bank.add(np.concatenate([ways, np.full((10, 20, 1), outcome, np.float32)], 2), np.full(10, -1), np.arange(10))
    modes = f.find().modes
    assert sorted(float(m.outcome[0]) for m in modes) == [np.float32(-2.0 * APART), 0.0]
    assert [m.prototype.shape for m in modes] == [(20, 2), (20, 2)]
    assert sorted(np.bincount(f.bank.library.owner)) == [10, 10]


def test_of_two_modes_that_are_the_same_way_one_goes():
    f = Finder()
    f.show((LEFT, 10), (RIGHT, 10))
    f.find()
    left, right = f.mode_of(LEFT), f.mode_of(RIGHT)
    twin = {m.id: m for m in f.bank.modes}[left]
    f.bank.modes = tuple(m if m.id == left else dataclasses.replace(m, prototype=twin.prototype) for m in f.bank.modes)
    lib = f.bank.library
    lib.keep(lib.owner == left)
    change = f.find()
    assert [m.id for m in change.modes] == [left]
    assert right not in change.source


def test_ids_are_never_used_again():
    f = Finder(ModesConfig(library=40))
    seen: set[int] = set()
    rng = np.random.default_rng(1)
    for k in range(12):
        corner = (4.0 * rng.normal(), 4.0 * rng.normal())
        f.show((((0, 0), corner, (corner[0], corner[1] + 3)), 12))
        before, known = f.bank.next_id, set(f.bank.ids)
        f.find()
        now = set(f.bank.ids)
        assert all(i >= before for i in now - known), f"round {k}"
        assert not (now - known) & seen
        seen |= now
        assert f.bank.next_id > max(seen)


def test_more_modes_than_allowed_keep_the_oldest():
    f = Finder(ModesConfig(max_modes=2))
    f.show((LEFT, 10), (RIGHT, 10))
    f.find()
    f.show((FAR, 40))
    change = f.find()
    assert [m.id for m in change.modes] == [0, 1]
    assert change.source == (0, 1)


def test_modes_are_in_the_order_of_their_ids():
    f = Finder()
    f.show((LEFT, 6), (RIGHT, 12), (FAR, 30))
    f.find()
    f.show((LEFT, 60))
    ids = [m.id for m in f.find().modes]
    assert ids == sorted(ids) == [0, 1, 2]


def test_the_library_owns_what_the_modes_now_are():
    f = Finder()
    f.show((LEFT, 10), (RIGHT, 10))
    f.find()
    owner = f.bank.library.owner
    assert set(owner[:10]) == {f.mode_of(LEFT)}
    assert set(owner[10:]) == {f.mode_of(RIGHT)}


def test_failed_ways_join_the_mode_they_are_nearest_to():
    f = Finder()
    f.show((LEFT, 10), (RIGHT, 10))
    f.find()
    half_left = ways_along(LEFT[:3], 1, f.rng, 0.0)
    half_right = ways_along(RIGHT[:2], 1, f.rng, 0.0)
    labels = f.bank.label_failed(np.concatenate([half_left, half_right]))
    assert labels.tolist() == [f.mode_of(LEFT), f.mode_of(RIGHT)]


def test_state_goes_on_alike():
    a, b = Finder(), Finder()
    a.show((LEFT, 10), (RIGHT, 10))
    a.find()
    b.bank.load_state_dict(copy.deepcopy(a.bank.state_dict()))
    b.rng = copy.deepcopy(a.rng)
    for f in (a, b):
        f.shown = 20
        f.show((FAR, 10))
        f.find()
    assert [(m.id, m.lineage) for m in a.bank.modes] == [(m.id, m.lineage) for m in b.bank.modes]
    for x, y in zip(a.bank.modes, b.bank.modes):
        np.testing.assert_array_equal(x.embedding, y.embedding)
        np.testing.assert_array_equal(x.prototype, y.prototype)
