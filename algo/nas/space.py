"""What HQNAS chooses from: a network of inverted residual blocks, and for each block a kernel, an expansion and bits.

The published spaces (HQNAS, section 3.4) are presets; any other is a `Space` of one's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Option(NamedTuple):
    """What is chosen for a block.

    Attributes:
        kernel: side of its convolution within channels, in pixels.
        expansion: its inner channels, as a multiple of its input channels.
        bits: of its weights.
    """

    kernel: int
    expansion: int
    bits: int

    def __str__(self) -> str:
        return f"k{self.kernel} e{self.expansion} {self.bits} bits"


#: An option for every block, in order.
Architecture = tuple[Option, ...]


@dataclass(frozen=True)
class Stage:
    """Blocks with the same output channels.

    Attributes:
        channels: output channels of each block.
        blocks: how many, at least 1.
        stride: of the first block; 2 halves the image's sides. The others have 1.
    """

    channels: int
    blocks: int
    stride: int = 1


@dataclass(frozen=True)
class Block:
    """Where a block stands: what does not depend on the choice.

    Attributes:
        name: stage and block, counted from 1, such as ``2.1``.
        inputs, outputs: channels.
        stride: 1 or 2.
        size: height and width of its input in pixels.
    """

    name: str
    inputs: int
    outputs: int
    stride: int
    size: tuple[int, int]

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of its output in pixels."""
        return halved(self.size, self.stride)

    @property
    def adds_input(self) -> bool:
        """Whether the input is added to the result, for both have the same shape."""
        return self.stride == 1 and self.inputs == self.outputs


@dataclass(frozen=True)
class Space:
    """All networks that a search chooses from.

    A network is a 3x3 convolution (the stem), the blocks, a 1x1 convolution (the head), the mean over the image, and
    one fully connected layer. Stem, head and the last layer are the same in all networks, and have 8 bits.

    Attributes:
        name: for messages and reports.
        stem: output channels of the stem.
        stem_stride: 1 or 2.
        stages: in order, at least one.
        head: output channels of the head.
        kernels, expansions, bits: what a block chooses from, rising.

    Raises:
        ValueError: naming what may not have its value.
    """

    name: str
    stem: int
    stem_stride: int
    stages: tuple[Stage, ...]
    head: int
    kernels: tuple[int, ...] = (3, 5)
    expansions: tuple[int, ...] = (3, 6)
    bits: tuple[int, ...] = (4, 8, 16)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"space {self.name} has no stages: give at least one")
        counts = {"stem": self.stem, "head": self.head}
        for number, stage in enumerate(self.stages, 1):
            counts |= {f"channels of stage {number}": stage.channels, f"blocks of stage {number}": stage.blocks}
        for what, count in counts.items():
            if count < 1:
                raise ValueError(f"space {self.name}: {what} must be at least 1, not {count}")
        strides = {"stem_stride": self.stem_stride}
        strides |= {f"stride of stage {number}": stage.stride for number, stage in enumerate(self.stages, 1)}
        for what, stride in strides.items():
            if stride not in (1, 2):
                raise ValueError(f"space {self.name}: {what} must be 1 or 2, not {stride}")
        for what, values in (("kernels", self.kernels), ("expansions", self.expansions), ("bits", self.bits)):
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"space {self.name}: {what} must rise, and there must be one, not {list(values)}")
        if bad := [kernel for kernel in self.kernels if kernel % 2 == 0 or not 1 <= kernel <= 7]:
            raise ValueError(f"space {self.name}: kernels must be 1, 3, 5 or 7, not {bad[0]}")
        if self.expansions[0] < 1:
            raise ValueError(f"space {self.name}: expansions must be at least 1, not {self.expansions[0]}")
        if bad := [bits for bits in self.bits if not 2 <= bits <= 16]:
            raise ValueError(f"space {self.name}: bits must be in 2..16, not {bad[0]}")

    @property
    def paths(self) -> tuple[tuple[int, int], ...]:
        """Kernel and expansion of each path of a block, in the order of theta."""
        return tuple(itertools.product(self.kernels, self.expansions))

    @property
    def options(self) -> tuple[Option, ...]:
        """All options of a block: the bits change fastest, then the expansion."""
        return tuple(Option(*path, bits) for path in self.paths for bits in self.bits)

    @property
    def block_count(self) -> int:
        """How many blocks a network has."""
        return sum(stage.blocks for stage in self.stages)

    @property
    def architectures(self) -> int:
        """How many networks there are to choose from, bit-widths left out."""
        return int(len(self.paths) ** self.block_count)

    @property
    def bit_policies(self) -> int:
        """How many ways to choose the bit-widths there are for each architecture."""
        return int(len(self.bits) ** self.block_count)

    def blocks(self, size: tuple[int, int]) -> tuple[Block, ...]:
        """Every block for images of this height and width in pixels."""
        found, inputs, size = [], self.stem, halved(size, self.stem_stride)
        for number, stage in enumerate(self.stages, 1):
            for place in range(stage.blocks):
                block = Block(f"{number}.{place + 1}", inputs, stage.channels, 1 if place else stage.stride, size)
                found.append(block)
                inputs, size = stage.channels, block.output_size
        return tuple(found)

    def same(self, option: Option) -> Architecture:
        """The architecture that chooses this option everywhere."""
        return self.checked([option] * self.block_count)

    def checked(self, options: Iterable[Sequence[int]]) -> Architecture:
        """Options as an architecture of this space.

        Raises:
            ValueError: for another number of blocks, or naming the block whose option is not of this space.
        """
        found = tuple(Option(*option) for option in options)
        if len(found) != self.block_count:
            raise ValueError(f"space {self.name} has {self.block_count} blocks, not {len(found)}")
        for number, option in enumerate(found, 1):
            if option not in self.options:
                allowed = "; ".join(map(str, self.options))
                raise ValueError(f"block {number} cannot have {option}: space {self.name} has {allowed}")
        return found


def halved(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width after a convolution that keeps the size at stride 1."""
    return (size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1


def _published(name: str, stem_stride: int, stages: Sequence[tuple[int, int, int]]) -> Space:
    return Space(name, 32, stem_stride, tuple(Stage(*stage) for stage in stages), 1280)


#: Spaces by name. The published text gives numbers of stages and blocks, but not channels and strides: those are
#: MobileNetV2's (Sandler et al., CVPR 2018, table 2), for 32x32 images with its early strides of 1.
SPACES: dict[str, Space] = {
    space.name: space
    for space in (
        _published("cifar10", 1, [(16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 2), (96, 1, 1)]),
        _published(
            "imagenet",
            2,
            [(16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (96, 4, 1), (160, 4, 2), (320, 1, 1)],
        ),
        Space("small", 16, 2, (Stage(16, 1), Stage(24, 2, 2), Stage(48, 2, 2), Stage(96, 1)), 384),
        Space("tiny", 8, 2, (Stage(8, 1), Stage(12, 2, 2), Stage(16, 1)), 64),
    )
}


def space_named(name: str) -> Space:
    """The space with this name; raises ValueError, which lists all names, if there is none."""
    if name not in SPACES:
        raise ValueError(f"unknown space {name!r}: the spaces are {', '.join(SPACES)}")
    return SPACES[name]
