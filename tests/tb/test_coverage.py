"""Line and toggle coverage: how Verilator's file is read, what is demanded, and one quick block for real."""

import pytest

from tb import coverage
from tb.coverage import Covered, Excuse, Point
from tb.kit.designs import BENCHES

VERILOG = """\
module \\bench_rlu.narrow (a);
  if (\\$auto$verilog_backend.cc:2355:dump_module$1 ) begin end
  assign b = a ? c : d;
"""


def entry(page, line, what, hits):
    fields = {"f": "x.v", "l": line, "n": 8, "t": "x", "page": page, "o": what, "h": "h"}
    return "C '" + "".join(f"\1{name}\2{value}" for name, value in fields.items()) + f"' {hits}\n"


DATA = "".join(
    (
        entry("v_toggle/bench_rlu", 1, "clk:0->1", 9),
        entry("v_toggle/bench_rlu.narrow", 1, "a:0->1", 4),
        entry("v_toggle/bench_rlu.narrow", 1, "a__02431:0->1", 0),
        entry("v_toggle/bench_rlu.narrow", 1, "bus___05Freq[3]:1->0", 0),
        entry("v_toggle/bench_rlu.narrow", 1, "memory[2][3]:1->0", 0),
        entry("v_toggle/bench_rlu.narrow.registers", 1, "x:0->1", 0),
        entry("v_toggle/bench_rlu.narrow.core", 1, "y:0->1", 0),
        entry("v_toggle/bench_rlu.mixed", 1, "a:0->1", 0),
        entry("v_branch/bench_rlu.narrow", 2, "if", 0),
        entry("v_branch/bench_rlu.narrow", 3, "cond_then", 5),
        entry("v_branch/bench_rlu.narrow", 3, "cond_else", 0),
    )
)


def test_what_counts_of_verilators_file():
    assert coverage.read_points(DATA, VERILOG, BENCHES["rlu"], "narrow") == {
        Point("toggle", "", "a[0]:0->1"): 4,
        Point("toggle", "", "bus__req[3]:1->0"): 0,
        Point("toggle", "core", "y[0]:0->1"): 0,
        Point("line", "narrow", "3: assign b = a ? c : d; (cond_then)"): 5,
        Point("line", "narrow", "3: assign b = a ? c : d; (cond_else)"): 0,
    }


def covered(lines, missed_lines, toggles, missed_toggles):
    hits = {Point("line", "narrow", str(i)): int(i >= missed_lines) for i in range(lines)}
    hits |= {Point("toggle", "", f"a[{i}]:0->1"): int(i >= missed_toggles) for i in range(toggles)}
    return Covered("rlu", hits)


def test_less_than_required_is_a_complaint():
    assert coverage.verdict([covered(100, 1, 100, 4)]) == []
    assert coverage.verdict([covered(100, 2, 100, 4)]) == ["rlu: 98.0 % line coverage, more than 98 % is required"]
    assert coverage.verdict([covered(100, 1, 100, 5)]) == ["rlu: 95.0 % toggle coverage, more than 95 % is required"]


def test_what_is_excused_is_left_out_and_an_idle_excuse_complained_of():
    block = covered(100, 0, 100, 10)
    high = Excuse("rlu", "toggle", r"top: a\[[4-9]\]", "never so many")
    others = [Excuse("axi4lite", "toggle", ".*", "another block"), Excuse("*", "line", ".*", "no line is missed")]
    coverage.excuse(block, [high, *others])
    assert len(block.excused) == 6 and block.percent("toggle") == pytest.approx(100 * 90 / 94)
    assert coverage.verdict([block], [high, *others]) == [
        "coverage.toml: nothing needs the exception '.*' of axi4lite",
        "coverage.toml: nothing needs the exception '.*' of *",
    ]
    assert "rlu" in coverage.table([block]) and "95.7%" in coverage.table([block])


def test_every_exception_is_whole(tmp_path):
    for excuse in coverage.excuses():
        assert excuse.block == "*" or excuse.block in BENCHES
    (tmp_path / "coverage.toml").write_text('[[exception]]\nblock = "rlu"\nreason = "because"\n')
    with pytest.raises(ValueError, match="an exception needs block, kind"):
        coverage.excuses(tmp_path / "coverage.toml")


def test_a_quick_block_reaches_what_is_required(capsys):
    assert coverage.main(["q_table", "--config", "narrow", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "q_table" in said and "%" in said


def test_without_stimulus_it_does_not(monkeypatch):
    bench = BENCHES["q_table"]
    monkeypatch.setattr(coverage, "_simulate", lambda *_: entry("v_toggle/bench_q_table.narrow", 1, "row[0]:0->1", 0))
    block = coverage.measure(bench, ["narrow"])
    assert block.percent("toggle") == 0 and coverage.verdict([block])


@pytest.mark.parametrize("arguments", [["cache"], ["q_table", "--config", "huge"], ["q_table", "--jobs", "0"]])
def test_bad_use(arguments, capsys):
    assert coverage.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")
