"""What a run ran on, for those who compare seconds."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def machine(device: str) -> dict[str, Any]:
    """The host and torch's ``device``; nothing that names this one machine."""
    return {**host(), "device": device, "gpu": _gpu(device) if device.startswith("cuda") else None}


def host() -> dict[str, Any]:
    """Processor (its architecture where its name is not known), and the cores that this process may use."""
    architecture = platform.machine()
    return {"architecture": architecture, "processor": _processor(Path("/proc/cpuinfo")) or architecture,
            "cores": len(os.sched_getaffinity(0))}  # fmt: skip


def _gpu(device: str) -> str:
    import torch  # what tells the host alone needs none

    return torch.cuda.get_device_name(device)


def _processor(cpuinfo: Path) -> str | None:
    """The model's name as Linux on x86-64 has it; None elsewhere."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
