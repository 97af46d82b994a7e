"""What ranks options and networks in the end, on images that no weight learned from.

The size of a logit does not rank options (Wang et al., "Rethinking architecture selection in differentiable NAS", ICLR
2021); the loss with each of them does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from algo.nas.batch_norm import batch_statistics, recalibrate
from algo.nas.halves import Halves
from algo.nas.latency_table import Floats
from algo.nas.space import Architecture
from algo.nas.supernet import Single, SuperNet

#: Images that options are scored by, and networks judged by, at most.
SCORED, JUDGED = 2048, 5120
_BATCH = 256  # statistics of small batches would blur what is compared


def learned_scores(supernet: SuperNet) -> Floats:
    """The logarithms of the probabilities at temperature 1: (blocks, options) in the order of `Space.options`."""
    paths, bits = supernet.theta.detach().log_softmax(1), supernet.phi.detach().log_softmax(1)
    return (paths[:, :, None] + bits[:, None, :]).flatten(1).cpu().double().numpy()


@torch.no_grad()
def measured_scores(supernet: SuperNet, halves: Halves, images: int = SCORED) -> Floats:
    """How much lower the loss is with each option of a block than with the mixture, all other blocks as they are.

    Args:
        supernet: after the search.
        halves: whose second half gives the loss.
        images: how many of it at most.

    Returns:
        Cross-entropy (blocks, options), above 0 where an option is better; options in the order of `Space.options`.
    """
    blocks, options = supernet.superblocks, supernet.space.options
    batches = _batches(halves.valid_images[:images], halves.valid_labels[:images])
    lost = torch.zeros(len(blocks), len(options), dtype=torch.float64)
    usual = 0.0
    steps = len(batches) * len(blocks)
    with batch_statistics(supernet), tqdm(total=steps, desc="scores", leave=False, disable=None) as bar:
        choices = supernet.choices()

        def loss(values: Tensor, start: int, labels: Tensor) -> float:
            for block, choice in zip(blocks[start:], choices[start:], strict=True):
                values = block(values, choice)
            return float(functional.cross_entropy(supernet.after_blocks(values), labels, reduction="sum"))

        for some, labels in batches:
            values = supernet.before_blocks(some)
            usual += loss(values, 0, labels)
            for number, block in enumerate(blocks):
                for place, option in enumerate(options):
                    single = Single(supernet.space.paths.index(option[:2]), option.bits)
                    lost[number, place] += loss(block(values, single), number + 1, labels)
                values = block(values, choices[number])
                bar.update()
    return ((usual - lost) / sum(len(labels) for _, labels in batches)).numpy()


def accuracy(supernet: SuperNet, halves: Halves) -> float:
    """Share of (some) images of the second half that the mixture classifies rightly, by statistics of each batch."""
    with batch_statistics(supernet):
        return _right(supernet, halves)


@dataclass(frozen=True)
class Judged:
    """A network of the space with the shared weights as they are.

    Attributes:
        accuracy: on the second half, 0..1.
        mixture: of the mixture, from which the network was chosen.
    """

    accuracy: float
    mixture: float

    @property
    def gap(self) -> float:
        """How much is lost from mixture to network."""
        return self.mixture - self.accuracy


def judged(
    supernet: SuperNet, architecture: Architecture, halves: Halves, batches: int = 50, batch_size: int = 64
) -> Judged:
    """Test a network of the space; its averages of batch normalisation stay in the super-network, for `extract`.

    Args:
        supernet: after the search.
        architecture: the network.
        halves: the first gives the averages, the second the accuracy.
        batches: to take new averages from; 0 keeps those that were gathered in the search.
        batch_size: images of each.
    """
    mixture = accuracy(supernet, halves)
    with supernet.fixed(architecture):
        if batches:
            recalibrate(supernet, halves.train_images[: batches * batch_size].split(batch_size))
        return Judged(_right(supernet.eval(), halves), mixture)


def collapse(architecture: Architecture) -> str | None:
    """What all blocks have in common, in words, if it is everything: such a choice is suspicious; else ``None``."""
    if len(architecture) < 2 or len(set(architecture)) > 1:
        return None
    return f"all {len(architecture)} blocks chose {architecture[0]}: the choices may have collapsed"


def entropy(probabilities: Tensor) -> float:
    """Mean entropy of rows of probabilities, 0 (all decided) to 1 (all uniform); 0 where there is no choice."""
    count = probabilities.shape[1]
    if count < 2:
        return 0.0
    rows = -(probabilities * probabilities.clamp_min(1e-30).log()).sum(1)
    return float(rows.mean()) / float(np.log(count))


def _batches(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(_BATCH), labels.split(_BATCH), strict=True))


@torch.no_grad()
def _right(supernet: SuperNet, halves: Halves) -> float:
    images, labels = halves.valid_images[:JUDGED], halves.valid_labels[:JUDGED]
    right = [(supernet(some).argmax(1) == wanted).sum() for some, wanted in _batches(images, labels)]
    return int(torch.stack(right).sum()) / len(labels)
