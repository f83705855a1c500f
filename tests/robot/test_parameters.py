"""Parameters described once: checked, read strictly from YAML, and laid out for the documentation."""

from __future__ import annotations

import dataclasses
import math

import pytest

from ddiffpg.decision import ControllerConfig
from ddiffpg.parameters import ParameterError, build, describe, load, table

DESCRIBED = describe(ControllerConfig)


def fault(make) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        make()
    return caught.value


@pytest.mark.parametrize("p", DESCRIBED, ids=lambda p: p.name)
def test_each_is_described_and_its_default_is_in_range(p):
    assert len(p.description) > 10
    assert isinstance(p.default, bool) or p.low <= p.default <= p.high


@pytest.mark.parametrize("p", [p for p in DESCRIBED if p.low is not None], ids=lambda p: p.name)
def test_each_is_refused_by_name_out_of_its_range(p):
    for bad in (p.low - 1.0, p.high + 1.0, math.nan, math.inf, -math.inf):
        assert fault(lambda bad=bad: ControllerConfig(**{p.name: bad})).name == p.name


@pytest.mark.parametrize("p", DESCRIBED, ids=lambda p: p.name)
def test_each_is_refused_by_name_with_the_wrong_type(p):
    for bad in ("0.5", None, [1.0], 1 if isinstance(p.default, bool) else True):
        assert fault(lambda bad=bad: ControllerConfig(**{p.name: bad})).name == p.name


@pytest.mark.parametrize(
    "values, name",
    [
        ({"hysteresis": 0.2, "tolerance": 0.1}, "hysteresis"),
        ({"stop_margin": 0.2, "margin": 0.1}, "stop_margin"),
        ({"emergency_deceleration": 3.0, "max_acceleration": 4.0}, "emergency_deceleration"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values, name):
    assert fault(lambda: ControllerConfig(**values)).name == name


def write(tmp_path, text: str):
    path = tmp_path / "controller.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path):
    config = load(ControllerConfig, write(tmp_path, "margin: 0.2  # m\nneed_obstacles: true\ndwell: 2\n"))
    assert config == dataclasses.replace(ControllerConfig(), margin=0.2, need_obstacles=True, dwell=2.0)
    assert load(ControllerConfig, write(tmp_path, "# nothing\n")) == ControllerConfig()


@pytest.mark.parametrize(
    "text, name, says",
    [
        ("margn: 0.2", "margn", "is unknown; known are radius, margin"),
        ("1: 2", "1", "is unknown"),
        ("margin: 0.2\nmargin: 0.3", "margin", "is there twice"),
        ("margin: wide", "margin", "'wide': expected float"),
        ("margin: -1", "margin", "expected 0 to 10 m"),
        ("margin: .nan", "margin", "nan"),
        ("need_obstacles: 1", "need_obstacles", "expected bool"),
        ("- margin", "(file)", "no `name: value` lines"),
        ("margin: [", "(file)", "is not YAML"),
        ("margin: !!python/object/apply:os.getcwd []", "(file)", "is not YAML"),
    ],
)
def test_a_bad_file_is_refused_for_what_is_wrong_with_it(tmp_path, text, name, says):
    error = fault(lambda: load(ControllerConfig, write(tmp_path, text)))
    assert error.name == name and says in str(error)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "controller.yaml"
    path.write_bytes(b"margin: \xff\xfe")
    assert fault(lambda: load(ControllerConfig, path)).name == "(file)"


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(ControllerConfig, tmp_path / "gone.yaml")


def test_build_is_as_strict_as_a_file():
    assert build(ControllerConfig, {"margin": 1}).margin == 1
    assert fault(lambda: build(ControllerConfig, {"colour": "red"})).name == "colour"


def test_the_table_holds_every_parameter_once():
    rows = table(ControllerConfig).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [p.name for p in DESCRIBED]
    assert "| `state_timeout` | 0.3 | s | 0.01 to 60 |" in table(ControllerConfig)
