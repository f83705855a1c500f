"""Runs one node in this process until it is told to stop, and stops it in order.

rclpy's own signal handlers end the context at once, and then no stop command can be sent any more.
So the signals only raise a flag here, the node closes itself while its publishers still live, and
the context ends last.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Protocol

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

POLL_SECONDS = 0.05


class StoppableNode(Protocol):
    """A node that says which executor it wants, when it is done, and how to leave the robot safe."""

    executor_name: str

    def exit_code(self) -> int | None:
        """None while the node should go on."""
        ...

    def close(self) -> None:
        """Leave the robot safe; the publishers still work."""
        ...

    def destroy_node(self) -> None: ...


class StopFlag:
    """Set by SIGINT and SIGTERM, however often they come."""

    def __init__(self) -> None:
        self.set = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._raise)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.set = True


def run(make_node: Callable[[], Any], args: Sequence[str] | None = None) -> int:
    """Make the node and spin it until SIGINT, SIGTERM or its own end; returns the process's exit code."""
    rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
    stop = StopFlag()
    try:
        try:
            node = make_node()
        except (ValueError, ParameterException) as error:  # a start value that cannot be: no traceback helps
            print(f"error: {error}", file=sys.stderr)
            return 1
        try:
            return _spin(node, make_executor(node.executor_name), stop)
        finally:
            node.close()
            node.destroy_node()
    finally:
        rclpy.shutdown()


def make_executor(name: str) -> Executor:
    """``single`` or ``events``. Raises ValueError where this ROS has no EventsExecutor."""
    if name == "single":
        return SingleThreadedExecutor()
    if name != "events":
        raise ValueError(f"executor '{name}' is none of: single, events")
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError as error:
        raise ValueError("executor 'events' needs ROS 2 Kilted or later; use 'single'") from error
    return EventsExecutor()


def _spin(node: Any, executor: Executor, stop: StopFlag) -> int:
    """spin_once with a time limit: the events executor's own spin() would not see the signals."""
    executor.add_node(node)
    try:
        while not stop.set:
            executor.spin_once(timeout_sec=POLL_SECONDS)
            code = node.exit_code()
            if code is not None:
                return code
        return 0
    finally:
        executor.remove_node(node)


def refuse_illegal_transitions(node: Any) -> None:
    """Answer an illegal lifecycle request with success=False; up to Jazzy it would end the process instead."""
    service = node._service_change_state  # no public way to it
    change_state = service.callback

    def guarded(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RCLError as error:
            node.get_logger().error(f"transition refused: {error}")
            response.success = False
            return response

    service.callback = guarded
