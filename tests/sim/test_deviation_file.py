"""The file that says how a robot differs: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.deviation_file import deviation_text, read_deviation
from ddiffpg_sim.dynamics import Dynamics
from ddiffpg_sim.signals import Deviation, Signals
from ddiffpg_sim.simulator import Simulator

OTHER = Deviation(
    Dynamics(mass=1.3, dry_friction=0.2), Signals(action_delay=0.06), Simulator(timestep=0.005, integrator="Euler")
)


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(deviation_text(OTHER, ["found on a Friday"]))
    assert read_deviation(path) == OTHER
    assert path.read_text().startswith("# found on a Friday\n") and "strength" not in path.read_text()


@pytest.mark.parametrize(
    "text, said",
    [
        ("dynamics: {weight: 2}", "dynamics: unknown key 'weight'"),
        ("dynamics: {mass: heavy}", "dynamics: mass is 'heavy'"),
        ("dynamics: {mass: 0}", "mass is 0"),
        ("signals: {dropout: 1.0}", "dropout is 1.0"),
        ("simulator: {integrator: euler}", "integrator is 'euler': expected one of Euler"),
        ("simulator: {contact_time: 0}", "contact_time is 0.0"),
        ("- mass", "expected keys and values"),
        ("a: [", "not YAML"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, text, said):
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_deviation(path)
    assert str(path) in str(error.value) and said in str(error.value)


def test_another_simulator_is_written_into_the_model():
    model = mujoco.MjModel.from_xml_string(tasks.make("pointmaze-v1").model_xml())
    robot = model.geom("robot").id
    Simulator(timestep=0.004, integrator="Euler", cone="elliptic", contact_time=0.5).write(model)
    assert (model.opt.timestep, model.opt.integrator) == (0.004, mujoco.mjtIntegrator.mjINT_EULER)
    assert model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    np.testing.assert_allclose(model.geom_solref[robot], [0.02, 1.0])
    same = mujoco.MjModel.from_xml_string(tasks.make("pointmaze-v1").model_xml())
    Simulator().write(same)
    assert same.opt.timestep == pytest.approx(0.02) and same.geom_solref[robot, 0] == pytest.approx(0.04)
    assert Simulator(motor_lag=0.02).keep(0.02) == pytest.approx(np.exp(-1)) and Simulator().keep(0.02) == 0.0
