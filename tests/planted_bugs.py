"""The catalogue of planted bugs as test parameters, and Verilog with a bug in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rtl.spec.params import RLUParams
from sim.simulators.build import Simulator
from tb.bugs.catalogue import BUGS, Catcher, Kind, PlantedBug
from tb.bugs.planter import planted

# The quicker to compile; benches and lockstep find the same with either.
SIMULATOR: Simulator = "icarus" if shutil.which("iverilog") else "verilator"


def caught_by(kind: Kind, name: str | None = None) -> pytest.MarkDecorator:
    """Parametrises a test by ``bug`` and ``catcher``, of one kind and of one name if it is given."""
    cases = [
        pytest.param(bug, catcher, id=f"{bug.name}: {catcher}", marks=() if catcher.quick else pytest.mark.slow)
        for bug in BUGS.values()
        for catcher in bug.caught_by
        if catcher.kind == kind and name in (None, catcher.name)
    ]
    assert cases, f"tb/bugs/catalogue.py names no planted bug for {kind} {name or ''}"
    return pytest.mark.parametrize(("bug", "catcher"), cases)


def broken_bench(bug: PlantedBug, catcher: Catcher, folder: Path) -> Path:
    """File of the Verilog of what a bench runs on, with the bug."""
    verilog = folder / "broken.v"
    with planted(bug) as module:
        designs = module("tb.kit.designs")
        verilog.write_text(designs.generate(designs.BENCHES[catcher.name], (catcher.config,)))
    return verilog


def broken_unit(bug: PlantedBug, params: RLUParams, folder: Path, bus: str = "none") -> Path:
    """File of the unit's Verilog, with the bug."""
    verilog = folder / "broken.v"
    with planted(bug) as module:
        verilog.write_text(module("rtl.verilog").generate(params, bus))
    return verilog
