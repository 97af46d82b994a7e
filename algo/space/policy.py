"""Policies of the QVF search: bit-widths per layer and the chip's operating point.

Torch-free, so that everything short of training can use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class OperatingPoint:
    """One voltage-frequency pair of the chip."""

    voltage_v: float
    frequency_mhz: float


@dataclass(frozen=True)
class Policy:
    """What one iteration of the search tries out.

    Attributes:
        weight_bits: bit-width of every layer's weights, input layer first.
        activation_bits: bit-width of every layer's input activations, same length.
        point: index into the chip's operating points.
    """

    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    point: int


@dataclass(frozen=True)
class PolicySpace:
    """The search space, and how a row's action number becomes a choice.

    A policy is a path through ``layers + 1`` states. States 0..layers-1 are the layers, where, with ``w`` weight
    choices, action ``k`` is the pair ``(activation_choices[k // w], weight_choices[k % w])``; the last state is
    the operating point (Chen 2023, chapter 2).

    Attributes:
        layers: number of quantised layers, at least 1.
        points: number of operating points, at least 1.
        weight_choices: weight bit-widths a layer may take.
        activation_choices: activation bit-widths a layer may take; one entry means "fixed".

    Raises:
        ValueError: if a field is empty or not positive.
    """

    layers: int
    points: int
    weight_choices: tuple[int, ...] = field(default=(2, 4, 8))
    activation_choices: tuple[int, ...] = field(default=(8,))

    def __post_init__(self) -> None:
        if self.layers < 1 or self.points < 1:
            raise ValueError(
                f"a policy space needs at least 1 layer and 1 operating point, not {self.layers} and {self.points}"
            )
        for name in ("weight_choices", "activation_choices"):
            choices = getattr(self, name)
            if not choices or any(bits < 2 or bits > 16 for bits in choices):
                raise ValueError(f"{name} must be bit-widths between 2 and 16, not {choices!r}")

    @property
    def action_counts(self) -> tuple[int, ...]:
        """Number of actions of every row, layers first, operating point last."""
        per_layer = len(self.weight_choices) * len(self.activation_choices)
        return (per_layer,) * self.layers + (self.points,)

    @property
    def size(self) -> int:
        """Number of policies in the space."""
        return math.prod(self.action_counts)

    @property
    def strides(self) -> tuple[int, ...]:
        """How far apart in a table two policies lie that differ by one action in a row; the last row's is 1.

        A policy's place is the sum of its actions times these.
        """
        counts = self.action_counts
        return tuple(math.prod(counts[row + 1 :]) for row in range(len(counts)))

    def decode(self, actions: Sequence[int]) -> Policy:
        """Turn one action a row into a policy; raises ValueError for an action the row has not."""
        if len(actions) != self.layers + 1:
            raise ValueError(f"a policy of this space has {self.layers + 1} rows, not {len(actions)}")
        for row, (action, count) in enumerate(zip(actions, self.action_counts, strict=True)):
            if not 0 <= action < count:
                raise ValueError(f"row {row} has actions 0..{count - 1}, not {action}")
        widths = len(self.weight_choices)
        return Policy(
            weight_bits=tuple(self.weight_choices[a % widths] for a in actions[:-1]),
            activation_bits=tuple(self.activation_choices[a // widths] for a in actions[:-1]),
            point=actions[-1],
        )

    def encode(self, policy: Policy) -> tuple[int, ...]:
        """The inverse of `decode`."""
        widths = len(self.weight_choices)
        layers = zip(policy.activation_bits, policy.weight_bits, strict=True)
        return (
            *(self.activation_choices.index(a) * widths + self.weight_choices.index(w) for a, w in layers),
            policy.point,
        )
