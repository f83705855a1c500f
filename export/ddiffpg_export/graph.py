"""The ONNX graph of a policy, built node by node: the same weights give the same bytes, with any release of torch.

``observation [B, O]`` in physical units, ``mode [B]`` (id, -1 unconditioned) and ``noise [B, Z]`` (standard
normal) -> ``action [B, A]`` in physical units. An id that the graph does not know gives NaN, never another mode.

Where the policy chooses between C candidates, Z numbers are the noise of one after that of another, and of what comes
of them the graph gives the one that the mode's critic holds for the best; unconditioned, the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.features import Features
from ddiffpg_core.spec import ActionSpec
from ddiffpg_export.student import BOUND, SavedStudent

OPSET, IR_VERSION = 17, 8  # read by ONNX Runtime 1.17 and later
UNCONDITIONED = -1


class GraphBuilder:
    """Nodes and constants in the order they are added; names say what a tensor is."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: torch.Tensor | np.ndarray) -> str:
        """A constant, kept once however often it is asked for; returns the name."""
        plain = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        if not np.array_equal(self.constants.setdefault(name, plain), plain, equal_nan=True):
            raise ValueError(f"constant '{name}' is there already, with another value")
        return name

    def number(self, name: str, value: float) -> str:
        """A float32 scalar."""
        return self.constant(name, np.array(value, np.float32))

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node with one output; returns the output's name."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def linear(self, x: str, layer: nn.Linear, name: str, weights: str) -> str:
        """``x [B, I]`` -> ``name [B, J]``; the layer's constants are called ``weights``."""
        weight, bias = self.constant(f"{weights}.weight", layer.weight), self.constant(f"{weights}.bias", layer.bias)
        return self.add("Gemm", [x, weight, bias], name, transB=1)

    def clip(self, x: str, name: str) -> str:
        """To ±1."""
        return self.add("Clip", [x, self.number("low", -BOUND), self.number("high", BOUND)], name)

    def silu(self, x: str) -> str:
        return self.add("Mul", [x, self.add("Sigmoid", [x], f"{x}.sigmoid")], f"{x}.silu")

    def initializers(self) -> list[TensorProto]:
        """The constants, as a graph holds them."""
        return [numpy_helper.from_array(value, name) for name, value in self.constants.items()]

    def model(self, obs_dim: int, noise_dim: int, action_dim: int) -> onnx.ModelProto:
        """The whole, checked."""
        def tensor(name: str, kind: int, *size: int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, ["B", *size])

        inputs = [tensor("observation", TensorProto.FLOAT, obs_dim), tensor("mode", TensorProto.INT64),
                  tensor("noise", TensorProto.FLOAT, noise_dim)]
        outputs = [tensor("action", TensorProto.FLOAT, action_dim)]
        graph = helper.make_graph(self.nodes, "policy", inputs, outputs, self.initializers())
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="ddiffpg")
        onnx.checker.check_model(model, full_check=True)
        return model


def policy_graph(
    policy: SavedPolicy, student: SavedStudent, action: ActionSpec, mode_ids: Sequence[int]
) -> onnx.ModelProto:
    """The graph that does what ``student_actions`` does, for these modes and unconditioned."""
    g = GraphBuilder()
    embeddings = {i: e for i, e in policy.embeddings().items() if i in (UNCONDITIONED, *mode_ids)}
    row = add_mode_row(g, embeddings)
    embedding = g.add("Gather", [g.constant("mode.embeddings", mode_table(embeddings)), row], "embedding")
    x = add_features(g, policy.features)
    noise, seen, asked = "noise", x, embedding
    if policy.judges is not None:
        count = policy.config.actor.candidates
        noise = add_rows(g, "noise", policy.actor.noise_dim)
        seen, asked = (add_repeated(g, name, count) for name in (x, embedding))
    if student.network is not None:
        normal = add_student(g, student.network.nets, seen, asked, noise)
    elif isinstance(policy.actor, DiffusionActor):
        normal = add_denoising(g, policy.actor, seen, asked, noise)
    else:
        raise TypeError(f"a {type(policy.actor).__name__} cannot be its own student")
    if policy.judges is not None:
        normal = add_choice(g, policy, seen, g.clip(normal, "candidates"), row, [*embeddings])
    add_scaling(g, normal, row, action, embeddings)
    return g.model(len(policy.features.get_buffer("offset")), noise_dim(policy), len(action.fields))


def noise_dim(policy: SavedPolicy) -> int:
    """How many numbers of noise its graph takes: those of all its candidates."""
    return policy.actor.noise_dim * (1 if policy.judges is None else policy.config.actor.candidates)


def add_features(g: GraphBuilder, features: Features) -> str:
    """:class:`ddiffpg_core.features.Features`."""
    offset, scale, frequency = (features.get_buffer(name) for name in ("offset", "scale", "frequency"))
    moved = g.add("Sub", ["observation", g.constant("features.offset", offset)], "observation.moved")
    normal = g.add("Div", [moved, g.constant("features.scale", scale)], "observation.normal")
    phases = torch.zeros(len(offset), len(frequency) * len(features.columns))
    for i, column in enumerate(features.columns):
        phases[column, i * len(frequency) : (i + 1) * len(frequency)] = frequency
    phase = g.add("MatMul", [normal, g.constant("features.phases", phases)], "phase")
    waves = [g.add("Sin", [phase], "phase.sin"), g.add("Cos", [phase], "phase.cos")]
    return g.add("Concat", [normal, *waves], "features", axis=1)


def add_mode_row(g: GraphBuilder, embeddings: Mapping[int, np.ndarray], name: str = "mode") -> str:
    """Row of each mode in :func:`mode_table`; ids beyond those known go to its first and last row, which are of none.

    What is added begins with ``name``.
    """
    low, high = (g.constant(f"{name}.{end}", np.array(value, np.int64))
                 for end, value in (("below", UNCONDITIONED - 1), ("above", max(embeddings) + 1)))
    clipped = g.add("Clip", ["mode", low, high], f"{name}.clipped")
    return g.add("Sub", [clipped, low], f"{name}.row")


def mode_table(rows: Mapping[int, np.ndarray]) -> np.ndarray:
    """Values by mode id, from one below unconditioned to one above the last; NaN for ids that are no mode."""
    table = np.full((max(rows) - UNCONDITIONED + 3, *next(iter(rows.values())).shape), np.nan, np.float32)
    for mode_id, value in rows.items():
        table[mode_id - UNCONDITIONED + 1] = value
    return table


def add_rows(g: GraphBuilder, x: str, size: int) -> str:
    """``[B, C * size]`` -> ``[B * C, size]``."""
    return g.add("Reshape", [x, g.constant(f"{x}.wide", np.array([-1, size], np.int64))], f"{x}.rows")


def add_repeated(g: GraphBuilder, x: str, count: int) -> str:
    """``[B, N]`` -> ``[B * count, N]``: every row so many times."""
    ids = np.array([1, count], np.int64)
    wide = g.add("Tile", [x, g.constant("candidates.times", ids)], f"{x}.tiled")
    size = g.add("Shape", [x], f"{x}.size", start=1)
    rows = g.add("Concat", [g.constant("rows", np.array([-1], np.int64)), size], f"{x}.repeated.size", axis=0)
    return g.add("Reshape", [wide, rows], f"{x}.repeated")


def add_choice(g: GraphBuilder, policy: SavedPolicy, x: str, action: str, row: str, ids: Sequence[int]) -> str:
    """:func:`ddiffpg_core.choice.choose`: of actions ``[B * C, A]`` at features ``x [B * C, F]`` to ``[B, A]``."""
    critic, count = policy.judges, policy.config.actor.candidates
    assert critic is not None
    h = g.add("Concat", [x, action], "judge.input", axis=1)
    for i, (weight, bias) in enumerate(critic.layers(critic.groups)):
        if i:
            h = g.silu(add_normal(g, h, weight.shape[1]) if critic.norm else h)
        product = g.add("MatMul", [h, g.constant(f"judge.{i}.weight", weight)], f"judge.{i}.product")
        h = g.add("Add", [product, g.constant(f"judge.{i}.bias", bias)], f"judge.{i}")
    likely = g.add("Softmax", [h], "judge.likely", axis=-1)
    mean = g.add("MatMul", [likely, g.constant("judge.atoms", critic.atoms[:, None])], "judge.mean")
    size = g.constant("judge.size", np.array([critic.groups, 2, -1, count], np.int64))
    lower = g.add("ReduceMin", [g.add("Reshape", [mean, size], "judge.heads")], "judge.lower", axes=[1], keepdims=0)
    by_row = g.add("Transpose", [lower], "judge.by_row", perm=[1, 0, 2])  # [B, M, C]
    whose = {i: np.array([float(m.id == i) for m in policy.modes], np.float32) for i in ids}
    table = g.constant("judge.whose", np.nan_to_num(mode_table(whose))[:, None])  # all 0 where nobody judges: the first
    value = g.add("MatMul", [g.add("Gather", [table, row], "judge.asked"), by_row], "judge.value")  # [B, 1, C]
    best = g.add("ArgMax", [value], "judge.best", axis=2, keepdims=0)
    size = g.constant("candidates.size", np.array([-1, count, policy.actor.action_dim], np.int64))
    every = g.add("Reshape", [action, size], "candidates.by_row")
    return g.add("GatherND", [every, best], "chosen", batch_dims=1)


def add_normal(g: GraphBuilder, x: str, size: int) -> str:
    """Layer normalisation over the last ``size`` numbers, without weights of its own."""
    return g.add("LayerNormalization", [x, g.constant(f"judge.ones.{size}", np.ones(size, np.float32))], f"{x}.normal")


def add_student(g: GraphBuilder, nets: nn.ModuleList, x: str, embedding: str, noise: str) -> str:
    """:class:`ddiffpg_export.student.Student`, without the clamping at the end."""
    states: list[str] = []
    for i, net in enumerate(nets):
        seen = g.add("Concat", [x, embedding, noise, *states[-1:]], f"student{i}.input", axis=1)
        states.append(add_layers(g, seen, list(net.children()), f"student{i}", f"student{i}"))
    return states[-1]


def add_layers(g: GraphBuilder, h: str, layers: Iterable[nn.Module], name: str, weights: str) -> str:
    """Linear layers and SiLU; constants are called ``weights``, tensors ``name``."""
    for i, layer in enumerate(layers):
        h = g.linear(h, layer, f"{name}.{i}", f"{weights}.{i}") if isinstance(layer, nn.Linear) else g.silu(h)
    return h


def add_denoising(g: GraphBuilder, actor: DiffusionActor, x: str, embedding: str, noise: str) -> str:
    """:meth:`DiffusionActor.from_noise`, unrolled."""
    z, *fresh = [add_part(g, noise, i, actor.action_dim) for i in range(actor.steps)]
    for k in reversed(range(actor.steps)):
        z = add_denoising_step(g, actor, k, z, add_prediction(g, actor, k, [x, z, embedding]))
        if k:
            _, _, spread = actor.coefficients(k)
            stirred = g.add("Mul", [fresh.pop(0), g.number(f"step{k}.spread", spread)], f"step{k}.fresh")
            z = g.add("Add", [z, stirred], f"step{k}.stirred")
    return z


def add_part(g: GraphBuilder, noise: str, i: int, size: int) -> str:
    """The ``i``-th ``size`` numbers of the noise."""
    bounds = [g.constant(f"noise.{name}.{at}", np.array([at], np.int64))
              for name, at in (("from", i * size), ("to", (i + 1) * size))]
    return g.add("Slice", [noise, *bounds, g.constant("noise.axis", np.array([1], np.int64))], f"noise.{i}")


def add_prediction(g: GraphBuilder, actor: DiffusionActor, k: int, seen: Sequence[str]) -> str:
    """:meth:`DiffusionActor.predict` at step ``k``; what the step's time embedding adds is part of the bias."""
    layers, time = list(actor.net), actor.get_buffer("time")[k]
    first = layers[0]
    assert isinstance(first, nn.Linear)
    weight = g.constant("actor.0.weight", first.weight[:, : -len(time)])
    bias = g.constant(f"actor.0.bias.{k}", first.bias + first.weight[:, -len(time) :] @ time)
    h = g.add("Gemm", [g.add("Concat", seen, f"step{k}.input", axis=1), weight, bias], f"step{k}.first", transB=1)
    return add_layers(g, h, layers[1:], f"step{k}", "actor.rest")


def add_denoising_step(g: GraphBuilder, actor: DiffusionActor, k: int, z: str, predicted: str) -> str:
    """``z`` one step less noisy, before fresh noise is added."""
    keep = actor.get_buffer("keep")[k].item()
    of_clean, of_z, _ = actor.coefficients(k)
    name = f"step{k}"
    estimate = predicted
    if not actor.predicts_action:
        noise = g.add("Mul", [predicted, g.number(f"{name}.sigma", math.sqrt(1 - keep))], f"{name}.noise")
        rest = g.add("Sub", [z, noise], f"{name}.rest")
        estimate = g.add("Div", [rest, g.number(f"{name}.alpha", math.sqrt(keep))], f"{name}.estimate")
    clean = g.clip(estimate, f"{name}.clean")
    kept = g.add("Mul", [clean, g.number(f"{name}.of_clean", of_clean)], f"{name}.kept")
    return g.add("Add", [kept, g.add("Mul", [z, g.number(f"{name}.of_z", of_z)], f"{name}.left")], f"{name}.state")


def add_scaling(g: GraphBuilder, normal: str, row: str, action: ActionSpec, mode_ids: Iterable[int]) -> None:
    """Clamped to ±1 and brought to physical units. Clamping may hide a NaN: adding one to unknown modes cannot."""
    half, middle = (action.high - action.low) / 2, (action.high + action.low) / 2
    scaled = g.add("Mul", [g.clip(normal, "action.clamped"), g.constant("action.half_range", half)], "action.scaled")
    table = g.constant("action.middle", mode_table(dict.fromkeys(mode_ids, middle)))
    g.add("Add", [scaled, g.add("Gather", [table, row], "action.offset")], "action")
