"""The ONNX graph: the same numbers as torch, the same bytes each time, and nothing for a mode it does not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ddiffpg.policy import Policy, PolicyError
from ddiffpg_core.checkpoint import SavedPolicy, load_policy
from ddiffpg_core.choice import ANY, choose
from ddiffpg_core.config import override
from ddiffpg_core.critic import CriticEnsemble
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_export.describe import Subject, make_contract
from ddiffpg_export.graph import IR_VERSION, OPSET, GraphBuilder, policy_graph
from ddiffpg_export.onnx_export import to_bytes
from ddiffpg_export.parity import LIMIT, UNROLLED_LIMIT, parity, torch_actions
from ddiffpg_export.student import (
    DistillConfig,
    SavedStudent,
    StudentReport,
    load_student,
    new_student,
    student_actions,
)
from tests.export.support import DOWN, UP, roof_spec, world

OBSERVATIONS = np.random.default_rng(0).uniform([-0.2, -0.7], [1.2, 0.7], (3000, 2)).astype(np.float32)
Write = Callable[..., Policy]


def student_of(policy: SavedPolicy, steps: int) -> SavedStudent:
    """Not trained: the graph must be right for any weights."""
    config = DistillConfig(steps=steps, hidden=(32, 16))
    torch.manual_seed(steps)
    network = None if steps == policy.actor.steps else new_student(policy, config).eval()
    return SavedStudent(network, StudentReport(steps, 0, 0, config, {}))


@pytest.fixture
def write(policy: SavedPolicy, tmp_path: Path) -> Write:
    """Writes a policy file with the modes ``ids``, and opens it."""

    def write_policy(student: SavedStudent, ids: tuple[int, ...] = (UP, DOWN)) -> Policy:
        modes = tuple(m for m in policy.modes if m.id in ids)
        model = policy_graph(policy, student, roof_spec().action, ids)
        contract = make_contract(Subject(policy, modes, student.report), world(), policy.report)
        path = tmp_path / "policy.onnx"
        path.write_bytes(to_bytes(model, contract))
        return Policy.load(path)

    return write_policy


# ---- the same as torch -------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "limit"), [(1, LIMIT), (2, LIMIT), (5, UNROLLED_LIMIT)])
def test_parity(steps: int, limit: float, policy: SavedPolicy, write: Write) -> None:
    student = student_of(policy, steps)
    result = parity(write(student), policy, student, OBSERVATIONS, seed=1)
    assert result.rows == 3000
    assert result.limit == limit
    assert 0.0 < result.largest <= limit
    assert result.good


def test_parity_of_a_teacher_that_predicts_the_clean_action(policy: SavedPolicy, tmp_path: Path) -> None:
    """Nothing is divided by next to nothing there: as exact as a student."""
    config = override(policy.config, ["actor.predicts=action"])
    actor = DiffusionActor(policy.features.size, 2, config.actor).eval()
    policy = replace(policy, config=config, actor=actor)
    student = student_of(policy, 5)
    assert parity(written(policy, student, tmp_path / "policy.onnx"), policy, student, OBSERVATIONS, 1).largest <= LIMIT


def test_parity_of_a_trained_student_on_recorded_observations(
    policy: SavedPolicy, distilled: Path, write: Write
) -> None:
    from ddiffpg_export.distill import recorded

    student = load_student(distilled, policy)
    observations = np.concatenate(recorded(distilled, roof_spec()))
    assert parity(write(student), policy, student, observations, seed=2).largest <= 1e-5


def test_parity_sees_another_student(policy: SavedPolicy, write: Write) -> None:
    file = write(student_of(policy, 1))
    assert not parity(file, policy, student_of(policy, 2), OBSERVATIONS, seed=1).good


def test_actions_are_in_physical_units(policy: SavedPolicy, distilled: Path, write: Write) -> None:
    student = load_student(distilled, policy)
    mode = np.full(3000, DOWN)
    noise = np.random.default_rng(3).standard_normal((3000, policy.actor.noise_dim), np.float32)
    action = write(student).act_batch(OBSERVATIONS, mode, noise)
    normal, _ = torch_actions(policy, student, OBSERVATIONS, mode, noise)
    np.testing.assert_allclose(action, roof_spec().action.to_physical(normal[:, 0]), atol=2e-5)
    assert np.abs(action[:, 0]).max() == 1.0  # the bounds are reached and kept
    assert np.abs(action[:, 1]).max() == 2.0


def test_a_batch_is_its_rows(policy: SavedPolicy, write: Write) -> None:
    file = write(student_of(policy, 1))
    mode = np.array([-1, UP, DOWN, UP])
    noise = np.random.default_rng(4).standard_normal((4, file.contract.noise_dim), np.float32)
    together = file.act_batch(OBSERVATIONS[:4], mode, noise)
    for i in range(4):
        np.testing.assert_allclose(file.act(OBSERVATIONS[i], int(mode[i]), noise[i]), together[i], atol=1e-6)


# ---- the best of a few --------------------------------------------------------------------------------


def judged(policy: SavedPolicy, count: int, norm: bool) -> SavedPolicy:
    """``policy`` choosing between ``count`` actions by critics of random weights."""
    settings = [f"actor.candidates={count}", "critic.hidden=[16, 24]", f"critic.layer_norm={norm}"]
    config = override(policy.config, settings)
    torch.manual_seed(7)
    inputs = policy.features.size + 2
    return replace(policy, config=config, judges=CriticEnsemble(inputs, 2, config.critic).requires_grad_(False))


def written(policy: SavedPolicy, student: SavedStudent, path: Path) -> Policy:
    model = policy_graph(policy, student, roof_spec().action, (UP, DOWN))
    contract = make_contract(Subject(policy, policy.modes, student.report), world(), policy.report)
    path.write_bytes(to_bytes(model, contract))
    return Policy.load(path)


@pytest.mark.parametrize(("steps", "limit"), [(1, LIMIT), (2, LIMIT), (5, UNROLLED_LIMIT)])
@pytest.mark.parametrize("norm", [True, False])
def test_parity_where_the_critic_chooses(
    steps: int, limit: float, norm: bool, policy: SavedPolicy, tmp_path: Path
) -> None:
    policy = judged(policy, 3, norm)
    student = student_of(policy, steps)
    file = written(policy, student, tmp_path / "policy.onnx")
    assert file.contract.candidates == 3
    assert file.contract.noise_dim == 3 * policy.actor.noise_dim
    assert 0.0 < parity(file, policy, student, OBSERVATIONS, seed=1).largest <= limit
    other = replace(policy, judges=CriticEnsemble(policy.features.size + 2, 2, policy.config.critic))
    assert not parity(file, other, student, OBSERVATIONS, seed=1).good


def test_asked_for_a_mode_its_critic_chooses_and_asked_for_none_the_first_is_taken(
    policy: SavedPolicy, tmp_path: Path
) -> None:
    policy = judged(policy, 4, True)
    assert policy.judges is not None
    student = student_of(policy, 1)
    file = written(policy, student, tmp_path / "policy.onnx")
    noise = np.random.default_rng(5).standard_normal((3000, file.contract.noise_dim), np.float32)
    table = policy.embeddings()
    for group, mode_id in enumerate((UP, DOWN, -1)):
        each = noise.reshape(3000, 4, -1)
        action = [student_actions(policy, student.network, torch.from_numpy(OBSERVATIONS),
                                  torch.from_numpy(table[mode_id]).expand(3000, -1), torch.from_numpy(each[:, i]))
                  for i in range(4)]
        every = torch.stack(action, 1).detach()
        whose = torch.full((3000,), group if mode_id >= 0 else ANY)
        best = choose(policy.judges, whose, policy.features(torch.from_numpy(OBSERVATIONS)), every).numpy()
        given = file.act_batch(OBSERVATIONS, np.full(3000, mode_id), noise)
        same = np.abs(given - roof_spec().action.to_physical(best)).max(1) < 1e-4
        assert same.mean() > 0.995  # of two that are as good but for rounding it may be either
        first = np.abs(best - every[:, 0].numpy()).max(1) == 0.0
        assert first.all() if mode_id < 0 else 0.1 < first.mean() < 0.5


def test_noise_for_the_first_candidate_is_scaled_and_for_the_others_whole(policy: SavedPolicy, tmp_path: Path) -> None:
    policy = judged(policy, 3, True)
    size = policy.actor.noise_dim
    file = written(policy, student_of(policy, 1), tmp_path / "policy.onnx")
    none, half = (file.draw_noise(np.random.default_rng(0), scale) for scale in (0.0, 0.5))
    assert not none[:size].any()
    assert none[size:].all()
    np.testing.assert_allclose(half[:size], 0.5 * np.random.default_rng(0).standard_normal(size), rtol=1e-6)


# ---- modes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 5])
def test_an_id_that_is_no_mode_gives_nan(steps: int, policy: SavedPolicy, write: Write) -> None:
    """Below and above those known, and in the gap between them; by the graph itself, without Policy's check."""
    session = write(student_of(policy, steps))._session
    ids = np.array([-(2**62), -3, -2, -1, 0, UP, UP + 1, DOWN, DOWN + 1, 99, 2**62])
    noise = np.zeros((11, policy.actor.noise_dim), np.float32)
    inputs = {"observation": np.zeros((11, 2), np.float32), "mode": ids, "noise": noise}
    action = session.run(["action"], inputs)[0]
    np.testing.assert_array_equal(np.isfinite(action).all(1), np.isin(ids, [-1, UP, DOWN]))
    np.testing.assert_array_equal(np.isnan(action).all(1), ~np.isin(ids, [-1, UP, DOWN]))


def test_a_mode_left_out_is_unknown(policy: SavedPolicy, write: Write) -> None:
    student = student_of(policy, 1)
    file, whole = write(student, (DOWN,)), write(student)
    assert file.contract.mode_ids == (DOWN,)
    with pytest.raises(KeyError, match=f"mode {UP} is not in the policy"):
        file.act(OBSERVATIONS[0], UP)
    np.testing.assert_array_equal(file.act(OBSERVATIONS[0], DOWN), whole.act(OBSERVATIONS[0], DOWN))


# ---- the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_same_policy_gives_the_same_bytes(steps: int, policy: SavedPolicy, distilled: Path) -> None:
    again = load_policy(distilled / "policy.pt", roof_spec())
    student = student_of(policy, steps)
    files = []
    for p in (policy, again):
        contract = make_contract(Subject(p, p.modes, student.report), world(), p.report)
        files.append(to_bytes(policy_graph(p, student, roof_spec().action, [UP, DOWN]), contract))
    assert files[0] == files[1]


def test_old_runtimes_can_read_it(policy: SavedPolicy) -> None:
    model = policy_graph(policy, student_of(policy, 1), roof_spec().action, [UP, DOWN])
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert (OPSET, model.ir_version) == (17, IR_VERSION)  # ONNX Runtime 1.17 reads up to opset 20, IR 9


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_full_size_files_are_small(steps: int, policy: SavedPolicy) -> None:
    from dataclasses import replace

    from ddiffpg_core.config import Config
    from ddiffpg_core.diffusion import DiffusionActor

    size = policy.config.actor.embedding_dim
    actor = DiffusionActor(policy.features.size, 2, replace(Config().actor, embedding_dim=size))
    full = replace(policy, actor=actor)
    config = DistillConfig(steps=steps)
    network = None if steps == 5 else new_student(full, config)
    student = SavedStudent(network, StudentReport(steps, 0, 0, config, {}))
    model = policy_graph(full, student, roof_spec().action, [UP, DOWN])
    assert model.ByteSize() < 2e6


def test_a_provider_that_is_not_there_is_refused(policy: SavedPolicy, write: Write, tmp_path: Path) -> None:
    write(student_of(policy, 1))
    with pytest.raises(PolicyError, match="'NoSuchExecutionProvider' is not available"):
        Policy.load(tmp_path / "policy.onnx", providers=("NoSuchExecutionProvider",))


def test_one_name_is_one_constant() -> None:
    g = GraphBuilder()
    assert g.number("low", -1.0) == g.number("low", -1.0) == "low"
    g.constant("table", np.array([1.0, np.nan]))
    g.constant("table", np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="'low' is there already"):
        g.number("low", 1.0)
