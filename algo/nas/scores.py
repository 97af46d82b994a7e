"""Which option of a block is worth how much, and how good a network is before it is trained further."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from algo.nas.batch_norm import batch_statistics, batches, recalibrate
from algo.nas.latency_table import Floats
from algo.nas.space import Architecture, Space
from algo.nas.supernet import SuperNet

#: Images of a batch that scores are measured on: enough for its statistics.
_BATCH = 250


@torch.no_grad()
def measured_scores(network: SuperNet, images: Tensor, labels: Tensor) -> Floats:
    """How the loss of the mixed network changes when a block is one of its options, for every block and option.

    Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, measure in the same way what is
    lost without an option.

    Args:
        network: searched.
        images, labels: of the validation half.

    Returns:
        (blocks, options), minus the cross-entropy with the option, less that of the mixed network: higher is better.
    """
    paths, bits = network.probabilities()
    space = network.space
    scores = np.zeros((space.block_count, len(space.options)))
    mixed = _loss(network, images, labels)
    with tqdm(total=scores.size, unit="option", desc="scores", disable=None, file=sys.stderr, leave=False) as bar:
        for block in range(space.block_count):
            for number, option in enumerate(space.options):
                forced_paths, forced_bits = paths.clone(), bits.clone()
                forced_paths[block], forced_bits[block] = 0, 0
                forced_paths[block, space.paths.index(option[:2])] = 1
                forced_bits[block, space.bits.index(option.bits)] = 1
                with network.set_probabilities(forced_paths, forced_bits):
                    scores[block, number] = mixed - _loss(network, images, labels)
                bar.update()
    return scores


@torch.no_grad()
def learned_scores(network: SuperNet) -> Floats:
    """The logarithm of each option's probability, (blocks, options)."""
    paths, bits = (part.double().clamp_min(1e-12).log() for part in network.probabilities())
    scores: Floats = (paths[:, :, None] + bits[:, None, :]).flatten(1).cpu().numpy()
    return scores


def probabilities_of(network: SuperNet) -> tuple[Floats, Floats]:
    """Probabilities of paths (blocks, paths) and bits (blocks, bits)."""
    with torch.no_grad():
        paths, bits = network.probabilities()
        return paths.double().cpu().numpy(), bits.double().cpu().numpy()


@torch.no_grad()
def judged(
    network: SuperNet, architecture: Architecture, learned: Tensor, images: Tensor, labels: Tensor, most: int
) -> float:
    """Accuracy of one network with the weights of the search, after its batch statistics are taken again, 0..1.

    Args:
        network: searched; the averages of its batch normalisation change.
        architecture: of the network.
        learned: images that statistics are taken from.
        images, labels: to classify.
        most: batches of statistics, at most.
    """
    with network.fixed(architecture):
        recalibrate(network, batches(learned, _BATCH)[:most])
        right = sum(
            int((network(some).argmax(1) == wanted).sum())
            for some, wanted in zip(batches(images, _BATCH), batches(labels, _BATCH), strict=True)
        )
    return right / len(images)


def collapsed(space: Space, architecture: Architecture) -> str | None:
    """A sentence about what all blocks have in common; ``None`` if they differ.

    A search that chooses the same everywhere has often learnt nothing.
    """
    names = ("kernel", "expansion", "bits")
    choices = (space.kernels, space.expansions, space.bits)
    same = [
        f"{name} {option}"
        for name, known, options in zip(names, choices, zip(*architecture, strict=True), strict=True)
        for option, count in Counter(options).items()
        if count == len(architecture) > 1 and len(known) > 1
    ]
    return f"all blocks have {', '.join(same)}" if len(same) == sum(len(known) > 1 for known in choices) else None


def _loss(network: SuperNet, images: Tensor, labels: Tensor) -> float:
    with batch_statistics(network):
        total = sum(
            float(functional.cross_entropy(network(some), wanted, reduction="sum"))
            for some, wanted in zip(batches(images, _BATCH), batches(labels, _BATCH), strict=True)
        )
    return total / len(images)
