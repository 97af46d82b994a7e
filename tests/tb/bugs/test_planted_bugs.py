"""The catalogue of planted bugs: each can be planted, each catcher is there, and nothing stays behind."""

import sys

import pytest
from amaranth.back import rtlil

from rtl.spec.buses import BUSES
from rtl.spec.params import RLUParams
from rtl.unit import row_max
from tb.bugs.catalogue import BUGS, PlantedBug
from tb.bugs.planter import Unplantable, broken_source, planted
from tb.kit.designs import BENCHES, CONFIGS
from tb.proofs.catalogue import PROOFS
from tests.places import ROOT, cases_in

CATCHERS = {catcher for bug in BUGS.values() for catcher in bug.caught_by}
TIE = BUGS["the higher action wins a tie"]


def named(kind):
    return {catcher.name for catcher in CATCHERS if catcher.kind == kind}


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_can_be_planted(name):
    bug = BUGS[name]
    assert bug.caught_by, "nobody must notice it"
    compile(broken_source(bug), bug.place, "exec")


def test_no_two_bugs_are_the_same_change():
    changes = [(bug.module, bug.old, bug.new) for bug in BUGS.values()]
    assert len(set(changes)) == len(changes)


def test_every_bench_every_proof_and_every_bus_has_a_bug():
    assert named("bench") == set(BENCHES)
    assert named("proof") == set(PROOFS)
    assert named("package") == set(BUSES)


def test_every_catcher_is_there():
    for catcher in CATCHERS:
        match catcher.kind:
            case "bench":
                assert catcher.config in BENCHES[catcher.name].configs, catcher
            case "lockstep":
                assert catcher.config in CONFIGS, catcher
            case "test":
                path, _, function = catcher.name.partition("::")
                assert function in cases_in(path), catcher
            case _:
                assert catcher.kind in ("proof", "package")


def hardware(module):
    return rtlil.convert(module.RowMax(RLUParams(states=2, actions=3)), name="top", emit_src=False)


def test_a_planted_bug_is_in_all_that_is_imported_meanwhile_and_gone_afterwards():
    right, modules = hardware(row_max), dict(sys.modules)
    with planted(TIE) as module:
        broken = hardware(module(TIE.module))
        assert module("rtl.unit.row_reader").RowMax is module(TIE.module).RowMax
        assert hardware(row_max) == right, "a module imported before has the bug"
    assert broken != right and hardware(row_max) == right
    assert sys.modules == modules
    # Python keeps what it compiled beside the source; the bug must not be there.
    with planted(PlantedBug("nothing", TIE.module, TIE.old, TIE.old, ())) as module:
        assert hardware(module(TIE.module)) == right


def test_a_bug_that_breaks_the_import_leaves_nothing_behind():
    modules = dict(sys.modules)
    with pytest.raises(SyntaxError), planted(PlantedBug("nonsense", TIE.module, TIE.old, "(", ())) as module:
        module("rtl.unit.top")
    assert sys.modules == modules


@pytest.mark.parametrize("old", ["no such text", "self"])
def test_a_text_that_is_not_there_once_is_named(old):
    bug = PlantedBug("x", TIE.module, old, "", ())
    times = (ROOT / bug.place).read_text().count(old)
    said = rf'"x" cannot be planted: rtl/unit/row_max.py must contain this text once, not {times} times; mend tb/bugs'
    with pytest.raises(Unplantable, match=said), planted(bug):
        pytest.fail("it was planted")
