"""The SoC before it is simulated: map, firmware, pins, and its bitstream with stand-ins, and real tools if slow."""

import dataclasses
import itertools
import json
import re
import shutil
import struct
import sys

import pytest

from algo.cli import main
from rtl.flows.fpga.bitstream import BitstreamFailed
from rtl.flows.fpga.boards import board
from rtl.flows.soc import firmware, soc_bitstream
from rtl.flows.soc.system import CPUS, CSR, RAM, ROM, UNIT, System, cpu_named, header, linker_script
from rtl.spec.params import RLUParams
from sim.files import cache_dir
from sim.simulators.build import generated_verilog
from tests.require import require_command
from tests.stand_in_tools import Tools

SMALL = RLUParams(states=9, actions=3)
SYSTEM = System(params=SMALL)


@pytest.fixture
def compiler():
    return require_command(firmware.COMPILER, firmware.PACKAGE)


def test_no_two_parts_share_an_address():
    parts = sorted([ROM, RAM, UNIT, (CSR, 0x10000)])
    assert all(first + size <= after for (first, size), (after, _) in itertools.pairwise(parts))
    assert all(first % size == 0 for first, size in parts)


def test_header_and_linker_script_have_the_map():
    text = header(System(cpu_named("picorv32"), SMALL))
    assert "#define SOC_UNIT 0x80000000\n" in text and "#define SOC_PICORV32 1\n" in text
    assert linker_script("@ROM@;@RAM@") == "ORIGIN = 0x00000000, LENGTH = 0x4000;ORIGIN = 0x10000000, LENGTH = 0x2000"


@pytest.mark.parametrize("cpu", CPUS)
def test_the_firmware_is_small_and_starts_with_its_reset(cpu, compiler, tmp_path):
    words = firmware.compiled(System(cpu_named(cpu), SMALL), tmp_path)
    assert 500 < len(words) < 1000
    assert words[0] & 0x7F == 0x6F  # jal
    assert (tmp_path / "firmware.bin").read_bytes()[:4] == struct.pack("<I", words[0])
    # PicoRV32 takes an interrupt 16 bytes after its reset: there the stack grows.
    assert words[4] & 0xFFFFF == 0x10113  # addi sp, sp, ...


def test_every_size_of_a_unit_has_a_firmware(compiler, tmp_path):
    """Also one with fewer rows than the example searches, and one that plans."""
    for number, params in enumerate(
        (RLUParams(), RLUParams(states=1, actions=2), RLUParams(states=9, actions=4, episodes=8, points=4))
    ):
        (tmp_path / str(number)).mkdir()
        assert len(firmware.compiled(System(params=params), tmp_path / str(number))) > 500


def test_a_firmware_that_does_not_compile_is_told(compiler, tmp_path, monkeypatch):
    monkeypatch.setattr(firmware, "_STRICT", (*firmware._STRICT, "-DSOC_UNIT=none"))
    with pytest.raises(firmware.FirmwareFailed, match=r"(?s)refused the firmware in .*SOC_UNIT"):
        firmware.compiled(SYSTEM, tmp_path)


@pytest.mark.parametrize(
    "script",
    ["exit 1", 'case "$*" in *-lgcc*) exit 1;; esac; exec riscv64-unknown-elf-gcc "$@"'],
    ids=["options", "library"],
)
def test_a_compiler_without_rv32im_is_refused(script, compiler, tmp_path, monkeypatch):
    """As one for 64 bits only, or for this machine; or one that has no library of it."""
    (tmp_path / "odd-gcc").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "odd-gcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ValueError, match=r"odd-gcc does not compile for rv32im_zicsr, ilp32: .* gcc-riscv64-unknown"):
        firmware.compiled(SYSTEM, tmp_path, "odd-gcc")


@pytest.mark.parametrize("name", ["./my-compiler", "gcc-of-mine-12"])
def test_a_compiler_of_any_name_is_taken(name, compiler, tmp_path, monkeypatch):
    """Also by a path from where the command is called, which is not where it runs."""
    (tmp_path / name).symlink_to(shutil.which(compiler))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert firmware.compiled(SYSTEM, tmp_path / "out", name) == firmware.compiled(SYSTEM, tmp_path / "usual")
    (tmp_path / "without").write_text('#!/bin/sh\ncase "$1" in -print*) echo objcopy;; *) exit 0;; esac\n')
    (tmp_path / "without").chmod(0o755)
    with pytest.raises(firmware.CompilerMissing, match=r"objcopy, which belongs to \./without, is not there"):
        firmware.compiled(SYSTEM, tmp_path / "out", "./without")


def test_a_missing_compiler_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(firmware.CompilerMissing, match="apt-get install gcc-riscv64-unknown-elf"):
        firmware.compiled(SYSTEM, tmp_path)
    with pytest.raises(firmware.CompilerMissing, match=r"apt-get install gcc$"):
        firmware.native(SMALL, tmp_path)


@pytest.mark.parametrize(("name", "inverted"), [("ulx3s-85f", False), ("orangecrab-25f", True)])
def test_the_pins_are_those_of_the_unit_alone(name, inverted):
    from rtl.flows.soc.litex_soc import board_pins, on_board

    pins = board_pins(board(name))
    assert pins.inverted_reset is inverted
    design = on_board(System(params=SMALL, clock_mhz=pins.clock_hz / 1e6), board(name), [0x6F])
    lpf = design.texts["soc.lpf"]
    assert len(re.findall(r"^LOCATE COMP ", lpf, re.MULTILINE)) == 4
    assert f'FREQUENCY PORT "clk" {pins.clock_hz / 1e6}' in lpf
    if name == "ulx3s-85f":
        assert 'LOCATE COMP "serial_tx" SITE "L4";' in lpf and 'LOCATE COMP "rst" SITE "R1";' in lpf
        assert design.chip == ("--85k", "--package", "CABGA381", "--speed", "6")
        assert "EHXPLLL" not in design.texts["soc.v"]
        assert "EHXPLLL" in on_board(SYSTEM, board(name), [0x6F]).texts["soc.v"]


def test_the_same_soc_gives_the_same_files():
    """Whenever and from wherever it is made: without LiteX's date, and its tree of modules in no particular order."""
    from rtl.flows.soc.litex_soc import on_board, simulated

    def elsewhere():
        return on_board(SYSTEM, board("ulx3s-85f"), [0x6F]).texts

    first = on_board(SYSTEM, board("ulx3s-85f"), [0x6F]).texts
    assert all(texts == first for texts in [elsewhere(), *(elsewhere() for _ in range(3))])
    assert not re.search(r"20\d\d-\d\d-\d\d", first["soc.v"]) and "\u2500" not in first["soc.v"]
    system = System.simulated(cpu_named("picorv32"), SMALL)
    assert simulated(system, [1, 2]).texts == simulated(system, [1, 2]).texts
    assert simulated(system, [1, 2]).texts["soc_rom.init"].split()[:2] == ["00000001", "00000002"]


@pytest.fixture
def tools(tmp_path, monkeypatch):
    (tmp_path / "tools").mkdir()
    return Tools(tmp_path / "tools", monkeypatch, product="soc.bit")


def make(tmp_path, system=SYSTEM, name="ulx3s-85f"):
    return soc_bitstream.build(
        system, board(name), [0x6F], "module rlu_wishbone; endmodule\n", tmp_path / "out", cache=tmp_path / "cache"
    )


def test_a_bitstream_is_written_with_its_figures(tools, tmp_path):
    tools.report(80.0, needed=50.0)
    made = make(tmp_path)
    assert made.path.name == "soc-ulx3s-85f-vexriscv-9x3-50mhz.bit" and made.path.read_text() == "bits\n"
    assert (made.fmax_mhz, made.clock_mhz, made.luts, made.cached) == (80.0, 50.0, 7, False)
    assert make(tmp_path).cached
    assert not make(tmp_path, dataclasses.replace(SYSTEM, clock_mhz=25.0)).cached


def test_a_missed_clock_ends_with_the_figure_and_no_bitstream(tools, tmp_path):
    tools.report(49.9, needed=50.0)
    with pytest.raises(BitstreamFailed, match=r"ulx3s-85f: the clock is missed: 49\.9 MHz of 50\.0 MHz; .* --clock"):
        make(tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_1_where_the_clock_is_missed(tools, compiler, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RLU_CACHE_DIR", str(tmp_path / "cache"))  # what these tools make must not be taken for real
    tools.report(49.9, needed=50.0)
    size = ["--states", "9", "--actions", "3"]
    with pytest.raises(SystemExit) as exit_:
        main(["soc", "--board", "ulx3s-85f", *size, "-o", str(tmp_path / "out")])
    assert exit_.value.code == 1 and "49.9 MHz of 50.0 MHz" in capsys.readouterr().err
    tools.report(60.0, needed=50.0)
    main(["soc", "--board", "ulx3s-85f", *size, "-o", str(tmp_path / "out"), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["fmax_mhz"] == 60.0 and said["cpu"] == "vexriscv" and 2000 < said["firmware_bytes"] < 4000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cpu", "z80"], "unknown processor 'z80': choose vexriscv, picorv32"),
        (["--clock", "25"], "--clock is for a bitstream: name its --board"),
        (["--board", "icebreaker"], "for boards with a Lattice ECP5, not icebreaker: choose ulx3s-85f, orangecrab-25f"),
        (["--board", "de10"], "unknown board 'de10': choose ulx3s-85f, orangecrab-25f\n"),
        (["--board", "ulx3s-85f", "--clock", "0"], "the SoC's clock must be 4..400 MHz, not 0"),
        (["--board", "ulx3s-85f", "--clock", "nan"], "the SoC's clock must be 4..400 MHz, not nan"),
        (["--states", "300"], "states must be a whole number in 1..256, not 300"),
        (["--compiler", "no-such-gcc"], "no-such-gcc, which compiles the SoC's firmware, is not installed: apt-get"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_named_with_exit_code_2(arguments, said, compiler, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["soc", "-o", str(tmp_path / "out"), *arguments])
    shown = capsys.readouterr()
    assert exit_.value.code == 2 and said in shown.err and "Traceback" not in shown.err


def test_a_missing_package_is_named_with_its_extra(compiler, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pythondata_cpu_picorv32", None)
    with pytest.raises(SystemExit) as exit_:
        main(["soc", "--cpu", "picorv32", "--states", "9", "--actions", "3", "-o", str(tmp_path)])
    assert exit_.value.code == 2 and "pythondata_cpu_picorv32 is not installed: pip install 'rlu-cosim[soc]'" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
@pytest.mark.parametrize("cpu", CPUS)
def test_a_board_gets_its_bitstream_at_50_mhz(cpu, compiler, tmp_path):
    system = System(cpu_named(cpu), SMALL)
    words = firmware.compiled(system, tmp_path)
    unit = generated_verilog(SMALL, "wishbone", "ecp5").read_text()
    made = soc_bitstream.build(system, board("ulx3s-85f"), words, unit, tmp_path / "out", cache=cache_dir().resolve())
    assert b"\xbd\xb3" in made.path.read_bytes()[:8192]
    assert made.fmax_mhz > made.clock_mhz == 50 and 3000 < made.luts < made.luts_available == 83640


@pytest.mark.slow
def test_a_clock_that_real_tools_miss_is_told(compiler, tmp_path):
    system = System(params=SMALL, clock_mhz=200.0)
    unit = generated_verilog(SMALL, "wishbone", "ecp5").read_text()
    with pytest.raises(BitstreamFailed, match=r"the clock is missed: \d+\.\d MHz of 200\.0 MHz"):
        soc_bitstream.build(
            system, board("ulx3s-85f"), firmware.compiled(system, tmp_path), unit, tmp_path / "out",
            cache=cache_dir().resolve(),
        )  # fmt: skip
