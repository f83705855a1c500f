"""What the tests of all tasks share: inputs, comparisons, states in which a task is done."""

from __future__ import annotations

import numpy as np

from ddiffpg_core.spec import Step
from ddiffpg_sim import panda, tasks
from ddiffpg_sim.arm import ArmTask
from ddiffpg_sim.task import PlanarTask, Task
from tests.sim.arm_script import ArmScript, pointing

NAMES = tasks.names()
PLANAR = [name for name in NAMES if isinstance(tasks.make(name), PlanarTask)]
ARM = [name for name in NAMES if isinstance(tasks.make(name), ArmTask)]
STEP_ARRAYS = ("obs", "reward", "terminated", "truncated", "success", "final_obs")


def arm(name: str) -> ArmTask:
    task = tasks.make(name)
    assert isinstance(task, ArmTask)
    return task


def held_actions(task: Task, rng: np.random.Generator, steps: int, envs: int) -> np.ndarray:
    """Random actions ``[T, N, A]`` that are held for five steps, so that robots reach the walls."""
    low, high = task.spec.action.low, task.spec.action.high
    return np.repeat(rng.uniform(low, high, (-(-steps // 5), envs, len(low))), 5, axis=0)[:steps].astype(np.float32)


def assert_same(a: Step, b: Step) -> None:
    for name in STEP_ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def dense(corners) -> np.ndarray:
    """Points ``[P, D]`` every few centimetres along ``corners``."""
    corners = np.array(corners)
    return np.concatenate([np.linspace(a, b, 50) for a, b in zip(corners[:-1], corners[1:])])


def distance(points: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Metres from each of ``points [N, D]`` to the nearest of ``way [P, D]``: ``[N]``."""
    return np.linalg.norm(points[:, None] - way[None], axis=-1).min(axis=1)


def place(env, row: int, qpos: np.ndarray, steps: int = 0) -> None:
    """Put the world of ``row`` into ``qpos [nq]`` at rest, ``steps`` into its episode."""
    state = env.state_dict()
    state["physics"][row] = 0.0
    state["physics"][row, 1 : 1 + qpos.size] = qpos
    state["steps"][row] = steps
    env.load_state_dict(state)


def done_states(task: Task) -> np.ndarray:
    """A state ``[nq]`` for each goal (on a floor) or way (of an arm), in which the task is done."""
    first = task.start(np.random.default_rng(0), 1)[0][0]
    if isinstance(task, PlanarTask):
        states = np.tile(first, (len(task.goals), 1))
        states[:, :2] = task.goals
        return states
    assert isinstance(task, ArmTask)
    return np.array([_done_state(task, index, first.copy()) for index in range(len(task.ways))])


def _done_state(task: ArmTask, index: int, qpos: np.ndarray) -> np.ndarray:
    """What moves of the scene is where it should be; where nothing does, the tip is at the end of the way."""
    count, way = len(panda.JOINTS), task.ways[index]
    if task.scene_joints:
        qpos[count + way.goal] = 0.02 if task.spec.name == "panda-drawer" else 0.5
        return qpos
    script = ArmScript(task, pointing(task, index))
    for corner in way.points[1:]:
        for _ in range(60):
            qpos[:count] += script.action(qpos, np.array(corner))
    return qpos
