"""The known defects of the authors' release (paper.md), each as a test that it is not here.

Tested beside what they are about:
- bootstrapping from the next episode at a time limit: test_credit.py, test_a_time_limit_bootstraps_from_where_it_ended
- a double-Q target that is no distribution: test_critic.py, test_target_is_the_head_with_the_smaller_mean
- mode critics paid for novelty: test_credit.py, test_the_other_critics_are_paid_for_the_task_alone
- more than ten clusters become one, one mode becomes two: test_clustering.py, test_any_number_of_ways and
  test_one_way_is_one_cluster
- whole episodes copied at every step: test_replay.py, test_nothing_is_copied_when_an_episode_ends
- a cache of distances that never shrinks: test_clustering.py, test_library_stays_bounded_and_keeps_what_is_rare
- training that cannot resume: test_resume.py; evaluation without modes: test_evaluate.py, test_run.py
- settings of the user's overwritten: test_config.py, test_what_is_set_is_what_is_used
Here are the rest.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ddiffpg_core
from ddiffpg_core import clustering
from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.checkpoint import load, save
from ddiffpg_core.clustering import PathLibrary
from ddiffpg_core.config import Config, ConfigError, ModesConfig, override
from ddiffpg_core.critic import project
from ddiffpg_core.defaults import load_preset, presets
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from tests.core.support import ways_along
from tests.sim.support import done_states

SMALL = override(Config(), [
    "train.num_envs=8", "train.warmup_iterations=5", "actor.hidden=[16]", "critic.hidden=[16]", "novelty.hidden=[16]",
    "replay.trajectories=64", "modes.min_cluster=2",
])


# ---- the atoms end below what goals pay ------------------------------------------------------------


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("task", tasks.names())
def test_every_tasks_rewards_are_inside_the_atoms_of_every_preset(task, preset):
    world = tasks.make(task)
    config = load_preset(preset, task).critic
    start, _ = world.start(np.random.default_rng(0), 1)
    *paid, nothing = world.reward(np.concatenate([done_states(world), start])).tolist()
    assert nothing == 0.0 and min(paid) >= 1.0
    assert config.value_max >= max(paid)
    # and each goal is told from the same goal a step later, and from another that pays more
    atoms = torch.linspace(0, config.value_max, config.atoms)
    certain = torch.zeros(config.atoms)
    certain[0] = 1
    for value in {v for goal in paid for v in (goal, goal * config.gamma)}:
        seen = project(certain, torch.tensor(value), torch.tensor(0.0), atoms)
        assert float((seen * atoms).sum()) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("reward", [10.0, 1.21, -0.1])
def test_a_reward_outside_the_atoms_is_refused(reward):
    env = BatchedEnv(tasks.make("pointmaze-v1"), 8)
    agent = DDiffPG(env.spec, SMALL, 0)
    obs = env.reset(0)
    agent.begin(obs)
    action = agent.act(obs)
    step = env.step(action)
    paid = step.reward.copy()
    paid[3] = reward
    with pytest.raises(ConfigError, match=r"'pointmaze-v1' pays .* expected 0 to critic\.value_max, which is 1\.2"):
        agent.observe(action, replace(step, reward=paid))


# ---- all pairs of trajectories are compared, every time --------------------------------------------


def test_only_new_pairs_are_compared(monkeypatch):
    pairs = []
    dtw = clustering.dtw

    def counted(a, b, *rest):
        pairs.append(len(a) * len(b))
        return dtw(a, b, *rest)

    monkeypatch.setattr(clustering, "dtw", counted)
    library = PathLibrary(ModesConfig(library=40), 2)
    rng = np.random.default_rng(0)
    for k in range(20):
        library.add(ways_along(((0, 0), (4, 0)), 5, rng), np.zeros(5, int), 5 * k + np.arange(5))
    assert max(pairs) <= 5 * 45  # five new ones with those that are held, however many there were in all
    assert len(pairs) == 20


# ---- a checkpoint that leaves things out -----------------------------------------------------------


def step_once(agent: DDiffPG, env: BatchedEnv, obs: np.ndarray) -> np.ndarray:
    action = agent.act(obs)
    step = env.step(env.spec.action.to_physical(action))
    agent.observe(action, step)
    return step.obs


def assert_alike(a, b, where: str = "state") -> None:
    """Every tensor, array and value of two states."""
    if isinstance(a, dict):
        assert set(a) == set(b), where
        for key in a:
            assert_alike(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            assert_alike(x, y, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        np.testing.assert_array_equal(a, b, err_msg=where)


@pytest.mark.parametrize("at", [3, 40, 150, 151, 170])
def test_an_agent_restored_from_a_file_goes_on_alike(at, tmp_path):
    # 150 steps are a whole episode: there every environment has just begun the next
    env = BatchedEnv(tasks.make("pointmaze-v1"), 8)
    agent = DDiffPG(env.spec, SMALL, 0)
    obs = env.reset(0)
    agent.begin(obs)
    for i in range(at):
        obs = step_once(agent, env, obs)
        if i % 30 == 29:
            agent.update()
    agent.rediscover_modes()
    save(tmp_path / "agent.pt", {"agent": agent.state_dict(), "env": env.state_dict()})
    other_env = BatchedEnv(tasks.make("pointmaze-v1"), 8)
    other = DDiffPG(other_env.spec, SMALL, 99)
    state = load(tmp_path / "agent.pt")
    other.load_state_dict(state["agent"])
    other_obs = other_env.load_state_dict(state["env"])
    np.testing.assert_array_equal(obs, other_obs)
    for _ in range(5):
        obs, other_obs = step_once(agent, env, obs), step_once(other, other_env, other_obs)
        agent.update(), other.update()
    assert_alike(agent.state_dict(), other.state_dict())
    np.testing.assert_array_equal(obs, other_obs)


def test_a_checkpoint_names_all_that_training_depends_on():
    agent = DDiffPG(tasks.make("pointmaze-v1").spec, SMALL, 0)
    assert {"actor", "slow_actor", "actor_optimizer", "critic", "novelty", "novelty_optimizer", "replay", "bank",
            "behaviour", "rng", "noise", "transitions", "updates"} <= set(agent.state_dict())
    assert {"online", "target", "optimizer"} <= set(agent.state_dict()["critic"])


# ---- options by task name --------------------------------------------------------------------------


def test_learning_knows_no_task_by_name():
    known = re.compile("|".join(re.escape(name) for name in tasks.names()))
    for path in Path(ddiffpg_core.__file__).parent.glob("*.py"):
        assert not known.search(path.read_text()), path.name


def test_an_agent_uses_its_settings_as_they_were_given():
    config = override(SMALL, ["actor.denoising_steps=3", "critic.atoms=21", "modes.max_modes=2"])
    given = copy.deepcopy(config)
    agent = DDiffPG(tasks.make("pointmaze-v4").spec, config, 0)
    assert agent.config == given
    assert agent.actor.steps == 3
    assert len(agent.critic.online.atoms) == 21
    assert agent.bank.config.max_modes == 2
