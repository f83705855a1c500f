"""A policy file: ONNX graph and contract in one, checked against each other before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from ddiffpg.contract import CHECKSUM_KEY, METADATA_KEY, Contract, ContractError

UNCONDITIONAL = -1
DEFAULT_PROVIDERS = ("CPUExecutionProvider",)


class PolicyError(ValueError):
    """A policy file or the way it should be run is no good; says which file and why."""


class Policy:
    """A policy ready to act. ``contract`` is everything it says of itself; ``checked``: its file has a checksum,
    which was right."""

    def __init__(self, session: ort.InferenceSession, contract: Contract, checked: bool = False) -> None:
        self.contract, self.checked = contract, checked
        self._session = session
        self._known = frozenset((UNCONDITIONAL, *contract.mode_ids))

    @classmethod
    def load(cls, path: str | Path, providers: Sequence[str] = DEFAULT_PROVIDERS, threads: int = 1) -> Policy:
        """Load and check ``path``.

        Raises FileNotFoundError, PolicyError where the file is no policy or a provider is not there (none
        is ever replaced by another), ContractError naming the field where contract and graph disagree.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"policy file {path} does not exist")
        session = _open(path, tuple(providers), threads)
        said = session.get_modelmeta().custom_metadata_map
        text, digits = said.get(METADATA_KEY), said.get(CHECKSUM_KEY)
        if digits is not None and checksum(path.read_bytes(), digits) != digits:
            raise PolicyError(f"{path} is damaged: it does not have the checksum that it says; copy or export it again")
        if text is None:
            raise PolicyError(f"{path} is an ONNX file, but no policy: it has no metadata '{METADATA_KEY}'")
        contract = Contract.from_json(text)
        _check_graph(session, contract)
        return cls(session, contract, digits is not None)

    @property
    def providers(self) -> tuple[str, ...]:
        """What it runs on."""
        return tuple(self._session.get_providers())

    def draw_noise(self, rng: np.random.Generator, scale: float) -> np.ndarray:
        """``noise [Z]`` for one action: ``scale`` times a standard normal number each; in full for candidates beyond
        the first, which would be the first once more at 0."""
        contract = self.contract
        size = contract.noise_dim // contract.candidates
        first = scale * rng.standard_normal(size) if scale > 0 else np.zeros(size)
        return np.concatenate([first, rng.standard_normal(contract.noise_dim - size)]).astype(np.float32)

    def act(self, observation: np.ndarray, mode: int = UNCONDITIONAL, noise: np.ndarray | None = None) -> np.ndarray:
        """``observation [O]``, a mode's id or -1, ``noise [Z]`` (standard normal, None: zeros) -> ``action [A]``
        in physical units. As ``act_batch``."""
        noise = np.zeros(self.contract.noise_dim, np.float32) if noise is None else noise
        return self.act_batch(np.asarray(observation)[None], np.array([mode]), np.asarray(noise)[None])[0]

    def act_batch(self, observation: np.ndarray, mode: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """``observation [B, O]``, ``mode [B]``, ``noise [B, Z]`` -> ``action [B, A]`` (float32).

        A row whose observation or noise is not finite gives NaN: a net can turn NaN into a number. Raises
        ValueError for a wrong shape, KeyError for an unknown mode.
        """
        batch = len(observation)
        _check_shape("observation", observation, (batch, len(self.contract.observation)))
        _check_shape("mode", mode, (batch,))
        _check_shape("noise", noise, (batch, self.contract.noise_dim))
        for unknown in set(mode.tolist()) - self._known:
            self.contract.mode(unknown)
        inputs = {
            "observation": np.ascontiguousarray(observation, np.float32),
            "mode": np.ascontiguousarray(mode, np.int64),
            "noise": np.ascontiguousarray(noise, np.float32),
        }
        action = np.asarray(self._session.run(["action"], inputs)[0])
        usable = np.isfinite(inputs["observation"]).all(axis=1) & np.isfinite(inputs["noise"]).all(axis=1)
        return action if usable.all() else np.where(usable[:, None], action, np.float32(np.nan))

    def warm_up(self, runs: int = 20) -> None:
        """Run the net a few times, so that the first control tick takes no longer than the others."""
        for _ in range(runs):
            self.act(np.zeros(len(self.contract.observation), np.float32))


def checksum(content: bytes, digits: str) -> str:
    """SHA-256 (hex) of a policy file's ``content`` in which its own ``digits`` are zeros."""
    return hashlib.sha256(content.replace(digits.encode(), b"0" * len(digits))).hexdigest()


def _open(path: Path, providers: tuple[str, ...], threads: int) -> ort.InferenceSession:
    available = ort.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise PolicyError(f"execution provider '{provider}' is not available; there are {', '.join(available)}")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a spinning thread eats a core
    options.log_severity_level = 3  # what goes wrong is raised
    try:
        session = ort.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's errors share no narrower class
        raise PolicyError(f"{path} cannot be read as an ONNX policy: {error}") from error
    # It warns and falls back where a provider is there but cannot start.
    started = session.get_providers()
    if tuple(started[: len(providers)]) != providers:
        raise PolicyError(f"asked for {', '.join(providers)}, but could start only {', '.join(started)}")
    return session


def _check_graph(session: ort.InferenceSession, contract: Contract) -> None:
    """Names, types and sizes of the graph's inputs and output against the contract; ContractError where they differ."""
    expected = {
        "observation": ("tensor(float)", ("observation", len(contract.observation))),
        "mode": ("tensor(int64)", None),
        "noise": ("tensor(float)", ("noise_dim", contract.noise_dim)),
    }
    inputs = {node.name: node for node in session.get_inputs()}
    if set(inputs) != set(expected):
        raise ContractError("graph inputs", sorted(inputs), f"{sorted(expected)}")
    for name, (kind, size) in expected.items():
        _check_node(f"graph input '{name}'", inputs[name], kind, size)
    outputs = {node.name: node for node in session.get_outputs()}
    if "action" not in outputs:
        raise ContractError("graph outputs", sorted(outputs), "an output 'action'")
    _check_node("graph output 'action'", outputs["action"], "tensor(float)", ("action", len(contract.action)))


def _check_node(where: str, node: ort.NodeArg, kind: str, size: tuple[str, int] | None) -> None:
    shape = list(node.shape)
    if node.type != kind:
        raise ContractError(where, node.type, kind)
    if len(shape) != (1 if size is None else 2) or isinstance(shape[0], int):
        raise ContractError(where, shape, "a free batch dimension first" + ("" if size is None else ", then the size"))
    if size is not None and shape[1] != size[1]:
        raise ContractError(size[0], size[1], f"{shape[1]}, as the {where} has")


def _check_shape(name: str, value: np.ndarray, expected: tuple[int, ...]) -> None:
    if value.shape != expected:
        raise ValueError(f"{name} has shape {value.shape}: the policy takes {expected}")
