"""Property tests are about what comes out, not how fast: on a busy machine a time limit would only fail at random."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from ddiffpg.policy import Policy
from tests.robot.controllers import WORLDS
from tests.robot.scripted_policy import write_policy

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def policies(tmp_path_factory):
    """A policy of each world, by name."""
    folder = tmp_path_factory.mktemp("policies")
    return {name: Policy.load(write_policy(folder / f"{name}.onnx", ways)) for name, ways in WORLDS.items()}
