"""Policy tables as Parquet files, ours and those of others: docs/use/qvf-bench.md has the format.

Reading is strict, since a search over a table with a hole or a doubled row would quietly be wrong. Needs pyarrow;
neither torch nor pandas.
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
from algo.space.policy import OperatingPoint, PolicySpace
from algo.support.user_files import LARGEST_FIGURE, check_object, parse_json, reading, shown
from sim.files import write_atomically

__all__ = ["FORMAT", "UNITS", "read_table", "write_table"]

FORMAT = 1
UNITS = {"accuracy": "fraction", "latency_ms": "ms", "energy_uj": "µJ", "voltage_v": "V", "frequency_mhz": "MHz"}
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
}
_WEIGHTS, _ACTIVATIONS = "weight_bits_", "activation_bits_"

Integers = npt.NDArray[np.int64]


def write_table(table: PolicyTable, path: Path) -> None:
    """Write a table; the same table gives the same bytes with the same pyarrow.

    Raises:
        OSError: naming the path; an older file there is left as it was then.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    space = table.space
    actions = np.indices(space.action_counts, dtype=np.int16).reshape(space.layers + 1, -1)
    weights, activations = (np.array(c, np.int8) for c in (space.weight_choices, space.activation_choices))
    columns = {f"{_WEIGHTS}{k + 1}": weights[actions[k] % len(weights)] for k in range(space.layers)}
    if len(activations) > 1:
        columns |= {f"{_ACTIVATIONS}{k + 1}": activations[actions[k] // len(weights)] for k in range(space.layers)}
    columns["voltage_v"] = np.array([point.voltage_v for point in table.points])[actions[-1]]
    columns["frequency_mhz"] = np.array([point.frequency_mhz for point in table.points])[actions[-1]]
    columns |= {name: getattr(table, name) for name in ("accuracy", "latency_ms", "energy_uj")}
    if table.accuracy_std is not None:
        columns["accuracy_std"] = table.accuracy_std
    described = {
        "format": FORMAT,
        "source": table.source,
        "units": UNITS,
        "layer_names": table.layer_names,
        "weight_choices": space.weight_choices,
        "activation_choices": space.activation_choices,
        "points": [[point.voltage_v, point.frequency_mhz] for point in table.points],
        "origin": table.origin,
    }
    made = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(described, ensure_ascii=False)})
    buffer = io.BytesIO()
    pq.write_table(made, buffer, compression="zstd", compression_level=9, write_statistics=False)
    write_atomically(path, buffer.getvalue())


def read_table(path: Path) -> PolicyTable:
    """Read a table, whoever made it.

    Raises:
        ValueError: if the file is no Parquet file, or its columns, units, rows or figures are not those of a table;
            says which, and names the first policy concerned.
        OSError: if it cannot be read.
        ModuleNotFoundError: without pyarrow.
    """
    import pyarrow as pa

    # pyarrow.parquet, which is built on it, takes as long to import as a whole table takes to read.
    from pyarrow._parquet import ParquetReader  # type: ignore[import-untyped]

    content = path.read_bytes()
    with reading(path, "{} is no Parquet file, or a damaged one"):
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
        if described.get("format", FORMAT) != FORMAT:
            raise ValueError(f"it has format {shown(described['format'])}; this version reads format {FORMAT}")
        for name, unit in described.get("units", {}).items():
            if UNITS.get(name, unit) != unit:
                raise ValueError(f"{name} is in {unit!r}, says its metadata; give it in {UNITS[name]!r}")

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
        # Not of all columns: some of anybody's own may have no value in Python.
        needed = [
            name for name in self.names if name.startswith((_WEIGHTS, _ACTIVATIONS, "voltage_v", "frequency_mhz"))
        ]
        picked = {name: self._table.column(name)[row].as_py() for name in needed}
        parts = []
        for prefix, what in ((_WEIGHTS, "weight bits"), (_ACTIVATIONS, "activation bits")):
            bits = [picked[f"{prefix}{k}"] for k in range(1, len(picked) + 1) if f"{prefix}{k}" in picked]
            parts += [f"{what} {' '.join(map(str, bits))}"] * bool(bits)
        return ", ".join([*parts, f"{picked.get('voltage_v')} V", f"{picked.get('frequency_mhz')} MHz"])

    def _numbers(self, name: str) -> npt.NDArray[Any]:
        if name not in self.names:
            quantity = name.split("_")[0]
            others = [other for other in self.names if other.split("_")[0] == quantity and other != "accuracy_std"]
            hint = f"; {others[0]} may be the same in another unit: {name} is wanted in {UNITS[name]}" if others else ""
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
    weights, weight_choices = _bits(columns, _WEIGHTS, described.get("weight_choices"))
    activations, activation_choices = _bits(columns, _ACTIVATIONS, described.get("activation_choices"))
    if not weights:
        raise ValueError(f"column {_WEIGHTS}1 is missing; it has {', '.join(columns.names)}")
    if activations and len(activations) != len(weights):
        raise ValueError(f"it has weight bits of {len(weights)} layers but activation bits of {len(activations)}")
    if not activations:
        activations = [np.zeros(columns.rows, np.int64)] * len(weights)
    point, points = _points(columns, described.get("points"))
    space = PolicySpace(len(weights), len(points), weight_choices, activation_choices)
    rows = [a * len(weight_choices) + w for a, w in zip(activations, weights, strict=True)]
    order = _order(columns, space, points, [*rows, point])

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


def _bits(columns: _Columns, prefix: str, given: Sequence[int] | None) -> tuple[list[Integers], tuple[int, ...]]:
    """For every layer each row's place among the choices, and the choices, as given or ascending."""
    found = [name for name in columns.names if name.startswith(prefix)]
    if not found and prefix == _ACTIVATIONS:
        fixed = tuple(given or (8,))
        if len(fixed) > 1:
            raise ValueError(f"activation bits are {list(fixed)}, say its metadata, but it has no column {prefix}1")
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
        raise ValueError(f"{what} are {list(given)}, say its metadata, but its rows have {list(present)}")
    return tuple(given)


def _order(
    columns: _Columns, space: PolicySpace, points: Sequence[OperatingPoint], actions: Sequence[Integers]
) -> npt.NDArray[np.intp] | slice:
    """What puts rows in the order of policies; raises unless every policy has exactly one row."""
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
        activations = f", activation bits {_joined(policy.activation_bits)}" * (len(space.activation_choices) > 1)
        raise ValueError(
            f"{space.size - columns.rows:,} rows are missing: it has {columns.rows:,} of {space.size:,}, for "
            f"{space.layers} layers at {_joined(space.weight_choices)} weight bits and {len(points)} operating points; "
            f"the first missing: weight bits {_joined(policy.weight_bits)}{activations}, "
            f"{chosen.voltage_v} V, {chosen.frequency_mhz} MHz"
        )
    return order


def _joined(bits: Sequence[int]) -> str:
    return " ".join(map(str, bits))
