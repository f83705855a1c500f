"""What ``make`` says where something is missing. (That it works where all is there is for .ci/run to see.)"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make_venv(folder: Path, python: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": python, "PATH": os.environ["PATH"] if path is None else path}
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "make_venv"), str(folder), "sim"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def fake_python(folder: Path, body: str) -> str:
    """A program that stands in for a Python, as a shell script."""
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_an_interpreter_of_another_version(tmp_path: Path) -> None:
    python = fake_python(tmp_path, "exit 1")  # it is asked for its version first
    done = make_venv(tmp_path / "venv", python)
    assert done.returncode == 2
    assert "not a Python 3.10 to 3.13" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_no_interpreter_at_all(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("cat", "cksum", "tr"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = make_venv(tmp_path / "venv", "", path=str(tools))
    assert done.returncode == 2
    assert "no Python 3.10 to 3.13 found" in done.stderr
    assert "sudo apt install python3" in done.stderr


def test_python_without_its_venv_module(tmp_path: Path) -> None:
    python = fake_python(tmp_path, 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac')
    done = make_venv(tmp_path / "venv", python)
    assert done.returncode == 2
    assert "sudo apt install python3-venv" in done.stderr


def test_demo_installs_no_torch() -> None:
    # As a user calls it: not with what a make around this test was told, such as VENV.
    told = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "VENV")
    own = {k: v for k, v in os.environ.items() if k not in told}
    done = subprocess.run(["make", "-n", "demo"], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    assert "make_venv .venv sim,ros" in done.stdout


@pytest.mark.parametrize("target", ["help", "demo", "test", "train", "bench", "tables", "films", "lint"])
def test_every_target_is_there(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
