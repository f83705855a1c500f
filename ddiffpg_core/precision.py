"""How exactly matrix products are worked out, and by which of torch's libraries."""

from __future__ import annotations

from functools import cache

import torch


def use(matmul: str, device: str) -> None:
    """Set how products of float32 are worked out in this process: ``float32`` in full, ``reduced`` in fewer bits.

    ``reduced`` is TF32 or bfloat16 inside the products, where the device has it and is faster with it.
    """
    on_cpu = torch.device(device).type == "cpu"
    medium = matmul == "reduced" or (on_cpu and medium_is_float32())
    torch.set_float32_matmul_precision("medium" if medium else "highest")


@cache
def medium_is_float32() -> bool:
    """Whether torch's precision "medium" is plain float32 on this CPU; found out by a product.

    It allows bfloat16, which torch uses on CPUs with AMX only. On others with AVX-512 it makes products the business
    of oneDNN in place of MKL, in full precision; on AMD's they take half of the time there.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 256, 256, generator=generator)
    exact = a.double() @ b.double()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        worst = (torch.bmm(a, b) - exact).abs().max()  # of numbers around 16: 1e-5 in float32, 0.2 in bfloat16
    finally:
        torch.set_float32_matmul_precision(before)
    return float(worst) < 1e-3
