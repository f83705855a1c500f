"""A session at the controller, recorded as ``ddiffpg record`` records one: the same messages, without the wire between.

The robot's controller and the simulated robot run in this process, as fast as they can.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_typestore

from ddiffpg import messages_node as messages
from ddiffpg.controller import Controller, ControllerConfig, HandoffConfig
from ddiffpg.controller_node import PARAMETERS
from ddiffpg.decision import Decision, Operator, Teleop
from ddiffpg.obstacles import Obstacles
from ddiffpg.outputs_node import decision_values
from ddiffpg.policy import Policy
from ddiffpg_cli.mcap_writer import Limits, McapRecording, Topic
from ddiffpg_cli.recorder_node import parameter_event
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.sim_robot_node import end_effector, joint_states, odometry

CONTROLLER = "/controller"
BEGAN = 1_000_000_000.0  # s, the clock of the first decision
TOPICS = {  # name -> type, role
    "/odom": ("nav_msgs/msg/Odometry", "in"),
    "/end_effector": ("nav_msgs/msg/Odometry", "in"),
    "/joint_states": ("sensor_msgs/msg/JointState", "in"),
    f"{CONTROLLER}/status": ("diagnostic_msgs/msg/DiagnosticStatus", "out"),
    "/diagnostics": ("diagnostic_msgs/msg/DiagnosticArray", "out"),
    "/parameter_events": ("rcl_interfaces/msg/ParameterEvent", "out"),
}


class Session:
    """Writes ``out``. A step is a tick of the controller with what the human wants then, or nothing."""

    def __init__(self, out: Path, policy: Policy, robot: SimRobot, rules: HandoffConfig, seed: int = 0) -> None:
        self.robot, self._rate = robot, policy.contract.rate_hz
        self._controller = Controller(policy, ControllerConfig(), np.random.default_rng(seed), rules=rules)
        self._recording = McapRecording(out, Limits(), {"controller": CONTROLLER})
        self._offset, self._ticks = BEGAN, 0
        types = get_typestore(Stores.ROS2_KILTED)  # standard messages
        for name, (kind, role) in TOPICS.items():
            self._recording.add(Topic(name, kind, types.generate_msgdef(kind, ros_version=2)[0], role=role))
        contract = policy.contract
        about = messages.status("controller: policy", "ok", "", {"task": contract.task, "robot": contract.robot})
        self._write("/diagnostics", DiagnosticArray(status=[about]))
        values = {p.name: Parameter(p.name, value=p.default).get_parameter_value() for p in PARAMETERS}
        at = round(BEGAN * 1e9)
        self._recording.write("/parameter_events", at, at, parameter_event(types, CONTROLLER, values, at))

    @property
    def now(self) -> float:
        return self._offset + self.robot.time

    @property
    def position(self) -> np.ndarray:
        """x and y (m)."""
        return self.robot.state().position[:2]

    def begin(self, seed: int) -> None:
        """Put the robot where episodes start."""
        self._offset = self.now
        self.robot.reset(seed)

    def step(self, wish: np.ndarray | None = None, mode: int = -1, requests: tuple[str, ...] = ()) -> Decision:
        """One control period. ``wish [A]`` is a human's command in the contract's units."""
        now, state = self.now, replace(self.robot.state(), stamp=self.now)
        teleop = None if wish is None else Teleop(now, tuple(np.asarray(wish, float).tolist()))
        operator = Operator(mode, teleop=teleop, requests=requests)
        decision = self._controller.tick(now, state, Obstacles(now), operator)
        stamp = messages.Time(sec=int(now), nanosec=round(now % 1.0 * 1e9))
        head = messages.header(stamp, "odom")
        self._write("/odom", odometry(state, head, "base_link"))
        measured = {"odom_topic": now}
        if state.joints:
            self._write("/joint_states", joint_states(state, stamp))
            self._write("/end_effector", odometry(end_effector(state), head, "end_effector"))
            measured |= {"joint_topic": now, "end_effector_topic": now}
        self._say(decision, operator, ",".join(f"{name}:{stamp:.6f}" for name, stamp in measured.items()))
        self.robot.step(decision.action)
        return decision

    def close(self) -> None:
        self._recording.close()

    def _say(self, decision: Decision, operator: Operator, stamps: str) -> None:
        more = {"now": f"{decision.now:.6f}", **operator.said(), "stamps": stamps, "ticks": self._ticks}
        text = f"{decision.state}: {decision.reason}"
        values = {**decision_values(decision), **more}
        self._write(f"{CONTROLLER}/status", messages.status("controller", "ok", text, values))
        self._ticks += 1

    def _write(self, topic: str, message: Any) -> None:
        at = round(self.now * 1e9)
        self._recording.write(topic, at, at, serialize_message(message))
