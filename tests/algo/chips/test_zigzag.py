"""An accelerator from first principles by ZigZag."""

import dataclasses
from pathlib import Path

import pytest

from algo.chips import zigzag_chip
from algo.chips.by_name import described_chip
from algo.chips.description import Description, read_description
from algo.chips.zigzag_chip import SHIPPED, ZigzagChip
from algo.space.layers import Geometry, LayerShape
from tests.chip_samples import DENSE, NO_LOOPS, TINY


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
    kept.write_text("{")  # damaged: made again
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
        ({"fixed_supply": ["flash"]}, "fixed_supply: unknown memory 'flash': choose from weight_register"),
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
