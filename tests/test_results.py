"""The page of results is what the recorded runs give, and the tables say what they should of runs worked by hand."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import benchmark

tables = benchmark("tables")
RECORDS = tables.load(tables.RECORDS)
PUBLISHED = json.loads(tables.PUBLISHED.read_text())
NOTHING = {"tasks": {}}


def mode(success: float, adherence: float, back: float | None, end: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
    return {"id": 0, "success": success, "adherence": adherence, "return": back, "end": list(end)}


def run(task: str = "pointmaze-v1", **changes: Any) -> dict[str, Any]:
    """A recorded run with two good modes, changed."""
    made = {
        "task": task, "method": "ddiffpg", "label": "", "seed": 0, "settings": {}, "seconds": 120.0,
        "modes_learned": 2, "modes": [mode(1.0, 1.0, 1.0), mode(1.0, 1.0, 0.9)], "coverage_cells": 20, "free_cells": 40,
        "unconditioned": {"success": 1.0}, "transitions_to_0.8": 64000, "minutes_to_0.8": 0.5,
        "curve": [{"transitions": 64000, "unconditioned_success": 0.9, "modes_learned": 1},
                  {"transitions": 128000, "unconditioned_success": 1.0, "modes_learned": 2}],
    }  # fmt: skip
    return copy.deepcopy(made) | changes


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


# ---- the docs are true ----------------------------------------------------------------------------


def test_the_page_is_what_the_records_give() -> None:
    text = tables.PAGE.read_text(encoding="utf-8")
    assert tables.put(text, tables.page(RECORDS, PUBLISHED)) == text, "run: make tables"


def test_every_task_with_runs_has_its_plot_and_no_other() -> None:
    assert {p.stem for p in tables.PLOTS.glob("*.svg")} == {r["task"] for r in RECORDS if not r["label"]}


@pytest.mark.parametrize("path", sorted(tables.RECORDS.glob("*.json")), ids=lambda p: p.stem)
def test_every_record_is_whole_and_named_for_what_it_is(path: Path) -> None:
    record = json.loads(path.read_text())
    words = (record["task"], record["method"], record["label"], str(record["seed"]))
    assert path.stem == "-".join(word for word in words if word)
    assert re.fullmatch(r"[0-9a-f]{40}\+?", record["commit"])
    assert set(record) == set(RECORDS[0])


def test_the_authors_figures_are_marked_as_theirs() -> None:
    page = tables.page([], PUBLISHED)
    assert page.count("no run recorded yet") == len(PUBLISHED["tasks"]) == 8
    line = next(line for line in page.splitlines() if line.startswith("| DDiffPG"))
    assert cells(line)[:2] == ["DDiffPG, *published by the authors*", "0.99"]
    assert "1.20 M" in line
    assert "2.00 M (to 1.0)" in page


# ---- tables by hand -------------------------------------------------------------------------------


def test_a_line_is_the_mean_over_seeds_with_least_and_most() -> None:
    one = run(seed=0)
    other = run(seed=1, unconditioned={"success": 0.5}, modes_learned=1, seconds=240.0, modes=[mode(0.9, 1.0, None)],
                **{"transitions_to_0.8": None, "minutes_to_0.8": None})
    line = tables.overview("pointmaze-v1", [one, other], NOTHING).splitlines()[2]
    assert dict(zip(("method", *tables.HEAD), cells(line))) == {
        "method": "ddiffpg", "success": "0.75 (0.50 to 1.00)", "modes learned": "1.5 (1 to 2)", "ways taken": "-",
        "worst mode": "0.95 (0.90 to 1.00)", "return": "0.95, in 1 of 2", "coverage": "0.50",
        "transitions to 0.8": "0.06 M, in 1 of 2", "minutes to 0.8": "0.5, in 1 of 2", "minutes": "3 (2 to 4)",
        "seeds": "0, 1",
    }  # fmt: skip


def test_a_method_without_modes_has_none() -> None:
    record = run(method="sac", modes=None, modes_learned=None, unconditioned={"success": 0.9, "ways": 1})
    line = dict(zip(("method", *tables.HEAD), cells(tables.overview("x", [record], NOTHING).splitlines()[2])))
    assert (line["modes learned"], line["worst mode"], line["return"], line["ways taken"]) == ("-", "-", "-", "1")
    assert tables.judge(record) is None
    assert "none" in tables.single_runs([record])


def test_variants_have_a_table_of_their_own_with_what_they_set() -> None:
    off = run(label="no-novelty", settings={"novelty.scale": 0.0, "critic.per_mode": False})
    page = tables.page([run(), off], NOTHING)
    shipped, variants = page.split("### Variants on pointmaze-v1")
    assert "no-novelty" not in shipped
    assert "| ddiffpg | as it ships |" in variants
    assert "| ddiffpg no-novelty | `critic.per_mode=false`, `novelty.scale=0.0` |" in variants


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"seconds": 300.0}, True),
        ({"seconds": 300.1}, False),
        ({"modes": [mode(1.0, 1.0, 1.0)]}, False),
        ({"modes": [mode(1.0, 1.0, 0.9), mode(0.98, 0.98, 0.9)]}, True),
        ({"modes": [mode(1.0, 1.0, 0.9), mode(0.97, 1.0, 1.0)]}, False),
        ({"modes": [mode(1.0, 1.0, 0.9), mode(1.0, 0.97, 1.0)]}, False),
        ({"modes": [mode(1.0, 1.0, 0.9), mode(1.0, 1.0, 0.89)]}, False),
        ({"modes": [mode(1.0, 1.0, 0.9), mode(1.0, 1.0, None)]}, False),
        ({"task": "pointmaze-v2"}, False),  # both modes end at the same goal
        ({"task": "pointmaze-v2", "modes": [mode(1.0, 1.0, 1.0), mode(1.0, 1.0, 1.0, (1.1, 0.0))]}, True),
        ({"task": "pointmaze-v2", "modes": [mode(1.0, 1.0, 1.0), mode(1.0, 1.0, 1.0, (0.9, 0.0))]}, False),
        ({"task": "antmaze-v2", "modes": [mode(1.0, 0.8, None), mode(0.98, 1.0, 0.0, (8.0, 0.0))]}, True),
        ({"task": "something-else"}, None),
    ],
)
def test_whether_what_is_wanted_is_met(changes: dict[str, Any], met: bool | None) -> None:
    assert tables.judge(run(**changes)) is met


def test_a_page_without_its_marks_is_refused() -> None:
    assert tables.put(f"a\n{tables.BEGIN}\nold\n{tables.END}\nb", "new") == f"a\n{tables.BEGIN}\nnew\n{tables.END}\nb"
    with pytest.raises(ValueError, match="begin"):
        tables.put("a page", "new")


def test_plots_are_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    runs = [run(), run(seed=1, curve=run()["curve"][:1]), run(method="sac", curve=[])]
    for name in ("a", "b"):
        monkeypatch.setattr(tables, "PLOTS", tmp_path / name)
        tables.draw(runs)
    assert (tmp_path / "a" / "pointmaze-v1.svg").read_bytes() == (tmp_path / "b" / "pointmaze-v1.svg").read_bytes()
