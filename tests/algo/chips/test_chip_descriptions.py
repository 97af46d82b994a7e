"""A description of bit-scalable hardware as a chip."""

import json

import pytest

from algo.chips.by_name import open_chip
from algo.space.policy import OperatingPoint, Policy
from tests.chip_samples import TINY

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


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["chip.json", "chip.yaml", "chip.toml", "chip.YML"])
def test_a_description_is_a_chip_in_any_of_the_formats(tmp_path, name, mark):
    path = tmp_path / name
    path.write_text(
        mark + (TOML if name.endswith("toml") else json.dumps(DESCRIPTION)), encoding="utf-8"
    )  # JSON is YAML
    chip = open_chip(str(path), [TINY])
    assert (chip.name, chip.bit_widths) == ("mine", (4, 8)) and path.name in chip.origin
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
        ({"constants": {"leakage_mw": 10**400}}, "constants: leakage_mw must be a number of 0 or more, not 1000"),
        ({"constants": {"leakage_mw": float("inf")}}, "leakage_mw must be a number of 0 or more, not inf"),
        ({"constants": {"leakage_mw": 1e300}}, r"constants: leakage_mw must be in 0\.\.1e\+12, not 1e\+300"),
        ({"constants": {"macs_per_cycle": 1e-300}}, r"macs_per_cycle must be in 1e-12\.\.1e\+12, not 1e-300"),
        (
            {"operating_points": [{"voltage_v": 1e200, "frequency_mhz": 5}]},
            r"voltage_v must be in 1e-12\.\.1e\+12, not",
        ),
        ({"operating_points": [[1, 2]]}, r"operating point 0 must be keys with values, not \[1, 2\]"),
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
        ("chip.json", "{", "is not valid JSON"),
        ("chip.toml", "= 1", "is not valid TOML"),
        ("chip.yaml", "a: [", "is not valid YAML"),
        ("chip.JSON", "{", "is not valid JSON"),
        ("chip.yaml", "model: bit-scalable\nmodel: zigzag", "key 'model' occurs twice"),
        ("chip.yaml", "model: zigzag\nreference_voltage_v: 010", "010 is an octal number"),
        ("chip.json", "[" * 100_000, "chip.json is not valid JSON: it is nested too deeply"),
        ("chip.toml", "a = " + "[" * 5_000, "chip.toml is not valid TOML: it is nested too deeply"),
        ("chip.json", '{"model": ' + "9" * 5_000 + "}", "chip.json is not valid JSON: Exceeds the limit"),
        ("chip.yaml", "model: " + "9" * 5_000, "chip.yaml is not valid YAML: Exceeds the limit"),
        ("chip.yaml", "model: 0x" + "f" * 5_000, "chip.yaml.*(is not valid YAML|a number of thousands of digits)"),
        ("chip.yaml", "- 1", r"must be keys with values, not \[1\]"),
        ("chip.xml", "<chip/>", r"unknown chip '.*chip.xml': choose evolver, zigzag, measured, or name a file"),
    ],
)
def test_files_that_are_no_description_are_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        open_chip(str(path))
