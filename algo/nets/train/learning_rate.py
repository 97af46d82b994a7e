"""How the step size of gradient descent falls over the steps of one training."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from algo.nets.training_config import LEARNING_RATE_SCHEDULES, LearningRateSchedule


def k_decay(step: int, steps: int, k: float) -> float:
    """Share of the first step size that is left in step ``step`` of ``steps`` under k-decay of a cosine.

    (1 + cos(pi · t^k / T^k)) / 2 with t = ``step`` and T = ``steps``: the cosine whose time variable is raised to
    the k-th power (T. Zhang, "k-decay: a new method for learning rate schedule", arXiv 2004.05909). 1 at the first
    step, 0 at t = T, which no step reaches; k = 1 is the cosine itself, a larger k keeps the step size up for
    longer, and it then falls more steeply.

    >>> [round(k_decay(t, 4, 1), 3) for t in range(4)], [round(k_decay(t, 4, 3), 3) for t in range(4)]
    ([1.0, 0.854, 0.5, 0.146], [1.0, 0.999, 0.962, 0.621])
    """
    return (1 + math.cos(math.pi * (step / steps) ** k)) / 2


def scheduler(
    optimiser: torch.optim.Optimizer, schedule: LearningRateSchedule, steps: int, k: float = 1.0
) -> LRScheduler | None:
    """Scheduler that changes the optimiser's step size after each of ``steps`` steps; ``None`` if it stays.

    Args:
        optimiser: with the first step size.
        schedule: ``constant``; ``cosine``, which falls to 0 along half a period; ``k-decay``, see `k_decay`.
        steps: number of steps, at least 1.
        k: power of k-decay, above 0; the other two ignore it.

    Raises:
        ValueError: for an unknown schedule.
    """
    if schedule == "constant":
        return None
    if schedule == "cosine":
        return CosineAnnealingLR(optimiser, steps)
    if schedule == "k-decay":
        return LambdaLR(optimiser, lambda step: k_decay(step, steps, k))
    raise ValueError(f"the schedule must be one of {', '.join(LEARNING_RATE_SCHEDULES)}, not {schedule!r}")
