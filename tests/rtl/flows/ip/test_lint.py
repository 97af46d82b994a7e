"""The package under the lint of other people's tools: two Verilators, Icarus and slang."""

import subprocess
import sys
from pathlib import Path

import pytest

from rtl.spec.buses import BUSES
from rtl.spec.params import RLUParams
from rtl.verilog import RESETS, TECHNOLOGIES
from sim.ip_package import write
from sim.simulators.build import tool_environment
from tests.require import require_command, require_path

UNITS = {"published": RLUParams(states=20, actions=5), "planning": RLUParams(states=9, actions=4, episodes=8, points=4)}
#: Every front end and a unit that plans, in plain Verilog and in cells; memories are the same behind each bus.
FORMS = [
    *((unit, bus, technology)
      for technology in ("generic", "ecp5")
      for unit, bus in (*(("published", bus) for bus in BUSES), ("planning", "none"))),
    ("planning", "none", "sram"),
]  # fmt: skip
DEBIAN = Path("/usr/bin/verilator")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A function that gives the folder of a package."""
    made = {}

    def folder(unit, bus, technology, reset="active-high"):
        key = (unit, bus, technology, reset)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("lint") / "ip"
            write(UNITS[unit], bus, made[key], clock_mhz=80.0, technology=technology, reset=reset)
        return made[key]

    return folder


def verilator(folder, command, environment):
    (unit,) = (path.stem for path in folder.glob("*.v"))
    line = [command, "--lint-only", "-Wall", "--top-module", unit, f"{unit}.vlt", f"{unit}.v", *models(folder)]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return [row for row in done.stderr.splitlines() if row.startswith("%")]


def models(folder):
    """Models of the technology's cells and memories, which are not the bench."""
    return [f"bench/{path.name}" for path in sorted(folder.glob("bench/*.v")) if not path.stem.endswith("_tb")]


def by_our_verilator(folder):
    return verilator(folder, "verilator", tool_environment("verilator"))


def by_debians_verilator(folder):
    return verilator(folder, require_path(DEBIAN, "verilator"), {"PATH": "/usr/bin:/bin"})


def by_icarus(folder):
    """The unit under ``-Wall``; the bench, which sets a time scale, without that warning."""
    command, unit = require_command("iverilog", "iverilog"), sorted(folder.glob("*.v"))
    said = []
    for options, sources in (
        (["-g2005"], [*unit, *(folder / name for name in models(folder))]),
        (["-g2012", "-Wno-timescale", "-I", folder, "-I", folder / "bench"], [*unit, *folder.glob("bench/*.v")]),
    ):
        done = subprocess.run(
            [command, "-Wall", *options, "-o", "/dev/null", *sources], capture_output=True, text=True, check=False
        )
        said += done.stderr.splitlines()
    return said


#: The program `slang`, from the library.
SLANG = """
import sys
from pyslang.driver import Driver
driver = Driver()
driver.addStandardArgs()
assert driver.parseCommandLine(sys.argv[1]) and driver.processOptions()
driver.parseAllSources()
driver.reportCompilation(driver.createCompilation(), False)
driver.reportDiagnostics(False)
"""


def slang(*sources):
    """What slang says of sources, with its extra warnings.

    But for the one about selections, which Yosys writes as shifts.
    """
    pytest.importorskip("pyslang")
    command = [sys.executable, "-c", SLANG, f"slang -Wextra -Wno-width-trunc {' '.join(map(str, sources))}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = done.stdout + done.stderr
    assert "Build " in told, told  # its last line, whatever it found
    return [line for line in told.splitlines() if ": warning: " in line or ": error: " in line]


def by_slang(folder):
    return slang(*folder.glob("*.v"), *(folder / name for name in models(folder)))


LINTS = [by_our_verilator, by_debians_verilator, by_icarus, by_slang]


@pytest.mark.parametrize("lint", LINTS)
@pytest.mark.parametrize(("unit", "bus", "technology"), FORMS)
def test_every_package_is_clean(package, lint, unit, bus, technology):
    assert lint(package(unit, bus, technology)) == []


@pytest.mark.parametrize("lint", LINTS)
def test_every_kind_of_reset_is_clean(package, lint):
    assert {technology for _, _, technology in FORMS} == set(TECHNOLOGIES)
    for reset in RESETS:
        assert lint(package("published", "axi4lite", "generic", reset)) == []


@pytest.mark.parametrize("lint", LINTS)
@pytest.mark.parametrize(
    "fault",
    ["missing nowhere(.clk(clk));", "wire fourth = missing;"],
    ids=["no module", "no name"],
)
def test_a_fault_is_not_waived(lint, fault, tmp_path):
    write(UNITS["published"], "apb", tmp_path, clock_mhz=80.0)
    path = tmp_path / "rlu_apb.v"
    path.write_text(path.read_text().replace("endmodule", f"{fault}\nendmodule", 1))
    assert lint(tmp_path)
