"""A network of the space: what a search finds, as a plain PyTorch module."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor, nn

from algo.nas.space import Architecture, Space
from algo.nets.models.mobilenetv2 import InvertedResidual, normalised
from algo.nets.quantisation import QuantisedConv2d, QuantisedLinear, Rounding, apply, quantise, weight_layers
from algo.space.policy import Policy

#: Bits of the weights of stem, head and last layer, which no search chooses.
END_BITS = 8


class Block(InvertedResidual):
    """A block that can round what it is given, and what it adds to that: see `set_bits_found`.

    Attributes:
        given, made: nothing, or a `Rounding`.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int = 3) -> None:
        super().__init__(inputs, outputs, stride, expansion, kernel)
        self.given: nn.Module = nn.Identity()
        self.made: nn.Module = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        images = self.given(images)
        made: Tensor = self.made(self.layers(images))
        return images + made if self.adds_input else made


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
                Block(block.inputs, block.outputs, block.stride, option.expansion, option.kernel)
                for block, option in zip(space.blocks((8, 8)), architecture, strict=True)
            )
        )
        self.head = nn.Sequential(*normalised(space.stages[-1].channels, space.head))
        self.features: nn.Module = nn.Identity()  # or a rounding of what the mean is taken of, and of the means
        self.means: nn.Module = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(space.head, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, height, width)."""
        features = self.features(self.head(self.blocks(self.stem(images))))
        means = self.means(features.mean((2, 3), keepdim=True)).flatten(1)
        logits: Tensor = self.classifier(self.dropout(means))
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


def set_bits_found(network: Network, in_float32: Collection[int] = ()) -> None:
    """Quantise a network in place, with the bits of its architecture, so that a device can compute it in integers.

    Layers round their input as usual. Besides, everything between layers of integers becomes integers: both parts of a
    sum, what the mean is taken of, and what goes from integers to float32. Blocks in float32 round weights alone.

    Args:
        network: not yet quantised.
        in_float32: bit-widths that the device computes in float32, such as `LatencyTable.in_float32`.
    """
    policy = policy_of_bits(network)
    quantise(network)
    apply(network, policy)
    network.features, network.means = _rounding(network, END_BITS), _rounding(network, END_BITS)
    assert isinstance(network.classifier, QuantisedLinear)
    network.classifier.rounds_input = False
    after_integers = True
    for block, option in zip(network.blocks, network.architecture, strict=True):
        assert isinstance(block, Block)
        integers = option.bits not in in_float32
        layers = [module for module in block.layers if isinstance(module, QuantisedConv2d)]
        if not integers:
            for layer in layers:
                layer.rounds_input = False
        if integers and block.adds_input:
            block.made = _rounding(network, option.bits)
        if (integers and block.adds_input) or (after_integers and not integers):
            block.given = _rounding(network, option.bits if integers else END_BITS)
            layers[0].rounds_input = False
        after_integers = integers


def _rounding(network: Network, weight_bits: int) -> Rounding:
    return Rounding(activation_bits(weight_bits)).to(network.classifier.weight.device)
