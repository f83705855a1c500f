"""ROS parameters that are described once: type, range, default and whether they may change while running."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

Veto = Callable[["dict[str, Any]"], "str | None"]


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter. Its type is the default's; ``low`` and ``high`` bound a number.

    A ``fixed`` one is read when the node configures, and may not change while it is configured.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    fixed: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """What ``ros2 param describe`` shows; the range is enforced by ROS itself."""
        descriptor = ParameterDescriptor(name=self.name, description=self.description)
        if self.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(self.choices)
        elif self.fixed:
            descriptor.additional_constraints = "not while the node is configured"
        if self.low is None or self.high is None:
            return descriptor
        if isinstance(self.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=0)]
        else:
            range_ = FloatingPointRange(from_value=float(self.low), to_value=float(self.high), step=0.0)
            descriptor.floating_point_range = [range_]
        return descriptor


class Parameters:
    """The parameters of ``node``: declares them, reads them, vetoes what must not be.

    ``frozen`` says whether fixed ones may not change now; ``veto`` gets the changed values by name and
    returns a reason to refuse, or None. Raises rclpy's ParameterException where a start value is of the
    wrong type or out of range, ParameterError where it is refused.
    """

    def __init__(
        self,
        node: Node,
        specs: Sequence[ParameterSpec],
        frozen: Callable[[], bool] = lambda: False,
        veto: Veto = lambda changes: None,
    ) -> None:
        self._node = node
        self._specs = {spec.name: spec for spec in specs}
        self._frozen, self._veto = frozen, veto
        for spec in specs:
            node.declare_parameter(spec.name, spec.default, spec.descriptor())
        node.add_on_set_parameters_callback(self._check)
        reason = self._reason({name: self[name] for name in self._specs}, starting=True)
        if reason:
            raise ParameterError(reason)

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def values(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: self[name] for name in names}

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name in self._specs}
        reason = self._reason(changes, starting=False)
        return SetParametersResult(successful=reason is None, reason=reason or "")

    def _reason(self, changes: dict[str, Any], starting: bool) -> str | None:
        for name, value in changes.items():
            spec = self._specs[name]
            if spec.choices and value not in spec.choices:
                return f"{name} is '{value}', expected one of: {', '.join(spec.choices)}"
            if spec.fixed and not starting and self._frozen() and value != self[name]:
                return f"{name} is fixed while the node is configured; deactivate and clean up first"
        return self._veto(changes)


class ParameterError(ValueError):
    """A parameter has a start value that cannot be used."""
