"""The workspace builds with colcon; what it installs starts, by ROS's launch tools too where they are."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "ros2_ws" / "src"
PACKAGES = ("ddiffpg", "ddiffpg_sim")

pytest.importorskip("ament_package", reason="ament (ros-ament-package) is not installed")
COLCON = shutil.which("colcon", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))
pytestmark = pytest.mark.skipif(COLCON is None, reason="colcon is not installed")


def prefixes() -> str:
    """Where ROS itself is: as sourced, or the environment that its wheels are in."""
    return os.environ.get("AMENT_PREFIX_PATH", sys.prefix)


def colcon(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "AMENT_PREFIX_PATH": prefixes(), "CMAKE_PREFIX_PATH": prefixes()}
    done = subprocess.run(
        [str(COLCON), "--log-base", str(folder / "log"), *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The install folder of a fresh build."""
    folder = tmp_path_factory.mktemp("ws")
    install, build = folder / "install", folder / "build"
    colcon(
        "build", "--base-paths", str(SOURCES), "--build-base", str(build), "--install-base", str(install), folder=folder
    )
    return install


@pytest.fixture(scope="module")
def sourced(workspace: Path, ros_environment: dict[str, str]) -> dict[str, str]:
    """The environment after sourcing the workspace."""
    folders = [workspace / package for package in PACKAGES]
    libraries = [Path(sysconfig.get_path("purelib", vars={"base": str(folder)})) for folder in folders]
    paths = [str(library) for library in libraries if library.is_dir()]
    assert len(paths) == len(PACKAGES), f"none of {libraries} was installed"
    return {
        **os.environ,
        **ros_environment,
        "AMENT_PREFIX_PATH": os.pathsep.join([*map(str, folders), prefixes()]),
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
    }


def test_colcon_takes_both_for_ament_packages(tmp_path):
    """It takes a package for plain Python, in silence, where package.xml is not valid."""
    listed = colcon("list", "--base-paths", str(SOURCES), folder=tmp_path).split("\n")
    found = {line.split("\t")[0]: line.split("\t")[-1] for line in listed if line}
    assert found == dict.fromkeys(PACKAGES, "(ros.ament_python)")


def test_the_build_installs_nodes_launch_files_parameters_and_policies(workspace):
    share = workspace / "ddiffpg" / "share" / "ddiffpg"
    assert {p.name for p in (share / "launch").iterdir()} == {p.name for p in (ROOT / "launch").glob("*.launch.py")}
    assert {p.name for p in (share / "policies").glob("*")} == {p.name for p in (ROOT / "policies").glob("*.onnx")}
    config = {p.name for p in (SOURCES / "ddiffpg" / "config").iterdir()}
    assert {p.name for p in (share / "config").iterdir()} == config
    assert {"controller.yaml", "gamepad.yaml", "keyboard.yaml", "controller.rviz"} <= config
    assert os.access(workspace / "ddiffpg" / "lib" / "ddiffpg" / "controller", os.X_OK)
    assert os.access(workspace / "ddiffpg_sim" / "lib" / "ddiffpg_sim" / "sim_robot", os.X_OK)


def test_the_installed_controller_says_what_it_needs(workspace, sourced):
    controller = workspace / "ddiffpg" / "lib" / "ddiffpg" / "controller"
    done = subprocess.run(
        [str(controller), "--ros-args", "-p", "autostart:=true"],
        env=sourced,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "policy" in done.stdout + done.stderr


def test_launch_drives_the_simulated_robot_to_the_goal(workspace, sourced, tmp_path, observer, field_policy):
    """`ros2 launch ddiffpg controller.launch.py sim:=true`, as after sourcing."""
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("ROS's launch tools (launch_ros) are not installed")
    ros2 = shutil.which("ros2")
    if ros2 is None:
        pytest.skip("the command ros2 is not on the path")
    command = [sys.executable, ros2, "launch", "ddiffpg", "controller.launch.py", "sim:=true", "seed:=1"]
    command.append(f"policy:={field_policy}")
    with (tmp_path / "launch.log").open("w") as log:
        launched = subprocess.Popen(command, env=sourced, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        observer.wait("the goal", lambda: observer.robot.get("success") == "True", timeout=60)
    finally:
        os.killpg(launched.pid, signal.SIGINT)
        launched.wait(20)
    assert observer.robot["collided"] == "False"
    assert "modes [0, 1], 10 Hz" in (tmp_path / "launch.log").read_text()
