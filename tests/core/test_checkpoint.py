"""Files of a run: exact, whole or as they were before, and refused for what is wrong with them."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddiffpg_core import checkpoint
from ddiffpg_core.checkpoint import CheckpointError, SavedPolicy, load, load_policy, save, save_policy
from ddiffpg_core.config import Config, override
from ddiffpg_core.critic import CriticEnsemble
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Mode
from tests.core.support import plane

SETTINGS = override(Config(), ["actor.hidden=[8]", "actor.embedding_dim=2"])
NOBODY = 65534


def policy() -> SavedPolicy:
    features = Features(plane())
    modes = tuple(Mode(i, (0,) * (i > 0), np.full(2, i, np.float32), np.full((5, 2), i / 3)) for i in (0, 4))
    return SavedPolicy("plane", 3, 1000, "abc", SETTINGS, features, DiffusionActor(features.size, 2, SETTINGS.actor),
                       modes, {"modes_learned": 2})


# ---- what goes in comes out -----------------------------------------------------------------------


def test_a_policy_comes_back_with_the_critics_that_choose_for_it(tmp_path):
    config = override(SETTINGS, ["actor.candidates=4", "critic.hidden=[8]"])
    critic = CriticEnsemble(Features(plane()).size + 2, 2, config.critic)
    save_policy(tmp_path / "policy.pt", replace(policy(), config=config, judges=critic))
    back = load_policy(tmp_path / "policy.pt", plane())
    x = torch.randn(2, 5, Features(plane()).size + 2)
    assert torch.equal(back.judges.value(x), critic.value(x))
    save_policy(tmp_path / "policy.pt", policy())
    assert load_policy(tmp_path / "policy.pt", plane()).judges is None


def test_arrays_tensors_and_values_come_back_as_they_were(tmp_path):
    rng = np.random.default_rng(0)
    content = {
        "array": rng.normal(size=(2, 3)), "narrow": rng.normal(size=(6, 4))[::2, 1:].astype(np.float32),
        "flags": np.array([True, False]), "whole": np.arange(3), "empty": np.zeros((0, 4)), "number": np.array(2.5),
        "tensor": torch.arange(3.0), "nested": [{"way": {3: np.ones(2)}}, (1, "a", None, 2**90)],
        "scalar": np.float64(0.1), "rng": rng.bit_generator.state,
    }
    save(tmp_path / "x.pt", content)
    back = load(tmp_path / "x.pt")
    for name in ("array", "narrow", "flags", "whole", "empty", "number"):
        assert back[name].dtype == content[name].dtype
        assert back[name].shape == content[name].shape
        np.testing.assert_array_equal(back[name], content[name])
    assert torch.equal(back["tensor"], content["tensor"])
    np.testing.assert_array_equal(back["nested"][0]["way"][3], [1, 1])
    assert back["nested"][1] == content["nested"][1]
    assert back["scalar"] == 0.1
    assert back["rng"] == content["rng"]


def test_a_policy_comes_back_and_acts_alike(tmp_path):
    mine = policy()
    save_policy(tmp_path / "policy.pt", mine)
    back = load_policy(tmp_path / "policy.pt", plane())
    assert (back.task, back.seed, back.transitions, back.commit) == ("plane", 3, 1000, "abc")
    assert back.config == mine.config
    assert back.report == mine.report
    assert [(m.id, m.lineage) for m in back.modes] == [(0, ()), (4, (0,))]
    np.testing.assert_array_equal(back.modes[1].prototype, mine.modes[1].prototype)
    assert set(back.embeddings()) == {-1, 0, 4}
    assert (back.embeddings()[-1] == 0).all()
    x = torch.randn(3, mine.features.size)
    noise, wide = torch.randn(3, mine.actor.noise_dim), torch.ones(3, 2)
    assert torch.equal(back.actor.from_noise(noise, x, wide), mine.actor.from_noise(noise, x, wide))


# ---- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99, -1])
def test_a_file_cut_short(tmp_path, kept):
    path = tmp_path / "checkpoint.pt"
    save(path, {"numbers": torch.arange(10000.0)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: cut short or not a checkpoint"):
        load(path)


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_foreign_file_runs_nothing(tmp_path):
    for name in ("by_torch", "by_pickle"):
        path, mark = tmp_path / name, tmp_path / f"{name}.mark"
        trap = {"format": checkpoint.FORMAT, "x": Trap(f"touch {mark}")}
        torch.save(trap, path) if name == "by_torch" else path.write_bytes(pickle.dumps(trap, 2))
        with pytest.raises(CheckpointError, match=rf"{name}: cut short or not a checkpoint"):
            load(path)
        assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", os.urandom(5000), b"PK\x03\x04" + bytes(100)])
def test_anything_else(tmp_path, content):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"photo\.jpg: cut short or not a checkpoint"):
        load(path)


@pytest.mark.parametrize("content", [{"format": 999}, {"weights": torch.ones(2)}, [1, 2], torch.ones(2), {}])
def test_a_file_of_torch_in_another_format(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=rf"model\.pt: not a checkpoint of format {checkpoint.FORMAT}"):
        load(tmp_path / "model.pt")


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: no such file"):
        load(tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        load(tmp_path)


def test_a_policy_for_another_task(tmp_path):
    save_policy(tmp_path / "policy.pt", policy())
    with pytest.raises(CheckpointError, match=r"policy\.pt: is a policy for task 'plane', not 'other'"):
        load_policy(tmp_path / "policy.pt", replace(plane(), name="other"))


def test_a_policy_whose_task_has_changed(tmp_path):
    save_policy(tmp_path / "policy.pt", policy())
    spec = plane()
    wider = replace(spec, observation=(*spec.observation, replace(spec.observation[0], name="z")))
    with pytest.raises(CheckpointError, match=r"policy\.pt: does not fit task 'plane'"):
        load_policy(tmp_path / "policy.pt", wider)


def test_a_checkpoint_is_no_policy(tmp_path):
    save(tmp_path / "checkpoint.pt", {"iteration": 3, "agent": {}})
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: is a policy for task None"):
        load_policy(tmp_path / "checkpoint.pt", plane())


@pytest.mark.parametrize("change", [{"config": {"old": {}}}, {"config": 3}, {"modes": [{"id": 0}]}, {"actor": {}}])
def test_a_policy_of_another_version(tmp_path, change):
    save_policy(tmp_path / "policy.pt", policy())
    raw = torch.load(tmp_path / "policy.pt", weights_only=True)
    torch.save({**raw, **change}, tmp_path / "policy.pt")
    with pytest.raises(CheckpointError, match=r"policy\.pt"):
        load_policy(tmp_path / "policy.pt", plane())


# ---- whole, or as it was before -------------------------------------------------------------------


def assert_unharmed(folder: Path, content: dict) -> None:
    """The file is what it was, and nothing is left lying about."""
    assert [p.name for p in folder.iterdir()] == ["checkpoint.pt"]
    assert torch.equal(load(folder / "checkpoint.pt")["numbers"], content["numbers"])


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file can grow beyond ``size`` bytes."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


SMALL, LARGE = {"numbers": torch.arange(10.0)}, {"numbers": torch.arange(1_000_000.0)}


@pytest.mark.parametrize("limit", [0, 100, 5000, 1_000_000, 4_000_000])
def test_no_room_for_the_new_one(tmp_path, limit):
    path = tmp_path / "checkpoint.pt"
    save(path, SMALL)
    with file_size_limit(limit), pytest.raises(CheckpointError, match=r"t\.pt: could not be written .*unharmed"):
        save(path, LARGE)
    assert_unharmed(tmp_path, SMALL)
    save(path, LARGE)  # and with room again it goes on
    assert_unharmed(tmp_path, LARGE)


def test_disk_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    try:
        save(disk / "checkpoint.pt", SMALL)
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt: could not be written .*unharmed"):
            save(disk / "checkpoint.pt", LARGE)
        assert_unharmed(disk, SMALL)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do everything: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o500, 0o555, 0o444, 0o000])
def test_no_permission(mode):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder cannot be entered by others
        outer, folder = Path(name), Path(name) / "run"
        outer.chmod(0o755)
        folder.mkdir()
        save(folder / "checkpoint.pt", SMALL)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        folder.chmod(mode)
        try:
            with as_nobody(), pytest.raises(CheckpointError, match=r"checkpoint\.pt: could not be written"):
                save(folder / "checkpoint.pt", LARGE)
        finally:
            folder.chmod(0o755)
        assert_unharmed(folder, SMALL)


def test_whoever_reads_finds_it_whole(tmp_path):
    # a process saves again and again, and is killed in the midst of it
    path = tmp_path / "checkpoint.pt"
    code = (
        "import itertools, pathlib, sys, torch\n"
        "from ddiffpg_core.checkpoint import save\n"
        "for i in itertools.count():\n"
        "    save(pathlib.Path(sys.argv[1]), {'numbers': torch.full((400_000,), i)})\n"
        "    print(i, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = set()
        while len(seen) < 20:
            numbers = load(path)["numbers"]
            assert (numbers == numbers[0]).all()
            seen.add(int(numbers[0]))
        process.kill()
    assert (load(path)["numbers"] >= max(seen)).all()


def test_no_folder(tmp_path):
    with pytest.raises(CheckpointError, match="could not be written"):
        save(tmp_path / "gone" / "checkpoint.pt", SMALL)


def test_what_cannot_be_saved_harms_nothing(tmp_path):
    save(tmp_path / "checkpoint.pt", SMALL)
    with pytest.raises(Exception, match="pickle"):
        save(tmp_path / "checkpoint.pt", {"numbers": lambda: 0})
    assert_unharmed(tmp_path, SMALL)


def test_a_save_that_was_killed_is_no_hindrance(tmp_path):
    save(tmp_path / "checkpoint.pt", SMALL)
    (tmp_path / "checkpoint.pt.part").write_bytes(b"half of it")
    assert torch.equal(load(tmp_path / "checkpoint.pt")["numbers"], SMALL["numbers"])
    save(tmp_path / "checkpoint.pt", LARGE)
    assert_unharmed(tmp_path, LARGE)
