"""ROS parameters that are described once: type, range, default and whether they may change while running."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ddiffpg.parameters import Parameter as ParameterDescription
from ddiffpg.parameters import ParameterError, describe

Veto = Callable[["dict[str, Any]"], "str | None"]


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter. Its type is the default's; ``low`` and ``high`` bound a number.

    ``fixed`` says when it may not change: while the node is "active", "configured" (inactive too) or
    "running" (from the start); "" for one that may change at any time.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    fixed: str = ""

    def descriptor(self) -> ParameterDescriptor:
        """What ``ros2 param describe`` shows; the range is enforced by ROS itself."""
        descriptor = ParameterDescriptor(name=self.name, description=self.description)
        if self.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(self.choices)
        elif self.fixed:
            descriptor.additional_constraints = f"not while the node is {self.fixed}"
        if self.low is None or self.high is None:
            return descriptor
        if isinstance(self.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=0)]
        else:
            range_ = FloatingPointRange(from_value=float(self.low), to_value=float(self.high), step=0.0)
            descriptor.floating_point_range = [range_]
        return descriptor


def specs_of(cls: type, fixed: str) -> tuple[ParameterSpec, ...]:
    """The fields of a parameter dataclass (``ddiffpg.parameters``) as ROS parameters."""
    return tuple(ParameterSpec(p.name, p.default, _text(p), p.low, p.high, fixed=fixed) for p in describe(cls))


def _text(p: ParameterDescription) -> str:
    return f"{p.description} [{p.unit}]" if p.unit else p.description


class Parameters:
    """The parameters of ``node``: declares them, reads them, vetoes what must not be.

    ``frozen`` says whether those fixed so may not change now; ``veto`` gets all values as they would be,
    and returns a reason to refuse them, or None. Raises rclpy's ParameterException where a start value is
    of the wrong type or out of range, ParameterError where it is refused.
    """

    def __init__(
        self,
        node: Node,
        specs: Sequence[ParameterSpec],
        frozen: Callable[[str], bool],
        veto: Veto = lambda values: None,
    ) -> None:
        self._node = node
        self._specs = {spec.name: spec for spec in specs}
        self._frozen, self._veto = frozen, veto
        self._values: dict[str, Any] = {}  # asked for in every tick: a look into the node's own takes ten times as long
        for spec in specs:
            self._values[spec.name] = node.declare_parameter(spec.name, spec.default, spec.descriptor()).value
        node.add_on_set_parameters_callback(self._check)
        self._refuse_unknown()
        reason = self._reason(self.values(self._specs), starting=True)
        if reason:
            raise ParameterError("(start)", reason)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def values(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: self[name] for name in names}

    def _refuse_unknown(self) -> None:
        """ROS itself silently drops a start value whose name nobody declared: a typing error would go unseen."""
        given = getattr(self._node, "_parameter_overrides", {})  # no public way to it
        for name in given:
            if not self._node.has_parameter(name) and not name.startswith("qos_overrides."):
                raise ParameterError(name, f"is unknown; known are {', '.join(self._specs)}")

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name in self._specs}
        reason = self._reason(changes, starting=False)
        if reason is None:
            self._values.update(changes)
        return SetParametersResult(successful=reason is None, reason=reason or "")

    def _reason(self, changes: dict[str, Any], starting: bool) -> str | None:
        for name, value in changes.items():
            spec = self._specs[name]
            if spec.choices and value not in spec.choices:
                return f"{name} is '{value}', expected one of: {', '.join(spec.choices)}"
            if spec.fixed and not starting and self._frozen(spec.fixed) and value != self[name]:
                return f"{name} cannot change while the node is {spec.fixed}"
        return self._veto({**self.values(self._specs), **changes})
