"""Policy tables as Parquet files, ours and other people's. docs/use/qvf-bench.md has the format.

Reading is strict: a search over a table with a missing or duplicate row would be wrong without a sign. Needs pyarrow,
but neither torch nor pandas.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from algo.search.tables.policy_table import Floats, PolicyTable
from algo.space.dimensions import DIMENSIONS
from algo.space.policy import OperatingPoint, PolicySpace, Row
from algo.support.user_files import LARGEST_FIGURE, check_object, parse_json, reading, shown
from sim.files import write_atomically

__all__ = ["FORMAT", "QUANTITIES", "read_table", "write_table"]

FORMAT = 1
#: Format of a table of other spaces than the published kind (`PolicySpace.of_bit_widths`): its rows are described.
FORMAT_OF_ROWS = 2
QUANTITIES = {"accuracy": "fraction", "latency_ms": "ms", "energy_uj": "µJ", "voltage_v": "V", "frequency_mhz": "MHz"}
_METADATA = b"rlu.policy_table"
#: Types of the metadata, each of which may be left out.
_DESCRIBED: dict[str, Any] = {
    "format": int,
    "source": str,
    "units": dict[str, str],
    "layer_names": list[str],
    "weight_choices": list[int],
    "activation_choices": list[int],
    "points": list[tuple[float, float]],
    "origin": dict[str, Any],
    "rows": list[dict[str, Any]],
    "layers": int,
}
_ROW: dict[str, Any] = {"where": str, "layers": list[int], "dimensions": list[str], "choices": list[list[int]]}
_WEIGHTS, _ACTIVATIONS = "weight_bits_", "activation_bits_"

Integers = npt.NDArray[np.int64]


def write_table(table: PolicyTable, path: Path) -> None:
    """Write a table; the same table gives the same bytes with the same pyarrow.

    Raises:
        OSError: naming the path; an older file there is then left unchanged.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    space = table.space
    published = space.uniform and space.dimensions == tuple(name[:-1] for name in (_WEIGHTS, _ACTIVATIONS))
    actions = np.indices(space.action_counts, dtype=np.int16).reshape(len(space.rows), -1)
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in space.dimensions:
        if published and len(space.choices(name)) == 1 and name == _ACTIVATIONS[:-1]:
            continue  # the metadata have it
        for layer in range(space.layers):
            number = next(
                (k for k, row in enumerate(space.rows) if name in row.dimensions and layer in row.layers), None
            )
            if number is None:
                columns[f"{name}_{layer + 1}"] = np.full(space.size, DIMENSIONS[name].usual, np.int8)
            else:
                values = np.array(space.rows[number].values(name))
                narrow = np.int8 if values.max() < 128 else np.int64
                columns[f"{name}_{layer + 1}"] = values.astype(narrow)[actions[number]]
    columns["voltage_v"] = np.array([point.voltage_v for point in table.points])[actions[-1]]
    columns["frequency_mhz"] = np.array([point.frequency_mhz for point in table.points])[actions[-1]]
    columns |= {name: getattr(table, name) for name in ("accuracy", "latency_ms", "energy_uj")}
    if table.accuracy_std is not None:
        columns["accuracy_std"] = table.accuracy_std
    described: dict[str, Any] = {
        "format": FORMAT,
        "source": table.source,
        "units": QUANTITIES,
        "layer_names": table.layer_names,
        "weight_choices": space.choices(_WEIGHTS[:-1]),
        "activation_choices": space.choices(_ACTIVATIONS[:-1]),
        "points": [[point.voltage_v, point.frequency_mhz] for point in table.points],
        "origin": table.origin,
    }
    if not published:
        for name in ("weight_choices", "activation_choices"):
            del described[name]
        described |= {"format": FORMAT_OF_ROWS, "layers": space.layers}
        described["rows"] = [{key: getattr(row, key) for key in _ROW} for row in space.rows[:-1]]
    made = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(described, ensure_ascii=False)})
    buffer = io.BytesIO()
    pq.write_table(made, buffer, compression="zstd", compression_level=9, write_statistics=False)
    write_atomically(path, buffer.getvalue())


def read_table(path: Path) -> PolicyTable:
    """Read a table, also one that another program made.

    Raises:
        ValueError: if the file is not a Parquet file, or its columns, units, rows or figures are not those of a table;
            the message says which, and names the first policy concerned.
        OSError: if it cannot be read.
        ModuleNotFoundError: without pyarrow.
    """
    import pyarrow as pa

    # pyarrow.parquet, which is built on it, takes as long to import as a whole table takes to read.
    from pyarrow._parquet import ParquetReader  # type: ignore[import-untyped]

    content = path.read_bytes()
    with reading(path, "{} is not a Parquet file, or is damaged"):
        reader = ParquetReader()
        reader.open(pa.BufferReader(content))
        made = reader.read_all(use_threads=False)
    with reading(path, "table {}"):
        return _table(_Columns(made, pa.types), path.name)


class _Columns:
    """Columns of an Arrow table as checked arrays, and what its metadata say."""

    def __init__(self, table: Any, types: Any) -> None:
        self._table, self._types = table, types  # an Arrow table, and the module pyarrow.types
        self.names: list[str] = table.column_names
        self.rows: int = table.num_rows
        if not self.rows:
            raise ValueError("it has no rows")
        for name in self.names:
            if self.names.count(name) > 1:
                raise ValueError(f"it has two columns {name}")
        words = f"its metadata {_METADATA.decode()}"
        try:
            described = parse_json((table.schema.metadata or {}).get(_METADATA, b"{}"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{words} are damaged: {error}") from error
        self.described = check_object(described, _DESCRIBED, words, optional=_DESCRIBED)
        if described.get("format", FORMAT) not in (FORMAT, FORMAT_OF_ROWS):
            raise ValueError(
                f"it has format {shown(described['format'])}; this version reads formats {FORMAT} and {FORMAT_OF_ROWS}"
            )
        for name, unit in described.get("units", {}).items():
            if QUANTITIES.get(name, unit) != unit:
                raise ValueError(f"its metadata say that {name} is in {unit!r}: give it in {QUANTITIES[name]!r}")

    def figures(self, name: str) -> Floats:
        """A column of finite numbers."""
        values = self._numbers(name).astype(np.float64)
        self.refuse(~np.isfinite(values), values, f"{name} must be a number", name)
        self.refuse(abs(values) > LARGEST_FIGURE, values, f"{name} must be at most {LARGEST_FIGURE:g}", name)
        return values

    def integers(self, name: str) -> Integers:
        """A column of whole numbers."""
        values = self._numbers(name)
        if values.dtype.kind not in "iu":
            raise ValueError(f"column {name} must hold integers, not {self._table.schema.field(name).type}")
        if values.dtype == np.uint64:  # may exceed the other
            values = values.clip(max=np.iinfo(np.int64).max)
        return values.astype(np.int64)

    def refuse(self, wrong: npt.NDArray[np.bool_], values: npt.NDArray[Any], rule: str, name: str) -> None:
        """Raise if any row is wrong, and name the first."""
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{rule}, not {values[row]:g} as in row {row + 1} ({self.policy(row)}); {wrong.sum():,} such rows"
            )

    def policy(self, row: int) -> str:
        """A row's policy in words."""
        # Only these columns: values of a user's own columns may not exist in Python.
        prefixes = [f"{name}_" for name in DIMENSIONS]
        needed = [name for name in self.names if name.startswith((*prefixes, "voltage_v", "frequency_mhz"))]
        picked = {name: self._table.column(name)[row].as_py() for name in needed}
        parts = []
        for dimension in DIMENSIONS.values():
            columns = [f"{dimension.name}_{k}" for k in range(1, len(picked) + 1)]
            values = [picked[column] for column in columns if column in picked]
            parts += [f"{dimension.title} {_joined(values)}"] * bool(values)
        return ", ".join([*parts, f"{picked.get('voltage_v')} V", f"{picked.get('frequency_mhz')} MHz"])

    def _numbers(self, name: str) -> npt.NDArray[Any]:
        if name not in self.names:
            quantity = name.split("_")[0]
            others = [other for other in self.names if other.split("_")[0] == quantity and other != "accuracy_std"]
            must = f"{name} must be in {QUANTITIES[name]}"
            hint = f"; {others[0]} may be the same in another unit: {must}" if others else ""
            raise ValueError(f"column {name} is missing; it has {', '.join(self.names)}{hint}")
        column = self._table.column(name)
        if column.null_count:
            raise ValueError(f"{column.null_count:,} rows have no {name}")
        kind = column.type
        if not (self._types.is_integer(kind) or self._types.is_floating(kind)):
            raise ValueError(f"column {name} must hold numbers, not {kind}")
        # Arrow's own to_numpy() imports pandas, where there is one, for half a second.
        return np.concatenate([np.from_dlpack(chunk) for chunk in column.chunks])


def _table(columns: _Columns, file_name: str) -> PolicyTable:
    described = columns.described
    point, points = _points(columns, described.get("points"))
    if described.get("format") == FORMAT_OF_ROWS:
        space, actions = _described_space(columns, len(points))
    else:
        space, actions = _bit_width_space(columns, len(points))
    order = _order(columns, space, points, [*actions, point])

    accuracy = columns.figures("accuracy")
    per_cent = "; it looks like per cent: divide it by 100" if 1 < accuracy.max() <= 100 else ""
    columns.refuse((accuracy < 0) | (accuracy > 1), accuracy, f"accuracy must be in 0..1{per_cent}", "accuracy")
    costs = {name: columns.figures(name) for name in ("latency_ms", "energy_uj")}
    for name, values in costs.items():
        columns.refuse(values < 0, values, f"{name} must be at least 0", name)
    deviation = None
    if "accuracy_std" in columns.names:
        deviation = columns.figures("accuracy_std")
        columns.refuse(deviation < 0, deviation, "accuracy_std must be at least 0", "accuracy_std")
        deviation = deviation[order]
    return PolicyTable(
        space,
        points,
        accuracy[order],
        costs["latency_ms"][order],
        costs["energy_uj"][order],
        str(described.get("source", file_name)),
        deviation,
        tuple(described.get("layer_names", ())),
        dict(described.get("origin", {})),
    )


def _bit_width_space(columns: _Columns, points: int) -> tuple[PolicySpace, list[Integers]]:
    """The space of a table of bit-widths, and each row's actions without the operating point."""
    described = columns.described
    weights, weight_choices = _bits(columns, _WEIGHTS, described.get("weight_choices"))
    activations, activation_choices = _bits(columns, _ACTIVATIONS, described.get("activation_choices"))
    if not weights:
        raise ValueError(f"column {_WEIGHTS}1 is missing; it has {', '.join(columns.names)}")
    if activations and len(activations) != len(weights):
        raise ValueError(f"it has weight bits of {len(weights)} layers but activation bits of {len(activations)}")
    if not activations:
        activations = [np.zeros(columns.rows, np.int64)] * len(weights)
    space = PolicySpace.of_bit_widths(len(weights), points, weight_choices, activation_choices)
    if space.uniform:
        return space, [a * len(weight_choices) + w for a, w in zip(activations, weights, strict=True)]
    pairs = zip(weights, activations, strict=True)  # more than 16 pairs: a row for each of the two
    return space, [column for pair in pairs for column in pair]


def _described_space(columns: _Columns, points: int) -> tuple[PolicySpace, list[Integers]]:
    """The space that the metadata describe, and each row's actions without the operating point."""
    described = check_object(columns.described, {"rows": _DESCRIBED["rows"], "layers": int}, "its metadata")
    rows, actions = [], []
    for entry in described["rows"]:
        check_object(entry, _ROW, "a row of its metadata")
        choices = tuple(tuple(choice) for choice in entry["choices"])
        if not entry["dimensions"] or not entry["layers"] or {len(c) for c in choices} != {len(entry["dimensions"])}:
            raise ValueError(f"row {entry['where']!r} of its metadata needs layers, dimensions and a value of each")
        rows.append(Row(entry["where"], tuple(entry["layers"]), tuple(entry["dimensions"]), choices))
    space = PolicySpace((*rows, Row("chip", (), (), tuple((k,) for k in range(points)))), described["layers"])
    for row in rows:
        action = np.full(columns.rows, -1)
        for layer in row.layers:
            values = [columns.integers(f"{name}_{layer + 1}") for name in row.dimensions]
            found = np.full(columns.rows, -1)
            for number, choice in enumerate(row.choices):
                found[np.logical_and.reduce([v == c for v, c in zip(values, choice, strict=True)])] = number
            name = f"{row.dimensions[0]}_{layer + 1}"
            columns.refuse(found < 0, values[0], f"{name} must be one of the choices that the metadata name", name)
            columns.refuse((action >= 0) & (found != action), values[0], f"{name} must be as in {row.where}", name)
            action = found
        actions.append(action)
    return space, actions


def _bits(columns: _Columns, prefix: str, given: Sequence[int] | None) -> tuple[list[Integers], tuple[int, ...]]:
    """For every layer each row's place among the choices, and the choices, as given or ascending."""
    found = [name for name in columns.names if name.startswith(prefix)]
    if not found and prefix == _ACTIVATIONS:
        fixed = tuple(given or (8,))
        if len(fixed) > 1:
            raise ValueError(f"its metadata say that activation bits are {list(fixed)}, but it has no column {prefix}1")
        if not 2 <= fixed[0] <= 16:
            raise ValueError(f"activation bits must be in 2..16, not {shown(fixed[0])} as its metadata say")
        return [], fixed
    names = [f"{prefix}{k + 1}" for k in range(len(found))]
    if set(names) != set(found):
        missing = next(name for name in names if name not in found)
        raise ValueError(f"column {missing} is missing; it has {', '.join(found)}: layers are numbered from 1")
    values = [columns.integers(name) for name in names]
    for name, bits in zip(names, values, strict=True):
        columns.refuse((bits < 2) | (bits > 16), bits, f"{name} must be in 2..16", name)
    present = np.flatnonzero(sum((np.bincount(bits, minlength=17) for bits in values), np.zeros(17, np.int64)))
    choices = _in_order(tuple(present.tolist()), given, f"{prefix[:-1]} choices")
    place = np.zeros(17, np.int64)
    place[list(choices)] = np.arange(len(choices))
    return [place[bits] for bits in values], choices


def _points(columns: _Columns, given: Sequence[Sequence[float]] | None) -> tuple[Integers, tuple[OperatingPoint, ...]]:
    """Each row's place among the operating points, and the points, as given or by frequency, then voltage."""
    voltage, frequency = columns.figures("voltage_v"), columns.figures("frequency_mhz")
    for name, values in (("voltage_v", voltage), ("frequency_mhz", frequency)):
        columns.refuse(values <= 0, values, f"{name} must be above 0", name)
    pairs, row_pair = np.unique(frequency + 1j * voltage, return_inverse=True)  # sorts by the real part first
    present = tuple((float(pair.imag), float(pair.real)) for pair in pairs)
    chosen = _in_order(present, None if given is None else [(float(v), float(f)) for v, f in given], "operating points")
    place = np.array([chosen.index(pair) for pair in present])
    return place[row_pair], tuple(OperatingPoint(*pair) for pair in chosen)


def _in_order(present: tuple[Any, ...], given: Sequence[Any] | None, what: str) -> tuple[Any, ...]:
    if given is None:
        return present
    if sorted(given) != sorted(present):
        raise ValueError(f"its metadata say that {what} are {list(given)}, but its rows have {list(present)}")
    return tuple(given)


def _order(
    columns: _Columns, space: PolicySpace, points: Sequence[OperatingPoint], actions: Sequence[Integers]
) -> npt.NDArray[np.intp] | slice:
    """Index that puts rows in the order of policies; raises unless every policy has exactly one row."""
    if space.size >= 2**62:
        raise ValueError(f"{space.size - columns.rows:,} rows are missing: {columns.rows:,} of {space.size:,}")
    index = np.zeros(columns.rows, np.int64)
    for action, count in zip(actions, space.action_counts, strict=True):
        index = index * count + action
    if columns.rows == space.size and (index == np.arange(space.size)).all():
        return slice(None)
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    doubled = ordered[1:] == ordered[:-1]
    if doubled.any():
        second = int(order[1:][doubled].min())  # the first row, in the file's order, whose policy came before
        first = int(np.flatnonzero(index == index[second])[0])
        raise ValueError(
            f"row {second + 1} has the policy of row {first + 1} ({columns.policy(second)}); "
            f"{doubled.sum():,} rows are duplicated"
        )
    if columns.rows != space.size:
        wrong = ordered != np.arange(columns.rows)
        hole = int(wrong.argmax()) if wrong.any() else columns.rows
        policy = space.decode([int(digit) for digit in np.unravel_index(hole, space.action_counts)])
        chosen = points[policy.point]
        searched = [DIMENSIONS[name] for name in space.dimensions if len(space.choices(name)) > 1]
        searched = searched or [DIMENSIONS[space.dimensions[0]]]
        choices = " and ".join(f"{_joined(space.choices(one.name))} {one.title}" for one in searched)
        values = ", ".join(f"{one.title} {_joined(policy.per_layer[one.name])}" for one in searched)
        raise ValueError(
            f"{space.size - columns.rows:,} rows are missing: it has {columns.rows:,} of {space.size:,}, for "
            f"{space.layers} layers at {choices} and {len(points)} operating points; "
            f"the first missing: {values}, {chosen.voltage_v} V, {chosen.frequency_mhz} MHz"
        )
    return order


def _joined(bits: Sequence[int]) -> str:
    return " ".join(map(str, bits))
