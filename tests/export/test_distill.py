"""The student: that it learns the teacher's map from noise to action, and with it keeps every mode."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddiffpg_core.checkpoint import SavedPolicy, save, save_policy
from ddiffpg_export.distill import Lessons, clamped_error, distill, distill_policy, recorded, split, student_loss
from ddiffpg_export.measure import SAMPLES, wasserstein
from ddiffpg_export.student import (
    DistillConfig,
    DistillError,
    ModeError,
    RunFileError,
    Student,
    StudentReport,
    load_student,
    new_student,
    reading_run,
    student_actions,
)
from tests.export.support import DOWN, QUICK, SIDE, UP, roof_spec, small_files_only, two_peaks

SHORT = replace(QUICK, iterations=20)


@pytest.fixture(scope="module")
def trajectories(distilled: Path) -> list[np.ndarray]:
    return recorded(distilled, roof_spec())


@pytest.fixture(scope="module")
def peaks() -> SavedPolicy:
    return two_peaks()


def at_start(policy: SavedPolicy, mode: int, network: Student | None, count: int = 2000) -> torch.Tensor:
    """Actions where the ways part, (0.1, 0), always of the same noise: ``[count, 2]``."""
    obs = torch.tensor([0.1, 0.0]).expand(count, -1)
    noise = torch.randn(count, policy.actor.noise_dim, generator=torch.Generator().manual_seed(1))
    embedding = torch.from_numpy(policy.embeddings()[mode]).expand(count, -1)
    with torch.no_grad():
        return student_actions(policy, network, obs, embedding, noise)


# ---- what is taught --------------------------------------------------------------------------------


def test_the_states_of_the_teacher_end_in_its_own_action(policy: SavedPolicy) -> None:
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(50, policy.actor.noise_dim, generator=random)
    x = torch.randn(50, policy.features.size, generator=random)
    embedding = torch.randn(50, 4, generator=random)
    states = policy.actor.states(noise, x, embedding)
    assert len(states) == policy.actor.steps
    torch.testing.assert_close(states[-1].clamp(-1, 1), policy.actor.from_noise(noise, x, embedding), rtol=0, atol=1e-6)


def test_error_is_of_the_clamped_action_and_keeps_its_gradient() -> None:
    #                     both beyond the same bound | inside | student beyond the other bound | teacher inside
    action = torch.tensor([1.5, -3.0, 0.5, -1.5, 1.5], requires_grad=True)
    target = torch.tensor([1.0, -1.0, 0.25, 1.0, 0.5])
    error = clamped_error(action, target)
    assert error.tolist() == [0.0, 0.0, 0.25, -2.5, 1.0]
    error.square().sum().backward()
    assert action.grad is not None
    assert action.grad.tolist() == [0.0, 0.0, 0.5, -5.0, 2.0]


def test_a_student_of_two_steps_is_taught_midpoint_and_action(policy: SavedPolicy) -> None:
    network = new_student(policy, DistillConfig(steps=2, hidden=(8,)))
    x, embedding = torch.zeros(3, policy.features.size), torch.zeros(3, 4)
    noise = torch.zeros(3, policy.actor.noise_dim)
    middle, action = (s.detach() for s in network.states(x, embedding, noise))
    right = Lessons(x, embedding, noise, [middle, action])
    wrong = Lessons(x, embedding, noise, [middle + 1.0, action])
    assert student_loss(network, right).item() == pytest.approx(0.0, abs=1e-12)
    assert student_loss(network, wrong).item() == pytest.approx(1.0)


def test_replay_is_read_as_it_was_recorded(distilled: Path, trajectories: list[np.ndarray]) -> None:
    content = torch.load(distilled / "checkpoint.pt", weights_only=True)["agent"]["replay"]
    length = content["length"]["__array__"].numpy()
    assert [len(t) - 1 for t in trajectories] == [n for n in length if n > 0]
    first = int(np.flatnonzero(length)[0])
    np.testing.assert_array_equal(trajectories[0], content["obs"]["__array__"][first, : length[first] + 1].numpy())


def test_states_held_out_are_of_other_trajectories() -> None:
    trajectories = [np.full((5, 2), i, np.float32) for i in range(20)]
    train, held = split(trajectories, QUICK)
    assert len(train) + len(held) == 100
    assert set(train[:, 0].tolist()).isdisjoint(held[:, 0].tolist())
    assert len(set(held[:, 0].tolist())) == 2  # a tenth


# ---- that it learns --------------------------------------------------------------------------------


def test_error_falls(policy: SavedPolicy, distilled: Path, trajectories: list[np.ndarray]) -> None:
    early = distill_policy(policy, trajectories, SHORT).report.errors
    late = load_student(distilled, policy).report.errors
    assert list(late) == [-1, UP, DOWN]
    for mode, error in late.items():
        assert error.rms < 0.4 * early[mode].rms
        assert error.rms < 0.08
        assert error.far < 0.01
        assert error.distance < error.distance_floor + 0.03


@pytest.mark.parametrize("steps", [1, 2])
def test_both_peaks_are_kept(steps: int, peaks: SavedPolicy) -> None:
    states = [np.random.default_rng(i).uniform(0.0, 0.1, (50, 2)).astype(np.float32) for i in range(10)]
    student = distill_policy(peaks, states, replace(QUICK, steps=steps, iterations=2500))
    assert student.network is not None
    assert len(student.network.nets) == steps
    ours, theirs = at_start(peaks, -1, student.network)[:, 1], at_start(peaks, -1, None)[:, 1]
    for action in (ours, theirs):
        assert 0.3 < (action > 0).float().mean() < 0.7
        assert (action.abs() < 0.4).float().mean() < 0.15  # hardly anything between them
    assert ((ours > 0) == (theirs > 0)).float().mean() > 0.95  # the same noise, the same side but at the border


def test_each_mode_is_followed(policy: SavedPolicy, distilled: Path) -> None:
    network = load_student(distilled, policy).network
    for mode in (UP, DOWN):
        ours, theirs = at_start(policy, mode, network), at_start(policy, mode, None)
        assert (ours - theirs).abs().mean() < 0.05
        assert (ours[:, 1] * SIDE[mode]).mean() > 0.3


def test_the_teachers_own_number_of_steps_is_the_teacher(
    policy: SavedPolicy, trajectories: list[np.ndarray]
) -> None:
    student = distill_policy(policy, trajectories, DistillConfig(steps=5))
    assert student.network is None
    assert student.report.pairs == 0
    assert all(e.rms == 0.0 for e in student.report.errors.values())


def test_the_same_seed_gives_the_same_student(policy: SavedPolicy, trajectories: list[np.ndarray]) -> None:
    torch.manual_seed(1)
    first = distill_policy(policy, trajectories, SHORT)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = distill_policy(policy, trajectories, SHORT)
    assert torch.equal(before, torch.get_rng_state())
    assert first.report == second.report
    assert first.network is not None
    assert second.network is not None
    for a, b in zip(first.network.parameters(), second.network.parameters()):
        assert torch.equal(a, b)


def test_a_policy_without_modes_can_be_distilled(policy: SavedPolicy, trajectories: list[np.ndarray]) -> None:
    report = distill_policy(replace(policy, modes=()), trajectories, SHORT).report
    assert list(report.errors) == [-1]


def test_progress_sees_every_iteration(policy: SavedPolicy, trajectories: list[np.ndarray]) -> None:
    seen: list[int] = []
    distill_policy(policy, trajectories, SHORT, lambda items: (seen.append(i) or i for i in items))
    assert seen == list(range(20))


def test_wasserstein_by_hand() -> None:
    # Shifting a whole distribution by 0.25 moves it by 0.25, in whatever order its samples come.
    a = torch.rand(3 * SAMPLES, 2, generator=torch.Generator().manual_seed(0))
    b = a.reshape(3, SAMPLES, 2).flip(1).reshape(-1, 2)
    assert wasserstein(a, b) == 0.0
    assert wasserstein(a, b + 0.25) == pytest.approx(0.25, abs=1e-6)


# ---- the file, and what is wrong with files ----------------------------------------------------------


def test_report_survives_the_file() -> None:
    errors = {-1: ModeError(0.1, 0.2, 0.3, 0.4), 7: ModeError(0.5, 0.0, 0.1, math.pi)}
    report = StudentReport(2, 100, 1000, DistillConfig(steps=2, hidden=(3, 4)), errors)
    assert StudentReport.from_dict(report.to_dict()) == report


def test_student_is_the_same_after_loading(run_dir: Path, policy: SavedPolicy) -> None:
    report = distill(run_dir, roof_spec(), SHORT)
    again = load_student(run_dir, policy)
    assert again.report == report
    assert again.network is not None
    assert not again.network.training


@pytest.mark.parametrize("steps", [0, 3, 7])
def test_other_numbers_of_steps_are_refused(
    steps: int, policy: SavedPolicy, trajectories: list[np.ndarray]
) -> None:
    with pytest.raises(DistillError, match=f"steps is {steps}: expected 1 or 2 or 5"):
        distill_policy(policy, trajectories, DistillConfig(steps=steps))


def test_one_trajectory_is_too_few(policy: SavedPolicy) -> None:
    with pytest.raises(DistillError, match="holds 1 trajectories"):
        distill_policy(policy, [np.zeros((4, 2), np.float32)], SHORT)


@pytest.mark.parametrize("name", ["policy.pt", "checkpoint.pt"])
def test_missing_and_truncated_files_are_named(name: str, run_dir: Path) -> None:
    path = run_dir / name
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunFileError, match=f"{name}: cut short"):
        distill(run_dir, roof_spec(), SHORT)
    path.unlink()
    with pytest.raises(RunFileError, match=f"{name}: no such file"):
        distill(run_dir, roof_spec(), SHORT)


def test_a_checkpoint_without_replay_is_refused(run_dir: Path) -> None:
    save(run_dir / "checkpoint.pt", {"agent": {}})
    with pytest.raises(RunFileError, match=r"checkpoint\.pt: holds no replay \('replay'\)"):
        distill(run_dir, roof_spec(), SHORT)


def test_a_replay_of_another_task_is_refused(run_dir: Path) -> None:
    replay = {"obs": torch.zeros(3, 5, 9), "length": np.array([4, 4, 4])}
    save(run_dir / "checkpoint.pt", {"agent": {"replay": replay}})
    with pytest.raises(RunFileError, match=r"have 9 numbers, those of task 'roof' have 2"):
        distill(run_dir, roof_spec(), SHORT)


def test_a_policy_of_another_task_is_refused(run_dir: Path) -> None:
    with pytest.raises(RunFileError, match="'roof', not 'maze'"):
        distill(run_dir, replace(roof_spec(), name="maze"), SHORT)


def test_student_of_a_policy_trained_on_is_refused(run_dir: Path, policy: SavedPolicy) -> None:
    changed = {k: v + 1e-3 if k == "net.0.bias" else v for k, v in policy.actor.state_dict().items()}
    other = type(policy.actor)(policy.features.size, 2, policy.config.actor)
    other.load_state_dict(changed)
    with reading_run(), pytest.raises(RuntimeError, match=r"another policy's student.*ddiffpg distill"):
        load_student(run_dir, replace(policy, actor=other))
    load_student(run_dir, replace(policy, report={}))  # a new evaluation of the same policy changes nothing


def test_student_that_is_missing_or_damaged_is_named(run_dir: Path, policy: SavedPolicy) -> None:
    from ddiffpg_core.checkpoint import CheckpointError, load

    content = load(run_dir / "student.pt")
    save(run_dir / "student.pt", {**content, "weights": {}})
    with pytest.raises(CheckpointError, match=r"student\.pt: damaged"):
        load_student(run_dir, policy)
    save(run_dir / "student.pt", {**content, "report": {"steps": 1}})
    with pytest.raises(CheckpointError, match=r"student\.pt: damaged"):
        load_student(run_dir, policy)
    (run_dir / "student.pt").unlink()
    with pytest.raises(CheckpointError, match="no such file; make it with: ddiffpg distill"):
        load_student(run_dir, policy)


def test_a_student_that_cannot_be_written_leaves_the_old_one(run_dir: Path) -> None:
    from ddiffpg_core.checkpoint import CheckpointError

    before = (run_dir / "student.pt").read_bytes()
    with small_files_only(), pytest.raises(CheckpointError, match=r"student\.pt: could not be written"):
        distill(run_dir, roof_spec(), SHORT)
    assert (run_dir / "student.pt").read_bytes() == before
    assert sorted(p.name for p in run_dir.iterdir()) == ["checkpoint.pt", "policy.pt", "student.pt"]


def test_a_run_directory_of_another_policy_file(run_dir: Path, policy: SavedPolicy) -> None:
    """The student goes by what the policy does: its task, seed and report may differ."""
    save_policy(run_dir / "policy.pt", replace(policy, transitions=9))
    load_student(run_dir, replace(policy, transitions=9))
