"""Learning is tested on one thread, so that results are the same on every machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
