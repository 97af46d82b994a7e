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

The publication leaves open what a norm is compared with. Here each is divided by what it is in the fresh network (for
bits, by what uniform rounding gives), so a threshold of 1 is about the norm of the start.
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


def bit_parts(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A weight of 16 bits in three parts, whose sums are its value at 4, at 8 and at 16 bits.

    The code is round(Norm(w), 16) with Norm(w) = (w - w_min) / (w_max - w_min). Its first 4 and its first 8 bits say an
    interval each, and the value is the middle of it.

    Args:
        weight: any shape.

    Returns:
        Value at 4 bits, what bits 5 to 8 add, and what bits 9 to 16 add; the first has the gradient of the weight.
    """
    with torch.no_grad():
        low, high = weight.amin(), weight.amax()
        spread = (high - low).clamp_min(1e-12)
        code = ((weight - low) / spread * (2**16 - 1)).round_()
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
    """

    norms: Tensor

    def __init__(self, block: Block, space: Space) -> None:
        super().__init__()
        self.block = block
        self.kernels, self.expansions = space.kernels, space.expansions
        side, between = space.kernels[1], block.inputs * space.expansions[1]
        self.half = block.inputs * space.expansions[0]
        self.expand = nn.Parameter(torch.empty(between, block.inputs, 1, 1))
        self.depthwise = nn.Parameter(torch.empty(between, 1, side, side))
        self.project = nn.Parameter(torch.empty(block.outputs, between, 1, 1))
        for weight in (self.expand, self.depthwise, self.project):
            nn.init.kaiming_normal_(weight)
        self.expand_norm, self.depthwise_norm = PartBatchNorm(between), PartBatchNorm(between)
        self.project_norm = PartBatchNorm(block.outputs)
        self.thresholds = nn.Parameter(torch.full((len(INDICATORS),), 0.5))
        edge = (side - space.kernels[0]) // 2
        rim = torch.ones(side, side)
        rim[edge : side - edge, edge : side - edge] = 0
        self.register_buffer("rim", rim, persistent=False)
        self.register_buffer("norms", torch.stack(self._squares(torch.ones(()))).detach())

    def chosen(self, relaxed: bool = False) -> Chosen:
        """The indicators of now."""
        k5 = indicator(self._squares(None)[0] / self.norms[0] - self.thresholds[0], relaxed)
        _, first, second = self._squares(k5)
        e3 = indicator(first / self.norms[1] - self.thresholds[1], relaxed)
        if not self.block.adds_input:  # nothing else makes its output
            e3 = torch.ones_like(k5)
        e6 = indicator(second / self.norms[2] - self.thresholds[2], relaxed)
        squares = self._squares_of_bits()
        b8, b16 = (
            indicator(own - threshold, relaxed) for own, threshold in zip(squares, self.thresholds[3:], strict=True)
        )
        return Chosen(k5, e3, e6, b8, b16)

    def forward(self, values: Tensor, chosen: Chosen) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        k5, e3, e6, b8, b16 = chosen
        kernel = self.depthwise * (1 - self.rim) + k5 * (self.depthwise * self.rim)
        expand, depthwise, project = (self._of_bits(one, b8, b16) for one in (self.expand, kernel, self.project))
        depthwise = depthwise * (1 - self.rim) + k5 * (depthwise * self.rim)  # rounding has moved the zeros
        made = functional.relu6(self.expand_norm(functional.conv2d(values, expand)), inplace=True)
        made = functional.conv2d(
            made, depthwise, None, self.block.stride, depthwise.shape[-1] // 2, groups=len(depthwise)
        )
        made = functional.relu6(self.depthwise_norm(made), inplace=True)
        first, second = functional.conv2d(made[:, : self.half], project[:, : self.half]), None
        second = functional.conv2d(made[:, self.half :], project[:, self.half :])
        made = e3 * self.project_norm(first + e6 * second)
        return made + values if self.block.adds_input else made

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
        return rim, used[: self.half].sum(), used[self.half :].sum()

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

    @staticmethod
    def _of_bits(weight: Tensor, b8: Tensor, b16: Tensor) -> Tensor:
        four, eight, sixteen = bit_parts(weight)
        return four + b8 * (eight + b16 * sixteen)
