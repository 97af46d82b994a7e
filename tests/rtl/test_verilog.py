# amaranth: UnusedElaboratable=no
"""The generated Verilog as a stranger's tools see it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import rtl
from rtl.flows.ip.signal_map import member_docs
from rtl.spec.params import RLUParams
from rtl.spec.registers import REGISTERS, Access
from rtl.unit.core import RLUCore
from rtl.unit.register_file import CoreSignature, RegisterFile
from rtl.unit.top import UnitSignature
from rtl.verilog import ports
from sim.devices.device import READ, Op, address_of
from sim.simulators.build import generated_verilog, source_digest, tool_environment, write_package
from sim.simulators.simulator import SimDevice
from sim.stimulus import stimuli
from tests.require import require_command

CONFIGURATIONS = [
    RLUParams(),
    RLUParams(states=1, actions=2, lfsr_width=8),
    RLUParams(states=5, actions=3, q_width=8, q_frac=6, coef_frac=4, gain_frac=4, lfsr_width=32),
]


def describe(params):
    return f"{params.states}x{params.actions}x{params.q_width}"


@pytest.fixture(scope="module", params=CONFIGURATIONS, ids=describe)
def package(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("verilog") / "rlu.v"
    write_package(request.param, path)
    return request.param, path


def lint(path):
    environment = tool_environment("verilator")
    command = ["verilator", "--lint-only", "-Wall", "--top-module", "rlu", path.with_suffix(".vlt"), path]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_lints_cleanly_with_the_waivers_beside_it(package):
    done = lint(package[1])
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr


def test_lint_still_sees_what_is_not_waived(tmp_path):
    path = tmp_path / "rlu.v"
    write_package(CONFIGURATIONS[1], path)
    path.write_text(path.read_text().replace("endmodule", "assign nowhere = clk;\nendmodule", 1))
    assert lint(path).returncode != 0


def yosys_check(path):
    script = (
        "from pyosys import libyosys as ys; d = ys.Design()\n"
        f"for command in ('read_verilog {path}', 'hierarchy -check -top rlu', 'proc', 'check -assert'):\n"
        "    ys.run_pass(command, d)\n"
    )
    import sys

    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_yosys_check_finds_no_problem(package):
    done = yosys_check(package[1])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "Found and reported 0 problems" in done.stdout


def test_yosys_check_would_find_a_second_driver(tmp_path):
    path = tmp_path / "rlu.v"
    write_package(CONFIGURATIONS[1], path)
    path.write_text(path.read_text().replace("endmodule", "assign bus__ack = clk;\nendmodule", 1))
    assert yosys_check(path).returncode != 0


def test_is_one_self_contained_file(package):
    text = package[1].read_text()
    assert "`include" not in text and "$readmem" not in text
    assert text.count("\nmodule rlu(") == 1


def test_the_sidecar_describes_the_file(package):
    params, path = package
    description = json.loads(path.with_suffix(".json").read_text())
    assert description["module"] == "rlu" and description["parameters_sha256"] == params.digest
    assert RLUParams.from_json(json.dumps(description["parameters"])) == params
    assert [r["name"] for r in description["registers"]] == [r.name for r in REGISTERS]
    declared = path.read_text().split("\nmodule rlu(", 1)[1].split("endmodule", 1)[0]
    for port in description["ports"]:
        kind = {"in": "input", "out": "output"}[port["direction"]]
        span = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert f"  {kind} {span}{port['name']};" in declared
    assert len(description["ports"]) == declared.split(");", 1)[0].count(",") + 1


def test_the_same_parameters_give_the_same_text():
    from rtl.verilog import generate

    params = CONFIGURATIONS[1]
    assert generate(params) == generate(params) == generated_verilog(params).read_text()


def test_verilator_and_icarus_simulate_it_identically():
    require_command("iverilog", "iverilog")
    params = RLUParams(states=6, actions=5)
    seen = {}
    for simulator in ("verilator", "icarus"):
        with SimDevice(params, simulator=simulator, record=True) as device:
            words = [device.transact(ops) for ops in stimuli(params, 3, 25, 0.25, 0.99)]
            seen[simulator] = words, device.events(), device.cycle
    assert seen["verilator"] == seen["icarus"]
    assert len(seen["icarus"][1]) > 200


def test_a_refused_file_is_an_error_with_the_simulators_words(tmp_path):
    from sim.simulators.build import BuildFailed

    broken = tmp_path / "broken.v"
    broken.write_text("module rlu(input clk; endmodule\n")
    with pytest.raises(BuildFailed, match="verilator did not accept"):
        SimDevice(CONFIGURATIONS[1], verilog=broken)


def test_reads_survive_a_reset_value_of_every_register():
    params = CONFIGURATIONS[2]
    with SimDevice(params) as device:
        registers = [r for r in REGISTERS if r.access in (Access.RO, Access.RW)]
        words = device.transact([Op(READ, address_of(r.name)) for r in registers])
    assert words == [r.reset_value(params) for r in registers]


def test_a_change_in_any_source_makes_new_verilog(tmp_path):
    copy = tmp_path / "rtl"
    shutil.copytree(Path(rtl.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    sources = sorted(copy.rglob("*.py"))
    before = source_digest(copy)
    assert before == source_digest() and len(sources) > 40
    for path in sources:
        old = path.read_bytes()
        path.write_bytes(old + b"\n# changed\n")
        assert source_digest(copy) != before, f"the cache would serve old Verilog after a change in {path.name}"
        path.write_bytes(old)
    (copy / "another_room").mkdir()
    (copy / "another_room" / "new.py").write_text("")
    assert source_digest(copy) != before


@pytest.mark.parametrize("signature", [CoreSignature, UnitSignature])
def test_a_signature_says_what_each_member_means(signature):
    members = signature(CONFIGURATIONS[2]).members
    assert member_docs(signature).keys() == members.keys()


def test_the_core_has_the_ports_of_the_register_file_the_other_way_round():
    params = CONFIGURATIONS[2]
    registers, core = RegisterFile(params).signature.members, RLUCore(params).signature.members
    shared = CoreSignature(params).members
    assert len(shared) == 20 and set(shared) == set(registers) & set(core)
    for name, member in shared.items():
        assert registers[name] == member == core[name].flip(), name


def test_the_ports_of_a_unit_are_those_that_designs_already_connect():
    inputs, outputs = {"clk", "rst", "bus__req", "bus__we", "bus__addr", "bus__wdata"}, {"busy", "irq", "probe"}
    outputs |= {"bus__ack", "bus__err", "bus__rdata"}
    listed = {(port["name"], port["direction"]) for port in ports(CONFIGURATIONS[1])}
    assert listed == {(name, "in") for name in inputs} | {(name, "out") for name in outputs}
