"""The network that was found, trained on all training images: in float32 from the shared weights, then with its bits."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from algo.nas.config import NasConfig
from algo.nas.network import Network, policy_of_bits
from algo.nets.data.datasets import Dataset
from algo.nets.quantisation import apply, model_size_bytes, quantise
from algo.nets.train.device_choice import training_device
from algo.nets.train.sgd import accuracy_of, reproducible, tensors, train
from algo.nets.training_config import TrainingConfig
from algo.space.policy import Policy


@dataclass(frozen=True, eq=False)
class Finished:
    """A network that is ready.

    Attributes:
        network: quantised, on the CPU, in evaluation mode.
        policy: bits of its layers.
        accuracy: share of the test images that it classifies rightly, 0..1.
        float_accuracy: the same before its layers were quantised.
        size_bytes: of its weights.
    """

    network: nn.Module
    policy: Policy
    accuracy: float
    float_accuracy: float
    size_bytes: int


def finish(network: Network, dataset: Dataset, config: NasConfig) -> Finished:
    """Train a network and quantise it, which the project's own quantisers do: weights per channel, symmetric.

    Args:
        network: such as `SuperNet.extract` gives; it is left as it is.
        dataset: its training images are trained on, its test images only give the accuracies.
        config: the recipe, and the seed.

    Raises:
        ValueError: if training diverges.
    """
    recipe, learning, device = config.finish, config.learning, training_device()
    training = TrainingConfig(momentum=learning.momentum, weight_decay=learning.weight_decay, threads=learning.threads)
    with reproducible(learning.threads, device), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        model = copy.deepcopy(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images, labels = tensors(dataset.train_images, dataset.train_labels, device)
        tests = tensors(dataset.test_images, dataset.test_labels, device)

        def trained(epochs: int, rate: float, label: str) -> float:
            batch = recipe.finish_batch_size
            train(model, images, labels, training, epochs, batch, rate, generator, "cosine", label)
            if not all(bool(value.isfinite().all()) for value in model.parameters()):
                raise ValueError(f"training of the network ({label}) diverged: take a rate below {rate:g}")
            return accuracy_of(model, *tests)

        float_accuracy = trained(recipe.finish_epochs, recipe.finish_rate, "network, float32")
        quantise(model)
        policy = policy_of_bits(model)
        apply(model, policy)
        accuracy = trained(recipe.quantised_epochs, recipe.quantised_rate, "network, quantised")
    size = model_size_bytes(model, policy.weight_bits)
    return Finished(model.cpu().eval(), policy, accuracy, float_accuracy, size)
