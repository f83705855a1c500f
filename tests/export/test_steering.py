"""A policy file steered by its noise: learned from whole episodes, in front of a student that stays as it is."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper

from ddiffpg.policy import Policy
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_core.evaluate import drive
from ddiffpg_export import steered_file
from ddiffpg_export.describe import World
from ddiffpg_export.file_act import known_modes
from ddiffpg_export.onnx_export import ExportRefused, to_bytes
from ddiffpg_export.steered_file import AdaptConfig, AdaptReport, adapt_file, steered_graph
from ddiffpg_export.steering import (
    Recorder,
    Round,
    SteerConfig,
    Steered,
    Steerer,
    SteerError,
    choose,
    reach,
    steerable,
    summary,
    transitions,
)
from ddiffpg_export.steering_net import Seen, Steering, strays
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.dynamics import Dynamics
from ddiffpg_sim.signals import Deviation

TASK = tasks.make("pointmaze-v1")
FILE = shipped_policy("pointmaze-v1")
POLICY = Policy.load(FILE)
SEEN = Seen.of(TASK.spec, POLICY.contract)
TINY = SteerConfig(rounds=2, episodes=2, updates=2, hidden=(8,), critic_hidden=(8,), batch_size=16)
HALVES = SteerConfig(gamma=0.5, n_step=2)


def some_steering(seed: int = 0) -> Steering:
    """One that moves and widens the noise, each number otherwise."""
    torch.manual_seed(seed)
    network = Steering(SEEN, POLICY.contract.noise_dim, (16, 16))
    for head in (network.move, network.spread):
        torch.nn.init.normal_(head.weight, std=0.2)
        torch.nn.init.normal_(head.bias, std=0.2)
    return network.requires_grad_(False)


def written(model: onnx.ModelProto, path: Path) -> Policy:
    path.write_bytes(to_bytes(model, POLICY.contract))
    return Policy.load(path)


def inputs(rows: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations over the maze, modes and -1, noise."""
    rng = np.random.default_rng(1)
    obs = rng.uniform(-3.0, 3.0, (rows, TASK.spec.obs_dim)).astype(np.float32)
    noise = rng.standard_normal((rows, POLICY.contract.noise_dim), np.float32)
    return obs, rng.choice(SEEN.ids, rows), noise


# ---- the file ------------------------------------------------------------------------------------------


def test_the_file_is_the_student_with_steered_noise(tmp_path):
    network, (obs, mode, noise) = some_steering(), inputs()
    file = written(steered_graph(onnx.load(FILE), network, SEEN), tmp_path / "steered.onnx")
    steered = network(SEEN(obs, mode), torch.from_numpy(noise)).numpy()
    assert file.checked
    np.testing.assert_allclose(file.act_batch(obs, mode, noise), POLICY.act_batch(obs, mode, steered), atol=1e-5)
    assert np.abs(file.act_batch(obs, mode, noise) - POLICY.act_batch(obs, mode, noise)).max() > 0.1


def test_the_student_stays_as_it_is_to_the_last_bit():
    before = onnx.load(FILE)
    after = steered_graph(before, some_steering(), SEEN)
    kept = {constant.name: constant.SerializeToString() for constant in after.graph.initializer}
    for constant in before.graph.initializer:
        assert kept[constant.name] == constant.SerializeToString()
    own = [node for node in after.graph.node if not node.name.startswith("steering.")]
    for old, new in zip(before.graph.node, own, strict=True):
        reads = ["steering.noise" if name == "noise" else name for name in old.input]
        assert (list(new.input), list(new.output), new.op_type) == (reads, list(old.output), old.op_type)
    assert before.SerializeToString() == onnx.load(FILE).SerializeToString()


def test_before_it_has_learned_the_file_does_exactly_what_the_student_does(tmp_path):
    untaught = Steering(SEEN, POLICY.contract.noise_dim, (16,))
    file = written(steered_graph(onnx.load(FILE), untaught, SEEN), tmp_path / "steered.onnx")
    np.testing.assert_array_equal(file.act_batch(*inputs()), POLICY.act_batch(*inputs()))


def test_a_mode_whose_gate_is_shut_is_not_steered(tmp_path):
    network, (obs, _, noise) = some_steering(), inputs()
    network.gate.copy_(torch.tensor([1.0, 0.0, 1.0]))
    file = written(steered_graph(onnx.load(FILE), network, SEEN), tmp_path / "steered.onnx")
    for mode, steered in ((-1, True), (0, False), (1, True)):
        asked = np.full(len(obs), mode)
        gap = np.abs(file.act_batch(obs, asked, noise) - POLICY.act_batch(obs, asked, noise)).max()
        assert (gap > 0.1) if steered else gap == 0.0


def test_a_mode_that_it_does_not_know_gives_no_action():
    session = ort.InferenceSession(steered_graph(onnx.load(FILE), some_steering(), SEEN).SerializeToString())
    obs, _, noise = inputs(2)
    (action,) = session.run(["action"], {"observation": obs, "mode": np.array([5, -2]), "noise": noise})
    assert np.isnan(action).all()


def test_what_is_steered_is_not_steered_again():
    with pytest.raises(SteerError, match="steered already"):
        steered_graph(steered_graph(onnx.load(FILE), some_steering(), SEEN), some_steering(), SEEN)


# ---- what it learns from ---------------------------------------------------------------------------------


def episode(won: bool, arrived: bool):
    """Three steps, observations 0, 1 and 2, by mode 1."""
    obs = np.arange(3.0, dtype=np.float32)[:, None]
    return transitions(obs, np.zeros((3, 1), np.float32), 1, won, arrived, HALVES)


def test_a_goal_pays_what_the_discount_leaves_of_it():
    """Two steps ahead of step 0 lies observation 2, at a quarter; from step 1 the goal is two steps off."""
    rows = episode(won=True, arrived=True)
    assert rows.reward.tolist() == [0.0, 0.5, 1.0]
    assert rows.discount.tolist() == [0.25, 0.0, 0.0]
    assert rows.after[0] == 2.0 and rows.mode.tolist() == [1, 1, 1]


def test_a_goal_by_another_way_pays_nothing_and_ends_all_the_same():
    rows = episode(won=False, arrived=True)
    assert rows.reward.tolist() == [0.0, 0.0, 0.0] and rows.discount.tolist() == [0.25, 0.0, 0.0]


def test_what_was_cut_off_goes_on_from_the_last_that_was_seen():
    rows = episode(won=False, arrived=False)
    assert rows.obs[:, 0].tolist() == [0.0, 1.0]
    assert rows.discount.tolist() == [0.25, 0.5] and rows.after[:, 0].tolist() == [2.0, 2.0]


def test_a_round_is_recorded_as_it_was_driven():
    modes = known_modes(POLICY.contract)
    recorder = Recorder(POLICY, SEEN, Steering(SEEN, 10, (8,)), np.random.default_rng(0))
    with closing(BatchedEnv(TASK, 6)) as env:
        drives = drive(env, recorder, modes, 2, 0)
    rows = recorder.rows(drives, SteerConfig(n_step=1))
    assert drives.run.success.all() and (drives.taken == drives.asked)[2:].all()
    assert len(rows.reward) == drives.run.steps.sum() and rows.reward.sum() == 6.0
    assert (rows.mode == np.repeat(drives.asked, drives.run.steps)).all()
    np.testing.assert_array_equal(rows.after[0], rows.obs[1])
    told = summary(drives, SEEN.ids, 6, 0.5)
    assert told.done == {-1: 1.0, 0: 1.0, 1: 1.0}
    assert told.worth[1] == pytest.approx(np.mean(0.5 ** drives.run.steps[drives.asked == 1]))


def test_the_best_round_is_kept_and_no_mode_steered_that_it_made_worse():
    """The second round gains 0.3 and loses 0.4; the third gains 0.2 in all, and nothing is kept of what it lost."""
    rounds = [Round(2, {}, {-1: 0.5, 0: 0.1}), Round(4, {}, {-1: 0.1, 0: 0.4}), Round(6, {}, {-1: 0.6, 0: 0.2})]
    assert choose(rounds) == (1, {-1: False, 0: True})
    assert choose(rounds[:1]) == (0, {-1: False, 0: False})


# ---- how it learns ---------------------------------------------------------------------------------------


def test_straying_is_counted_in_nats():
    """Moved by 1: a half. Twice as wide: (4 - 1) / 2 - ln 2."""
    found = strays(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [math.log(2.0), 0.0]]))
    assert found.tolist() == pytest.approx([0.5, 1.5 - math.log(2.0)])


def test_it_learns_to_steer_where_the_goal_pays():
    """A bandit: in one state an episode of one step is won where vx is below what it is half of the time."""
    rng = np.random.default_rng(0)
    config = SteerConfig(hidden=(32,), critic_hidden=(32, 32), stray=0.01, learning_rate=3e-3)
    count = 400
    obs = np.zeros((count, TASK.spec.obs_dim), np.float32)
    mode = np.full(count, 1)
    noise = rng.standard_normal((count, POLICY.contract.noise_dim), np.float32)
    action = POLICY.act_batch(obs, mode, noise)
    low = action[:, 0] < np.median(action[:, 0])
    parts = [transitions(obs[i : i + 1], action[i : i + 1], 1, bool(low[i]), True, config) for i in range(count)]
    steerer = Steerer(POLICY, SEEN, config)
    memory = type(parts[0]).join(parts)
    for _ in range(250):
        steerer.update(memory)
    with torch.no_grad():
        steered = steerer.network(SEEN(obs, mode), torch.from_numpy(noise)).numpy()
    now = POLICY.act_batch(obs, mode, steered)[:, 0]
    assert (now < np.median(action[:, 0])).mean() > 0.8


def still() -> bytes:
    """A policy whose noise does nothing."""
    model = onnx.load(FILE)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = "no noise" if name == "noise" else name
    model.graph.node.insert(0, helper.make_node("Mul", ["noise", "nothing"], ["no noise"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.0, np.float32), "nothing"))
    return to_bytes(model, POLICY.contract)


def test_a_policy_that_noise_does_not_move_cannot_be_steered(tmp_path):
    (tmp_path / "still.onnx").write_bytes(still())
    with pytest.raises(SteerError, match=r"10 numbers of noise move its actions by 0 of half .* fine-tune"):
        steerable(Policy.load(tmp_path / "still.onnx"), inputs()[0], 0)
    assert min(reach(POLICY, inputs()[0], 0).values()) > 0.01


# ---- from file to file -----------------------------------------------------------------------------------


def adapt(out: Path, **more) -> AdaptReport:
    deviation = Deviation(Dynamics(mass=1.5))
    envs: list[BatchedEnv] = []

    def target(robots: int) -> World:
        envs.append(BatchedEnv(TASK, robots, deviate=lambda rng, count: [deviation] * count))
        return World(envs[-1], TASK.robot_radius, TASK.clearance)

    try:
        config = AdaptConfig(TINY, 4, target={"dynamics": {"mass": 1.5}}, **more)
        return adapt_file(FILE, out, target, config, lambda done: None)
    finally:
        for env in envs:
            env.close()


def test_file_report_and_contract_say_the_same(tmp_path):
    out = tmp_path / "steered.onnx"
    before = FILE.read_bytes()
    report = adapt(out, force=True)
    assert FILE.read_bytes() == before
    said = json.loads((tmp_path / "steered.json").read_text())
    assert said == json.loads(json.dumps(report.to_dict()))
    assert said["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert said["driven"] == 12 and [r["episodes"] for r in said["rounds"]] == [6, 12]
    file = Policy.load(out)
    assert file.checked
    history = file.contract.training.config["adapted"]
    assert history["source_sha256"] == hashlib.sha256(before).hexdigest()
    assert history["target"] == {"dynamics": {"mass": 1.5}} and history["driven"] == 12
    for mode, result in zip(file.contract.modes, report.trial.student.modes):
        assert (mode.success, mode.mean_steps) == (result.success, result.mean_steps)


def test_a_steering_that_loses_a_mode_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    def harmful(*_) -> Steered:
        network = Steering(SEEN, POLICY.contract.noise_dim, TINY.hidden)
        torch.nn.init.constant_(network.move.bias, 20.0)
        return Steered(network, (Round(6, {}, {}),), 0, reach(POLICY, inputs()[0], 0))

    monkeypatch.setattr(steered_file, "steer", harmful)
    with pytest.raises(ExportRefused, match=r"mode 0 is worse: success 0\.000 \(teacher 1\.000\)"):
        adapt(tmp_path / "steered.onnx")
    assert not list(tmp_path.iterdir())
