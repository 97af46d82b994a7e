"""The network that a search found, trained on all images and quantised."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from algo.nas.config import ChoiceConfig
from algo.nas.network import Network, policy_of_bits, set_bits_found
from algo.nas.search import Diverged, check_finite
from algo.nets.quantisation import model_size_bytes
from algo.nets.train.augment import Change
from algo.nets.train.sgd import accuracy_of, train
from algo.nets.training_config import TrainingConfig

#: Step size of the epochs with the bits found, as a part of that of the epochs in float32.
QUANTISED_RATE = 0.2


@dataclass(frozen=True)
class Finished:
    """A network with the bits found.

    Attributes:
        network: quantised, in evaluation mode.
        accuracy: share of the test images classified rightly, 0..1.
        float_accuracy: the same before the bits were set.
        size_bytes: of all weights.
        seconds: that the training took.
    """

    network: nn.Module
    accuracy: float
    float_accuracy: float
    size_bytes: int
    seconds: float


def finish(
    network: Network,
    train_set: tuple[Tensor, Tensor],
    test_set: tuple[Tensor, Tensor],
    config: ChoiceConfig,
    batch_size: int,
    seed: int,
    change: Change | None = None,
    in_float32: Collection[int] = (),
) -> Finished:
    """Train a network in float32, set its bits, train on, and test it.

    Args:
        network: with the weights to begin with; it becomes the result.
        train_set, test_set: images and labels on the network's device.
        config: epochs and step size.
        batch_size: images per step.
        seed: of the order of the images.
        change: of the images of every step.
        in_float32: bit-widths that the device computes in float32.

    Raises:
        Diverged: if the weights are not finite numbers afterwards.
    """
    start = time.perf_counter()
    images, labels = train_set
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # trains faster
    recipe = TrainingConfig()
    generator = torch.Generator().manual_seed(seed)
    train(
        network, images, labels, recipe, config.tuning_epochs, batch_size, config.tuning_rate, generator, "cosine",
        "found network", change=change,
    )  # fmt: skip
    _check(network)
    float_accuracy = accuracy_of(network, *test_set)
    set_bits_found(network, in_float32)
    train(
        network, images, labels, recipe, config.quantised_epochs, batch_size, QUANTISED_RATE * config.tuning_rate,
        generator, "cosine", "quantised", change=change,
    )  # fmt: skip
    _check(network)
    accuracy = accuracy_of(network, *test_set)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    size = model_size_bytes(network, policy_of_bits(network).weight_bits)
    return Finished(network.eval(), accuracy, float_accuracy, size, time.perf_counter() - start)


def _check(network: Network) -> None:
    try:
        check_finite(network, "after the training of the network found")
    except Diverged as error:
        raise Diverged(f"{error}: try a lower --tuning-rate in a new folder") from None
