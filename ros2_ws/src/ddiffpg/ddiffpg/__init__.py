"""What runs on the robot: a policy file, its contract, and the controller around them.

numpy, onnxruntime and pyyaml; ROS only in the ``*_node.py`` files.
"""
