"""One teacher and one run for all tests of exporting; a test that changes files gets a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("onnx", reason="the extra 'export' is not installed")

import torch

from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_export.distill import distill
from tests.export.support import QUICK, roof_spec, trained_policy, write_run

torch.set_num_threads(1)  # the same results on every machine


@pytest.fixture(scope="session")
def policy() -> SavedPolicy:
    return trained_policy()


@pytest.fixture(scope="session")
def distilled(policy: SavedPolicy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with a good student of one step. Not to be written to."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "roof", policy)
    distill(folder, roof_spec(), QUICK)
    return folder


@pytest.fixture
def run_dir(distilled: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    return Path(shutil.copytree(distilled, tmp_path / "run"))
