"""A CSV of measured layers as a chip."""

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.chips.by_name import open_chip
from algo.chips.chip import Measurement
from algo.chips.evolver import EvolverChip
from algo.chips.layer_csv import TableChip, read_csv
from algo.chips.table import everywhere, layer_table
from algo.space.policy import Policy
from tests.chip_samples import EVOLVER, GOOD_CSV, TINY
from tests.command_line import rlu


def test_a_table_written_as_csv_is_the_same_chip(tmp_path):
    table = layer_table(EVOLVER, everywhere(weight_bits=(2, 4, 8), activation_bits=(4, 8)))
    path = tmp_path / "evolver.csv"
    path.write_text(table.to_csv())
    assert read_csv(path) == table and len(table.rows) == 8 * 3 * 2 * 9
    chip = open_chip(str(path))
    assert chip.points == EVOLVER.points and chip.origin == EVOLVER.origin
    policy = Policy((2, 4, 8, 8, 4, 8, 4, 8), (8, 4) * 4, 4)
    assert dataclasses.astuple(chip.measure(policy)) == pytest.approx(dataclasses.astuple(EVOLVER.measure(policy)))
    with pytest.raises(ValueError, match="layer conv1: activation bits must be one of 4, 8, not 2"):
        chip.measure(policy.but(activation_bits=(2,) * 8))


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=4, max_size=4),
    st.text('b ,"#', min_size=1, max_size=6).map(lambda name: name.strip() or "b"),
)
@settings(max_examples=30)
def test_any_figures_and_layer_names_come_back(figures, name):
    table = layer_table(
        EvolverChip([TINY, dataclasses.replace(TINY, name=name)]),
        everywhere(weight_bits=(8,), activation_bits=(8,)),
        (0, 3),
    )
    rows = [
        dataclasses.replace(row, latency_ms=t, energy_uj=e) for row, (t, e) in zip(table.rows, figures, strict=True)
    ]
    table = dataclasses.replace(table, rows=tuple(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chip.csv"
        path.write_text(table.to_csv(), encoding="utf-8")
        assert read_csv(path) == table


def test_a_csv_of_ones_own_is_a_chip(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\ufeff" + GOOD_CSV, encoding="utf-8")
    chip = open_chip(str(path), None)
    assert chip.layer_names == ("a", "b") and chip.origin == "a bench" and chip.bit_widths == (4, 8)
    assert chip.measure(Policy((4, 8), (8, 8), 0)) == Measurement(2.5, 12.0)
    other_way = TableChip(read_csv(path), ["b", "a"])
    assert other_way.measure(Policy((4, 8), (8, 8), 0)) == Measurement(3.0, 21.0)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("latency_ms", "latency_us", "column 'latency_us' has the wrong unit or none: give latency_ms, in ms"),
        ("energy_uj", "energy", "column 'energy' has the wrong unit or none: give energy_uj, in uj"),
        ("voltage_v", "voltage_mv", "column 'voltage_mv' has the wrong unit or none: give voltage_v, in v"),
        ("energy_uj", "energy_uj,area", "unknown column 'area': the columns are layer, weight_bits"),
        (",energy_uj", "", "column energy_uj is missing"),
        ("energy_uj", "energy_uj,latency_ms", "column latency_ms occurs twice"),
        (
            "b,4,8,0.8,100,0.5,1\n",
            "",
            "1 of 4 combinations .* missing, the first: layer b, weight bits 4, activation bits 8 ",
        ),
        (
            "b,8,8,0.8,100",
            "b,8,8,0.9,120",
            "4 of 8 combinations .* the first: layer a, weight bits 4.* 0.9 V, 120 MHz",
        ),
        ("b,4,8,", "b,8,8,", "line 6 repeats line 5: layer b, weight bits 8, activation bits 8 at 0.8 V, 100 MHz"),
        ("0.5,1\n", "0.5,-1\n", "line 5: energy_uj must be a number of 0 or more, or unavailable, not -1"),
        ("0.5,1\n", "-0.5,1\n", "line 5: latency_ms must be a number of 0 or more, not -0.5"),
        ("0.5,1\n", "fast,1\n", "line 5: latency_ms must be a number, not 'fast'"),
        ("0.5,1\n", "nan,1\n", "line 5: latency_ms must be a number of 0 or more, not nan"),
        ("0.5,1\n", "unavailable,1\n", "line 5: latency_ms must be a number, not 'unavailable'"),
        ("0.5,1\n", ",1\n", "line 5: latency_ms must be a number, not ''"),
        ("0.5,1\n", "0.5,unavailable\n", "energy_uj is unavailable in 1 of 4 rows, the first in line 5"),
        ("0.5,1\n", "0.5\n", "line 5 has 6 cells, not 7"),
        ("b,4,8,0.8", "b,4,8,", "line 5: voltage_v must be a number, or unavailable, not ''"),
        ("b,4,8,0.8", "b,4,8,0", "line 5: voltage_v must be above 0, or unavailable, not 0"),
        ("b,4,8", "b,4.5,8", "line 5: weight_bits must be a whole number in 1..32, not '4.5'"),
        ("b,4,8", ",4,8", "line 5: the layer has no name"),
        ("b,4,8", "b," + "4" * 5000 + ",8", "line 5: weight_bits must be a whole number in 1..32, not '444"),
        ("b,4,8", "b" * 200_000 + ",4,8", "is not a CSV file: Error: field larger than field limit"),
        ("0.5,1\n", "1e300,1\n", r"line 5: latency_ms must be at most 1e\+12, not 1e300"),
        (GOOD_CSV, "# nothing\n", "has no rows"),
    ],
)
def test_bad_csvs_are_refused_by_column_or_line(tmp_path, capsys, before, after, message):
    path = tmp_path / "bad.csv"
    assert before in GOOD_CSV
    path.write_text(GOOD_CSV.replace(before, after, 1))
    with pytest.raises(ValueError, match=message):
        open_chip(str(path), None)
    code, printed, said = rlu(capsys, "chip", "table", "--chip", path)
    assert (code, printed) == (2, "") and said.startswith(f"rlu: {path}") and said.count("\n") == 1


def test_a_csv_of_another_network_is_refused(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(GOOD_CSV)
    with pytest.raises(
        ValueError, match="layers without a row: c; rows without a layer: b; the network's layers are a, c"
    ):
        TableChip(read_csv(path), ["a", "c"], str(path))
