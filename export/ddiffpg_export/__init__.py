"""From a training run to a policy file: distillation, ONNX export, and the checks that a policy must pass.

Importing the package loads neither torch nor onnx; its modules load what they need.
"""
