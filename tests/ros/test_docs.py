"""docs/ros.md lists the parameters that the nodes really have."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from ddiffpg import controller_node
from ddiffpg.parameters_node import ParameterSpec
from ddiffpg_sim import sim_robot_node

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ros.md"


def row(spec: ParameterSpec) -> str:
    """One parameter as a row of the page's table."""
    bounds = ", ".join(spec.choices)
    if spec.low is not None and spec.high is not None:
        bounds = " to ".join(f"{b:.0f}" if isinstance(spec.default, int) else f"{b:g}" for b in (spec.low, spec.high))
    default = str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)
    return f"| `{spec.name}` | {default or '(empty)'} | {bounds} | {spec.fixed or 'no'} | {spec.description} |"


@pytest.mark.parametrize("node", [controller_node, sim_robot_node], ids=["controller", "sim_robot"])
def test_table_of_parameters_is_up_to_date(node: object) -> None:
    rows = [row(spec) for spec in node.PARAMETERS]  # type: ignore[attr-defined]
    table = "\n".join(rows)
    assert table in PAGE.read_text(encoding="utf-8"), f"put this into docs/ros.md:\n{table}"
