"""``ddiffpg film``: an episode of each mode of a policy that ships, as a GIF and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddiffpg.policy import Policy
from ddiffpg_cli.filming import SLOWED, clock_for
from ddiffpg_cli.main import main
from ddiffpg_sim import gl, tasks
from ddiffpg_sim.render import mode_color
from tests.robot.joint_policies import write_pattern
from tests.ros.field_policy import contract_of_task

from .test_cli import imported_by, one_line

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted((ROOT / "policies").glob("*.onnx"))
MAZE, PEG = ROOT / "policies" / "pointmaze-v1.onnx", ROOT / "policies" / "panda-peg.onnx"
SMALL = ["--pixels", "100", "--fps", "5", "--seconds", "1"]


def film(policy: Path, folder: Path, *flags: str) -> int:
    out = ["--out", str(folder / "film.gif"), "--picture", str(folder / "ways.png")]
    return main(["film", "--policy", str(policy), *out, *SMALL, *flags])


def colours(picture: Image.Image) -> set:
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    return set(map(tuple, np.unique(pixels, axis=0).tolist()))


def test_a_film_shows_every_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert film(MAZE, tmp_path, "--json", "-") == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert [(m["id"], m["success"], m["modes"]) for m in result["modes"]] == [(0, True, [0]), (1, True, [1])]
    assert [m["seconds"] for m in result["modes"]] == pytest.approx([0.1 * m["steps"] for m in result["modes"]])
    assert "drawing with pillow" in shown.err and "film.gif" in shown.err
    with Image.open(tmp_path / "film.gif") as gif, Image.open(tmp_path / "ways.png") as picture:
        assert gif.n_frames == 6 and gif.size == (2 * 106 + 6, 100 + 6 + 2 * 22)
        assert picture.size == (212, 200 + 6 + 3 * 22)
        gif.seek(5)
        for image in (gif, picture):
            assert {mode_color(0), mode_color(1)} <= colours(image)


def test_the_same_seed_gives_the_same_film(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        assert film(MAZE, tmp_path / name, "--seed", "3") == 0
    for name in ("film.gif", "ways.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_one_mode_of_an_arm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert film(PEG, tmp_path, "--modes", "1", "--canvas", "pillow", "--json", "-") == 0
    (mode,) = json.loads(capsys.readouterr().out)["modes"]
    assert (mode["id"], mode["success"]) == (1, True)
    with Image.open(tmp_path / "ways.png") as picture:
        assert picture.width == 2 * 206 + 6, "from the side and from behind"


def test_an_ant_that_does_not_arrive_is_filmed_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push = 20.0 * np.array([1, 0, -1, 0, 1, 0, -1, 0])
    contract = contract_of_task(tasks.make("antmaze-v1"))
    file = write_pattern(tmp_path / "ant.onnx", contract, {0: push, 1: -push})
    assert film(file, tmp_path, "--max-steps", "5") == 1
    assert capsys.readouterr().out.count(" NO ") == 2
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames > 1


def test_a_film_is_in_real_time_where_that_can_be_watched() -> None:
    words = [clock_for(longest, None, 20).words for longest in (0.3, 2.4, 50.0)]
    assert words == ["10 times slower", "in real time", "5 times faster"]
    clock = clock_for(0.3, None, 15)
    assert (clock.frames - 1) * clock.period >= SLOWED, "the last frame shows the end"
    assert clock_for(4.0, 2, 20).speed == 2.0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--policy", "none.onnx"], "none.onnx: no such file"),
        (["--modes", "0", "7"], "--modes 7: the policy has the modes [0, 1]"),
        (["--out", "film.mp4"], "--out film.mp4: expected a file's name that ends in .gif"),
        (["--picture", "none/ways.png"], "there is no directory none"),
    ],
)
def test_bad_input_is_one_line(flags: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["film", "--policy", str(MAZE), "--out", "film.gif", *flags]) == 2
    assert named in one_line(capsys)
    assert not Path("film.gif").exists()


@pytest.mark.parametrize("flags", [["--pixels", "20"], ["--canvas", "vulkan"], ["--seconds", "0"]])
def test_wrong_flags_are_one_line(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["film", "--policy", str(MAZE), "--out", "film.gif", *flags])
    assert stop.value.code == 2
    assert flags[0] in one_line(capsys)


@pytest.mark.parametrize("backend", gl.BACKENDS)
def test_a_canvas_that_does_not_work_here_is_bad_input(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if gl.works(backend):
        pytest.skip(f"MuJoCo can draw over {backend} on this machine")
    assert film(PEG, tmp_path, "--canvas", backend, "--json", str(tmp_path / "out.json")) == 2
    assert f"--canvas {backend}: MuJoCo cannot draw over {backend}" in one_line(capsys)


def test_film_loads_neither_torch_nor_ros(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "film.gif"), *SMALL]
    assert imported_by(["film", "--policy", str(MAZE), *out]) & {"torch", "rclpy", "sklearn", "matplotlib"} == set()


@pytest.mark.parametrize("policy", SHIPPED, ids=[p.stem for p in SHIPPED])
def test_the_docs_show_every_policy_that_ships(policy: Path) -> None:
    """``make films`` makes them anew."""
    name, shown = policy.stem, (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    video, picture = (ROOT / "docs" / "results" / file for file in (f"{name}.gif", f"{name}-modes.png"))
    assert video.stat().st_size < 1.2e6
    assert f"(results/{video.name})" in shown and f"(results/{picture.name})" in shown
    columns = len(Policy.load(policy).contract.modes)
    with Image.open(video) as gif, Image.open(picture) as ways:
        assert gif.n_frames > 20 and gif.width >= min(columns, 2) * 280
        assert ways.width > 500
