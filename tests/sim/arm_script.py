"""An arm that goes where it is told, through the task's own actions: inverse kinematics for the tests."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import mujoco
import numpy as np

from ddiffpg_sim import panda
from ddiffpg_sim.arm import STEP, ArmTask

DAMPING = 0.05
STRIDE = 0.035  # m, how far ahead of the tip it aims at most


def pointing(task: ArmTask, index: int) -> tuple[float, float, float]:
    """Where the hand shall point on the way with this index."""
    if task.name == "panda-reach":  # from its quarter of the cross towards the goal in the middle
        y, z = task.ways[index].points[2][1:]
        return (1.0, -0.6 * np.sign(y), -0.5 * np.sign(z - 0.67))
    directions = {
        "panda-peg": (0.0, 0.0, -1.0),
        "panda-drawer": (1.0, 0.0, -0.3),
        "panda-cabinet": (0.6, 0.6, -0.5),
    }
    return directions[task.name]


class ArmScript:
    """Steps of the joints of ``task`` that bring its tip towards a point, by damped least squares."""

    def __init__(self, task: ArmTask, pointing: tuple[float, float, float]) -> None:
        self._task = task
        self._model = mujoco.MjModel.from_xml_string(task.model_xml())
        self._data = mujoco.MjData(self._model)
        self._hand = self._model.body("hand").id
        self._pointing = np.array(pointing) / np.linalg.norm(pointing)

    def action(self, qpos: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The step ``[7]`` (rad) from ``qpos [nq]`` towards ``target [3]`` (m), the hand turning as it should point."""
        jacobian, tip, pointing = self._kinematics(qpos)
        offset = 0.6 * (target - tip)
        offset *= min(1.0, STRIDE / max(float(np.linalg.norm(offset)), 1e-9))
        turn = np.clip(np.cross(pointing, self._pointing), -0.1, 0.1)
        error = np.concatenate([offset, 0.3 * turn])
        jacobian[3:] *= 0.3
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING**2 * np.eye(6), error)
        return step * min(1.0, STEP / max(float(np.abs(step).max()), 1e-9))

    def _kinematics(self, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """MuJoCo's Jacobian ``[6, 7]`` of the tip, where it is ``[3]``, where the hand points ``[3]``."""
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        pointing = self._data.xmat[self._hand].reshape(3, 3)[:, 2].copy()
        tip = self._data.xpos[self._hand] + self._task.tool * pointing
        jacobian = np.zeros((6, self._model.nv))
        mujoco.mj_jac(self._model, self._data, jacobian[:3], jacobian[3:], tip, self._hand)
        return jacobian[:, : len(panda.JOINTS)], tip, pointing
