"""The controller node with a fault that comes after one second with odometry. Run by a test, as a process."""

from __future__ import annotations

import sys

from ddiffpg.controller_node import ControllerNode
from ddiffpg.run_node import run


class FaultyController(ControllerNode):
    steps = 0

    def _step(self) -> None:
        self.steps += self._inputs.state() is not None
        if self.steps > 10:
            raise RuntimeError("out of order")
        super()._step()


def make() -> FaultyController:
    node = FaultyController()
    node.autostart()
    return node


if __name__ == "__main__":
    sys.exit(run(make))
