"""Simulation: tasks as MuJoCo models, many of them stepped at once, one of them as a robot.

Importing the package loads neither mujoco nor gymnasium; its modules load what they need.
"""
