"""Who may import whom, as docs/architecture.md has it; and the robot's side runs where there is no torch."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = frozenset({"ddiffpg", "ddiffpg_core", "ddiffpg_sim", "ddiffpg_export", "ddiffpg_cli"})
ROS = frozenset(
    {
        "action_msgs", "ament_index_python", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs",
        "lifecycle_msgs", "nav_msgs", "rcl_interfaces", "rclpy", "rosgraph_msgs", "sensor_msgs", "std_msgs",
        "std_srvs", "tf2_msgs", "trajectory_msgs", "visualization_msgs",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Room:
    """A package, where it lies, and what it may import: of ours, and of others. ``None`` is anything."""

    package: str
    folder: str
    ours: frozenset[str]
    others: frozenset[str] | None


ROOMS = (
    Room("ddiffpg", "ros2_ws/src/ddiffpg/ddiffpg", frozenset(), frozenset({"numpy", "onnxruntime", "yaml"})),
    Room(
        "ddiffpg_core",
        "ddiffpg_core",
        frozenset(),
        frozenset({"numpy", "torch", "yaml", "sklearn", "scipy", "matplotlib"}),  # the last draws what was learned
    ),
    Room(
        "ddiffpg_sim",
        "sim/ddiffpg_sim",
        frozenset({"ddiffpg_core.spec", "ddiffpg_core.strict_yaml", "ddiffpg"}),
        frozenset({"numpy", "mujoco", "gymnasium", "PIL", "yaml"}),
    ),
    Room(
        "ddiffpg_export",
        "export/ddiffpg_export",
        frozenset({"ddiffpg_core", "ddiffpg"}),
        frozenset({"numpy", "torch", "onnx", "onnxruntime"}),
    ),
    Room("ddiffpg_cli", "cli/ddiffpg_cli", OURS, None),  # the composition root
    Room("launch", "launch", frozenset(), frozenset({"launch", "launch_ros"})),
)
ROBOT, SIM = ROOMS[0], ROOMS[2]


def modules(room: Room) -> list[Path]:
    return sorted((ROOT / room.folder).rglob("*.py"))


def imported(path: Path, package: str) -> Iterator[str]:
    """Full names of all modules that a file imports, at the top or anywhere inside."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield package
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from ddiffpg_core import spec` imports ddiffpg_core.spec
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(name: str, room: Room, is_node: bool) -> bool:
    top = name.split(".")[0]
    if top == room.package or top in sys.stdlib_module_names:
        return True
    if top in OURS:
        return any(f"{name}.".startswith(f"{rule}.") for rule in room.ours)
    if top in ROS:
        return is_node or room.others is None  # for the nodes, and for the command that starts them
    return room.others is None or top in room.others


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.package)
def test_a_package_imports_only_what_the_table_allows(room):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(room)
        for name in imported(path, room.package)
        if not allowed(name, room, path.name.endswith("_node.py"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "package, name, is_node, expected",
    [
        ("ddiffpg", "numpy.linalg", False, True),
        ("ddiffpg", "torch", False, False),
        ("ddiffpg", "ddiffpg_core.spec", False, False),
        ("ddiffpg", "rclpy.node.Node", False, False),
        ("ddiffpg", "rclpy.node.Node", True, True),
        ("ddiffpg_sim", "ddiffpg_core.spec.TaskSpec", False, True),
        ("ddiffpg_sim", "ddiffpg_core.agent", False, False),
        ("ddiffpg_sim", "ddiffpg_core.special", False, False),
        ("ddiffpg_sim", "ddiffpg.observation.RobotState", False, True),
        ("ddiffpg_core", "ddiffpg_sim", False, False),
        ("ddiffpg_core", "mujoco", False, False),
        ("ddiffpg_cli", "ddiffpg_export.onnx", False, True),
        ("launch", "ddiffpg.contract", False, False),
    ],
)
def test_the_table_says_what_it_should(package, name, is_node, expected):
    room = next(room for room in ROOMS if room.package == package)
    assert allowed(name, room, is_node) == expected


@pytest.mark.parametrize("room", ROOMS[:5], ids=lambda room: room.package)
def test_every_package_is_there(room):
    assert (ROOT / room.folder / "__init__.py").is_file()


def test_nothing_at_the_root_hides_a_package_of_others():
    assert not (ROOT / "launch" / "__init__.py").exists()  # ROS has a package of that name
    assert not (ROOT / "setup.py").exists()  # colcon would take the root for a package


IMPORT_WITHOUT_TORCH = """
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is blocked: the robot has none")
sys.meta_path.insert(0, Blocked())
importlib.import_module(sys.argv[1])
found = {blocked} & {{name.split(".")[0] for name in sys.modules}}
assert not found, f"loaded {{found}}"
"""


def import_without(module: str, blocked: set[str]) -> subprocess.CompletedProcess:
    path = [str(ROOT / folder) for folder in ("", "sim", "export", "cli", "ros2_ws/src/ddiffpg")]
    code = f"import sys; sys.path[:0] = {path!r}\n" + IMPORT_WITHOUT_TORCH.format(blocked=blocked)
    return subprocess.run([sys.executable, "-c", code, module], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("path", modules(ROBOT), ids=lambda path: path.stem)
def test_every_robot_module_imports_without_torch(path):
    if path.name.endswith("_node.py") and importlib.util.find_spec("rclpy") is None:
        pytest.skip("rclpy is not installed")
    name = ROBOT.package if path.stem == "__init__" else f"{ROBOT.package}.{path.stem}"
    away = {"torch", "sklearn", "scipy", "mujoco", "onnx", "gymnasium", *(OURS - {"ddiffpg"})}
    if not path.name.endswith("_node.py"):
        away.add("rclpy")
    done = import_without(name, away)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", modules(SIM), ids=lambda path: path.stem)
def test_every_simulator_module_but_the_node_imports_without_torch_or_ros(path):
    if path.name.endswith("_node.py"):
        pytest.skip("the node is for ROS")
    name = SIM.package if path.stem == "__init__" else f"{SIM.package}.{path.stem}"
    done = import_without(name, {"torch", "rclpy", "sklearn", "onnx"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["ddiffpg_core", "ddiffpg_core.spec", "ddiffpg_core.evaluate", "ddiffpg_core.paths"])
def test_describing_tasks_and_evaluating_needs_numpy_alone(name):
    done = import_without(name, {"torch", "sklearn", "scipy", "mujoco"})
    assert done.returncode == 0, done.stderr
