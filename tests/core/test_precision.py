"""Products are as exact as was asked for, whichever library works them out."""

from __future__ import annotations

import pytest
import torch

from ddiffpg_core import precision


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def error(shape: tuple[int, ...], width: int) -> float:
    """The largest error of a product of standard normal numbers, relative to the largest result."""
    torch.manual_seed(0)
    a, b = torch.randn(*shape), torch.randn(*shape[:-2], shape[-1], width)
    exact = a.double() @ b.double()
    return float((a @ b - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("shape", [(12, 170, 53), (1700, 128), (3, 64, 512), (7, 5)])
@pytest.mark.parametrize("width", [1, 51, 256])
def test_float32_is_float32(shape, width):
    precision.use("float32", "cpu")
    assert error(shape, width) < 1e-6


def test_reduced_allows_fewer_bits_and_no_less_than_bfloat16():
    precision.use("reduced", "cpu")
    assert torch.get_float32_matmul_precision() == "medium"
    assert error((12, 170, 53), 128) < 0.02


def test_on_a_gpu_float32_means_that_nothing_is_reduced():
    precision.use("float32", "cuda")
    assert torch.get_float32_matmul_precision() == "highest"


def test_finding_out_changes_nothing():
    torch.set_float32_matmul_precision("high")
    precision.medium_is_float32.cache_clear()
    precision.medium_is_float32()
    assert torch.get_float32_matmul_precision() == "high"
