"""A run's directory: made once, gone on with in the same way only, and clear about what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ddiffpg_core import checkpoint
from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.checkpoint import CheckpointError, SavedPolicy
from ddiffpg_core.config import Config, ConfigError, override
from ddiffpg_core.evaluate import ModeResult, Report
from ddiffpg_core.run import Run, RunError, read_metrics, score
from ddiffpg_core.timing import Stages
from ddiffpg_core.train import train
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv

TASK = tasks.make("pointmaze-v1")
TINY = override(Config(), [
    "train.iterations=40", "train.warmup_iterations=10", "train.num_envs=8", "train.log_every=10",
    "train.eval_every=20", "train.checkpoint_every=20", "train.recluster_every=10", "actor.hidden=[16]",
    "critic.hidden=[16]", "novelty.hidden=[16]", "replay.trajectories=100", "critic.batch_size=64",
])


def tiny_run(folder: Path, *settings: str, task: str = "pointmaze-v1") -> Run:
    return Run.create(folder, task, 0, override(TINY, list(settings)), "abc")


def parts(run: Run) -> tuple[BatchedEnv, DDiffPG]:
    """The environment and the agent of a run."""
    env = BatchedEnv(TASK, run.config.train.num_envs)
    return env, DDiffPG(env.spec, run.config, run.seed)


def report_of(*modes: tuple[float, float, float | None]) -> Report:
    """An evaluation of modes with (success, adherence, return)."""
    results = tuple(ModeResult(i, s, a, r, 30.0, {}) for i, (s, a, r) in enumerate(modes))
    return Report("pointmaze-v1", 10, 0, results, 1.0, {})


def nothing_learned(policy: SavedPolicy, episodes: int) -> Report:
    return report_of()


# ---- made and opened ------------------------------------------------------------------------------


def test_a_run_opens_as_it_was_made(tmp_path):
    made = tiny_run(tmp_path / "new" / "run")
    run = Run.open(tmp_path / "new" / "run")
    assert (run.task, run.seed, run.commit, run.config) == ("pointmaze-v1", 0, "abc", made.config)


def test_an_empty_folder_will_do(tmp_path):
    tiny_run(tmp_path)


def test_a_folder_that_is_used_is_refused_and_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(RunError, match=rf"{tmp_path}: exists and is not empty; .*--resume"):
        tiny_run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    tiny_run(tmp_path / "run")
    with pytest.raises(RunError, match="exists and is not empty"):
        tiny_run(tmp_path / "run")


def test_a_start_that_was_killed_can_be_made_again(tmp_path):
    made = tiny_run(tmp_path)
    (tmp_path / "run.json").unlink()  # it is written last
    assert tiny_run(tmp_path).config == made.config
    (tmp_path / "run.json").unlink()
    (tmp_path / "config.yaml").write_text("train: {}  # somebody else's")
    with pytest.raises(RunError, match="exists and is not empty"):
        tiny_run(tmp_path)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=rf"{folder}: cannot be written"):
            tiny_run(folder)


def test_a_folder_without_permission():
    with tempfile.TemporaryDirectory() as name:  # pytest's own cannot be entered by others
        Path(name).chmod(0o755)
        locked = Path(name) / "locked"
        locked.mkdir()
        locked.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            for folder in (locked, locked / "run"):
                with pytest.raises(RunError, match=rf"{folder}: cannot be written \(Permission denied\)"):
                    tiny_run(folder)
        finally:
            if root:
                os.seteuid(0)
            locked.chmod(0o755)


def test_a_folder_that_holds_no_run(tmp_path):
    with pytest.raises(RunError, match=r"holds no training run \(no run\.json\)"):
        Run.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"task": "pointmaze-v1"}', "7"])
def test_a_damaged_run(tmp_path, text):
    tiny_run(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json: damaged"):
        Run.open(tmp_path / "run")


def test_a_run_without_settings(tmp_path):
    tiny_run(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"config\.yaml: No such file"):
        Run.open(tmp_path / "run")


def test_going_on_with_the_same_settings(tmp_path):
    tiny_run(tmp_path / "run")
    Run.open(tmp_path / "run").check_same("pointmaze-v1", 0, TINY)


@pytest.mark.parametrize(
    ("task", "seed", "settings", "names"),
    [
        ("pointmaze-v2", 0, [], "task was 'pointmaze-v1' .* 'pointmaze-v2' now"),
        ("pointmaze-v1", 7, [], "seed was 0 .* 7 now"),
        ("pointmaze-v1", 0, ["train.iterations=50"], r"train\.iterations was 40 .* 50 now"),
        ("pointmaze-v1", 0, ["critic.gamma=0.5"], r"critic\.gamma was 0\.98 .* 0\.5 now"),
        ("pointmaze-v1", 0, ["actor.hidden=[8, 8]"], r"actor\.hidden was \[16\] .* \[8, 8\] now"),
    ],
)
def test_going_on_with_others_is_refused_and_they_are_named(tmp_path, task, seed, settings, names):
    tiny_run(tmp_path / "run")
    with pytest.raises(RunError, match=names):
        Run.open(tmp_path / "run").check_same(task, seed, override(TINY, settings))


# ---- training in it -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The directory of a run that went to its end."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = tiny_run(folder)
    train(*parts(run), nothing_learned, run, run.config.train)
    return folder


def test_a_finished_run_holds_everything(finished):
    names = {p.name for p in finished.iterdir()}
    assert names == {"config.yaml", "run.json", "metrics.csv", "tensorboard", "checkpoint.pt", "policy.pt",
                     "report.json"}
    report = json.loads((finished / "report.json").read_text())
    assert {"task", "modes_learned", "modes", "unconditioned", "seconds", "iterations"} <= set(report)


def test_the_log_names_losses_modes_coverage_and_time(finished):
    metrics = read_metrics(finished)
    for name in ("loss/critic", "loss/actor", "loss/novelty", "modes", "coverage_cells", "transitions", "updates",
                 "seconds", "seconds/update", "seconds/simulate", "seconds/cluster", "cluster/seconds", "cluster/paths",
                 "eval/modes_learned", "eval/unconditioned_success"):
        assert np.isfinite(metrics[name][1]).all(), name
    assert metrics["loss/critic"][0].tolist() == [20, 30, 40]
    assert metrics["transitions"][1].tolist() == [8 * i for i in (20, 30, 40)]
    assert metrics["eval/modes"][0].tolist() == [20, 40]


def test_the_rates_have_faded_by_the_end(finished):
    state = checkpoint.load(finished / "checkpoint.pt")["agent"]
    assert state["actor_optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.1 * TINY.actor.learning_rate)
    assert state["critic"]["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.1 * TINY.critic.learning_rate)


def test_tensorboard_shows_the_same(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    expected = read_metrics(finished)["loss/critic"]
    assert [e.step for e in events.Scalars("loss/critic")] == expected[0].tolist()
    np.testing.assert_allclose([e.value for e in events.Scalars("loss/critic")], expected[1], rtol=1e-6)


def test_the_last_iteration_is_evaluated_whatever_the_rhythm(tmp_path):
    run = tiny_run(tmp_path / "run", "train.eval_every=1000")
    train(*parts(run), nothing_learned, run, run.config.train)
    assert read_metrics(tmp_path / "run")["eval/modes"][0].tolist() == [40]


def test_a_run_that_only_warms_up_says_so(tmp_path):
    run = tiny_run(tmp_path / "run", "train.warmup_iterations=40")
    with pytest.raises(RunError, match="no policy was evaluated"):
        train(*parts(run), nothing_learned, run, run.config.train)


# ---- going on -------------------------------------------------------------------------------------


def test_without_a_checkpoint_it_begins_again(tmp_path):
    run = tiny_run(tmp_path / "run")
    assert run.restore(*parts(run)) is None
    assert run.iteration == 0


def test_a_checkpoint_of_other_networks_does_not_fit(finished, tmp_path):
    run = tiny_run(tmp_path / "run", "actor.hidden=[8]")
    (run.folder / "checkpoint.pt").write_bytes((finished / "checkpoint.pt").read_bytes())
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: does not fit this run"):
        run.restore(*parts(run))


def test_a_policy_in_place_of_the_checkpoint(finished, tmp_path):
    run = tiny_run(tmp_path / "run")
    (run.folder / "checkpoint.pt").write_bytes((finished / "policy.pt").read_bytes())
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: does not fit this run"):
        run.restore(*parts(run))


LOG = "iteration,name,value\n10,loss/actor,1.5\n20,loss/actor,0.5\n20,modes,1.0\n30,loss/actor,0.25\n"


@pytest.mark.parametrize("end", ["", "3", "20", "40,lo", "40,loss/actor,0.1"])
def test_the_log_is_cut_back_to_the_checkpoint(tmp_path, end):
    # a kill leaves lines of iterations that come again, and perhaps half a line
    run = tiny_run(tmp_path / "run")
    env, agent = parts(run)
    agent.begin(env.reset(0))
    run.save(20, env, agent)
    (run.folder / "metrics.csv").write_text(LOG + end)
    again = Run.open(run.folder)
    assert again.restore(*parts(again)) is not None
    assert again.iteration == 20
    again._write(30, {"loss/actor": 0.125})
    metrics = read_metrics(run.folder)
    assert metrics["loss/actor"][0].tolist() == [10, 20, 30]
    assert metrics["loss/actor"][1].tolist() == [1.5, 0.5, 0.125]
    assert metrics["modes"][0].tolist() == [20]


@pytest.mark.parametrize("text", ["", "itera", "iteration,name,value\n", LOG, LOG + "40,loss"])
def test_the_log_begins_again_with_a_run_killed_before_its_first_checkpoint(tmp_path, text):
    run = tiny_run(tmp_path / "run")
    (run.folder / "metrics.csv").write_text(text)
    run.restore(*parts(run))
    run._write(10, {"loss/actor": 2.0})
    assert (run.folder / "metrics.csv").read_text() == "iteration,name,value\n10,loss/actor,2.0\n"


def test_a_log_that_cannot_be_written(tmp_path):
    run = tiny_run(tmp_path / "run")
    (run.folder / "metrics.csv").mkdir()
    with pytest.raises(RunError, match=r"metrics\.csv: cannot be written"):
        run._write(10, {"loss/actor": 2.0})
    other = tiny_run(tmp_path / "other")
    (other.folder / "tensorboard").write_text("")
    with pytest.raises(RunError, match=r"tensorboard: cannot be written"):
        other._write(10, {"loss/actor": 2.0})


def test_a_log_on_a_full_disk_and_on_one_with_room_again(tmp_path):
    run = tiny_run(tmp_path / "run")
    env, agent = parts(run)
    agent.begin(env.reset(0))
    run.save(20, env, agent)
    log = run.folder / "metrics.csv"
    log.symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"metrics\.csv: cannot be written \(No space left on device\).*resume"):
        run._write(30, {"loss/actor": 2.0})
    log.unlink()
    again = Run.open(run.folder)
    assert again.restore(*parts(again)) is not None
    again._write(30, {"loss/actor": 2.0})
    assert read_metrics(run.folder)["loss/actor"][0].tolist() == [30]


def test_a_report_that_finds_no_room_leaves_what_was_there(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = (folder / "report.json").read_bytes()
    (folder / "report.json.part").symlink_to("/dev/full")
    run = Run.open(folder)
    with pytest.raises(CheckpointError, match=r"report\.json: could not be written .*No space left on device"):
        train(*parts(run), nothing_learned, run, run.config.train)
    assert (folder / "report.json").read_bytes() == before
    train(*parts(run), nothing_learned, run, run.config.train)  # the part is gone, there is room again
    assert json.loads((folder / "report.json").read_text())["iterations"] == 40


# ---- the best policy ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (report_of((0.8, 0.8, None)), report_of()),
        (report_of((0.8, 0.8, 0.8), (0.8, 0.8, 0.8)), report_of((1, 1, None))),  # modes count first
        (report_of((0.8, 0.8, 0.8), (0.8, 0.8, 0.8)), report_of((1, 1, 1), (1, 1, 0.79))),  # that can be come back to
        (report_of((0.8, 0.8, 0.8), (0.8, 0.8, 0.8)), report_of((1, 1, 1), (1, 0.79, 1))),  # by their own way
        (report_of((0.9, 0.9, 0.8), (1, 1, 0.7)), report_of((1, 1, None))),  # one mode has nothing to come back from
        (report_of((0.9, 1, 1), (1, 1, 1)), report_of((0.85, 1, 1), (1, 1, 1))),  # then how well, at their worst
    ],
)
def test_which_policy_is_better(better, worse):
    assert score(better) > score(worse)


def test_the_best_policy_is_kept(tmp_path):
    run = tiny_run(tmp_path / "run")
    env, agent = parts(run)
    agent.begin(env.reset(0))
    good, bad = report_of((1, 1, 1), (1, 1, 1)), report_of((0.1, 1, 1))
    for iteration, report in ((1, bad), (2, good), (3, bad)):
        agent.transitions = iteration
        run.evaluate(iteration, agent, lambda policy, episodes, r=report: r)
    best = checkpoint.load_policy(run.folder / "policy.pt", TASK.spec)
    assert best.transitions == 2
    assert best.report["modes_learned"] == 2
    metrics = read_metrics(run.folder)
    assert metrics["mode0/success"][1].tolist() == [0.1, 1, 0.1]  # and each mode's success is in the log
    assert metrics["mode1/return"][0].tolist() == [2]


def test_where_there_is_a_judge_it_says_which_policy_is_kept(tmp_path):
    run = tiny_run(tmp_path / "run")
    env, agent = parts(run)
    agent.begin(env.reset(0))
    good, bad = report_of((1, 1, 1), (1, 1, 1)), report_of((0.5, 1, 1), (1, 1, 1))
    for iteration, report, judged in ((1, good, bad), (2, bad, good), (3, good, bad)):
        agent.transitions = iteration
        run.judge = lambda policy, episodes, r=judged: r
        run.evaluate(iteration, agent, lambda policy, episodes, r=report: r)
    best = checkpoint.load_policy(run.folder / "policy.pt", TASK.spec)
    assert best.transitions == 2 and best.report == bad.to_dict()  # what it says of itself is of the task's own model
    metrics = read_metrics(run.folder)
    assert metrics["mode0/success"][1].tolist() == [1, 0.5, 1]
    assert metrics["transfer/mode0/success"][1].tolist() == [0.5, 1, 0.5]


def test_what_selects_is_one_of_two(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.select is 'best': expected nominal or transfer"):
        override(Config(), ["train.select=best"])


def test_the_log_of_stages_and_losses(tmp_path):
    run = tiny_run(tmp_path / "run")
    env, agent = parts(run)
    agent.begin(env.reset(0))
    stages = Stages()
    with stages("update"):
        pass
    run.log(10, agent, {"critic": torch.tensor(0.5)}, stages)
    assert read_metrics(run.folder)["loss/critic"][1].tolist() == [0.5]
    assert read_metrics(run.folder)["seconds/update"][1] >= 0
