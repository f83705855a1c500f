"""The rule that counts modes can be changed, to compare: what was published cuts whatever there is."""

from __future__ import annotations

import numpy as np
import pytest

from ddiffpg_core.clustering import cluster
from ddiffpg_core.config import Config, ConfigError, ModesConfig, override
from ddiffpg_core.paths import dtw
from tests.core.support import ways_along

CORNERS = [(0, 0), (0, -1), (-2, -1), (-2, 0)]


def labels(ways: np.ndarray, config: ModesConfig) -> list[int]:
    return cluster(dtw(ways, ways), 1.2, config).label.tolist()


@pytest.mark.parametrize(("rule", "count"), [("apart", 1), ("share", 2)])
def test_a_cut_at_a_share_makes_two_of_one_way(rule: str, count: int) -> None:
    # Seven paths on one line and seven a little beside it: the largest merge, however small, is cut.
    rng = np.random.default_rng(0)
    beside = [(x, y + 0.2) for x, y in CORNERS]
    ways = np.concatenate([ways_along(CORNERS, 7, rng, 0.01), ways_along(beside, 7, rng, 0.01)])
    assert max(labels(ways, ModesConfig(rule=rule))) + 1 == count


@pytest.mark.parametrize("rule", ["apart", "share"])
def test_both_find_two_ways_that_are_far_apart(rule: str) -> None:
    rng = np.random.default_rng(0)
    other = [(x, -y) for x, y in CORNERS]
    ways = np.concatenate([ways_along(CORNERS, 9, rng), ways_along(other, 6, rng)])
    assert labels(ways, ModesConfig(rule=rule)) == [0] * 9 + [1] * 6


def test_the_share_is_what_is_cut_at() -> None:
    ways = ways_along(CORNERS, 12, np.random.default_rng(0))
    assert labels(ways, ModesConfig(rule="share", cut_share=1.1)) == [0] * 12
    low = labels(ways, ModesConfig(rule="share", cut_share=0.0))  # as low as leaves few outside of every cluster
    assert 0 <= low.count(-1) <= 12 * ModesConfig().outliers_max
    assert max(low) >= 0


def test_another_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"modes\.rule is 'threshold': no such rule \(known: apart, share\)"):
        override(Config(), ["modes.rule=threshold"])
