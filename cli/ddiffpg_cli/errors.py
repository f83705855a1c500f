"""What can go wrong, as one line and an exit code: 0 it went well, 1 the thing failed, 2 the input was bad."""

from __future__ import annotations

import errno

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

OWN_PACKAGES = ("ddiffpg", "ddiffpg_core", "ddiffpg_sim", "ddiffpg_export", "ddiffpg_cli")
EXTRA_OF = {
    "mujoco": "sim", "gymnasium": "sim", "PIL": "sim",
    "torch": "train", "sklearn": "train", "scipy": "train", "matplotlib": "train", "tensorboard": "train",
    "onnx": "export", "ray": "sweep",
    "rclpy": "ros", "rosbags": "ros", "mcap": "ros", "rcl_interfaces": "ros", "lifecycle_msgs": "ros",
    "std_srvs": "ros", "nav_msgs": "ros", "sensor_msgs": "ros", "geometry_msgs": "ros", "visualization_msgs": "ros",
    "diagnostic_msgs": "ros", "std_msgs": "ros", "builtin_interfaces": "ros", "trajectory_msgs": "ros",
}  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT)


class BadInput(Exception):
    """What the user gave is wrong: the text names the file or flag, the field, its value and what to do."""


class Failed(Exception):
    """The input was good and the thing did not succeed all the same."""


def explain(error: BaseException) -> tuple[str, int]:
    """One line for the user, and the exit code."""
    if isinstance(error, BadInput):
        return _line(error), BAD_INPUT
    if isinstance(error, Failed):
        return _line(error), FAILED
    if isinstance(error, ImportError):
        return _explain_import(error)
    if isinstance(error, OSError) and error.strerror:
        return _explain_os(error)
    if _is_own(error) and isinstance(error, (ValueError, LookupError)):
        return _line(error), BAD_INPUT
    if _is_own(error):
        return _line(error), FAILED
    return f"internal error, please report it: {type(error).__name__}: {_line(error)} (--debug shows where)", FAILED


def _is_own(error: BaseException) -> bool:
    """Is it an exception that our packages define, whose text is meant for the user?"""
    return type(error).__module__.partition(".")[0] in OWN_PACKAGES


def _explain_import(error: ImportError) -> tuple[str, int]:
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(package)
    if extra is None or not isinstance(error, ModuleNotFoundError):
        return f"cannot import {error.name}: {_line(error)}", FAILED
    return f"{package} is not installed: pip install 'ddiffpg-stack[{extra}]'", BAD_INPUT


def _explain_os(error: OSError) -> tuple[str, int]:
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.errno in _FULL:
        return f"{where}{error.strerror}; free some space and run the same command again", FAILED
    return f"{where}{error.strerror}", BAD_INPUT


def _line(error: BaseException) -> str:
    """The text of an exception without line breaks (and without the quotes that KeyError puts around it)."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__
