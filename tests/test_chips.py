"""Chips of one's own: layer by layer, from a CSV, from a description, by ZigZag, and this machine."""

import csv
import dataclasses
import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.chip import PUBLISHED_VGG8, UNAVAILABLE, EvolverChip, Geometry, LayerShape, Measurement, vgg8_layers
from algo.chips import network_layers, open_chip, zigzag_chip
from algo.chips.description import Description, described_chip, read_description
from algo.chips.layer_csv import TableChip, read_csv
from algo.chips.rapl import Rapl, find_rapl
from algo.chips.table import COLUMNS, layer_table
from algo.chips.zigzag_chip import SHIPPED, ZigzagChip
from algo.cli import main
from algo.policy import OperatingPoint, Policy
from algo.policy_table import TableEvaluator, synthetic_table
from algo.run_folder import RunFolder
from algo.tuning import Step
from algo.tuning_run import TuneConfig, run

EVOLVER = EvolverChip()
TINY = LayerShape("tiny", 2304, 144, 64, 64, Geometry(4, 4, (4, 4), (4, 4), (3, 3), padding=(1, 1)))
DENSE = LayerShape("dense", 2048, 2048, 64, 32, Geometry(64, 32, linear=True))
NO_LOOPS = LayerShape("odd", 10, 10, 10, 10)
bits = st.sampled_from((2, 4, 8))


def rlu(capsys, *arguments):
    """Exit code, standard output and standard error of a command."""
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    said = capsys.readouterr()
    return code, said.out, said.err


# Layers


@given(st.tuples(*[bits] * 8), st.tuples(*[bits] * 8), st.integers(0, 8))
@settings(max_examples=30)
def test_a_policy_costs_what_its_layers_cost(weights, activations, point):
    whole = EVOLVER.measure(Policy(weights, activations, point))
    pairs = enumerate(zip(weights, activations, strict=True))
    parts = [EVOLVER.measure_layer(index, w, a, point) for index, (w, a) in pairs]
    assert sum(part.latency_ms for part in parts) == pytest.approx(whole.latency_ms, rel=1e-12)
    assert sum(part.energy_uj for part in parts) == pytest.approx(whole.energy_uj, rel=1e-12)


def test_the_loops_of_a_network_are_those_that_a_forward_pass_shows():
    import torch
    from torch import nn

    from algo.networks import VGG8, layer_shapes

    found = layer_shapes(VGG8(classes=10, channels=1, width=4), (1, 32, 32))
    assert [layer.geometry for layer in found] == [layer.geometry for layer in network_layers("vgg8:4x1x10")]
    assert network_layers("vgg8") == vgg8_layers(128, 3, 100)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.same, self.shrinking = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, stride=2)
            self.named = nn.Conv2d(2, 2, 3, padding="same")

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.shrinking(self.shrinking(self.named(self.same(self.same(images)))))

    same, shrinking, named = layer_shapes(Twice(), (2, 16, 16))
    assert same.geometry == Geometry(2, 2, (16, 16), (16, 16), uses=2)
    assert shrinking.geometry is None and named.geometry is None


@pytest.mark.parametrize("name", ["vgg9", "vgg8:8", "vgg8:0x1x10", "vgg8:8x1x10x2"])
def test_networks_without_a_name_are_refused(name):
    with pytest.raises(ValueError, match=f"ends in .onnx, not '{name}'"):
        network_layers(name)


CONVOLUTION = Geometry(4, 6, (9, 8), (5, 4), (3, 3), (2, 2), (1, 1), groups=2)


@pytest.mark.parametrize("loops", [TINY.geometry, DENSE.geometry, CONVOLUTION], ids=["conv", "dense", "grouped"])
def test_layers_of_an_onnx_file(tmp_path, loops):
    import onnx
    import torch
    from torch import nn

    from algo.chips.measured import layer_model
    from algo.networks import layer_shapes

    onnx.save(layer_model(loops), tmp_path / "layer.onnx")
    (found,) = network_layers(str(tmp_path / "layer.onnx"))
    if loops.linear:
        module = nn.Linear(loops.in_channels, loops.out_channels)
    else:
        rest = loops.kernel, loops.stride, loops.padding, loops.dilation, loops.groups
        module = nn.Conv2d(loops.in_channels, loops.out_channels, *rest)
    image = (64,) if loops.linear else (loops.in_channels, *loops.input_size)
    (expected,) = layer_shapes(nn.Sequential(module).to(torch.float32), image)
    assert dataclasses.replace(found, name="0") == expected and found.geometry == loops


def test_the_exported_network_has_the_layers_that_were_exported(tmp_path, capsys):
    import onnx
    import torch

    from algo.networks import VGG8
    from algo.onnx_export import export
    from algo.quantisation import quantise

    with torch.random.fork_rng(devices=()):
        model = quantise(VGG8(classes=10, channels=1, width=2))
        images = torch.rand(2, 1, 32, 32)
        model.train()(images)  # sets the ranges of the activations
        path = tmp_path / "net.onnx"
        onnx.save(export(model.eval(), images), path)
    found, expected = network_layers(str(path)), network_layers("vgg8:2x1x10")
    assert [dataclasses.replace(layer, name="") for layer in found] == [
        dataclasses.replace(layer, name="") for layer in expected
    ]
    code, printed, _ = rlu(capsys, "chip", "measure", path, "--json")
    measured = json.loads(printed)
    assert code == 0 and measured["runs"] >= 30
    assert 0 < measured["latency_quartiles_ms"][0] <= measured["latency_ms"] <= measured["latency_quartiles_ms"][1]
    assert (measured["energy_uj"] is None) == (measured["energy_unavailable"] is not None)


def test_an_onnx_file_that_is_none_is_refused(tmp_path, capsys):
    import onnx
    from onnx import TensorProto, helper

    path = tmp_path / "bad.onnx"
    path.write_text("not one")
    for command in (("chip", "table", "--network", path), ("chip", "measure", path)):
        code, _, said = rlu(capsys, *command)
        assert code == 2 and str(path) in said and said.count("\n") == 1
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(ValueError, match="has no Conv, Gemm, MatMul with constant weights"):
        network_layers(str(path))


# CSV


def test_a_table_written_as_csv_is_the_same_chip(tmp_path):
    table = layer_table(EVOLVER, (2, 4, 8), (4, 8))
    path = tmp_path / "evolver.csv"
    path.write_text(table.to_csv())
    assert read_csv(path) == table and len(table.rows) == 8 * 3 * 2 * 9
    chip = open_chip(str(path))
    assert chip.points == EVOLVER.points and chip.origin == EVOLVER.origin
    policy = Policy((2, 4, 8, 8, 4, 8, 4, 8), (8, 4) * 4, 4)
    assert dataclasses.astuple(chip.measure(policy)) == pytest.approx(dataclasses.astuple(EVOLVER.measure(policy)))
    with pytest.raises(ValueError, match="has no row for layer conv1, 2-bit weights, 2-bit activations at "):
        chip.measure(dataclasses.replace(policy, activation_bits=(2,) * 8))


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=4, max_size=4),
    st.text('b ,"#', min_size=1, max_size=6).map(lambda name: name.strip() or "b"),
)
@settings(max_examples=30)
def test_any_figures_and_layer_names_come_back(figures, name):
    table = layer_table(EvolverChip([TINY, dataclasses.replace(TINY, name=name)]), (8,), (8,), (0, 3))
    rows = [
        dataclasses.replace(row, latency_ms=t, energy_uj=e) for row, (t, e) in zip(table.rows, figures, strict=True)
    ]
    table = dataclasses.replace(table, rows=tuple(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chip.csv"
        path.write_text(table.to_csv(), encoding="utf-8")
        assert read_csv(path) == table


GOOD = """\
# origin: a bench
layer,weight_bits,activation_bits,voltage_v,frequency_mhz,latency_ms,energy_uj
a,4,8,0.8,100,1.5,10
a,8,8,0.8,100,2.5,20
b,4,8,0.8,100,0.5,1
b,8,8,0.8,100,1.0,2
"""


def test_a_csv_of_ones_own_is_a_chip(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\ufeff" + GOOD, encoding="utf-8")
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
        ("b,4,8,0.8,100,0.5,1\n", "", "1 of 4 combinations .* are missing, the first: layer b, 4-bit weights, 8-bit"),
        ("b,8,8,0.8,100", "b,8,8,0.9,120", "4 of 8 combinations .* the first: layer a, 4-bit .* at 0.9 V, 120 MHz"),
        ("b,4,8,", "b,8,8,", "line 6 repeats line 5: layer b, 8-bit weights, 8-bit activations at 0.8 V, 100 MHz"),
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
        (GOOD, "# nothing\n", "has no rows"),
    ],
)
def test_bad_csvs_are_refused_by_column_or_line(tmp_path, capsys, before, after, message):
    path = tmp_path / "bad.csv"
    assert before in GOOD
    path.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(ValueError, match=message):
        open_chip(str(path), None)
    code, printed, said = rlu(capsys, "chip", "table", "--chip", path)
    assert (code, printed) == (2, "") and said.startswith(f"rlu: {path}") and said.count("\n") == 1


def test_a_csv_of_another_network_is_refused(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(GOOD)
    with pytest.raises(
        ValueError, match="without a row are c; not in the network are b; the network's layers are a, c"
    ):
        TableChip(read_csv(path), ["a", "c"], str(path))


# Descriptions

DESCRIPTION = {
    "model": "bit-scalable",
    "name": "mine",
    "operating_points": [{"voltage_v": 0.8, "frequency_mhz": 100}, {"voltage_v": 1.0, "frequency_mhz": 200}],
    "bit_widths": [4, 8],
    "constants": {
        "macs_per_cycle": 128,
        "memory_gbit_per_s": 10.5,
        "mac_energy_pj": 0.5,
        "leakage_mw": 1,
        "memory_energy_pj_per_bit": 0.25,
    },
}
TOML = """
model = "bit-scalable"
name = "mine"
operating_points = [{voltage_v = 0.8, frequency_mhz = 100}, {voltage_v = 1.0, frequency_mhz = 200}]
bit_widths = [4, 8]
[constants]
macs_per_cycle = 128
memory_gbit_per_s = 10.5
mac_energy_pj = 0.5
leakage_mw = 1
memory_energy_pj_per_bit = 0.25
"""


@pytest.mark.parametrize("name", ["chip.json", "chip.yaml", "chip.toml"])
def test_a_description_is_a_chip_in_any_of_the_formats(tmp_path, name):
    path = tmp_path / name
    path.write_text(TOML if name.endswith("toml") else json.dumps(DESCRIPTION))  # JSON is YAML
    chip = open_chip(str(path), [TINY])
    assert (chip.name, chip.bit_widths) == ("mine", (4, 8)) and str(path) in chip.origin
    assert chip.points == (OperatingPoint(0.8, 100.0), OperatingPoint(1.0, 200.0))
    # 2,304 operations of 4x8 bits take 9 cycles; 144·4 + 128·8 bits at 10.5 bit/ns take 0.152 µs.
    made = chip.measure(Policy((4,), (8,), 1))
    assert made.latency_ms == pytest.approx(1600 / 10.5 * 1e-6)
    assert made.energy_uj == pytest.approx(1152 * 0.5e-6 + 1e-3 * made.latency_ms * 1e3 + 1600 * 0.25e-6)
    with pytest.raises(ValueError, match="layer tiny: weight bits must be one of 4, 8, not 2"):
        chip.measure(Policy((2,), (8,), 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operating_points": None}, "operating_points is missing: give all of model, operating_points, constants"),
        ({"operating_points": []}, r"operating_points must be a list of at least 1 pair of .* not \[\]"),
        ({"operating_points": [{"voltage_v": 1}]}, "operating point 0: frequency_mhz is missing"),
        ({"operating_points": [{"voltage_v": -1, "frequency_mhz": 5}]}, "voltage_v must be a number above 0, not -1"),
        (
            {"operating_points": [{"voltage_v": 1, "frequency_mhz": 5}] * 2},
            "operating point 1 repeats operating point 0",
        ),
        ({"operating_points": [{"voltage": 1}]}, "operating point 0: unknown key 'voltage': allowed are voltage_v"),
        ({"constants": {"mac_energy_pj": -0.5}}, "constants: mac_energy_pj must be a number of 0 or more, not -0.5"),
        ({"constants": {"macs_per_cycle": 0}}, "constants: macs_per_cycle must be a number above 0, not 0"),
        ({"constants": {"leakage_mw": "low"}}, "constants: leakage_mw must be a number of 0 or more, not 'low'"),
        ({"constants": {"leakage_mw": None}}, "constants: leakage_mw is missing"),
        ({"constants": {"leakage_uw": 3}}, "constants: unknown key 'leakage_uw': allowed are macs_per_cycle"),
        ({"colour": "red"}, "unknown key 'colour': allowed are model, operating_points"),
        ({"model": "spice"}, "model must be bit-scalable or zigzag, not 'spice'"),
        ({"bit_widths": [8, 4]}, r"bit_widths must rise and not repeat, not \[8, 4\]"),
        ({"bit_widths": [1, 8]}, r"bit_widths must be a list of whole numbers in 2..16, not \[1, 8\]"),
    ],
)
def test_bad_descriptions_are_refused_by_key(tmp_path, changes, message):
    bad = json.loads(json.dumps(DESCRIPTION))
    for key, value in changes.items():
        inner = bad[key] if key == "constants" else bad
        for name, new in (value if key == "constants" else {key: value}).items():
            inner[name] = new
            if new is None:
                del inner[name]
    path = tmp_path / "chip.json"
    path.write_text(json.dumps(bad))
    with pytest.raises(ValueError, match=message) as caught:
        open_chip(str(path), [TINY])
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("chip.json", "{", "is no JSON"),
        ("chip.toml", "= 1", "is no TOML"),
        ("chip.yaml", "a: [", "is no YAML"),
        ("chip.yaml", "- 1", r"must be keys with values, not \[1\]"),
        ("chip.xml", "<chip/>", r"there is no chip '.*chip.xml': say evolver, zigzag, measured, or name a file"),
    ],
)
def test_files_that_are_no_description_are_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        open_chip(str(path))


# ZigZag


@pytest.fixture
def hardware(tmp_path, monkeypatch):
    """The shipped description, an empty cache, and an empty current folder."""
    monkeypatch.setenv("RLU_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return read_description(Path(str(SHIPPED)))


def changed(description, **keys):
    return Description(dict(description.content) | keys, description.where)


def test_zigzag_is_quiet_tidy_and_asked_once(hardware, tmp_path, capfd, caplog, monkeypatch):
    chip = ZigzagChip(hardware, [TINY, dataclasses.replace(TINY, name="again")])
    first = chip.measure_layer(0, 2, 8, 3)
    assert first.latency_ms > 0 and first.energy_uj > 0 and chip.measure_layer(1, 2, 8, 3) == first
    assert capfd.readouterr() == ("", "") and not caplog.records and list(Path.cwd().iterdir()) == []
    (kept,) = (tmp_path / "cache" / "zigzag").iterdir()
    runs = []
    honest = zigzag_chip.evaluate
    monkeypatch.setattr(zigzag_chip, "evaluate", lambda *given: runs.append(given) or honest(*given))
    assert ZigzagChip(hardware, [TINY]).measure_layer(0, 2, 8, 3) == first and not runs
    kept.write_text("{")  # damaged: made anew
    assert ZigzagChip(hardware, [TINY]).measure_layer(0, 2, 8, 3) == first and len(runs) == 2
    array = dict(hardware.content["operational_array"]) | {"unit_energy": 0.6}
    other = ZigzagChip(changed(hardware, operational_array=array), [TINY]).measure_layer(0, 2, 8, 3)
    assert len(runs) == 4 and other.energy_uj == pytest.approx(first.energy_uj + 2304 * 0.3e-6)


def test_zigzag_scales_with_bits_clock_and_voltage(hardware):
    dense = ZigzagChip(hardware, [DENSE])
    few, many = (dense.measure_layer(0, w, 8, 3) for w in (2, 8))
    assert few.latency_ms < many.latency_ms and few.energy_uj < many.energy_uj
    slow, fast = dense.measure_layer(0, 8, 8, 0), dense.measure_layer(0, 8, 8, 5)
    assert slow.latency_ms / fast.latency_ms == pytest.approx(280 / 120)
    on_chip = ZigzagChip(changed(hardware, fixed_supply=[]), [DENSE])
    ratio = on_chip.measure_layer(0, 8, 8, 5).energy_uj / on_chip.measure_layer(0, 8, 8, 0).energy_uj
    assert ratio == pytest.approx((1.10 / 0.75) ** 2)
    # At the reference voltage supplies make no difference; above it, a DRAM with one of its own takes less.
    assert on_chip.measure_layer(0, 8, 8, 3) == many
    dram = (on_chip.measure_layer(0, 8, 8, 5).energy_uj - fast.energy_uj) / ((1.10 / 0.9) ** 2 - 1)
    weights, values = 2048 * 8 / 64, (64 + 32) * 8 / 64
    assert dram == pytest.approx((weights + values) * 1300e-6)  # 1.3 nJ for 64 bits, each moved once
    # Twice the uses, twice the cost.
    twice = dataclasses.replace(DENSE, geometry=dataclasses.replace(DENSE.geometry, uses=2))
    assert ZigzagChip(hardware, [twice]).measure_layer(0, 8, 8, 0).latency_ms == 2 * slow.latency_ms


def test_bit_scalable_multipliers_take_less_time_and_energy(hardware):
    image = Geometry(16, 16, (16, 16), (16, 16), (3, 3), padding=(1, 1))
    layer = LayerShape("conv", 589_824, 2304, 4096, 4096, image)
    fixed, scaled = (ZigzagChip(changed(hardware, bit_scalable=flag), [layer]) for flag in (False, True))
    assert fixed.measure_layer(0, 8, 8, 3) == scaled.measure_layer(0, 8, 8, 3)
    saved = fixed.measure_layer(0, 4, 4, 3).energy_uj - scaled.measure_layer(0, 4, 4, 3).energy_uj
    assert saved == pytest.approx(0.75 * 589_824 * 0.3e-6)
    assert scaled.measure_layer(0, 4, 4, 3).latency_ms < fixed.measure_layer(0, 4, 4, 3).latency_ms


def test_what_zigzag_cannot_map_is_one_message_that_names_the_layer(hardware):
    memories = dict(hardware.content["memories"])
    memories["dram"] = memories["dram"] | {"size": 8}
    chip = ZigzagChip(changed(hardware, memories=memories), [DENSE])
    with pytest.raises(
        ValueError, match=r"ZigZag cannot map layer dense \(8-bit weights, 4-bit .* zigzag-16x16: Mem"
    ) as caught:
        chip.measure_layer(0, 8, 4, 0)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="layer odd cannot be given to ZigZag: its loops are not known"):
        ZigzagChip(hardware, [DENSE, NO_LOOPS])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"memories": {"sram": {"r_cost": -1, "w_cost": 1}}},
            "memories: sram: r_cost must be a number of 0 or more, not -1",
        ),
        ({"memories": {"sram": {"r_cost": 1}}}, "memories: sram: w_cost is missing: give the energy of an access"),
        ({"fixed_supply": ["flash"]}, "fixed_supply: there is no memory 'flash', only weight_register"),
        ({"operational_array": {"unit_energy": -0.1}}, "operational_array: unit_energy must be a number of 0 or more"),
        ({"operational_array": {"unit_energy": 1}}, "operational_array needs dimensions and as many sizes"),
        ({"spatial_mapping": {"D1": "K"}}, "spatial_mapping: D2 is missing"),
        ({"spatial_mapping": {"D1": "K", "D2": "K"}}, "must give each dimension another loop of OX, OY"),
        ({"loop_orders": [["OX", "OX"]]}, "loop_orders must be search, or lists of different loops"),
        ({"bit_scalable": "yes"}, "bit_scalable must be true or false, not 'yes'"),
        ({"operating_points": []}, "operating_points must be a list of at least 1 pair"),
        (
            {"reference_voltage": 1},
            "unknown key 'reference_voltage': allowed are model, operating_points, reference_voltage_v",
        ),
    ],
)
def test_bad_hardware_is_refused_by_key(hardware, keys, message):
    with pytest.raises(ValueError, match=message):
        described_chip(changed(hardware, **keys), [TINY])


# This machine


def test_a_layer_is_measured_on_this_machine():
    chip = open_chip("measured", [TINY, dataclasses.replace(TINY, name="again"), DENSE])
    for timing in chip.timings:
        assert 0 < timing.low_ms <= timing.median_ms <= timing.high_ms and timing.runs >= 30
    made = chip.measure_layer(0, 8, 8, 0)
    assert made.latency_ms == chip.timings[0].median_ms and chip.timings[0] is chip.timings[1]
    # Nothing is gained by fewer bits, and the notes say so.
    assert chip.measure_layer(0, 2, 4, 0) == made and any("there is no gain" in note for note in chip.notes)
    table = layer_table(chip, (8,), (8,))
    if find_rapl()[0] is None:
        assert made.energy_uj is UNAVAILABLE and table.no_energy and "RAPL" in table.no_energy
        assert table.to_json()["rows"][0]["energy_uj"] is None and ",unavailable\n" in table.to_csv()
        assert "energy is unavailable: " in table.to_markdown()
    else:
        assert made.energy_uj > 0 and table.no_energy is None


@pytest.mark.parametrize(("shape", "operator"), [(TINY, "QLinearConv"), (DENSE, "QGemm")], ids=["conv", "dense"])
def test_a_layer_runs_as_one_integer_operator(tmp_path, shape, operator):
    import onnx
    import onnxruntime

    from algo.chips.measured import layer_model

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "fused.onnx"), 3
    model = layer_model(shape.geometry)
    onnx.checker.check_model(model, full_check=True)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    operators = {node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node}
    assert operator in operators and not operators & {"Conv", "Gemm", "MatMul", "DequantizeLinear"}


def test_a_layer_that_cannot_be_measured_is_named():
    with pytest.raises(ValueError, match="layer odd cannot be measured: its loops are not known"):
        open_chip("measured", [NO_LOOPS])
    impossible = dataclasses.replace(TINY, name="impossible", geometry=Geometry(4, 4, (4, 4), (4, 4), (9, 9)))
    with pytest.raises(ValueError, match="ONNX Runtime cannot run layer impossible: ") as caught:
        open_chip("measured", [impossible])
    assert "\n" not in str(caught.value)


def counters(folder, *energies):
    for number, energy in enumerate(energies):
        package = folder / f"intel-rapl:{number}"
        part = package / f"intel-rapl:{number}:0"
        part.mkdir(parents=True)
        (folder / part.name).symlink_to(part)  # as in /sys/class/powercap
        for path in (package, part):
            (path / "energy_uj").write_text(f"{energy}\n")
            (path / "max_energy_range_uj").write_text("1000\n")
    return folder


def test_energy_counters_are_added_up_and_may_start_again(tmp_path):
    rapl, reason = find_rapl(counters(tmp_path, 10, 990), probe_s=0.0)
    assert rapl is None and "do not move" in reason
    rapl = Rapl((tmp_path / "intel-rapl:0", tmp_path / "intel-rapl:1"))
    before = rapl.read()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("25\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("5\n")
    assert before == (10, 990) and rapl.between(before, rapl.read()) == 15 + 15


def test_counters_that_move_are_found_packages_only(tmp_path, monkeypatch):
    readings = iter(range(0, 1000, 7))
    monkeypatch.setattr(Rapl, "read", lambda self: tuple(next(readings) for _ in self.packages))
    rapl, _ = find_rapl(counters(tmp_path, 1, 2), probe_s=0.0)
    assert rapl is not None and [path.name for path in rapl.packages] == ["intel-rapl:0", "intel-rapl:1"]
    from algo.chips.measured import time_runs

    timing = time_runs(lambda: None, rapl)
    assert timing.energy_uj == pytest.approx(28 / timing.runs)


def test_counters_nobody_may_read_are_declared_unavailable(tmp_path):
    (counters(tmp_path, 1) / "intel-rapl:0" / "energy_uj").unlink()
    assert "cannot be read" in find_rapl(tmp_path)[1]
    assert "shows no energy counters" in find_rapl(tmp_path / "nothing")[1]


# Tuning

LATENCY_ONLY = (
    GOOD.replace(",10\n", ",unavailable\n").replace(",20\n", ",unavailable\n").replace(",1\n", ",unavailable\n")
)
LATENCY_ONLY = LATENCY_ONLY.replace(",2\n", ",unavailable\n").replace("4,8,0.8", "2,8,0.8")
LATENCY_ONLY += "a,4,8,0.8,100,2,unavailable\nb,4,8,0.8,100,0.7,unavailable\n"
SETTINGS = {"schedule": "quick", "seed": 5, "latency_th_ms": 3.4, "latency_low_ms": 1.0, "latency_high_ms": 3.4}


def no_energy_chip(tmp_path):
    path = tmp_path / "timed.csv"
    path.write_text(LATENCY_ONLY)
    return path


def tuned(folder, chip, objective, stop=None):
    table = synthetic_table(EvolverChip([TINY, DENSE], points=EVOLVER.points[:1]), layers=2, seed=1)
    config = TuneConfig(objective=objective, **SETTINGS)
    opened = RunFolder.open(folder) if folder.exists() else RunFolder.create(folder, dataclasses.asdict(config))

    def on_step(step, total):
        if stop == step.iteration:
            raise KeyboardInterrupt

    return run(config, opened, chip=chip, evaluator=TableEvaluator(table), on_step=on_step, say=lambda text: None)


def test_a_chip_without_energies_serves_only_objectives_without_energy(tmp_path):
    path = no_energy_chip(tmp_path)
    with pytest.raises(ValueError, match=r"has no energies \(.*timed.csv has none\), so no objective can weigh them"):
        open_chip(str(path), None, needs_energy=True)
    chip = open_chip(str(path), None)
    with pytest.raises(ValueError, match="energy_uj must be a number of 0 or more, not nan"):
        tuned(tmp_path / "energy", chip, "energy")
    summary = tuned(tmp_path / "latency", chip, "0.3,0.7,0")
    assert summary["found"]["energy_uj"] is None and summary["found"]["latency_ms"] > 0
    lines = (tmp_path / "latency" / "trace.jsonl").read_text().splitlines()
    assert all(json.loads(line)["energy_uj"] is None for line in lines) and "NaN" not in "".join(lines)
    assert [Step.from_line(line).line() for line in lines] == lines
    assert Step.from_line(lines[0]) == Step.from_line(lines[0]) and math.isnan(Step.from_line(lines[0]).energy_uj)
    from algo.report import summary_table

    assert "| unavailable |" in summary_table(summary)


def test_a_run_keeps_the_figures_it_began_with(tmp_path):
    from algo.chips import fixed_chip

    path = no_energy_chip(tmp_path)

    def opened(folder):
        return fixed_chip(
            str(path), [dataclasses.replace(TINY, name="a"), dataclasses.replace(DENSE, name="b")],
            weight_bits=(2, 4, 8), activation_bits=(8,), needs_energy=False, saved=folder / "chip.csv",
        )  # fmt: skip

    tuned(tmp_path / "whole", opened(tmp_path / "whole"), "0.3,0.7,0")
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "pieces", opened(tmp_path / "pieces"), "0.3,0.7,0", stop=9)
    path.write_text(LATENCY_ONLY.replace("1.5", "1.6"))
    assert opened(tmp_path / "new").measure(Policy((2, 2), (8, 8), 0)).latency_ms == pytest.approx(2.1)
    tuned(tmp_path / "pieces", opened(tmp_path / "pieces"), "0.3,0.7,0")
    for name in ("trace.jsonl", "chip.csv"):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--chip", "abacus"), "there is no chip 'abacus': say evolver, zigzag, measured, or name a file"),
        (("--chip", "nowhere.csv"), "nowhere.csv: No such file or directory"),
        (("--chip-network", "lenet"), "the network must be vgg8, vgg8:WIDTHxCHANNELSxCLASSES"),
        (("--chip", "timed.csv", "--chip-network", "vgg8"), "is not of this network: without a row are conv1"),
    ],
)
def test_tune_refuses_a_chip_before_it_makes_a_folder(tmp_path, monkeypatch, capsys, options, message):
    no_energy_chip(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, _, said = rlu(capsys, "tune", *options, "--out", tmp_path / "run")
    assert code == 2 and message in said and not (tmp_path / "run").exists()


# The command


def test_chip_table_in_its_three_formats(tmp_path, capsys):
    path = tmp_path / "table.csv"
    options = ("chip", "table", "--network", "vgg8:2x1x10", "--weight-bits", "2,8", "--point", "2")
    code, printed, said = rlu(capsys, *options, "--format", "csv", "-o", path)
    assert (code, printed) == (0, "") and "16 rows written" in said
    rows = list(csv.reader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 17
    as_json = json.loads(rlu(capsys, *options, "--json")[1])
    assert as_json["units"]["energy_uj"] == "uJ" and "Evolver" in as_json["origin"]
    assert [[str(value) for value in row.values()] for row in as_json["rows"]] == rows[1:]
    table = rlu(capsys, *options)[1]
    assert "| latency ms | energy uJ |" in table and table.count("\n| conv1 |") == 2
    assert rlu(capsys, "chip", "table", "--chip", path, "--format", "csv")[1] == path.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weight-bits", "2,x"), "--weight-bits must be all, or whole numbers such as 2,4,8, not '2,x'"),
        (("--weight-bits", "2,2"), "--weight-bits must not repeat a bit-width"),
        (("--activation-bits", "3"), "chip evolver has activations of 2, 4, 8 bits, not 3"),
        (("--point", "9"), "chip evolver has operating points 0..8, not 9"),
        (("--threads", "0", "--chip", "measured"), "threads must be in 1..256, not 0"),
    ],
)
def test_chip_table_names_a_bad_option(capsys, options, message):
    code, printed, said = rlu(capsys, "chip", "table", *options)
    assert (code, printed) == (2, "") and message in said


def test_the_shipped_hardware_says_that_it_is_ours():
    chip = open_chip("zigzag", PUBLISHED_VGG8)
    assert "not a published chip" in chip.origin and len(chip.points) == 6
