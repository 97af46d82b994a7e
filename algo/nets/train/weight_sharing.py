"""One set of weights for all policies: trained under random bit-widths, tested under every combination of them.

Policies with the same first layers share what those layers compute. Walking the tree of policies depth first, 6,561
policies of eight layers take the work of 9,840 layers instead of 52,488, and most of these are the small last ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from algo.nets.models.vgg8 import VGG8
from algo.nets.quantisation import quantised_layers, set_bits
from algo.nets.registry import naming_users_line
from algo.nets.train.sgd import StepInfo, train
from algo.nets.training_config import TrainingConfig
from algo.space.dimensions import ACTIVATION_BITS


def train_shared(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: TrainingConfig,
    epochs: int,
    choices: Sequence[Sequence[int]],
    seed: int,
    activation_bits: Sequence[int] | None = None,
) -> None:
    """Train a quantised network in place, every batch under bit-widths drawn evenly and independently for each layer.

    Args:
        model: a network that went through `quantise`.
        images, labels: to train on.
        config: the recipe; batch size, momentum and weight decay are those of retraining. The step size starts at
            its retraining value and falls along a cosine.
        epochs: passes over the images.
        choices: bit-widths that the weights of each layer may take.
        seed: of bit-widths and the order of images, 0..2^63-1.
        activation_bits: bit-width of each layer's activations, always the same; default 8.
    """
    counts, drawn = [len(known) for known in choices], np.random.default_rng(seed)
    activations = activation_bits or (ACTIVATION_BITS.usual,) * len(choices)

    def draw(step: StepInfo) -> None:
        bits = [known[place] for known, place in zip(choices, drawn.integers(counts), strict=True)]
        set_bits(step.model, bits, activations)

    generator = torch.Generator().manual_seed(seed)
    batch, rate, label = config.batch_size, config.learning_rate, "weights shared by all policies"
    train(model, images, labels, config, epochs, batch, rate, generator, "cosine", label, on_step=draw)


def stages(model: nn.Module) -> list[nn.Sequential]:
    """Cut a quantised network into a chain of parts with one quantised layer each, its modules themselves.

    Args:
        model: a `VGG8`, or an `nn.Sequential`, nested in any way.

    Raises:
        ValueError: naming the module whose inner order is unknown, or the layer that is used twice.
    """
    found: list[nn.Sequential] = [nn.Sequential()]
    layers = [layer for _, layer in quantised_layers(model)]
    seen: set[nn.Module] = set()
    for name, module in _chain("", model):
        if module in layers:
            if module in seen:
                raise ValueError(f"layer {name!r} is used twice: its two uses cannot have bit-widths of their own")
            seen.add(module)
            if len(seen) > 1:
                found.append(nn.Sequential())
        elif quantised_layers(module):
            raise ValueError(
                f"module {name!r} is a {type(module).__name__}, whose layers may be in any order: shared weights need "
                "a plain chain (nn.Sequential); take retrained ones for other networks"
            )
        if hasattr(module, "inplace"):
            vars(module)["inplace"] = False  # in place it would destroy what other policies still need
        found[-1].append(module)
    return found


def _chain(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, VGG8):
        yield from _chain("features", module.features)
        yield "flatten", nn.Flatten(1)
        yield from _chain("classifier", module.classifier)
    elif type(module) is nn.Sequential:
        for child, inner in module._modules.items():  # named_children() leaves out a second use
            assert inner is not None
            yield from _chain(f"{name}.{child}".lstrip("."), inner)
    else:
        yield name, module


@naming_users_line()
def right_answers(
    model: nn.Module,
    choices: Sequence[Sequence[int]],
    prefix: Sequence[int],
    calibration: Tensor,
    images: Tensor,
    labels: Tensor,
    activation_bits: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Test a network under every policy that begins with given bit-widths.

    For each policy the statistics of batch normalisation and the ranges of activations are those of the
    calibration images under that very policy, as one batch; no weight changes.

    Args:
        model: a network that went through `quantise`, on the device of the images; its statistics are lost.
        choices: bit-widths of each layer's weights.
        prefix: bit-widths of the first layers, any number of them.
        calibration: images to take statistics of, at least 2.
        images, labels: to test with.
        activation_bits: bit-width of each layer's activations under every policy; default 8.

    Returns:
        Number of images classified correctly, one for every combination of the layers after the prefix; the last
        layer's bit-width changes fastest.
    """
    parts = stages(model)
    activations = activation_bits or (ACTIVATION_BITS.usual,) * len(parts)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of one batch alone
    right: list[int] = []

    def walk(depth: int, calibration: Tensor, images: Tensor) -> None:
        if depth == len(parts):
            right.append(int((images.argmax(1) == labels).sum()))
            return
        part = parts[depth]
        [(_, layer)] = quantised_layers(part)
        layer.activation_bits = activations[depth]
        for bits in prefix[depth : depth + 1] or choices[depth]:
            layer.weight_bits = bits
            layer.seen.fill_(False)  # the next batch sets the range
            part.train()
            seen = part(calibration)
            part.eval()
            walk(depth + 1, seen, part(images))

    with torch.inference_mode():
        walk(0, calibration, images)
    return np.array(right)
