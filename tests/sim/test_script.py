"""Obstacle scripts: what they say, and every way in which one can be wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.script import ObstacleScript, ScriptError, drop_ahead

TEXT = """
- center: [-1.0, 1.0]
  half_size: [0.2, 0.4]
  appears: 2
  moves:
    - {at: 3.0, center: [-1.0, 1.0]}
    - {at: 5.0, center: [-1.0, 2.0]}
  goes: 9
- center: [1, 2, 0.5]
  half_size: [0.1, 0.1, 0.3]
  yaw: 0.5
"""


def test_a_box_appears_moves_and_goes():
    script = ObstacleScript.parse(TEXT)

    def first(t: float):
        return next((o for o in script.at(t) if o.id == 0), None)

    assert first(1.99) is None
    assert first(2.0) == Obstacle(0, "box", (-1.0, 1.0, 0.25), (0.2, 0.4, 0.25))
    assert first(2.5).center == (-1.0, 1.0, 0.25), "it waits: the first move is to where it is"
    assert first(4.0).center == (-1.0, 1.5, 0.25), "half of the time, half of the way"
    assert first(5.0).center == first(8.99).center == (-1.0, 2.0, 0.25)
    assert first(9.0) is None


def test_a_box_without_times_is_always_there():
    script = ObstacleScript.parse(TEXT)
    for t in (0.0, 1e6):
        assert Obstacle(1, "box", (1.0, 2.0, 0.5), (0.1, 0.1, 0.3), 0.5) in script.at(t)


def test_a_move_without_a_wait_starts_when_the_box_appears():
    text = "[{center: [0, 0], half_size: [1, 1], appears: 1, moves: [{at: 3, center: [4, 0]}]}]"
    [obstacle] = ObstacleScript.parse(text).at(1.5)
    assert obstacle.center == (1.0, 0.0, 0.25)


def test_an_empty_list_is_no_obstacles():
    assert ObstacleScript.parse("[]").at(0.0) == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected a list"),
        ("boxes: []", "expected a list"),
        ("- {center: [0, 0], half_size: [1, 1]", "not YAML"),
        ("- 3", r"\[0\] is 3: expected a mapping"),
        ("- {center: [0, 0]}", r"\[0\].half_size is missing"),
        ("- {half_size: [1, 1]}", r"\[0\].center is missing"),
        ("- {center: [0, 0], half_size: [1, 1], apears: 2}", r"\[0\].apears: no such key \(known: center, "),
        ("- {center: [0, 0], half_size: [1, 1], appears: 1, appears: 2}", "'appears' is there twice"),
        ("- {center: [0], half_size: [1, 1]}", r"\[0\].center is \[0\]: expected two or three"),
        ("- {center: [0, a], half_size: [1, 1]}", r"\[0\].center\[1\] is 'a': expected a finite number"),
        ("- {center: [0, .nan], half_size: [1, 1]}", r"\[0\].center\[1\] is nan"),
        ("- {center: [0, true], half_size: [1, 1]}", r"\[0\].center\[1\] is True"),
        ("- {center: [0, 0], half_size: [1, 0]}", r"\[0\].half_size is \[1, 0\]: expected more than 0"),
        ("- {center: [0, 0], half_size: [1, 1], appears: 3, goes: 3}", r"\[0\].goes is 3.0: expected later"),
        ("- {center: [0, 0], half_size: [1, 1], yaw: .inf}", r"\[0\].yaw is inf"),
        ("- {center: [0, 0], half_size: [1, 1], moves: 3}", r"\[0\].moves is 3: expected a list"),
        ("- {center: [0, 0], half_size: [1, 1], moves: [{at: 1}]}", r"\[0\].moves\[0\].center is missing"),
        ("- {center: [0, 0], half_size: [1, 1], moves: [{at: 1, center: [0, 0], by: 2}]}", r"moves\[0\].by: no such"),
        ("- {center: [0, 0], half_size: [1, 1], moves: [{at: 0, center: [0, 0]}]}", "each later than the last"),
    ],
)
def test_a_wrong_script_says_what_and_where(text, message):
    with pytest.raises(ScriptError, match=message):
        ObstacleScript.parse(text)


def test_a_wrong_file_is_named(tmp_path):
    path = tmp_path / "script.yaml"
    path.write_text("- {center: [0, 0]}")
    with pytest.raises(ScriptError, match=r"script\.yaml: \[0\]\.half_size"):
        ObstacleScript.load(path)
    with pytest.raises(FileNotFoundError):
        ObstacleScript.load(tmp_path / "nowhere.yaml")


def test_a_file_is_read(tmp_path):
    path = tmp_path / "script.yaml"
    path.write_text(TEXT)
    assert ObstacleScript.load(path) == ObstacleScript.parse(TEXT)


# ---- dropped ahead on a way -----------------------------------------------------------------------

CORNER = np.array([[0.0, 0.0], [0.0, 2.0], [3.0, 2.0]])


@pytest.mark.parametrize(
    "position, distance, center, yaw",
    [
        ((0.3, 0.5), 1.0, (0.0, 1.5), math.pi / 2),  # on the same leg: 0.5 m of way done, one more
        ((0.0, 1.5), 1.0, (0.5, 2.0), 0.0),  # half a metre to the corner, half a metre beyond
        ((2.0, 2.2), 0.0, (2.0, 2.0), 0.0),
    ],
)
def test_a_box_is_dropped_across_the_way(position, distance, center, yaw):
    obstacle = drop_ahead(CORNER, np.array(position), distance, obstacle_id=5)
    assert obstacle.id == 5
    np.testing.assert_allclose(obstacle.center[:2], center, atol=1e-9)
    assert obstacle.yaw == pytest.approx(yaw)


def test_a_way_that_ends_before_is_an_error():
    with pytest.raises(ValueError, match=r"4\.00 m ahead is at 5\.50 m of a way of 5\.00 m|4\.0 m ahead"):
        drop_ahead(CORNER, np.array([0.0, 1.5]), 4.0)
