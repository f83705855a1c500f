"""The arm's tasks: that the Panda moves as the real one may, and that each way can really be gone."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ddiffpg_core.paths import beside, pairwise, way
from ddiffpg_sim import panda
from ddiffpg_sim.arm import ArmTask
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot
from tests.sim.arm_script import ArmScript, pointing
from tests.sim.support import ARM, arm, dense, distance, held_actions

ARRIVED = {"panda-peg": (0.006, 0.05)}  # m and m/s at a corner of a way: a peg has to be over its hole, at rest
JOINTS = len(panda.JOINTS)


@pytest.fixture(params=ARM)
def task(request) -> ArmTask:
    return arm(request.param)


# ---- the robot ------------------------------------------------------------------------------------


def test_the_tip_is_where_mujoco_has_it(task):
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    data, hand = mujoco.MjData(model), model.body("hand").id
    rng = np.random.default_rng(0)
    jacobian = np.zeros((3, model.nv))
    for _ in range(20):
        data.qpos[:JOINTS] = rng.uniform(panda.LOW, panda.HIGH)
        data.qvel[:JOINTS] = rng.normal(size=JOINTS)
        mujoco.mj_forward(model, data)
        tip = data.xpos[hand] + task.tool * data.xmat[hand].reshape(3, 3)[:, 2]
        mujoco.mj_jac(model, data, jacobian, None, tip, hand)
        seen = task.observe(data.qpos[None], data.qvel[None])[0]
        np.testing.assert_allclose(seen[:6], [*tip, *(jacobian @ data.qvel)], atol=1e-5)


def test_the_model_has_the_real_arms_limits(task):
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    for i, joint in enumerate(panda.JOINTS):
        assert model.joint(joint).qposadr == model.joint(joint).dofadr == i, "the arm's joints come first"
        np.testing.assert_allclose(model.joint(joint).range, [panda.LOW[i], panda.HIGH[i]])
        np.testing.assert_allclose(model.jnt_actfrcrange[model.joint(joint).id], [-panda.TORQUE[i], panda.TORQUE[i]])
        assert model.actuator_trnid[i, 0] == model.joint(joint).id
    assert [(limits.joint, limits.low, limits.high) for limits in task.spec.action.joint_limits] == list(
        zip(panda.JOINTS, panda.LOW, panda.HIGH)
    )


def test_joints_stay_inside_the_real_arms_velocities_and_limits(task):
    env = BatchedEnv(task, 8)
    env._world.model.geom_contype[:] = 0  # a blow may throw a joint around; the controller shall not
    for action in held_actions(task, np.random.default_rng(0), 60, 8):
        env.step(action)
        assert (np.abs(env._qvel[:, :JOINTS]) < panda.VELOCITY).all()
        assert (env._qpos[:, :JOINTS] > panda.LOW - 0.02).all() and (env._qpos[:, :JOINTS] < panda.HIGH + 0.02).all()


def test_it_holds_itself_up(task):
    env = BatchedEnv(task, 2)
    first = env.reset(0)
    for _ in range(20):
        step = env.step(np.zeros((2, JOINTS)))
    np.testing.assert_allclose(step.obs, first, atol=1e-3)


@pytest.mark.parametrize("joint", range(JOINTS))
def test_a_held_step_is_followed_at_the_speed_that_it_asks_for(joint):
    env = BatchedEnv(arm("panda-peg"), 1)
    before = env._qpos.copy()
    action = np.zeros((1, JOINTS))
    action[0, joint] = 0.05 if joint != 1 else -0.05
    for _ in range(5):
        env.step(action)
    moved = np.abs(env._qpos - before)[0]
    assert 0.7 * 0.25 < moved[joint] < 1.2 * 0.25
    assert np.delete(moved, joint).max() < 0.03


def test_targets_end_at_the_limits(task):
    qpos = np.tile(panda.HIGH - 0.01, (1, 1))
    np.testing.assert_array_equal(task.control(np.full((1, JOINTS), 0.05), qpos), [panda.HIGH])
    np.testing.assert_allclose(task.control(np.full((1, JOINTS), -0.05), qpos), [panda.HIGH - 0.06])


def test_the_robot_reports_what_the_policy_was_trained_on(task):
    robot = SimRobot(task, 3)
    for action in held_actions(task, np.random.default_rng(1), 10, 1)[:, 0]:
        state = robot.step(action)
    seen = task.observe(robot._data.qpos[None], robot._data.qvel[None])[0]
    read = [*state.end_effector_position, *state.end_effector_velocity]
    read += [state.joints[joint.name].position for joint in task.scene_joints]
    np.testing.assert_allclose(read, seen, atol=1e-6)
    np.testing.assert_array_equal([state.joints[j].position for j in panda.JOINTS], robot._data.qpos[:JOINTS])
    with pytest.raises(ValueError, match="a scan needs a robot on a floor"):
        robot.scan(8, 1.0)


# ---- where things are -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "base", "observed", "ways"),
    [
        ("panda-reach", -0.6, 6, 4),
        ("panda-peg", -0.6, 6, 2),
        ("panda-drawer", -1.2, 10, 4),
        ("panda-cabinet", -0.9, 7, 2),
    ],
)
def test_the_tasks_are_the_papers(name, base, observed, ways):
    task = arm(name)
    assert (task.base_x, task.spec.obs_dim, len(task.ways)) == (base, observed, ways)
    assert (task.spec.rate_hz, task.spec.max_steps, task.spec.action_dim) == (25.0, 100, 7)
    assert task.spec.action.high.tolist() == pytest.approx([0.05] * 7)
    qpos, qvel = task.start(np.random.default_rng(0), 500)
    spread = 0.1 if name in ("panda-peg", "panda-drawer") else 0.0
    assert np.abs(qpos[:, :JOINTS] - task.start_joints).max() == pytest.approx(spread, abs=0.001)
    assert not qvel.any()


def test_success_is_where_the_paper_has_it():
    tips = np.array([[-0.05, 0.0, 0.749], [-0.05, 0.0, 0.751]])
    assert arm("panda-reach").done(tips, np.zeros((2, 0))).tolist() == [True, False]
    for y in (0.15, -0.15):
        tips = np.array([[0.05, y, 0.039], [0.05, y, 0.041]])
        assert arm("panda-peg").done(tips, np.zeros((2, 0))).tolist() == [True, False]
    for drawer in range(4):
        openings = np.full((2, 4), 0.17)
        openings[:, drawer] = (0.029, 0.031)
        assert arm("panda-drawer").done(np.zeros((2, 3)), openings).tolist() == [True, False]
    assert arm("panda-cabinet").done(np.zeros((2, 3)), np.array([[0.401], [0.399]])).tolist() == [True, False]


def test_clearance_is_the_distance_to_the_nearest_block():
    points = np.array([[-0.22, 0.0, 0.67], [-0.22, 0.105, 0.77], [-0.5, 0.0, 0.1], [-0.22, 0.0, 0.9]])
    np.testing.assert_allclose(arm("panda-reach").clearance(points), [-0.005, 0.095, 0.1, 0.03], atol=1e-9)


# ---- ways -----------------------------------------------------------------------------------------


def go(env: BatchedEnv, index: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Send row 0 along a way of the task; its tips ``[T, 3]``, how far along it was ``[T]``, and its last ``[O]``."""
    task = env.task
    assert isinstance(task, ArmTask)
    corners, script = np.array(task.ways[index].points), ArmScript(task, pointing(task, index))
    near, slow = ARRIVED.get(task.name, (0.03, np.inf))
    obs, leg, tips, legs = env.reset(index), 1, [], []
    for _ in range(steps):
        if np.linalg.norm(obs[0, :3] - corners[leg]) < near and np.linalg.norm(obs[0, 3:6]) < slow:
            leg = min(leg + 1, len(corners) - 1)
        step = env.step(script.action(env._qpos[0], corners[leg])[None])
        tips.append(step.final_obs[0, :3])
        legs.append(leg)
        obs = step.obs
        if step.done[0]:
            break
    return np.array(tips), np.array(legs), step.final_obs[0]


@pytest.mark.parametrize("name, index", [(name, i) for name in ARM for i in range(len(arm(name).ways))])
def test_each_intended_way_can_be_gone(name, index):
    task = arm(name)
    tips, legs, obs = go(BatchedEnv(task, 1), index, task.spec.max_steps)
    assert task.done(obs[None, :3], obs[None, 6:])[0]
    begun = tips[legs > 1]  # it may have started beside the way
    assert distance(begun, dense(task.ways[index].points)).max() < task.spec.path_tolerance


@pytest.mark.parametrize("name", ARM)
def test_intended_ways_are_told_apart_by_what_discovery_compares(name):
    task, taken = arm(name), []
    for index in range(len(task.ways)):
        tips, _, obs = go(BatchedEnv(task, 1), index, task.spec.max_steps)
        taken.append(beside(way(tips, 20, task.spec.path_tolerance), task.spec.outcome_of(obs)))
    gap = pairwise(np.stack(taken))
    assert gap[~np.eye(len(gap), dtype=bool)].min() > 2 * task.spec.path_tolerance


def test_the_way_tells_which_goal_was_reached():
    env = BatchedEnv(arm("panda-drawer"), 1)
    openings = []
    for index in range(4):
        tips, _, obs = go(env, index, 100)
        assert obs[6:].min() <= 0.03
        openings.append(tips[-1, 1:])
    assert [(y > 0, z > 0.58) for y, z in openings] == [(True, False), (False, False), (True, True), (False, True)]


def test_no_finger_goes_through_a_bar():
    """Straight at the cross at full speed: the arm stops there, and nothing gets into a bar deeper than half of it."""
    task = arm("panda-reach")
    robot, script = SimRobot(task, 0), ArmScript(task, (1.0, 0.0, 0.0))
    deepest = 0.0
    for _ in range(60):
        robot.step(script.action(robot._data.qpos, np.array([-0.05, 0.0, 0.67])))
        deepest = min([deepest, *robot._data.contact.dist])
    assert not robot.success and robot.touching_wall
    assert deepest > -0.005


# ---- obstacles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["box", "cylinder"])
def test_an_obstacle_blocks_where_it_is_and_not_below(task, shape):
    corner = np.array(task.ways[0].points[1])
    for height, blocks in ((0.0, True), (1.0, False)):
        env = BatchedEnv(task, 1)
        env.set_obstacles([Obstacle(3, shape, (*corner[:2], corner[2] + height), (0.06, 0.06, 0.06))])
        tips, _, _ = go(env, 0, 25)
        assert (np.linalg.norm(tips - corner, axis=1).min() > 0.03) == blocks


def test_a_touched_obstacle_is_a_collision():
    task = arm("panda-reach")
    robot, script = SimRobot(task, 0), ArmScript(task, (1.0, 0.0, 0.0))
    robot.set_obstacle(Obstacle(0, "box", (-0.2, 0.0, 0.4), (0.02, 0.3, 0.3)))
    for _ in range(30):
        robot.step(script.action(robot._data.qpos, np.array([-0.1, 0.0, 0.4])))
        if robot.collided:
            break
    assert robot.collided and not robot.touching_wall


def test_the_outcome_is_the_drawer_that_is_farthest_in():
    spec = arm("panda-drawer").spec
    obs = np.zeros((4, spec.obs_dim), np.float32)
    obs[:, spec.outcome_columns] = [[0.17, 0.17, 0.17, 0.17], [0.17, 0.03, 0.1, 0.17], [0.03, 0.029, 0.17, 0.17],
                                    [0.17, 0.17, 0.17, 0.06]]
    apart = 4.0 * spec.path_tolerance
    np.testing.assert_allclose(spec.outcome_of(obs), [[0, 0, 0, 0], [0, -apart, 0, 0], [0, -apart, 0, 0], [0, 0, 0, 0]])
    assert arm("panda-reach").spec.outcome_of(np.zeros((3, 6))).shape == (3, 0)
