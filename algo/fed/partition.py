"""Who has which images: a partition that gives every client other shares of the classes.

Latent Dirichlet allocation, as in chapter 4 (Hsu et al., arXiv 1909.06335): for every class, the clients' shares are
drawn from Dir(alpha, ..., alpha). A small alpha gives each client few classes; a large one gives all clients the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

#: Draws before a partition is given up.
MOST_DRAWS = 1000


@dataclass(frozen=True)
class Share:
    """The images of one client, by their numbers, rising.

    Attributes:
        train, test: numbers in the training images and in the test images. Both have the same shares of the classes, so
            a client is tested on what it meets.
    """

    train: Numbers
    test: Numbers


class PartitionError(ValueError):
    """No partition keeps the rule; the message says what was asked for and what to change."""


def partition(
    train_labels: Numbers,
    test_labels: Numbers,
    clients: int,
    alpha: float,
    seed: int,
    least: int = 20,
    train_images: int | None = None,
    test_images: int | None = None,
) -> list[Share]:
    """Images of every client; each image has one client.

    The rule for clients with too few images: the whole partition is drawn again, from the same generator, until every
    client has at least ``least`` images to train on and one to test with.

    Args:
        train_labels, test_labels: of all images, 0..classes-1.
        clients: how many, at least 1.
        alpha: of the Dirichlet distribution, above 0.
        seed: of all draws.
        least: images that every client has to train on, at least 1.
        train_images, test_images: images to deal out, drawn first; ``None`` for all.

    Raises:
        PartitionError: if there are too few images for all, or no draw keeps the rule.
    """
    if clients < 1 or least < 1 or not (np.isfinite(alpha) and alpha > 0):
        raise PartitionError(
            f"a partition needs at least 1 client, 1 image each and an alpha above 0, not {clients} clients, {least} "
            f"images and alpha {alpha:g}"
        )
    rng = np.random.default_rng(seed)
    dealt = _drawn(rng, len(train_labels), train_images)
    tested = _drawn(rng, len(test_labels), test_images)
    if len(dealt) < clients * least or len(tested) < clients:
        raise PartitionError(
            f"{len(dealt)} images to train on and {len(tested)} to test with are too few for {clients} clients "
            f"with at least {least} and 1 each: take fewer clients, or more images"
        )
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    parts = dealt, tested
    orders = [
        [rng.permutation(numbers[labels[numbers] == label]) for label in range(classes)]
        for numbers, labels in zip(parts, (train_labels, test_labels), strict=True)
    ]
    most = 0
    for _ in range(MOST_DRAWS):
        shares = rng.dirichlet(np.full(clients, alpha), classes)
        found = [Share(*(_own(order, shares, client) for order in orders)) for client in range(clients)]
        fewest = min(len(one.train) for one in found)
        if fewest >= least and all(len(one.test) for one in found):
            return found
        most = max(most, fewest)
    raise PartitionError(
        f"none of {MOST_DRAWS} partitions of {len(dealt)} images among {clients} clients with alpha {alpha:g} gives "
        f"every client {least} images; at best the smallest had {most}: take a larger alpha, or fewer clients"
    )


def _drawn(rng: np.random.Generator, count: int, at_most: int | None) -> Numbers:
    """Numbers from 0 to a count, rising: all, or as many as the limit, drawn at random."""
    return np.arange(count) if at_most is None else np.sort(rng.permutation(count)[:at_most])


def _own(order: Sequence[Numbers], shares: NDArray[np.float64], client: int) -> Numbers:
    """The numbers of a client's images; borders between clients are the rounded sums of their shares."""
    found = []
    for numbers, share in zip(order, shares, strict=True):
        borders = np.rint(np.concatenate([[0.0], np.cumsum(share)]) * len(numbers)).astype(int)
        found.append(numbers[borders[client] : borders[client + 1]])
    return np.sort(np.concatenate(found))
