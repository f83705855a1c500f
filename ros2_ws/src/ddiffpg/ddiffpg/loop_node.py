"""The control loop: when a tick runs, and what keeps other things from delaying it.

One thread does all: readings are taken in between ticks, so that a tick sees one state of affairs and nothing needs a
lock. A thread of its own for ticks would share the interpreter with that of the readings; benchmarks/control_loop.py
has both side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ddiffpg import realtime
from ddiffpg.parameters_node import Parameters, ParameterSpec
from ddiffpg.watchdog import Watchdog

PARAMETERS = (
    ParameterSpec(
        "rate", 0.0, "control rate, Hz; 0: the one that the policy was trained at", 0.0, 1000.0, fixed="configured"
    ),
    ParameterSpec(
        "trigger",
        "timer",
        "timer: a tick in every period; state: as soon as the robot's state comes, at most at the control rate, and by "
        "the timer where none comes for one and a half periods",
        choices=("timer", "state"),
        fixed="configured",
    ),
    ParameterSpec(
        "tick_timeout",
        0.5,
        "a control tick that takes longer is a fault, and the robot is stopped without it, s",
        low=0.05,
        high=60.0,
        fixed="configured",
    ),
    ParameterSpec(
        "executor", "single", "which rclpy executor spins the node", choices=("single", "events"), fixed="configured"
    ),
    ParameterSpec(
        "realtime_priority",
        0,
        "SCHED_FIFO priority of the control loop; 0: scheduled as usual. Not configured where that is not permitted",
        low=0,
        high=99,
        fixed="configured",
    ),
    ParameterSpec(
        "lock_memory",
        False,
        "keep the process from being swapped out. Not configured where that is not permitted",
        fixed="configured",
    ),
)
EARLY = 0.25  # periods by which a state may come before its time and still count as the next one
PATIENT = 1.5  # periods after which the timer ticks where no state came


class ControlLoop:
    """Calls ``tick`` from the node's executor between :meth:`start` and :meth:`stop`, every ``period`` seconds.

    The timer's deadlines are absolute: a tick that comes late does not shift those after it, and after an overrun the
    periods that have passed are left out; they are not made up for. While a tick takes longer than ``tick_timeout``,
    ``hangs`` is called again and again, in another thread; ``late`` once it has ended after all. Raises RealtimeError
    where the operating system does not permit what the parameters ask for.
    """

    def __init__(
        self,
        node: Node,
        settings: Parameters,
        period: float,
        tick: Callable[[], None],
        hangs: Callable[[], None],
        late: Callable[[], None],
    ) -> None:
        self._node, self._period, self._tick = node, period, tick
        self._hangs, self._late, self._tick_timeout = hangs, late, settings["tick_timeout"]
        self._watchdog: Watchdog | None = None
        self._by_state = settings["trigger"] == "state"
        self._timer: Any = None
        self._due = 0.0  # s, from when on a state is the next one
        self._priority, self._locked = settings["realtime_priority"], settings["lock_memory"]
        try:
            self._ask_system()
        except realtime.RealtimeError:
            self.close()
            raise

    def _ask_system(self) -> None:
        if self._priority:
            realtime.set_priority(self._priority)
        if self._locked:
            realtime.lock_memory()

    @property
    def running(self) -> bool:
        return self._timer is not None

    @property
    def overdue(self) -> bool:
        """Has the tick that is under way taken too long?"""
        return self._watchdog is not None and self._watchdog.barked

    def start(self) -> None:
        realtime.settle_garbage()
        self._watchdog = Watchdog(self._tick_timeout, self._hangs)
        # A clock that somebody sets (NTP, an operator) must not keep the loop from running.
        simulated = self._node.get_parameter("use_sim_time").value
        clock = self._node.get_clock() if simulated else Clock(clock_type=ClockType.STEADY_TIME)
        wait = PATIENT * self._period if self._by_state else self._period
        self._timer = self._node.create_timer(wait, self._run, clock=clock)

    def stop(self) -> None:
        assert self._watchdog is not None
        self._watchdog.close()
        self._node.destroy_timer(self._timer)
        self._timer = self._watchdog = None
        realtime.release_garbage()

    def close(self) -> None:
        """The thread and the memory are as they were."""
        if self._priority:
            realtime.set_priority(0)
        if self._locked:
            realtime.unlock_memory()

    def state_came(self) -> None:
        """The robot's state was just taken in."""
        if self._by_state and self._timer is not None and time.monotonic() >= self._due:
            self._timer.reset()
            self._run()

    def _run(self) -> None:
        self._due = time.monotonic() + (1.0 - EARLY) * self._period
        watchdog = self._watchdog
        assert watchdog is not None
        watchdog.begin()
        self._tick()
        if watchdog.end() and self.running:
            self._late()
