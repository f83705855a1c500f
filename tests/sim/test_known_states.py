"""The policies that ship know the states of their own drives, and tell others from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

from ddiffpg.contract import Contract
from ddiffpg.controller import Controller, ControllerConfig
from ddiffpg.known_states import Nearest
from ddiffpg.observation import observe
from ddiffpg.policy import Policy
from ddiffpg_sim import tasks
from ddiffpg_sim.closed_loop import Conditions, run_episode
from ddiffpg_sim.robot import SimRobot

POLICIES = sorted((Path(__file__).resolve().parents[2] / "policies").glob("*.onnx"))


@pytest.fixture(scope="module", params=POLICIES, ids=lambda path: path.stem)
def drives(request) -> tuple[Policy, np.ndarray, list[str]]:
    """A policy, what it observed in some drives that arrived ``[N, O]``, and the controller's warnings meanwhile.

    An ant that falls over does not arrive, and what it then observes it rightly does not know.
    """
    policy = Policy.load(request.param)
    robot, seen, said, arrived = SimRobot(tasks.make(policy.contract.task)), [], [], 0
    for seed in range(8):
        robot.reset(seed)
        config = ControllerConfig(noise_scale=float(seed % 2))
        controller = Controller(policy, config, np.random.default_rng(seed))
        drive, warned = [], []

        def watch(robot, decision, drive=drive, warned=warned):
            drive.append(observe(policy.contract, robot.state()))
            warned.extend(decision.warnings)

        if run_episode(robot, controller, Conditions(policy.contract.max_steps), watch).success:
            arrived, seen, said = arrived + 1, seen + drive, said + warned
        if arrived == 4:
            break
    assert arrived == 4
    return policy, np.array(seen, float), said


def path_columns(contract: Contract) -> list[int]:
    names = [field.name for field in contract.observation]
    return [names.index(name) for name in contract.path]


def ratios(policy: Policy, observations: np.ndarray) -> np.ndarray:
    contract = policy.contract
    nearest = Nearest(contract.known_states, path_columns(contract), contract.path_tolerance)
    return np.array([nearest(observation) for observation in observations])


def test_its_own_drives_give_no_warning(drives):
    policy, seen, said = drives
    assert len(seen) > 20 and not said
    assert (ratios(policy, seen) <= 1.0).all()


def test_it_may_stand_wherever_it_drives(drives):
    policy, seen, _ = drives
    speeds = [i for i, field in enumerate(policy.contract.observation) if "velocity" in field.source]
    seen = seen.copy()
    seen[:, speeds] = 0.0
    assert (ratios(policy, seen) <= ControllerConfig().unknown_hold).all()


def test_a_robot_that_was_carried_away_is_noticed(drives):
    policy, seen, _ = drives
    columns = path_columns(policy.contract)
    reach = np.ptp(seen[:, columns], axis=0).max()
    away = seen.copy()
    away[:, columns[0]] += 3.0 * reach
    assert (ratios(policy, away) > ControllerConfig().unknown_hold).all()


@pytest.mark.parametrize("factor", [1000.0, 180.0 / np.pi], ids=["millimetres", "degrees"])
def test_other_units_are_noticed_as_soon_as_it_has_left_the_start(drives, factor):
    policy, seen, _ = drives
    strange = ratios(policy, seen * factor) > ControllerConfig().unknown_hold
    assert strange[len(strange) // 8 :].mean() > 0.8


def test_fields_in_each_others_place_are_noticed_on_the_way(drives):
    policy, seen, _ = drives
    assert (ratios(policy, seen[:, ::-1]) > ControllerConfig().unknown_hold).any()
