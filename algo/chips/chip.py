"""What the search asks of a chip: latency and energy of an inference under a policy.

A `Chip` is all it needs; a `LayerChip` answers layer by layer. `algo.chips.by_name` opens one by its name.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from algo.published.evolver import BIT_WIDTHS
from algo.space.dimensions import ACTIVATION_BITS, WEIGHT_BITS, dimension_named
from algo.space.policy import OperatingPoint, Policy

#: A figure that could not be measured: fails every comparison and is refused as a score; ``null`` in JSON.
UNAVAILABLE = math.nan


@dataclass(frozen=True)
class Measurement:
    """Latency (ms) and energy (µJ) of one inference, or of a layer's part in it; energy may be `UNAVAILABLE`."""

    latency_ms: float
    energy_uj: float

    def __post_init__(self) -> None:
        if math.isnan(self.energy_uj):  # one object for all makes records of it equal
            object.__setattr__(self, "energy_uj", UNAVAILABLE)


class Chip(Protocol):
    """Anything that has operating points and can measure a policy."""

    @property
    def points(self) -> Sequence[OperatingPoint]:
        """The operating points a policy's ``point`` indexes."""
        ...

    def measure(self, policy: Policy) -> Measurement:
        """Latency and energy of one inference; raises ValueError for a policy the chip cannot run."""
        ...


class LayerChip(ABC):
    """A chip that runs the layers of a network one after the other, so their latencies and energies add up.

    Args:
        layer_names: of the network, in the order of a policy's values.
        points: operating points.
        bit_widths: of weights and activations that it knows.
        layer_bit_widths: of layers with other bit-widths, by name.

    Attributes:
        name: of the chip.
        origin: where its figures come from, in words.
        notes: what a reader of its figures must know.
        no_energy: why energy is `UNAVAILABLE`; ``None`` if it is known.
        dimensions: what it can be asked for in each layer.

    Raises:
        ValueError: without layers, or if their names are not all different and on one line each.
    """

    name: str
    origin: str
    notes: tuple[str, ...] = ()
    no_energy: str | None = None
    dimensions: tuple[str, ...] = (WEIGHT_BITS.name, ACTIVATION_BITS.name)

    def __init__(
        self,
        layer_names: Sequence[str],
        points: Sequence[OperatingPoint],
        bit_widths: Sequence[int],
        layer_bit_widths: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        if not layer_names:
            raise ValueError("a chip needs the shape of at least 1 layer")
        self.layer_names = tuple(layer_names)
        for name in self.layer_names:  # other names could not be read back from a table
            if name.splitlines() != [name] or name != name.strip():
                raise ValueError(f"a layer's name must be one line without spaces around it, not {name!r}")
            if self.layer_names.count(name) > 1:
                raise ValueError(f"two layers are called {name!r}: give each layer another name")
        self.bit_widths = tuple(bit_widths)
        self.layer_bit_widths = {name: tuple(widths) for name, widths in (layer_bit_widths or {}).items()}
        for name in self.layer_bit_widths:
            if name not in self.layer_names:
                raise ValueError(f"unknown layer {name!r}: the layers are {', '.join(self.layer_names)}")
        self._points = tuple(points)

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """The operating points a policy's ``point`` indexes."""
        return self._points

    def choices(self, layer: int, dimension: str) -> tuple[int, ...]:
        """The values that a layer can take in one of the chip's dimensions, rising.

        A chip with dimensions of its own overrides this for them.
        """
        if dimension not in (WEIGHT_BITS.name, ACTIVATION_BITS.name):
            raise ValueError(f"chip {self.name} does not know {dimension}: it knows {', '.join(self.dimensions)}")
        return self.layer_bit_widths.get(self.layer_names[layer], self.bit_widths)

    @abstractmethod
    def measure_layer(self, index: int, weight_bits: int, activation_bits: int, point: int) -> Measurement:
        """Latency and energy of layer number ``index`` in one inference; raises ValueError if it cannot run like that.

        A chip with other dimensions takes them as further keyword arguments.
        """

    def measure(self, policy: Policy) -> Measurement:
        """Latency and energy of one inference: the sum over the layers.

        Raises:
            ValueError: if a dimension does not have one value per layer, or for a value or a point that
                the chip does not have.
        """
        self._check(policy)
        columns = policy.per_layer
        parts = [
            self.measure_layer(index, point=policy.point, **{name: column[index] for name, column in columns.items()})
            for index in range(len(self.layer_names))
        ]
        return Measurement(sum(part.latency_ms for part in parts), sum(part.energy_uj for part in parts))

    def _check(self, policy: Policy) -> None:
        columns = policy.per_layer
        if set(columns) != set(self.dimensions):
            given = ", ".join(columns) or "nothing"
            raise ValueError(f"chip {self.name} needs {', '.join(self.dimensions)} of a policy, not {given}")
        for name, values in columns.items():
            what = dimension_named(name).title
            if len(values) != len(self.layer_names):
                raise ValueError(
                    f"the chip runs {len(self.layer_names)} layers, not {len(values)} {what}: its layers are "
                    f"{', '.join(self.layer_names)}"
                )
            for index, value in enumerate(values):
                if value not in (known := self.choices(index, name)):
                    allowed = ", ".join(map(str, known))
                    raise ValueError(f"layer {self.layer_names[index]}: {what} must be one of {allowed}, not {value!r}")
        if policy.point not in range(len(self.points)):
            raise ValueError(f"operating point must be in 0..{len(self.points) - 1}, not {policy.point!r}")


def choices_of(chip: Chip, layer: int, dimension: str) -> tuple[int, ...]:
    """The values that a chip lets a layer take in a dimension; the published ones if the chip does not say."""
    if isinstance(chip, LayerChip):
        return chip.choices(layer, dimension)
    asked = getattr(chip, "choices", None)
    return BIT_WIDTHS if asked is None else tuple(asked(layer, dimension))
