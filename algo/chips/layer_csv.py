"""A chip from a CSV of measured layers: what a bench with a power meter, a simulator or another table gives.

The format is in docs/use/chips.md; `LayerTable.to_csv` writes it.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from algo.chips.chip import UNAVAILABLE, LayerChip, Measurement
from algo.chips.table import COLUMNS, UNAVAILABLE_TEXT, LayerRow, LayerTable
from algo.space.policy import OperatingPoint
from algo.support.user_files import LARGEST_FIGURE, read_text, reading, shown

_Key = tuple[str, int, int, OperatingPoint]


class TableChip(LayerChip):
    """Looks its layers up in a `LayerTable`.

    Args:
        table: every layer at every pair of bit-widths and operating point that occurs in it.
        layer_names: of the network it is to run, in order; ``None`` for the table's own layers in its order.
        where: the table in words, for messages.

    Attributes:
        table: what was given.

    Raises:
        ValueError: if combinations are missing, or the layers are not those of the network.
    """

    def __init__(self, table: LayerTable, layer_names: Sequence[str] | None = None, where: str = "the table") -> None:
        self.name, self.origin, self.notes, self.no_energy = table.chip, table.origin, table.notes, table.no_energy
        names = tuple(dict.fromkeys(row.layer for row in table.rows))
        weights, activations = ({getattr(row, k) for row in table.rows} for k in ("weight_bits", "activation_bits"))
        points = tuple(dict.fromkeys(row.point for row in table.rows))
        self._costs = {_key(row): Measurement(row.latency_ms, row.energy_uj) for row in table.rows}
        self._where = where
        self.table = table
        wanted = itertools.product(names, sorted(weights), sorted(activations), points)
        missing = [key for key in wanted if key not in self._costs]
        if missing:
            total = len(missing) + len(self._costs)
            raise ValueError(
                f"{where}: {len(missing)} of {total} combinations of layer, bit-widths and operating point are "
                f"missing, the first: {_in_words(missing[0])}; add them, or leave that bit-width or point out "
                "everywhere"
            )
        if layer_names is not None and set(layer_names) != set(names):
            without = ", ".join(name for name in layer_names if name not in names) or "none"
            unknown = ", ".join(name for name in names if name not in layer_names) or "none"
            raise ValueError(
                f"{where} is not of this network: without a row are {without}; not in the network are {unknown}; "
                f"the network's layers are {', '.join(layer_names)}"
            )
        super().__init__(layer_names or names, points, sorted(weights | activations))

    def measure_layer(self, index: int, weight_bits: int, activation_bits: int, point: int) -> Measurement:
        """Latency and energy as in the table; ValueError for a pair of bit-widths it has not."""
        key = (self.layer_names[index], weight_bits, activation_bits, self.points[point])
        if key not in self._costs:
            raise ValueError(f"{self._where} has no row for {_in_words(key)}")
        return self._costs[key]


def read_csv(path: Path) -> LayerTable:
    """Read a table of measured layers.

    Raises:
        ValueError: naming column or line, for wrong units, unknown, missing or repeated columns, text that is no
            number, figures out of range, repeated rows, or energies of which only some are available.
    """
    lines = read_text(path).splitlines()
    head = list(itertools.takewhile(lambda line: line.startswith("#") or not line.strip(), lines))
    comments = [line[1:].strip() for line in head]
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if n > len(head) and line.strip()]
    if len(numbered) < 2:
        raise ValueError(f"{path} has no rows: a header {','.join(COLUMNS)} and a row a layer are wanted")
    columns = _columns(path, _cells(path, numbered[0][1]))
    rows: dict[_Key, tuple[int, LayerRow]] = {}
    for number, line in numbered[1:]:
        row = _row(f"{path} line {number}", columns, _cells(path, line))
        if _key(row) in rows:
            raise ValueError(f"{path} line {number} repeats line {rows[_key(row)][0]}: {_in_words(_key(row))}")
        rows[_key(row)] = number, row
    without = [number for number, row in rows.values() if math.isnan(row.energy_uj)]
    if 0 < len(without) < len(rows):
        raise ValueError(
            f"{path}: energy_uj is unavailable in {len(without)} of {len(rows)} rows, the first in line {without[0]}: "
            "measure it for all, or write unavailable for all"
        )

    def said(key: str) -> list[str]:
        return [comment.removeprefix(f"{key}:").strip() for comment in comments if comment.startswith(f"{key}:")]

    no_energy = (said("energy unavailable") or [f"{path} has none"])[0] if without else None
    name, origin = (said("chip") or [path.stem])[0], (said("origin") or [f"measured layers of {path.name}"])[0]
    return LayerTable(name, origin, tuple(said("note")), no_energy, tuple(row for _, row in rows.values()))


def _cells(path: Path, line: str) -> list[str]:
    with reading(path, "{} is no CSV"):
        return [cell.strip() for cell in next(csv.reader([line]))]


def _columns(path: Path, given: list[str]) -> list[str]:
    for column in given:
        if column in COLUMNS:
            continue
        meant = [wanted for wanted in COLUMNS if wanted.rsplit("_")[0] == column.split("_")[0] and "bits" not in wanted]
        if meant and meant[0] != "layer":
            unit = meant[0].rsplit("_")[1]
            raise ValueError(f"{path}: column {column!r} has the wrong unit or none: give {meant[0]}, in {unit}")
        raise ValueError(f"{path}: unknown column {column!r}: the columns are {', '.join(COLUMNS)}")
    for column in COLUMNS:
        if given.count(column) != 1:
            what = "is missing" if column not in given else "occurs twice"
            raise ValueError(f"{path}: column {column} {what}: the columns are {', '.join(COLUMNS)}")
    return given


def _row(where: str, columns: list[str], cells: list[str]) -> LayerRow:
    if len(cells) != len(columns):
        raise ValueError(f"{where} has {len(cells)} cells, not {len(columns)}")
    given = dict(zip(columns, cells, strict=True))
    if not given["layer"]:
        raise ValueError(f"{where}: the layer has no name")
    bits = []
    for column in ("weight_bits", "activation_bits"):
        if not given[column].isdecimal() or len(given[column]) > 2 or not 1 <= int(given[column]) <= 32:
            raise ValueError(f"{where}: {column} must be a whole number in 1..32, not {shown(given[column])}")
        bits.append(int(given[column]))
    figures = {
        column: _figure(f"{where}: {column}", given[column], may_be_unavailable=column != "latency_ms")
        for column in COLUMNS[3:]
    }
    for column in ("voltage_v", "frequency_mhz"):
        if figures[column] == 0:
            raise ValueError(f"{where}: {column} must be above 0, or {UNAVAILABLE_TEXT}, not 0")
    point = OperatingPoint(figures["voltage_v"], figures["frequency_mhz"])
    return LayerRow(given["layer"], bits[0], bits[1], point, figures["latency_ms"], figures["energy_uj"])


def _figure(where: str, text: str, may_be_unavailable: bool) -> float:
    if may_be_unavailable and text == UNAVAILABLE_TEXT:
        return UNAVAILABLE
    or_so = f", or {UNAVAILABLE_TEXT}" if may_be_unavailable else ""
    try:
        figure = float(text)
    except ValueError:
        raise ValueError(f"{where} must be a number{or_so}, not {shown(text)}") from None
    if not 0 <= figure < math.inf:
        raise ValueError(f"{where} must be a number of 0 or more{or_so}, not {text}")
    if figure > LARGEST_FIGURE:
        raise ValueError(f"{where} must be at most {LARGEST_FIGURE:g}{or_so}, not {text}")
    return figure


def _key(row: LayerRow) -> _Key:
    return row.layer, row.weight_bits, row.activation_bits, row.point


def _in_words(key: _Key) -> str:
    layer, weight, activation, point = key
    volts = "an unknown voltage" if math.isnan(point.voltage_v) else f"{point.voltage_v:g} V"
    megahertz = "an unknown frequency" if math.isnan(point.frequency_mhz) else f"{point.frequency_mhz:g} MHz"
    return f"layer {layer}, {weight}-bit weights, {activation}-bit activations at {volts}, {megahertz}"
