"""The quick proofs hold, and each fails with a planted bug; all the others are run by `make prove`."""

import pytest

from rtl.flows.fpga import yowasp
from tb import prove
from tb.bugs.catalogue import PlantedBug, companions
from tb.bugs.catalogue import proof as by_proof
from tb.proofs.catalogue import PROOFS

QUICK = [proof for proof in PROOFS.values() if proof.quick]


def quick_companions(proof):
    return [bug for bug in companions(proof.name) if by_proof(proof.name, quick=True) in bug.caught_by]


@pytest.mark.parametrize("proof", QUICK, ids=lambda proof: proof.name)
def test_proof_holds_and_finds_its_bug(proof):
    out = prove.RESULTS / "tests"
    outcome = prove.run(proof, out=out)
    assert outcome.status == "PASS", outcome.folder
    assert quick_companions(proof)
    for bug in quick_companions(proof):
        outcome = prove.run(proof, bug, out=out)
        assert outcome.status == "FAIL", f"{proof.name} does not notice that {bug.name}"
        assert (outcome.folder / "reset" / "run" / "engine_0" / "trace.vcd").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [proof.name for proof in PROOFS.values() if not proof.quick])
def test_slow_proof_holds_and_finds_its_bugs(name):
    assert prove.main([name]) == 0


def test_a_bug_whose_text_is_gone_is_named(monkeypatch, capsys):
    gone = PlantedBug("nothing is compared", "rtl.unit.row_max", "no such line", "", ())
    monkeypatch.setattr(prove, "RESULTS", prove.RESULTS / "tests")
    monkeypatch.setattr(prove, "companions", lambda name: [gone])
    assert prove.main(["updater-room"]) == 1
    said = capsys.readouterr().err
    assert '"nothing is compared" cannot be planted: rtl/unit/row_max.py must contain this text once, not 0' in said
    assert "mend tb/bugs/catalogue.py:\nno such line" in said


def test_a_bug_with_which_a_proof_cannot_be_stated_is_told(monkeypatch, capsys):
    nonsense = PlantedBug("a bracket is open", "rtl.unit.row_max", "less(left[0], right[0])", "(", ())
    monkeypatch.setattr(prove, "RESULTS", prove.RESULTS / "tests")
    monkeypatch.setattr(prove, "companions", lambda name: [nonsense])
    assert prove.main(["row-max-small"]) == 1
    said = capsys.readouterr().err
    assert "the proof row-max-small cannot be stated" in said and "SyntaxError: '(' was never closed" in said


def test_a_proof_that_fails_gives_exit_code_1(monkeypatch, capsys):
    """With a harmless change for a companion: it must be said that the proof cannot find it."""
    name = "bus-handshake"
    harmless = PlantedBug(
        "nothing is wrong", "rtl.unit.register_file", "bus.ack.eq(answering)", "bus.ack.eq(answering )", ()
    )
    monkeypatch.setattr(prove, "RESULTS", prove.RESULTS / "tests")
    monkeypatch.setattr(prove, "companions", lambda name: [harmless])
    assert prove.main([name]) == 1
    assert "NOT FOUND (PASS)" in capsys.readouterr().out


def test_an_unknown_proof_lists_those_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        prove.main(["no-such-proof"])
    assert ended.value.code == 2
    assert "unknown proof 'no-such-proof': choose row-max" in capsys.readouterr().err


def test_a_missing_tool_names_its_package(monkeypatch, capsys):
    monkeypatch.setattr(yowasp, "find", lambda command: None)
    assert prove.main(["bus-handshake"]) == 2
    assert "pip install" in capsys.readouterr().err
