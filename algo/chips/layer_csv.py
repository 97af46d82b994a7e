"""A chip from a CSV of measured layers: from a bench with a power meter, a simulator or another table.

The format is in docs/use/chips.md; `LayerTable.to_csv` writes it.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from algo.chips.chip import UNAVAILABLE, LayerChip, Measurement
from algo.chips.table import FIGURES, PER_LAYER, UNAVAILABLE_TEXT, LayerRow, LayerTable
from algo.space.dimensions import ACTIVATION_BITS, DIMENSIONS, WEIGHT_BITS
from algo.space.policy import OperatingPoint
from algo.support.user_files import LARGEST_FIGURE, read_text, reading, shown

#: What a file must have; columns of other dimensions may be added.
_COLUMNS = ("layer", WEIGHT_BITS.name, ACTIVATION_BITS.name, *FIGURES)
_Key = tuple[str, tuple[int, ...], OperatingPoint]


class TableChip(LayerChip):
    """Looks its layers up in a `LayerTable`.

    Args:
        table: every layer at every value of each dimension and operating point that occurs in it; or that occurs for
            the layer, if layers have values of their own.
        layer_names: of the network it is to run, in order; ``None`` for the table's own layers in its order.
        where: the table in words, for messages.

    Attributes:
        table: what was given.

    Raises:
        ValueError: if combinations are missing, or the layers are not those of the network.
    """

    def __init__(self, table: LayerTable, layer_names: Sequence[str] | None = None, where: str = "the table") -> None:
        self.name, self.origin, self.notes, self.no_energy = table.chip, table.origin, table.notes, table.no_energy
        self.dimensions = table.dimensions
        names = table.layer_names
        points = tuple(dict.fromkeys(row.point for row in table.rows))
        self._costs = {_key(row): Measurement(row.latency_ms, row.energy_uj) for row in table.rows}
        self._where = where
        self.table = table
        self._values = {name: [_values(table, place, name) for place in range(len(table.dimensions))] for name in names}
        wanted = (key for name in names for key in itertools.product([name], self._combinations(name), points))
        missing = [key for key in wanted if key not in self._costs]
        if missing:
            total = len(missing) + len(self._costs)
            raise ValueError(
                f"{where}: {len(missing)} of {total} combinations of layer, bit-widths and operating point are "
                f"missing, the first: {self._in_words(missing[0])}; add them, or remove that bit-width or point "
                "from all layers"
            )
        if layer_names is not None and set(layer_names) != set(names):
            without = ", ".join(name for name in layer_names if name not in names) or "none"
            unknown = ", ".join(name for name in names if name not in layer_names) or "none"
            raise ValueError(
                f"{where} is for another network: layers without a row: {without}; rows without a layer: {unknown}; "
                f"the network's layers are {', '.join(layer_names)}"
            )
        widths = {width for columns in self._values.values() for column in columns for width in column}
        super().__init__(layer_names or names, points, sorted(widths))

    def choices(self, layer: int, dimension: str) -> tuple[int, ...]:
        """The values that the table has for a layer in a dimension, rising."""
        if dimension not in self.dimensions:
            return super().choices(layer, dimension)
        return self._values[self.layer_names[layer]][self.dimensions.index(dimension)]

    def measure_layer(self, index: int, weight_bits: int, activation_bits: int, point: int, **more: int) -> Measurement:
        """Latency and energy as in the table; ValueError for values that it does not have."""
        given = {WEIGHT_BITS.name: weight_bits, ACTIVATION_BITS.name: activation_bits, **more}
        key = (self.layer_names[index], tuple(given[name] for name in self.dimensions), self.points[point])
        if key not in self._costs:
            raise ValueError(f"{self._where} has no row for {self._in_words(key)}")
        return self._costs[key]

    def _combinations(self, layer: str) -> list[tuple[int, ...]]:
        return list(itertools.product(*self._values[layer]))

    def _in_words(self, key: _Key) -> str:
        return _in_words(key, self.dimensions)


def _values(table: LayerTable, place: int, layer: str) -> tuple[int, ...]:
    """Values that a layer of a table has in one dimension: its own, or those of all layers."""
    rows = (row for row in table.rows if row.layer == layer or not table.per_layer)
    return tuple(sorted({row.values[place] for row in rows}))


def read_csv(path: Path) -> LayerTable:
    """Read a table of measured layers.

    Raises:
        ValueError: naming column or line, for wrong units, unknown, missing or repeated columns, text instead of a
            number, figures out of range, repeated rows, or energies of which only some are available.
    """
    lines = read_text(path).splitlines()
    head = list(itertools.takewhile(lambda line: line.startswith("#") or not line.strip(), lines))
    comments = [line[1:].strip() for line in head]
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if n > len(head) and line.strip()]
    if len(numbered) < 2:
        raise ValueError(f"{path} has no rows: it needs a header {','.join(_COLUMNS)} and one row per layer")
    columns = _columns(path, _cells(path, numbered[0][1]))
    dimensions = tuple(name for name in DIMENSIONS if name in columns)
    rows: dict[_Key, tuple[int, LayerRow]] = {}
    for number, line in numbered[1:]:
        row = _row(f"{path} line {number}", columns, dimensions, _cells(path, line))
        if _key(row) in rows:
            raise ValueError(
                f"{path} line {number} repeats line {rows[_key(row)][0]}: {_in_words(_key(row), dimensions)}"
            )
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
    found = tuple(row for _, row in rows.values())
    return LayerTable(name, origin, tuple(said("note")), no_energy, found, dimensions, PER_LAYER in comments)


def _cells(path: Path, line: str) -> list[str]:
    with reading(path, "{} is not a CSV file"):
        return [cell.strip() for cell in next(csv.reader([line]))]


def _columns(path: Path, given: list[str]) -> list[str]:
    known = ("layer", *DIMENSIONS, *FIGURES)
    for column in given:
        if column in known:
            continue
        meant = [wanted for wanted in FIGURES if wanted.split("_")[0] == column.split("_")[0]]
        if meant:
            unit = meant[0].rsplit("_")[1]
            raise ValueError(f"{path}: column {column!r} has the wrong unit or none: give {meant[0]}, in {unit}")
        raise ValueError(f"{path}: unknown column {column!r}: the columns are {', '.join(known)}")
    for column in known:
        if given.count(column) != 1 and (column in _COLUMNS or column in given):
            what = "is missing" if column not in given else "occurs twice"
            raise ValueError(f"{path}: column {column} {what}: the columns are {', '.join(_COLUMNS)}")
    return given


def _row(where: str, columns: list[str], dimensions: tuple[str, ...], cells: list[str]) -> LayerRow:
    if len(cells) != len(columns):
        raise ValueError(f"{where} has {len(cells)} cells, not {len(columns)}")
    given = dict(zip(columns, cells, strict=True))
    if not given["layer"]:
        raise ValueError(f"{where}: the layer has no name")
    values = []
    for column in dimensions:
        low, high = (1, 32) if column in _COLUMNS else (DIMENSIONS[column].low, DIMENSIONS[column].high)
        text = given[column]
        if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
            raise ValueError(f"{where}: {column} must be a whole number in {low}..{high}, not {shown(text)}")
        values.append(int(text))
    figures = {
        column: _figure(f"{where}: {column}", given[column], may_be_unavailable=column != "latency_ms")
        for column in FIGURES
    }
    for column in ("voltage_v", "frequency_mhz"):
        if figures[column] == 0:
            raise ValueError(f"{where}: {column} must be above 0, or {UNAVAILABLE_TEXT}, not 0")
    point = OperatingPoint(figures["voltage_v"], figures["frequency_mhz"])
    return LayerRow(given["layer"], tuple(values), point, figures["latency_ms"], figures["energy_uj"])


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
    return row.layer, row.values, row.point


def _in_words(key: _Key, dimensions: Sequence[str]) -> str:
    layer, values, point = key
    volts = "an unknown voltage" if math.isnan(point.voltage_v) else f"{point.voltage_v:g} V"
    megahertz = "an unknown frequency" if math.isnan(point.frequency_mhz) else f"{point.frequency_mhz:g} MHz"
    chosen = ", ".join(f"{DIMENSIONS[name].title} {value}" for name, value in zip(dimensions, values, strict=True))
    return f"layer {layer}, {chosen} at {volts}, {megahertz}"
