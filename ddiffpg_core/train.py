"""The training loop."""

from __future__ import annotations

from ddiffpg_core.config import TrainConfig
from ddiffpg_core.evaluate import Report
from ddiffpg_core.learner import Learner
from ddiffpg_core.run import Evaluator, Run
from ddiffpg_core.spec import VecEnv
from ddiffpg_core.timing import Stages


def train(env: VecEnv, agent: Learner, evaluator: Evaluator, run: Run, config: TrainConfig) -> Report:
    """Train to the end of ``config.iterations``, from wherever ``run`` stands; returns the last evaluation.

    One iteration is one control step of all environments, then ``updates_per_iteration`` updates.
    """
    obs = run.restore(env, agent)
    if obs is None:
        obs = env.reset(run.seed)
        agent.begin(obs)
        if config.offline_updates:
            run.check_losses(0, [(agent.update(), agent.batch) for _ in range(config.offline_updates)])
    stages = Stages()
    for iteration in range(run.iteration + 1, config.iterations + 1):
        agent.schedule(iteration / config.iterations)
        with stages("act"):
            action = agent.act(obs)
            run.check(iteration, {"the action": action})
        with stages("simulate"):
            step = env.end(env.step(env.spec.action.to_physical(action)), agent.behaviour.given_up)
        with stages("observe"):
            agent.observe(action, step)
            obs = step.obs
        if iteration > config.warmup_iterations:
            if iteration % config.recluster_every == 0 and not agent.settled:
                with stages("cluster"):
                    agent.rediscover_modes()
            with stages("update"):
                learned = [(agent.update(), agent.batch) for _ in range(config.updates_per_iteration)]
                run.check_losses(iteration, learned)
            if iteration % config.log_every == 0:
                run.log(iteration, agent, learned[-1][0], stages, env.measures())
            if iteration % config.eval_every == 0 or iteration == config.iterations:
                with stages("evaluate"):
                    run.evaluate(iteration, agent, evaluator)
        if iteration % config.checkpoint_every == 0 or iteration == config.iterations:
            with stages("save"):
                run.save(iteration, env, agent)
        run.progress(iteration)
    return run.finish(agent, evaluator)
