"""The one place that chooses where networks are trained: on a GPU that PyTorch can use, else on the CPU."""

from __future__ import annotations

import os

import torch

VARIABLE = "RLU_TORCH_DEVICE"


def training_device() -> torch.device:
    """The first GPU (CUDA or ROCm) if there is one, else the CPU; the variable RLU_TORCH_DEVICE overrides it.

    Results repeat from run to run on one kind of device, but not between kinds, because sums are split differently.

    Raises:
        ValueError: if the variable names no device that works here.
    """
    # Deterministic matrix products need this before the first one on a GPU; elsewhere it has no effect.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{VARIABLE}={wanted} is not a device that works here ({said}): leave it out, or choose cpu"
        ) from None
    return device
