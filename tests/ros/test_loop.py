"""When ticks run: by the clock or by the robot's state; what the operating system is asked for."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from ddiffpg import realtime

NOBODY = 65534


def stamp(said: dict[str, str]) -> str:
    """Of the odometry that a tick decided by."""
    return dict(part.split(":") for part in said["stamps"].split(","))["odom_topic"]


def test_each_state_that_is_due_gives_a_tick_of_its_own(nodes, robot, field_policy):
    """The timer would tick by itself only after 15 s: who waits for that waits in vain."""
    nodes.start("ddiffpg.controller_node", policy=str(field_policy), autostart=True, rate=0.1, trigger="state",
                state_timeout=60.0)  # fmt: skip
    robot.observer.wait(
        "the first tick", lambda: robot.send() or robot.observer.controller.get("state") == "DRIVE", 9.0
    )
    assert robot.observer.controller["ticks"] == "0"


def test_without_a_state_the_timer_ticks(nodes, robot, observer, field_policy):
    nodes.start("ddiffpg.controller_node", policy=str(field_policy), autostart=True, trigger="state")
    observer.wait("a tick without a state", lambda: observer.controller.get("state") == "HOLD")
    robot.until("DRIVE")
    before = int(observer.controller["ticks"])
    robot.until("HOLD", "the robot's state is", sending=False)
    assert int(observer.controller["ticks"]) > before


def test_states_that_come_too_often_give_no_more_ticks_than_the_rate(nodes, robot, observer, field_policy):
    nodes.start("ddiffpg.controller_node", policy=str(field_policy), autostart=True, trigger="state")
    told: list[tuple[float, str]] = []
    robot.until("DRIVE")
    observer.listen(lambda topic, m: told.append((float(observer.controller["now"]), stamp(observer.controller)))
                    if topic == "controller/status" else None)  # fmt: skip
    observer.wait("ten ticks", lambda: robot.send() or len(told) >= 10)
    apart = [b - a for (a, _), (b, _) in zip(told, told[1:])]
    assert min(apart) > 0.07 and len({s for _, s in told}) == len(told)  # 10 Hz, less a quarter of a period


# ---- the operating system --------------------------------------------------------------------------------

AS_NOBODY = f"""
import os, resource, sys
from ddiffpg import realtime
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
for ask in (lambda: realtime.set_priority(10), realtime.lock_memory):
    try:
        ask()
    except realtime.RealtimeError as error:
        print(error)
realtime.set_priority(0)
"""


def test_what_is_not_permitted_is_said_with_what_would_permit_it(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(realtime.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], env=environment, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    priority, memory = done.stdout.splitlines()
    assert "realtime_priority is 10, and this user may not" in priority and "rtprio" in priority
    assert "lock_memory is true" in memory and "memlock" in memory


def test_the_loop_has_its_priority_and_memory_while_it_is_configured(nodes, observer, field_policy):
    if os.geteuid() != 0 and resource.getrlimit(resource.RLIMIT_RTPRIO)[1] < 10:
        pytest.skip("this user may not raise priorities")
    process = nodes.start("ddiffpg.controller_node", policy=str(field_policy), realtime_priority=10, lock_memory=True)
    assert observer.transition("configure"), process.output()
    assert os.sched_getscheduler(process.pid) == os.SCHED_FIFO and locked(process.pid) > 0
    assert observer.transition("cleanup")
    assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER and locked(process.pid) == 0


def locked(pid: int) -> int:
    """kB of a process that are not swapped out."""
    found = re.search(r"VmLck:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found.group(1))
