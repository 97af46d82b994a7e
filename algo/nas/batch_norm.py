"""Batch normalisation in a search: statistics of the batch while weights change, fresh averages to judge a network.

Averages that a search gathered on its way mix all the networks it went through, and suit none of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional


class PartBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose first channels can be used alone."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W) for any C up to all channels."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        channels, momentum = input.shape[1], self.momentum
        if self.training and momentum is None:  # the plain average of all batches
            self.num_batches_tracked.add_(1)
            momentum = 1.0 / float(self.num_batches_tracked)
        return functional.batch_norm(
            input,
            self.running_mean[:channels],
            self.running_var[:channels],
            self.weight[:channels],
            self.bias[:channels],
            self.training,
            momentum or 0.0,
            self.eps,
        )


def batches(values: Tensor, most: int) -> tuple[Tensor, ...]:
    """Images or labels in batches of at most ``most``, as even as can be: none is left with a single image."""
    return values.tensor_split(-(-len(values) // most))


def _layers(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@contextlib.contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """The model is in evaluation mode but normalises by the statistics of each batch; its averages stay the same."""
    modes = {module: module.training for module in model.modules()}
    layers = _layers(model)
    before = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def recalibrate(model: nn.Module, shown: Iterable[Tensor]) -> int:
    """Replace the averages by those of some batches, and leave the model in evaluation mode.

    Args:
        model: any; nothing but the averages changes.
        shown: batches of images (N, C, H, W), all of the same weight.

    Returns:
        Number of batches.

    Raises:
        ValueError: if there is no batch.
    """
    layers = _layers(model)
    before = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    count = 0
    try:
        for images in shown:
            model(images)
            count += 1
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
        model.eval()
    if not count:
        raise ValueError("batch normalisation needs at least one batch to take its averages from")
    return count
