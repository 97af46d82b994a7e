"""The dimensions of a policy: what can be chosen for each layer of a network.

A new dimension is a new entry of `DIMENSIONS`, a quantiser or network that applies it, and a chip that knows what it
costs. Traces, tables, reports and exports loop over the dimensions that they find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Dimension:
    """Something that has a value in every layer.

    Attributes:
        name: its key in traces, tables and summaries; a Python identifier.
        title: what a reader sees, in the plural, such as ``weight bits``.
        low, high: the smallest and the largest value that makes sense.
        usual: the value of a layer for which nothing is chosen.
    """

    name: str
    title: str
    low: int
    high: int
    usual: int

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"the name of a dimension must be a Python identifier, not {self.name!r}")
        if not self.low <= self.usual <= self.high:
            raise ValueError(f"the usual value of {self.name} must be in {self.low}..{self.high}, not {self.usual}")

    @property
    def heading(self) -> str:
        """The title as it begins a sentence."""
        return self.title[0].upper() + self.title[1:]


WEIGHT_BITS = Dimension("weight_bits", "weight bits", 2, 16, 8)
ACTIVATION_BITS = Dimension("activation_bits", "activation bits", 2, 16, 8)

#: Every dimension by its name, in the order in which traces and tables have them.
DIMENSIONS: dict[str, Dimension] = {dimension.name: dimension for dimension in (WEIGHT_BITS, ACTIVATION_BITS)}


def is_int8(chosen: Mapping[str, Sequence[int]]) -> bool:
    """Whether all bit-widths among values by dimension are 8."""
    return all(set(chosen.get(dimension.name, ())) <= {8} for dimension in (WEIGHT_BITS, ACTIVATION_BITS))


def dimension_named(name: str) -> Dimension:
    """A dimension by its name; ValueError for an unknown one, which lists all."""
    if name not in DIMENSIONS:
        raise ValueError(f"unknown dimension {name!r}: the dimensions are {', '.join(DIMENSIONS)}")
    return DIMENSIONS[name]
