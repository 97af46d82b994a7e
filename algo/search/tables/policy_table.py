"""Tables of accuracy, latency and energy for every policy of a space, which can take the place of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from algo.space.dimensions import dimension_named
from algo.space.policy import OperatingPoint, Policy, PolicySpace

if TYPE_CHECKING:
    from algo.chips.chip import Chip, Measurement  # takes as long to import as a table to read

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PolicyTable:
    """Accuracy, latency and energy of every policy of a space.

    It takes the place of the chip; with `TableEvaluator`, also that of training.

    Attributes:
        space: the policies.
        points: the operating points.
        accuracy: (space.size,) fractions; policies in the order of `index`.
        latency_ms, energy_uj: (space.size,).
        source: where the figures come from, in words.
        accuracy_std: (space.size,) standard deviation of the accuracy over training seeds, where it is known.
        layer_names: of the layers, input layer first; default layer1, layer2, ...
        origin: how the table was made, by name: seeds, recipe, versions; plain values that JSON can hold.

    Raises:
        ValueError: if an array does not have one figure per policy, or the layers not one name each.
    """

    space: PolicySpace
    points: tuple[OperatingPoint, ...]
    accuracy: Floats
    latency_ms: Floats
    energy_uj: Floats
    source: str
    accuracy_std: Floats | None = None
    layer_names: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("accuracy", "latency_ms", "energy_uj", "accuracy_std"):
            figures = getattr(self, name)
            if figures is not None and figures.shape != (self.space.size,):
                raise ValueError(
                    f"{name} must have one figure per policy, shape ({self.space.size},), not {figures.shape}"
                )
        if not self.layer_names:
            object.__setattr__(self, "layer_names", tuple(f"layer{k + 1}" for k in range(self.layers)))
        if len(self.layer_names) != self.layers or len(set(self.layer_names)) != self.layers:
            raise ValueError(f"layer_names must name {self.layers} layers, each differently, not {self.layer_names!r}")

    @property
    def layers(self) -> int:
        """Number of layers of a policy."""
        return self.space.layers

    def index(self, actions: Sequence[int]) -> int:
        """Place of a policy in the table: its actions as digits, the first row's the most significant."""
        return sum(action * stride for action, stride in zip(actions, self.space.strides, strict=True))

    def choices(self, layer: int, dimension: str) -> tuple[int, ...]:
        """The values that a layer can take in a dimension, rising."""
        for row in self.space.rows:
            if layer in row.layers and dimension in row.dimensions:
                return tuple(sorted(set(row.values(dimension))))
        return (dimension_named(dimension).usual,)

    def measure(self, policy: Policy) -> Measurement:
        """Latency and energy of a policy."""
        from algo.chips.chip import Measurement

        index = self.index(self.space.encode(policy))
        return Measurement(float(self.latency_ms[index]), float(self.energy_uj[index]))

    def accuracy_of(self, policy: Policy) -> float:
        """Accuracy of a policy."""
        return float(self.accuracy[self.index(self.space.encode(policy))])


@dataclass(frozen=True)
class TableEvaluator:
    """Serves accuracies from a `PolicyTable` in place of training."""

    table: PolicyTable

    @property
    def layers(self) -> int:
        """Number of layers of a policy."""
        return self.table.layers

    @property
    def source(self) -> str:
        """Where the table's figures come from."""
        return self.table.source

    def retrained_baseline(self, policy: Policy) -> float:
        """Accuracy of the baseline."""
        return self.table.accuracy_of(policy)

    def is_cached(self, policy: Policy) -> bool:
        """A table never trains."""
        del policy
        return True

    def accuracy(self, policy: Policy, iteration: int) -> float:
        """Accuracy of a policy, the same in every iteration."""
        del iteration
        return self.table.accuracy_of(policy)

    def error_std(self, accuracy: float) -> float:
        """A table gives the same accuracy each time."""
        del accuracy
        return 0.0

    def state(self) -> bytes:
        """A table has no state."""
        return b""

    def restore(self, saved: bytes) -> None:
        """A table has no state."""
        del saved


def synthetic_table(chip: Chip, layers: int, seed: int) -> PolicyTable:
    """A made-up landscape for benchmarks, not measured on any network.

    Latency and energy are the chip's. Accuracy is 0.70 less a penalty per layer, drawn from the seed, for 2 and
    (a fifth of it) for 4 bits, and a small penalty for neighbours of different width.
    """
    space = PolicySpace.of_bit_widths(layers=layers, points=len(chip.points))
    rng = np.random.default_rng(seed)
    penalty = rng.uniform(0.0, 0.03, layers)
    shape = space.action_counts
    actions = np.indices(shape).reshape(len(shape), -1)
    scale = np.array([1.0, 0.2, 0.0])  # of 2, 4 and 8 bits
    accuracy = 0.70 - sum(penalty[i] * scale[actions[i]] for i in range(layers))
    accuracy = accuracy - 0.002 * (actions[:-1][1:] != actions[:-1][:-1]).sum(axis=0)
    costs = [chip.measure(space.decode(column)) for column in actions.T.tolist()]
    return PolicyTable(
        space,
        tuple(chip.points),
        accuracy,
        np.array([cost.latency_ms for cost in costs]),
        np.array([cost.energy_uj for cost in costs]),
        f"synthetic landscape, seed {seed}",
    )
