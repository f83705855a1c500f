"""Demonstrations as they are read out of recordings: where they begin and end, whose steps count, what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
pytest.importorskip("mcap", reason="mcap (extra ros) is not installed")

from ddiffpg.controller import HandoffConfig
from ddiffpg.decision import ENGAGE
from ddiffpg.policy import Policy
from ddiffpg_cli.demonstrations import Shown, read, sessions
from ddiffpg_cli.recording import RecordingFault
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_core.paths import resample
from ddiffpg_sim import tasks
from ddiffpg_sim.robot import SimRobot
from tests.ros import recordings
from tests.scripts import benchmark

TASK = tasks.make("pointmaze-v1")
Session, Human = benchmark("_teleop_session").Session, benchmark("handoff").Human
STATUS = "/controller/status"


class Driver:
    """A human at the controller of a simulated robot, by the maze's second way."""

    def __init__(self, out: Path) -> None:
        self.out, self.policy, self.robot = out, Policy.load(shipped_policy(TASK.spec.name)), SimRobot(TASK)
        self.session = Session(out, self.policy, self.robot, HandoffConfig(engaged=False))
        self.sent: list[np.ndarray] = []
        self.begin()

    def begin(self) -> None:
        """The robot is put back to a start."""
        self.session.begin(0)
        self.human = Human(resample(np.array(TASK.ways[1].points, float), 100), np.random.default_rng(0))

    def by_hand(self, share: float = 1.1, past_goals: bool = False) -> None:
        """Drive on to ``share`` of the way, or to the goal."""
        while (past_goals or not self.robot.success) and self.human.share(self.session.position) < share:
            self.sent.append(self.session.step(self.human.wish(self.session.position)).action)
        self.session.step(np.zeros(2))

    def by_policy(self, ticks: int = 200) -> None:
        """The policy drives, for so many ticks or to the goal."""
        self.session.step(requests=(ENGAGE,))
        for _ in range(ticks):
            if self.robot.success:
                break
            self.session.step(mode=self.mode)
        self.session.step()

    @property
    def mode(self) -> int:
        """The policy's mode that takes the human's way."""
        middle = np.array(TASK.ways[1].points[1])
        return min(self.policy.contract.modes, key=lambda m: np.linalg.norm(np.array(m.path) - middle, axis=1).min()).id

    def shown(self, who: str = "human") -> Shown:
        self.session.close()
        return read([self.out], TASK, who)


@pytest.fixture
def driver(tmp_path) -> Driver:
    return Driver(tmp_path / "session.mcap")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A recording of two drives to the goal, by hand."""
    drives = Driver(tmp_path_factory.mktemp("session") / "whole.mcap")
    drives.by_hand()
    drives.begin()
    drives.by_hand()
    drives.session.close()
    return drives.out


@pytest.fixture
def changed(whole, tmp_path):
    def change(how, **settings) -> list[Path]:
        return recordings.rewrite(whole, tmp_path / "changed.mcap", how, **settings)

    return change


# ---- whole drives ---------------------------------------------------------------------------------


def test_a_drive_is_read_as_the_robot_knew_it_and_was_sent(driver):
    driver.session.step()  # it stands for a while, which is no part of it
    driver.by_hand()
    (shown,) = driver.shown().demonstrations
    assert len(shown.action) == len(driver.sent) and shown.counts.all()
    np.testing.assert_allclose(shown.action, TASK.spec.action.to_normal(np.array(driver.sent)), atol=1e-4)
    first = SimRobot(TASK)
    first.reset(0)
    np.testing.assert_allclose(shown.obs[0, :2], first.state().position[:2], atol=1e-6)
    velocity = np.diff(shown.obs[:, :2], axis=0) * TASK.spec.rate_hz
    np.testing.assert_allclose(shown.obs[1:, 2:], velocity, atol=0.25)  # that is what changes within a step
    assert shown.reward.tolist() == [0.0] * (len(shown.reward) - 1) + [1.0]
    assert TASK.success(shown.obs[-1:, :2])[0] and not TASK.success(shown.obs[:-1, :2]).any()


def test_each_drive_from_a_start_to_a_goal_is_one(whole):
    shown = read([whole], TASK, "human")
    assert len(shown.demonstrations) == 2 and shown.notes == ()


def test_a_robot_that_is_driven_back_to_the_start_begins_anew_there(driver):
    way = resample(np.array(TASK.ways[1].points, float), 100)
    driver.by_hand()
    driver.human = Human(way[::-1], np.random.default_rng(0))  # and here nobody puts it anywhere
    driver.by_hand(0.95, past_goals=True)
    for _ in range(5):
        driver.session.step(np.zeros(2))
    driver.human = Human(way, np.random.default_rng(0))
    driver.by_hand(0.95, past_goals=True)
    first, second = driver.shown().demonstrations
    assert abs(len(first.action) - len(second.action)) < 10
    assert np.linalg.norm(second.obs[0, :2]) < 0.5 and np.abs(second.obs[0, 2:]).max() < 0.05


# ---- interventions --------------------------------------------------------------------------------


def test_of_an_intervention_the_humans_steps_count_and_the_rest_shows_where_they_came_from(driver):
    driver.by_policy(ticks=8)
    driver.by_hand()
    (shown,) = driver.shown().demonstrations
    assert shown.counts[-10:].all() and 5 <= (~shown.counts).sum() <= 10
    assert not shown.counts[: len(shown.counts) - shown.counts.sum()].any()
    assert np.linalg.norm(shown.obs[0, :2]) < TASK.spec.path_tolerance


def test_asked_for_all_the_policys_steps_count_too(driver):
    driver.by_policy(ticks=8)
    driver.by_hand()
    (shown,) = driver.shown("all").demonstrations
    assert shown.counts.all()


def test_a_hand_in_the_middle_counts_where_the_policy_arrives(driver):
    driver.by_policy(ticks=8)
    driver.by_hand(0.6)
    driver.by_policy()
    (shown,) = driver.shown().demonstrations
    assert 0 < shown.counts.sum() < len(shown.counts) - 8 and not shown.counts[-5:].any()
    assert TASK.success(shown.obs[-1:, :2])[0]


def test_what_the_policy_does_alone_is_no_demonstration(driver):
    driver.by_policy()
    shown = driver.shown()
    assert shown.demonstrations == ()
    assert "no step counts: the policy drove all of it; left out" in shown.notes[0]


# ---- what is left out -----------------------------------------------------------------------------


def test_a_drive_that_ends_before_the_goal_is_told_of(driver):
    driver.by_hand(0.5)
    driver.begin()
    driver.by_hand()
    driver.begin()
    driver.by_hand(0.5)
    shown = driver.shown()
    assert len(shown.demonstrations) == 1
    put, ended = shown.notes
    assert str(driver.out) in put and "reaches no goal" in put and "the robot was put" in put
    assert "the recording ends" in ended


def test_a_drive_whose_beginning_was_not_recorded_is_told_of(changed):
    files = changed(lambda topic, n, message: None if topic == STATUS and n < 30 else message)
    shown = read(files, TASK, "human")
    assert len(shown.demonstrations) == 1
    assert "a goal was reached on a way that was not recorded from a start on" in shown.notes[0]


@pytest.mark.parametrize(("missing", "drives"), [(1, 2), (5, 1)])
def test_a_decision_may_come_late_and_no_more_than_one_may_be_missing(missing, drives, changed):
    files = changed(lambda topic, n, message: None if topic == STATUS and 20 <= n < 20 + missing else message)
    shown = read(files, TASK, "human")
    assert len(shown.demonstrations) == drives
    told = any("reaches no goal: at 1.9 s no decision was recorded for 0.60 s" in note for note in shown.notes)
    assert told == (drives == 1)


def test_a_reading_that_is_missing_breaks_an_episode(changed):
    shown = read(changed(lambda topic, n, message: None if topic == "/odom" and n == 20 else message), TASK, "human")
    assert len(shown.demonstrations) == 1
    assert any("at 2.0 s: the reading of /odom of 1000000002.0" in note and "was not recorded" in note
               for note in shown.notes)  # fmt: skip


def test_what_takes_longer_than_an_episode_may_is_told_of(whole, monkeypatch):
    short = replace(TASK.spec, max_steps=30)
    monkeypatch.setitem(vars(TASK), "spec", short)
    shown = read([whole], TASK, "human")
    assert shown.demonstrations == () and "steps, the task allows 30" in shown.notes[0]


# ---- recordings that cannot be of use -------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("pointmaze-v2", "task is 'pointmaze-v1' in the recording, 'pointmaze-v2' in the task"),
        ("antmaze-v1", "task is 'pointmaze-v1' in the recording, 'antmaze-v1' in the task"),
    ],
)
def test_a_recording_of_another_task_is_refused(whole, task, words):
    with pytest.raises(RecordingFault, match=f"whole.mcap: {words}"):
        read([whole], tasks.make(task), "human")


def test_a_recording_that_does_not_say_its_task_is_refused_by_its_joints(changed):
    with pytest.raises(RecordingFault, match="size of the action is 2 in the recording, 8 in the task"):
        read(changed(recordings.without("/diagnostics")), tasks.make("antmaze-v1"), "human")


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        (STATUS, "expected decisions of a controller /controller"),
        ("/odom", "has no messages of odom, which odom of pointmaze-v1 is read from"),
        ("/parameter_events", "lacks parameters of /controller"),
    ],
)
def test_a_recording_that_lacks_what_it_takes_is_refused(topic, words, changed):
    with pytest.raises(RecordingFault, match=words):
        read(changed(recordings.without(topic)), TASK, "human")


def test_decisions_at_another_rate_are_refused(changed):
    files = changed(lambda topic, n, message: None if topic == STATUS and n % 2 else message)
    with pytest.raises(RecordingFault, match=r"/controller/status: decisions came at 5 Hz, .* pointmaze-v1 at 10 Hz"):
        read(files, TASK, "human")


# ---- files ----------------------------------------------------------------------------------------


def test_parts_of_a_recording_are_put_together(changed, whole):
    files = changed(lambda topic, n, message: message, split=15_000)
    assert len(files) > 2
    for paths in (files[::-1], [files[0].parent]):
        shown, expected = (read(p, TASK, "human") for p in (paths, [whole]))
        assert shown.notes == () and len(shown.demonstrations) == 2
        np.testing.assert_array_equal(shown.demonstrations[1].obs, expected.demonstrations[1].obs)


def test_recordings_of_their_own_are_read_on_their_own(tmp_path):
    names = ["a.mcap", "a_1.mcap", "a_2.mcap", "b.mcap"]
    assert sessions([tmp_path / name for name in names]) == [[tmp_path / n for n in names[:3]], [tmp_path / "b.mcap"]]
    with pytest.raises(RecordingFault, match=r"holds no \.mcap file"):
        sessions([tmp_path])
