"""Lifecycle node ``controller``: serves one policy to one robot.

``python -m ddiffpg.controller_node --ros-args -p policy:=FILE.onnx -p autostart:=true``
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from ddiffpg import inputs_node, loop_node, operator_node, outputs_node
from ddiffpg import interface_node as interface
from ddiffpg.controller import Controller
from ddiffpg.decision import E_STOP, FAULT, ControllerConfig, Operator
from ddiffpg.handoff import HandoffConfig
from ddiffpg.inputs_node import Inputs
from ddiffpg.loop_node import ControlLoop
from ddiffpg.observation import RobotState
from ddiffpg.operator_node import HumanInputs, Requests
from ddiffpg.outputs_node import Command, Report
from ddiffpg.parameters import ParameterError, build, describe
from ddiffpg.parameters_node import Parameters, ParameterSpec, specs_of
from ddiffpg.policy import Policy
from ddiffpg.run_node import refuse_illegal_transitions, run

PARAMETERS = (
    ParameterSpec("policy", "", "the policy to serve: path of an .onnx file", fixed="configured"),
    ParameterSpec("provider", "CPUExecutionProvider", "execution provider of ONNX Runtime", fixed="configured"),
    ParameterSpec("threads", 1, "threads of ONNX Runtime", low=1, high=64, fixed="configured"),
    ParameterSpec("seed", 0, "seed of the policy's noise", low=0, high=2**31 - 1, fixed="configured"),
    ParameterSpec("mode", -1, "id of the only mode to use; -1: choose by itself", low=-1, high=2**31 - 1),
    ParameterSpec(
        "autostart", False, "configure and activate at once; the process ends if that fails", fixed="configured"
    ),
    *loop_node.PARAMETERS,
    *inputs_node.PARAMETERS,
    *outputs_node.PARAMETERS,
    *operator_node.PARAMETERS,
    *specs_of(ControllerConfig, fixed="active"),
    *specs_of(HandoffConfig, fixed="active"),
)
CONFIG_NAMES = tuple(p.name for p in describe(ControllerConfig))
RULE_NAMES = tuple(p.name for p in describe(HandoffConfig))
SUCCESS, FAILURE, ERROR = (getattr(TransitionCallbackReturn, name) for name in ("SUCCESS", "FAILURE", "ERROR"))


class ControllerNode(LifecycleNode):
    """Configures a policy, and while active decides and sends a command in every control period."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("controller", **node_arguments)
        refuse_illegal_transitions(self)
        self._policy: Policy | None = None
        self._controller: Controller | None = None
        self._inputs: Inputs | None = None
        self._human: HumanInputs | None = None
        self._command: Command | None = None
        self._report: Report | None = None
        self._loop: ControlLoop | None = None
        self._diagnostic_timer: Any = None
        self._enabled = True
        self._latched: str | None = None  # outlives the controller: a fault is left by re-arming only
        self._fault: str | None = None
        self._exit: int | None = None
        try:
            self._settings = Parameters(self, PARAMETERS, self._frozen, self._veto)
        except Exception:  # a node that refuses its start values leaves the graph: nobody must take it for the real one
            self.destroy_node()
            raise
        self.executor_name: str = self._settings["executor"]
        interface.ENABLE.server(self, self._on_enable)
        self._requests = Requests(self, self._refusal)

    # ---- what run() asks of a node -----------------------------------------------------------------

    def autostart(self) -> None:
        """Configure and activate where the parameter says so; otherwise whoever manages the node does."""
        if not self._settings["autostart"]:
            return
        if self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
            self._exit = 1

    def exit_code(self) -> int | None:
        return self._exit

    def close(self) -> None:
        """Stop the robot and take everything down, in whatever state the node is."""
        if self._active:
            self.trigger_deactivate()
        if self._policy is not None:
            self.trigger_cleanup()

    def destroy_node(self) -> None:
        """Leave the graph as well: rclpy's lifecycle nodes stay in it while their state machine lives."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    # ---- lifecycle ---------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy and see that everything fits; refuses what does not, and says which field."""
        try:
            self._configure()
        except (ValueError, OSError, KeyError) as error:
            self.get_logger().error(f"not configured: {error}")
            self._take_down()
            return FAILURE
        except Exception:  # rclpy would hide it
            self.get_logger().error(f"not configured:\n{traceback.format_exc()}")
            self._take_down()
            return ERROR
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._policy is not None
        controller = self._make_controller(self._policy)
        if self._latched is not None:
            controller.trip(self._latched, self._now())
        self._enabled, self._fault = True, None
        assert self._loop is not None
        self._loop.start()
        self.get_logger().info("active")
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot. After a fault this leads through error processing to unconfigured."""
        self._stop()
        if self._fault is not None:
            return ERROR
        self.get_logger().info("not active: the robot was told to stop")
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._take_down()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._take_down()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, and leave nothing that could go on; the node can be configured again."""
        self._stop()
        self._take_down()
        return SUCCESS

    # ---- making and taking down --------------------------------------------------------------------

    def _configure(self) -> None:
        s = self._settings
        if not s["policy"]:
            raise ParameterError("policy", "is empty: expected the path of an .onnx file")
        policy = Policy.load(s["policy"], providers=(s["provider"],), threads=s["threads"])
        self._policy = policy
        contract = policy.contract
        self._check_mode(s["mode"])
        self._period = 1.0 / (s["rate"] or contract.rate_hz)
        self._make_controller(policy)
        policy.warm_up()
        self._loop = ControlLoop(self, s, self._period, self._tick, self._hangs, self._late)
        self._inputs = Inputs(self, contract, s, self._now, self._loop.state_came)
        self._human = HumanInputs(self, contract, s, self._now, lambda: self._requests.add(E_STOP))
        self._command = Command(self, contract, s)
        self._report = Report(self, contract, s, self._period)
        self._diagnostic_timer = self.create_timer(1.0, self._report.diagnose)
        if contract.known_states is None:
            self.get_logger().warning(f"{s['policy']} does not say which states it knows: others are not noticed")
        if not policy.checked:
            self.get_logger().warning(f"{s['policy']} has no checksum: damage to it is not noticed")
        self.get_logger().info(
            f"{s['policy']}: task {contract.task}, modes {list(contract.mode_ids)}, {1.0 / self._period:g} Hz"
        )

    def _make_controller(self, policy: Policy) -> Controller:
        """A controller that remembers nothing of an earlier drive."""
        config = build(ControllerConfig, self._settings.values(CONFIG_NAMES))
        rules = build(HandoffConfig, self._settings.values(RULE_NAMES))
        noise = np.random.default_rng(self._settings["seed"])
        self._controller = Controller(policy, config, noise, rules=rules)
        return self._controller

    def _stop(self) -> None:
        """No more ticks, and a last command to stand still that the robot has received."""
        if self._loop is None or not self._loop.running:
            return
        self._loop.stop()
        assert self._command and self._inputs and self._report
        self._command.stop(self._inputs.state())
        if self._fault is None:
            self._report.stopped()
        else:
            self._report.fault(self._fault)

    def _take_down(self) -> None:
        if self._diagnostic_timer is not None:
            self.destroy_timer(self._diagnostic_timer)
        for part in (self._inputs, self._human, self._command, self._report, self._loop):
            if part is not None:
                part.close()
        self._diagnostic_timer = self._inputs = self._human = self._command = self._report = self._loop = None
        self._controller = self._policy = None

    @property
    def _active(self) -> bool:
        return self._loop is not None and self._loop.running

    # ---- the control loop --------------------------------------------------------------------------

    def _tick(self) -> None:
        try:
            self._step()
        except Exception as error:  # whatever it is: the robot stops, and this does not go on
            self._fault = f"{type(error).__name__}: {error}"
            self.get_logger().fatal(f"fault in the control loop, stopping:\n{traceback.format_exc()}")
            self.trigger_deactivate()

    def _hangs(self) -> None:
        """In another thread, while a tick does not end: nobody else can stop the robot now."""
        assert self._command and self._report
        self._command.halt()
        self._report.fault(f"{self._late_text} and goes on", wait=False)

    def _late(self) -> None:
        """It has ended after all, and the robot was told to stop meanwhile."""
        assert self._controller
        self._controller.stopped(self._late_text, self._now())
        self.get_logger().error(f"{self._late_text}: the robot was stopped")

    @property
    def _late_text(self) -> str:
        return f"a control tick took more than {self._settings['tick_timeout']:g} s"

    def _step(self) -> None:
        assert self._controller and self._inputs and self._human and self._command and self._report and self._loop
        started, now = time.perf_counter(), self._now()
        state, obstacles = self._inputs.state(), self._inputs.obstacles(now)
        read = time.perf_counter()
        operator = self._operator(state, self._requests.take())
        decision = self._controller.tick(now, state, obstacles, operator)
        decided = time.perf_counter()
        if self._loop.overdue:  # the robot stands: what was decided comes too late
            return
        self._command.send(decision.sent, state)
        sent = time.perf_counter()
        self._latched = decision.command_reason if decision.source == FAULT else None
        more = {
            "now": f"{now:.6f}",
            **operator.said(),
            "stamps": ",".join(f"{name}:{stamp:.6f}" for name, stamp in self._inputs.stamps.items()),
            "scan_at": ",".join(f"{value:.6f}" for value in self._inputs.scan_at or ()),
            "ticks": self._report.deadlines.ticks,
            "missed_deadlines": self._report.deadlines.missed,
            "obstacles": len(self._inputs.shapes),
            "obstacle_messages": self._inputs.obstacle_messages,
            "tick_ms": f"{(sent - started) * 1e3:.3f}",
        }
        faults = (*self._inputs.faults, *self._human.faults, *self._report.deadlines.faults)
        self._report.decision(decision, self._inputs.shapes, faults, more)
        ended = time.perf_counter()
        times = {"read": read - started, **decision.stage_seconds, "tick": decided - read}
        self._report.times.add({**times, "send": sent - decided, "report": ended - sent, "all": ended - started})
        self._report.deadlines.tick(started, ended)

    def _operator(self, state: RobotState | None, requests: tuple[str, ...] = ()) -> Operator:
        assert self._human
        return self._human.operator(state, self._settings["mode"], self._enabled, requests)

    def _now(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    # ---- the operator ------------------------------------------------------------------------------

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success, response.message = True, "enabled" if request.data else "off"
        return response

    def _refusal(self, request: str) -> str | None:
        """Why a request is not met, or None. An e-stop is kept until there is somebody to stop."""
        if not self._active or self._controller is None:
            return None if request == E_STOP else "not active"
        return self._controller.refusal(request, self._now(), self._operator(None, self._requests.waiting))

    def _frozen(self, fixed: str) -> bool:
        return self._active or (fixed == "configured" and self._policy is not None)

    def _veto(self, values: dict[str, Any]) -> str | None:
        """Why these values cannot be, or None."""
        try:
            self._check_mode(values["mode"])
            build(ControllerConfig, {name: values[name] for name in CONFIG_NAMES})
            build(HandoffConfig, {name: values[name] for name in RULE_NAMES})
            operator_node.check_settings(values)
        except ValueError as error:
            return str(error)
        return None

    def _check_mode(self, mode: int) -> None:
        if self._policy is not None and mode != -1 and mode not in self._policy.contract.mode_ids:
            known = list(self._policy.contract.mode_ids)
            raise ParameterError("mode", f"is {mode}: the policy has the modes {known}, -1 lets the controller choose")


def _make() -> ControllerNode:
    node = ControllerNode()
    node.autostart()
    return node


def main(args: Sequence[str] | None = None) -> int:
    return run(_make, args)


if __name__ == "__main__":
    sys.exit(main())
