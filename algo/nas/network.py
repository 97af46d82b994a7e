"""A network of the space: what a search finds, as a plain PyTorch module."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from algo.nas.space import Architecture, Space
from algo.nets.models.mobilenetv2 import InvertedResidual, normalised
from algo.nets.quantisation import weight_layers
from algo.space.policy import Policy

#: Bits of the weights of stem, head and last layer, which no search chooses.
END_BITS = 8


class Network(nn.Module):
    """The network of an architecture, in float32: `algo.nets.quantisation.quantise` gives its layers their bits.

    Args:
        space: its stem, stages and head.
        architecture: kernel, expansion and bits of every block.
        channels: of an image.
        classes: number of classes.
        dropout: share of the features before the last layer that training sets to 0, 0 up to 1 exclusive.

    Input: float32 (N, channels, H, W). Output: float32 logits (N, classes).
    """

    def __init__(
        self, space: Space, architecture: Architecture, channels: int, classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.space, self.architecture = space, space.checked(architecture)
        self.stem = nn.Sequential(*normalised(channels, space.stem, 3, space.stem_stride))
        self.blocks = nn.Sequential(
            *(
                InvertedResidual(block.inputs, block.outputs, block.stride, option.expansion, option.kernel)
                for block, option in zip(space.blocks((8, 8)), architecture, strict=True)
            )
        )
        self.head = nn.Sequential(*normalised(space.stages[-1].channels, space.head))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(space.head, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, height, width)."""
        features = self.head(self.blocks(self.stem(images))).mean((2, 3))
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


def builder(
    space: Space, architecture: Architecture, channels: int, classes: int, dropout: float = 0.0
) -> Callable[[], nn.Module]:
    """A function that makes the network."""
    return lambda: Network(space, architecture, channels, classes, dropout)


def block_of_layer(network: Network) -> list[int | None]:
    """For every layer, in the order of a policy, the number of its block; ``None`` for stem, head and last layer."""
    return [int(name.split(".")[1]) if name.startswith("blocks.") else None for name, _ in weight_layers(network)]


def activation_bits(weight_bits: int) -> int:
    """Bits of a layer's input in the network found: 8, and 16 for weights of more than 8 bits, as published."""
    return 8 if weight_bits <= 8 else 16


def policy_of_bits(network: Network) -> Policy:
    """The policy of a network's layers: the bits of its architecture, and `activation_bits`."""
    weights = [END_BITS if number is None else network.architecture[number].bits for number in block_of_layer(network)]
    return Policy(weights, [activation_bits(bits) for bits in weights])
