"""One simulated robot, for closed-loop runs: commands in, state and scan out, obstacles at any time."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import mujoco
import numpy as np

from ddiffpg.observation import RobotState

from . import wires
from .dynamics import Robot
from .obstacles import Obstacle, World
from .signals import Deviation
from .start import Scatter
from .task import Task, planar

# What outlives a change of the model: obstacles are not part of it.
_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS | mujoco.mjtState.mjSTATE_WARMSTART | mujoco.mjtState.mjSTATE_CTRL
_WORLD_ONLY = np.array([1, 0, 0, 0, 0, 0], np.uint8)  # geometries of group 0: a robot of many bodies has another
# Newer versions of MuJoCo can give the normals of what rays hit, and then want to be told.
_NO_NORMALS = {"normal": None} if "normal:" in (mujoco.mj_multiRay.__doc__ or "") else {}


class SimRobot:
    """The robot of ``task``. The same ``seed`` and commands give the same run, to the last bit.

    ``success``: the goal was reached since the reset (looked at after each command). ``collided``: an
    obstacle was touched since the reset. ``touching_wall``: a wall is touched now. ``watch`` is told the time (s)
    and where all joints are, ``qpos [nq]``, at each reset and after each step of physics. ``deviation`` says how the
    robot and its world differ from the task's model; ValueError where it has what one robot cannot.
    """

    def __init__(
        self,
        task: Task,
        seed: int = 0,
        watch: Callable[[float, np.ndarray], None] | None = None,
        deviation: Deviation | None = None,
    ) -> None:
        self.task, self._watch, self._deviation = task, watch, deviation or Deviation()
        wires.check(self._deviation.signals)
        self._world = World(task)
        self._low, self._high = task.spec.action.low, task.spec.action.high
        self._use_model()
        self.reset(seed)

    # ---- an episode ----------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> RobotState:
        """A new episode at time 0, from ``seed`` or as the next of the running sequence. Obstacles stay."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        mujoco.mj_resetData(self._model, self._data)
        qpos, qvel = self.task.start(self._rng, 1)
        self._scatter.move(qpos, qvel, np.arange(1), [self._deviation.start], self._rng)
        self._data.qpos[:], self._data.qvel[:] = qpos[0], qvel[0]
        self._behind, self._steps = 0.0, 0
        self._connect(self._rng.spawn(1)[0])
        self.success = self.collided = self.touching_wall = False
        self._tell()
        return self.state()

    def step(self, command: np.ndarray) -> RobotState:
        """One control period of ``command [A]``: physical units, clipped to the limits."""
        return self.advance(command, 1.0 / self.task.spec.rate_hz)

    def advance(self, command: np.ndarray, seconds: float) -> RobotState:
        """``seconds`` of ``command [A]``; what is less than a physics step is made up for later.

        Raises ValueError where a number is not finite, the shape is wrong, or time would go backwards.
        """
        return self._run(np.clip(self._checked(command), self._low, self._high), seconds)

    def move_joints(self, positions: np.ndarray, seconds: float) -> RobotState:
        """As ``advance``, towards ``positions [A]`` of the action's joints, for actions that are steps from there."""
        return self._run(self._checked(positions) - self.joint_positions, seconds)

    @property
    def joint_positions(self) -> np.ndarray:
        """Where the action's joints are now: ``[A]``."""
        joints = self.state().joints
        return np.array([joints[field.joint or ""].position for field in self.task.spec.action.fields])

    def _run(self, action: np.ndarray, seconds: float) -> RobotState:
        inputs, holding = self.task.control(np.stack([action, np.zeros_like(action)]), self._data.qpos[None])
        self._commands.put(inputs, self._steps, holding)
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds is {seconds}, expected a finite number of at least 0")
        self._behind += seconds / self._model.opt.timestep
        count = math.floor(self._behind + 1e-6)
        self._behind -= count
        for _ in range(count):
            self._data.ctrl[:] = self._commands.at(self._steps)
            mujoco.mj_step(self._model, self._data)
            self._steps += 1
            self._note_contacts()
            self._tell()
        self.success |= bool(self.task.success(self._data.qpos[None])[0])
        return self.state()

    @property
    def time(self) -> float:
        """Simulated seconds since the reset."""
        return float(self._data.time)

    def state(self) -> RobotState:
        """Where the robot is and how it moves now; the stamp is simulated time."""
        return self.task.robot_state(self.time, self._data.qpos, self._data.qvel)

    def measure(self) -> RobotState | None:
        """What its odometry and joints say now, as the robot's deviation has it; None where that is lost."""
        return self._sensors.measure(self.time)

    def scan(self, beams: int, max_range: float) -> tuple[np.ndarray, np.ndarray]:
        """A laser scan of walls and obstacles from the robot's centre, the robot itself left out.

        ``angles [beams]`` from -pi in equal steps once around, in the fixed frame; ``ranges [beams]``
        in metres, inf where nothing is within ``max_range``. ValueError for an arm, which has no such scanner.
        """
        planar(self.task, "a scan")
        angles = -math.pi + 2 * math.pi / beams * np.arange(beams)
        directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(beams)], axis=1)
        mujoco.mj_kinematics(self._model, self._data)
        geoms, ranges = np.full(beams, -1, np.int32), np.zeros(beams)
        mujoco.mj_multiRay(
            m=self._model,
            d=self._data,
            pnt=self._data.xpos[self._robot].copy(),
            vec=directions.ravel(),
            geomgroup=_WORLD_ONLY,
            flg_static=True,
            bodyexclude=self._robot,
            geomid=geoms,
            dist=ranges,
            nray=beams,
            cutoff=max_range,
            **_NO_NORMALS,
        )
        ranges[(geoms < 0) | (ranges > max_range)] = np.inf
        return angles, ranges

    # ---- obstacles -----------------------------------------------------------------------------

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """What is in the way now."""
        return self._world.obstacles

    def set_obstacle(self, obstacle: Obstacle) -> None:
        """Add it, or change the one with this id."""
        now = {o.id: o for o in self.obstacles}
        now[obstacle.id] = obstacle
        self.set_obstacles(now.values())

    def remove_obstacle(self, obstacle_id: int) -> None:
        """Take it away; KeyError naming those that are there where there is none with this id."""
        now = {o.id: o for o in self.obstacles}
        if obstacle_id not in now:
            raise KeyError(f"no obstacle {obstacle_id}; there are {sorted(now)}")
        del now[obstacle_id]
        self.set_obstacles(now.values())

    def clear_obstacles(self) -> None:
        self.set_obstacles(())

    def set_obstacles(self, obstacles: Iterable[Obstacle]) -> None:
        """Exactly these, nothing else."""
        if self._world.replace(obstacles):
            before = np.zeros(mujoco.mj_stateSize(self._model, _STATE))
            mujoco.mj_getState(self._model, self._data, before, _STATE)
            self._use_model()
            mujoco.mj_setState(self._model, self._data, before, _STATE)
        self._world.write_poses(self._data)

    # ---- inside --------------------------------------------------------------------------------

    def _connect(self, rng: np.random.Generator) -> None:
        """New wires: nothing is under way in them."""
        signals, simulator, timestep = self._deviation.signals, self._deviation.simulator, self._model.opt.timestep
        self._commands = wires.CommandWire(signals, timestep, simulator.keep(timestep), rng)
        self._sensors = wires.Sensors(signals, self.task, rng)

    def _use_model(self) -> None:
        self._model = self._world.model
        self._deviation.simulator.write(self._model)
        robot = Robot(self._model)
        robot.write(self._deviation.dynamics, self._model)
        self._scatter = Scatter(self.task, self._model, robot)
        self._data = mujoco.MjData(self._model)
        self._robot = self._model.body("robot").id
        names = (self._model.geom(i).name for i in range(self._model.ngeom))
        kinds = [name.rstrip("0123456789") for name in names]
        self._obstacle_geom = np.array([kind == "obstacle" for kind in kinds])
        self._wall_geom = np.array([kind == "wall" for kind in kinds])

    def _checked(self, command: np.ndarray) -> np.ndarray:
        command = np.asarray(command, float)
        if command.shape != self._low.shape or not np.isfinite(command).all():
            raise ValueError(f"command is {command.tolist()}, expected {len(self._low)} finite numbers")
        return command

    def _tell(self) -> None:
        self._sensors.see(self.time, self._data.qpos, self._data.qvel, self._model.opt.timestep)
        if self._watch is not None:
            self._watch(self.time, self._data.qpos.copy())

    def _note_contacts(self) -> None:
        """Only the robot can touch anything, so every contact is one of its own."""
        touched = self._data.contact.geom
        self.collided |= bool(self._obstacle_geom[touched].any())
        self.touching_wall = bool(self._wall_geom[touched].any())
