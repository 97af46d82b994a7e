"""Simulates the SoC: the firmware on the processor, the RTL deciding; and its twin on the golden model."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rtl.flows.soc import firmware
from rtl.flows.soc.system import SIMULATED_BIT, System
from sim.devices.device import READ, WRITE, GoldenDevice, Op
from sim.files import write_atomically
from sim.simulators.build import built_program, generated_verilog

#: Clock cycles after which a SoC that has not ended does not end: forty times what the slower processor takes.
CYCLES = 20_000_000
_INTERRUPTS = re.compile(r"interrupts (\d+)")


@dataclass(frozen=True)
class SocReport:
    """What a simulated SoC did, and its twin beside it.

    Attributes:
        said: the lines that the SoC printed.
        expected: the lines that the firmware prints on the golden model.
        cycles: clock cycles until it ended, or until it was given up.
        ended: whether the firmware came to its end.
        firmware_bytes: size of the firmware in the ROM.
    """

    said: list[str]
    expected: list[str]
    cycles: int
    ended: bool
    firmware_bytes: int

    @property
    def words(self) -> int:
        """Words that the firmware read and printed."""
        return sum(line.startswith("read ") for line in self.said)

    @property
    def policy(self) -> list[int]:
        """The policy that the SoC printed; empty if it did not come to that."""
        return next(([int(one) for one in line.split()[1:]] for line in self.said if line.startswith("policy ")), [])

    @property
    def interrupts(self) -> int:
        """Interrupts that the firmware counted."""
        return next((int(found[1]) for line in self.said if (found := _INTERRUPTS.fullmatch(line))), 0)

    @property
    def complaint(self) -> str | None:
        """What is wrong, if anything: the first line that differs, or what did not happen."""
        ours = [line for line in self.said if not _INTERRUPTS.fullmatch(line)]
        theirs = [line for line in self.expected if not _INTERRUPTS.fullmatch(line)]
        for number, (one, other) in enumerate(itertools.zip_longest(ours, theirs), start=1):
            if one != other and (self.ended or one is not None):
                return f"line {number}: the SoC printed {one!r}, the golden model {other!r}"
        if not self.ended:
            return f"the firmware did not end within {self.cycles} clock cycles"
        if self.interrupts == 0:
            return "the firmware saw no interrupt of the unit"
        return None


def golden_twin(program: Path, device: GoldenDevice) -> list[str]:
    """Run the firmware's twin (`rtl.flows.soc.firmware.native`) on a device; returns the lines that it prints."""
    said = []
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in process.stdout:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "r":
                (word,) = device.transact([Op(READ, int(rest, 16))])
                process.stdin.write(f"{word:x}\n")
                process.stdin.flush()
            elif kind == "w":
                address, value = (int(one, 16) for one in rest.split())
                device.transact([Op(WRITE, address, value)])
            elif kind == "p":
                said.append(rest)
    return said


def run(
    system: System,
    folder: Path,
    *,
    compiler: str = firmware.COMPILER,
    verilog: Path | None = None,
    cycles: int = CYCLES,
    say: Callable[[str], None] = lambda text: None,
) -> SocReport:
    """Build and simulate a SoC in a folder, and run the same firmware on the golden model.

    Args:
        system: the SoC, see `System.simulated`.
        folder: gets the Verilog, the firmware and ``uart.txt``, what the SoC printed.
        compiler: of the firmware.
        verilog: the unit's Verilog, if not the generated one.
        cycles: clock cycles after which it is given up.
        say: called with what is being done.

    Raises:
        rtl.flows.soc.firmware.CompilerMissing: if a compiler is missing.
        sim.files.ToolMissing: if Verilator, or what it needs, is missing.
        ModuleNotFoundError: without the extra ``soc``.
        ValueError: if the compiler does not know the processor.
        OSError: if nothing can be written into the folder.
    """
    from rtl.flows.soc import litex_soc  # the extra soc

    folder = folder.absolute()
    say("firmware")
    words = firmware.compiled(system, folder, compiler)
    say(f"golden model of {system.params.states} states x {system.params.actions} actions")
    expected = golden_twin(firmware.native(system.params, folder), GoldenDevice(system.params))
    say(f"LiteX SoC with {system.cpu.name}")
    design = litex_soc.simulated(system, words)
    for name, text in design.texts.items():
        write_atomically(folder / name, text)
    unit = verilog or generated_verilog(system.params, "wishbone")
    say("Verilator")
    program = built_program(
        [folder / f"{litex_soc.TOP}.v", *design.sources, unit], Path(__file__).with_name("soc_bench.cpp"), litex_soc.TOP
    )
    say("simulation")
    done = subprocess.run(
        [program.absolute(), str(cycles), str(SIMULATED_BIT)], cwd=folder, capture_output=True, check=False
    )
    if done.returncode not in (0, 3):
        raise RuntimeError(f"the simulation of the SoC broke off: {done.stderr.decode(errors='replace').strip()}")
    text = done.stdout.decode("ascii", errors="replace")
    write_atomically(folder / "uart.txt", text)
    return SocReport(
        said=text[: text.rfind("\n") + 1].splitlines(),  # a line that was cut off says nothing
        expected=expected,
        cycles=int(done.stderr.split()[-1]),
        ended=done.returncode == 0,
        firmware_bytes=4 * len(words),
    )
