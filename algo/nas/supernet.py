"""The super-network: every network of a space in one, with what decides between them as parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from algo.nas.batch_norm import PartBatchNorm
from algo.nas.config import PATHS, Paths
from algo.nas.network import END_BITS, Network
from algo.nas.space import Architecture, Block, Space
from algo.nas.superblocks import SuperKernel, rounded


class Mixture(NamedTuple):
    """All options of a block, weighted by probabilities (paths,) and (bits,)."""

    paths: Tensor
    bits: Tensor


class Single(NamedTuple):
    """One option of a block: the number of its path, its bits, and what multiplies the result, if anything."""

    path: int
    bits: int
    scale: Tensor | None = None


class SuperBlock(nn.Module):
    """A block of the super-network; its input is added to what it makes where shapes are the same.

    Args:
        block: where it stands.
        space: what it chooses from.
        own: whether each path has weights of its own.
    """

    def __init__(self, block: Block, space: Space, own: bool) -> None:
        super().__init__()
        self.block = block
        parts = [((kernel,), (expansion,)) for kernel, expansion in space.paths]
        whole = [(space.kernels, space.expansions)]
        self.kernels = nn.ModuleList(SuperKernel(block, *part, space.bits) for part in (parts if own else whole))

    def forward(self, values: Tensor, choice: Mixture | Single) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        made = self._mixed(values, *choice) if isinstance(choice, Mixture) else self._single(values, *choice)
        return made + values if self.block.adds_input else made

    def of_path(self, path: int) -> tuple[SuperKernel, int]:
        """The weights that have a path, and the path's number there."""
        shared = len(self.kernels) == 1
        kernel = self.kernels[0 if shared else path]
        assert isinstance(kernel, SuperKernel)
        return kernel, path if shared else 0

    def _mixed(self, values: Tensor, paths: Tensor, bits: Tensor) -> Tensor:
        kernels = [kernel for kernel in self.kernels if isinstance(kernel, SuperKernel)]
        if len(kernels) == 1:
            return kernels[0].mixed(values, paths, bits)
        made = [
            share * kernel.mixed(values, paths.new_ones(1), bits)
            for share, kernel in zip(paths, kernels, strict=True)
            if share.requires_grad or share > 0
        ]
        total: Tensor = sum(made[1:], made[0])  # a stack would lose the order of values in memory
        return total

    def _single(self, values: Tensor, path: int, bits: int, scale: Tensor | None) -> Tensor:
        kernel, place = self.of_path(path)
        made = kernel.single(values, place, bits)
        return made if scale is None else made * scale


class SuperNet(nn.Module):
    """Every network of a space in one.

    In training it computes what ``paths`` says. In evaluation mode it computes the mixture of all options, but with
    ``single`` the network of the most probable ones. Probabilities are the softmax of ``theta`` and ``phi`` over
    ``temperature``.

    Args:
        space: what to choose from.
        image: channels, height and width.
        classes: how many.
        paths: see `algo.nas.config.PATHS`.
        bits_lead: by how much the logit of a bit-width is above that of the next lower one at the start, so that early
            noise does not choose the lowest.

    Attributes:
        theta: logits (blocks, paths). phi: logits (blocks, bits).
        temperature: above 0; towards 0 the probabilities become one choice.
        noise: whether training computes random mixtures, which are the nearer to one network the lower the temperature,
            so that the weights learn to be one. Without, a mixture may be right and every network in it wrong.
        dropout: module before the last layer.

    Input: float32 (N, channels, height, width). Output: logits (N, classes).
    """

    def __init__(
        self, space: Space, image: tuple[int, int, int], classes: int, paths: Paths = "shared", bits_lead: float = 0.0
    ) -> None:
        super().__init__()
        if paths not in PATHS:
            raise ValueError(f"paths must be one of {', '.join(PATHS)}, not {paths!r}")
        if space.expansions[0] < 2:
            raise ValueError(
                f"space {space.name} has expansion 1, which leaves out a convolution that the others have: the "
                "super-network needs expansions of at least 2"
            )
        self.space, self.image, self.classes, self.paths = space, image, classes, paths
        self.temperature, self.noise = 1.0, False
        blocks = space.blocks(image[1:])
        self.stem = nn.Conv2d(image[0], space.stem, 3, space.stem_stride, 1, bias=False)
        self.stem_norm = PartBatchNorm(space.stem)
        self.blocks = nn.ModuleList(SuperBlock(block, space, paths == "multi") for block in blocks)
        self.head = nn.Conv2d(blocks[-1].outputs, space.head, 1, bias=False)
        self.head_norm = PartBatchNorm(space.head)
        self.dropout = nn.Dropout(0.0)
        self.last = nn.Linear(space.head, classes)
        self.theta = nn.Parameter(torch.zeros(len(blocks), len(space.paths)))
        self.phi = nn.Parameter(bits_lead * torch.arange(len(space.bits)).repeat(len(blocks), 1))
        self._given: tuple[Tensor, Tensor] | None = None
        self._fixed: list[Single] | None = None

    def arch_parameters(self) -> list[nn.Parameter]:
        """What decides between the options."""
        return [self.theta, self.phi]

    def weight_parameters(self) -> list[nn.Parameter]:
        """All other parameters."""
        return [value for name, value in self.named_parameters() if name not in ("theta", "phi")]

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Of the paths (blocks, paths) and of the bit-widths (blocks, bits)."""
        if self._given:
            return self._given
        return (self.theta / self.temperature).softmax(1), (self.phi / self.temperature).softmax(1)

    @contextlib.contextmanager
    def set_probabilities(self, paths: Tensor, bits: Tensor) -> Iterator[None]:
        """Compute with these probabilities, shapes as of `probabilities`, while this lasts."""
        before, self._given = self._given, (paths, bits)
        try:
            yield
        finally:
            self._given = before

    @contextlib.contextmanager
    def fixed(self, architecture: Architecture) -> Iterator[None]:
        """Compute one network of the space, with the shared weights, while this lasts; raises ValueError for others."""
        before, self._fixed = self._fixed, self._singles(architecture)
        try:
            yield
        finally:
            self._fixed = before

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, height, width)."""
        stem = rounded(self.stem.weight, END_BITS)
        values = functional.conv2d(images, stem, None, self.space.stem_stride, 1)
        # All that follows is twice as fast in this order, which images of one channel do not impose.
        values = values.contiguous(memory_format=torch.channels_last)
        values = functional.relu6(self.stem_norm(values), inplace=True)
        for block, choice in zip(self._superblocks(), self._choices(), strict=True):
            values = block(values, choice)
        values = functional.conv2d(values, rounded(self.head.weight, END_BITS))
        values = functional.relu6(self.head_norm(values), inplace=True).mean((2, 3))
        return functional.linear(self.dropout(values), rounded(self.last.weight, END_BITS), self.last.bias)

    def extract(self, architecture: Architecture) -> Network:
        """One network of the space with the shared weights, in float32, and the averages of batch normalisation."""
        with torch.random.fork_rng(devices=()):
            network = Network(self.space, architecture, self.image[0], self.classes)
        ours: list[tuple[Tensor, nn.BatchNorm2d]] = [(self.stem.weight, self.stem_norm)]
        for block, (path, _, _) in zip(self._superblocks(), self._singles(architecture), strict=True):
            kernel, place = block.of_path(path)
            ours += [(kernel.weight(name, place), norm) for name, norm in kernel.layers()]
        ours.append((self.head.weight, self.head_norm))
        network.to(self.theta.device)
        layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for (weight, norm), layer, other in zip(ours, layers, norms, strict=True):
            _copy(weight, layer.weight)
            for name in ("weight", "bias", "running_mean", "running_var"):
                _copy(getattr(norm, name)[: other.num_features], getattr(other, name))
        network.classifier.load_state_dict(self.last.state_dict())
        return network

    def _superblocks(self) -> list[SuperBlock]:
        return [block for block in self.blocks if isinstance(block, SuperBlock)]

    def _singles(self, architecture: Architecture) -> list[Single]:
        options = self.space.checked(architecture)
        return [Single(self.space.paths.index(option[:2]), option.bits) for option in options]

    def _choices(self) -> Sequence[Mixture | Single]:
        if self._fixed is not None:
            return self._fixed
        widths = self.space.bits
        if self.paths != "single" and self.noise and self.training and not self._given:
            drawn = (_noisy(logits, self.temperature) for logits in (self.theta, self.phi))
            return [Mixture(*parts) for parts in zip(*drawn, strict=True)]
        if self.paths != "single":
            return [Mixture(*parts) for parts in zip(*self.probabilities(), strict=True)]
        if not self.training or self._given:
            paths, bits = (part.argmax(1).tolist() for part in self.probabilities())
            return [Single(path, widths[place]) for path, place in zip(paths, bits, strict=True)]
        (paths, of_paths), (bits, of_bits) = _drawn(self.theta, self.temperature), _drawn(self.phi, self.temperature)
        scales = of_paths * of_bits
        return [Single(path, widths[place], scale) for path, place, scale in zip(paths, bits, scales, strict=True)]


@torch.no_grad()
def _copy(ours: Tensor, theirs: Tensor) -> None:
    theirs.copy_(ours)


def _noisy(logits: Tensor, temperature: float) -> Tensor:
    """Random shares of each row's options, the nearer to one option the lower the temperature.

    Each option is the greatest with its probability at temperature 1: the Gumbel softmax (Jang et al., ICLR 2017).
    """
    noise = -torch.empty_like(logits).exponential_().log()
    return ((logits + noise) / temperature).softmax(1)


def _drawn(logits: Tensor, temperature: float) -> tuple[list[int], Tensor]:
    """One option a row, drawn as by `_noisy`, and a factor of 1 with the gradient of the option's share.

    This is the straight-through form that computes only what was drawn (Dong and Yang, CVPR 2019).
    """
    shares = _noisy(logits, temperature)
    chosen = shares.argmax(1)
    share = shares.gather(1, chosen[:, None])[:, 0]
    return chosen.tolist(), 1 + share - share.detach()
