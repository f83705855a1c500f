"""The agent on the real maze: what it keeps, how its modes come about, and what an update changes."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.batch import FIRST_MODE
from ddiffpg_core.behaviour import how_needed
from ddiffpg_core.config import Config, override
from ddiffpg_core.paths import dtw, resample
from ddiffpg_core.replay import EXPLORE, FIND, MODE, Replay
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from tests.core.support import steering

TASK = tasks.make("pointmaze-v1")
WAYS = {i: resample(np.array(w.points), 20) for i, w in enumerate(TASK.ways)}
ENVS = 16
SMALL = override(Config(), [
    f"train.num_envs={ENVS}", "train.warmup_iterations=0", "actor.hidden=[16]", "critic.hidden=[16]",
    "novelty.hidden=[16]", "replay.trajectories=200", "critic.batch_size=96", "critic.min_group_rows=32",
])


def begun(seed: int = 0, *settings: str) -> tuple[DDiffPG, BatchedEnv, np.ndarray]:
    """An agent, its environment, and the first observations."""
    env = BatchedEnv(TASK, ENVS)
    agent = DDiffPG(env.spec, override(SMALL, list(settings)), seed)
    obs = env.reset(seed)
    agent.begin(obs)
    return agent, env, obs


def drive(agent: DDiffPG, env: BatchedEnv, obs: np.ndarray, ways: list[int], steps: int) -> np.ndarray:
    """Every environment follows the way given for it, and the agent looks on."""
    policy = steering(WAYS)
    for _ in range(steps):
        action = policy(obs, np.array(ways)).astype(np.float32)
        step = env.step(action)
        agent.observe(action, step)
        obs = step.obs
    return obs


@pytest.fixture(scope="module")
def shown() -> DDiffPG:
    """An agent that was shown both ways, and has found two modes in them."""
    agent, env, obs = begun()
    drive(agent, env, obs, [0, 1] * 8, 80)
    agent.rediscover_modes()
    return agent


@pytest.fixture
def agent(shown) -> DDiffPG:
    """One of its own for each test."""
    return copy.deepcopy(shown)


# ---- collecting -----------------------------------------------------------------------------------


def test_memory_holds_what_the_environment_did():
    agent, env, obs = begun()
    spec, rng = env.spec, np.random.default_rng(1)
    seen: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in range(ENVS)]
    finished = []
    for _ in range(spec.max_steps + 20):
        action = rng.uniform(-1, 1, (ENVS, 2)).astype(np.float32)
        step = env.step(spec.action.to_physical(action))
        agent.observe(action, step)
        for i in range(ENVS):
            seen[i].append((obs[i], action[i], step.final_obs[i]))
            if step.done[i]:
                finished.append((seen[i], bool(step.terminated[i]), bool(step.success[i])))
                seen[i] = []
        obs = step.obs
    replay = agent.replay
    assert replay.finished == len(finished) >= ENVS
    for slot in np.flatnonzero(replay.live):
        steps, terminated, success = finished[replay.born[slot]]
        n = len(steps)
        assert replay.length[slot] == n
        assert (replay.terminated[slot], replay.success[slot]) == (terminated, success)
        np.testing.assert_array_equal(replay.action[slot, :n], np.stack([a for _, a, _ in steps]))
        np.testing.assert_array_equal(replay.obs[slot, :n], np.stack([o for o, _, _ in steps]))
        np.testing.assert_array_equal(replay.obs[slot, n], steps[-1][2])  # where it ended, not where the next began
    assert agent.transitions == ENVS * (spec.max_steps + 20)


def test_actions_are_within_the_limits_and_differ(agent):
    obs = np.zeros((ENVS, 4), np.float32)
    for _ in range(20):
        action = agent.act(obs)
        assert action.shape == (ENVS, 2)
        assert np.abs(action).max() <= 1
    assert len(np.unique(action[:, 0])) > ENVS // 2


def test_who_runs_a_mode_takes_the_best_of_a_few_actions(agent):
    agent.config = replace(agent.config, actor=replace(agent.config.actor, candidates=3))
    mode = agent.modes[1]
    asked = np.stack([agent.special[0], agent.special[1], np.zeros_like(mode.embedding), mode.embedding] * 4)
    x, embedding = torch.randn(16, agent.features.size), torch.from_numpy(asked)
    state = agent.noise.get_state()
    every = torch.stack([agent.actor.sample(x, embedding, agent.noise) for _ in range(3)], 1)
    agent.noise.set_state(state)
    proposed = agent._propose(x, embedding)
    with torch.no_grad():
        judged = torch.cat([x[:, None].expand(-1, 3, -1), every], -1).flatten(0, 1)
        value = agent.critic.target.value(judged.expand(FIRST_MODE + 2, -1, -1)).unflatten(1, (16, 3))
    finders, runs = np.arange(1, 16, 4), np.arange(3, 16, 4)
    for group, rows in ((1, finders), (FIRST_MODE + 1, runs)):
        best = every[rows, value[group, rows].argmax(1)]
        torch.testing.assert_close(proposed[rows], best)
        assert (best != every[rows, 0]).any()
    for rows in (finders - 1, runs - 1):  # explorers, and who is asked for nothing
        torch.testing.assert_close(proposed[rows], every[rows, 0])


def test_while_warming_up_actions_are_random():
    agent, env, obs = begun(0, "train.warmup_iterations=50")
    actions = []
    for _ in range(50):
        actions.append(agent.act(obs))
        agent.observe(actions[-1], env.step(actions[-1]))
    spread = np.concatenate(actions)
    assert spread.mean(0) == pytest.approx([0, 0], abs=0.1)
    assert spread.std(0) == pytest.approx([0.577, 0.577], abs=0.05)  # uniform on ±1: 1 / sqrt 3


def test_who_stands_for_too_long_is_given_up():
    agent, env, obs = begun(0, "train.warmup_iterations=0", "explore.give_up_after=3")
    given_up = []
    for _ in range(5):
        agent.act(obs)
        action = np.zeros((env.num_envs, 2), np.float32)
        action[0, 0] = 1.0  # one goes on, the others stand
        step = env.end(env.step(env.spec.action.to_physical(action)), agent.behaviour.given_up)
        agent.observe(action, step)
        obs = step.obs
        given_up.append(step.truncated)
    assert not np.array(given_up)[:, 0].any()
    assert (np.flatnonzero(np.array(given_up)[:, 1]) == 3).all() and np.array(given_up)[3, 1:].all()
    slots = np.flatnonzero(agent.replay.live)
    assert len(slots) == env.num_envs - 1 and set(agent.replay.length[slots]) == {4}
    assert not agent.replay.success[slots].any() and not agent.replay.terminated[slots].any()


def test_coverage_counts_places(agent):
    assert agent.measures()["coverage_cells"] == len(agent.cells)
    before = len(agent.cells)
    drive(agent, BatchedEnv(TASK, ENVS), BatchedEnv(TASK, ENVS).reset(1), [0] * ENVS, 3)
    assert len(agent.cells) == before  # they have been here


# ---- modes ----------------------------------------------------------------------------------------


def test_both_ways_are_found(agent):
    assert [m.id for m in agent.bank.modes] == [0, 1]
    prototypes = np.stack([m.prototype for m in agent.bank.modes])
    nearest = dtw(np.stack(list(WAYS.values())), prototypes)
    assert sorted(nearest.argmin(1)) == [0, 1]
    assert nearest.min(1).max() < 0.4
    assert agent.critic.online.groups == FIRST_MODE + 2
    for mode, steps in zip(agent.bank.modes, agent.mode_steps):
        assert 30 < steps < 60
        assert np.linalg.norm(mode.embedding) == pytest.approx(2.0)  # on by default, and not the null embedding


def test_every_success_belongs_to_the_mode_whose_way_it_took(agent):
    replay = agent.replay
    slots = np.flatnonzero(replay.live & replay.success)
    by_way = dtw(replay.way[slots], np.stack(list(WAYS.values()))).argmin(1)
    modes = [set(replay.mode[slots[by_way == i]]) for i in (0, 1)]
    assert [len(m) for m in modes] == [1, 1]
    assert modes[0] != modes[1]
    assert agent.measures()["mode0/trajectories"] + agent.measures()["mode1/trajectories"] == len(slots)


def test_failures_join_the_nearest_mode():
    agent, env, obs = begun()
    obs = drive(agent, env, obs, [0, 1] * 8, 80)
    agent.rediscover_modes()
    half = steering({0: WAYS[0][:10], 1: WAYS[1][:10]})  # stops halfway until the time is up
    known = agent.replay.finished
    for _ in range(env.spec.max_steps):
        action = half(obs, np.array([0, 1] * 8)).astype(np.float32)
        step = env.step(action)
        agent.observe(action, step)
        obs = step.obs
    failed = np.flatnonzero(agent.replay.live & ~agent.replay.success & (agent.replay.born >= known))
    assert len(failed) >= ENVS
    stopped = agent.replay.obs[failed, agent.replay.length[failed]][:, 1].numpy()
    assert len(set(agent.replay.mode[failed[stopped < 0]])) == len(set(agent.replay.mode[failed[stopped > 0]])) == 1
    assert set(agent.replay.mode[failed]) == {0, 1}


def test_a_second_way_found_later_gets_its_own_critic():
    agent, env, obs = begun()
    obs = drive(agent, env, obs, [0] * ENVS, 80)
    agent.rediscover_modes()
    assert [m.id for m in agent.bank.modes] == [0]
    agent.update()
    x = torch.randn(1, 5, agent.features.size + 2)
    before = agent.critic.online(x.expand(3, -1, -1)).detach()
    first = agent.bank.modes[0]
    drive(agent, env, obs, [1] * ENVS, 160)
    change = agent.rediscover_modes()
    assert [m.id for m in change.modes] == [0, 1]
    assert change.modes[0].embedding is first.embedding
    after = agent.critic.online(x.expand(4, -1, -1)).detach()
    torch.testing.assert_close(after[:3], before)
    torch.testing.assert_close(after[3], before[FIND])  # nobody's way yet: it starts from the finder's


def test_stored_targets_begin_anew_with_another_label(agent):
    replay = agent.replay
    slots = np.flatnonzero(replay.live & replay.success)
    moved, stays = slots[0], slots[1]
    right = replay.mode[moved]
    replay.mode[moved] = 1 - right  # as if it had been taken for the other mode's until now
    replay.target[:, [moved, stays]] = 0.5
    agent.rediscover_modes()
    n = replay.length[moved]
    assert replay.mode[moved] == right
    assert torch.equal(replay.target[MODE, moved, :n], replay.action[moved, :n])
    for kind in (EXPLORE, FIND):  # those critics are the same as before
        assert (replay.target[kind, moved] == 0.5).all()
    assert (replay.target[:, stays] == 0.5).all()


def test_clustering_again_with_nothing_new_changes_nothing(agent):
    x = torch.randn(1, 5, agent.features.size + 2).expand(4, -1, -1)
    modes, values = agent.bank.modes, agent.critic.online(x).detach()
    labels = agent.replay.mode.copy()
    for _ in range(3):
        agent.rediscover_modes()
    assert all(a is b for a, b in zip(agent.bank.modes, modes))
    torch.testing.assert_close(agent.critic.online(x).detach(), values)
    np.testing.assert_array_equal(agent.replay.mode, labels)


def test_exploiters_ask_for_modes_and_explorers_do_not(agent):
    for env in range(ENVS):
        agent._assign(env)
    roles = agent.behaviour
    assert roles.explorer.tolist() == [False] * (ENVS // 2) + [True] * (ENVS // 2)
    known = np.stack([np.zeros_like(agent.special[0]), *(m.embedding for m in agent.bank.modes)])
    for env in range(ENVS):
        is_known = (known == roles.first[env]).all(1).any()
        assert is_known == (env < ENVS // 2)


def test_a_mode_that_nearly_always_arrives_leaves_its_episodes_to_others():
    agent, env, obs = begun(0, "explore.by_need=true", "explore.explorer_share=0.0", "explore.null_share=0.0")
    drive(agent, env, obs, [0, 1] * 8, 80)
    agent.rediscover_modes()
    replay = agent.replay
    replay.explores[:], replay.explored[:] = False, 0  # as if the modes had been asked for
    first = np.flatnonzero(replay.live & (replay.mode == 0))
    for slot in np.resize(first, 50 - len(first)):  # with these 50 of 50, and one of the last 50 without a goal
        _copy(replay, slot, True)
    _copy(replay, first[0], False)
    assert how_needed(replay, np.array([0, 1])).tolist() == pytest.approx([0.2, 1.0])
    asked = []
    for env in range(ENVS):
        for _ in range(50):
            agent._assign(env)
            asked.append((agent.behaviour.first[env] == agent.modes[0].embedding).all())
    assert np.mean(asked) == pytest.approx(0.2 / 1.2, abs=0.04)
    assert not agent.behaviour.explorer.any()  # the second is in need of all there are
    for _ in range(5):
        _copy(replay, first[0], False)
    assert how_needed(replay, np.array([0, 1])).tolist() == pytest.approx([1.0, 1.0])


def test_explorers_get_the_episodes_of_modes_that_arrive_until_rates_fade():
    agent = _always_arriving("explore.by_need=true", "explore.explorer_share=0.5")

    def exploring() -> np.ndarray:
        for env in range(ENVS):
            agent._assign(env)
        return agent.behaviour.explorer.copy()

    share = np.mean([exploring() for _ in range(100)], 0)
    assert (share[ENVS // 2 :] == 1).all()
    assert share[: ENVS // 2].mean() == pytest.approx(0.8, abs=0.05)
    agent.schedule(0.99)
    assert not exploring().any()


def test_demonstrations_do_not_tell_how_a_mode_does():
    replay = _always_arriving().replay
    assert how_needed(replay, np.array([0])).tolist() == pytest.approx([0.2])
    replay.demos = {int(slot): np.arange(1) for slot in np.flatnonzero(replay.live)}
    assert how_needed(replay, np.array([0])).tolist() == [1.0]


def _always_arriving(*settings: str) -> DDiffPG:
    """An agent whose one mode arrived in all of its newest episodes."""
    agent, env, obs = begun(0, *settings)
    drive(agent, env, obs, [0] * ENVS, 80)
    agent.rediscover_modes()
    replay = agent.replay
    replay.explores[:], replay.explored[:] = False, 0
    own = np.flatnonzero(replay.live & (replay.mode == 0))
    for slot in np.resize(own, 50):
        _copy(replay, slot, True)
    return agent


def _copy(replay: Replay, slot: int, success: bool) -> None:
    """Another trajectory like that of ``slot``, the newest."""
    to = int(np.flatnonzero(~replay.live & (replay.length == 0))[-1])
    for kept in (replay.obs, replay.action, replay.length, replay.mode, replay.way):
        kept[to] = kept[slot]
    replay._end(to, success, success)


# ---- an update ------------------------------------------------------------------------------------


def test_improvement_is_stored_for_own_rows_and_in_their_own_kind(agent):
    batch = copy.deepcopy(agent).sampler.draw(agent.bank.ids, agent._embeddings(), copy.deepcopy(agent.rng))
    before = agent.replay.target.clone()
    agent.update()  # draws the same batch
    changed = (agent.replay.target != before).any(-1)
    expected = torch.zeros_like(changed)
    kind = batch.kind[:, None].expand_as(batch.own)
    expected[kind[batch.own], batch.rows.slot[batch.own], batch.rows.time[batch.own]] = True
    assert not (changed & ~expected).any()
    assert changed.sum() > 0.9 * expected.sum()  # an action at its limit may stay there
    assert (agent.replay.target[changed] - before[changed]).abs().max() < 1.0  # small steps from what was stored


def test_improvement_on_a_modes_own_way_stays_in_reach_of_what_was_done(agent):
    agent.config = override(agent.config, ["improve.reach=0.1"])
    agent.replay.target[:] = 0.9  # improved often before
    batch = copy.deepcopy(agent).sampler.draw(agent.bank.ids, agent._embeddings(), copy.deepcopy(agent.rng))
    agent.update()  # draws the same batch
    kind, kept = batch.kind[:, None].expand_as(batch.own)[batch.own], batch.own
    target = agent.replay.target[kind, batch.rows.slot[kept], batch.rows.time[kept]]
    gap = (target - batch.action[kept]).abs().amax(-1)
    assert gap[kind == MODE].max() < 0.1 + 1e-6
    assert gap[kind != MODE].min() > 0.1  # exploration's and the finder's go where they like


def test_improvement_goes_on_from_what_is_stored(agent):
    agent.replay.target[:] = 0.25
    batch = agent.sampler.draw(agent.bank.ids, agent._embeddings(), agent.rng)
    _, away = agent._sample_actions(batch)
    start = agent._start(batch, away)
    assert (start[batch.own] == 0.25).all()
    away = start[~batch.own]
    assert not (away == 0.25).any()  # off its way a mode starts from the actor


def test_target_comes_from_the_slow_network(agent):
    batch = agent.sampler.draw(agent.bank.ids, agent._embeddings(), agent.rng)
    next_action, _ = agent._sample_actions(batch)
    noise = agent.noise.get_state()
    before = agent._target(batch, next_action)
    for p in agent.critic.online.parameters():
        p.data.normal_()
    agent.noise.set_state(noise)
    assert torch.equal(agent._target(batch, next_action), before)
    torch.testing.assert_close(before.sum(-1), torch.ones_like(batch.reward))


def test_half_of_a_modes_own_rows_go_without_embedding(agent):
    drawn = []
    loss = agent.actor.loss

    def noted(x, embedding, *rest):
        drawn.append(embedding)
        return loss(x, embedding, *rest)

    agent.actor.loss = noted
    for _ in range(30):
        agent.update()
    null = torch.stack([(e == 0).all(-1) for e in drawn])  # [30, G, B]
    own = int(null.shape[-1] * agent.config.replay.own_share)
    assert float(null[:, FIRST_MODE:, :own].float().mean()) == pytest.approx(0.5, abs=0.05)
    assert not null[:, FIRST_MODE:, own:].any()
    assert not null[:, :FIRST_MODE].any()


def test_the_slow_actor_follows(agent):
    before = [p.clone() for p in agent.slow_actor.parameters()]
    agent.update()
    keep = agent.config.actor.ema
    for slow, old, fast in zip(agent.slow_actor.parameters(), before, agent.actor.parameters()):
        torch.testing.assert_close(slow, keep * old + (1 - keep) * fast)


def test_rates_fade_at_the_end(agent):
    rates = []
    for progress in (0.0, 0.7, 0.85, 1.0):
        agent.schedule(progress)
        groups = (agent.actor_optimizer.param_groups[0], agent.critic.optimizer.param_groups[0])
        rates.append([g["lr"] / r for g, r in zip(groups, (SMALL.actor.learning_rate, SMALL.critic.learning_rate))])
    np.testing.assert_allclose(np.array(rates)[:, 0], [1, 1, 0.55, 0.1])
    np.testing.assert_allclose(np.array(rates)[:, 1], [1, 1, 0.55, 0.1])


def test_learning_without_a_success_or_a_finished_episode():
    agent, env, obs = begun()
    action = agent.act(obs)
    agent.observe(action, env.step(action))
    assert agent.rediscover_modes() is None
    losses = agent.update()
    assert all(torch.isfinite(v) for v in losses.values())


def test_the_same_seed_gives_the_same_agent():
    results = []
    for seed in (3, 3, 4):
        agent, env, obs = begun(seed)
        for _ in range(5):
            action = agent.act(obs)
            step = env.step(action)
            agent.observe(action, step)
            obs = step.obs
            agent.update()
        results.append(torch.cat([p.flatten() for p in agent.actor.parameters()]).detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_looking_changes_nothing(agent):
    from ddiffpg_core.pictures import sample_values

    state = copy.deepcopy(agent.state_dict())
    sample_values(agent, 50)
    agent.measures()
    assert agent.rng.bit_generator.state == state["rng"]
    assert torch.equal(agent.noise.get_state(), state["noise"])
