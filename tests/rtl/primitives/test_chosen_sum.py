"""The sum in the updater's loop: its ECP5 cells compute what the plain form does."""

import subprocess
import sys

import pytest
from amaranth.back import verilog

from rtl.primitives import chosen_sum
from rtl.spec.params import RLUParams
from rtl.verilog import generate
from tb.bugs.planter import planted
from tests.places import ROOT
from tests.planted_bugs import caught_by

# A process of its own, as a proof that fails makes Yosys end it. CCU2C is Yosys's own model of the cell.
PROVE = """
from pyosys import libyosys as ys
design = ys.Design()
for command in (
    "read_verilog cells.v",
    "read_verilog +/lattice/ccu2c_sim.vh +/lattice/common_sim.vh",
    "setattr -mod -unset lib_whitebox CCU2C LUT4 LUT2",
    "prep -flatten -top cells",
    "design -stash cells",
    "read_verilog plain.v",
    "prep -flatten -top plain",
    "design -copy-from cells cells",
    "miter -equiv -make_outputs -flatten plain cells miter",
    "hierarchy -top miter",
    "sat -verify -prove trigger 0 miter",
):
    ys.run_pass(command, design)
"""


def proof(folder, width, source=chosen_sum):
    block, cells = source.ChosenSum(width), source.ECP5()
    (folder / "plain.v").write_text(verilog.convert(block, name="plain", emit_src=False))
    (folder / "cells.v").write_text(verilog.convert(block, name="cells", emit_src=False, platform=cells))
    command = [sys.executable, "-c", PROVE]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("width", [1, 5, 26])
def test_both_forms_are_equal(width, tmp_path):
    done = proof(tmp_path, width)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "CCU2C" in (tmp_path / "cells.v").read_text() and "CCU2C" not in (tmp_path / "plain.v").read_text()


@caught_by("test", "tests/rtl/primitives/test_chosen_sum.py::test_a_wrong_truth_table_is_found")
def test_a_wrong_truth_table_is_found(bug, catcher, tmp_path):
    with planted(bug) as module:
        done = proof(tmp_path, 5, module(bug.module))
    assert done.returncode != 0 and "model found: FAIL" in done.stdout


def test_only_the_technology_asked_for_names_its_cells():
    params = RLUParams(states=2, actions=2)
    assert "CCU2C" in generate(params, technology="ecp5") and "CCU2C" not in generate(params)
    with pytest.raises(ValueError, match="no technology 'ice40'; there are: generic, ecp5"):
        generate(params, technology="ice40")


CELLS_EQUAL = """
for command in (
    "read_verilog +/lattice/ccu2c_sim.vh +/lattice/common_sim.vh",
    "setattr -mod -unset lib_whitebox CCU2C LUT4 LUT2",
    "chparam -set INIT0 {0} -set INIT1 {1} -set INJECT1_0 {2} -set INJECT1_1 {3} CCU2C",
    "prep -flatten -top CCU2C",
    "rename CCU2C theirs",
    "design -stash theirs",
    "read_verilog {4}",
    "chparam -set INIT0 {0} -set INIT1 {1} -set INJECT1_0 {2} -set INJECT1_1 {3} CCU2C",
    "prep -flatten -top CCU2C",
    "rename CCU2C ours",
    "design -copy-from theirs theirs",
    "miter -equiv -make_outputs -flatten ours theirs miter",
    "hierarchy -top miter",
    "sat -verify -prove trigger 0 miter",
):
    ys.run_pass(command, design)
"""


@pytest.mark.parametrize("inject", ['"NO"', '"YES"'])
def test_the_packages_model_of_the_cell_is_the_tools(inject, tmp_path):
    """For truth tables that are not ours, and with the carry cut."""
    ours = ROOT / "rtl" / "flows" / "ip" / "shipped" / "CCU2C.v"
    text = CELLS_EQUAL
    for i, value in enumerate(["16'h96AA", "16'h1D3C", inject, inject, str(ours)]):
        text = text.replace(f"{{{i}}}", value.replace('"', '\\"'))
    program = f"from pyosys import libyosys as ys\ndesign = ys.Design()\n{text}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
