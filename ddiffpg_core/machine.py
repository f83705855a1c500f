"""What a run ran on, for those who compare seconds."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch


def machine(device: str) -> dict[str, Any]:
    """Processor, cores that this process may use, and torch's ``device``; nothing that names this one machine."""
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {"architecture": platform.machine(), "processor": _processor(Path("/proc/cpuinfo")),
            "cores": len(os.sched_getaffinity(0)), "device": device, "gpu": gpu}


def _processor(cpuinfo: Path) -> str | None:
    """The model's name as Linux on x86-64 has it; None elsewhere."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
