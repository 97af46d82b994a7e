"""The per-layer, per-bit table of latency and energy of any chip, and how it is written."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from algo.chips.chip import LayerChip
from algo.space.policy import OperatingPoint

#: Columns of the CSV; what is measured in something carries its unit.
COLUMNS = ("layer", "weight_bits", "activation_bits", "voltage_v", "frequency_mhz", "latency_ms", "energy_uj")
#: What stands in a text where a figure would, had anybody been able to measure it.
UNAVAILABLE_TEXT = "unavailable"


@dataclass(frozen=True)
class LayerRow:
    """Latency (ms) and energy (µJ) of one layer, at its bit-widths and an operating point, in one inference."""

    layer: str
    weight_bits: int
    activation_bits: int
    point: OperatingPoint
    latency_ms: float
    energy_uj: float


@dataclass(frozen=True)
class LayerTable:
    """Rows of a chip, layer by layer, with where they come from.

    Attributes:
        chip: its name.
        origin: where the figures come from, in words.
        notes: what a reader must know.
        no_energy: why energy is unavailable; ``None`` if it is known.
        rows: one for each layer, pair of bit-widths and operating point.
    """

    chip: str
    origin: str
    notes: tuple[str, ...]
    no_energy: str | None
    rows: tuple[LayerRow, ...]

    def to_csv(self) -> str:
        """As CSV that `algo.chips.layer_csv.read_csv` reads again, to the last digit; origin and notes in comments."""
        text = io.StringIO()
        for key, value in (("chip", self.chip), ("origin", self.origin), *(("note", note) for note in self.notes)):
            text.write(f"# {key}: {' '.join(value.split())}\n")
        if self.no_energy is not None:
            text.write(f"# energy unavailable: {' '.join(self.no_energy.split())}\n")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            figures = (row.point.voltage_v, row.point.frequency_mhz, row.latency_ms, row.energy_uj)
            texts = [UNAVAILABLE_TEXT if math.isnan(figure) else repr(float(figure)) for figure in figures]
            writer.writerow([row.layer, row.weight_bits, row.activation_bits, *texts])
        return text.getvalue()

    def to_markdown(self) -> str:
        """As a Markdown table with its origin and notes."""
        lines = [f"{self.chip}: {self.origin}"]
        if self.no_energy is not None:
            lines.append(f"energy is unavailable: {self.no_energy}")
        lines += [f"- {note}" for note in self.notes]
        lines += [
            "",
            "| layer | weight bits | activation bits | V | MHz | latency ms | energy uJ |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in self.rows:
            volts, megahertz = _shown(row.point.voltage_v, ".2f"), _shown(row.point.frequency_mhz, "g")
            latency, energy = _shown(row.latency_ms, ".4g"), _shown(row.energy_uj, ".4g")
            lines.append(
                f"| {row.layer} | {row.weight_bits} | {row.activation_bits} | {volts} | {megahertz} "
                f"| {latency} | {energy} |"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """As an object for JSON, with ``null`` for what is unavailable."""
        return {
            "chip": self.chip,
            "origin": self.origin,
            "notes": list(self.notes),
            "energy_unavailable": self.no_energy,
            "units": {"voltage_v": "V", "frequency_mhz": "MHz", "latency_ms": "ms", "energy_uj": "uJ"},
            "rows": [
                {
                    "layer": row.layer,
                    "weight_bits": row.weight_bits,
                    "activation_bits": row.activation_bits,
                    "voltage_v": or_none(row.point.voltage_v),
                    "frequency_mhz": or_none(row.point.frequency_mhz),
                    "latency_ms": or_none(row.latency_ms),
                    "energy_uj": or_none(row.energy_uj),
                }
                for row in self.rows
            ],
        }


def layer_table(
    chip: LayerChip,
    weight_bits: Sequence[int],
    activation_bits: Sequence[int],
    points: Sequence[int] | None = None,
) -> LayerTable:
    """Ask a chip for every layer at every pair of bit-widths and operating point.

    Args:
        chip: any that answers layer by layer.
        weight_bits, activation_bits: bit-widths to ask for.
        points: numbers of operating points; ``None`` for all.

    Raises:
        ValueError: for a bit-width or a point the chip has not.
    """
    from tqdm import tqdm

    for what, given in (("weight", weight_bits), ("activation", activation_bits)):
        for bits in given:
            if bits not in chip.bit_widths:
                allowed = ", ".join(map(str, chip.bit_widths))
                raise ValueError(f"chip {chip.name} has {what}s of {allowed} bits, not {bits}")
    for point in points or ():
        if not 0 <= point < len(chip.points):
            raise ValueError(f"chip {chip.name} has operating points 0..{len(chip.points) - 1}, not {point}")
    rows = []
    for index, layer in enumerate(tqdm(chip.layer_names, unit="layer", disable=None, file=sys.stderr, leave=False)):
        for weight in weight_bits:
            for activation in activation_bits:
                for point in range(len(chip.points)) if points is None else points:
                    cost = chip.measure_layer(index, weight, activation, point)
                    rows.append(
                        LayerRow(layer, weight, activation, chip.points[point], cost.latency_ms, cost.energy_uj)
                    )
    return LayerTable(chip.name, chip.origin, chip.notes, chip.no_energy, tuple(rows))


def or_none(figure: float) -> float | None:
    """A figure for JSON: ``None`` if it is unavailable."""
    return None if math.isnan(figure) else figure


def _shown(figure: float, how: str) -> str:
    return UNAVAILABLE_TEXT if math.isnan(figure) else format(figure, how)
