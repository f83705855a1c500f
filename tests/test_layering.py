"""Who may import whom (docs/architecture.md), and that the robot's side runs where torch is not."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "ddiffpg": "ros2_ws/src/ddiffpg/ddiffpg",
    "ddiffpg_core": "ddiffpg_core",
    "ddiffpg_sim": "sim/ddiffpg_sim",
    "ddiffpg_export": "export/ddiffpg_export",
    "ddiffpg_cli": "cli/ddiffpg_cli",
}
ROS = {
    "rclpy", "rcl_interfaces", "builtin_interfaces", "std_msgs", "std_srvs", "sensor_msgs", "geometry_msgs",
    "nav_msgs", "trajectory_msgs", "diagnostic_msgs", "visualization_msgs", "lifecycle_msgs",
}  # fmt: skip
# package -> those of ours, and third-party packages, that it may import
MAY = {
    "ddiffpg": (set(), {"numpy", "onnxruntime", "yaml"}),
    "ddiffpg_core": (set(), {"numpy", "torch", "sklearn", "scipy", "yaml", "matplotlib"}),
    "ddiffpg_sim": ({"ddiffpg_core", "ddiffpg"}, {"numpy", "mujoco", "gymnasium", "PIL", "yaml"}),
    "ddiffpg_export": ({"ddiffpg_core", "ddiffpg"}, {"numpy", "torch", "onnx", "onnxruntime"}),
}
MODULES = [(package, path) for package in MAY for path in sorted((ROOT / FOLDERS[package]).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Top-level names of all that a file imports, inside functions too; the standard library left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize(("package", "path"), MODULES, ids=lambda v: v if isinstance(v, str) else v.stem)
def test_imports_keep_to_the_table(package: str, path: Path) -> None:
    ours, others = MAY[package]
    allowed = {package} | ours | others | (ROS if path.stem.endswith("_node") else set())
    assert imports(path) - allowed == set()


def test_launch_files_import_only_the_launch_tools() -> None:
    for path in sorted((ROOT / "launch").glob("*.py")):
        assert imports(path) <= {"launch", "launch_ros"}, path.name


def test_nothing_at_the_root_hides_a_package_of_others() -> None:
    assert not (ROOT / "launch" / "__init__.py").exists()  # ROS has a package of that name
    assert not (ROOT / "setup.py").exists()  # colcon would take the root for a package


def import_all(modules: list[str], blocked: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Import ``modules`` in a fresh process in which ``blocked`` packages cannot be imported."""
    code = f"""
import importlib, sys
for name in {blocked!r}:
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
    paths = os.pathsep.join(str((ROOT / folder).parent) for folder in FOLDERS.values())
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def modules_of(package: str) -> list[str]:
    files = [p.relative_to(ROOT / FOLDERS[package]) for p in sorted((ROOT / FOLDERS[package]).rglob("*.py"))]
    return [".".join((package, *f.with_suffix("").parts)).removesuffix(".__init__") for f in files]


def test_the_robots_side_needs_neither_torch_nor_the_rest_of_ours_nor_ros() -> None:
    modules = [m for m in modules_of("ddiffpg") if not m.endswith("_node")]
    blocked = ("torch", "mujoco", "rclpy", "sklearn", "scipy", "onnx", "ddiffpg_core", "ddiffpg_sim", "ddiffpg_export")
    done = import_all(modules, blocked)
    assert done.returncode == 0, done.stderr


def test_the_robots_nodes_need_no_torch() -> None:
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    done = import_all([m for m in modules_of("ddiffpg") if m.endswith("_node")], ("torch", "mujoco", "ddiffpg_core"))
    assert done.returncode == 0, done.stderr


def test_the_simulators_side_needs_no_torch() -> None:
    modules = [m for m in modules_of("ddiffpg_sim") if not m.endswith("_node")]
    done = import_all(modules, ("torch", "rclpy", "sklearn", "onnx"))
    assert done.returncode == 0, done.stderr


def test_describing_tasks_and_evaluating_needs_numpy_alone() -> None:
    modules = ["ddiffpg_core", "ddiffpg_core.spec", "ddiffpg_core.evaluate", "ddiffpg_core.paths"]
    done = import_all(modules, ("torch", "sklearn", "scipy", "mujoco"))
    assert done.returncode == 0, done.stderr
