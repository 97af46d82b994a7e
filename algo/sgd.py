"""Stochastic gradient descent as pre-training and retraining share it, reproducible from run to run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import deterministic
from tqdm import tqdm

_deterministic: Any = deterministic  # a module whose one setting is made by magic that no type checker sees
_TEST_BATCH = 512  # images tested at once; bounds memory, has no influence on results


@dataclass(frozen=True)
class TrainingConfig:
    """Recipe of pre-training and retraining: stochastic gradient descent with Nesterov momentum.

    Attributes:
        pretrain_epochs: passes over the training images in float32, at least 0.
        int8_epochs: passes after that with every layer at 8 bits (quantisation-aware), at least 1.
        pretrain_batch_size: images a step in pre-training, at least 2.
        pretrain_learning_rate: peak step size in float32, above 0; falls along a cosine to 0.
        int8_learning_rate: the same for the 8-bit passes.
        epochs_per_iteration: passes over the local training images for each policy (E_max), at least 1.
        batch_size: images a step in retraining, at least 2.
        learning_rate: constant step size in retraining, above 0.
        momentum: share of the last step kept in the next, 0 up to 1 exclusive; every call starts at rest.
        weight_decay: pull of all weights towards zero, at least 0.
        threads: CPU threads torch uses, at least 1. Results are the same from run to run for one number,
            not across numbers: sums are split differently. Two gain a quarter on two idle cores; on busy
            ones they wait for each other and may take ten times as long, hence the default of 1.

    Raises:
        ValueError: naming the field that is out of range.
    """

    pretrain_epochs: int = 6
    int8_epochs: int = 3
    pretrain_batch_size: int = 32
    pretrain_learning_rate: float = 0.05
    int8_learning_rate: float = 0.01
    epochs_per_iteration: int = 1
    batch_size: int = 100
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    threads: int = 1

    def __post_init__(self) -> None:
        minima = {"pretrain_epochs": 0, "int8_epochs": 1, "epochs_per_iteration": 1, "threads": 1}
        minima |= {"pretrain_batch_size": 2, "batch_size": 2}
        for name, minimum in minima.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < minimum:
                raise ValueError(f"{name} must be an integer of at least {minimum}, not {value!r}")
        for name in ("pretrain_learning_rate", "int8_learning_rate", "learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0 and finite, not {getattr(self, name)!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, not {self.momentum!r}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be at least 0 and finite, not {self.weight_decay!r}")


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: TrainingConfig,
    epochs: int,
    batch_size: int,
    rate: float,
    generator: torch.Generator,
    fall: bool = False,
    label: str = "",
) -> None:
    """Train in place.

    ``fall`` lets the step size fall along a cosine to nearly 0 over all steps; ``label`` names a progress
    bar, of which there is none without it or without a terminal.
    """
    optimiser = torch.optim.SGD(
        model.parameters(),
        rate,
        config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )
    steps = max(1, epochs * -(-len(images) // batch_size))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps) if fall else None
    model.train()
    with tqdm(total=steps, desc=label, unit="batch", leave=False, disable=None if label else True) as bar:
        for _ in range(epochs):
            for chosen in torch.randperm(len(images), generator=generator).split(batch_size):
                bar.update()
                if len(chosen) < 2:  # batch normalisation needs two images
                    continue
                optimiser.zero_grad(set_to_none=True)
                functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
                optimiser.step()
                if schedule:
                    schedule.step()


def accuracy_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Fraction of the images the model classifies rightly, 0..1."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for some, wanted in zip(images.split(_TEST_BATCH), labels.split(_TEST_BATCH), strict=True):
            right += int((model(some).argmax(1) == wanted).sum())
    return right / len(images)


@contextlib.contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Set torch to ``threads`` threads and deterministic kernels; put its settings back afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = _deterministic.fill_uninitialized_memory
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Filling memory that is about to be overwritten costs a tenth of the time and finds bugs in kernels only.
    _deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=warn)
        _deterministic.fill_uninitialized_memory = fill


def tensors(images: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """The arrays as tensors, images in the layout that convolutions on CPUs are faster in (channels last)."""
    given = torch.from_numpy(images)
    if given.dim() == 4:
        given = given.contiguous(memory_format=torch.channels_last)
    return given, torch.from_numpy(labels).long()
