"""Every setting of a training run, in one tree of dataclasses; strict YAML in, the same YAML out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ddiffpg_core.actor_settings import ActorConfig
from ddiffpg_core.baselines.settings import DiffusionQLConfig, SACConfig, TD3Config
from ddiffpg_core.strict_yaml import ConfigError, merge, parse_yaml

MATMUL = ("float32", "reduced")
DDIFFPG = "ddiffpg"
METHODS = (DDIFFPG, "sac", "td3", "dipo", "diffusion-ql")
"""What may be trained: DDiffPG and its baselines."""
NOMINAL, TRANSFER = SELECT = ("nominal", "transfer")
"""Where the best policy of a run is looked for: in the task's own model, or on robots that differ from it."""


@dataclass(frozen=True)
class TrainConfig:
    """The method, and the loop: how long, how many episodes side by side, how often to look.

    ``select``: by which evaluation a policy is kept, one of SELECT. ``offline_updates``: how many there are from what a
    run begins with, before its first step.
    """

    method: str = DDIFFPG
    iterations: int = 6000
    num_envs: int = 64
    sim_threads: int = 1
    torch_threads: int = 1
    warmup_iterations: int = 120
    updates_per_iteration: int = 2
    offline_updates: int = 0
    recluster_every: int = 100
    log_every: int = 100
    eval_every: int = 1000
    eval_episodes: int = 20
    final_episodes: int = 100
    select: str = NOMINAL
    checkpoint_every: int = 500
    fade_from: float = 0.7
    device: str = "cpu"
    matmul: str = MATMUL[0]

    def __post_init__(self) -> None:
        if self.matmul not in MATMUL:
            raise ConfigError(f"train.matmul is {self.matmul!r}: expected {' or '.join(MATMUL)}")
        if self.select not in SELECT:
            raise ConfigError(f"train.select is {self.select!r}: expected {' or '.join(SELECT)}")
        if self.method not in METHODS:
            raise ConfigError(f"train.method is {self.method!r}: no such method (known: {', '.join(METHODS)})")
        for name in ("iterations", "num_envs", "recluster_every", "log_every", "eval_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}: expected 1 or more")


@dataclass(frozen=True)
class CriticConfig:
    """Twin categorical critics, one pair a mode (paper, section 4.3).

    ``low_start`` is the lowest atom's first logit: at 0 all values begin at half of ``value_max``, which long discounts
    take long to forget; at 6 they begin near 0. ``layer_norm`` keeps values of actions that nobody has tried from
    growing (Ball et al. 2023).
    """

    hidden: tuple[int, ...] = (128, 128)
    atoms: int = 51
    value_max: float = 1.2
    learning_rate: float = 5e-4
    tau: float = 0.02
    gamma: float = 0.98
    n_step: int = 3
    batch_size: int = 256
    min_group_rows: int = 48
    low_start: float = 0.0
    layer_norm: bool = False
    per_mode: bool = True  # false: the finder's critic, for which any goal is a goal, serves every mode as well


@dataclass(frozen=True)
class ImproveConfig:
    """Action improvement by gradient steps on Q (paper, equation 5).

    ``reach``: how far an action on a mode's own way may come from the one that was done, in each of its numbers (of the
    range ±1; 2 is anywhere). Improvement goes on whenever a row is drawn; with many numbers it ends where critics err.
    ``candidates``: random actions that improvement off a mode's way may begin from, and targets beside the actor's.
    ``finder_afresh``: the finder's begins from the actor's own action too, but for its rows of successes. Else it goes
    on from what explorers did long ago, and its policy hardly leaves them.
    """

    steps: int = 4
    learning_rate: float = 0.06
    candidates: int = 4
    reach: float = 2.0
    finder_afresh: bool = False


@dataclass(frozen=True)
class NoveltyConfig:
    """NovelD on random-network distillation (paper, section 4.2).

    ``sees``: what novelty is of, ``all`` of the observation or the ``path`` and the outcome. ``cell``: where above 0, a
    step pays only if it enters a cell of these that the episode has not been in; its edge, in path tolerances.
    ``n_step``: over how many steps the exploration critic's returns go, discounted by ``gamma``.
    """

    hidden: tuple[int, ...] = (128, 128)
    features: int = 64
    learning_rate: float = 3e-4
    scale: float = 0.004
    clip: float = 6.0  # where every step pays, clip * scale / (1 - gamma) is at most critic.value_max
    sees: str = "all"
    cell: float = 0.0
    n_step: int = 1
    gamma: float = 0.98

    def __post_init__(self) -> None:
        if self.sees not in ("all", "path"):
            raise ConfigError(f"novelty.sees is {self.sees!r}: expected 'all' or 'path'")
        if self.n_step < 1:
            raise ConfigError(f"novelty.n_step is {self.n_step}: expected 1 or more")


@dataclass(frozen=True)
class GuideConfig:
    """What the map of visited places says of goals (``guide.py``).

    ``share``: of what critics of modes and the finder bootstrap from, the part that is the map's guess; 0 for none.
    ``cell``: the edge of a place, in path tolerances. ``known_cost``: what known ways cost the finder, times their
    length. ``ahead``: of ``rivals`` rows of a place that might be drawn for the finder or off a mode's way, the one
    counts that came nearest to the goal over so many steps, and improvement starts from its action (``led_on.py``);
    0: any, and the actor's own. The actor learns from those alone that came half as far as the best that was seen
    there, and had not gone away at first.
    ``led``: the part of those rows that are drawn so. The others are as they come and teach the critic alone, which
    else sees little of what does not lead on, as a robot that is about to fall over.
    ``reach``: how far it may come from there, in each number of the action; 0: what led on is imitated as it was.
    ``explorers``: the part of exploration's rows that are drawn so, for coming nearer to where few have been.
    """

    share: float = 0.0
    cell: float = 0.25
    known_cost: float = 4.0
    ahead: int = 0
    rivals: int = 8
    led: float = 1.0
    reach: float = 2.0
    explorers: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"guide.share is {self.share}: expected 0 to below 1")
        for name, least in (("cell", 0.01), ("known_cost", 1.0), ("ahead", 0), ("rivals", 1), ("reach", 0.0)):
            if getattr(self, name) < least:
                raise ConfigError(f"guide.{name} is {getattr(self, name)}: expected {least} or more")
        if not 0 < self.led <= 1:
            raise ConfigError(f"guide.led is {self.led}: expected above 0 to 1")
        if not 0 <= self.explorers <= 1 or (self.explorers and not self.ahead):
            raise ConfigError(f"guide.explorers is {self.explorers}: expected 0 to 1, and guide.ahead above 0")
        if self.ahead and not self.share:
            raise ConfigError(f"guide.ahead is {self.ahead}, but there is no map without guide.share above 0")


@dataclass(frozen=True)
class ExploreConfig:
    """How episodes are shared out and disturbed while data is collected.

    ``steady``: the size of an episode's noise stays what it was drawn to be at its start, so that some go undisturbed.
    ``shake_after``: so many steps without getting on by a quarter of the tolerance, and noise is held as for explorers
    until the robot moves: where a policy has come to stand nobody else shows how to get away. 0: never.
    ``give_up_after``: so many steps of the same, and an explorer heads for a goal: it has found what there is to find
    for it. Anybody else, and the explorer after as many again, is ended as if its time were up, but for evaluation:
    what would follow is more standing. 0: never.
    ``by_need``: a mode that nearly always arrives leaves up to four of five of its episodes to those that do not, and
    to explorers where all do; once learning rates fade nobody explores.
    ``bonus``: how much of the novelty reward a method without explorers of its own gets beside the task's.
    """

    bonus: float = 1.0
    explorer_share: float = 0.5
    sigma_min: float = 0.05
    sigma_max: float = 0.5
    steady: bool = False
    shake_after: int = 0
    give_up_after: int = 0
    by_need: bool = False
    hold_steps: int = 8
    hold_scale: float = 0.7
    finder_share: float = 0.5
    switch_share: float = 0.5
    null_share: float = 0.25


@dataclass(frozen=True)
class ReplayConfig:
    """Trajectories kept, and what a mode's rows are drawn from (the rest: other modes' successes).

    ``rare_share``: the part of exploration's rows whose trajectories are drawn by how rare the places are that they
    reach: else the explorer goes on the way that most have gone. ``prefer_quick``: successes are drawn for a mode and
    the finder in proportion to what the discount leaves of their goal (Peters and Schaal 2007), quick ones more often.
    ``known_at``: with so many successes a mode is known. The finder is paid for others alone, nobody heads for a goal
    while there are none: a finder that takes the ways that are known finds no others. 0: it is paid for all.
    ``success_share``: the part of a baseline's batch that is of successful trajectories, as soon as there are any.
    ``symmetric``: rows are seen through the symmetries of the robot, where the task names some (``symmetry.py``).
    """

    trajectories: int = 4000
    own_share: float = 0.34
    any_share: float = 0.33
    mode_consistent: bool = True  # false: goals pay a mode on other modes' ways too, and no shortcut ends a row
    rare_share: float = 0.0
    prefer_quick: bool = False
    known_at: int = 0
    success_share: float = 0.5
    symmetric: bool = True

    def __post_init__(self) -> None:
        for name in ("rare_share", "success_share"):
            if getattr(self, name) > 1:
                raise ConfigError(f"replay.{name} is {getattr(self, name)}: expected 0 to 1")


@dataclass(frozen=True)
class AgreementConfig:
    """How far a run trusts what the run that it begins from has driven, on a robot that may have been another
    (``agreement.py``).

    ``filter``: what the earlier run's transitions count for the critics of goals, by whether they are worth what they
    would be on the robot of this run; false: all in full. ``members`` dynamics of ``hidden`` widths learn what that is
    from ``batch_size`` of its transitions an update. Values that differ by less than ``least`` agree.
    """

    filter: bool = False
    members: int = 5
    hidden: tuple[int, ...] = (64, 64)
    batch_size: int = 256
    learning_rate: float = 1e-3
    least: float = 0.02

    def __post_init__(self) -> None:
        if self.members < 2:
            raise ConfigError(f"agreement.members is {self.members}: expected 2 or more, to see where they differ")
        if self.least <= 0:
            raise ConfigError(f"agreement.least is {self.least}: expected more than 0")


RULES = ("apart", "share")
"""Where the dendrogram is cut: where ways begin to count as two; or, as published for the arm, at a share of its
largest merge."""


@dataclass(frozen=True)
class ModesConfig:
    """Mode discovery: paths, their distance, the linkage and the rule that counts clusters."""

    path_points: int = 20
    library: int = 240
    new_per_call: int = 60
    max_modes: int = 8
    min_cluster: int = 4
    rule: str = RULES[0]
    cut_share: float = 0.7  # of the largest merge, where the rule "share" cuts the dendrogram
    joined: float = 0.9  # share of the distance that makes two ways, up to which paths are joined: 20 points blur it
    outliers_max: float = 0.25
    longest_detour: float = 2.0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"modes.rule is {self.rule!r}: no such rule (known: {', '.join(RULES)})")
        if self.min_cluster < 2:
            raise ConfigError(f"modes.min_cluster is {self.min_cluster}: expected 2 or more")


@dataclass(frozen=True)
class Config:
    """A whole run."""

    train: TrainConfig = field(default_factory=TrainConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    improve: ImproveConfig = field(default_factory=ImproveConfig)
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    guide: GuideConfig = field(default_factory=GuideConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    modes: ModesConfig = field(default_factory=ModesConfig)
    agreement: AgreementConfig = field(default_factory=AgreementConfig)
    sac: SACConfig = field(default_factory=SACConfig)
    td3: TD3Config = field(default_factory=TD3Config)
    diffusion_ql: DiffusionQLConfig = field(default_factory=DiffusionQLConfig)


def load_file(path: Path, base: Config) -> Config:
    """``base`` with the settings of a YAML file; ConfigError names file and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    return merge(base, parse_yaml(text, str(path)) or {}, str(path))


def override(config: Config, assignments: list[str]) -> Config:
    """``config`` with ``section.key=value`` applied; values are YAML."""
    for text in assignments:
        key, equals, value = text.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot):
            raise ConfigError(f"override '{text}': expected section.key=value")
        config = merge(config, {section: {name: parse_yaml(value, f"override '{text}'")}}, "override")
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain values, fit for YAML and JSON."""
    return {s: {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
            for s, values in dataclasses.asdict(config).items()}


def from_dict(raw: dict[str, Any], where: str) -> Config:
    """The tree from plain values; every unknown key is an error."""
    return merge(Config(), raw, where)


def dump(config: Config) -> str:
    """The whole tree as YAML."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)
