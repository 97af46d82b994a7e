"""The SoC simulated: firmware on the processor, RTL deciding, every word as on the golden model."""

import dataclasses
import json

import pytest

from algo.cli import main
from rtl.flows.soc import firmware
from rtl.flows.soc.system import System, cpu_named
from rtl.spec.params import RLUParams
from rtl.spec.registers import POLICY
from sim import soc
from sim.devices.device import GoldenDevice
from sim.simulators.build import BuildFailed
from sim.soc import SocReport, golden_twin
from tb.bugs.catalogue import BUGS
from tests.planted_bugs import broken_unit
from tests.require import require_command

SMALL = RLUParams(states=9, actions=3)


@pytest.fixture(scope="module")
def compilers():
    require_command(firmware.COMPILER, firmware.PACKAGE)
    require_command("gcc", "gcc")


def simulated(folder, cpu="vexriscv", params=SMALL, **options):
    return soc.run(System.simulated(cpu_named(cpu), params), folder, **options)


@pytest.fixture(scope="module")
def searched(compilers, tmp_path_factory):
    """The report of a whole search, and its folder."""
    folder = tmp_path_factory.mktemp("soc")
    return simulated(folder), folder


def test_a_search_on_the_soc_is_that_of_the_golden_model_word_for_word(searched):
    report, folder = searched
    assert report.complaint is None and report.ended
    assert "result 0" in report.said and report.said[-1] == "END" and (folder / "uart.txt").exists()
    assert len(report.policy) == 9 and set(report.policy) <= {0, 1, 2}
    # 12 rounds of a policy, costs and a reward; then the Q-table.
    assert report.words > 150 and len(set(report.said)) > 40
    # What is printed as the policy is what the unit said last; the firmware's twin would print a wrong one too.
    reads = [line.split()[1:] for line in report.said if line.startswith("read ")]
    at = {address: int(word, 16) for address, word in reads}
    words = [at[f"{address:08x}"] for address in POLICY.addresses(9)]
    assert report.policy == list(POLICY.unpack(words, 9))
    # Each round samples and learns.
    assert report.interrupts >= 24


def test_a_firmware_that_does_not_end_is_told(searched, compilers, tmp_path):
    report = simulated(tmp_path, cycles=20_000)
    assert not report.ended and report.complaint == "the firmware did not end within 20000 clock cycles"


def test_verilog_that_verilator_refuses_is_told(compilers, tmp_path):
    (tmp_path / "unit.v").write_text("module rlu_wishbone(input nothing\n")
    with pytest.raises(BuildFailed, match=r"(?s)verilator did not make a program of soc:\n.*unit\.v"):
        simulated(tmp_path, verilog=tmp_path / "unit.v")


SAID = ["RLU SoC", "read 00000000 524c5531", "policy 1 0", "interrupts 3", "END"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, None),
        (
            {"said": [*SAID[:1], "read 00000000 524c5530", *SAID[2:]]},
            "line 2: the SoC printed 'read 00000000 524c5530', the golden model 'read 00000000 524c5531'",
        ),
        ({"said": SAID[:2]}, "line 3: the SoC printed None, the golden model 'policy 1 0'"),
        ({"said": [*SAID, "more"]}, "line 5: the SoC printed 'more', the golden model None"),
        ({"said": SAID[:2], "ended": False}, "the firmware did not end within 9 clock cycles"),
        (
            {"said": ["nonsense"], "ended": False},
            "line 1: the SoC printed 'nonsense', the golden model 'RLU SoC'",
        ),
        (
            {"said": [*SAID[:3], "interrupts 0", "END"]},
            "the firmware saw no interrupt of the unit",
        ),
    ],
)
def test_what_is_wrong_is_told(changes, complaint):
    expected = [*SAID[:3], "interrupts 0", "END"]
    right = SocReport(said=SAID, expected=expected, cycles=9, ended=True, firmware_bytes=4)
    assert dataclasses.replace(right, **changes).complaint == complaint


def test_the_twin_notices_another_unit(compilers, tmp_path):
    """On a unit of other parameters the driver gives up, and says why."""
    said = golden_twin(firmware.native(SMALL, tmp_path), GoldenDevice(RLUParams(states=9, actions=4)))
    assert "result 2" in said and said[-1] == "END"


def test_the_command_tells_the_policy(searched, tmp_path, capsys):
    size = ["--states", "9", "--actions", "3"]
    main(["soc", *size, "-o", str(tmp_path), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["identical"] and said["policy"] == searched[0].policy and said["cycles"] == searched[0].cycles
    assert (tmp_path / "vexriscv" / "uart.txt").read_text().splitlines() == searched[0].said


def test_the_command_ends_with_1_where_a_word_differs(searched, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(soc, "run", lambda *arguments, **options: searched[0])
    main(["soc", "--states", "9", "--actions", "3", "-o", str(tmp_path)])
    assert "identical to the golden model" in capsys.readouterr().out
    report = dataclasses.replace(searched[0], said=["other", *searched[0].said[1:]])
    monkeypatch.setattr(soc, "run", lambda *arguments, **options: report)
    with pytest.raises(SystemExit) as exit_:
        main(["soc", "--states", "9", "--actions", "3", "-o", str(tmp_path)])
    assert exit_.value.code == 1 and "WRONG: line 1: the SoC printed 'other'" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["vexriscv", "picorv32"])
def test_the_published_unit_beside_each_processor(cpu, compilers, tmp_path):
    assert simulated(tmp_path, cpu, RLUParams()).complaint is None


@pytest.mark.slow
def test_a_planted_bug_is_noticed(compilers, tmp_path):
    bug = BUGS["the row's highest action is left out"]
    broken = broken_unit(bug, SMALL, tmp_path, "wishbone")
    assert "the golden model" in (simulated(tmp_path / "soc", verilog=broken).complaint or "")
