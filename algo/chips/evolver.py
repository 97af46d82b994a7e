"""An analytical model of Evolver, layer by layer, from compute and memory.

docs/understand/evolver-model.md has the equations. The constants are fitted to what was published
(`algo.chips.evolver_fit`). Latency and energy are those of the published full-width VGG8 unless other layers are given,
even when a narrower network is trained beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from algo.chips.chip import LayerChip, Measurement
from algo.published.evolver import BIT_WIDTHS, OPERATING_POINTS, PUBLISHED_VGG8, evolver_facts
from algo.space.layers import LayerShape
from algo.space.policy import OperatingPoint, Policy


@dataclass(frozen=True)
class ChipConstants:
    """Constants of the model; `algo.chips.evolver_fit.PLAUSIBLE` holds the range each is fitted in.

    Attributes:
        macs_per_cycle: 8x8-bit multiply-accumulates per core cycle, the array's rate times its mean use.
        memory_gbit_per_s: weights and activations moved in a nanosecond; memory has its own clock, so
            this does not depend on the core's frequency.
        mac_energy_pj: energy of one 8x8-bit multiply-accumulate at 1 V, in pJ.
        leakage_mw: static power at 1 V, in mW; proportional to voltage.
        memory_energy_pj_per_bit: energy of a bit moved, in pJ, at the memory's own fixed voltage.
    """

    macs_per_cycle: float
    memory_gbit_per_s: float
    mac_energy_pj: float
    leakage_mw: float
    memory_energy_pj_per_bit: float


class EvolverChip(LayerChip):
    """Latency and energy of a network on a bit-scalable accelerator; by default Evolver.

    Args:
        layers: shapes of the network's layers, in the order of a policy's bit-widths.
        constants: of the model; default those fitted to the published chip.
        points: operating points; default the nine published ones, slowest first.
        bit_widths: of weights and activations.
        layer_bit_widths: of layers with other bit-widths, by name.

    Raises:
        ValueError: without layers.
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
        layer_bit_widths: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__([layer.name for layer in layers], points, bit_widths, layer_bit_widths)
        self.layers = tuple(layers)
        self.constants = constants or ChipConstants(**evolver_facts()["constants"])

    def measure_layer(self, index: int, weight_bits: int, activation_bits: int, point: int) -> Measurement:
        """Latency and energy of one layer."""
        return self._cost(((self.layers[index], weight_bits, activation_bits),), self.points[point])

    def measure(self, policy: Policy) -> Measurement:
        """Latency (ms) and energy (µJ) of one inference under a policy.

        This is the sum over the layers except for the last digits: work and bits are added before they are multiplied
        with their energies. Recorded runs depend on this order.

        Raises:
            ValueError: if the policy does not have one pair of bit-widths per layer, or has a bit-width or a point that
                the chip does not have.
        """
        self._check(policy)
        works = zip(self.layers, policy.weight_bits, policy.activation_bits, strict=True)
        return self._cost(works, self.points[policy.point])

    def _cost(self, works: Iterable[tuple[LayerShape, int, int]], point: OperatingPoint) -> Measurement:
        c = self.constants
        core_us = memory_us = latency_us = operations = moved_bits = 0.0
        for layer, weight, activation in works:
            # The array splits its multipliers: half the bits on either side, twice the operations per cycle.
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
