"""The training images in two halves: one that weights learn from, one that they never see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algo.nets.data.datasets import Dataset
from algo.nets.train.sgd import tensors


def halved(labels: NDArray[np.int64], classes: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of the images of either half, in random order; each class is halved, an odd image goes to the first.

    Args:
        labels: (N,), each 0..classes-1.
        classes: how many, all of which must be in both halves.
        seed: of the draw.

    Raises:
        ValueError: naming the classes that have fewer than two images.
    """
    counts = np.bincount(labels, minlength=classes)
    if few := np.flatnonzero(counts < 2).tolist():
        raise ValueError(
            f"{'class' if len(few) == 1 else 'classes'} {', '.join(map(str, few[:10]))} would be missing from the "
            "validation half: every class needs at least 2 training images"
        )
    draw = np.random.default_rng((seed, 0))
    parts = [draw.permutation(np.flatnonzero(labels == label)) for label in range(classes)]
    first = np.concatenate([part[: (len(part) + 1) // 2] for part in parts])
    second = np.concatenate([part[(len(part) + 1) // 2 :] for part in parts])
    return draw.permutation(first), draw.permutation(second)


@dataclass(frozen=True, eq=False)
class Halves:
    """Images (N, C, H, W) and labels (N,) of both halves, on the device where the search runs.

    Attributes:
        train_images, train_labels: what weights learn from.
        valid_images, valid_labels: what networks and options are judged by, in random order.
        classes: how many.
    """

    train_images: Tensor
    train_labels: Tensor
    valid_images: Tensor
    valid_labels: Tensor
    classes: int

    @classmethod
    def of(cls, dataset: Dataset, seed: int, device: torch.device | None = None) -> Halves:
        """The halves of a data set's training images; raises ValueError as `halved`."""
        parts = [
            tensors(dataset.train_images[half], dataset.train_labels[half], device)
            for half in halved(dataset.train_labels, dataset.classes, seed)
        ]
        return cls(*parts[0], *parts[1], dataset.classes)

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width
