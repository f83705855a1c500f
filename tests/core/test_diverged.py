"""A training that diverges stops aloud, and what it learned from then is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddiffpg_core import checkpoint
from ddiffpg_core.run import RunError
from ddiffpg_core.train import train
from tests.core.test_run import nothing_learned, parts, tiny_run


@pytest.mark.parametrize("part", ["actor", "critic", "novelty"])
def test_training_that_diverges_stops_aloud_before_anything_of_it_is_saved(tmp_path, part):
    # 1e30 is a step that no network survives; the log is written too seldom to see it first
    run = tiny_run(tmp_path / "run", f"{part}.learning_rate=1.0e+30", "train.log_every=1000",
                   "train.checkpoint_every=1")
    with pytest.raises(RunError, match=r"(loss/\w+|the action) is not finite at iteration 1\d; .*learning rate"):
        train(*parts(run), nothing_learned, run, run.config.train)
    state = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert state["iteration"] == 10
    for network in (state["agent"]["actor"], state["agent"]["critic"]["online"], state["agent"]["novelty"]):
        assert all(torch.isfinite(p).all() for p in network.values())


def test_what_a_diverged_update_learned_from_is_kept(tmp_path):
    run = tiny_run(tmp_path / "run", "critic.learning_rate=1.0e+30", "train.updates_per_iteration=3")
    with pytest.raises(RunError, match=r"loss/\w+ is not finite at iteration 11; .*diverged\.pt .* of 3"):
        train(*parts(run), nothing_learned, run, run.config.train)
    kept = checkpoint.load(run.folder / "diverged.pt")
    assert kept["iteration"] == 11
    assert 1 <= kept["update"] <= 3
    assert not np.isfinite(list(kept["losses"].values())).all()
    batch = kept["batch"]
    assert batch["x"].shape[:2] == batch["reward"].shape == batch["rows"]["slot"].shape
    assert torch.isfinite(batch["x"]).all()  # the data is sound, it was the step that was too long


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_every_update_of_an_iteration_is_looked_at(tmp_path, bad):
    run = tiny_run(tmp_path / "run")
    learned = [({"critic": torch.tensor(0.5), "actor": torch.tensor(0.1 * i)}, {"x": torch.tensor([i])})
               for i in range(3)]
    run.check_losses(7, learned)
    assert not (run.folder / "diverged.pt").exists()
    for later in range(bad, 3):  # what comes after it is spoilt too, and tells nothing
        learned[later][0]["actor"] = torch.tensor(float("nan"))
    file = run.folder / "diverged.pt"
    with pytest.raises(RunError, match=rf"loss/actor is not finite at iteration 7; .*{file} .* update {bad + 1} of 3"):
        run.check_losses(7, learned)
    kept = checkpoint.load(file)
    assert (kept["iteration"], kept["update"], kept["batch"]["x"].item()) == (7, bad + 1, bad)
    assert np.isnan(kept["losses"]["actor"])
    assert kept["losses"]["critic"] == 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_named(tmp_path, value):
    run = tiny_run(tmp_path / "run")
    run.check(3, {"loss/critic": torch.tensor(0.5), "the action": np.zeros((2, 2), np.float32)})
    with pytest.raises(RunError, match="loss/actor is not finite at iteration 3"):
        run.check(3, {"loss/critic": torch.tensor(0.5), "loss/actor": torch.tensor(value)})
    with pytest.raises(RunError, match="the action is not finite"):
        run.check(3, {"the action": np.array([[0.0, value]], np.float32)})
