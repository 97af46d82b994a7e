"""The chip a policy runs on: what the search asks of one, and an analytical model of Evolver.

The search wants latency and energy of an inference from a policy. `Chip` is all it asks for; a `LayerChip` answers
layer by layer; `EvolverChip` from per-layer compute and memory (docs/understand/evolver-model.md has the equations).
Its constants are fitted to what was published (`algo.chips.evolver_fit`). Latency and energy are those of the published
full-width VGG8 unless other layers are given, even when a narrower network is trained beside it.
`algo.chips.by_name` opens the others.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Protocol

from algo.space.policy import OperatingPoint, Policy

#: A figure nobody could measure: fails every comparison and is refused as a score; ``null`` in JSON.
UNAVAILABLE = math.nan


@dataclass(frozen=True)
class Geometry:
    """Loops of a convolution or fully connected layer, for chips to which counts do not say enough.

    A fully connected layer is a 1x1 convolution over as many rows as it is applied to.

    Attributes:
        in_channels, out_channels: channels, or features.
        input_size, output_size: height and width.
        kernel, stride, padding, dilation: height and width; padding on either side.
        groups: groups of channels that do not mix.
        linear: whether it is a fully connected layer.
        uses: how often an inference runs the layer.
    """

    in_channels: int
    out_channels: int
    input_size: tuple[int, int] = (1, 1)
    output_size: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    linear: bool = False
    uses: int = 1


@dataclass(frozen=True)
class LayerShape:
    """Work and storage of one layer for one image, all counted in values, not bytes.

    Attributes:
        name: for messages.
        macs: multiply-accumulate operations.
        weights: stored weights, biases left out.
        input_values: activations read.
        output_values: activations written.
        geometry: its loops; ``None`` where they are not those of one convolution or fully connected layer.
    """

    name: str
    macs: int
    weights: int
    input_values: int
    output_values: int
    geometry: Geometry | None = None

    def and_again(self, more: LayerShape) -> LayerShape:
        """The layer with another use of it, ``more``, in the same inference: it works twice and is stored once."""
        loops = None  # used on another shape, it is not one loop nest
        if self.geometry and more.geometry and replace(self.geometry, uses=more.geometry.uses) == more.geometry:
            loops = replace(self.geometry, uses=self.geometry.uses + more.geometry.uses)
        return LayerShape(
            self.name, self.macs + more.macs, self.weights, self.input_values + more.input_values,
            self.output_values + more.output_values, loops,
        )  # fmt: skip


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


@dataclass(frozen=True)
class ChipConstants:
    """Constants of the model; `algo.chips.evolver_fit.PLAUSIBLE` holds the range each is fitted in.

    Attributes:
        macs_per_cycle: 8x8-bit multiply-accumulates a core cycle, the array's rate times its mean use.
        memory_gbit_per_s: weights and activations moved in a nanosecond; memory has a clock of its own, so
            this does not follow the core's frequency.
        mac_energy_pj: energy of one 8x8-bit multiply-accumulate at 1 V, in pJ.
        leakage_mw: static power at 1 V, in mW; proportional to voltage.
        memory_energy_pj_per_bit: energy of a bit moved, in pJ, at the memory's own fixed voltage.
    """

    macs_per_cycle: float
    memory_gbit_per_s: float
    mac_energy_pj: float
    leakage_mw: float
    memory_energy_pj_per_bit: float


@dataclass(frozen=True)
class PublishedMeasurement:
    """One measured policy of the published chip.

    Attributes:
        name: what it was the best for.
        policy: bit-widths and operating point.
        latency_ms: of one inference.
        energy_uj: of one inference.
        derived: how it follows from published figures where it was not printed itself, else empty.
    """

    name: str
    policy: Policy
    latency_ms: float
    energy_uj: float
    derived: str = ""


@cache
def evolver_facts() -> dict[str, Any]:
    """The published facts (and our fitted constants) of ``algo/published/evolver.json``; not to be changed."""
    facts: dict[str, Any] = json.loads((resources.files("algo.published") / "evolver.json").read_text(encoding="utf-8"))
    return facts


OPERATING_POINTS = tuple(
    OperatingPoint(float(p["voltage_v"]), float(p["frequency_mhz"])) for p in evolver_facts()["operating_points"]
)
BIT_WIDTHS: tuple[int, ...] = tuple(evolver_facts()["bit_widths"])


def vgg8_layers(width: int = 128, channels: int = 3, classes: int = 100) -> tuple[LayerShape, ...]:
    """Layers of `algo.nets.networks.VGG8` on 32x32 images, without PyTorch; the defaults are the published network."""
    layers, inputs, side = [], channels, 32
    for number, outputs in enumerate((width, width, 2 * width, 2 * width, 4 * width, 4 * width), start=1):
        weights, pixels, size = 9 * inputs * outputs, side * side, (side, side)
        loops = Geometry(inputs, outputs, size, size, kernel=(3, 3), padding=(1, 1))
        layers.append(LayerShape(f"conv{number}", pixels * weights, weights, pixels * inputs, pixels * outputs, loops))
        inputs = outputs
        if number % 2 == 0:  # 2x2 pooling
            side //= 2
    for number, (fan_in, outputs) in enumerate(((inputs * side * side, 8 * width), (8 * width, classes)), start=1):
        loops = Geometry(fan_in, outputs, linear=True)
        layers.append(LayerShape(f"fc{number}", fan_in * outputs, fan_in * outputs, fan_in, outputs, loops))
    return tuple(layers)


PUBLISHED_VGG8 = vgg8_layers()  # 128-128-256-256-512-512-1024-100 on 32x32 colour images, CIFAR-100
INT8_BASELINE = Policy((8,) * 8, (8,) * 8, OPERATING_POINTS.index(OperatingPoint(0.80, 232.0)))


class EvolverChip(LayerChip):
    """Latency and energy of a network on a bit-scalable accelerator; by default Evolver.

    Args:
        layers: shapes of the network's layers, in the order of a policy's bit-widths.
        constants: of the model; default those fitted to the published chip.
        points: operating points; default the nine published ones, slowest first.
        bit_widths: of weights and activations.

    Raises:
        ValueError: if there are no layers.
    """

    name = "evolver"
    origin = (
        "analytical model of Evolver, five constants fitted to its published measurements "
        "(docs/understand/evolver-model.md)"
    )

    def __init__(
        self,
        layers: Sequence[LayerShape] = PUBLISHED_VGG8,
        constants: ChipConstants | None = None,
        points: Sequence[OperatingPoint] = OPERATING_POINTS,
        bit_widths: Sequence[int] = BIT_WIDTHS,
    ) -> None:
        super().__init__([layer.name for layer in layers], points, bit_widths)
        self.layers = tuple(layers)
        self.constants = constants or ChipConstants(**evolver_facts()["constants"])

    def measure_layer(self, index: int, weight_bits: int, activation_bits: int, point: int) -> Measurement:
        """Latency and energy of one layer."""
        return self._cost(((self.layers[index], weight_bits, activation_bits),), self.points[point])

    def measure(self, policy: Policy) -> Measurement:
        """Latency (ms) and energy (µJ) of one inference under a policy.

        The sum over the layers, but for the last digits: work and bits are added up before they are multiplied
        with their energies, as ever, so that recorded runs stay as they are.

        Raises:
            ValueError: if the policy has not one pair of bit-widths a layer, a bit-width the chip does not know,
                or a point it has not.
        """
        self._check(policy)
        works = zip(self.layers, policy.weight_bits, policy.activation_bits, strict=True)
        return self._cost(works, self.points[policy.point])

    def _cost(self, works: Iterable[tuple[LayerShape, int, int]], point: OperatingPoint) -> Measurement:
        c = self.constants
        core_us = memory_us = latency_us = operations = moved_bits = 0.0
        for layer, weight, activation in works:
            # The array splits its multipliers: half the bits on either side, twice the operations a cycle.
            eights = layer.macs * weight * activation / 64
            bits = layer.weights * weight + (layer.input_values + layer.output_values) * activation
            core_us = eights / c.macs_per_cycle / point.frequency_mhz
            memory_us = bits / (c.memory_gbit_per_s * 1e3)
            latency_us += max(core_us, memory_us)  # double buffering hides the shorter of the two
            operations += eights
            moved_bits += bits
        dynamic_uj = operations * c.mac_energy_pj * 1e-6 * point.voltage_v**2
        leakage_uj = c.leakage_mw * point.voltage_v * latency_us * 1e-3
        memory_uj = moved_bits * c.memory_energy_pj_per_bit * 1e-6
        return Measurement(latency_us * 1e-3, dynamic_uj + leakage_uj + memory_uj)


def published_measurements() -> tuple[PublishedMeasurement, ...]:
    """The four measured policies of the published chip, and INT8 as it follows from its 20-day comparison."""
    found = []
    for entry in evolver_facts()["measurements"]:
        weight_bits = tuple(entry["weight_bits"])
        policy = Policy(weight_bits, (8,) * len(weight_bits), entry["point"])
        found.append(
            PublishedMeasurement(
                entry["name"], policy, entry["latency_ms"], entry["energy_uj"], entry.get("derived", "")
            )
        )
    return tuple(found)
