"""What the search asks of a chip: latency and energy of an inference under a policy.

`Chip` is all it asks for; a `LayerChip` answers layer by layer. `algo.chips.by_name` opens one by its name.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from algo.space.policy import OperatingPoint, Policy

#: A figure nobody could measure: fails every comparison and is refused as a score; ``null`` in JSON.
UNAVAILABLE = math.nan


@dataclass(frozen=True)
class Measurement:
    """Latency (ms) and energy (µJ) of one inference, or of a layer's part in it; energy may be `UNAVAILABLE`."""

    latency_ms: float
    energy_uj: float

    def __post_init__(self) -> None:
        if math.isnan(self.energy_uj):  # one object for all, so that records of it are equal
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
    """A chip that runs the layers of a network one after the other, so that their latencies and energies add up.

    Args:
        layer_names: of the network, in the order of a policy's bit-widths.
        points: operating points.
        bit_widths: of weights and activations that it knows.

    Attributes:
        name: of the chip.
        origin: where its figures come from, in words.
        notes: what a reader of its figures must know.
        no_energy: why energy is `UNAVAILABLE`; ``None`` if it is known.

    Raises:
        ValueError: if there are no layers, or their names are not all different and on one line each.
    """

    name: str
    origin: str
    notes: tuple[str, ...] = ()
    no_energy: str | None = None

    def __init__(self, layer_names: Sequence[str], points: Sequence[OperatingPoint], bit_widths: Sequence[int]) -> None:
        if not layer_names:
            raise ValueError("a chip needs the shape of at least 1 layer")
        self.layer_names = tuple(layer_names)
        for name in self.layer_names:  # else nobody could read them again in a table
            if name.splitlines() != [name] or name != name.strip():
                raise ValueError(f"a layer's name must be one line without spaces around it, not {name!r}")
            if self.layer_names.count(name) > 1:
                raise ValueError(f"two layers are called {name!r}: layers need names of their own")
        self.bit_widths = tuple(bit_widths)
        self._points = tuple(points)

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """The operating points a policy's ``point`` indexes."""
        return self._points

    @abstractmethod
    def measure_layer(self, index: int, weight_bits: int, activation_bits: int, point: int) -> Measurement:
        """Latency and energy of layer number ``index`` in one inference; raises ValueError if it cannot run so."""

    def measure(self, policy: Policy) -> Measurement:
        """Latency and energy of one inference: the sum over the layers.

        Raises:
            ValueError: if the policy has not one pair of bit-widths a layer, a bit-width the chip does not know,
                or a point it has not.
        """
        self._check(policy)
        pairs = enumerate(zip(policy.weight_bits, policy.activation_bits, strict=True))
        parts = [self.measure_layer(index, weight, activation, policy.point) for index, (weight, activation) in pairs]
        return Measurement(sum(part.latency_ms for part in parts), sum(part.energy_uj for part in parts))

    def _check(self, policy: Policy) -> None:
        for what, given in (("weight", policy.weight_bits), ("activation", policy.activation_bits)):
            if len(given) != len(self.layer_names):
                raise ValueError(
                    f"the chip runs {len(self.layer_names)} layers, not {len(given)} {what} bit-widths: its layers are "
                    f"{', '.join(self.layer_names)}"
                )
            for layer, bits in zip(self.layer_names, given, strict=True):
                if bits not in self.bit_widths:
                    allowed = ", ".join(map(str, self.bit_widths))
                    raise ValueError(f"layer {layer}: {what} bits must be one of {allowed}, not {bits!r}")
        if policy.point not in range(len(self.points)):
            raise ValueError(f"operating point must be in 0..{len(self.points) - 1}, not {policy.point!r}")
