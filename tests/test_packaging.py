"""What the wheel holds, and that every import is declared as a dependency of the extra that needs it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ddiffpg_cli.errors import EXTRA_OF

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {
    "ddiffpg": "ros2_ws/src/ddiffpg/ddiffpg",
    "ddiffpg_core": "ddiffpg_core",
    "ddiffpg_sim": "sim/ddiffpg_sim",
    "ddiffpg_export": "export/ddiffpg_export",
    "ddiffpg_cli": "cli/ddiffpg_cli",
}
# import name -> distribution, where the two differ
DISTRIBUTION = {"yaml": "pyyaml", "PIL": "pillow", "sklearn": "scikit-learn"}
# the extras that a package may count on; a *_node.py file may count on `ros` as well
EXTRAS = {
    "ddiffpg": (),
    "ddiffpg_core": ("train",),
    "ddiffpg_sim": ("sim",),
    "ddiffpg_export": ("export", "sim"),
    "ddiffpg_cli": ("sim", "train", "export", "ros", "sweep"),
}
# mujoco for the optional predictor of the robot's side, imported only where it is used
OPTIONAL = {"ddiffpg": {"mujoco"}}
ROS_MESSAGES = re.compile(r"^(rcl_interfaces|builtin_interfaces|[a-z_]+_(msgs|srvs))$")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of all files in a freshly built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_wheel_holds_the_packages_and_nothing_else(names: list[str]) -> None:
    tops = {n.partition("/")[0] for n in names}
    assert tops == {*PACKAGES, f"ddiffpg_stack-{PROJECT['version']}.dist-info"}


def test_wheel_holds_every_tracked_file_of_the_packages(names: list[str]) -> None:
    """Data files too: presets, models, scripts of obstacles, middleware profiles."""
    command = ["git", "ls-files", *PACKAGES.values()]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout: nothing says which files are tracked")
    for package, folder in PACKAGES.items():
        wanted = {package + n.removeprefix(folder) for n in tracked if n.startswith(folder + "/")}
        assert wanted <= set(names), f"missing: {sorted(wanted - set(names))}"


def test_wheel_has_the_command_and_the_licence(names: list[str]) -> None:
    info = f"ddiffpg_stack-{PROJECT['version']}.dist-info"
    assert f"{info}/entry_points.txt" in names
    assert f"{info}/licenses/LICENSE" in names


def test_wheel_has_no_tests_and_no_caches(names: list[str]) -> None:
    assert [n for n in names if re.search(r"(^|/)(tests?/|test_|conftest|__pycache__)", n)] == []


# ---- dependencies ----------------------------------------------------------------------------------


def declared(extras: tuple[str, ...]) -> set[str]:
    """Distributions that are there when these extras are installed."""
    wanted = list(PROJECT["dependencies"])
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    names = {re.match(r"[A-Za-z0-9._-]+", text).group().lower() for text in wanted}  # type: ignore[union-attr]
    nested = {e for text in wanted if text.startswith("ddiffpg-stack[") for e in text[14:-1].split(",")}
    return names | declared(tuple(nested - set(extras))) if nested - set(extras) else names


def third_party(path: Path) -> set[str]:
    """Top-level names of what a file imports, at whatever depth, that is neither ours nor the standard library's."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(PACKAGES)


def distribution(module: str) -> str:
    if module == "rclpy":
        return "ros-rclpy"
    if ROS_MESSAGES.match(module):
        return "ros-" + module.replace("_", "-")
    return DISTRIBUTION.get(module, module).lower()


SOURCES = [(p, f) for p, folder in PACKAGES.items() for f in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize(("package", "path"), SOURCES, ids=lambda v: v if isinstance(v, str) else v.name)
def test_every_import_is_declared(package: str, path: Path) -> None:
    extras = EXTRAS[package] + (("ros",) if path.name.endswith("_node.py") else ())
    # rcl_interfaces and builtin_interfaces come with rclpy itself
    known = declared(extras) | {"ros-rcl-interfaces", "ros-builtin-interfaces"}
    undeclared = {m for m in third_party(path) - OPTIONAL.get(package, set()) if distribution(m) not in known}
    assert undeclared == set()


def test_what_an_extra_brings_is_explained_where_it_is_missing() -> None:
    """Each import beyond the base dependencies is known to the message that names the extra to install."""
    base = declared(())
    used = {m for _, path in SOURCES for m in third_party(path) if distribution(m) not in base}
    assert used <= set(EXTRA_OF), f"unexplained: {sorted(used - set(EXTRA_OF))}"


def test_constraints_pin_every_direct_dependency() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = {re.match(r"[a-z0-9-]+", line).group() for line in text.splitlines() if re.match(r"[a-z]", line)}  # type: ignore[union-attr]
    extras = PROJECT["optional-dependencies"]
    wanted = {
        re.match(r"[a-z0-9-]+", spec).group()  # type: ignore[union-attr]
        for spec in [*PROJECT["dependencies"], *(s for e in extras.values() for s in e)]
        if "==" not in spec and not spec.startswith("ddiffpg-stack")
    }
    assert wanted <= pinned, f"not pinned: {sorted(wanted - pinned)}"
