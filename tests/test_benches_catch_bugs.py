"""Bugs planted in the RTL, one at a time: the block's bench must fail and say how to repeat that."""

from __future__ import annotations

import importlib
import shutil
import sys
import types
from pathlib import Path

import pytest

from sim.build import Simulator
from tb import run as bench_run
from tb.designs import BENCHES, generate

# The quicker to compile; the benches find the same with either.
SIMULATOR: Simulator = "icarus" if shutil.which("iverilog") else "verilator"


def buggy(monkeypatch: pytest.MonkeyPatch, module: str, old: str, new: str) -> None:
    """Make ``rtl.<module>`` out of a source in which ``old`` reads ``new``, for all modules that use it."""
    for user in ("rtl.top", "rtl.axi4lite", "rtl.wishbone", "tb.assemblies"):
        importlib.import_module(user)  # what is imported later would keep the bug
    original = importlib.import_module(f"rtl.{module}")
    assert original.__file__ is not None
    source = Path(original.__file__).read_text()
    assert source.count(old) == 1, f"the line to break is not in rtl/{module}.py once: {old}"
    right = dict(vars(original))
    broken = types.ModuleType(f"rtl.{module}")
    broken.__dict__.update(__package__="rtl", __file__=original.__file__)
    exec(compile(source.replace(old, new), original.__file__, "exec"), broken.__dict__)
    for user in [m for name, m in sys.modules.items() if name.partition(".")[0] in ("rtl", "tb")]:
        for name, value in list(vars(user).items()):
            if getattr(value, "__module__", None) == f"rtl.{module}" and right.get(name) is value:
                monkeypatch.setattr(user, name, vars(broken)[name])


def outcome_with(bench: str, config: str, folder: Path, seed: int = 7) -> tuple[bench_run.Outcome, Path]:
    verilog = folder / "broken.v"
    verilog.write_text(generate(BENCHES[bench], (config,)))
    return bench_run.run(BENCHES[bench], config, simulator=SIMULATOR, seed=seed, rtl=verilog, out=folder), verilog


QUICK = {
    "the higher action wins a tie": (
        "row_max", "narrow", "row_max", "less(left[0], right[0])", "~less(right[0], left[0])",
    ),
    "half is rounded up, not to even": (
        "reward", "narrow", "fixed", "rounded[0] & ~tie", "rounded[0]",
    ),
    "a tie goes up in every row": (
        "updater", "narrow", "updater", "Cat(odd.replicate(GUARD - 1), ~odd,", "Cat(Const(0, GUARD - 1), Const(1, 1),",
    ),
    "a Q-value wraps": (
        "updater", "narrow", "updater",
        "Mux(above, p.q_max, Mux(below, p.q_min, unclipped))", "unclipped",
    ),
    "the maximum is taken before the row's own update": (
        "updater", "narrow", "updater",
        "valid & legal & less(others, unclipped) & ~above", "0",
    ),
    "a draw shifts the LFSR by one bit": (
        "sampler", "narrow", "sampler", "leap(self.lfsr, width, width)", "leap(self.lfsr, width, 1)",
    ),
    "epsilon is compared off by one": (
        "sampler", "narrow", "sampler", "Cat(~above_half, Const", "Cat(Const(0, 1), Const",
    ),
    "the share is rounded away from zero on a tie": (
        "reward", "narrow", "reward", "fits & (magnitude[0] | rest.any())", "fits",
    ),
    "a write while busy is accepted": (
        "register_file", "narrow", "register_file",
        "self.busy & (bus.we | is_window)", "self.busy & is_window",
    ),
}  # fmt: skip

THOROUGH = {
    "the checksum of a request is not looked at": (
        "serial_link", "single", "serial_link", "m.If(~check.match_detected)", "m.If(Const(0))",
    ),
    "a repeated write is done again": (
        "serial_link", "single", "serial_link",
        "(operation[:2] == WRITE) & repeated", "(operation[:2] == WRITE) & Const(0)",
    ),
    "a board that was reset goes on in session 0": (
        "serial_link", "single", "serial_link",
        "(session != open_session) | (session == NO_SESSION)", "session != open_session",
    ),
    "half a request is never forgotten": (
        "serial_link", "single", "serial_link",
        "receiver.broken | (gap == self.gap_bits * self.divisor - 1)", "receiver.broken",
    ),
    "an access does not wait for the unit": (
        "serial_link", "single", "serial_link", "m.If(~(operation[7] & self.busy))", "m.If(Const(1))",
    ),
    "a bank is written with its neighbour's value": (
        "q_table", "narrow", "q_table",
        "write_odd if i % 2 else self.write_even", "write_even if i % 2 else self.write_odd",
    ),
    "the count is stored as it is": (
        "policy_store", "mixed", "policy_store",
        "self.count.eq(count_read.data + 1)", "self.count.eq(count_read.data)",
    ),
    "an action is written to every lane of its word": (
        "policy_store", "mixed", "policy_store",
        "policy_write.en.eq(1 << self.write_row[:3])", "policy_write.en.eq(255)",
    ),
    "a latency at its threshold passes": (
        "reward", "narrow", "reward", "~(self.latency < self.latency_th)", "self.latency_th < self.latency",
    ),
    "an accuracy at its threshold passes": (
        "reward", "narrow", "reward", "~(self.accuracy_th < self.accuracy)", "self.accuracy < self.accuracy_th",
    ),
    "a term is not clipped": (
        "reward", "mixed", "reward",
        "Mux(rounded[p.coef_frac :].any(), p.coef_one, rounded)", "rounded",
    ),
    "the score wraps": (
        "reward", "narrow", "reward", "Mux(score[p.q_width - 1 :].any(), p.q_max, score)", "score",
    ),
    "an outlier is rewarded": (
        "reward", "narrow", "reward", "Mux(outlier, 0, ", "Mux(0, 0, ",
    ),
    "done comes a cycle early": (
        "reward", "single", "reward",
        "m.d.sync += up.eq(fits", "m.d.sync += self.done.eq(1)\n                m.d.sync += up.eq(fits",
    ),
    "an action that a row does not have is written": (
        "updater", "narrow", "updater", "self.write_en.eq(valid & legal)", "self.write_en.eq(valid)",
    ),
    "the last row too looks at a next one": (
        "updater", "narrow", "updater", "others_term.eq(0)", "others_term.eq(others_term)",
    ),
    "a random action ignores the row's count": (
        "sampler", "narrow", "sampler", "count.eq(self.count)", "count.eq(p.actions)",
    ),
    "the second draw is the first again": (
        "sampler", "mixed", "sampler", "leap(self.lfsr, width, 2 * width)", "leap(self.lfsr, width, width)",
    ),
    "an error flag is cleared by any write to STATUS": (
        "register_file", "single", "register_file", 'bus.wdata[field_of("STATUS", name).lsb]', "1",
    ),
    "the error line stays high": (
        "register_file", "single", "register_file", "bus.err.eq(0)", "bus.err.eq(bus.err)",
    ),
    "an address between two words is taken for the lower one": (
        "register_file", "single", "register_file", "(bus.addr[:2] != 0) | ~known", "~known",
    ),
    "a read-only register can be written": (
        "rlu", "single", "register_file", 'writable.eq(register.access != "ro")', "writable.eq(1)",
    ),
    "STATES does not renew the share": (
        "rlu", "narrow", "top",
        "divide = registers.reward_load | registers.states_written", "divide = registers.reward_load",
    ),
    "the commands run in the wrong order": (
        "rlu", "narrow", "core", "clear, compute, update, sample, divide = range(5)",
        "clear, compute, sample, update, divide = range(5)",
    ),
    "MODE is ignored": (
        "rlu", "narrow", "core", "updater.full_last_reward.eq(settings.mode[0])", "updater.full_last_reward.eq(0)",
    ),
    "clearing misses the last row": (
        "rlu", "narrow", "core", "clear_row == p.states - 1", "clear_row == p.states - 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", QUICK)
def test_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check(bug, QUICK, monkeypatch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("bug", THOROUGH)
def test_rarer_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check(bug, THOROUGH, monkeypatch, tmp_path)


def check(
    bug: str, bugs: dict[str, tuple[str, str, str, str, str]], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    bench, config, module, old, new = bugs[bug]
    buggy(monkeypatch, module, old, new)
    outcome, verilog = outcome_with(bench, config, folder)
    assert not outcome.passed, f"the bench {bench} does not notice that {bug}"
    assert "seed 7: FAILED" in outcome.text
    assert "the model says" in outcome.text
    command = f"-m tb.run {bench} --config {config} --seed 7 --rtl {verilog} "
    assert command in outcome.text.rpartition("repeat: ")[2]


def test_the_repeat_command_repeats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed command, run, fails in the same place."""
    with monkeypatch.context() as patch:
        buggy(patch, "row_max", "less(left[0], right[0])", "~less(right[0], left[0])")
        outcome, _ = outcome_with("row_max", "narrow", tmp_path)
    first = next(line for line in outcome.text.splitlines() if "the model says" in line)
    words = outcome.text.rpartition("repeat: ")[2].split()
    monkeypatch.setattr(bench_run, "RESULTS", tmp_path / "again")
    assert bench_run.main(words[3:]) == 1
    assert first in capsys.readouterr().out


def test_a_bin_never_met_fails(tmp_path: Path) -> None:
    """The coverage gate: without stimulus nothing is covered, and that is a failure."""
    outcome = bench_run.run(BENCHES["q_table"], "single", simulator=SIMULATOR, effort=0, out=tmp_path)
    assert not outcome.passed
    assert "coverage of q_table: 0 of 16 bins, 0.0 %; never met: read=only, write=only" in outcome.text
