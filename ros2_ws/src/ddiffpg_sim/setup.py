"""ROS package of the simulated robot.

The sources are those of the repository's rooms (symbolic links). Of the learning side only the words
that describe a task come along (``ddiffpg_core/spec.py``); training needs no ROS and is not installed.
"""

from setuptools import setup

NAME = "ddiffpg_sim"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    py_modules=["ddiffpg_core.__init__", "ddiffpg_core.spec"],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy", "mujoco"],
    zip_safe=False,
    maintainer="ddiffpg maintainers",
    maintainer_email="ddiffpg@users.noreply.github.com",
    description="A MuJoCo task as a robot in real time",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"sim_robot = {NAME}.sim_robot_node:main"]},
)
