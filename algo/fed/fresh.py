"""The fresh network of a run: drawn from the seed by integers, so that every device has the same to the last bit.

PyTorch's own generator gives other last bits on other processors, and differences need equal references at both ends.
Number i of a run, from 0, is the highest 24 bits of SplitMix64's output i (Steele et al., OOPSLA 2014) of the seed.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from numpy.typing import NDArray

from algo.fed.learners import Learner
from algo.fed.slices import Floats
from algo.fed.threshold_net import ThresholdNet, tensors_of

_GAMMA, _FIRST, _SECOND = (np.uint64(one) for one in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def begin(learner: Learner, seed: int) -> None:
    """Give a learner the fresh network of a seed, and its layout a digest that is of these values, too.

    Tensors are drawn in the order of the layout. One of more than one dimension, (outputs, ...), is uniform within
    1 / sqrt(values an output) of 0, as PyTorch draws a convolution's. Biases are 0. Weights of normalisation, and what
    decides between options, are as they were made.

    Args:
        learner: whose network is changed.
        seed: 0..2^64 - 1.
    """
    layout = learner.layout
    kept = {id(one) for one in learner.choices()}
    parameters = dict(learner.network.named_parameters())
    values, done = tensors_of(learner.network, layout), 0
    for name, shape in layout.shapes.items():
        if id(parameters[name]) in kept:
            continue
        if len(shape) > 1:
            count = math.prod(shape)
            bound = np.float32(1 / math.sqrt(math.prod(shape[1:])))
            values[name] = (bound * (2 * drawn(seed, done, count) - np.float32(1))).reshape(shape)
            done += count
        elif name.endswith("bias"):
            values[name] = np.zeros(shape, np.float32)
    with torch.no_grad():
        for name, own in values.items():
            parameters[name].copy_(torch.from_numpy(own))
    if isinstance(learner.network, ThresholdNet):
        learner.network.measure()
    content = hashlib.sha256()
    for own in layout.of(range(len(layout.slices)), values):
        content.update(own.astype("<f4").tobytes())
    learner.layout = layout.begun(content.digest())


def drawn(seed: int, start: int, count: int) -> Floats:
    """Numbers ``start`` to ``start + count - 1`` of a seed: multiples of 2^-24 in 0..1, without 1."""
    state: NDArray[np.uint64] = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    state = np.uint64(seed) + state * _GAMMA
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    state ^= state >> np.uint64(31)
    return (state >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
