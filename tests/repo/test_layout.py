"""Imports point one way, and only what trains brings torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

ALLOWED = {"rtl": {"rtl"}, "sim": {"rtl", "sim"}, "tb": {"rtl", "sim", "tb"}, "algo": {"rtl", "sim", "algo"}}
# Of the RTL, the host may know what a unit looks like from outside.
RTL_FROM_OUTSIDE = {
    "rtl.spec.params",
    "rtl.spec.buses",
    "rtl.verilog",
    "rtl.spec.register_exports",
    "rtl.flows.fpga.synth",
    "rtl.flows.fpga.synth_targets",
    "rtl.flows.fpga.bitstream",
    "rtl.flows.fpga.boards",
}


def imports(path):
    """Absolute names of the modules a file imports, also inside functions."""
    package = path.parent.name
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield f"{package}.{module}".rstrip(".") if node.level else module


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        ours = {name for name in imports(path) if name.split(".")[0] in {*ALLOWED, "tests", "docs"}}
        wrong = {name for name in ours if name.split(".")[0] not in ALLOWED[package]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"
        if package == "algo":
            inside = {name for name in ours if name.startswith("rtl")} - RTL_FROM_OUTSIDE
            assert not inside, f"{path.relative_to(ROOT)} looks inside the RTL: {inside}"


@pytest.mark.parametrize(
    "module", ["algo.cli", "sim.lockstep", "sim.devices.driver", "algo.search.loop", "algo.runs.run_folder"]
)
def test_starts_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_help_brings_neither_numpy_nor_amaranth():
    code = (
        "import sys; from algo.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'numpy', 'amaranth', 'torch', 'cocotb'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True).returncode == 0


def test_nothing_needs_files_outside_the_project():
    sources = [path for package in (*ALLOWED, "tests", "docs") for path in (ROOT / package).rglob("*.py")]
    for path in [*sources, ROOT / "Makefile", ROOT / ".ci" / "run"]:
        if path != Path(__file__):
            assert "../shared" not in path.read_text(), path
