"""The package's other forms: a reset that is active low, and memories that are SRAM macros."""

import json
import re

import pytest

from algo.cli import main
from rtl.spec.buses import BUSES, front_end
from rtl.spec.params import RLUParams
from rtl.verilog import generate, sidecar
from sim.ip_package import write
from tests.stranger import passed, simulate

UNIT = RLUParams(states=9, actions=4)
UNITS = {
    "none": UNIT,
    "axi4lite": RLUParams(states=20, actions=5),
    "episodic": RLUParams(states=10, actions=4, episodes=8),
    "planning": RLUParams(states=9, actions=4, episodes=8, points=4),
}


@pytest.mark.parametrize("bus", BUSES)
def test_the_bench_passes_with_a_reset_that_is_active_low(bus, tmp_path):
    write(UNIT, bus, tmp_path, clock_mhz=80.0, reset="active-low")
    top = front_end(bus).top
    text = (tmp_path / f"{top}.v").read_text()
    assert re.search(r"^  input rst_n;$", text.partition("endmodule")[0], re.MULTILINE)
    assert not re.search(r"^  input rst;$", text.partition("endmodule")[0], re.MULTILINE)
    done = simulate(tmp_path)
    assert passed(done), done.stdout
    # The other polarity is noticed.
    bench = tmp_path / "bench" / "rlu_tb.v"
    bench.write_text(bench.read_text().replace("wire rst_n = ~rst;", "wire rst_n = rst;"))
    assert not passed(simulate(tmp_path))


def test_every_file_speaks_of_the_reset_that_there_is(tmp_path):
    write(UNIT, "axi4lite", tmp_path, clock_mhz=80.0, reset="active-low")
    read = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.*")}
    assert "  .rst_n(rst_n),\n" in read["rlu_inst.vh"] and "clk and rst_n are known" in read["rlu_inst.vh"]
    assert "rst_n is synchronous to clk" in read["constraints/rlu.sdc"]
    assert "synchronous active-low reset" in read["README.md"] and "Hold `rst_n` low" in read["README.md"]
    assert ".rst(!rst_n)" in read["sva/rlu_sva_axi4lite.sv"] and ".rst_n(port_rst_n)" in read["synth/around.v"]
    assert "| rst_n | 1 | synchronous reset, active low |" in read["waves/signals.md"]
    names = {port["name"] for port in json.loads(read["rlu_axi4lite.json"])["ports"]}
    assert {"clk", "rst_n"} < names and "rst" not in names


def test_the_resets_differ_in_nothing_but_the_port():
    """The same flip-flops, with the same values at reset."""
    high, low = (generate(UNIT, "apb", reset=reset) for reset in ("active-high", "active-low"))
    inside = [re.sub(r"(?s)^.*?\nendmodule", "", text, count=1) for text in (high, low)]
    registers = [sorted(re.findall(r"^  reg (?:\[\S+\] )?(\w+) = ", text, re.MULTILINE)) for text in inside]
    assert registers[0] == registers[1] and len(registers[0]) > 100
    assert sidecar(UNIT, "apb") == {**sidecar(UNIT, "apb", reset="active-low"), "ports": sidecar(UNIT, "apb")["ports"]}


@pytest.mark.parametrize("unit", UNITS)
def test_the_bench_passes_with_sram_macros(unit, tmp_path):
    """Their contents are unknown at power-up, and a read is unknown in the cycle of a write to the same place."""
    bus = unit if unit in BUSES else "none"
    write(UNITS[unit], bus, tmp_path, clock_mhz=80.0, technology="sram")
    text = (tmp_path / f"{front_end(bus).top}.v").read_text()
    assert not re.findall(r"^  reg \[.*\] \S+ \[\d+:\d+\];$", text, re.MULTILINE)  # no memory is left in the unit
    assert len(re.findall(r"^  rlu_sram #\($", text, re.MULTILINE)) >= 2 + UNITS[unit].actions
    done = simulate(tmp_path)
    assert passed(done), done.stdout


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("read_data <= words[read_address]", "read_data <= {WIDTH{1'bx}}"),
        ("if (write_enable[i]) words", "words"),
        ("|write_enable && read_address == write_address", "|write_enable"),
    ],
    ids=["unknown words", "no mask", "no read beside a write"],
)
def test_the_bench_finds_a_macro_that_does_not_do_what_the_unit_needs(good, bad, tmp_path):
    write(UNITS["planning"], "none", tmp_path, clock_mhz=80.0, technology="sram")
    model = tmp_path / "bench" / "rlu_sram.v"
    assert good in model.read_text()
    model.write_text(model.read_text().replace(good, bad))
    assert not passed(simulate(tmp_path))


def test_the_unit_does_read_and_write_the_same_place_in_a_cycle(tmp_path):
    """So the collision in the model is not for nothing."""
    write(UNIT, "none", tmp_path, clock_mhz=80.0, technology="sram")
    model = tmp_path / "bench" / "rlu_sram.v"
    good = "read_data <= {WIDTH{1'bx}};"
    model.write_text(model.read_text().replace(good, f'begin {good} $display("collision"); end'))
    done = simulate(tmp_path)
    assert passed(done) and "collision" in done.stdout


SIZE = ["--states", "4", "--actions", "3"]


@pytest.mark.parametrize("output", [["-o", "ip", "--clock", "80"], ["-o", "rlu.v"], []])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reset", "asynchronous"], "no reset 'asynchronous'; there are: active-high, active-low"),
        (["--technology", "flash"], "no technology 'flash'; there are: generic, ecp5, sram"),
    ],
)
def test_a_form_of_no_known_kind_is_refused(arguments, said, output, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["verilog", *SIZE, *arguments, *output])
    assert exit_.value.code == 2 and said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_memory_macros_have_no_clock_that_was_measured(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["verilog", *SIZE, "--technology", "sram", "-o", str(tmp_path / "ip")])
    assert exit_.value.code == 2 and "give one with --clock MHZ" in capsys.readouterr().err
