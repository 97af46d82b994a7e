"""The IP package as a stranger uses it: simulated, linted, instantiated and driven with its own files only."""

import json
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from algo.cli import main
from rtl.flows.fpga.measured import MEASURED, TARGET
from rtl.flows.ip.package import files
from rtl.spec.buses import BUSES, front_end
from rtl.spec.params import RLUParams
from rtl.spec.register_formats import FORMATS
from rtl.spec.registers import POLICY, SAMPLE
from rtl.verilog import generate, sidecar
from sim.devices.device import READ, WAIT, WRITE, GoldenDevice, Op, address_of
from sim.devices.driver import Driver
from sim.devices.objective import Objective
from sim.devices.planning import Costs, Planning
from sim.ip_package import MANIFEST, NotAPackage, write
from sim.simulators.build import tool_environment, write_package
from sim.simulators.simulator import SimDevice
from tb.bugs.catalogue import BUGS
from tests.piped_driver import PIPE, served
from tests.places import ROOT
from tests.planted_bugs import broken_unit, caught_by
from tests.require import require_command
from tests.stranger import passed, simulate

UNITS = {
    "none": RLUParams(states=11, actions=9, action_counts=(9, 1, 3, 9, 2, 8, 7, 1, 4, 5, 6), lfsr_width=32),
    "axi4lite": RLUParams(states=20, actions=5),
    "wishbone": RLUParams(states=5, actions=3, q_width=8, q_frac=6, coef_frac=6, gain_frac=4, lfsr_width=8),
    "apb": RLUParams(states=9, actions=4),
}
PLANNING = RLUParams(states=9, actions=4, episodes=8, points=4)
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wsign-conversion"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Folder of the package of each bus."""
    folders = {bus: tmp_path_factory.mktemp("ip") / bus for bus in BUSES}
    for bus, folder in folders.items():
        write(UNITS[bus], bus, folder, clock_mhz=80.0)
    return folders


def copied(packages, bus, folder):
    """A copy of a package of which a test may change the files."""
    for path in packages[bus].rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(packages[bus])
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("bus", BUSES)
@pytest.mark.parametrize("standard", ["2005", "2012"])
def test_its_bench_passes_with_nothing_of_ours(packages, bus, standard, tmp_path):
    done = simulate(copied(packages, bus, tmp_path), standard=standard)
    assert passed(done), done.stdout
    assert int(re.search(r"PASS: (\d+) checks", done.stdout)[1]) > 150


@pytest.fixture(scope="module")
def ecp5(tmp_path_factory):
    """Folder of a package that names that family's carry cells."""
    folder = tmp_path_factory.mktemp("ecp5") / "ip"
    write(UNITS["wishbone"], "wishbone", folder, technology="ecp5")
    return folder


def test_a_package_for_ecp5_is_simulated_and_linted_with_its_own_model_of_the_cells(ecp5):
    assert "CCU2C" in (ecp5 / "rlu_wishbone.v").read_text()
    done = simulate(ecp5)
    assert passed(done), done.stdout
    (command,) = re.findall(r"^    (verilator .*)$", (ecp5 / "README.md").read_text(), re.MULTILINE)
    done = subprocess.run(
        command.split(), cwd=ecp5, env=tool_environment("verilator"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "%Warning" not in done.stderr, done.stderr
    core = yaml.safe_load((ecp5 / "rlu.core").read_text())
    assert core["filesets"]["cells"]["files"] == ["bench/CCU2C.v"]
    using = {name for name, target in core["targets"].items() if "cells" in target["filesets"]}
    assert using == {"sim", "lint"}  # synthesis has the cells themselves


@pytest.mark.parametrize(
    ("unit", "technology"),
    [*((bus, "generic") for bus in BUSES), ("episodic", "generic"), ("planning", "generic"), ("none", "ecp5")],
)
def test_its_bench_passes_with_memories_that_power_up_unknown(unit, technology, tmp_path):
    """As on an ASIC: without the initial values of memories, which are arrays with an initial block."""
    bus = unit if unit in BUSES else "none"
    others = {"episodic": RLUParams(states=10, actions=4, episodes=8), "planning": PLANNING}
    params = UNITS[bus] if unit in BUSES else others[unit]
    write(params, bus, tmp_path, technology=technology)
    path = tmp_path / f"{front_end(bus).top}.v"
    block = r"(?m)^  initial begin\n(?:    \S+\[\d+\] = \S+;\n)+  end\n"
    text, blocks = re.subn(block, "", path.read_text())
    assert blocks == len(re.findall(r"(?m)^  reg \[.*\] \S+ \[\d+:\d+\];$", text)) >= 4
    path.write_text(text)
    done = simulate(tmp_path)
    assert passed(done), done.stdout


@caught_by("package")
def test_its_bench_fails_on_a_planted_bug(bug, catcher, packages, tmp_path):
    bus = catcher.name
    folder = copied(packages, bus, tmp_path / "package")
    (folder / f"{front_end(bus).top}.v").write_text(broken_unit(bug, UNITS[bus], tmp_path, bus).read_text())
    assert not passed(simulate(folder)), f"the bench of the {catcher} does not notice that {bug.name}"


def test_its_bench_fails_on_a_wrong_number_and_on_a_unit_that_hangs(packages, tmp_path):
    folder = copied(packages, "none", tmp_path)
    scenario = folder / "bench" / "rlu_scenario.vh"
    text = scenario.read_text()
    scenario.write_text(re.sub(r"(expect_word\(`RLU_Q_TABLE_OFFSET \+ 32, 32'h)", r"\g<1>1", text, count=1))
    assert scenario.read_text() != text and not passed(simulate(folder))
    scenario.write_text(text.replace("RLU_COMMAND_OFFSET, 32'hF", "").replace("wait_idle;", "wait_irq;", 1))
    done = simulate(folder)
    assert not passed(done) and "the unit hangs" in done.stdout


@pytest.mark.parametrize("bus", BUSES)
def test_it_lints_cleanly(packages, bus, tmp_path):
    folder, top = copied(packages, bus, tmp_path), front_end(bus).top
    command = ["verilator", "--lint-only", "-Wall", "--top-module", top, f"{top}.vlt", f"{top}.v"]

    def lint():
        environment = tool_environment("verilator")
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    done = lint()
    assert done.returncode == 0 and "%Warning" not in done.stderr, done.stderr
    path = folder / f"{top}.v"
    path.write_text(path.read_text().replace("endmodule", "assign nowhere = clk;\nendmodule", 1))
    assert lint().returncode != 0


#: Rules that Verilator 4, 5.006 (Debian 12's) and today's know; a name that one does not know is an error to it.
LASTING_RULES = {"VARHIDDEN", "CASEINCOMPLETE", "CMPCONST", "DECLFILENAME", "UNSIGNED", "UNUSED", "WIDTH"}

SOC = """\
module soc(input clk, input rst, input [15:0] a, output [31:0] r, output [15:0] q);
  reg [3:0] narrow = 0;
  wire ack, err, busy, irq;
  wire [{probe}:0] probe;
  assign q = {{12'd0, narrow}};
  always @(posedge clk) narrow <= a;
  rlu unit(.clk(clk), .rst(rst), .bus__req(a[0]), .bus__we(a[1]), .bus__addr(a), .bus__wdata({{16'd0, a}}),
    .bus__rdata(r), .bus__ack(ack), .bus__err(err), .busy(busy), .irq(irq), .probe(probe));
endmodule
"""


@pytest.mark.parametrize("name", ["rlu.v", "my [odd] *unit*.v"])
def test_its_waivers_are_for_its_own_file_only(packages, name, tmp_path):
    """A module around the unit keeps its warnings, of the kinds that are waived in the unit too."""
    (tmp_path / "ip").mkdir()
    unit = tmp_path / "ip" / name
    ports = {port["name"]: port["width"] for port in sidecar(UNITS["none"])["ports"]}
    write_package(UNITS["none"], unit)
    (tmp_path / "soc.v").write_text(SOC.format(probe=ports["probe"] - 1))

    def lint(*sources):
        command = ["verilator", "--lint-only", "-Wall", "--top-module", "soc", *map(str, sources)]
        environment = tool_environment("verilator")
        said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return re.findall(r"^%Warning-(\w+): ([^:]+):", said.stderr, re.MULTILINE)

    waived = lint(unit.with_suffix(".vlt"), "soc.v", unit)
    own = {kind for kind, file in waived if file == "soc.v"}
    assert own == {"WIDTHTRUNC", "UNUSEDSIGNAL", "PROCASSINIT"} and {file for _, file in waived} == {"soc.v"}
    assert {file for _, file in lint("soc.v", unit)} == {"soc.v", str(unit)}


def test_its_waivers_name_no_rule_that_an_older_verilator_lacks(packages):
    rules = re.findall(r"-rule (\w+)", (packages["none"] / "rlu.vlt").read_text())
    assert len(rules) > 5 and set(rules) <= LASTING_RULES


def core_files(core):
    """Every file a FuseSoC core names."""
    for fileset in core["filesets"].values():
        for entry in fileset["files"]:
            yield entry if isinstance(entry, str) else next(iter(entry))


@pytest.mark.parametrize("bus", BUSES)
def test_its_fusesoc_core_names_files_and_targets_that_exist(packages, bus):
    text = (packages[bus] / "rlu.core").read_text()
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text)
    named = list(core_files(core))
    assert len(named) > 5 and all((packages[bus] / name).is_file() for name in named)
    assert set(core["targets"]) == {"default", "synth", "lint", "sim"}
    for target in core["targets"].values():
        assert set(target["filesets"]) <= set(core["filesets"])
        module = rf"^module {target['toplevel']}\b"
        assert any(re.search(module, (packages[bus] / name).read_text(), re.MULTILINE) for name in named)


@pytest.mark.parametrize(("form", "target"), [("axi4lite", "sim"), ("axi4lite", "lint"), ("ecp5", "sim")])
def test_fusesoc_runs_its_targets(packages, ecp5, form, target, tmp_path):
    pytest.importorskip("fusesoc")
    folder = copied({**packages, "ecp5": ecp5}, form, tmp_path)
    name = yaml.safe_load((folder / "rlu.core").read_text())["name"]
    command = [sys.executable, "-m", "fusesoc.main", "--cores-root", ".", "run", f"--target={target}", name]
    environment = tool_environment("verilator")
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert target == "lint" or "PASS: " in done.stdout


@pytest.mark.parametrize("bus", BUSES)
def test_its_instance_connects_every_port_and_says_what_it_is(packages, bus):
    ports = json.loads((packages[bus] / f"{front_end(bus).top}.json").read_text())["ports"]
    text = (packages[bus] / "rlu_inst.vh").read_text()
    assert set(re.findall(r"^  \.(\w+)\(\1\),?$", text, re.MULTILINE)) == {port["name"] for port in ports}
    for port in ports:
        if port["name"] not in ("clk", "rst"):
            span = rf"\[{port['width'] - 1}:0\] " if port["width"] > 1 else ""
            wire = rf"^wire {span}{port['name']}; +// {port['direction']}: \w.{{4,}}$"
            assert re.search(wire, text, re.MULTILINE), port


def dumped(vcd):
    """Hierarchical names in a VCD file."""
    scope, names = [], set()
    for line in vcd.read_text().partition("$enddefinitions")[0].splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            scope.append(words[2])
        elif words[:1] == ["$upscope"]:
            scope.pop()
        elif words[:1] == ["$var"]:
            names.add(".".join([*scope, words[4]]))
    return names


@pytest.mark.parametrize("bus", BUSES)
def test_its_signal_names_are_in_the_waveform(packages, bus, tmp_path):
    folder = copied(packages, bus, tmp_path)
    simulate(folder, waves=True)
    names = dumped(folder / "rlu_tb.vcd")
    saved = [line for line in (folder / "waves" / "rlu.gtkw").read_text().splitlines() if line.startswith("rlu_tb.")]
    assert len(saved) > 100
    assert {line.partition("[")[0] for line in saved} <= names
    page = (folder / "waves" / "signals.md").read_text()
    assert len(re.findall(r"^\| \S+ \| \d+ \| \S.* \|$", page, re.MULTILINE)) == len(saved)
    for wanted in ("alpha", "lfsr", "probe.write_value", "busy", "irq"):
        assert f"| {wanted} |" in page
    for block in ("registers", "q_table", "policy_store", "sampler", "updater"):
        assert re.search(rf"^## {front_end(bus).top}(\.\w+)*\.{block}$", page, re.MULTILINE), block


def test_its_constraints_have_the_clock_that_was_asked_for(packages):
    constraints = packages["none"] / "constraints"
    assert "create_clock -name clk -period 12.500 [get_ports clk]" in (constraints / "rlu.sdc").read_text()
    assert 'FREQUENCY PORT "clk" 80 MHZ;' in (constraints / "rlu.lpf").read_text()


@pytest.mark.parametrize(
    ("kind", "more"),
    [("published", {}), ("remembering", {"episodes": 8}), ("remembering", {"episodes": 8, "points": 1})],
)
@pytest.mark.parametrize("technology", ["generic", "ecp5"])
@pytest.mark.parametrize("bus", BUSES)
def test_its_constraints_are_met_by_most_placements_measured_where_no_clock_is_asked_for(bus, technology, kind, more):
    made = files(replace(UNITS[bus], **more), bus, [], technology=technology)
    (mhz,) = re.findall(r'^FREQUENCY PORT "clk" (\S+) MHZ;$', made["constraints/rlu.lpf"], re.MULTILINE)
    measured = [
        m
        for m in MEASURED
        if (m.design.target, m.design.technology, m.design.kind) == (TARGET, technology, kind)
        and m.design.bus != "core"
    ]
    assert {m.design.states for m in measured} == ({256} if kind == "published" else {16})
    assert all(2 * sum(reached >= float(mhz) for reached in m.fmax_mhz) > len(m.fmax_mhz) for m in measured)
    assert min(sorted(m.fmax_mhz)[1] for m in measured) - float(mhz) < 5
    assert f"-period {1000 / float(mhz):.3f} " in made["constraints/rlu.sdc"]
    assert f"a clock of {mhz} MHz on `clk`" in made["README.md"]


@pytest.mark.parametrize("bus", BUSES)
def test_its_readme_and_its_manifest_name_every_file(packages, bus):
    folder = packages[bus]
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(json.loads((folder / MANIFEST).read_text())["files"]) == names - {MANIFEST}
    readme = (folder / "README.md").read_text()
    for name in names - {"README.md"}:
        assert name in readme or f"{name.split('/')[0]}/ |" in readme, name
    assert f"| lfsr_width | {UNITS[bus].lfsr_width} |" in readme and "$" not in readme and "None" not in readme


def test_its_licence_comes_along(packages):
    folder = packages["axi4lite"]
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    with_comments = [p for p in folder.rglob("*") if p.suffix in (".c", ".h", ".vh", ".sdc", ".lpf", ".core")]
    assert len(with_comments) >= 10
    for path in [*with_comments, folder / "bench" / "rlu_tb.v"]:
        assert "SPDX-License-Identifier: Apache-2.0" in "".join(path.read_text().splitlines()[:2]), path
    assert (folder / "rlu_axi4lite.v").read_text() == generate(UNITS["axi4lite"], bus="axi4lite")


def test_its_exports_are_those_of_its_unit(packages):
    for bus, folder in packages.items():
        device = ElementTree.parse(folder / "rlu.svd").getroot()
        registers = {r.findtext("name"): r for r in device.iter("register")}
        assert int(registers["STATES"].findtext("resetValue"), 0) == UNITS[bus].states
        assert f"#define RLU_PARAM_ACTIONS {UNITS[bus].actions}\n" in (folder / "rlu_regs.h").read_text()


HOST = (
    PIPE
    + r"""
int search(const rlu_unit *unit, uint8_t *policy);
int planned_search(const rlu_unit *unit, uint8_t *policy, uint32_t *accuracy);
void measure_action(uint32_t point, uint32_t row, uint32_t action, uint32_t *latency, uint32_t *energy);
void measure_cost(const uint8_t *policy, uint32_t rows, uint32_t *latency, uint32_t *energy);
uint32_t measure_accuracy(const uint8_t *policy, uint32_t rows);

static void pipe_idle(void *context)
{
    ++*(unsigned *)context;
    printf("i\n");
}

void measure_cost(const uint8_t *policy, uint32_t rows, uint32_t *latency, uint32_t *energy)
{
    *latency = *energy = 0;
    for (uint32_t row = 0; row < rows; row++) {
        *latency += RLU_COEF(0.0625) * policy[row];
        *energy += RLU_COEF(0.03125) * (2 + (policy[row] ^ (row & 1)));
    }
    if (*latency > RLU_COEF(1.0))
        *latency = RLU_COEF(1.0);
}

uint32_t measure_accuracy(const uint8_t *policy, uint32_t rows)
{
    uint32_t hits = 0;

    for (uint32_t row = 0; row < rows; row++)
        hits += policy[row] == row % 3;
    return RLU_COEF(0.25) + RLU_COEF(0.0625) * hits;
}

void measure_action(uint32_t point, uint32_t row, uint32_t action, uint32_t *latency, uint32_t *energy)
{
    *latency = RLU_COEF(0.0625) * action + 64 * point;
    *energy = RLU_COEF(0.03125) * (2 + (action ^ (row & 1))) - 64 * point;
}
"""
)

SEARCH = r"""
int main(void)
{
    unsigned idle = 0;
    rlu_unit unit = {pipe_read, pipe_write, pipe_idle, &idle, 0};
    uint8_t policy[RLU_PARAM_STATES];
    uint32_t rows = RLU_PARAM_STATES < 9 ? RLU_PARAM_STATES : 9;
    int result = search(&unit, policy);

    rlu_enable_irq(&unit, RLU_IRQ_ENABLE_DONE_MASK);
    printf("result %d irq %x idle %u\n", result, (unsigned)rlu_acknowledge_irq(&unit), idle);
    for (uint32_t row = 0; row < rows; row++)
        printf("row %d %ld %ld %ld\n", policy[row], (long)rlu_q_value(&unit, row, 0),
               (long)rlu_q_value(&unit, row, 1), (long)rlu_q_value(&unit, row, 2));
    rlu_put(&unit, RLU_ALPHA_OFFSET, RLU_ALPHA_MAX + 1);
    result = rlu_check(&unit, NULL);
    printf("refused %d then %d\n", result, rlu_check(&unit, NULL));
    return 0;
}
"""


@pytest.fixture(scope="module")
def c_search(packages, tmp_path_factory):
    """The package's C driver and example, compiled with warnings as errors."""
    folder = copied(packages, "axi4lite", tmp_path_factory.mktemp("c"))
    return compiled(folder, SEARCH)


def compiled(folder, program):
    """A program at a pipe with a package's driver and its example."""
    (folder / "pipe.c").write_text(HOST + program)
    sources = ["driver/rlu.c", "driver/example.c", "pipe.c"]
    gcc = require_command("gcc", "gcc")
    subprocess.run([gcc, *STRICT, "-I", ".", "-I", "driver", "-o", "search", *sources], cwd=folder, check=True)
    return folder / "search"


LATE = r"""
/* A handler that is called late, on a unit of two registers that refuses writes while it is busy. */
#include "rlu.h"

static uint32_t status = RLU_STATUS_BUSY_MASK, pending = RLU_IRQ_STATUS_DONE_MASK;

static uint32_t read_word(void *context, uint32_t offset)
{
    (void)context;
    return offset == RLU_STATUS_OFFSET ? status : offset == RLU_IRQ_STATUS_OFFSET ? pending : 0;
}

static void write_word(void *context, uint32_t offset, uint32_t word)
{
    (void)context;
    if (status & RLU_STATUS_BUSY_MASK)
        status |= RLU_STATUS_ERROR_BUSY_MASK;
    else if (offset == RLU_IRQ_STATUS_OFFSET)
        pending &= ~word;
}

int main(void)
{
    rlu_unit unit = {read_word, write_word, 0, 0, 0};

    if (rlu_acknowledge_irq(&unit) != 0)
        return 1;
    status &= ~RLU_STATUS_BUSY_MASK;
    if (rlu_check(&unit, 0) != RLU_OK)
        return 2;
    return rlu_acknowledge_irq(&unit) == RLU_IRQ_STATUS_DONE_MASK && pending == 0 ? 0 : 3;
}
"""


@pytest.mark.parametrize("language", ["c", "c++"])
def test_its_c_driver_leaves_a_working_unit_alone_when_an_interrupt_comes_late(packages, language, tmp_path):
    """From C++ too, where the driver keeps its C names."""
    folder = copied(packages, "axi4lite", tmp_path)
    (folder / "late.c").write_text(LATE)
    compiler, flags = require_command("gcc", "gcc"), [*STRICT, "-I", ".", "-I", "driver"]
    subprocess.run([compiler, *flags, "-c", "driver/rlu.c"], cwd=folder, check=True)
    if language == "c++":
        compiler, flags = require_command("g++", "g++"), ["-x", "c++", "-Wall", "-Werror", "-I", ".", "-I", "driver"]
    subprocess.run([compiler, *flags, "-c", "late.c"], cwd=folder, check=True)
    subprocess.run([compiler, "-o", "late", "late.o", "rlu.o"], cwd=folder, check=True)
    assert subprocess.run([folder / "late"], check=False).returncode == 0


#: The registers that the C example leaves alone.
NO_LIMITS = Objective(
    accuracy_th=0.0, latency_th_ms=1.0, energy_th_uj=1.0,
    latency_low_ms=0.0, latency_high_ms=1.0, energy_low_uj=0.0, energy_high_uj=1.0,
)  # fmt: skip


def python_search(device):
    """What driver/example.c does, with the Python driver."""
    unit = Driver(device)
    unit.configure(action_counts=[3] * 9, seed=1, objective=NO_LIMITS)
    for round_ in range(12):
        policy = unit.sample((32768 // 12) * (12 - round_) / 32768)
        latency = min(1.0, sum(policy) / 16)
        energy = sum(2 + (action ^ row & 1) for row, action in enumerate(policy)) / 32
        outlier = unit.is_outlier(latency, energy)
        hits = sum(action == row % 3 for row, action in enumerate(policy))
        unit.learn(0.0 if outlier else 0.25 + hits / 16)
    return unit.sample(0.0), unit.q_table()


def test_its_c_driver_does_what_the_python_driver_does(c_search):
    policy, q_table = python_search(GoldenDevice(UNITS["axi4lite"]))
    rows = [f"row {action} {' '.join(map(str, values))}" for action, values in zip(policy, q_table, strict=True)]
    assert len(set(rows)) > 5
    said = served(c_search, GoldenDevice(UNITS["axi4lite"]))
    assert said == ["result 0 irq 1 idle 0", *rows, "refused -3 then 0"]


def test_its_c_driver_drives_the_rtl(c_search):
    require_command("iverilog", "iverilog")
    with SimDevice(UNITS["axi4lite"], simulator="icarus") as device:
        said = served(c_search, device)
    golden = served(c_search, GoldenDevice(UNITS["axi4lite"]))
    assert said[1:] == golden[1:]
    # The RTL takes time, so that the driver waited.
    assert re.fullmatch(r"result 0 irq 1 idle [1-9]\d*", said[0])


PLANNED = r"""
#define ROWS 9

int main(void)
{
    unsigned idle = 0;
    rlu_unit unit = {pipe_read, pipe_write, pipe_idle, &idle, 0};
    uint8_t policy[ROWS], trials[ROWS], counts[ROWS] = {3, 3, 3, 3, 3, 3, 3, 3, 4};
    const uint32_t too_much = RLU_COEF(1.0) + 1, nothing = 0;
    uint32_t accuracy = 0, stored, oldest, lfsr, q[ROWS][2], words[RLU_PARAM_EPISODES][3], tried[ROWS][4];
    int result = planned_search(&unit, policy, &accuracy);

    printf("result %d accuracy %lu\n", result, (unsigned long)accuracy);
    result = rlu_recommend(&unit, RLU_COEF(0.5), RLU_DOUBT_RESET, policy, ROWS, &accuracy, trials);
    for (uint32_t row = 0; row < ROWS; row++)
        printf("row %d %d\n", policy[row], trials[row]);
    lfsr = pipe_read(&idle, RLU_LFSR_OFFSET);

    /* Save, and plan on; then begin another task, restore, and plan the same. */
    rlu_episodes(&unit, &stored, &oldest);
    printf("episodes %u %u\n", (unsigned)stored, (unsigned)oldest);
    for (uint32_t i = 0; i < stored; i++) {
        uint32_t place = (oldest + i) % RLU_PARAM_EPISODES;

        result |= rlu_read_memory(&unit, RLU_POLICY_WORD(place, 0), words[i], 2);
        result |= rlu_read_memory(&unit, RLU_RESULT_WORD(place), words[i] + 2, 1);
    }
    for (uint32_t row = 0; row < ROWS; row++) {
        result |= rlu_read_memory(&unit, RLU_TRIALS_WORD(row, 0), tried[row], counts[row]);
        for (uint32_t i = 0; i < 2; i++)
            q[row][i] = pipe_read(&idle, RLU_Q_TABLE_OFFSET + RLU_Q_TABLE_STRIDE * row + 4 * i);
    }
    printf("lfsr %x saved", (unsigned)lfsr);
    for (uint32_t i = 0; i < stored; i++)
        printf(" %x %x %x", (unsigned)words[i][0], (unsigned)words[i][1], (unsigned)words[i][2]);
    for (uint32_t row = 0; row < ROWS; row++)
        for (uint32_t i = 0; i < counts[row]; i++)
            printf(" %u", (unsigned)tried[row][i]);
    printf("\n");
    for (int again = 0; again < 2; again++) {
        result |= rlu_plan(&unit, RLU_COEF(0.5), 100, policy, ROWS);
        printf("plan");
        for (uint32_t row = 0; row < ROWS; row++)
            printf(" %d", policy[row]);
        printf("\n");
        if (again == 0) {
            rlu_task task = {counts, ROWS, lfsr, 0, 0};
            rlu_planning how = {RLU_PLANNING_RESET | RLU_PLANNING_TRUST_MASK, RLU_GAIN(1.0)};

            result |= rlu_configure(&unit, &task) | rlu_plans(&unit, &how);
            for (uint32_t i = 0; i < stored; i++) {
                uint32_t place = (oldest + i) % RLU_PARAM_EPISODES;

                result |= rlu_write_memory(&unit, RLU_POLICY_WORD(place, 0), words[i], 2);
                result |= rlu_write_memory(&unit, RLU_RESULT_WORD(place), words[i] + 2, 1);
            }
            for (uint32_t row = 0; row < ROWS; row++) {
                result |= rlu_write_memory(&unit, RLU_TRIALS_WORD(row, 0), tried[row], counts[row]);
                for (uint32_t i = 0; i < 2; i++)
                    rlu_put(&unit, RLU_Q_TABLE_OFFSET + RLU_Q_TABLE_STRIDE * row + 4 * i, q[row][i]);
            }
        }
    }
    printf("restored %d\n", result);
    result = rlu_write_policy(&unit, counts, ROWS - 1); /* any actions fit the memory */
    result |= rlu_read_memory(&unit, RLU_COST_WORD(2, 3, 2), words[0], 1);
    printf("cost %d %x\n", result, (unsigned)words[0][0]);
    printf("refused %d\n", rlu_load_costs(&unit, RLU_PARAM_POINTS, 0, words[0], words[0], 1));
    printf("too much latency %d\n", rlu_load_costs(&unit, 0, 0, &too_much, &nothing, 1));
    printf("too much energy %d\n", rlu_load_costs(&unit, 0, 0, &nothing, &too_much, 1));
    printf("varied %d\n", rlu_recommend(&unit, too_much, RLU_DOUBT_RESET, policy, ROWS, &accuracy, trials));
    return 0;
}
"""


@pytest.fixture(scope="module")
def c_plan(tmp_path_factory):
    """The planned search of a planning unit's package."""
    folder = tmp_path_factory.mktemp("plan") / "ip"
    write(PLANNING, "axi4lite", folder)
    return compiled(folder, PLANNED)


def python_plan(device):
    """What `planned_search` of driver/example.c, and the program above, print, by the Python driver."""
    unit = Driver(device)
    counts = [3] * 8 + [4]
    latency = [[[a / 16 + p / 512 for a in range(n)] for n in counts] for p in range(4)]
    energy = [
        [[(2 + (a ^ row & 1)) / 32 - p / 512 for a in range(n)] for row, n in enumerate(counts)] for p in range(4)
    ]
    unit.configure(action_counts=counts, seed=1, objective=NO_LIMITS, planning=Planning(), costs=Costs(latency, energy))
    for _ in range(12):
        policy = unit.plan()
        costs = min(1.0, sum(policy) / 16), sum(2 + (action ^ row & 1) for row, action in enumerate(policy)) / 32
        hits = sum(action == row % 3 for row, action in enumerate(policy))
        unit.learn(0.0 if unit.is_outlier(*costs) else 0.25 + hits / 16)
    found = unit.recommend()
    rows = [f"row {action} {trials}" for action, trials in zip(found.actions, found.trials, strict=True)]
    assert len(set(rows)) > 3
    state = unit.save()
    lfsr, plan = state["registers"]["LFSR"], state["plan"]
    episodes = [(*plan["policies"][2 * i : 2 * i + 2], plan["results"][i]) for i in range(8)]
    saved = " ".join([*(f"{word:x}" for words in episodes for word in words), *map(str, plan["trials"])])
    words = device.transact(
        [
            Op(WRITE, address_of("DOUBT"), 100), Op(WRITE, address_of("COMMAND"), SAMPLE), Op(WAIT),
            *(Op(READ, address) for address in POLICY.addresses(9)),
        ]
    )  # fmt: skip
    planned = "plan " + " ".join(map(str, POLICY.unpack(words, 9)))
    accuracy = round(found.accuracy * 32768)
    cost = round((2 / 16 + 2 / 512) * 32768) | round((2 + (2 ^ 1)) / 32 * 32768 - 128) << 16
    return [
        f"result 0 accuracy {accuracy}", *rows, "episodes 8 4", f"lfsr {lfsr:x} saved {saved}", planned, planned,
        "restored 0", f"cost 0 {cost:x}",
        "refused -3", "too much latency -3", "too much energy -3", "varied -3",
    ]  # fmt: skip


def test_its_c_driver_plans_as_the_python_driver_does(c_plan):
    """A memory that has forgotten episodes, and what is saved, is restored too."""
    assert served(c_plan, GoldenDevice(PLANNING)) == python_plan(GoldenDevice(PLANNING))


def test_its_c_driver_plans_with_the_rtl(c_plan):
    # Verilator: a plan takes long, and Icarus Verilog needs minutes for these.
    with SimDevice(PLANNING, simulator="verilator", bus="axi4lite") as device:
        assert served(c_plan, device) == python_plan(GoldenDevice(PLANNING))


def test_its_c_driver_refuses_a_unit_with_other_memories(c_plan):
    for other in (replace(PLANNING, points=3), replace(PLANNING, episodes=16), replace(PLANNING, points=0)):
        assert served(c_plan, GoldenDevice(other))[0] == "result -2 accuracy 0"


@pytest.mark.parametrize(
    "bus", ["axi4lite", *(pytest.param(b, marks=pytest.mark.slow) for b in BUSES if b != "axi4lite")]
)
def test_the_bench_of_a_unit_that_plans_passes_and_finds_a_wrong_plan(bus, tmp_path):
    folder = tmp_path / "ip"
    write(PLANNING, bus, folder)
    assert "Planning with known costs" in (folder / "bench" / "rlu_scenario.vh").read_text()
    done = simulate(folder)
    assert passed(done), done.stdout
    bug = BUGS["the costs of another operating point are added"]
    (folder / f"{front_end(bus).top}.v").write_text(broken_unit(bug, PLANNING, tmp_path, bus).read_text())
    assert not passed(simulate(folder))


def test_the_integration_guide_shows_the_example(packages, tmp_path):
    blocks = re.findall(r"```c\n(.*?)```", (ROOT / "docs" / "integrate" / "integration.md").read_text(), re.DOTALL)
    handler, mapped, *loops = blocks
    example = (packages["none"] / "driver" / "example.c").read_text()
    assert len(loops) == 2 and all(textwrap.indent(loop, "    ") in example for loop in loops)
    # The other two compile, in a program around them.
    program = [
        handler.replace("void rlu_handler", "void rlu_handler(const rlu_unit *unit);\nvoid rlu_handler"), mapped,
        "void handler(void);", "void handler(void)", "{", "    rlu_handler(&unit);", "}", "",
    ]  # fmt: skip
    (tmp_path / "guide.c").write_text("\n".join(program))
    gcc, package = require_command("gcc", "gcc"), packages["none"]
    subprocess.run(
        [gcc, *STRICT, "-I", package, "-I", package / "driver", "-c", "guide.c"], cwd=tmp_path, check=True
    )  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "result"), [(RLUParams(states=20, actions=6), -2), (None, -1)], ids=["other unit", "no unit"]
)
def test_its_c_driver_refuses_another_unit(c_search, unit, result):
    class Nothing:
        def transact(self, ops):
            return [0 for op in ops if op.kind == READ]

    device = Nothing() if unit is None else GoldenDevice(unit)
    assert served(c_search, device)[0].startswith(f"result {result} ")


def test_written_over_another_package_only_the_new_files_are_left(tmp_path):
    unit = UNITS["wishbone"]
    write(unit, "axi4lite", tmp_path)
    (tmp_path / "notes.txt").write_text("the user's own")
    first = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    write(unit, "wishbone", tmp_path)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert "rlu_axi4lite.v" in first and not {name for name in left if "axi4lite" in name}
    assert {"rlu_wishbone.v", "notes.txt"} <= left
    write(unit, "axi4lite", tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == first


def test_an_interrupted_package_is_written_again(tmp_path, monkeypatch):
    def fails(path, text, written=[]):  # noqa: B006
        if len(written) == 4:
            raise OSError("no space left on device")
        written.append(path)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    with monkeypatch.context() as patch:
        patch.setattr("sim.ip_package.write_atomically", fails)
        with pytest.raises(OSError, match="no space"):
            write(UNITS["wishbone"], "none", tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    write(UNITS["wishbone"], "none", tmp_path)
    assert (tmp_path / "README.md").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"generator": "somebody", "files": []}',
        '{"generator": "rlu verilog of rlu-cosim", "files": ["../x"]}',
        '{"generator": "rlu verilog of rlu-cosim", "files": ["a\\u0000"]}',
        '{"generator": "rlu verilog of rlu-cosim", "files": [5]}',
        "[" * 100_000,
    ],
)
def test_a_folder_with_something_else_is_left_alone(content, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "x").write_text("precious")
    (folder / MANIFEST).write_text(content)
    with pytest.raises(NotAPackage, match="is not empty and not a package of ours: name another folder, or empty it"):
        write(UNITS["wishbone"], "none", folder)
    assert [path.name for path in folder.iterdir()] == [MANIFEST] and (tmp_path / "x").exists()


SIZE = ["--states", "4", "--actions", "3"]


def test_the_command_writes_a_package_and_tells_the_files(tmp_path, capsys):
    main(["verilog", *SIZE, "--bus", "wishbone", "--clock", "50", "-o", str(tmp_path / "ip"), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert {Path(name) for name in answer["files"]} == {p for p in (tmp_path / "ip").rglob("*") if p.is_file()}
    assert answer["parameters_sha256"] == RLUParams(states=4, actions=3).digest
    assert "50 MHZ" in (tmp_path / "ip" / "constraints" / "rlu.lpf").read_text()


def test_the_command_writes_a_package_for_a_technology(tmp_path):
    main(["verilog", *SIZE, "--technology", "ecp5", "-o", str(tmp_path / "ip")])
    assert "CCU2C" in (tmp_path / "ip" / "rlu.v").read_text() and (tmp_path / "ip" / "bench" / "CCU2C.v").exists()


def test_the_command_exports_the_registers(tmp_path, capsys):
    main(["registers", *SIZE, "--format", "svd", "-o", str(tmp_path / "rlu.svd")])
    assert ElementTree.parse(tmp_path / "rlu.svd").getroot().tag == "device"
    capsys.readouterr()
    main(["registers", *SIZE, "--format", "c"])
    assert "#define RLU_STATES_MAX 4\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verilog", "--bus", "spi", "-o", "ip"], f"bus must be one of {', '.join(BUSES)}, not 'spi'"),
        (["verilog", "--bus", "spi"], f"bus must be one of {', '.join(BUSES)}, not 'spi'"),
        (["verilog", *SIZE, "--technology", "ice40", "-o", "ip"], "no technology 'ice40'; there are: generic, ecp5"),
        (["verilog", *SIZE, "--clock", "0", "-o", "ip"], "the clock must be 0.001..10000 MHz, not 0"),
        (["verilog", *SIZE, "--clock", "1e7", "-o", "ip"], "the clock must be 0.001..10000 MHz, not 1e+07"),
        (["verilog", *SIZE, "--clock", "nan", "-o", "ip"], "the clock must be 0.001..10000 MHz, not nan"),
        (["verilog", "--clock", "50", "-o", "rlu.v"], "--clock is for the constraints of a package"),
        (["verilog", "-o", "."], ". is not empty and not a package of ours: name another folder, or empty it"),
        (["registers", "--format", "xls"], f"the format must be one of {', '.join(FORMATS)}, not 'xls'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_named_with_exit_code_2(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text("the user's own")
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2 and said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


def test_the_bench_waits_by_polling_and_by_interrupt(packages):
    text = (packages["none"] / "bench" / "rlu_scenario.vh").read_text()
    assert text.count("wait_idle;") > 3 and text.count("wait_irq;") > 8
