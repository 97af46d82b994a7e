"""The quick proofs hold, and each fails with its bugs planted; all the others are run by `make prove`."""

from dataclasses import replace

import pytest

from rtl.flows.fpga import yowasp
from tb import prove
from tb.proofs.catalogue import PROOFS
from tb.proofs.harness import Bug

QUICK = [proof for proof in PROOFS.values() if proof.quick]


@pytest.mark.parametrize("proof", QUICK, ids=lambda proof: proof.name)
def test_proof_holds_and_finds_its_bug(proof):
    out = prove.RESULTS / "tests"
    outcome = prove.run(proof, out=out)
    assert outcome.status == "PASS", outcome.folder
    outcome = prove.run(proof, proof.bugs[0], out=out)
    assert outcome.status == "FAIL", f"{proof.name} does not notice that {proof.bugs[0].says}"
    assert (outcome.folder / "reset" / "run" / "engine_0" / "trace.vcd").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [proof.name for proof in PROOFS.values() if not proof.quick])
def test_slow_proof_holds_and_finds_its_bugs(name):
    assert prove.main([name]) == 0


@pytest.mark.parametrize("proof", PROOFS.values(), ids=lambda proof: proof.name)
def test_every_companion_can_be_planted(proof, tmp_path):
    assert proof.bugs
    for number, bug in enumerate(proof.bugs):
        prove.plant(bug, tmp_path / str(number))


def test_a_bug_whose_text_is_gone_is_named(tmp_path):
    bug = Bug("nothing is compared", "row_max", "no such line", "")
    with pytest.raises(
        prove.Unstated, match=r'"nothing is compared" cannot be planted: rtl/unit/row_max.py .* not 0 times'
    ):
        prove.plant(bug, tmp_path)


def test_a_proof_that_fails_gives_exit_code_1(monkeypatch, capsys):
    """With a harmless change for a companion: it must be said that the proof cannot find it."""
    name = "bus-handshake"
    harmless = Bug("nothing is wrong", "register_file", "bus.err.eq(0)", "bus.err.eq(0 )")
    monkeypatch.setattr(prove, "RESULTS", prove.RESULTS / "tests")
    monkeypatch.setitem(prove.PROOFS, name, replace(PROOFS[name], bugs=(harmless,)))
    assert prove.main([name]) == 1
    assert "NOT FOUND (PASS)" in capsys.readouterr().out


def test_an_unknown_proof_lists_those_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        prove.main(["no-such-proof"])
    assert ended.value.code == 2
    assert "there is no proof no-such-proof; there are row-max" in capsys.readouterr().err


def test_a_missing_tool_names_its_package(monkeypatch, capsys):
    monkeypatch.setattr(yowasp, "find", lambda command: None)
    assert prove.main(["bus-handshake"]) == 2
    assert "pip install" in capsys.readouterr().err
