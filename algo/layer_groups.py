"""Layers that share a bit-width: a policy then has a row a group, such as a residual block, not a row a layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .chip import Chip, Measurement
from .policy import OperatingPoint, Policy
from .tuning import Evaluator


@dataclass(frozen=True)
class LayerGroups:
    """Which layers of a network share a row of the policy.

    Attributes:
        names: of the groups, in the order of the policy's rows.
        group_of_layer: for every layer, first layer first, the number of its group; ``None`` keeps it at
            ``fixed_bits``.
        fixed_bits: bit-width of weights and activations of the layers that are in no group.

    Raises:
        ValueError: if a layer's group does not exist, or a group has no layer.
    """

    names: tuple[str, ...]
    group_of_layer: tuple[int | None, ...]
    fixed_bits: int = 8

    def __post_init__(self) -> None:
        for layer, group in enumerate(self.group_of_layer):
            if group is not None and not 0 <= group < len(self.names):
                raise ValueError(f"layer {layer} is in group {group}, but there are only {len(self.names)} groups")
        for group, name in enumerate(self.names):
            if group not in self.group_of_layer:
                raise ValueError(f"group {name!r} has no layer")

    @classmethod
    def by_name(cls, layers: Sequence[str], group_name: Callable[[str], str | None]) -> LayerGroups:
        """Groups from the layers' names; ``group_name`` gives ``None`` for a layer that stays at 8 bits."""
        wanted = [group_name(layer) for layer in layers]
        names = tuple(dict.fromkeys(name for name in wanted if name is not None))
        return cls(names, tuple(None if name is None else names.index(name) for name in wanted))

    @classmethod
    def by_block(cls, layers: Sequence[str]) -> LayerGroups:
        """One group a block (``blocks.0``, ``blocks.1``, ...), as ResNet34 and MobileNetV2 name theirs.

        All other layers, of the beginning and the end of the network, stay at 8 bits.

        Raises:
            ValueError: if no layer is in a block.
        """
        found = cls.by_name(layers, lambda layer: match[0] if (match := re.match(r"blocks\.\d+", layer)) else None)
        if not found.names:
            raise ValueError(f"none of the layers is in a block (blocks.0, blocks.1, ...): {', '.join(layers)}")
        return found

    def spread(self, policy: Policy) -> Policy:
        """The policy over layers that a policy over groups stands for; ValueError if its length is wrong."""
        for bits in (policy.weight_bits, policy.activation_bits):
            if len(bits) != len(self.names):
                raise ValueError(f"a policy over {len(self.names)} groups cannot have {len(bits)} bit-widths")

        def over_layers(bits: Sequence[int]) -> tuple[int, ...]:
            return tuple(self.fixed_bits if group is None else bits[group] for group in self.group_of_layer)

        return Policy(over_layers(policy.weight_bits), over_layers(policy.activation_bits), policy.point)


@dataclass(frozen=True)
class GroupedChip:
    """A chip that takes policies over groups: latency and energy of the layers they stand for."""

    chip: Chip
    groups: LayerGroups

    @property
    def points(self) -> Sequence[OperatingPoint]:
        """The chip's operating points."""
        return self.chip.points

    def measure(self, policy: Policy) -> Measurement:
        """Latency and energy of one inference."""
        return self.chip.measure(self.groups.spread(policy))


@dataclass(frozen=True)
class GroupedEvaluator:
    """An evaluator that takes policies over groups."""

    evaluator: Evaluator
    groups: LayerGroups

    def __post_init__(self) -> None:
        if self.evaluator.layers != len(self.groups.group_of_layer):
            raise ValueError(
                f"the groups cover {len(self.groups.group_of_layer)} layers, the network has {self.evaluator.layers}"
            )

    @property
    def layers(self) -> int:
        """Number of groups, which is the number of bit-widths a policy has."""
        return len(self.groups.names)

    @property
    def source(self) -> str:
        """The data, in words."""
        return self.evaluator.source

    def retrained_baseline(self) -> float:
        """Accuracy with every layer at 8 bits."""
        return self.evaluator.retrained_baseline()

    def is_cached(self, policy: Policy) -> bool:
        """Whether `accuracy` would cost no training."""
        return self.evaluator.is_cached(self.groups.spread(policy))

    def accuracy(self, policy: Policy, iteration: int) -> float:
        """Accuracy under the bit-widths of a policy over groups."""
        return self.evaluator.accuracy(self.groups.spread(policy), iteration)

    def state(self) -> bytes:
        """Everything that later accuracies depend on."""
        return self.evaluator.state()

    def restore(self, saved: bytes) -> None:
        """Go back to what `state` returned."""
        self.evaluator.restore(saved)
