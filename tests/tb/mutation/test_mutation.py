"""The hunt for mutants, on a few of a quick block; and that a survivor is not passed over."""

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tb import mutate
from tb.kit.designs import BENCHES, LOCKSTEP
from tb.mutate import Hunt, LockstepHunt, Tally
from tb.mutation.mutants import Mutant, mutated
from tests.places import ROOT

MUTANT = Mutant(
    "reward", 7, r"-mode cnot1 -module m -cell $4 -port \A -portbit 3 -ctrlbit 1", "$mux", "x = y", "rtl/z.py:3"
)


@pytest.fixture
def block():
    """The Q-table with a few mutants, nothing known about them yet."""
    block = mutated(BENCHES["q_table"], 6)
    (block.folder / "results.jsonl").unlink(missing_ok=True)
    return block


def test_the_bench_kills_and_a_second_run_knows_it(block, monkeypatch):
    assert len(block.mutants) == 6
    assert all(mutant.source and mutant.kind != "?" for mutant in block.mutants)
    ended = Hunt(block, 2).run()
    assert sorted(ended) == [1, 2, 3, 4, 5, 6]
    assert sum(state in mutate.KILLED for state in ended.values()) >= 5
    monkeypatch.setattr(Hunt, "_build", lambda *_: pytest.fail("nothing was left to do"))
    assert Hunt(block, 2).run() == ended


def test_a_run_that_was_cut_off_goes_on(block, monkeypatch):
    lines = ['[1, "bench"]', '[2, "proven"]', '[3, "ben']
    (block.folder / "results.jsonl").write_text("\n".join(lines))
    hunted = []
    monkeypatch.setattr(Hunt, "_build", lambda *_: Path())
    monkeypatch.setattr(
        Hunt, "_bench_notices", lambda self, build, number, seed, effort: hunted.append(number) or number > 0
    )
    ended = Hunt(block, 1).run()
    assert hunted == [0, 3, 4, 5, 6] and ended == {1: "bench", 2: "proven"} | dict.fromkeys((3, 4, 5, 6), "bench")
    assert Hunt(block, 1)._known() == ended


def test_a_bench_that_fails_by_itself_proves_nothing(block, monkeypatch):
    monkeypatch.setattr(Hunt, "_build", lambda *_: Path())
    monkeypatch.setattr(Hunt, "_bench_notices", lambda *_: True)
    with pytest.raises(RuntimeError, match="the bench q_table fails without a mutant"):
        Hunt(block, 1).run()


def test_a_survivor_is_tried_again_and_then_reported(block, monkeypatch, capsys):
    tried = []
    monkeypatch.setattr(mutate, "mutated", lambda bench, count, seed: block)
    monkeypatch.setattr(Hunt, "_build", lambda *_: Path())
    monkeypatch.setattr(
        Hunt, "_bench_notices", lambda self, build, *how: tried.append(how) or (how[0] not in (0, 2) and how[1] == 1)
    )
    monkeypatch.setattr(mutate, "_proven_equivalent", lambda *_: False)
    assert mutate.main(["q_table"]) == 1
    said = capsys.readouterr().out
    assert "1 survived without explanation" in said and f"  {block.mutants[1]}" in said
    assert "83.3 % of the mutants are killed, 95 % are required" in said
    assert {how for how in tried if how[0] == 2} == {(2, 1, 1), *((2, *retry) for retry in mutate.RETRIES)}


def test_a_mutant_without_effect_is_proven_and_one_with_an_effect_is_not(block):
    assert not any(mutate._proven_equivalent(block, mutant) for mutant in block.mutants[:2])
    nothing = f"-mode none -module {block.mutants[0].option('module')}"
    harmless = Mutant(**vars(block.mutants[0]) | {"arguments": nothing})
    assert mutate._proven_equivalent(block, harmless)


def test_lockstep_alone_kills_mutants_of_the_whole_unit(monkeypatch, capsys):
    """One of the eight changes a bit that seldom decides a rounding: one run of 400 episodes in five notices it."""
    monkeypatch.setitem(mutate.LARGER, "lockstep_narrow", 8)
    mutate.main(["--with", "lockstep", "lockstep_narrow"])
    *_, counts = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lockstep_narrow ")]
    mutants, _, _, killed, proven, *_ = map(int, counts.split()[1:-1])
    assert mutants == 8 and killed >= 6 and killed + proven >= 7
    places = {mutant.place.partition(":")[0] for mutant in mutated(LOCKSTEP["lockstep_narrow"], 8).mutants}
    assert len(places) > 3  # not of one block only


def test_lockstep_that_diverges_by_itself_proves_nothing(monkeypatch):
    block = mutated(LOCKSTEP["lockstep_narrow"], 8)
    (block.folder / "results.jsonl").unlink(missing_ok=True)
    monkeypatch.setattr(Hunt, "_lockstep_notices", lambda self, number: True)
    with pytest.raises(RuntimeError, match="lockstep diverges without a mutant"):
        LockstepHunt(block, 1).run()


def test_a_lockstep_that_says_nothing_is_no_catch(tmp_path):
    nothing = dataclasses.replace(mutated(LOCKSTEP["lockstep_narrow"], 8), folder=tmp_path)
    with pytest.raises(RuntimeError, match=r"lockstep with mutant 1 ended by itself(.|\n)*FileNotFoundError"):
        LockstepHunt(nothing, 1)._lockstep_notices(1)


def test_what_counts():
    tally = Tally("x", Counter(bench=17, retry=1, lockstep=1, proven=2, explained=1))
    assert tally.mutants == 22 and tally.killed == 19 and tally.percent == 95.0
    assert mutate.verdict([tally], []) == []
    worse = Tally("x", Counter(bench=18, proven=2, explained=1))
    assert mutate.verdict([worse], []) == ["94.7 % of the mutants are killed, 95 % are required"]
    assert mutate.table([tally]).splitlines()[-1].split() == ["all", "22", "17", "1", "1", "2", "1", "0", "95.0%"]


def test_a_survivor_is_explained_by_its_key():
    key = {"block": "reward", "source": "x = y", "cell": "$mux", "port": "A[3]", "fault": "cnot1[1]"}
    assert MUTANT.key == key
    assert mutate.explained(MUTANT, [key | {"reason": "…"}])
    for name in key:
        assert not mutate.explained(MUTANT, [key | {"reason": "…", name: "another"}])


def test_every_explanation_is_whole(tmp_path):
    for entry in mutate.explanations():
        assert entry["block"] in BENCHES | LOCKSTEP
    (tmp_path / "mutants.toml").write_text('[[mutant]]\nblock = "reward"\nreason = "because"\n')
    with pytest.raises(ValueError, match="an entry needs block, source, cell, port, fault and reason"):
        mutate.explanations(tmp_path / "mutants.toml")


@pytest.mark.parametrize(
    "arguments", [["cache"], ["q_table", "--count", "0"], ["q_table", "--jobs", "0"], ["q_table", "--with", "lockstep"]]
)
def test_bad_use(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tb.mutate", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_mutants_are_the_same_every_time(block):
    listed = json.loads((block.folder / "mutants.json").read_text())
    (block.folder / "mutants.json").unlink()
    assert [vars(mutant) for mutant in mutated(BENCHES["q_table"], 6).mutants] == listed
