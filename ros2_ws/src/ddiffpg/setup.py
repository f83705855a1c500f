"""ROS package of the robot's side: the library, its lifecycle node, launch files, parameters, policies."""

from glob import glob

from setuptools import setup

NAME = "ddiffpg"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{NAME}/config", sorted(glob("config/*"))),
        (f"share/{NAME}/policies", sorted(glob("policies/*.onnx"))),
    ],
    install_requires=["setuptools", "numpy", "onnxruntime", "pyyaml"],
    zip_safe=False,
    maintainer="ddiffpg maintainers",
    maintainer_email="ddiffpg@users.noreply.github.com",
    description="Serves a multimodal diffusion policy to a robot",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"controller = {NAME}.controller_node:main"]},
)
