"""Hand-over between a human and the policy: jumps of the command, jerk, ticks, and whether the human's mode is kept.

    python benchmarks/handoff.py [--policies NAME ...] [--seeds N] [--seed N] [--json FILE|-]

The robot's controller drives the simulated robot. A scripted human, who wavers, drives along a mode's
prototype and hands over to the policy: after a quarter or half of the way; where it has just parted from
all other ways; or after a quarter of what is left of it from there. Or takes over from the policy in the
middle, drives on along the same way for half a metre and gives back. Each of these for every mode of
every policy and every seed. Jumps are the change of what is sent from one control period to the next, in
terms of what a transition allows; jerk is the second difference of what is sent. Writes JSON.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _result import write

from ddiffpg.contract import Contract
from ddiffpg.controller import Controller, ControllerConfig, HandoffConfig
from ddiffpg.decision import ENGAGE, Decision, Operator, Teleop
from ddiffpg.handoff import BLEND
from ddiffpg.obstacles import Obstacles
from ddiffpg.policy import Policy
from ddiffpg_cli.human import Human
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_sim import tasks
from ddiffpg_sim.robot import SimRobot

POLICIES = ("pointmaze-v1", "pointmaze-v2", "pointmaze-v3", "pointmaze-v4")
QUARTER, HALF, BACK = "handed over after a quarter", "handed over after a half", "taken over in the middle, given back"
PARTING = "handed over where its way has parted"
OWN = "handed over after a quarter of its way from where it has parted"
SCENARIOS = (QUARTER, HALF, BACK, PARTING, OWN)
STRETCH = 0.5  # metres that the human drives on before giving back
WANTED_KEPT = 0.95


@dataclass
class Drive:
    """One episode: the decisions in their order, and where command changed hands."""

    robot: SimRobot
    controller: Controller
    limit: int
    decisions: list[Decision] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)

    @property
    def position(self) -> np.ndarray:
        return self.robot.state().position[:2]

    @property
    def over(self) -> bool:
        return self.robot.success or len(self.decisions) >= self.limit

    def tick(self, wish: np.ndarray | None = None, mode: int = -1, requests: tuple[str, ...] = ()) -> Decision:
        now = self.robot.time
        teleop = None if wish is None else Teleop(now, tuple(wish.tolist()))
        operator = Operator(mode, teleop=teleop, requests=requests)
        decision = self.controller.tick(now, self.robot.state(), Obstacles(now), operator)
        self.decisions.append(decision)
        self.robot.step(decision.action)
        return decision


@dataclass(frozen=True)
class Outcome:
    """What one episode showed. ``kept``: the policy took up the human's mode and kept it to the goal; ``parted``: that
    mode's way had left all others where the human drove; ``unclear``: no mode was made out. Jumps in m/s, by tick;
    ``raw``: the jumps without a hand-over's care."""

    scenario: str
    success: bool
    kept: bool
    parted: bool
    unclear: bool
    confidence: float
    ticks: int
    jumps: tuple[float, ...]
    jerks: tuple[float, ...]
    others: tuple[float, ...]
    raw: tuple[float, ...]


def episode(policy: Policy, robot: SimRobot, scenario: str, mode: int, seed: int) -> Outcome:
    robot.reset(seed)
    rng = np.random.default_rng((seed, mode, SCENARIOS.index(scenario)))
    rules = HandoffConfig(engaged=scenario == BACK)
    controller = Controller(policy, ControllerConfig(), np.random.default_rng(seed), rules=rules)
    drive = Drive(robot, controller, 2 * policy.contract.max_steps)
    human = Human(np.array(policy.contract.mode(mode).path, float), rng)
    ticks, driven = _prelude(drive, human, scenario, mode)
    first = None if drive.over else drive.tick(requests=(ENGAGE,))
    taken = len(drive.decisions) - 1
    while not drive.over:
        drive.tick()
    modes = {d.mode for d in drive.decisions[taken:]}
    intent = None if first is None else first.intent
    return Outcome(
        scenario,
        robot.success,
        modes == {mode} and robot.success,
        parted(policy.contract, mode, *driven),
        intent is None or intent.mode is None,
        0.0 if intent is None else intent.confidence,
        ticks,
        *_figures(drive.decisions, 1.0 / policy.contract.rate_hz),
    )


def parted(contract: Contract, mode: int, begin: float, end: float) -> bool:
    """Is the way of ``mode`` somewhere from ``begin`` to ``end`` (m) off that of each other mode by more than half of
    the policy's tolerance?"""
    path = np.array(contract.mode(mode).path, float)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    stretch = path[(along >= begin - 1e-9) & (along <= end + 1e-9)][:, None]
    others = [np.array(m.path, float) for m in contract.modes if m.id != mode]
    off = [np.linalg.norm(stretch - other, axis=2).min(axis=1).max(initial=0.0) for other in others]
    return bool(min(off, default=np.inf) > 0.5 * contract.path_tolerance)


def parting(contract: Contract, mode: int) -> float:
    """The share of the way of ``mode`` after which it has parted from all others; 1 where it never does."""
    path = np.array(contract.mode(mode).path, float)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    return next((float(m / along[-1]) for m in along if parted(contract, mode, 0.0, m)), 1.0)


def _prelude(drive: Drive, human: Human, scenario: str, mode: int) -> tuple[int, tuple[float, float]]:
    """What is done until command is given to the policy: ticks from the human's first command to being in command,
    and from where to where (metres along the prototype) the human drove."""
    if scenario == BACK:
        while not drive.over and human.share(drive.position) < 0.5:
            drive.tick(mode=mode)
    begun, called = human.driven(drive.position), len(drive.decisions)
    apart = parting(drive.controller.policy.contract, mode)
    share = {QUARTER: 0.25, HALF: 0.5, BACK: 1.0, PARTING: apart, OWN: apart + 0.25 * (1.0 - apart)}[scenario]
    metres = STRETCH if scenario == BACK else np.inf
    while not drive.over and human.share(drive.position) < share and human.driven(drive.position) - begun < metres:
        drive.tick(human.wish(drive.position))
    by_hand = [i for i, d in enumerate(drive.decisions) if d.source == "TELEOP"]
    return by_hand[0] - called if by_hand else -1, (begun, human.driven(drive.position))


def _figures(decisions: Sequence[Decision], period: float) -> tuple[tuple[float, ...], ...]:
    """Jumps and jerks while command was handed over, jumps at other times, and the raw jumps at each hand-over."""
    sent = np.array([np.zeros(2), *(d.action for d in decisions)])
    change = np.diff(sent, axis=0)
    jump = np.linalg.norm(change, axis=1)
    jerk = np.linalg.norm(np.diff(np.concatenate([np.zeros((1, 2)), change]), axis=0), axis=1) / period**2
    blends = np.array([d.in_command == BLEND and bool(np.any(d.action)) for d in decisions])
    sources = ["", *(d.source for d in decisions)]
    given = [
        i for i in range(1, len(decisions)) if sources[i + 1] != sources[i] and np.isfinite(decisions[i].wanted).all()
    ]
    raw = [float(np.linalg.norm(decisions[i].wanted - decisions[i - 1].action)) for i in given]
    return tuple(jump[blends]), tuple(jerk[blends]), tuple(jump[~blends]), tuple(raw)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "episodes": len(outcomes),
        "success": _share([o.success for o in outcomes]),
        "mode_kept": _share([o.kept for o in outcomes]),
        "mode_unclear": sum(o.unclear for o in outcomes),
        "ways_have_parted": sum(o.parted for o in outcomes),
        "mode_kept_where_ways_have_parted": _share([o.kept for o in outcomes if o.parted]),
        "confidence_mean": round(float(np.mean([o.confidence for o in outcomes])), 3),
        "ticks_to_take_over_worst": max(o.ticks for o in outcomes),
    }


def smoothness(outcomes: Sequence[Outcome], allowed: float, plain: float) -> dict[str, Any]:
    """Jumps in m/s a control period against what is allowed, jerk in m/s^3."""
    names = ("jumps", "jerks", "others", "raw")
    jumps, jerks, others, raw = (np.concatenate([getattr(o, name) for o in outcomes]) for name in names)
    return {
        "hand_over_ticks": len(jumps),
        "jump_worst": round(float(jumps.max()), 4),
        "jump_allowed": round(allowed, 4),
        "jumps_above_allowed": int((jumps > allowed + 1e-9).sum()),
        "jump_p50": round(float(np.percentile(jumps, 50)), 4),
        "raw_jump_p50_p99_worst": [round(float(v), 4) for v in (*np.percentile(raw, (50, 99)), raw.max())],
        "jump_worst_at_other_times": round(float(others.max()), 4),
        "jump_allowed_at_other_times": round(plain, 4),
        "jerk_p50_p99_worst": [round(float(v), 2) for v in (*np.percentile(jerks, (50, 99)), jerks.max())],
    }


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", nargs="+", default=POLICIES, help="shipped policies of point mazes")
    parser.add_argument("--seeds", type=int, default=10, help="episodes of each scenario, mode and policy")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--json", default="-", help="where to write the result; - is the screen")
    args = parser.parse_args()
    config, found, by_policy = ControllerConfig(), [], {}
    for name in args.policies:
        policy = Policy.load(shipped_policy(name))
        cases = [(s, m, i) for s in SCENARIOS for m in policy.contract.mode_ids for i in range(args.seeds)]
        robot = SimRobot(tasks.make(policy.contract.task))
        outcomes = [episode(policy, robot, s, m, args.seed + i) for s, m, i in cases]
        by_policy[name] = {s: summarise([o for o in outcomes if o.scenario == s]) for s in SCENARIOS}
        found += outcomes
        period = 1.0 / policy.contract.rate_hz
    quarter = [o.kept for o in found if o.scenario == QUARTER and o.parted]
    result = {
        "benchmark": "handoff",
        "policies": list(args.policies),
        "episodes": len(found),
        "seeds": list(range(args.seed, args.seed + args.seeds)),
        "by_scenario": {s: summarise([o for o in found if o.scenario == s]) for s in SCENARIOS},
        "smoothness": smoothness(found, config.transition_acceleration * period, config.max_acceleration * period),
        "wanted_kept_at_a_quarter": WANTED_KEPT,
        "wanted_is_met_where_ways_have_parted": sum(quarter) >= WANTED_KEPT * len(quarter),
        "by_policy": by_policy,
    }
    write(result, args.json)


if __name__ == "__main__":
    main()
