"""The chip a policy runs on: an analytical model of Evolver, its constants fitted to what was published.

The search wants latency and energy of an inference from a policy. `Chip` is all it asks for; `EvolverChip`
answers from per-layer compute and memory (docs/chip.md has the equations). Latency and energy are those of
the published full-width VGG8 unless other layers are given, even when the network that is trained beside it
is a narrower one.

``python -m algo.chip`` fits the constants anew and prints them with the residuals.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Protocol

from algo.policy import OperatingPoint, Policy


@dataclass(frozen=True)
class LayerShape:
    """Work and storage of one layer for one image, all counted in values, not bytes.

    Attributes:
        name: for messages.
        macs: multiply-accumulate operations.
        weights: stored weights, biases left out.
        input_values: activations read.
        output_values: activations written.
    """

    name: str
    macs: int
    weights: int
    input_values: int
    output_values: int


@dataclass(frozen=True)
class Measurement:
    """What the chip measures for a policy: latency (ms) and energy (µJ) of one inference."""

    latency_ms: float
    energy_uj: float


class Chip(Protocol):
    """Anything that has operating points and can measure a policy."""

    @property
    def points(self) -> Sequence[OperatingPoint]:
        """The operating points a policy's ``point`` indexes."""
        ...

    def measure(self, policy: Policy) -> Measurement:
        """Latency and energy of one inference; raises ValueError for a policy the chip cannot run."""
        ...


@dataclass(frozen=True)
class ChipConstants:
    """Constants of the model; `PLAUSIBLE` holds the range each is fitted in.

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


# What we hold possible for a small 28 nm accelerator that keeps its data on the chip (our reading, nothing
# published); five measurements cannot determine five constants that act so alike without such bounds.
PLAUSIBLE = ChipConstants(64, 6.4, 0.02, 0.5, 0.02), ChipConstants(1024, 102.4, 1.0, 10.0, 2.0)


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
    """The published facts (and our fitted constants) of ``algo/evolver.json``; not to be changed."""
    facts: dict[str, Any] = json.loads((resources.files("algo") / "evolver.json").read_text(encoding="utf-8"))
    return facts


OPERATING_POINTS = tuple(
    OperatingPoint(float(p["voltage_v"]), float(p["frequency_mhz"])) for p in evolver_facts()["operating_points"]
)
BIT_WIDTHS: tuple[int, ...] = tuple(evolver_facts()["bit_widths"])


def _published_vgg8() -> tuple[LayerShape, ...]:
    layers, inputs, side = [], 3, 32
    for number, outputs in enumerate((128, 128, 256, 256, 512, 512), start=1):
        weights, pixels = 9 * inputs * outputs, side * side
        layers.append(LayerShape(f"conv{number}", pixels * weights, weights, pixels * inputs, pixels * outputs))
        inputs = outputs
        if number % 2 == 0:  # 2x2 pooling
            side //= 2
    for number, (fan_in, outputs) in enumerate(((inputs * side * side, 1024), (1024, 100)), start=1):
        layers.append(LayerShape(f"fc{number}", fan_in * outputs, fan_in * outputs, fan_in, outputs))
    return tuple(layers)


PUBLISHED_VGG8 = _published_vgg8()  # 128-128-256-256-512-512-1024-100 on 32x32 colour images, CIFAR-100
INT8_BASELINE = Policy((8,) * 8, (8,) * 8, OPERATING_POINTS.index(OperatingPoint(0.80, 232.0)))


class EvolverChip:
    """Latency and energy of a network on a bit-scalable accelerator with Evolver's operating points.

    Args:
        layers: shapes of the network's layers, in the order of a policy's bit-widths.
        constants: of the model; default those fitted to the published chip.

    Raises:
        ValueError: if there are no layers.
    """

    def __init__(self, layers: Sequence[LayerShape] = PUBLISHED_VGG8, constants: ChipConstants | None = None) -> None:
        if not layers:
            raise ValueError("a chip needs the shape of at least 1 layer")
        self.layers = tuple(layers)
        self.constants = constants or ChipConstants(**evolver_facts()["constants"])

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """The nine published voltage-frequency pairs, slowest first."""
        return OPERATING_POINTS

    def measure(self, policy: Policy) -> Measurement:
        """Latency (ms) and energy (µJ) of one inference under a policy.

        Raises:
            ValueError: if the policy has not one pair of bit-widths a layer, a bit-width other than 2, 4 and
                8, or a point outside 0..8.
        """
        self._check(policy)
        c, point = self.constants, self.points[policy.point]
        core_us = memory_us = latency_us = operations = moved_bits = 0.0
        for layer, weight, activation in zip(self.layers, policy.weight_bits, policy.activation_bits, strict=True):
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

    def _check(self, policy: Policy) -> None:
        for what, given in (("weight", policy.weight_bits), ("activation", policy.activation_bits)):
            if len(given) != len(self.layers):
                raise ValueError(f"the chip runs {len(self.layers)} layers, not {len(given)} {what} bit-widths")
            for layer, bits in zip(self.layers, given, strict=True):
                if bits not in BIT_WIDTHS:
                    allowed = ", ".join(map(str, BIT_WIDTHS))
                    raise ValueError(f"layer {layer.name}: {what} bits must be one of {allowed}, not {bits!r}")
        if policy.point not in range(len(self.points)):
            raise ValueError(f"operating point must be in 0..{len(self.points) - 1}, not {policy.point!r}")


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


def fit_constants() -> ChipConstants:
    """Fit the constants to the published latencies and energies, each error relative to what was measured.

    Bounded least squares on the logarithms of model over measurement, within `PLAUSIBLE`; needs scipy.
    """
    import numpy as np
    from scipy.optimize import least_squares

    measurements = published_measurements()
    names = [field.name for field in fields(ChipConstants)]

    def constants(logarithms: Sequence[float]) -> ChipConstants:
        return ChipConstants(**dict(zip(names, np.exp(logarithms).tolist(), strict=True)))

    def residuals(logarithms: Sequence[float]) -> list[float]:
        chip = EvolverChip(constants=constants(logarithms))
        modelled = [chip.measure(m.policy) for m in measurements]
        ratios = [m.latency_ms / p.latency_ms for m, p in zip(modelled, measurements, strict=True)]
        ratios += [m.energy_uj / p.energy_uj for m, p in zip(modelled, measurements, strict=True)]
        return np.log(ratios).tolist()  # type: ignore[no-any-return]

    low, high = (np.log(list(asdict(bound).values())) for bound in PLAUSIBLE)
    # Logarithms keep constants positive and of one scale; the middle of the box is far from both its ends.
    result = least_squares(residuals, (low + high) / 2, bounds=(low, high), xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return constants(result.x)


def residual_table(constants: ChipConstants | None = None) -> str:
    """Markdown table of published against modelled latency and energy, a row a policy."""
    chip = EvolverChip(constants=constants)
    lines = [
        "| policy | weight bits | V, MHz | latency (ms) | model | error | energy (µJ) | model | error |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for m in published_measurements():
        bits = " ".join(map(str, m.policy.weight_bits))
        point, made = chip.points[m.policy.point], chip.measure(m.policy)
        latency, energy = made.latency_ms / m.latency_ms - 1, made.energy_uj / m.energy_uj - 1
        lines.append(
            f"| {m.name} | {bits} | {point.voltage_v:.2f}, {point.frequency_mhz:.0f} "
            f"| {m.latency_ms:.2f} | {made.latency_ms:.2f} | {latency:+.1%} "
            f"| {m.energy_uj:.2f} | {made.energy_uj:.2f} | {energy:+.1%} |"
        )
    return "\n".join(lines)


def constants_table(constants: ChipConstants | None = None) -> str:
    """Markdown table of the constants, the range each was fitted in, and which ended on its edge."""
    values = asdict(constants or EvolverChip().constants)
    lines = ["| constant | fitted | range | |", "| --- | ---: | --- | --- |"]
    low, high = (asdict(bound) for bound in PLAUSIBLE)
    for name, value in values.items():
        at_edge = min(abs(value / low[name] - 1), abs(value / high[name] - 1)) < 1e-3
        note = "on the edge: the data do not determine it" if at_edge else ""
        lines.append(f"| `{name}` | {value:.4g} | {low[name]:g} to {high[name]:g} | {note} |")
    return "\n".join(lines)


def main() -> None:
    """Fit the constants and print them as for ``evolver.json``, then the two tables of docs/chip.md."""
    # Six digits are more than the data deserve, and enough for a repeated fit to give the same text.
    rounded = {name: float(f"{value:.6g}") for name, value in asdict(fit_constants()).items()}
    print(json.dumps(rounded, indent=2))
    constants = ChipConstants(**rounded)
    print("", constants_table(constants), "", residual_table(constants), sep="\n")


if __name__ == "__main__":
    main()
