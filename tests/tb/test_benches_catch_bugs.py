"""Bugs planted in the RTL, one at a time: the block's bench must fail and say how to repeat that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb import run as bench_run
from tb.kit.designs import BENCHES
from tests.planted_bugs import SIMULATOR, Bug, assert_caught, outcome_with

QUICK = {
    "the higher action wins a tie": Bug(
        "row_max", "narrow", "row_max", "less(left[0], right[0])", "~less(right[0], left[0])",
    ),
    "half is rounded up, not to even": Bug(
        "reward", "narrow", "fixed", "rounded[0] & ~tie", "rounded[0]",
    ),
    "a tie goes up in every row": Bug(
        "updater", "narrow", "updater", "Cat(odd.replicate(GUARD - 1), ~odd,", "Cat(Const(0, GUARD - 1), Const(1, 1),",
    ),
    "a Q-value wraps": Bug(
        "updater", "narrow", "updater",
        "Mux(above, p.q_max, Mux(below, p.q_min, unclipped))", "unclipped",
    ),
    "the maximum is taken before the row's own update": Bug(
        "updater", "narrow", "updater",
        "valid & legal & less(others, unclipped) & ~above", "0",
    ),
    "a draw shifts the LFSR by one bit": Bug(
        "sampler", "narrow", "sampler", "leap(self.lfsr, width, width)", "leap(self.lfsr, width, 1)",
    ),
    "epsilon is compared off by one": Bug(
        "sampler", "narrow", "sampler", "Cat(~above_half, Const", "Cat(Const(0, 1), Const",
    ),
    "the share is rounded away from zero on a tie": Bug(
        "reward", "narrow", "reward", "fits & (magnitude[0] | rest.any())", "fits",
    ),
    "a write while busy is accepted": Bug(
        "register_file", "narrow", "register_file",
        "self.busy & (bus.we | is_window)", "self.busy & is_window",
    ),
}  # fmt: skip

THOROUGH = {
    "the checksum of a request is not looked at": Bug(
        "serial_link", "single", "serial_link", "m.If(~check.match_detected)", "m.If(Const(0))",
    ),
    "a repeated write is done again": Bug(
        "serial_link", "single", "serial_link",
        "(operation[:2] == WRITE) & repeated", "(operation[:2] == WRITE) & Const(0)",
    ),
    "a board that was reset goes on in session 0": Bug(
        "serial_link", "single", "serial_link",
        "(session != open_session) | (session == NO_SESSION)", "session != open_session",
    ),
    "half a request is never forgotten": Bug(
        "serial_link", "single", "serial_link",
        "receiver.broken | (gap == self.gap_bits * self.divisor - 1)", "receiver.broken",
    ),
    "an access does not wait for the unit": Bug(
        "serial_link", "single", "serial_link", "m.If(~(operation[7] & self.busy))", "m.If(Const(1))",
    ),
    "a bank is written with its neighbour's value": Bug(
        "q_table", "narrow", "q_table",
        "write_odd if i % 2 else self.write_even", "write_even if i % 2 else self.write_odd",
    ),
    "the count is stored as it is": Bug(
        "policy_store", "mixed", "policy_store",
        "self.count.eq(count_read.data + 1)", "self.count.eq(count_read.data)",
    ),
    "an action is written to every lane of its word": Bug(
        "policy_store", "mixed", "policy_store",
        "policy_write.en.eq(1 << self.write_row[:3])", "policy_write.en.eq(255)",
    ),
    "a latency at its threshold passes": Bug(
        "reward", "narrow", "reward", "~(self.latency < self.latency_th)", "self.latency_th < self.latency",
    ),
    "an accuracy at its threshold passes": Bug(
        "reward", "narrow", "reward", "~(self.accuracy_th < self.accuracy)", "self.accuracy < self.accuracy_th",
    ),
    "a term is not clipped": Bug(
        "reward", "mixed", "reward",
        "Mux(rounded[p.coef_frac :].any(), p.coef_one, rounded)", "rounded",
    ),
    "the score wraps": Bug(
        "reward", "narrow", "reward", "Mux(score[p.q_width - 1 :].any(), p.q_max, score)", "score",
    ),
    "an outlier is rewarded": Bug(
        "reward", "narrow", "reward", "Mux(outlier, 0, ", "Mux(0, 0, ",
    ),
    "done comes a cycle early": Bug(
        "reward", "single", "reward",
        "m.d.sync += up.eq(fits", "m.d.sync += self.done.eq(1)\n                m.d.sync += up.eq(fits",
    ),
    "an action that a row does not have is written": Bug(
        "updater", "narrow", "updater", "self.write_en.eq(valid & legal)", "self.write_en.eq(valid)",
    ),
    "the last row too looks at a next one": Bug(
        "updater", "narrow", "updater", "others_term.eq(0)", "others_term.eq(others_term)",
    ),
    "a random action ignores the row's count": Bug(
        "sampler", "narrow", "sampler", "count.eq(self.count)", "count.eq(p.actions)",
    ),
    "the second draw is the first again": Bug(
        "sampler", "mixed", "sampler", "leap(self.lfsr, width, 2 * width)", "leap(self.lfsr, width, width)",
    ),
    "an error flag is cleared by any write to STATUS": Bug(
        "register_file", "single", "register_file", 'bus.wdata[field_of("STATUS", name).lsb]', "1",
    ),
    "the error line stays high": Bug(
        "register_file", "single", "register_file", "bus.err.eq(0)", "bus.err.eq(bus.err)",
    ),
    "an address between two words is taken for the lower one": Bug(
        "register_file", "single", "register_file", "(bus.addr[:2] != 0) | ~known", "~known",
    ),
    "a read-only register can be written": Bug(
        "rlu", "single", "register_file", "writable.eq(register.access.writable)", "writable.eq(1)",
    ),
    "STATES does not renew the share": Bug(
        "rlu", "narrow", "top",
        "divide = registers.reward_load | registers.states_written", "divide = registers.reward_load",
    ),
    "the commands run in the wrong order": Bug(
        "rlu", "narrow", "core",
        'UPDATE = field_of("COMMAND", "update").lsb\n    SAMPLE = field_of("COMMAND", "sample").lsb',
        'UPDATE = field_of("COMMAND", "sample").lsb\n    SAMPLE = field_of("COMMAND", "update").lsb',
    ),
    "MODE is ignored": Bug(
        "rlu", "narrow", "core", "updater.full_last_reward.eq(settings.mode[0])", "updater.full_last_reward.eq(0)",
    ),
    "a candidate is credited with Q-values of actions that its rows have not": Bug(
        "episodes", "episodic", "policy_scan", "answered & self.legal", "answered",
    ),
    "clearing misses the last row": Bug(
        "rlu", "narrow", "core", "clear_row == p.states - 1", "clear_row == p.states - 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", QUICK)
def test_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert_caught(bug, QUICK[bug], monkeypatch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("bug", THOROUGH)
def test_rarer_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert_caught(bug, THOROUGH[bug], monkeypatch, tmp_path)


def test_the_repeat_command_repeats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed command, run, fails in the same place."""
    outcome, _ = outcome_with(QUICK["the higher action wins a tie"], monkeypatch, tmp_path)
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
