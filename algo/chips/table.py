"""The table of a chip's latency and energy by layer and bit-width, and its formats."""

from __future__ import annotations

import csv
import io
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from algo.chips.chip import LayerChip
from algo.space.dimensions import ACTIVATION_BITS, WEIGHT_BITS, dimension_named
from algo.space.policy import OperatingPoint

#: Columns of the CSV after the layer and its dimensions, with their units.
FIGURES = ("voltage_v", "frequency_mhz", "latency_ms", "energy_uj")
#: Text in place of a figure that could not be measured.
UNAVAILABLE_TEXT = "unavailable"
#: Comment in the CSV of a chip whose layers have values of their own.
PER_LAYER = "values of each layer"


@dataclass(frozen=True)
class LayerRow:
    """Latency (ms) and energy (µJ) of a layer in one inference, at a value of each dimension and an operating point."""

    layer: str
    values: tuple[int, ...]
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
        rows: one for each layer, value of each dimension and operating point.
        dimensions: names of the rows' values.
        per_layer: whether each layer has its own values.
    """

    chip: str
    origin: str
    notes: tuple[str, ...]
    no_energy: str | None
    rows: tuple[LayerRow, ...]
    dimensions: tuple[str, ...] = (WEIGHT_BITS.name, ACTIVATION_BITS.name)
    per_layer: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the CSV."""
        return ("layer", *self.dimensions, *FIGURES)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers, in the order of the rows."""
        return tuple(dict.fromkeys(row.layer for row in self.rows))

    def to_csv(self) -> str:
        """As CSV that `algo.chips.layer_csv.read_csv` reads again, to the last digit; origin and notes in comments."""
        text = io.StringIO()
        for key, value in (("chip", self.chip), ("origin", self.origin), *(("note", note) for note in self.notes)):
            text.write(f"# {key}: {' '.join(value.split())}\n")
        if self.no_energy is not None:
            text.write(f"# energy unavailable: {' '.join(self.no_energy.split())}\n")
        if self.per_layer:
            text.write(f"# {PER_LAYER}\n")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            figures = (row.point.voltage_v, row.point.frequency_mhz, row.latency_ms, row.energy_uj)
            texts = [UNAVAILABLE_TEXT if math.isnan(figure) else repr(float(figure)) for figure in figures]
            writer.writerow([row.layer, *row.values, *texts])
        return text.getvalue()

    def to_markdown(self) -> str:
        """As a Markdown table with its origin and notes."""
        lines = [f"{self.chip}: {self.origin}"]
        if self.no_energy is not None:
            lines.append(f"energy is unavailable: {self.no_energy}")
        lines += [f"- {note}" for note in self.notes]
        titles = [dimension_named(name).title for name in self.dimensions]
        lines += [
            "",
            f"| layer | {' | '.join(titles)} | V | MHz | latency ms | energy uJ |",
            "| --- |" + " ---: |" * (len(titles) + 4),
        ]
        for row in self.rows:
            volts, megahertz = _shown(row.point.voltage_v, ".2f"), _shown(row.point.frequency_mhz, "g")
            latency, energy = _shown(row.latency_ms, ".4g"), _shown(row.energy_uj, ".4g")
            lines.append(
                f"| {row.layer} | {' | '.join(map(str, row.values))} | {volts} | {megahertz} | {latency} | {energy} |"
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
                    **dict(zip(self.dimensions, row.values, strict=True)),
                    "voltage_v": or_none(row.point.voltage_v),
                    "frequency_mhz": or_none(row.point.frequency_mhz),
                    "latency_ms": or_none(row.latency_ms),
                    "energy_uj": or_none(row.energy_uj),
                }
                for row in self.rows
            ],
        }


def everywhere(**values: Sequence[int]) -> Callable[[int, str], Sequence[int]]:
    """Choices for `layer_table`: the same values by dimension in every layer."""
    return lambda layer, dimension: values[dimension]


def layer_table(
    chip: LayerChip,
    choices: Callable[[int, str], Sequence[int]] | None = None,
    points: Sequence[int] | None = None,
) -> LayerTable:
    """Ask a chip for every layer at every value of its dimensions and every operating point.

    Args:
        chip: any that answers layer by layer.
        choices: what to ask for, by the number of a layer and the name of a dimension; ``None`` for all that the
            chip knows.
        points: numbers of operating points; ``None`` for all.

    Raises:
        ValueError: for a value or a point that the chip does not have.
    """
    from tqdm import tqdm

    for point in points or ():
        if not 0 <= point < len(chip.points):
            raise ValueError(f"chip {chip.name} has operating points 0..{len(chip.points) - 1}, not {point}")
    names = chip.dimensions
    wanted = [
        tuple(tuple((choices or chip.choices)(layer, name)) for name in names) for layer in range(len(chip.layer_names))
    ]
    for layer, columns in enumerate(wanted):
        for name, values in zip(names, columns, strict=True):
            known = chip.choices(layer, name)
            for value in values:
                if value not in known:
                    raise ValueError(
                        f"chip {chip.name} has {dimension_named(name).title} of {', '.join(map(str, known))} in layer "
                        f"{chip.layer_names[layer]}, not {value}"
                    )
    rows = []
    for index, layer in enumerate(tqdm(chip.layer_names, unit="layer", disable=None, file=sys.stderr, leave=False)):
        for values in itertools.product(*wanted[index]):
            for point in range(len(chip.points)) if points is None else points:
                cost = chip.measure_layer(index, point=point, **dict(zip(names, values, strict=True)))
                rows.append(LayerRow(layer, values, chip.points[point], cost.latency_ms, cost.energy_uj))
    different = len(set(wanted)) > 1
    return LayerTable(chip.name, chip.origin, chip.notes, chip.no_energy, tuple(rows), names, different)


def or_none(figure: float) -> float | None:
    """A figure for JSON: ``None`` if it is unavailable."""
    return None if math.isnan(figure) else figure


def _shown(figure: float, how: str) -> str:
    return UNAVAILABLE_TEXT if math.isnan(figure) else format(figure, how)
