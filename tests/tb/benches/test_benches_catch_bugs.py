"""The benches fail with the bugs planted for them in tb/bugs/catalogue.py, and say how to repeat that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb import run as bench_run
from tb.bugs.catalogue import BUGS, Catcher, PlantedBug, bench
from tb.kit.designs import BENCHES
from tests.planted_bugs import SIMULATOR, broken_bench, caught_by


def outcome_with(bug: PlantedBug, catcher: Catcher, folder: Path) -> tuple[bench_run.Outcome, Path]:
    """What the bench makes of the bug with seed 7, and the file with the wrong Verilog."""
    verilog = broken_bench(bug, catcher, folder)
    run = BENCHES[catcher.name], catcher.config
    return bench_run.run(*run, simulator=SIMULATOR, seed=7, rtl=verilog, out=folder), verilog


@caught_by("bench")
def test_bug_is_caught(bug: PlantedBug, catcher: Catcher, tmp_path: Path) -> None:
    outcome, verilog = outcome_with(bug, catcher, tmp_path)
    assert not outcome.passed, f"the {catcher} does not notice that {bug.name}"
    assert "seed 7: FAILED" in outcome.text
    assert "the model says" in outcome.text
    command = f"-m tb.run {catcher.name} --config {catcher.config} --seed 7 --rtl {verilog} "
    assert command in outcome.text.rpartition("repeat: ")[2]


def test_the_repeat_command_repeats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed command, run, fails in the same place."""
    outcome, _ = outcome_with(BUGS["the higher action wins a tie"], bench("row_max", "narrow"), tmp_path)
    first = next(line for line in outcome.text.splitlines() if "the model says" in line)
    words = outcome.text.rpartition("repeat: ")[2].split()
    monkeypatch.setattr(bench_run, "RESULTS", tmp_path / "again")
    assert bench_run.main(words[3:]) == 1
    assert first in capsys.readouterr().out


def test_a_bin_never_met_fails(tmp_path: Path) -> None:
    """The coverage gate: without stimulus nothing is covered, and that is a failure."""
    outcome = bench_run.run(BENCHES["q_table"], "single", simulator=SIMULATOR, effort=0, out=tmp_path)
    assert not outcome.passed
    assert "coverage of q_table: 0 of 17 bins, 0.0 %; never met: read=only, write=only" in outcome.text
