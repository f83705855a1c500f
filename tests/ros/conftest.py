"""Real nodes in processes of their own, over DDS on loopback, in a domain that no other run uses."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

SHIPPED = Path(__file__).resolve().parents[2] / "policies" / "pointmaze-v1.onnx"


@pytest.fixture(scope="session")
def ros_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of the nodes, set in this process too."""
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    from ddiffpg_cli.ros_processes import private_domain

    with private_domain(tmp_path_factory.mktemp("ros")) as environment, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_PYTHON_CHECK_FIELDS", "1")
        yield {**environment, "ROS_PYTHON_CHECK_FIELDS": "1"}


@pytest.fixture(scope="session")
def field_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy file for pointmaze-v1 that was not trained (see field_policy.py)."""
    pytest.importorskip("onnx", reason="onnx (extra export) is needed to make a policy file")
    path = tmp_path_factory.mktemp("policy") / "field.onnx"
    _beside("field_policy").write_field_policy("pointmaze-v1", path)
    return path


@dataclass(frozen=True)
class Demo:
    """A run of ``ddiffpg demo``: the ``policy`` it drove, what it wrote into ``out``, and what it said."""

    policy: Path
    out: Path
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing torch fails, in the demo and in the processes that it starts."""
    folder = tmp_path_factory.mktemp("no_torch")
    (folder / "torch.py").write_text("raise ImportError('torch must not be needed here')\n")
    path = [str(folder), *(str(Path(p).resolve()) for p in sys.path if p)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, without_torch: dict[str, str]) -> Demo:
    """A drive of two processes, a human who takes over and gives back, an obstacle, another way, the goal."""
    for name in ("rclpy", "mujoco", "mcap", "rosbags"):
        pytest.importorskip(name, reason=f"{name} (extras sim and ros) is not installed")
    folder = tmp_path_factory.mktemp("demo")
    policy, out = folder / SHIPPED.name, folder / "out"
    policy.write_bytes(SHIPPED.read_bytes())
    command = [sys.executable, "-m", "ddiffpg_cli", "demo", "--policy", str(policy), "--out", str(out), "--json", "-"]
    done = subprocess.run(command, env=without_torch, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(policy, out, done)


@pytest.fixture(scope="session")
def demo_recording(demo: Demo) -> Path:
    return demo.out / "recording.mcap"


@pytest.fixture(scope="session")
def recordings() -> ModuleType:
    """Makes recordings from others (see recordings.py)."""
    return _beside("recordings")


def _beside(name: str) -> ModuleType:
    """The module in the file ``name`` in this folder, which is on nobody's import path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Nodes:
    """Starts node processes, and sees to it that each has ended."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment, self._folder = environment, folder
        self.running: list = []

    def start(self, module: str, *more: str, **parameters: object):
        from ddiffpg_cli.ros_processes import NodeProcess

        log = self._folder / f"{len(self.running)}-{module}.log"
        process = NodeProcess(module, parameters, self._environment, log, *more)
        self.running.append(process)
        return process

    def check(self) -> None:
        """Raises with the node's own output where one has died."""
        for process in self.running:
            process.check()

    def end(self) -> None:
        for process in reversed(self.running):
            process.end()


@pytest.fixture
def nodes(ros_environment: dict[str, str], tmp_path: Path) -> Iterator[Nodes]:
    started = Nodes(ros_environment, tmp_path)
    yield started
    started.end()


@pytest.fixture(scope="module")
def module_nodes(ros_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    started = Nodes(ros_environment, tmp_path_factory.mktemp("nodes"))
    yield started
    started.end()


@pytest.fixture
def observer(ros_environment: dict[str, str]) -> Iterator:
    from ddiffpg_cli.observer_node import Observer

    watching = Observer()
    yield watching
    watching.close()


@pytest.fixture
def robot(observer):
    """The test as the robot."""
    from ddiffpg_cli.odometry_robot import Robot

    return Robot(observer)


@pytest.fixture
def driving(nodes: Nodes, robot, field_policy: Path):
    """The controller's process, driving the test's robot."""
    process = nodes.start("ddiffpg.controller_node", policy=str(field_policy), autostart=True)
    robot.until("DRIVE")
    robot.observer.wait("speed", lambda: robot.send() or robot.speed > 0.5)
    return process
