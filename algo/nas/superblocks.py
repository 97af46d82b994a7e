"""Blocks that are all their options at once.

A block's probabilities are those of its paths, which are a kernel and an expansion each, and those of its bits. Weights
are fake-quantised as published: r = S(q - Z), per tensor, from the smallest to the largest weight, with an exact level
for zero. Inside a path they are the sum of their quantised versions, weighted by the probabilities of the bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from algo.nas.batch_norm import PartBatchNorm
from algo.nas.space import Block


def fake_quantised(weights: Tensor, widths: Sequence[int]) -> Tensor:
    """Weights rounded to each of some bit-widths, uniform and asymmetric.

    q = round(r/S + Z), S = (r_max - r_min) / (q_max - q_min), Z = round(q_max - r_max/S), where q_min = 0; the range is
    widened to contain zero, which then is exact.

    Args:
        weights: (tensors, values), each row a tensor with a range of its own.
        widths: bits.

    Returns:
        (tensors, widths, values), without gradient.
    """
    with torch.no_grad():
        high = weights.amax(1).clamp_min(0).view(-1, 1, 1)
        low = weights.amin(1).clamp_max(0).view(-1, 1, 1)
        most = torch.tensor([2.0**bits - 1 for bits in widths], device=weights.device).view(1, -1, 1)
        step = ((high - low) / most).clamp_min(1e-12)
        zero = (most - high / step).round_()
        levels = (weights.unsqueeze(1) / step).round_()  # counted from that of zero: sums with it would lose digits
        return torch.minimum(torch.maximum(levels, -zero, out=levels), most - zero, out=levels).mul_(step)


class _Mix(torch.autograd.Function):
    """Sum of masked, quantised versions; rounding passes gradients straight through."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, shares: Tensor, masks: Tensor | None, widths: Sequence[int]) -> Tensor:
        flat = weight.reshape(1, -1)
        versions = fake_quantised(flat if masks is None else flat * masks, widths).flatten(0, 1)
        ctx.save_for_backward(versions, shares, masks)
        return (shares.flatten() @ versions).view(weight.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        versions, shares, masks = ctx.saved_tensors
        shape = gradients[0].shape
        gradient = gradients[0].reshape(-1)
        parts = shares.sum(1)
        of_weight = gradient * (parts if masks is None else parts @ masks)
        of_shares = (versions @ gradient).view_as(shares) if ctx.needs_input_grad[1] else None
        return of_weight.view(shape), of_shares, None, None


def mixed(weight: Tensor, shares: Tensor, masks: Tensor | None, widths: Sequence[int]) -> Tensor:
    """The sum over parts of a weight and bit-widths of ``shares`` · quantised part.

    Args:
        weight: any shape.
        shares: (parts, widths).
        masks: (parts, values), 1 where a part has the weight and 0 elsewhere; ``None`` for the whole as the only part.
        widths: bits.
    """
    return cast(Tensor, _Mix.apply(weight, shares, masks, widths))


def rounded(weight: Tensor, bits: int) -> Tensor:
    """A weight quantised as a whole; its gradient is the identity."""
    return mixed(weight, weight.new_ones(1, 1), None, (bits,))


class SuperKernel(nn.Module):
    """A block with one set of weights for all its paths: small kernels and expansions are parts of the largest.

    All options together are one network, whose weights are the sum over options of masked, quantised weights times
    probability. So they take about the time and memory of the largest option.

    Args:
        block: where it stands.
        kernels, expansions, widths: to choose from, rising; paths are kernel-major.
    """

    expand_masks: Tensor | None
    depthwise_masks: Tensor | None
    project_masks: Tensor | None

    def __init__(self, block: Block, kernels: Sequence[int], expansions: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.block, self.widths = block, tuple(widths)
        self.paths = tuple((kernel, expansion) for kernel in kernels for expansion in expansions)
        side, between = kernels[-1], block.inputs * expansions[-1]
        self.expand = nn.Parameter(torch.empty(between, block.inputs, 1, 1))
        self.depthwise = nn.Parameter(torch.empty(between, 1, side, side))
        self.project = nn.Parameter(torch.empty(block.outputs, between, 1, 1))
        for weight in self.parameters():
            nn.init.kaiming_normal_(weight)
        self.expand_norm, self.depthwise_norm = PartBatchNorm(between), PartBatchNorm(between)
        self.project_norm = PartBatchNorm(block.outputs)
        for name, _ in self.layers():
            # Kernels do not matter to the layers without any.
            paths = self.paths if name == "depthwise" else self.paths[: len(expansions)]
            masks = torch.zeros(len(paths), *getattr(self, name).shape)
            for mask, path in zip(masks, paths, strict=True):
                mask[self.part(name, *path)] = 1
            self.register_buffer(f"{name}_masks", masks.flatten(1) if len(self.paths) > 1 else None, persistent=False)

    def layers(self) -> list[tuple[str, PartBatchNorm]]:
        """Name of each weight in order, and the batch normalisation after it."""
        norms = (self.expand_norm, self.depthwise_norm, self.project_norm)
        return list(zip(("expand", "depthwise", "project"), norms, strict=True))

    def part(self, name: str, kernel: int, expansion: int) -> tuple[slice, ...]:
        """Where the weights of one path are in ``expand``, ``depthwise`` or ``project``."""
        channels = slice(self.block.inputs * expansion)
        if name == "expand":
            return (channels,)
        if name == "project":
            return (slice(None), channels)
        edge = (self.depthwise.shape[-1] - kernel) // 2
        middle = slice(edge, edge + kernel)
        return (channels, slice(None), middle, middle)

    def mixed(self, values: Tensor, paths: Tensor, bits: Tensor) -> Tensor:
        """The network whose weights are the sum of all options'; (N, inputs, H, W) to (N, outputs, H', W')."""
        whole = paths[:, None] * bits  # a path and bits
        expansions = 1 if self.expand_masks is None else len(self.expand_masks)
        shares = whole.view(-1, expansions, len(bits)).sum(0)  # an expansion and bits
        return self._run(
            values,
            mixed(self.expand, shares, self.expand_masks, self.widths),
            mixed(self.depthwise, whole, self.depthwise_masks, self.widths),
            mixed(self.project, shares, self.project_masks, self.widths),
        )

    def single(self, values: Tensor, path: int, bits: int) -> Tensor:
        """The network of one path, rounded to some bits."""
        return self._run(values, *(rounded(self.weight(name, path), bits) for name, _ in self.layers()))

    def weight(self, name: str, path: int) -> Tensor:
        """One path's part of ``expand``, ``depthwise`` or ``project``."""
        whole: Tensor = getattr(self, name)
        return whole[self.part(name, *self.paths[path])]

    def _run(self, values: Tensor, expand: Tensor, depthwise: Tensor, project: Tensor) -> Tensor:
        values = functional.relu6(self.expand_norm(functional.conv2d(values, expand)), inplace=True)
        values = functional.conv2d(
            values, depthwise, None, self.block.stride, depthwise.shape[-1] // 2, groups=len(depthwise)
        )
        values = functional.relu6(self.depthwise_norm(values), inplace=True)
        normalised: Tensor = self.project_norm(functional.conv2d(values, project))
        return normalised
