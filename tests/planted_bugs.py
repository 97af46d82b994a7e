"""Plants bugs in the RTL, one at a time, and has the bench that must notice them run."""

from __future__ import annotations

import importlib
import shutil
import sys
import types
from pathlib import Path
from typing import NamedTuple

import pytest

from rtl.spec.buses import FRONT_ENDS
from sim.simulators.build import Simulator
from tb import run as bench_run
from tb.kit.designs import BENCHES, ROOT, generate, rtl_file

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
    for user in (*(bus.component.rpartition(".")[0] for bus in FRONT_ENDS), "tb.kit.assemblies"):
        importlib.import_module(user)  # what is imported later would keep the bug
    path = rtl_file(bug.module)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    original = importlib.import_module(name)
    source = path.read_text()
    assert source.count(bug.old) == 1, f"the line to break is not in {path} once: {bug.old}"
    right = dict(vars(original))
    broken = types.ModuleType(name)
    broken.__dict__.update(__package__=name.rpartition(".")[0], __file__=str(path))
    exec(compile(source.replace(bug.old, bug.new), str(path), "exec"), broken.__dict__)
    for user in [m for other, m in sys.modules.items() if other.partition(".")[0] in ("rtl", "tb")]:
        for key, value in list(vars(user).items()):
            if getattr(value, "__module__", None) == name and right.get(key) is value:
                monkeypatch.setattr(user, key, vars(broken)[key])


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
