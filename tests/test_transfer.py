"""``ddiffpg transfer``: a shipped policy on robots that differ, by hand where figures must be known, and its page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddiffpg.policy import Policy
from ddiffpg_cli.errors import BadInput, Failed
from ddiffpg_cli.main import main
from ddiffpg_cli.transfer_axes import AXES, JUDGES, NOMINAL, Target, chosen, different_robots
from ddiffpg_cli.transfer_curves import Curve, curves, worst_cases
from ddiffpg_cli.transfer_grid import Cell, Head, Outcome, Transfer, Trial, outcome_of, touched
from ddiffpg_cli.transfer_margins import margins_of
from ddiffpg_cli.transfer_page import Scene, held, page
from ddiffpg_core.evaluate import Drives, Episodes
from ddiffpg_sim import tasks
from ddiffpg_sim.signals import Deviation, Signals

from .test_cli import imported_by, one_line
from .test_report import BROWSER

POLICY = Path(__file__).resolve().parents[1] / "policies" / "pointmaze-v1.onnx"
TASK = tasks.make("pointmaze-v1")
HEAD = Head("p.onnx", "0" * 64, "pointmaze-v1", 10.0, 10, {})
LOST = (((0.0, 0.0), (-1.0, 1.0)),)


def transfer(out: Path, *flags: str, policy: Path = POLICY) -> int:
    return main(["transfer", "--policy", str(policy), "--episodes", "2", "--out", str(out), *flags])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small test with margins, in a directory of its own."""
    out = tmp_path_factory.mktemp("transfer")
    flags = ("--axes", "delay,rate,noise,simulator", "--seeds", "1", "--margins", str(out / "wide.onnx"))
    assert transfer(out, *flags) == 0
    return out


@pytest.fixture
def again(done: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(done, tmp_path / "again"))


# ---- end to end -------------------------------------------------------------------------------------


def test_every_cell_has_every_mode_and_the_nominal_robot_is_there(done: Path) -> None:
    raw = json.loads((done / "transfer.json").read_text())
    assert (raw["policy"], raw["task"], raw["episodes"]) == ("pointmaze-v1.onnx", "pointmaze-v1", 2)
    values = {(cell["axis"], cell["value"]) for cell in raw["cells"]}
    delays = {(("delay", value)) for value in AXES["delay"].few if value}
    assert {(NOMINAL, None), ("rate", 0.5), ("simulator", "all of it")} | delays <= values
    assert len(raw["cells"]) == len(values)
    for cell in raw["cells"]:
        assert [o["mode"] for o in cell["outcomes"]] == [-1, 0, 1]
    slow = [c["outcomes"][1]["seconds"] for c in raw["cells"] if c["axis"] == "delay" and c["value"] == 0.2]
    quick = [c["outcomes"][1]["seconds"] for c in raw["cells"] if c["axis"] == NOMINAL]
    assert min(slow) > max(quick)


def test_what_is_there_is_not_driven_again_and_what_is_not_comes_out_the_same(again: Path) -> None:
    file = again / "transfer.json"
    raw = json.loads(file.read_text())
    left_out = raw["cells"].pop(1)
    raw["cells"][0]["outcomes"][0]["success"] = 0.125  # nothing that two episodes can give
    file.write_text(json.dumps(raw))
    assert transfer(again, "--axes", "delay", "--seeds", "1") == 0
    cells = json.loads(file.read_text())["cells"]
    assert cells[0]["outcomes"][0]["success"] == 0.125 and left_out in cells
    assert len(cells) == len(raw["cells"]) + 1  # axes that were not asked for now stay


def test_the_page_loads_nothing_and_begins_with_success_against_delay(done: Path) -> None:
    text = (done / "transfer.html").read_text()
    assert not re.search(r"https?://|src=|href=|@import|url\(|<script", text) and "{{" not in text
    assert re.findall(r'<section[^>]* id="(\w+)"', text) == ["delay", "noise", "rate", "simulator"]
    first = text[text.index('id="delay"'):]
    assert first.index("Success against delay") < first.index("<svg") < first.index("adherence")
    assert text.count("<title>nominal</title>") >= 4 and "nominal" in text and "motor lag" in text


def test_margins_go_into_a_new_file_with_its_report(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = Policy.load(done / "wide.onnx")
    margins = policy.contract.margins
    assert policy.checked and margins is not None and margins.success == 0.9
    assert margins.delay in AXES["delay"].few and margins.rate_low <= 10.0 <= margins.rate_high
    assert margins.noise[0] == pytest.approx(margins.noise[2] * TASK.spec.observation[0].scale)
    before = Policy.load(POLICY)
    assert replace(policy.contract, margins=None) == replace(before.contract, margins=None)
    obs = np.array([0.1, -0.2, 0.3, 0.0], np.float32)
    np.testing.assert_array_equal(policy.act(obs), before.act(obs))
    said = json.loads((done / "wide.json").read_text())
    assert said["margins"]["seeds"] == [1] and said["student"] and said["file"] == "wide.onnx"
    assert main(["inspect", str(done / "wide.onnx")]) == 0
    assert f"up to {margins.delay:g} s of delay, from" in capsys.readouterr().out


def test_an_identified_robot_is_the_nominal_one(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text("signals: {action_delay: 0.06}\ndynamics: {mass: 1.4}\nsimulator: {timestep: 0.01}\n")
    assert transfer(tmp_path, "--axes", "delay,mass", "--identified", str(file)) == 0
    raw = json.loads((tmp_path / "transfer.json").read_text())
    assert raw["nominal"]["deviation"]["dynamics"]["mass"] == 1.4
    values = [cell["value"] for cell in raw["cells"] if cell["axis"] == "delay"]
    assert 0.0 in values and 0.06 not in values
    assert [c["value"] for c in raw["cells"] if c["axis"] == "mass"] == [0.5, 0.7, 1.0, 1.3, 2.0]


def test_neither_torch_nor_ros_is_loaded(tmp_path: Path) -> None:
    words = ["transfer", "--policy", str(POLICY), "--episodes", "1", "--axes", "push", "--out", str(tmp_path)]
    assert imported_by(words) & {"torch", "rclpy", "onnx", "matplotlib"} == set()


def test_a_browser_draws_it(done: Path, tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--disable-background-networking", "--enable-logging=stderr", "--virtual-time-budget=1000", "--dump-dom",
               f"file://{done / 'transfer.html'}"]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert "CONSOLE" not in shown.stderr, shown.stderr
    assert shown.stdout.count("<svg") == (done / "transfer.html").read_text().count("<svg") >= 4 * 4
    assert len(re.findall(r"<circle [^>]*><title>mode 0 at ", shown.stdout)) >= 20


# ---- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--axes", "delay,wind"], "--axes 'wind': no such axis (known: delay, friction,"),
        (["--axes", "friction"], "contacts have no friction"),
        (["--task", "pointmaze-v9"], "--task 'pointmaze-v9': no such task"),
        (["--task", "panda-peg"], "--task panda-peg: it observes"),
        (["--task", "pointmaze-v2"], "way of mode 0 goes through what stands there"),
        (["--axes", "delay", "--margins", "OUT/m.onnx"], "rate was not varied"),
        (["--margins", "OUT/m.txt"], "expected a name that ends in .onnx"),
        (["--identified", "OUT/none.yaml"], "--identified OUT/none.yaml: no such file"),
        (["--identified", "OUT/wrong.yaml"], "wrong.yaml: dynamics: unknown key 'weight'"),
        (["--identified", "OUT/cut.yaml"], "cut.yaml: not YAML"),
        (["--out", "OUT/wrong.yaml"], "is a file, expected a directory"),
    ],
)
def test_bad_input_is_named(flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.yaml").write_text("dynamics: {weight: 2.0}\n")
    (tmp_path / "cut.yaml").write_text("dynamics: {mass: \n")
    words = [word.replace("OUT", str(tmp_path)) for word in flags]
    assert main(["transfer", "--policy", str(POLICY), "--episodes", "1", "--out", str(tmp_path / "out"), *words]) == 2
    assert said.replace("OUT", str(tmp_path)) in capsys.readouterr().err


def test_another_test_is_not_mixed_in(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (again / "transfer.json").read_text()
    assert transfer(again, "--axes", "delay", "--episodes", "3") == 2
    assert "episodes is 2 there and 3 now" in one_line(capsys)
    assert (again / "transfer.json").read_text() == before


def test_a_damaged_result_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "transfer.json").write_text('{"cells": [{')
    assert transfer(tmp_path, "--axes", "delay") == 2
    assert "transfer.json: no result of ddiffpg transfer" in one_line(capsys)


# ---- by hand ----------------------------------------------------------------------------------------


def cell(axis: str, value, *success: float, seed: int = 0) -> Cell:
    """Modes 0, 1, ... with so much success each."""
    modes = tuple(Outcome(i, s, 1.0, 2.0, 0.0, LOST if s < 1 else ()) for i, s in enumerate(success))
    return Cell(Trial(axis, value, seed), (Outcome(-1, 1.0, None, 2.0, 0.0), *modes))


def made(*cells: Cell) -> list[Curve]:
    return curves(Transfer(HEAD, cells), Target())


GOOD = (
    cell(NOMINAL, None, 1.0, 1.0),
    cell("delay", 0.1, 1.0, 0.9), cell("delay", 0.2, 0.95, 0.5), cell("delay", 0.3, 1.0, 1.0),
    cell("rate", 0.5, 0.4, 1.0), cell("rate", 0.8, 0.9, 1.0), cell("rate", 2.0, 1.0, 1.0),
    cell("noise", 0.05, 1.0, 0.8),
)  # fmt: skip


def test_a_policy_holds_without_a_gap_around_the_nominal_robot() -> None:
    delay, noise, rate = made(*GOOD)
    assert [point.value for point in delay.points] == [0.0, 0.1, 0.2, 0.3] and delay.nominal.value == 0.0
    assert [point.value for point in delay.holding(0.9)] == [0.0, 0.1]
    assert [point.value for point in rate.holding(0.9)] == [0.8, 1.0, 2.0]
    assert delay.lowest.value == 0.2 and delay.lowest.worst == 1
    assert [held(c, 0.9) for c in (delay, rate, noise)] == ["up to 0.1 s", "0.8 to 2 times", "up to 0 of scale"]
    assert [(c.axis.name, p.value) for c, p in worst_cases([delay, noise, rate], 2)] == [("rate", 0.5), ("delay", 0.2)]


def test_the_mean_over_seeds_counts_and_the_spread_is_kept() -> None:
    cells = (*GOOD, cell("delay", 0.1, 1.0, 0.6, seed=1))
    point = made(*cells)[0].points[1]
    spread = point.spread(1, lambda outcome: outcome.success)
    assert (spread.mean, spread.low, spread.high) == (0.75, 0.6, 0.9) and point.least == 0.75


def test_margins_are_what_holds() -> None:
    margins = margins_of(made(*GOOD), TASK.spec, 0.9)
    assert (margins.delay, margins.rate_low, margins.rate_high, margins.noise) == (0.1, 8.0, 20.0, (0.0,) * 4)
    with pytest.raises(BadInput, match="noise was not varied"):
        margins_of(made(*GOOD[:-1]), TASK.spec, 0.9)
    with pytest.raises(Failed, match=r"mode 1 has success 0\.80 on the nominal robot"):
        margins_of(made(cell(NOMINAL, None, 1.0, 0.8), *GOOD[1:]), TASK.spec, 0.9)


def test_the_page_shows_the_worst_cases() -> None:
    scene = Scene(TASK, Policy.load(POLICY).contract, 0.9)
    text = page(Transfer(HEAD, GOOD), made(*GOOD), scene)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert captions[0] == "control rate 0.5 times, mode 0: success 0.40" and len(captions) == 3
    assert text.count('class="above"') == 3 and text.count("M0.000 -0.000L-1.000 -1.000") == 3
    nothing = (GOOD[0], cell("mass", 2.0, 1.0, 1.0))
    assert "every episode of every mode arrived" in page(Transfer(HEAD, nothing), made(*nothing), scene)


def test_an_outcome_by_hand() -> None:
    still, at_wall = np.zeros((4, 2)), np.array([[0.0, 0.0], [0.4, 0.0], [0.4, 0.0], [0.4, 0.0]])
    run = Episodes(np.array([True, False]), np.array([3, 3]), (still, at_wall), np.zeros((2, 0)))
    drives = Drives(np.array([7, 7]), run, np.array([7, -1]))
    outcome = outcome_of(drives, 7, TASK, walls=True)
    assert (outcome.success, outcome.adherence, outcome.seconds) == (0.5, 1.0, 0.3)
    assert outcome.touched == 3 / 8 == touched([still, at_wall], TASK)
    assert outcome.failed == (((0, 0), *[(0.4, 0)] * 3),)
    assert outcome_of(drives, 7, TASK, walls=False).touched is None


@pytest.mark.parametrize("axis", AXES.values(), ids=list(AXES))
def test_every_axis_reads_what_it_has_put(axis) -> None:
    base = Target(Deviation(signals=Signals(observation_delay=0.02)))
    for value in axis.values(base, full=True):
        changed = axis.put(base, value)
        assert axis.of(changed) == value != axis.of(base)
        assert changed.deviation.signals.observation_delay == 0.02
    assert set(axis.values(base, full=False)) <= set(axis.values(base, full=True))


def test_axes_that_change_nothing_are_left_out() -> None:
    names = {name: {axis.name for axis in chosen(None, tasks.make(name))} for name in ("antmaze-v1", "panda-peg")}
    assert names["antmaze-v1"] == set(AXES) and names["panda-peg"] == set(AXES) - {"push"}
    assert {axis.name for axis in chosen(None, TASK)} == set(AXES) - {"friction"}


def test_a_checkpoint_is_judged_on_robots_in_turn() -> None:
    robots = different_robots(np.random.default_rng(0), 20)
    assert robots[0] == Deviation() == robots[1 + len(JUDGES)] and len(robots) == 20
    assert len({repr(robot) for robot in robots}) == 1 + len(JUDGES)
