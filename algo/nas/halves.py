"""The two halves of the training images: one to learn from, one to judge with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def halves(
    labels: NDArray[np.int64], classes: int, seed: int, at_most: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the images of each half; each class is split evenly, the first half gets the odd one.

    Args:
        labels: (N,), 0..classes-1.
        classes: number of classes.
        seed: of the order.
        at_most: images in all, drawn first; ``None`` for all.

    Returns:
        Two rising arrays that have no number in common.

    Raises:
        ValueError: naming a class of which a half has no image.
    """
    rng = np.random.default_rng(seed)
    drawn = np.arange(len(labels)) if at_most is None else np.sort(rng.permutation(len(labels))[:at_most])
    first, second = [], []
    for label in range(classes):
        own = rng.permutation(drawn[labels[drawn] == label])
        if len(own) < 2:
            raise ValueError(
                f"class {label} has {len(own)} of the {len(drawn)} images to train on, and each half needs one: add "
                "images of it, or raise --train-images"
            )
        middle = (len(own) + 1) // 2
        first.append(own[:middle])
        second.append(own[middle:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
