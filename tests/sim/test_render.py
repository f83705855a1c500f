"""Pictures: what is where, in which colour, and with what it was drawn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ddiffpg_sim import gl, tasks, tiles
from ddiffpg_sim.antmaze import STANDING
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.render import FLOOR, GOAL, OBSTACLE, ROBOT, WALL, Line, Scene, View, draw, mode_color, save_gif

TASK = tasks.make("pointmaze-v1")  # x from -3.5 to 1.5, y from -2.5 to 2.5
PIXELS = 500


def color_at(picture: Image.Image, x: float, y: float):
    """The colour at (x, y) metres: 100 pixels are a metre, y goes up."""
    return picture.getpixel((round((x + 3.5) * 100), round((2.5 - y) * 100)))


def test_the_world_is_seen_from_above():
    picture = draw(TASK, Scene(), PIXELS)
    assert picture.size == (500, 500)
    assert color_at(picture, -1.0, 0.0) == WALL
    assert color_at(picture, 0.0, 0.0) == color_at(picture, 0.0, 1.0) == FLOOR
    assert color_at(picture, -2.0, 0.0) == GOAL


def test_what_is_in_it_is_where_it_should_be():
    scene = Scene(
        robot=(0.0, 1.2),
        lines=(Line(np.array([[0.0, -1.0], [-2.0, -1.0]]), mode_color(1)),),
        obstacles=(
            Obstacle(0, "box", (-1.0, 1.0, 0.0), (0.5, 0.1, 0.1), np.pi / 2),
            Obstacle(1, "cylinder", (-2.0, 1.0, 0.0), (0.2, 0.2, 0.1)),
        ),
    )
    picture = draw(TASK, scene, PIXELS)
    assert color_at(picture, 0.0, 1.2) == ROBOT
    assert color_at(picture, -1.0, -1.0) == mode_color(1)
    assert color_at(picture, -1.0, 1.4) == OBSTACLE, "turned by a quarter, it is long in y"
    assert color_at(picture, -1.4, 1.0) == FLOOR
    assert color_at(picture, -2.15, 1.0) == OBSTACLE
    assert color_at(picture, -2.18, 1.18) == FLOOR, "round"


def test_modes_have_colours_of_their_own():
    assert len({mode_color(i) for i in range(-1, 8)}) == 9
    assert mode_color(10**6) in {mode_color(i) for i in range(8)}


@pytest.mark.parametrize("caption", ["short", "a very long caption " * 20])
def test_a_caption_goes_below(caption):
    plain, captioned = draw(TASK, Scene(), PIXELS), draw(TASK, Scene(caption=caption), PIXELS)
    assert captioned.width == plain.width and captioned.height > plain.height
    np.testing.assert_array_equal(np.asarray(captioned)[: plain.height], np.asarray(plain))
    below = np.asarray(captioned)[plain.height :]
    assert (below < 128).any() and (below[:, -5:] > 250).all(), "there is text, and it fits"


def test_a_gif_holds_every_frame(tmp_path):
    path = tmp_path / "run.gif"
    save_gif((draw(TASK, Scene(robot=(x, 0.0)), 120) for x in np.linspace(-0.3, 0.3, 7)), path, fps=20)
    with Image.open(path) as gif:
        assert gif.n_frames == 7
        assert gif.info["duration"] == 50 and gif.info["loop"] == 0
        first = np.asarray(gif.convert("RGB"), int)
        gif.seek(6)
        assert np.abs(first - np.asarray(gif.convert("RGB"), int)).max() > 50


def test_a_gif_keeps_rare_colours_and_holds_its_end(tmp_path):
    """A spot of four pixels has no colour of its own among four, unless it is asked for."""
    frames = [draw(TASK, Scene(robot=(x, 0.0)), 120) for x in (-0.3, 0.3)]
    for frame in frames:
        frame.paste(mode_color(4), (0, 0, 2, 2))
    for keep, there in (((), False), ((mode_color(4),), True)):
        save_gif(frames, tmp_path / "run.gif", 20, hold=1.0, colors=4, keep=keep)
        with Image.open(tmp_path / "run.gif") as gif:
            assert (gif.convert("RGB").getpixel((0, 0)) == mode_color(4)) is there
            gif.seek(1)
            assert gif.info["duration"] == 1050


def test_a_gif_of_nothing_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        save_gif([], tmp_path / "run.gif")
    with pytest.raises(OSError):
        save_gif([draw(TASK, Scene(), 60)], tmp_path / "nowhere" / "run.gif")


# ---- canvases -------------------------------------------------------------------------------------


def test_the_canvas_says_what_it_draws_with():
    said = []
    canvas = gl.open_canvas(TASK, 120, "pillow", said.append)
    assert canvas.name == "pillow" and said == ["drawing with pillow"]
    scene = Scene(robot=(0.0, 0.0))
    np.testing.assert_array_equal(np.asarray(canvas.draw(scene)), np.asarray(draw(TASK, scene, 120)))
    canvas.close()


def test_an_unknown_canvas_is_refused():
    with pytest.raises(ValueError, match="expected one of auto, pillow, egl, osmesa"):
        gl.open_canvas(TASK, 120, "vulkan")


@pytest.mark.parametrize("backend", gl.BACKENDS)
def test_mujoco_draws_or_says_that_it_cannot(backend):
    said = []
    if not gl.works(backend):
        with pytest.raises(RuntimeError, match=f"cannot draw over {backend}"):
            gl.open_canvas(TASK, 120, backend, said.append)
        pytest.skip(f"MuJoCo cannot draw over {backend} on this machine")
    canvas = gl.open_canvas(TASK, 120, backend, said.append)
    line = Line(np.array([[0.0, 0.0], [0.0, 1.0]]))
    plain = np.asarray(canvas.draw(Scene(robot=(0.0, 0.0))), int)
    full = Scene(robot=(0.0, 0.0), lines=(line,), obstacles=(Obstacle(0, "box", (-1, 1, 0), (0.3, 0.3, 0.2)),))
    assert said == [f"drawing with mujoco ({backend})"]
    assert plain.shape == (120, 120, 3) and plain.std() > 5
    changed = np.abs(np.asarray(canvas.draw(full), int) - plain).max(axis=2) > 40
    assert 0.005 < changed.mean() < 0.3
    canvas.close()


def test_auto_ends_with_a_canvas_either_way():
    said = []
    canvas = gl.open_canvas(TASK, 120, say=said.append)
    assert len(said) == 1 and canvas.name in said[0]
    assert np.asarray(canvas.draw(Scene())).std() > 5
    canvas.close()


def test_the_package_itself_loads_no_simulator():
    code = "import sys, ddiffpg_sim; raise SystemExit('mujoco' in sys.modules or 'gymnasium' in sys.modules)"
    path = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", code], env=path, check=False).returncode == 0


# ---- arms -----------------------------------------------------------------------------------------


def test_an_arm_is_drawn_in_three_dimensions_by_pillow_too():
    task = tasks.make("panda-reach")
    with pytest.raises(ValueError, match="a picture from above needs a robot on a floor"):
        draw(task, Scene())
    canvas = gl.open_canvas(task, 160, "pillow", lambda text: None)
    plain = np.asarray(canvas.draw(Scene()), int)
    assert canvas.name == "pillow" and plain.shape == (160, 160, 3)
    bent = task.start(np.random.default_rng(0), 1)[0][0]
    bent[0] += 1.0
    line = Line(np.array([[-0.3, 0.3, 0.9], [-0.3, -0.3, 0.9]]), mode_color(1))
    box = Obstacle(0, "box", (-0.2, 0.3, 0.2), (0.1, 0.1, 0.1))
    for scene in (Scene(qpos=bent), Scene(lines=(line,)), Scene(obstacles=(box,))):
        changed = np.abs(np.asarray(canvas.draw(scene), int) - plain).max(axis=2) > 40
        assert 0.002 < changed.mean() < 0.3
    np.testing.assert_array_equal(canvas.draw(Scene()), plain)
    canvas.close()


@pytest.mark.parametrize("backend", gl.BACKENDS)
def test_mujoco_draws_an_arm_as_it_stands(backend):
    if not gl.works(backend):
        pytest.skip(f"MuJoCo cannot draw over {backend} on this machine")
    task = tasks.make("panda-drawer")
    canvas = gl.SolidCanvas(task, 120, backend)
    plain = np.asarray(canvas.draw(Scene()), int)
    shut = task.start(np.random.default_rng(0), 1)[0][0]
    shut[7:] = 0.0
    line = Line(np.array([[-0.9, 0.3, 0.9], [-0.9, -0.3, 0.9]]))
    changed = np.abs(np.asarray(canvas.draw(Scene(qpos=shut, lines=(line,))), int) - plain).max(axis=2) > 25
    assert plain.std() > 5 and 0.005 < changed.mean() < 0.5
    canvas.close()


def test_a_view_comes_near_and_leaves_the_robot_out():
    task = tasks.make("panda-drawer")
    canvas = gl.open_canvas(task, 160, "pillow", lambda text: None)
    whole = np.asarray(canvas.draw(Scene()), int)
    near, alone = (canvas.draw(Scene(view=View((-0.6, 0.0, 0.58), 0.4, 0.0, -25.0, robot))) for robot in (True, False))
    drawer = np.array([145, 112, 66])  # a box's front

    def brown(picture) -> float:
        return float((np.abs(np.asarray(picture, int) - drawer).max(axis=2) < 30).mean())

    assert brown(near) > 3 * brown(whole)
    assert brown(alone) > brown(near), "nothing stands before the drawers"
    canvas.close()


def test_a_robot_of_many_bodies_is_drawn_with_its_limbs():
    task = tasks.make("antmaze-v1")  # x from -14 to 6, y from -10 to 10
    canvas = gl.flat_canvas(task, PIXELS)
    qpos = STANDING.copy()
    qpos[0], qpos[1] = 0.0, 4.0
    picture = canvas.draw(Scene(robot=(0.0, 4.0), qpos=qpos))

    def seen(x: float, y: float):
        return picture.getpixel((round((x + 14) * 25), round((10 - y) * 25)))

    assert seen(0.0, 4.0) == ROBOT
    assert [seen(x, 4.0 + y) for x in (-0.5, 0.5) for y in (-0.5, 0.5)] == [ROBOT] * 4, "its four legs"
    assert [seen(0.5, 4.0), seen(0.0, 4.5)] == [FLOOR] * 2, "between them"


# ---- tiles ----------------------------------------------------------------------------------------


def test_tiles_stand_side_by_side_and_name_their_colour():
    assert [tiles.columns_for(n) for n in range(1, 10)] == [1, 2, 3, 2, 3, 3, 4, 4, 4]
    picture = Image.new("RGB", (100, 80), WALL)
    page = tiles.sheet([tiles.Tile(picture, mode_color(i), f"mode {i}") for i in range(4)], "four modes " * 30)
    assert page.size == (2 * 106 + 6, 2 * (80 + tiles.LINE + 6) + tiles.LINE)
    shades = {page.getpixel((x, y)) for x in range(page.width) for y in range(page.height)}
    assert {mode_color(i) for i in range(4)} <= shades


def test_a_legend_has_a_line_for_what_does_not_fit_beside_the_rest():
    picture, entries = Image.new("RGB", (300, 100), WALL), [(mode_color(i), f"mode {i}") for i in range(3)]
    assert tiles.with_legend([picture], entries, "ways").size == (312, 100 + 6 + 4 * tiles.LINE)
    assert tiles.with_legend([picture, picture], entries, "ways").size == (618, 100 + 6 + 3 * tiles.LINE)
