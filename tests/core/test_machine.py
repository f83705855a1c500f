"""What a run tells of its machine."""

from __future__ import annotations

import subprocess
import sys

from ddiffpg_core.machine import machine


def test_the_host_is_told_without_torch():
    ask = "import sys; from ddiffpg_core.machine import machine; machine('cpu'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert done.stdout.split() == [b"False"], done.stderr


def test_what_is_told_has_a_value():
    told = machine("cpu")
    assert told.pop("gpu") is None and told["cores"] >= 1 and all(told.values())
