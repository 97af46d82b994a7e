"""This machine as a chip: latency by ONNX Runtime, energy by RAPL where it can be read."""

import dataclasses

import pytest

from algo.chips.by_name import open_chip
from algo.chips.chip import UNAVAILABLE
from algo.chips.rapl import Rapl, find_rapl
from algo.chips.table import everywhere, layer_table
from algo.space.layers import Geometry
from tests.chip_samples import DENSE, NO_LOOPS, TINY


def test_a_layer_is_measured_on_this_machine():
    chip = open_chip("measured", [TINY, dataclasses.replace(TINY, name="again"), DENSE])
    for timing in chip.timings:
        assert 0 < timing.low_ms <= timing.median_ms <= timing.high_ms and timing.runs >= 30
    made = chip.measure_layer(0, 8, 8, 0)
    assert made.latency_ms == chip.timings[0].median_ms and chip.timings[0] is chip.timings[1]
    # Nothing is gained by fewer bits, and the notes say so.
    assert chip.measure_layer(0, 2, 4, 0) == made and any("without a gain" in note for note in chip.notes)
    table = layer_table(chip, everywhere(weight_bits=(8,), activation_bits=(8,)))
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
