"""The Franka Emika Panda: kinematics, inertias and limits as published, collision shapes of capsules and boxes.

Kinematics are the maker's modified Denavit-Hartenberg parameters, limits those of its datasheet. Masses and
inertias are those that Gaz et al. identified ("Dynamic identification of the Franka Emika Panda robot with
retrieval of feasible parameters using penalty-based optimization", IEEE RA-L 2019). Capsules are those that the
maker's own description has for collision checks. The gripper is closed and does not move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Vector = tuple[float, float, float]

JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
LOW = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])  # rad
HIGH = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
VELOCITY = np.array([2.175] * 4 + [2.61] * 3)  # rad/s
TORQUE = np.array([87.0] * 4 + [12.0] * 3)  # N m
FLANGE_TO_TCP = 0.1034  # m; the tool centre point lies between the finger tips

# Modified Denavit-Hartenberg: a (m) and alpha (quarter turns) of the link before, d of this one (m).
_A = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
_ALPHA = (0, -1, 1, 1, -1, 1, 1)
_D = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
FLANGE = 0.107  # m from the last joint's frame, along its axis


@dataclass(frozen=True)
class Capsule:
    """``center`` in its link's frame, ``axis`` x, y or z, ``length`` of the cylinder between the half spheres; m."""

    center: Vector
    axis: str
    radius: float
    length: float


@dataclass(frozen=True)
class Link:
    """A link: ``mass`` kg, centre of mass, inertia about it (xx, yy, zz, xy, xz, yz; kg m^2), collision shapes."""

    mass: float
    center: Vector
    inertia: tuple[float, float, float, float, float, float]
    capsules: tuple[Capsule, ...]


BASE = Link(
    0.629769, (-0.041018, -0.00014, 0.049974), (0.00315, 0.00388, 0.004285, 8.2904e-07, 0.00015, 8.2299e-06),
    (Capsule((-0.075, 0.0, 0.06), "x", 0.06, 0.03),),
)  # fmt: skip
LINKS = (
    Link(4.970684, (0.003875, 0.002081, -0.04762), (0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169),
         (Capsule((0.0, 0.0, -0.1915), "z", 0.06, 0.283),)),
    Link(0.646926, (-0.003141, -0.02872, 0.003495), (0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704),
         (Capsule((0.0, 0.0, 0.0), "z", 0.06, 0.12),)),
    Link(3.228604, (0.027518, 0.039252, -0.066502), (0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805),
         (Capsule((0.0, 0.0, -0.145), "z", 0.06, 0.15),)),
    Link(3.587895, (-0.05317, 0.104419, 0.027454), (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641),
         (Capsule((0.0, 0.0, 0.0), "z", 0.06, 0.12),)),
    Link(1.225946, (-0.011953, 0.041065, -0.038437), (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229),
         (Capsule((0.0, 0.0, -0.26), "z", 0.06, 0.1), Capsule((0.0, 0.08, -0.13), "z", 0.025, 0.14))),
    Link(1.666555, (0.060149, -0.014117, -0.010517), (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341),
         (Capsule((0.0, 0.0, -0.03), "z", 0.05, 0.08),)),
    Link(0.735522, (0.010517, -0.004252, 0.061597), (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741),
         (Capsule((0.0, 0.0, 0.01), "z", 0.04, 0.14),)),
)  # fmt: skip
HAND = Link(
    0.73, (-0.01, 0.0, 0.03), (0.001, 0.0025, 0.0017, 0.0, 0.0, 0.0), (Capsule((0.0, 0.0, 0.04), "y", 0.04, 0.1),)
)  # fmt: skip
FINGERS = Link(0.03, (0.0, 0.0, 0.0584), (4.75e-6, 4.75e-6, 1.5e-6, 0.0, 0.0, 0.0), ())  # both, closed

# Stiffness (N m/rad) that the maker's own joint impedance controller has by default. Damping so that a target
# which is always 0.05 rad ahead is followed at the 1.25 rad/s that it asks for.
STIFFNESS = (3000.0, 3000.0, 3000.0, 2500.0, 400.0, 400.0, 400.0)
DAMPING = tuple(0.02 * k for k in STIFFNESS)
ARMATURE = (0.606, 0.606, 0.462, 0.462, 0.206, 0.206, 0.206)  # kg m^2, motors as seen at the joints


@dataclass(frozen=True, eq=False)
class Frames:
    """Where N arms are: ``tip [N, 3]`` (m), ``rotation [N, 3, 3]`` of the last link, joints' ``origins`` and
    ``axes`` ``[N, 7, 3]``, all in the world."""

    tip: np.ndarray
    rotation: np.ndarray
    origins: np.ndarray
    axes: np.ndarray

    def velocity(self, qvel: np.ndarray) -> np.ndarray:
        """Of the tip, for joint velocities ``qvel [N, 7]`` (rad/s): ``[N, 3]`` m/s."""
        turning = (self.axes * qvel[:, :, None]).transpose(0, 2, 1)
        m = turning @ (self.tip[:, None] - self.origins)  # the cross products, summed over the joints: m - m^T
        return np.stack([m[:, 1, 2] - m[:, 2, 1], m[:, 2, 0] - m[:, 0, 2], m[:, 0, 1] - m[:, 1, 0]], axis=1)


class Kinematics:
    """Forward kinematics that remembers the last answer: one step of a task asks for the same joints several times."""

    def __init__(self, base: Vector, tool: float) -> None:
        self._base, self._tool = base, tool
        self._last = np.empty((0, len(JOINTS)))
        self._frames = forward(self._last, base, tool)

    def __call__(self, qpos: np.ndarray) -> Frames:
        """As ``forward``."""
        if not np.array_equal(qpos, self._last):
            self._last, self._frames = qpos.copy(), forward(qpos, self._base, self._tool)
        return self._frames


def forward(qpos: np.ndarray, base: Vector, tool: float = FLANGE_TO_TCP) -> Frames:
    """Forward kinematics of ``qpos [N, 7]`` (rad) for an arm that stands at ``base``.

    The tip is ``tool`` metres beyond the flange, along the last joint's axis.
    """
    x, y, z, origin = (np.broadcast_to(v, (len(qpos), 3)) for v in (*np.eye(3), np.array(base, float)))
    cos, sin = np.cos(qpos), np.sin(qpos)
    origins, axes = np.empty((len(qpos), 7, 3)), np.empty((len(qpos), 7, 3))
    for i, (a, alpha, d) in enumerate(zip(_A, _ALPHA, _D)):
        y, z = (alpha * z, -alpha * y) if alpha else (y, z)
        if a or d:
            origin = origin + a * x + d * z
        c, s = cos[:, i, None], sin[:, i, None]
        x, y = c * x + s * y, c * y - s * x
        origins[:, i], axes[:, i] = origin, z
    return Frames(origin + (FLANGE + tool) * z, np.stack([x, y, z], axis=2), origins, axes)


# ---- as a MuJoCo model ------------------------------------------------------------------------------

DEFAULTS = """<default class="panda">
      <!-- Group 1: the robot. Its parts touch the scene and not each other. -->
      <geom group="1" contype="1" conaffinity="0" mass="0" rgba="0.93 0.93 0.95 1"/>
      <!-- Base and first link only turn where they stand, in what they stand on. -->
      <default class="shoulder"><geom contype="0"/></default>
      <default class="gripper"><geom rgba="0.3 0.32 0.36 1"/></default>
    </default>"""


def arm_xml(base: Vector, held: str = "") -> str:
    """The body ``robot`` standing at ``base``, with what its gripper holds (geometries in the hand's frame)."""
    inside = _hand_xml(held)
    for i in reversed(range(7)):
        inside = _link_xml(i, inside)
    own = _parts_xml(BASE, "shoulder")
    return f'<body name="robot" pos="{_text(base)}" childclass="panda">{own}{inside}</body>'


def actuators_xml() -> str:
    """A position actuator a joint, in the order of the joints."""
    return "\n    ".join(
        f'<position name="{j}" joint="{j}" kp="{k}" kv="{v}" ctrlrange="{low} {high}"/>'
        for j, k, v, low, high in zip(JOINTS, STIFFNESS, DAMPING, LOW, HIGH)
    )


def _link_xml(i: int, inside: str) -> str:
    """Link ``i`` from 0, with its joint. What holds up its weight counts among the torque that the motor can give."""
    own = _parts_xml(LINKS[i], "shoulder" if i == 0 else "panda")
    alpha = _ALPHA[i]
    place = (_A[i], -alpha * _D[i], 0.0 if alpha else _D[i])
    turn = (math.cos(alpha * math.pi / 4), math.sin(alpha * math.pi / 4), 0.0, 0.0)
    return (
        f'<body name="link{i + 1}" pos="{_text(place)}" quat="{_text(turn)}" gravcomp="1">'
        f'<joint name="{JOINTS[i]}" range="{LOW[i]} {HIGH[i]}" armature="{ARMATURE[i]}" actuatorgravcomp="true" '
        f'actuatorfrcrange="{-TORQUE[i]} {TORQUE[i]}"/>'
        f"{own}{inside}</body>"
    )


def _hand_xml(held: str) -> str:
    tip = 0.0545 / 2  # half the length of the fingers, which begin 0.0584 m from the flange
    turn = (math.cos(math.pi / 8), 0.0, 0.0, -math.sin(math.pi / 8))  # it is mounted turned by 45 degrees
    return (
        f'<body name="hand" pos="0 0 {FLANGE}" quat="{_text(turn)}" gravcomp="1" '
        f'childclass="gripper">{_parts_xml(HAND, "gripper")}{held}'
        f'<body name="fingers" gravcomp="1">{_parts_xml(FINGERS, "gripper")}'
        f'<geom type="box" pos="0 0 {0.0584 + tip}" size="0.00875 0.0152 {tip}"/></body></body>'
    )


def _parts_xml(link: Link, kind: str) -> str:
    """A link's mass, and its shapes as geometries of class ``kind``."""
    mass = f'<inertial mass="{link.mass}" pos="{_text(link.center)}" fullinertia="{_text(link.inertia)}"/>'
    return mass + "".join(_capsule_xml(capsule, kind) for capsule in link.capsules)


def _capsule_xml(capsule: Capsule, kind: str) -> str:
    along = np.array([axis == capsule.axis for axis in "xyz"]) * capsule.length / 2
    ends = (*(np.array(capsule.center) - along), *(np.array(capsule.center) + along))
    return f'<geom class="{kind}" type="capsule" size="{capsule.radius}" fromto="{_text(ends)}"/>'


def _text(numbers: tuple[float, ...]) -> str:
    return " ".join(repr(float(n)) for n in numbers)
