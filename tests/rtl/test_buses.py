"""The unit behind its standard buses; their benches are run with the others, in tests/tb/test_benches.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from algo.cli import rlu
from algo.runs.run_folder import TRACE
from rtl.spec.buses import BUSES, FRONT_ENDS, STANDARD, FrontEnd
from rtl.spec.params import RLUParams
from rtl.spec.registers import REGISTERS, SAMPLE, WINDOW_BY_NAME
from rtl.verilog import generate, ports
from sim.devices.device import READ, RESET, WAIT, WRITE, Op, address_of
from sim.devices.shadow import ShadowedDevice
from sim.simulators.build import Simulator
from sim.simulators.masters import MASTERS
from sim.simulators.simulator import SimDevice
from tests.algo.runs.test_tuning import tuned
from tests.planted_bugs import SIMULATOR, Bug, assert_caught

PARAMS = RLUParams(states=9, actions=9, action_counts=(3,) * 8 + (9,))
WRAPPED = [bus.name for bus in STANDARD]


@pytest.mark.parametrize("bus", FRONT_ENDS, ids=BUSES)
def test_a_bus_is_what_its_record_says(bus: FrontEnd) -> None:
    said = {(port.name, port.direction, port.width) for port in bus.ports}
    there = {(port["name"], port["direction"], port["width"]) for port in ports(PARAMS, bus.name)}
    others = {("clk", "in", 1), ("rst", "in", 1), ("busy", "out", 1), ("irq", "out", 1)}
    assert there - said - {port for port in there if port[0] == "probe"} == others and said <= there
    assert len(said) == len(bus.ports) and all(port.doc for port in bus.ports)
    assert f"\nmodule {bus.top}(" in generate(PARAMS, bus.name)


def test_every_bus_has_a_master() -> None:
    assert set(MASTERS) == set(BUSES)


@pytest.mark.parametrize("command", ["tune", "verilog", "synth"])
def test_the_help_names_every_bus(command: str) -> None:
    said = CliRunner().invoke(rlu, [command, "--help"]).output
    assert " ".join(f"{', '.join(BUSES[:-1])} or {BUSES[-1]}.".split()) in " ".join(said.split())


@pytest.mark.parametrize("bus", WRAPPED)
def test_a_tuning_run_over_the_bus_decides_as_the_golden_model(bus: str, tmp_path: Path) -> None:
    golden, golden_summary, _ = tuned(tmp_path / "golden")
    folder, summary, _ = tuned(tmp_path / bus, device="sim", bus=bus, simulator=SIMULATOR)
    assert (folder.path / TRACE).read_bytes() == (golden.path / TRACE).read_bytes()
    assert summary.pop("golden_words_compared") > 1000 and golden_summary.pop("golden_words_compared") == 0
    assert summary == golden_summary


@pytest.mark.slow
@pytest.mark.parametrize("bus", WRAPPED)
def test_a_published_run_over_the_bus_decides_as_the_golden_model(bus: str, tmp_path: Path) -> None:
    golden, _, _ = tuned(tmp_path / "golden", schedule="published")
    folder, _, _ = tuned(tmp_path / bus, device="sim", bus=bus, schedule="published")
    assert (folder.path / TRACE).read_bytes() == (golden.path / TRACE).read_bytes()


@pytest.mark.parametrize("bus", WRAPPED)
def test_every_register_and_window_is_where_it_is(bus: str) -> None:
    """What is written to all places differs, so that an address that stands for two is noticed."""
    windows = [w.offset + 4 * word for w in WINDOW_BY_NAME.values() for word in range(w.words(PARAMS))]
    places = [r.offset for r in REGISTERS] + windows
    with SimDevice(PARAMS, bus=bus, simulator=SIMULATOR) as device:
        shadowed = ShadowedDevice(device, PARAMS)
        written = [Op(WRITE, place, 1 + place // 4 % 3) for place in windows]
        written.append(Op(WRITE, address_of("COMMAND"), SAMPLE))
        shadowed.transact([*written, Op(WAIT), *(Op(READ, place) for place in places)])
        shadowed.transact([op for place in range(0, 0x4000, 0x1D4) for op in (Op(READ, place), Op(READ, 0x14))])
        shadowed.transact([Op(RESET), *(Op(READ, place) for place in places)])
        assert shadowed.compared > 250


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_an_unknown_bus_names_those_there_are(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match=f"bus must be one of {', '.join(BUSES)}, not 'pci'"):
        SimDevice(PARAMS, bus="pci", simulator=simulator)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "sim", "--bus", "pci"], f"bus must be one of {', '.join(BUSES)}, not 'pci'"),
        (["--bus", "wishbone"], "bus wishbone is one of the simulated RTL: it needs the device sim, not golden"),
    ],
)
def test_the_command_refuses_a_bus_it_cannot_use(arguments: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "algo.cli", "tune", *arguments, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_bus_is_part_of_a_runs_configuration(tmp_path: Path) -> None:
    folder, _, _ = tuned(tmp_path / "run", stop=1)
    assert json.loads((folder.path / "config.json").read_text())["bus"] == "none"


QUICK = {
    "an answer does not wait for ready": Bug(
        "axi4lite", "narrow", "axi4lite", "with m.If(self.s_axi_rready):", "with m.If(1):",
    ),
    "a Wishbone error is acknowledged": Bug(
        "wishbone", "narrow", "wishbone", "(bus.ack & ~bus.err) | skipped", "bus.ack | skipped",
    ),
    "a refused APB access ends without an error": Bug(
        "apb", "narrow", "apb", "self.s_apb_pslverr.eq(bus.err)", "self.s_apb_pslverr.eq(0)",
    ),
    "the probe port shows nothing": Bug(
        "wishbone", "narrow", "top", "self.probe.eq(core.probe)", "self.probe.eq(0)",
    ),
}  # fmt: skip

THOROUGH = {
    "a refused write is answered OKAY": Bug(
        "axi4lite", "narrow", "axi4lite", "Mux(bus.err & ~empty, SLVERR, OKAY)", "OKAY",
    ),
    "a read address is cut, so that it has aliases": Bug(
        "axi4lite", "narrow", "axi4lite", "read_address.eq(self.s_axi_araddr)",
        "read_address.eq(self.s_axi_araddr[:13])",
    ),
    "a Wishbone address is cut, so that it has aliases": Bug(
        "wishbone", "narrow", "wishbone", "0, self.wb_adr)", "0, self.wb_adr[:11])",
    ),
    "strobe is answered without cycle": Bug(
        "wishbone", "narrow", "wishbone", "self.wb_cyc & self.wb_stb", "self.wb_stb",
    ),
    "data that waits is overwritten": Bug(
        "axi4lite", "narrow", "axi4lite", "self.s_axi_wready.eq(~have_data)", "self.s_axi_wready.eq(1)",
    ),
    "a write starts before its data is there": Bug(
        "axi4lite", "narrow", "axi4lite", "have_address & have_data & ~self.s_axi_bvalid",
        "have_address & ~self.s_axi_bvalid",
    ),
    "an answer is overwritten by the next": Bug(
        "axi4lite", "narrow", "axi4lite", "read.eq(have_read & ~self.s_axi_rvalid)", "read.eq(have_read)",
    ),
    "a partial AXI write is carried out": Bug(
        "axi4lite", "narrow", "axi4lite", "write_address | partial", "write_address",
    ),
    "a write of nothing is carried out": Bug(
        "axi4lite", "narrow", "axi4lite", "empty.eq(~self.s_axi_wstrb.any())", "empty.eq(0)",
    ),
    "ready follows valid within the cycle": Bug(
        "axi4lite", "narrow", "axi4lite", "self.s_axi_arready.eq(~have_read)",
        "self.s_axi_arready.eq(~have_read & self.s_axi_arvalid)",
    ),
    "a refused read is answered OKAY": Bug(
        "axi4lite", "narrow", "axi4lite", "Mux(bus.err, SLVERR, OKAY)", "OKAY",
    ),
    "a partial Wishbone write is carried out": Bug(
        "wishbone", "narrow", "wishbone", "Cat(self.wb_we & ~self.wb_sel.all(), 0, self.wb_adr)",
        "Cat(self.wb_we & 0, 0, self.wb_adr)",
    ),
    "a write of nothing is not answered": Bug(
        "wishbone", "narrow", "wishbone", "(bus.ack & ~bus.err) | skipped", "bus.ack & ~bus.err",
    ),
    "the answer to a write of nothing comes within the cycle": Bug(
        "wishbone", "narrow", "wishbone", "(bus.ack & ~bus.err) | skipped", "(bus.ack & ~bus.err) | (request & empty)",
    ),
    "no stall with the answer to a write of nothing": Bug(
        "wishbone", "narrow", "wishbone", "self.wb_stall.eq(bus.ack | skipped)", "self.wb_stall.eq(bus.ack)",
    ),
    "writing nothing to a refused address is an error": Bug(
        "wishbone", "narrow", "wishbone", "bus.req.eq(request & ~empty)", "bus.req.eq(request)",
    ),
    "an APB address is cut, so that it has aliases": Bug(
        "apb", "narrow", "apb", "bus.addr.eq(self.s_apb_paddr |", "bus.addr.eq(self.s_apb_paddr[:13] |",
    ),
    "a partial APB write is carried out": Bug(
        "apb", "narrow", "apb", "self.s_apb_pwrite & ~self.s_apb_pstrb.all()", "0",
    ),
    "the strobes of an APB read count": Bug(
        "apb", "narrow", "apb", "self.s_apb_pwrite & ~self.s_apb_pstrb.all()", "~self.s_apb_pstrb.all()",
    ),
    "an APB write of nothing is refused": Bug(
        "apb", "narrow", "apb", "bus.req.eq(setup & ~empty)", "bus.req.eq(setup)",
    ),
    "an APB write of nothing is never ready": Bug(
        "apb", "narrow", "apb", "bus.ack | skipped", "bus.ack",
    ),
    "an APB write of nothing is ready within the cycle": Bug(
        "apb", "narrow", "apb", "bus.ack | skipped", "bus.ack | (setup & empty)",
    ),
    "an APB access phase is taken for another setup phase": Bug(
        "apb", "narrow", "apb", "self.s_apb_psel & ~self.s_apb_penable", "self.s_apb_psel",
    ),
    "an APB transfer of another completer is taken": Bug(
        "apb", "narrow", "apb", "self.s_apb_psel & ~self.s_apb_penable", "~self.s_apb_penable",
    ),
    "the interrupt of work that ends as it is cleared is lost": Bug(
        "register_file", "narrow", "register_file", "(kept & ~cleared) | ended << _DONE",
        "((kept | ended << _DONE) & ~cleared)",
    ),
    "irq stays up while busy": Bug(
        "wishbone", "narrow", "register_file", "(pending & enabled).any() & ~self.busy", "(pending & enabled).any()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", QUICK)
def test_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert_caught(bug, QUICK[bug], monkeypatch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("bug", THOROUGH)
def test_rarer_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert_caught(bug, THOROUGH[bug], monkeypatch, tmp_path)
