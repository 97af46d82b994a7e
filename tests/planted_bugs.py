"""Plants bugs in the RTL, one at a time, and has the bench that must notice them run."""

from __future__ import annotations

import importlib
import shutil
import sys
import types
from pathlib import Path
from typing import NamedTuple

import pytest

from sim.build import Simulator
from tb import run as bench_run
from tb.designs import BENCHES, generate

# The quicker to compile; the benches find the same with either.
SIMULATOR: Simulator = "icarus" if shutil.which("iverilog") else "verilator"


class Bug(NamedTuple):
    """A text of ``rtl/<module>.py``, there once, that reads otherwise; and the bench, with its configuration."""

    bench: str
    config: str
    module: str
    old: str
    new: str


def plant(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the bug's module out of the wrong text, for all modules that use it."""
    for user in ("rtl.top", "rtl.axi4lite", "rtl.wishbone", "tb.assemblies"):
        importlib.import_module(user)  # what is imported later would keep the bug
    original = importlib.import_module(f"rtl.{bug.module}")
    assert original.__file__ is not None
    source = Path(original.__file__).read_text()
    assert source.count(bug.old) == 1, f"the line to break is not in rtl/{bug.module}.py once: {bug.old}"
    right = dict(vars(original))
    broken = types.ModuleType(f"rtl.{bug.module}")
    broken.__dict__.update(__package__="rtl", __file__=original.__file__)
    exec(compile(source.replace(bug.old, bug.new), original.__file__, "exec"), broken.__dict__)
    for user in [m for name, m in sys.modules.items() if name.partition(".")[0] in ("rtl", "tb")]:
        for name, value in list(vars(user).items()):
            if getattr(value, "__module__", None) == f"rtl.{bug.module}" and right.get(name) is value:
                monkeypatch.setattr(user, name, vars(broken)[name])


def outcome_with(bug: Bug, monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[bench_run.Outcome, Path]:
    """What the bench makes of the bug with seed 7, and the file with the wrong Verilog."""
    verilog = folder / "broken.v"
    with monkeypatch.context() as patch:
        plant(bug, patch)
        verilog.write_text(generate(BENCHES[bug.bench], (bug.config,)))
    outcome = bench_run.run(BENCHES[bug.bench], bug.config, simulator=SIMULATOR, seed=7, rtl=verilog, out=folder)
    return outcome, verilog


def assert_caught(says: str, bug: Bug, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The bench fails with the bug, and says how to repeat that."""
    outcome, verilog = outcome_with(bug, monkeypatch, folder)
    assert not outcome.passed, f"the bench {bug.bench} does not notice that {says}"
    assert "seed 7: FAILED" in outcome.text
    assert "the model says" in outcome.text
    command = f"-m tb.run {bug.bench} --config {bug.config} --seed 7 --rtl {verilog} "
    assert command in outcome.text.rpartition("repeat: ")[2]
