"""``ddiffpg identify`` on the recording that ships, and on others made of it that say too little or what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")
pytest.importorskip("scipy", reason="scipy (extra train) is not installed")
pytest.importorskip("mcap", reason="mcap (extra ros) is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra ros) is not installed")

from ddiffpg_cli.commands.identify import pieces
from ddiffpg_cli.identifying import NotIdentifiable
from ddiffpg_cli.identifying import identify as identified
from ddiffpg_cli.main import main
from ddiffpg_cli.mcap_writer import Limits, McapRecording, Topic
from ddiffpg_sim import tasks
from ddiffpg_sim.deviation_file import read_deviation
from ddiffpg_sim.dynamics import Dynamics
from tests.ros.recordings import TYPES, rewrite, without
from tests.sim.test_shooting import DELAY, motion_of
from tests.sim.test_shooting import HIDDEN as ARM

SHIPPED = Path(__file__).resolve().parents[1] / "recordings" / "pointbase.mcap"
HIDDEN = read_deviation(SHIPPED.with_suffix(".yaml"))
TASK = "pointmaze-v1"
JOINTS, NUMBERS = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray"


def identify(*words: str, recording: Path = SHIPPED, task: str = TASK) -> int:
    return main(["identify", str(recording), "--task", task, *words])


def said(capsys, *words: str, recording: Path = SHIPPED, task: str = TASK) -> str:
    """The error of a command that is refused."""
    assert identify(*words, recording=recording, task=task) == 2
    return capsys.readouterr().err


def changed(tmp_path: Path, change: Callable[[str, int, Any], Any]) -> Path:
    (path,) = rewrite(SHIPPED, tmp_path / "changed.mcap", change)
    return path


def stamped(topic: str, shift: Callable[[int], float]) -> Callable[[str, int, Any], Any]:
    """The ``n``th message of ``topic`` is stamped ``shift(n)`` s later."""

    def change(name: str, n: int, message: Any) -> Any:
        if name == topic:
            stamp = message.header.stamp
            at = stamp.sec * 10**9 + stamp.nanosec + round(shift(n) * 1e9)
            object.__setattr__(stamp, "sec", at // 10**9)
            object.__setattr__(stamp, "nanosec", at % 10**9)
        return message

    return change


# ---- what is found ------------------------------------------------------------------------------------


def test_a_hidden_robot_is_found_from_its_recording(tmp_path, capsys):
    out, plot, result = (tmp_path / name for name in ("robot.yaml", "fit.png", "result.json"))
    words = ("--given", "mass=1.3", "--out", str(out), "--plot", str(plot), "--json", str(result))
    assert identify(*words) == 0
    robot = read_deviation(out)
    assert robot.dynamics.mass == 1.3
    assert robot.dynamics.strength == pytest.approx(HIDDEN.dynamics.strength, rel=0.1)
    assert robot.dynamics.dry_friction == pytest.approx(HIDDEN.dynamics.dry_friction, rel=0.1)
    assert robot.signals.action_delay == pytest.approx(HIDDEN.signals.action_delay, abs=0.02)
    assert plot.read_bytes().startswith(b"\x89PNG")
    plain = json.loads(result.read_text())
    strength = plain["parameters"]["strength"]
    assert strength["low"] < strength["value"] < strength["high"]
    assert 0.001 < strength["high"] - strength["low"] < 0.05 and plain["off"] < 0.5 * plain["off_before"]
    assert "strength: 0." in out.read_text() and "strength" in capsys.readouterr().out


def test_with_nothing_given_the_proportion_is_found_and_said(tmp_path, capsys):
    out = tmp_path / "robot.yaml"
    assert identify("--parameters", "mass,dry_friction,action_delay", "--out", str(out)) == 0
    explicit = read_deviation(out)
    assert identify("--out", str(out)) == 0
    found = read_deviation(out).dynamics
    assert found == explicit.dynamics
    assert found.strength == 1.0
    assert found.mass == pytest.approx(HIDDEN.dynamics.mass / HIDDEN.dynamics.strength, rel=0.1)
    assert "mass and strength cannot be told apart" in capsys.readouterr().out


def test_an_arm_is_found_exactly_where_its_readings_are_exact():
    task = tasks.make("panda-reach")
    shooting = pieces(task, motion_of("panda-reach", 6.0), 1)
    found = identified(shooting, 1.0 / task.spec.rate_hz, None, {"mass": ARM.mass})
    assert found.robot.dynamics.armature == pytest.approx(ARM.armature, rel=0.01)
    assert found.robot.dynamics.strength == pytest.approx(ARM.strength, rel=0.01)
    assert found.robot.delay == pytest.approx(DELAY, abs=1e-3)
    assert set(found.held) == {"damping", "friction"} and found.unexplained < 0.01 < found.before


def test_motors_of_a_thirtieth_of_their_strength_are_found():
    weak = Dynamics(strength=0.03, dry_friction=0.1)
    found = identified(pieces(tasks.make(TASK), motion_of(TASK, 10.0, weak), 1), 0.1, None, {"mass": 1.0})
    assert found.robot.dynamics.strength == pytest.approx(weak.strength, rel=0.01)
    assert found.robot.dynamics.dry_friction == pytest.approx(weak.dry_friction, rel=0.05)


def test_what_comes_out_at_the_end_of_what_is_looked_for_is_refused():
    shooting = pieces(tasks.make(TASK), motion_of(TASK, 10.0, Dynamics(strength=0.004)), 1)
    with pytest.raises(NotIdentifiable, match=r"strength comes out at 0\.01, the end of what is looked for"):
        identified(shooting, 0.1, ["strength", "action_delay"], {"mass": 1.0})


@pytest.mark.parametrize(
    "words, text",
    [
        (("--parameters", "mass,strength"), "mass and strength cannot be told apart"),
        (("--parameters", "friction"), "friction cannot be identified: the model has none"),
        (("--parameters", "weight"), "no parameter 'weight'; known: mass"),
        (("--given", "mass"), "--given mass: expected NAME=NUMBER"),
        (("--given", "mass=0"), "mass is 0.0"),
        (("--given", "mass=1", "--parameters", "mass"), "what is given is not fitted"),
        (("--plot", "fit.pdf"), "ends with .png or .svg"),
        (("--out", "nowhere/robot.yaml"), "a directory that is there"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(capsys, words, text):
    assert text in said(capsys, *words)


# ---- recordings that do not allow to tell ---------------------------------------------------------------


def test_without_commands(tmp_path, capsys):
    error = said(capsys, recording=changed(tmp_path, without("/cmd_vel")))
    assert "has no messages of /cmd_vel (geometry_msgs/msg/TwistStamped)" in error and "--topic" in error


def test_without_readings(tmp_path, capsys):
    assert "has no messages of /odom" in said(capsys, recording=changed(tmp_path, without("/odom")))


@pytest.mark.parametrize("topic, lost", [("/odom", range(300, 340)), ("/cmd_vel", range(60, 75))])
def test_gaps_are_refused_or_left_out(tmp_path, capsys, topic, lost):
    gappy = changed(tmp_path, lambda name, n, message: None if name == topic and n in lost else message)
    assert f"no message of {topic} for" in said(capsys, recording=gappy)
    assert identify("--allow-gaps", "--given", "mass=1.3", "--json", "-", recording=gappy) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["parameters"]["strength"]["value"] == pytest.approx(HIDDEN.dynamics.strength, rel=0.1)
    assert result["pieces"] < 190


@pytest.mark.parametrize(
    "shift, text",
    [
        (lambda n: 0.5, "0.499 s after they were received: clocks disagree"),
        (lambda n: -0.5, "0.501 s before they were received: clocks disagree"),
        (lambda n: -0.00008 * n, "clocks drift apart"),
        (lambda n: -0.05 * (n > 500), "the stamps of /odom go back"),
    ],
)
def test_clocks_that_disagree(tmp_path, capsys, shift, text):
    assert text in said(capsys, recording=changed(tmp_path, stamped("/odom", shift)))


def test_too_short(tmp_path, capsys):
    short = changed(tmp_path, lambda name, n, message: message if n < {"/odom": 60, "/cmd_vel": 12}[name] else None)
    assert "the recording is too short" in said(capsys, recording=short)


def test_a_robot_that_stands_shows_nothing(tmp_path, capsys):
    """Nothing is commanded, nothing moves: no parameter can be known."""

    def standing(name: str, n: int, message: Any) -> Any:
        vectors = (message.twist.linear,) if name == "/cmd_vel" else (message.twist.twist.linear,)
        for vector in (*vectors, *((message.pose.pose.position,) if name == "/odom" else ())):
            object.__setattr__(vector, "x", 0.0)
            object.__setattr__(vector, "y", 0.0)
        return message

    assert "cannot be identified" in said(capsys, recording=changed(tmp_path, standing))


def test_what_is_no_number(tmp_path, capsys):
    def broken(name: str, n: int, message: Any) -> Any:
        if name == "/odom" and n == 400:
            object.__setattr__(message.twist.twist.linear, "x", float("nan"))
        return message

    assert "not finite, at 8.00 s" in said(capsys, recording=changed(tmp_path, broken))


def arm_recording(path: Path, joints: int, numbers: int) -> Path:
    """Messages of an arm of so many joints, with commands of so many numbers, which rclpy would pad."""
    recording = McapRecording(path, Limits(), {})
    for topic, kind in (("/joint_states", JOINTS), ("/forward_position_controller/commands", NUMBERS)):
        recording.add(Topic(topic, kind, TYPES.generate_msgdef(kind, ros_version=2)[0]))
    known: Any = TYPES.types
    for n in range(100):
        at = 10**18 + n * 20_000_000
        stamp = known["builtin_interfaces/msg/Time"](sec=at // 10**9, nanosec=at % 10**9)
        head = known["std_msgs/msg/Header"](stamp=stamp, frame_id="")
        names = [f"panda_joint{i + 1}" for i in range(joints)]
        state = known[JOINTS](header=head, name=names, position=np.zeros(joints), velocity=np.zeros(joints),
                              effort=np.zeros(0))  # fmt: skip
        layout = known["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        command = known[NUMBERS](layout=layout, data=np.zeros(numbers))
        padded = bytes(TYPES.serialize_cdr(state, JOINTS)) + b"\x00\x00\x00\x00"
        recording.write("/joint_states", at, at, padded)
        recording.write("/forward_position_controller/commands", at, at, bytes(TYPES.serialize_cdr(command, NUMBERS)))
    recording.close()
    return path


def test_joints_that_are_not_the_task_s(tmp_path, capsys):
    arm = arm_recording(tmp_path / "arm.mcap", 6, 7)
    error = said(capsys, recording=arm, task="panda-reach")
    assert "/joint_states has no joint panda_joint7, which panda-reach has; it has panda_joint1," in error


def test_commands_that_are_not_the_task_s(tmp_path, capsys):
    arm = arm_recording(tmp_path / "arm.mcap", 7, 6)
    assert "has commands of 6 numbers, panda-reach takes 7" in said(capsys, recording=arm, task="panda-reach")


def test_another_robot_than_the_task_s(capsys):
    assert "has no messages of /joint_states" in said(capsys, task="antmaze-v1")
    assert "'pointmaze': no such task (known: antmaze-v1" in said(capsys, task="pointmaze")
