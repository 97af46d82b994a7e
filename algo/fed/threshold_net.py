"""The super-network of FAQS: one super-kernel and one 16-bit weight a block, and thresholds that say what is used.

Chapter 4. A block is MBConv with a 5x5 kernel and the largest expansion. Each indicator s = [id > 0] with
id = ||part||^2 - t decides over a part of it, and trains with a sigmoid's gradient:

| indicator | part | keeps |
| --- | --- | --- |
| k5 | rim of the 5x5 kernels | 5x5, else 3x3 |
| e3 | first half of the channels | the block, else its input goes on as it is |
| e6 | second half of the channels | expansion 6, else 3 |
| b8 | bits 5 to 8 of the weights | 8 bits or more, else 4 |
| b16 | bits 9 to 16 | 16 bits, else 8 |

The publication leaves open what a norm is compared with. Here each is divided by what it is in the fresh network with
the same kernel (for bits, by what uniform rounding gives), so a threshold of 1 is about the norm of the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from algo.fed.slices import Floats, Layout, Places, Slice
from algo.nas.batch_norm import PartBatchNorm
from algo.nas.space import Block, Option, Space
from algo.nas.superblocks import rounded

#: Names of a block's indicators, in the order of its thresholds.
INDICATORS = ("k5", "e3", "e6", "b8", "b16")
#: Bits of the stem, the head and the last layer, as in `algo.nas.network`.
_END_BITS = 8
_WIDTHS = (4, 8, 16)


class _Indicator(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return (value > 0).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        [value] = ctx.saved_tensors
        slope = torch.sigmoid(value)
        return gradients[0] * slope * (1 - slope)


def indicator(value: Tensor, relaxed: bool = False) -> Tensor:
    """1 where a value is above 0, else 0; the gradient is a sigmoid's. ``relaxed`` computes the sigmoid itself."""
    return torch.sigmoid(value) if relaxed else cast(Tensor, _Indicator.apply(value))


def bit_parts(weight: Tensor, used: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """A weight of 16 bits in three parts, whose sums are its value at 4, at 8 and at 16 bits.

    The code is round(Norm(w), 16) with Norm(w) = (w - w_min) / (w_max - w_min). Its first 4 and its first 8 bits say an
    interval each, and the value is the middle of it.

    Args:
        weight: any shape.
        used: the values that the range is taken of; others are clipped to it. ``None`` for all.

    Returns:
        Value at 4 bits, what bits 5 to 8 add, and what bits 9 to 16 add; the first has the gradient of the weight.
    """
    with torch.no_grad():
        known = weight if used is None else used
        low, high = known.amin(), known.amax()
        spread = (high - low).clamp_min(1e-12)
        code = ((weight - low) / spread * (2**16 - 1)).round_().clamp_(0, 2**16 - 1)
        values = [low + spread * (torch.floor(code / 2 ** (16 - bits)) + 0.5) / 2**bits for bits in _WIDTHS[:2]]
        values.append(low + spread * code / (2**16 - 1))
    through = weight - weight.detach()
    return values[0] + through, values[1] - values[0], values[2] - values[1]


class Chosen(NamedTuple):
    """Indicators of a block, each 0 or 1 with a gradient: shapes ()."""

    k5: Tensor
    e3: Tensor
    e6: Tensor
    b8: Tensor
    b16: Tensor


class ThresholdBlock(nn.Module):
    """A block of the super-network; its input is added to what it makes where shapes are the same.

    Args:
        block: where it stands.
        space: its kernels and expansions, two of each, and the bits 4, 8, 16.

    Attributes:
        thresholds: (5,), in the order of `INDICATORS`.
        norms: (2, 3); with 3x3 and with 5x5 kernels, squares of the fresh rim and of both halves of the channels.
    """

    norms: Tensor
    rim: Tensor

    def __init__(self, block: Block, space: Space) -> None:
        super().__init__()
        self.block = block
        self.kernels, self.expansions = space.kernels, space.expansions
        side, between = space.kernels[1], block.inputs * space.expansions[1]
        self.narrow = block.inputs * space.expansions[0]
        self.expand = nn.Parameter(torch.empty(between, block.inputs, 1, 1))
        self.depthwise = nn.Parameter(torch.empty(between, 1, side, side))
        self.project = nn.Parameter(torch.empty(block.outputs, between, 1, 1))
        for weight in (self.expand, self.depthwise, self.project):
            nn.init.kaiming_uniform_(weight, a=5**0.5)  # as nn.Conv2d: with normalisation, larger weights learn slower
        self.expand_norm, self.depthwise_norm = PartBatchNorm(between), PartBatchNorm(between)
        self.project_norm = PartBatchNorm(block.outputs)
        self.thresholds = nn.Parameter(torch.full((len(INDICATORS),), 0.5))
        edge = (side - space.kernels[0]) // 2
        rim = torch.ones(side, side)
        rim[edge : side - edge, edge : side - edge] = 0
        self.register_buffer("rim", rim, persistent=False)
        self.register_buffer("norms", torch.empty(2, 3))
        self.measure()

    def measure(self) -> None:
        """Take the weights of now as the fresh network's."""
        kernels = torch.zeros_like(self.rim[0, 0]), torch.ones_like(self.rim[0, 0])
        with torch.no_grad():
            self.norms.copy_(torch.stack([torch.stack(self._squares(used)) for used in kernels]))

    def chosen(self, relaxed: bool = False) -> Chosen:
        """The indicators of now."""
        k5 = indicator(self._squares(None)[0] / self.norms[1, 0] - self.thresholds[0], relaxed)
        _, first, second = self._squares(k5)
        _, first_norm, second_norm = torch.lerp(self.norms[0], self.norms[1], k5)
        e3 = indicator(first / first_norm - self.thresholds[1], relaxed)
        if not self.block.adds_input:  # nothing else makes its output
            e3 = torch.ones_like(k5)
        e6 = indicator(second / second_norm - self.thresholds[2], relaxed)
        squares = self._squares_of_bits()
        b8, b16 = (
            indicator(own - threshold, relaxed) for own, threshold in zip(squares, self.thresholds[3:], strict=True)
        )
        return Chosen(k5, e3, e6, b8, b16)

    def forward(self, values: Tensor, chosen: Chosen) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        expand, depthwise, project = self.rounded(chosen)
        made = functional.relu6(self.expand_norm(functional.conv2d(values, expand)), inplace=True)
        made = functional.conv2d(
            made, depthwise, None, self.block.stride, depthwise.shape[-1] // 2, groups=len(depthwise)
        )
        made = functional.relu6(self.depthwise_norm(made), inplace=True)
        first = functional.conv2d(made[:, : self.narrow], project[:, : self.narrow])
        second = functional.conv2d(made[:, self.narrow :], project[:, self.narrow :])
        made = chosen.e3 * self.project_norm(first + chosen.e6 * second)
        found: Tensor = made + values if self.block.adds_input else made
        return found

    def rounded(self, chosen: Chosen) -> tuple[Tensor, Tensor, Tensor]:
        """The weights with their bits; ranges are those of the part that is used, but all is rounded."""
        k5, _, e6, b8, b16 = chosen
        side = self.depthwise.shape[-1]
        edge = 0 if k5 > 0.5 else (side - self.kernels[0]) // 2
        middle = slice(edge, side - edge)
        channels = slice(None if e6 > 0.5 else self.narrow)
        expand, depthwise, project = (
            _of_bits(bit_parts(weight, weight[used]), b8, b16)
            for weight, used in (
                (self.expand, (channels,)),
                (self.depthwise, (channels, slice(None), middle, middle)),
                (self.project, (slice(None), channels)),
            )
        )
        return expand, depthwise * (1 - self.rim) + k5 * (depthwise * self.rim), project

    def option(self) -> Option | None:
        """What the thresholds choose now; ``None`` if the block is skipped."""
        with torch.no_grad():
            k5, e3, e6, b8, b16 = (bool(one) for one in self.chosen())
        if not e3:
            return None
        return Option(self.kernels[k5], self.expansions[e6], 16 if b8 and b16 else 8 if b8 else 4)

    def _squares(self, k5: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Squares of the rim, and of the first and second half of the channels of the kernel that is used."""
        squares = self.depthwise.square()
        rim = (squares * self.rim).sum()
        if k5 is None:
            return rim, rim, rim
        used = squares * (1 - self.rim) + k5 * (squares * self.rim)
        return rim, used[: self.narrow].sum(), used[self.narrow :].sum()

    def _squares_of_bits(self) -> tuple[Tensor, Tensor]:
        """Squares of bits 5 to 8 and 9 to 16 of all weights, over what uniform rounding gives."""
        sums = [torch.zeros((), device=self.expand.device) for _ in range(2)]
        wanted = [0.0, 0.0]
        for weight in (self.expand, self.depthwise, self.project):
            spread = float((weight.detach().amax() - weight.detach().amin()).clamp_min(1e-12))
            for number, part in enumerate(bit_parts(weight)[1:]):
                sums[number] = sums[number] + part.square().sum()
                wanted[number] += weight.numel() * (spread / 2 ** _WIDTHS[number]) ** 2 / 12
        return sums[0] / wanted[0], sums[1] / wanted[1]


def _of_bits(parts: tuple[Tensor, Tensor, Tensor], b8: Tensor, b16: Tensor) -> Tensor:
    four, eight, sixteen = parts
    return four + b8 * (eight + b16 * sixteen)


class ThresholdNet(nn.Module):
    """The super-network: stem, blocks, head and last layer, as `algo.nas.supernet.SuperNet` has them.

    Args:
        space: two kernels, two expansions, bits 4, 8 and 16.
        image: channels, height and width.
        classes: how many.

    Input: float32 (N, channels, height, width). Output: logits (N, classes).

    Raises:
        ValueError: for another space.
    """

    def __init__(self, space: Space, image: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        if len(space.kernels) != 2 or len(space.expansions) != 2 or space.bits != _WIDTHS:
            raise ValueError(
                f"a super-network with thresholds needs two kernels, two expansions and the bits 4, 8, 16; space "
                f"{space.name} has {list(space.kernels)}, {list(space.expansions)} and {list(space.bits)}"
            )
        self.space, self.image, self.classes = space, image, classes
        blocks = space.blocks(image[1:])
        self.stem = nn.Conv2d(image[0], space.stem, 3, space.stem_stride, 1, bias=False)
        self.stem_norm = PartBatchNorm(space.stem)
        self.blocks = nn.ModuleList(ThresholdBlock(block, space) for block in blocks)
        self.head = nn.Conv2d(blocks[-1].outputs, space.head, 1, bias=False)
        self.head_norm = PartBatchNorm(space.head)
        self.last = nn.Linear(space.head, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, height, width)."""
        values = functional.conv2d(images, rounded(self.stem.weight, _END_BITS), None, self.space.stem_stride, 1)
        values = values.contiguous(memory_format=torch.channels_last)
        values = functional.relu6(self.stem_norm(values), inplace=True)
        for block, chosen in zip(self.threshold_blocks(), self.chosen(), strict=True):
            values = block(values, chosen)
        values = functional.conv2d(values, rounded(self.head.weight, _END_BITS))
        values = functional.relu6(self.head_norm(values), inplace=True).mean((2, 3))
        return functional.linear(values, rounded(self.last.weight, _END_BITS), self.last.bias)

    def measure(self) -> None:
        """Take the weights of now as the fresh network's, which thresholds compare with."""
        for block in self.threshold_blocks():
            block.measure()

    def threshold_blocks(self) -> list[ThresholdBlock]:
        """The blocks."""
        return [block for block in self.blocks if isinstance(block, ThresholdBlock)]

    def chosen(self, relaxed: bool = False) -> list[Chosen]:
        """The indicators of every block; see `indicator`."""
        return [block.chosen(relaxed) for block in self.threshold_blocks()]

    def thresholds(self) -> list[nn.Parameter]:
        """What decides between the options."""
        return [block.thresholds for block in self.threshold_blocks()]

    def weights(self) -> list[nn.Parameter]:
        """All other parameters."""
        return [value for name, value in self.named_parameters() if not name.endswith("thresholds")]

    def options(self) -> list[Option | None]:
        """What the thresholds choose now; ``None`` for a block that is skipped."""
        return [block.option() for block in self.threshold_blocks()]

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Indicators as probabilities: of the paths (blocks, paths), all 0 where skipped, and of the bits."""
        paths, bits = [], []
        for k5, e3, e6, b8, b16 in self.chosen():
            paths.append(torch.stack([e3 * kernel * half for kernel in (1 - k5, k5) for half in (1 - e6, e6)]))
            bits.append(torch.stack([1 - b8, b8 * (1 - b16), b8 * b16]))
        return torch.stack(paths), torch.stack(bits)


def layout_of(network: ThresholdNet) -> Layout:
    """The slices of a super-network, in the order of its parameters; thresholds are none of them.

    A block's slices are named by what needs them: ``e3`` and ``e6`` the halves of the channels, ``k3`` and ``k5`` the
    middle and the rim of kernels, such as ``k5e6``; ``all`` is what every option uses that does not skip the block.
    """
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters() if not name.endswith("thresholds")}
    found = []
    for name, shape in shapes.items():
        for part, mask in _parts(network, name, shape).items():
            found.append(Slice(name, part, np.flatnonzero(mask)))
    return Layout(shapes, found)


def _parts(network: ThresholdNet, name: str, shape: tuple[int, ...]) -> dict[str, Places]:
    whole = np.ones(shape, bool)
    words = name.split(".")
    if words[0] != "blocks" or words[2] == "project_norm":
        return {"all": whole}
    block = network.threshold_blocks()[int(words[1])]
    first = np.zeros(shape, bool)
    first[(slice(None), slice(block.narrow)) if words[2] == "project" else slice(block.narrow)] = True
    halves = {"e3": first, "e6": ~first}
    if words[2] != "depthwise":
        return halves
    rim = block.rim.bool().cpu().numpy()
    return {
        f"{kernel}{half}": mask & part for kernel, part in (("k3", ~rim), ("k5", rim)) for half, mask in halves.items()
    }


def held_slices(layout: Layout, options: Sequence[Option | None], space: Space) -> list[int]:
    """The numbers of the slices that a network of these options uses."""
    found = []
    for number, one in enumerate(layout.slices):
        words = one.tensor.split(".")
        if words[0] != "blocks":
            found.append(number)
            continue
        option = options[int(words[1])]
        if option is None:
            continue
        large = {"k5": option.kernel == space.kernels[1], "e6": option.expansion == space.expansions[1]}
        if all(large[part] for part in large if part in one.name):
            found.append(number)
    return found


def tensors_of(network: nn.Module, layout: Layout) -> dict[str, Floats]:
    """The layout's tensors of a network, as arrays of their own."""
    known = dict(network.named_parameters())
    return {name: known[name].detach().cpu().numpy().astype(np.float32).copy(order="C") for name in layout.shapes}
