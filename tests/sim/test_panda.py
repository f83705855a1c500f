"""Our Panda beside the maker's own description, as the package example-robot-data has it."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest

from ddiffpg_sim import panda
from tests.sim.support import arm

URDF = "robots/panda_description/urdf/panda.urdf"


def published_file() -> Path:
    try:
        files = metadata.files("example-robot-data") or []
    except metadata.PackageNotFoundError:
        pytest.skip("the package example-robot-data is not installed: it has the published Panda")
    [found] = [file for file in files if str(file).endswith(URDF)]
    return Path(str(found.locate()))


@pytest.fixture(scope="module")
def published() -> mujoco.MjModel:
    """The published description as a MuJoCo model: its kinematics, masses and limits, without its meshes."""
    robot = ElementTree.parse(published_file()).getroot()
    for link in robot.findall("link"):
        for shape in (*link.findall("visual"), *link.findall("collision")):
            link.remove(shape)
    # Frames without a mass may stay; fingers and hand stay bodies of their own.
    compiler = {"fusestatic": "false", "boundmass": "1e-9", "boundinertia": "1e-12", "balanceinertia": "true"}
    ElementTree.SubElement(ElementTree.SubElement(robot, "mujoco"), "compiler", compiler)
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(robot, encoding="unicode"))


@pytest.fixture(scope="module")
def ours() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(arm("panda-reach").model_xml())


def test_the_tip_and_every_link_are_where_they_are_published(published, ours):
    theirs, mine = mujoco.MjData(published), mujoco.MjData(ours)
    rng = np.random.default_rng(0)
    for qpos in rng.uniform(panda.LOW, panda.HIGH, (200, 7)):
        theirs.qpos[:7], mine.qpos[:7] = qpos, qpos
        mujoco.mj_kinematics(published, theirs)
        mujoco.mj_kinematics(ours, mine)
        frames = panda.forward(qpos[None], (0.0, 0.0, 0.0))
        np.testing.assert_allclose(frames.tip[0], theirs.body("panda_hand_tcp").xpos, atol=1e-6)
        np.testing.assert_allclose(frames.rotation[0].ravel(), theirs.body("panda_link7").xmat, atol=1e-6)
        for name in (*(f"link{i}" for i in range(1, 8)), "hand"):
            place = mine.body(name).xpos - mine.body("robot").xpos
            np.testing.assert_allclose(place, theirs.body(f"panda_{name}").xpos, atol=1e-6)
            np.testing.assert_allclose(mine.body(name).xmat, theirs.body(f"panda_{name}").xmat, atol=1e-6)


def test_limits_are_the_published_ones(published):
    urdf = ElementTree.parse(published_file()).getroot()
    for i, name in enumerate(panda.JOINTS):
        joint = urdf.find(f"joint[@name='{name}']")
        assert joint is not None
        limit = joint.find("limit")
        assert limit is not None
        stated = [float(limit.attrib[key]) for key in ("lower", "upper", "velocity", "effort")]
        assert stated == [panda.LOW[i], panda.HIGH[i], panda.VELOCITY[i], panda.TORQUE[i]]


def test_masses_and_inertias_are_the_published_ones(published, ours):
    pairs = [("robot", "panda_link0"), *((f"link{i}", f"panda_link{i}") for i in range(1, 8)), ("hand", "panda_hand")]
    for mine, theirs in pairs:
        a, b = ours.body(mine), published.body(theirs)
        np.testing.assert_allclose(a.mass, b.mass, rtol=1e-6)
        np.testing.assert_allclose(a.ipos, b.ipos, atol=1e-6)
        np.testing.assert_allclose(full_inertia(a), full_inertia(b), atol=1e-6)
    fingers = [published.body(f"panda_{side}finger").mass[0] for side in ("left", "right")]
    assert ours.body("fingers").mass[0] == pytest.approx(sum(fingers))


def full_inertia(body) -> np.ndarray:
    """The inertia ``[3, 3]`` about the centre of mass in the body's own frame."""
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, body.iquat)
    axes = turn.reshape(3, 3)
    return axes @ np.diag(body.inertia) @ axes.T
