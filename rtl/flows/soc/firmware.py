"""Compiles the SoC's firmware: the package's driver and example, unchanged, and a program around them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import rtl.flows.ip
from rtl.files import write_atomically
from rtl.flows.soc.system import System, header, linker_script
from rtl.spec.params import RLUParams
from rtl.spec.register_exports import c_header

#: The compiler that is looked for, and Debian's package of it.
COMPILER, PACKAGE = "riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"

_OURS = Path(__file__).parent / "firmware"
_SHIPPED = Path(rtl.flows.ip.__file__).parent / "shipped"
_DRIVER = ("rlu.c", "rlu.h", "example.c")
_STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror")
_SMALL = ("-Os", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections")


class CompilerMissing(RuntimeError):
    """No compiler for the firmware; the message says what to install."""


class FirmwareFailed(RuntimeError):
    """The compiler refused the firmware; the message ends with its own words."""


def sources(params: RLUParams, folder: Path) -> None:
    """Write the firmware's sources into a folder: the program, the driver, the unit's registers."""
    for path in (*(_OURS / name for name in ("main.c", "port.h", "port_soc.c", "port_pipe.c", "start.S")),
                 *(_SHIPPED / name for name in _DRIVER)):  # fmt: skip
        write_atomically(folder / path.name, path.read_text())
    write_atomically(folder / "rlu_regs.h", c_header(params))


def compiled(system: System, folder: Path, compiler: str = COMPILER) -> list[int]:
    """Compile the firmware in a folder, into ``firmware.elf`` and ``firmware.bin``; returns the words of the ROM.

    Args:
        system: the SoC that it runs on.
        folder: gets all files.
        compiler: a GCC for RISC-V.

    Raises:
        CompilerMissing: if there is no such program.
        ValueError: if the compiler does not know rv32im.
        FirmwareFailed: if it refuses the firmware, or the firmware is larger than the ROM.
    """
    gcc = _found(compiler)
    sources(system.params, folder)
    write_atomically(folder / "soc.h", header(system))
    write_atomically(folder / "link.ld", linker_script((_OURS / "link.ld.in").read_text()))
    target = (f"-march={system.cpu.march}", "-mabi=ilp32")
    # A linked one, because a compiler may take the options and lack their library.
    (folder / "empty.c").write_text("void _start(void) {}\n")
    probe = _run([gcc, *target, "-nostdlib", "empty.c", "-o", "empty.elf", "-lgcc"], folder)
    if probe.returncode:
        raise ValueError(
            f"{compiler} does not compile for {system.cpu.march}, ilp32: it must be a GCC for 32-bit RISC-V; "
            f"Debian's is {COMPILER}, of the package {PACKAGE}"
        )
    copy = _run([gcc, "-print-prog-name=objcopy"], folder).stdout.strip()
    if not Path(copy).is_absolute():  # it does not know of one
        raise CompilerMissing(f"objcopy, which belongs to {compiler}, is not there: install its binutils")
    done = _run(
        [gcc, *target, *_STRICT, *_SMALL, "-ffreestanding", "-nostdlib", "-T", "link.ld", "-o", "firmware.elf",
         "start.S", "main.c", "port_soc.c", "rlu.c", "example.c", "-lgcc"],
        folder,
    )  # fmt: skip
    if done.returncode == 0:
        done = _run([copy, "-O", "binary", "firmware.elf", "firmware.bin"], folder)
    if done.returncode:
        raise FirmwareFailed(f"{compiler} refused the firmware in {folder}:\n{done.stdout.strip()[-2000:]}")
    content = (folder / "firmware.bin").read_bytes()
    content += bytes(-len(content) % 4)
    return list(struct.unpack(f"<{len(content) // 4}I", content))


def native(params: RLUParams, folder: Path) -> Path:
    """Compile the same firmware for this machine, with the unit at the other end of a pipe; returns the program.

    Raises:
        CompilerMissing: if there is no gcc.
        FirmwareFailed: if it refuses the firmware.
    """
    if (gcc := shutil.which("gcc")) is None:
        raise CompilerMissing("gcc, which compiles the firmware's twin, is not installed: apt-get install gcc")
    sources(params, folder)
    done = _run(
        [gcc, *_STRICT, *_SMALL, "-o", "twin", "main.c", "port_pipe.c", "rlu.c", "example.c"], folder
    )  # fmt: skip
    if done.returncode:
        raise FirmwareFailed(f"gcc refused the firmware in {folder}:\n{done.stdout.strip()[-2000:]}")
    return folder / "twin"


def _found(compiler: str) -> str:
    """Its absolute path, because it runs in another folder."""
    found = shutil.which(compiler)
    if found is None:
        raise CompilerMissing(
            f"{compiler}, which compiles the SoC's firmware, is not installed: apt-get install {PACKAGE}"
            + ("" if compiler == COMPILER else ", or name another --compiler")
        )
    return str(Path(found).absolute())


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        errors="replace", check=False,
    )  # fmt: skip
