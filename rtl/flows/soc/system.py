"""What the SoC is: its processors, its memory map, its clock and its serial port. One truth for LiteX and firmware."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtl.spec.buses import ADDRESS_WIDTH
from rtl.spec.params import RLUParams

#: Memory map: first address and bytes. Above 0x80000000 nothing is cached.
ROM = (0x0000_0000, 0x4000)
RAM = (0x1000_0000, 0x2000)
UNIT = (0x8000_0000, 1 << ADDRESS_WIDTH)
#: LiteX's control registers; the serial port's are the first of them.
CSR = 0xF000_0000
UART = CSR
#: Number of the unit's interrupt: the first that PicoRV32 does not use itself.
UNIT_IRQ = 3

#: Clock cycles per bit of the serial port in simulation: as few as keep the receiver's samples inside a bit.
SIMULATED_BIT = 8


@dataclass(frozen=True)
class Cpu:
    """A processor that LiteX knows.

    Attributes:
        name: value of ``--cpu``, and LiteX's name.
        package: the Python package of its Verilog.
        march: what it executes, for the compiler.
    """

    name: str
    package: str
    march: str


CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu("vexriscv", "pythondata-cpu-vexriscv", "rv32im_zicsr"),
        Cpu("picorv32", "pythondata-cpu-picorv32", "rv32im"),
    )
}


def cpu_named(name: str) -> Cpu:
    """The processor of that name; ValueError, with the known names, for any other."""
    if name not in CPUS:
        raise ValueError(f"unknown processor {name!r}: choose {', '.join(CPUS)}")
    return CPUS[name]


@dataclass(frozen=True)
class System:
    """One SoC.

    Attributes:
        cpu: the processor.
        params: the unit beside it.
        clock_mhz: its clock.
        baud: bits per second of its serial port.
    """

    cpu: Cpu = field(default_factory=lambda: CPUS["vexriscv"])
    params: RLUParams = field(default_factory=RLUParams)
    clock_mhz: float = 50.0
    baud: int = 115_200

    def __post_init__(self) -> None:
        if not 4 <= self.clock_mhz <= 400:  # what an ECP5's PLL makes
            raise ValueError(f"the SoC's clock must be 4..400 MHz, not {self.clock_mhz:g}")

    @classmethod
    def simulated(cls, cpu: Cpu, params: RLUParams) -> System:
        """The same SoC with a fast serial port: `SIMULATED_BIT` clock cycles per bit."""
        clock_mhz = 50.0  # nothing depends on it but the serial port's ratio
        return cls(cpu, params, clock_mhz, baud=round(clock_mhz * 1e6) // SIMULATED_BIT)


def header(system: System) -> str:
    """The C header ``soc.h`` with the addresses that the firmware uses."""
    lines = [
        f"/* The SoC's addresses, for {system.cpu.name}. */",
        "#ifndef SOC_H",
        "#define SOC_H",
        f"#define SOC_{system.cpu.name.upper()} 1",
        f"#define SOC_UNIT 0x{UNIT[0]:08X}",
        f"#define SOC_UNIT_IRQ {UNIT_IRQ}",
        f"#define SOC_UART 0x{UART:08X}",
        "#endif",
    ]
    return "\n".join([*lines, ""])


def linker_script(template: str) -> str:
    """The linker script: ``link.ld.in`` with the SoC's memories."""
    for name, (origin, size) in {"ROM": ROM, "RAM": RAM}.items():
        template = template.replace(f"@{name}@", f"ORIGIN = 0x{origin:08X}, LENGTH = 0x{size:X}")
    return template
