"""Every fault of the list in benchmarks/_faults.py, at a real controller over DDS; and the table made from it."""

from __future__ import annotations

import ast
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onnx", reason="onnx (extra export) is needed to make policy files")
pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

from rclpy.clock import ClockType

from ddiffpg_cli.observer_node import Observer
from tests.ros.test_handover import Controllers
from tests.scripts import BENCHMARKS, benchmark

faults, rigs, slow_policy = (benchmark(name) for name in ("_faults", "_fault_rig", "_slow_policy"))
ROOT = BENCHMARKS.parent
HERE = [fault for fault in faults.FAULTS if not fault.test and not (fault.slow and fault.state == "FAULT")]
HANGS = next(fault for fault in faults.FAULTS if fault.slow and fault.state == "FAULT")


@pytest.fixture
def controllers(ros_environment) -> Iterator[Controllers]:
    running = Controllers()
    yield running
    running.end()


@pytest.fixture
def rig(controllers) -> Iterator:
    watching = Observer(alive=controllers.spin)
    made = rigs.FedRig(watching)
    yield made
    made.close()
    watching.close()


@pytest.fixture(scope="module")
def slow(field_policy, tmp_path_factory) -> Path:
    return slow_policy.slow_down(field_policy, tmp_path_factory.mktemp("slow") / "slow.onnx")


@pytest.mark.parametrize("fault", HERE, ids=lambda fault: fault.name)
def test_it_is_noticed_the_robot_stands_and_it_goes_on(controllers, rig, field_policy, slow, fault):
    policy = str(slow if fault.slow else field_policy)
    controllers.start(policy=policy, **rigs.PATIENT, **dict(fault.parameters))
    fault.before(rig)
    rig.drive()
    if fault.harmless:
        assert rig.endure(fault.strike)
    else:
        rig.suffer(fault.strike, fault.state, fault.reason)
    rig.heal()
    fault.mend(rig)
    rig.drive()


def test_a_tick_that_hangs_stops_the_robot_without_it(nodes, observer, slow):
    """In a process of its own: ONNX Runtime is in a loop that does not end, and nothing but a kill ends it."""
    rig = rigs.FedRig(observer)
    process = nodes.start("ddiffpg.controller_node", policy=str(slow), autostart=True, **rigs.PATIENT)
    rig.drive()
    rig.suffer(HANGS.strike, HANGS.state, HANGS.reason)
    observer.settle(0.3)
    assert {speed for _, speed in rig.speeds[-2:]} == {0.0}
    process.send(signal.SIGTERM)  # it cannot hear that
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    rig.heal()
    nodes.start("ddiffpg.controller_node", policy=str(slow), autostart=True, **rigs.PATIENT)
    rig.drive()
    rig.close()


def test_the_loop_runs_by_a_clock_that_nobody_sets(controllers, field_policy):
    node = controllers.start(policy=str(field_policy))
    assert node._loop._timer.clock.clock_type == ClockType.STEADY_TIME


# ---- two processes, one of which is lost -----------------------------------------------------------------


@pytest.fixture
def pair(nodes, observer, field_policy):
    made = rigs.Pair(observer, nodes.start, str(field_policy))
    made.drive()
    return made


def test_a_controller_that_is_killed_or_frozen_leaves_a_robot_that_stands(pair):
    pair.stop(pair.controller, signal.SIGSTOP, lambda: pair.speed < rigs.STANDS)
    assert pair.observer.robot["command"].startswith("stale")
    pair.controller.send(signal.SIGCONT)
    pair.observer.wait("a drive again", lambda: pair.speed > 0.3)
    pair.stop(pair.controller, signal.SIGKILL, lambda: pair.speed < rigs.STANDS)
    pair.start_controller()
    pair.drive()


def test_a_robot_that_is_gone_holds_the_controller_until_it_is_back(pair):
    said = pair.observer

    def holds() -> bool:
        return said.controller["state"] == "HOLD" and "the robot's state is" in said.controller["reason"]

    pair.stop(pair.robot, signal.SIGKILL, holds)
    pair.start_robot()
    pair.observer.wait("a drive again", lambda: pair.speed > 0.3)


# ---- the list itself -------------------------------------------------------------------------------------


def test_the_tests_that_the_list_names_exist():
    for fault in faults.FAULTS:
        if fault.test:
            file, name = fault.test.split("::")
            defined = {n.name for n in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(n, ast.FunctionDef)}
            assert name in defined, f"{fault.name}: {fault.test}"
        else:
            assert fault.strike is not None, fault.name


def test_the_table_of_the_page_is_up_to_date():
    measured = json.loads((BENCHMARKS / "results" / "faults.json").read_text())["faults"]
    table = faults.table(measured)
    page = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    assert table in page, f"put this into docs/safety.md:\n{table}"


def test_no_fault_was_noticed_later_than_it_is_said_to_be():
    """In the recorded run: by more than what the messages took that told of it."""
    measured = json.loads((BENCHMARKS / "results" / "faults.json").read_text())["faults"]
    under_way = 0.15  # s, both ways, on a busy machine
    for fault in faults.FAULTS:
        if fault.name in measured and not fault.harmless and measured[fault.name]["noticed_ms"]:
            worst = measured[fault.name]["noticed_ms"]["worst"] * 1e-3
            assert worst <= fault.seconds(faults.defaults()) + under_way, fault.name
