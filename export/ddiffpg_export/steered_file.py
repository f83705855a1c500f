"""One policy file again: the steering composed in front of a student's graph, which stays as it is to the last bit."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import nn

from ddiffpg import contract as wire
from ddiffpg.policy import Policy
from ddiffpg_core.evaluate import KnownMode, ModeResult, Report, evaluate, typical_ways
from ddiffpg_export.accept import WAY_EPISODES, Tolerance, Trial, judge
from ddiffpg_export.describe import World, way_of
from ddiffpg_export.file_act import file_act, known_modes
from ddiffpg_export.graph import GraphBuilder, add_layers, add_mode_row, mode_table
from ddiffpg_export.known_states import NeverArrived, known_states
from ddiffpg_export.onnx_export import ExportRefused, check_target, parts, to_bytes, write
from ddiffpg_export.steering import Round, SteerConfig, Steered, SteerError, steer
from ddiffpg_export.steering_net import Seen, Steering

NOISE, STEERED = "noise", "steering.noise"
WORSE = Tolerance(least=0.0, success=0.05, adherence=0.05, returns=0.1)
"""How much worse than the policy as it was a steered mode may be. What is lost already may stay so."""


def steered_graph(student: onnx.ModelProto, network: Steering, seen: Seen) -> onnx.ModelProto:
    """``student`` with ``network`` between the graph's noise and its own: it has more nodes and constants, and those
    that it had, but that they read the steered noise. SteerError where it is steered already."""
    if any(node.name.startswith("steering.") for node in student.graph.node):
        raise SteerError("the policy is steered already: steer the one that it was made from")
    g = GraphBuilder()
    places = dict(zip(seen.ids, np.eye(len(seen.ids), dtype=np.float32)))
    table = g.constant("steering.modes", mode_table(places))
    place = g.add("Gather", [table, add_mode_row(g, places, "steering.mode")], "steering.place")
    offset, scale = (np.array([getattr(f, name) for f in seen.spec.observation], np.float32)
                     for name in ("offset", "scale"))
    moved = g.add("Sub", ["observation", g.constant("steering.offset", offset)], "steering.moved")
    normal = g.add("Div", [moved, g.constant("steering.scale", scale)], "steering.normal")
    x = g.add("Concat", [normal, place], "steering.seen", axis=1)
    hidden = add_layers(g, x, network.trunk, "steering", "steering")
    gate = g.add("MatMul", [place, g.constant("steering.gates", network.gate[:, None])], "steering.gate")
    move, spread = (_gated_head(g, hidden, gate, getattr(network, name), f"steering.{name}")
                    for name in ("move", "spread"))
    wide = g.add("Mul", [g.add("Exp", [spread], "steering.factor"), NOISE], "steering.wide")
    g.add("Add", [move, wide], STEERED)
    return _in_front(g, student)


def _gated_head(g: GraphBuilder, hidden: str, gate: str, head: nn.Linear, name: str) -> str:
    return g.add("Mul", [gate, g.linear(hidden, head, f"{name}.open", name)], name)


def _in_front(g: GraphBuilder, student: onnx.ModelProto) -> onnx.ModelProto:
    model = copy.deepcopy(student)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = STEERED if name == NOISE else name
    nodes = [*g.nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(g.initializers())
    onnx.checker.check_model(model, full_check=True)
    return model


# ---- from a policy file to a steered one -----------------------------------------------------------------


@dataclass(frozen=True)
class AdaptConfig:
    """``learn`` how, then ``episodes`` a mode to compare over, before and after; ``force`` writes what is worse too.
    ``target`` says in plain values which robot it is adapted to: the contract keeps it."""

    learn: SteerConfig = field(default_factory=SteerConfig)
    episodes: int = 200
    force: bool = False
    target: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AdaptReport:
    """What was written. ``trial``: the policy as it was (its "teacher") and steered, both on the target robot.
    ``driven`` episodes were learned from, measuring took others. What drove in the round ``best`` was kept, for the
    modes ``steered``; the others are as they were."""

    file: str
    source: str
    sha256: str
    driven: int
    reach: dict[int, float]
    rounds: tuple[Round, ...]
    best: int
    steered: tuple[int, ...]
    trial: Trial
    objections: tuple[str, ...]
    config: AdaptConfig

    def to_dict(self) -> dict[str, Any]:
        learn = self.config.learn.to_dict()
        return {
            "file": self.file, "sha256": self.sha256, "how": "steer", "source": self.source,
            "target": self.config.target, "episodes": self.config.episodes, "seed": self.config.learn.seed,
            "driven": self.driven, "reach": {str(i): r for i, r in self.reach.items()},
            "rounds": [r.to_dict() for r in self.rounds], "best_round": self.best,
            "steered": list(self.steered),
            "accepted": not self.objections, "objections": list(self.objections),
            "before": self.trial.teacher.to_dict(), "after": self.trial.student.to_dict(), "steering": learn,
        }  # fmt: skip


def adapt_file(
    source: Path, out: Path, learning: Callable[[int], World], config: AdaptConfig, on_round: Callable[[Round], None]
) -> AdaptReport:
    """Learn to steer the policy ``source`` on the target robot and write ``out``, and its report with suffix .json.

    ``learning`` makes the target's world with so many robots; whoever makes it also ends it. Raises SteerError where
    the policy cannot be steered, ExportRefused where a mode became worse, PolicyError or ContractError where it is no
    policy, OSError where ``out`` cannot be written.
    """
    check_target(out)
    policy, student = Policy.load(source), onnx.load(str(source))
    contract = policy.contract
    modes = known_modes(contract)
    learn = config.learn
    world = learning(learn.episodes * (1 + len(modes)))
    seen = Seen.of(world.spec, contract)
    steered_graph(student, Steering(seen, contract.noise_dim, learn.hidden), seen)  # if it cannot, say so first
    steered = steer(policy, world.env, modes, learn, on_round)
    model = steered_graph(student, steered.network, seen)
    with parts(out, out.with_suffix(".json")) as (policy_part, report_part):
        write(policy_part, to_bytes(model, contract))
        trial = compare(policy, Policy.load(policy_part), world, modes, config)
        objections = judge(trial, WORSE)
        if objections and not config.force:
            raise ExportRefused("steering made it worse: " + "; ".join(objections))
        told = _contract(policy_part, contract, trial.student, world, config, _history(source, steered, config))
        content = to_bytes(model, told)
        write(policy_part, content)
        Policy.load(policy_part)
        report = AdaptReport(out.name, source.name, hashlib.sha256(content).hexdigest(), steered.rounds[-1].episodes,
                             steered.reach, steered.rounds, steered.best, steered_modes(steered.network, seen),
                             trial, objections, config)
        write(report_part, (json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n").encode())
    return report


def steered_modes(network: Steering, seen: Seen) -> tuple[int, ...]:
    """Those whose gate is open."""
    return tuple(i for i, open_ in zip(seen.ids, network.gate.tolist()) if open_)


def compare(before: Policy, after: Policy, world: World, modes: Sequence[KnownMode], config: AdaptConfig) -> Trial:
    """Both in the same episodes, which are others than were learned from."""
    seed = config.learn.seed + 7_000_003
    return Trial(*(evaluate(world.env, file_act(file, seed), modes, config.episodes, seed) for file in (before, after)))


def _history(source: Path, steered: Steered, config: AdaptConfig) -> dict[str, Any]:
    """What the contract says of how it was adapted."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return {"how": "steer", "source_sha256": digest, "target": config.target,
            "driven": steered.rounds[-1].episodes, "steering": config.learn.to_dict()}


def _contract(
    file: Path, before: wire.Contract, measured: Report, world: World, config: AdaptConfig, history: dict[str, Any]
) -> wire.Contract:
    """The contract with figures, ways and known states of the steered policy ``file`` on the target robot."""
    seed = config.learn.seed
    act = file_act(Policy.load(file), seed)
    ways = typical_ways(world.env, act, known_modes(before), WAY_EPISODES, seed)
    figures = {m.id: m for m in measured.modes}
    modes = tuple(_mode(m, figures[m.id], ways[m.id], world) for m in before.modes)
    training = replace(before.training, config={**before.training.config, "adapted": history})
    contract = replace(before, modes=modes, training=training, margins=None)  # those were measured on the model
    try:
        known, _ = known_states(world.env, act, contract, 5 * config.episodes // 2, seed)
    except NeverArrived:
        known = None
    return replace(contract, known_states=known)


def _mode(mode: wire.Mode, figures: ModeResult, gone: np.ndarray, world: World) -> wire.Mode:
    path, clearance = way_of(gone, world)
    returns, steps = figures.returns, figures.mean_steps
    return replace(mode, success=figures.success, adherence=figures.adherence,
                   returns=1.0 if returns is None else returns,
                   mean_steps=float(world.spec.max_steps) if steps is None else steps, path=path, clearance=clearance)
