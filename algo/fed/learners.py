"""What a client trains: one protocol for all methods, so that what is compared is the method.

| method | network | a message has |
| --- | --- | --- |
| `Fixed` | MobileNetV2 (kernel 3, expansion 6), or all blocks the largest, float32: FedAvg | all of it |
| `Mixed` | super-network of all paths, and mixed bits: FedNAS + EDD | all of it, and theta and phi |
| `Thresholds` | one super-kernel a block: FAQS | the slices that the client's network uses |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from algo.fed.config import MethodConfig
from algo.fed.slices import Layout, Slice
from algo.fed.threshold_net import ThresholdNet, held_slices, layout_of
from algo.fed.wire import SKIPPED
from algo.nas.batch_norm import batch_statistics, batches
from algo.nas.derive import argmax
from algo.nas.latency_table import LatencyTable
from algo.nas.network import Network
from algo.nas.sizes import Sizes, sizes_of
from algo.nas.space import Option, Space
from algo.nas.supernet import SuperNet

#: Images classified at once.
_BATCH = 250


class Preference(NamedTuple):
    """What a client minimises: alpha CE + beta Lat + gamma MS (chapter 4).

    Lat and MS are relative to the mean over all networks of the space. The three add up to 1.
    """

    alpha: float = 1.0
    beta: float = 0.0
    gamma: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How a client trains in a round.

    Attributes:
        epochs: over its images.
        batch_size: images a step.
        rate, momentum, weight_decay: of SGD for weights.
        choice_rate: of Adam for what decides between options.
    """

    epochs: int = 1
    batch_size: int = 32
    rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 3e-4
    choice_rate: float = 0.01


class Learner(Protocol):
    """A client's network.

    Attributes:
        network: a module; its parameters that are in the layout travel.
        layout: of these.
    """

    network: nn.Module
    layout: Layout

    def options(self) -> tuple[int, ...]:
        """A byte a block: which option it uses now."""

    def chosen(self) -> list[Option | None]:
        """What each block of the client's own network is; ``None`` for one that is skipped."""

    def held(self, options: Sequence[int]) -> list[int]:
        """The numbers of the slices that a network of these options uses; raises ValueError for no options of ours."""

    def choices(self) -> list[nn.Parameter]:
        """What decides between options; none for a fixed network."""

    def cost(self) -> Tensor | None:
        """What is added to alpha times the cross-entropy; ``None`` for nothing."""

    @property
    def alpha(self) -> float:
        """Weight of the cross-entropy."""


class Fixed:
    """MobileNetV2 in float32, or the largest network of the space: nothing is chosen."""

    def __init__(self, table: LatencyTable, largest: bool = False) -> None:
        space = table.space
        self.option = Option(space.kernels[-1 if largest else 0], space.expansions[-1], space.bits[table.end])
        self._number = space.options.index(self.option)
        self._blocks = space.block_count
        self.network: nn.Module = Network(space, space.same(self.option), table.image[0], table.classes)
        self.layout = whole_layout(self.network)
        self.alpha = 1.0

    def options(self) -> tuple[int, ...]:
        """See `Learner`."""
        return (self._number,) * self._blocks

    def chosen(self) -> list[Option | None]:
        """See `Learner`."""
        return [self.option] * self._blocks

    def held(self, options: Sequence[int]) -> list[int]:
        """See `Learner`."""
        if tuple(options) != self.options():
            raise ValueError(f"options {list(options)} are not those of a fixed network")
        return list(range(len(self.layout.slices)))

    def choices(self) -> list[nn.Parameter]:
        """See `Learner`."""
        return []

    def cost(self) -> Tensor | None:
        """See `Learner`."""
        return None


class _Searching:
    """What both searches share: the cost of what is likely to be chosen."""

    network: nn.Module

    def __init__(self, table: LatencyTable, preference: Preference) -> None:
        self.table, self.preference = table, preference
        self.alpha = preference.alpha
        self._sizes: Sizes = sizes_of(table)
        count, bits = len(table.space.paths), len(table.space.bits)
        even = np.full((table.space.block_count, count), 1 / count), np.full((table.space.block_count, bits), 1 / bits)
        self._uniform_bytes = float(self._sizes.expected_bytes(*even))

    def cost(self) -> Tensor | None:
        """See `Learner`."""
        beta, gamma = self.preference.beta, self.preference.gamma
        if beta == gamma == 0:
            return None
        assert isinstance(self.network, (ThresholdNet, SuperNet))
        paths, bits = self.network.probabilities()

        def convert(values: NDArray[np.float64]) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=paths.device)

        latency = self.table.expected_ms(paths, bits, convert) / self.table.uniform_ms
        size = self._sizes.expected_bytes(paths, bits, convert) / self._uniform_bytes
        found: Tensor = beta * latency + gamma * size
        return found


class Mixed(_Searching):
    """FedNAS + EDD: paths with weights of their own and mixed bits; everything travels."""

    def __init__(self, table: LatencyTable, preference: Preference) -> None:
        super().__init__(table, preference)
        self._blocks = table.space.block_count
        self.network = SuperNet(table.space, table.image, table.classes, "multi", 1.0)
        self.layout = whole_layout(self.network)

    def options(self) -> tuple[int, ...]:
        """See `Learner`."""
        return (0,) * self._blocks

    def chosen(self) -> list[Option | None]:
        """See `Learner`."""
        assert isinstance(self.network, SuperNet)
        with torch.no_grad():
            return list(argmax(self.table, *(part.cpu().numpy() for part in self.network.probabilities())))

    def held(self, options: Sequence[int]) -> list[int]:
        """See `Learner`."""
        if any(options):
            raise ValueError(f"options {list(options)} are not those of a super-network of all paths")
        return list(range(len(self.layout.slices)))

    def choices(self) -> list[nn.Parameter]:
        """See `Learner`."""
        assert isinstance(self.network, SuperNet)
        return self.network.arch_parameters()


class Thresholds(_Searching):
    """FAQS: slices of one super-kernel travel, or ``everything``; thresholds stay with the client."""

    def __init__(self, table: LatencyTable, preference: Preference, everything: bool = False) -> None:
        super().__init__(table, preference)
        self._everything = everything
        self._net = ThresholdNet(table.space, table.image, table.classes)
        self.network = self._net
        self.layout = layout_of(self._net)

    def options(self) -> tuple[int, ...]:
        """See `Learner`."""
        known = self.table.space.options
        return tuple(SKIPPED if option is None else known.index(option) for option in self.chosen())

    def chosen(self) -> list[Option | None]:
        """See `Learner`."""
        return self._net.options()

    def held(self, options: Sequence[int]) -> list[int]:
        """See `Learner`."""
        known = options_of(self.table.space, options)
        if self._everything:
            return list(range(len(self.layout.slices)))
        return held_slices(self.layout, known, self.table.space)

    def choices(self) -> list[nn.Parameter]:
        """See `Learner`."""
        return self._net.thresholds()


#: Methods by name: table and preference of a client, and the run's settings, to its learner.
METHODS: dict[str, Callable[[LatencyTable, Preference, MethodConfig], Learner]] = {
    "fedavg": lambda table, preference, config: Fixed(table, config.fixed == "largest"),
    "fednas": lambda table, preference, config: Mixed(table, preference),
    "faqs": lambda table, preference, config: Thresholds(table, preference, config.slices == "all"),
}


def options_of(space: Space, numbers: Sequence[int]) -> list[Option | None]:
    """Options from a message's bytes; raises ValueError for a number that is none."""
    if bad := [number for number in numbers if number != SKIPPED and number >= len(space.options)]:
        raise ValueError(f"option {bad[0]} is none of the {len(space.options)} of space {space.name}")
    return [None if number == SKIPPED else space.options[number] for number in numbers]


def whole_layout(network: nn.Module) -> Layout:
    """A layout of one slice a parameter."""
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    return Layout(shapes, [Slice(name, "all", np.arange(int(np.prod(shape)))) for name, shape in shapes.items()])


def learn(
    learner: Learner, images: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator, searching: bool
) -> float:
    """Train a client's network for a round; the mean cross-entropy.

    Args:
        learner: trained in place.
        images, labels: of the client.
        recipe: how.
        generator: of the order of the images.
        searching: whether what decides between options learns, too.

    Returns:
        The mean cross-entropy of the steps; it is not finite if training diverged.
    """
    network, choices = learner.network, learner.choices()
    decides = {id(value) for value in choices}
    weights = torch.optim.SGD(
        [value for value in network.parameters() if id(value) not in decides], recipe.rate, recipe.momentum,
        weight_decay=recipe.weight_decay, foreach=True,
    )  # fmt: skip
    chooser = torch.optim.Adam(choices, recipe.choice_rate, betas=(0.5, 0.999)) if choices and searching else None
    network.train()
    total, steps = 0.0, 0
    for _ in range(recipe.epochs):
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for chosen in order.split(recipe.batch_size):
            if len(chosen) < 2:  # batch statistics need two
                continue
            loss = functional.cross_entropy(network(images[chosen]), labels[chosen])
            total, steps = total + float(loss.detach()), steps + 1
            weights.zero_grad(set_to_none=True)
            network.zero_grad(set_to_none=True)
            cost = learner.cost() if chooser is not None else None
            (loss if cost is None else learner.alpha * loss + cost).backward()
            weights.step()
            if chooser is not None:
                chooser.step()
    return total / max(steps, 1)


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share classified rightly with the statistics of each batch, 0..1."""
    right = 0
    with batch_statistics(network):
        for some, wanted in zip(batches(images, _BATCH), batches(labels, _BATCH), strict=True):
            right += int((network(some).argmax(1) == wanted).sum())
    return right / len(images)
