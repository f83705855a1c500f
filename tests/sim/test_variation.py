"""What varies and how much: the description, what is drawn from it, and how its range grows."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from ddiffpg_core.strict_yaml import ConfigError
from ddiffpg_sim import tasks
from ddiffpg_sim.curriculum import Curriculum, Progress
from ddiffpg_sim.dynamics import NOMINAL, Dynamics
from ddiffpg_sim.randomised import ROBOT_EPISODES, RandomisedEnv, environment
from ddiffpg_sim.signals import Signals
from ddiffpg_sim.variation import Variation, first_difference
from tests.sim.support import NAMES, assert_same, held_actions


def described(text: str) -> Variation:
    return Variation.from_plain(yaml.safe_load(text), "robot.yaml")


MASSES = described("dynamics: {mass: {uniform: [0.5, 2.0], unit: factor}}")


# ---- the description ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_task_has_a_description_that_fits_it(name):
    variation = Variation.of_task(name)
    variation.check(tasks.make(name), name)
    assert {"mass", "strength"} <= {*variation.dynamics} and {"action_delay", "noise"} <= {*variation.signals}
    again = Variation.from_plain(variation.plain(), name)
    assert again == variation and first_difference(again.plain(), variation.plain()) is None
    robots = [variation.draw(np.random.default_rng(i)) for i in range(50)]
    assert len({robot.dynamics.mass for robot in robots}) == 50
    longest = max(robot.signals.action_delay for robot in robots)
    assert 0.8 * variation.signals["action_delay"].high < 1000 * longest <= variation.signals["action_delay"].high


@pytest.mark.parametrize(("text", "words"), [
    ("weather: {}", "robot.yaml: unknown key 'weather'"),
    ("dynamics: {weight: {uniform: [1, 2], unit: factor}}", "dynamics: unknown key 'weight'"),
    ("dynamics: {mass: {uniform: [1, 2], unit: kg}}", "dynamics.mass.unit is 'kg': expected factor"),
    ("signals: {action_delay: {uniform: [1, 2]}}", "signals.action_delay.unit is None: expected s or ms"),
    ("dynamics: {mass: {uniform: [2, 1], unit: factor}}", r"mass.uniform is \[2, 1\]: expected the lower end first"),
    ("dynamics: {mass: {uniform: [0, 1], unit: factor}}", "dynamics.mass: mass is 0.0: expected"),
    ("signals: {dropout: {uniform: [0, 1], unit: chance}}", "signals.dropout: dropout is 1.0: expected"),
    ("signals: {noise: {uniform: [-0.1, 1], unit: scale}}", "signals.noise: noise is -0.1: expected"),
    ("dynamics: {mass: {log_uniform: [0, 1], unit: factor}}", r"log_uniform is \[0, 1\]: .* above 0"),
    ("dynamics: {mass: {uniform: [1, .nan], unit: factor}}", r"uniform is \[1, nan\]: expected \[lowest, highest\]"),
    ("dynamics: {mass: {uniform: 1, unit: factor}}", "uniform is 1: expected"),
    ("dynamics: {mass: {normal: {mean: 1, low: 0.5, high: 2}, unit: factor}}", "expected the numbers mean, deviation"),
    ("dynamics: {mass: {gamma: [1, 2], unit: factor}}", "dynamics.mass: unknown key 'gamma'"),
    ("dynamics: {mass: heavy}", "dynamics.mass is 'heavy': expected keys and values"),
    ("dynamics: {mass: 0.0}", "dynamics.mass: mass is 0.0: expected"),
    ("signals: {push: {uniform: [0, 1], unit: m/s}}", "expected both, how hard and how often"),
    ("start: {position: {uniform: [0, 1], unit: km}}", "start.position.unit is 'km': expected m"),
    ("start: {joints: {uniform: [-1, 1], unit: deg}}", "start.joints: joints is -0.017.*: expected"),
    ("curriculum: {step: 2}", "curriculum.step is 2: expected a number from 0 to 1"),
    ("curriculum: {episodes: 0}", "curriculum.episodes is 0: expected a whole number"),
    ("curriculum: {speed: 1}", "unknown key 'curriculum.speed'"),
    ("curriculum: {raise_above: 0.2}", "curriculum.lower_below is 0.3: expected no more than raise_above"),
])  # fmt: skip
def test_what_makes_no_sense_is_named(text, words):
    with pytest.raises(ConfigError, match=words):
        described(text)


def test_a_number_alone_is_always_so():
    """So the file of a robot that was identified is one of these."""
    robot = described("dynamics: {mass: 1.1, dry_friction: 0.3}\nsignals: {action_delay: 0.062}")
    one, other = (robot.draw(np.random.default_rng(seed)) for seed in (0, 1))
    assert one == other and one.dynamics == Dynamics(mass=1.1, dry_friction=0.3)
    assert one.signals == Signals(action_delay=0.062)


def test_an_arm_has_no_base_to_push():
    pushes = "signals: {push: {uniform: [0, 1], unit: m/s}, push_every: {uniform: [5, 5], unit: s}}"
    with pytest.raises(ConfigError, match=r"mine.yaml: signals.push: task 'panda-peg' has no base"):
        described(pushes).check(tasks.make("panda-peg"), "mine.yaml")


@pytest.mark.parametrize(("task", "start", "words"), [
    ("panda-peg", "position: 0.1", "start.position: task 'panda-peg' has no base to move"),
    ("panda-reach", "velocity: 0.1", "start.velocity: task 'panda-reach' has no base to move"),
    ("pointmaze-v1", "joints: 0.1", "start.joints: task 'pointmaze-v1' has a robot without joints"),
])  # fmt: skip
def test_what_is_to_start_elsewhere_must_be_there(task, start, words):
    with pytest.raises(ConfigError, match=f"mine.yaml: {words}"):
        described(f"start: {{{start}}}").check(tasks.make(task), "mine.yaml")


def test_the_first_difference_is_named():
    other = described("dynamics: {mass: {uniform: [0.5, 1.5], unit: factor}}").plain()
    name, mine, yours = first_difference(MASSES.plain(), other) or ("", None, None)
    assert name == "dynamics.mass" and mine["uniform"] == [0.5, 2.0] and yours["uniform"] == [0.5, 1.5]


# ---- drawing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "quartiles"), [
    ("uniform: [0.5, 2.0]", (0.5, 0.875, 1.25, 1.625, 2.0)),
    ("log_uniform: [0.5, 2.0]", (0.5, 0.5**0.5, 1.0, 2**0.5, 2.0)),
    ("normal: {mean: 1.0, deviation: 0.2, low: 0.5, high: 1.5}", (0.5, 0.8670, 1.0, 1.1330, 1.5)),
])  # fmt: skip
def test_a_distribution_has_its_quartiles(kind, quartiles):
    mass = described(f"dynamics: {{mass: {{{kind}, unit: factor}}}}").dynamics["mass"]
    assert [mass.at(chance) for chance in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(quartiles, abs=1e-4)


def test_a_share_of_the_range_is_so_far_from_the_model():
    variation = described(
        "dynamics: {mass: {uniform: [2, 2], unit: factor}, dry_friction: {uniform: [4, 4], unit: N}}\n"
        "signals: {action_delay: {uniform: [80, 80], unit: ms}, push: {uniform: [1, 1], unit: m/s},"
        " push_every: {uniform: [5, 5], unit: s}}"
    )
    robot = variation.draw(np.random.default_rng(0), share=0.25)
    assert (robot.dynamics.mass, robot.dynamics.dry_friction) == (1.25, 1.0)
    assert (robot.signals.action_delay, robot.signals.push, robot.signals.push_every) == (0.02, 0.25, 5.0)
    nothing = variation.draw(np.random.default_rng(0), share=0.0)
    assert nothing.dynamics == NOMINAL and nothing.signals == Signals(push_every=5.0)


# ---- the curriculum -------------------------------------------------------------------------------


def test_the_share_grows_with_success_and_falls_without():
    progress = Progress(Curriculum(start=0.2, step=0.3, episodes=10, raise_above=0.6, lower_below=0.3))
    shares = []
    for won in (7, 6, 10, 10, 3, 2, 0, 0, 0):
        progress.note(9, won - won // 10)
        assert shares[-1:] in ([], [round(progress.share, 6)])  # not before ten have ended
        progress.note(1, won // 10)
        shares.append(round(progress.share, 6))
        assert progress.success == won / 10
    assert shares == [0.5, 0.5, 0.8, 1.0, 1.0, 0.7, 0.4, 0.2, 0.2]


def test_training_begins_with_the_model_and_goes_to_the_full_range():
    mass = described(
        "dynamics: {mass: {uniform: [2, 2], unit: factor}}\n"
        "curriculum: {step: 0.5, episodes: 4, raise_above: 0.0, lower_below: 0.0}"
    )
    task = tasks.make("pointmaze-v1")
    env, evaluation = (RandomisedEnv(task, 8, 1, mass, training) for training in (True, False))
    assert env.reset(0).shape == (8, 4) and {model.body("robot").mass[0] for model in evaluation._models} == {2.0}
    assert {model.body("robot").mass[0] for model in env._models} == {1.0}
    shares = []
    for _ in range(3):
        state = env.state_dict()
        state["physics"][:, 1:3] = task.goals[0]
        env.load_state_dict(state)
        assert env.step(np.zeros((8, 2))).success.all()
        shares.append(env.measures()["randomise/share"])
    assert shares == [0.5, 1.0, 1.0] and env.measures()["randomise/success"] == 1.0
    assert {model.body("robot").mass[0] for model in env._models} == {2.0}
    env.reset(0)
    assert env.measures() == {"randomise/share": 0.0, "randomise/success": 0.0}


# ---- the environment ------------------------------------------------------------------------------


def test_a_robot_drives_some_episodes_of_training_and_one_of_evaluation():
    task, count = tasks.make("pointmaze-v1"), 2 * ROBOT_EPISODES
    training, evaluation = (environment(task, count, 1, MASSES, training) for training in (True, False))
    assert len({model.body("robot").mass[0] for model in training._models}) == 2
    assert len({model.body("robot").mass[0] for model in evaluation._models}) == count
    assert type(environment(task, 1, 1, None)).__name__ == "BatchedEnv"


@pytest.mark.parametrize("name", ["pointmaze-v2", "antmaze-v1", "panda-drawer"])
def test_saved_state_has_identical_futures(name):
    task, variation, rng = tasks.make(name), Variation.of_task(name), np.random.default_rng(0)
    env, resumed = (RandomisedEnv(task, 5, 1, variation, True) for _ in range(2))
    env.reset(2)
    none, every = np.zeros(5, bool), np.ones(5, bool)
    for index, action in enumerate(held_actions(task, rng, 20, 5)):
        step = env.end(env.step(action), every if index == 8 else none)
    np.testing.assert_array_equal(resumed.load_state_dict(env.state_dict()), step.obs)
    for index, action in enumerate(held_actions(task, rng, 20, 5)):
        which = every if index == 10 else none
        assert_same(env.end(env.step(action), which), resumed.end(resumed.step(action), which))


def test_what_was_saved_with_another_description_is_refused():
    task = tasks.make("pointmaze-v1")
    env = RandomisedEnv(task, 2, 1, MASSES, True)
    other = RandomisedEnv(task, 2, 1, Variation.of_task("pointmaze-v1"), True)
    with pytest.raises(ValueError, match=r"saved with dynamics.mass .*2\.0"):
        other.load_state_dict(
            {**env.state_dict(), "randomised": {"variation": {"dynamics": MASSES.plain()["dynamics"]}}}
        )
    with pytest.raises(ValueError, match="saved without a description"):
        env.load_state_dict(environment(task, 2, 1, None).state_dict())
