"""The SoC in LiteX: processor, memories and serial port are LiteX's, the unit is our Verilog on its Wishbone bus."""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litex.build.generic_platform import GenericPlatform, IOStandard, Misc, Pins, Subsignal
from litex.build.io import CRG
from litex.build.lattice import LatticePlatform
from litex.gen import ClockDomain, ClockSignal, Instance, ResetSignal, Signal
from litex.soc.cores.clock.lattice_ecp5 import ECP5PLL
from litex.soc.integration.soc import SoCRegion
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect import wishbone

from rtl.flows.fpga.boards.board import Board, request_pins
from rtl.flows.soc.system import CSR, RAM, ROM, UART, UNIT, UNIT_IRQ, System
from rtl.spec.buses import front_end

#: Module name of the Verilog.
TOP = "soc"


class PllCrg(CRG):
    """Clock and reset of an ECP5 whose clock comes from its PLL.

    Args:
        clk: the board's clock.
        clk_hz: its frequency.
        rst: 1 resets.
        system_hz: frequency of the SoC.
    """

    def __init__(self, clk: Any, clk_hz: float, rst: Any, system_hz: float):
        self.clock_domains.cd_sys = ClockDomain()
        self.submodules.pll = pll = ECP5PLL()
        self.comb += pll.reset.eq(rst)
        pll.register_clkin(clk, clk_hz)
        pll.create_clkout(self.cd_sys, system_hz)


class RLUSoC(SoCCore):
    """The SoC of `System`; ports ``clk``, ``rst`` and ``serial`` come from the platform.

    Args:
        platform: a LiteX platform.
        system: what to build.
        crg: makes the clock domain ``sys``.
        firmware: the words of the ROM.
    """

    def __init__(self, platform: Any, system: System, crg: Any, firmware: Sequence[int]):
        self.mem_map = {**SoCCore.mem_map, "rom": ROM[0], "sram": RAM[0], "csr": CSR}
        self.csr_map = {"uart": (UART - CSR) // 0x800}
        self.interrupt_map = {"uart": UNIT_IRQ + 1}  # LiteX gives it one; the firmware does not use it
        super().__init__(
            platform,
            clk_freq=round(system.clock_mhz * 1e6),
            cpu_type=system.cpu.name,
            integrated_rom_size=ROM[1],
            integrated_rom_init=list(firmware),
            integrated_sram_size=RAM[1],
            uart_baudrate=system.baud,
            with_timer=False,
            with_ctrl=False,
        )
        self.mem_map["csr"] = CSR  # each processor has a place of its own for it
        self.crg = crg
        self.bus.add_slave("rlu", self._unit(), SoCRegion(origin=UNIT[0], size=UNIT[1], cached=False))
        self.irq.add("rlu", n=UNIT_IRQ)

    def _unit(self) -> Any:
        """The unit's bus. A refused access is acknowledged too: PicoRV32 takes no other answer, and STATUS tells."""
        bus = wishbone.Interface(data_width=32, address_width=32, addressing="word")
        acknowledged, refused, irq = Signal(), Signal(), Signal()
        self.specials += Instance(
            front_end("wishbone").top,
            i_clk=ClockSignal("sys"), i_rst=ResetSignal("sys"),
            i_wb_cyc=bus.cyc, i_wb_stb=bus.stb, i_wb_we=bus.we, i_wb_adr=bus.adr[:12], i_wb_sel=bus.sel,
            i_wb_dat_w=bus.dat_w, o_wb_dat_r=bus.dat_r, o_wb_ack=acknowledged, o_wb_err=refused,
            o_irq=irq,
        )  # fmt: skip
        self.comb += [bus.ack.eq(acknowledged | refused), self.cpu.interrupt[UNIT_IRQ].eq(irq)]
        return bus


@dataclass(frozen=True)
class Design:
    """The SoC as files.

    Attributes:
        texts: Verilog of the SoC (`TOP`.v) and the initial values of its memories, by name.
        sources: Verilog files of the processor.
        chip: options that name a board's FPGA to nextpnr-ecp5.
    """

    texts: dict[str, str]
    sources: tuple[Path, ...]
    chip: tuple[str, ...] = ()


def simulated(system: System, firmware: Sequence[int]) -> Design:
    """The SoC without vendor cells; ports ``clk``, ``rst``, ``serial_tx`` and ``serial_rx``."""
    io = [
        ("clk", 0, Pins(1)),
        ("rst", 0, Pins(1)),
        ("serial", 0, Subsignal("tx", Pins(1)), Subsignal("rx", Pins(1))),
    ]

    def make() -> Design:
        platform = GenericPlatform("simulation", io)
        crg = CRG(platform.request("clk"), platform.request("rst"))
        return _design(platform, RLUSoC(platform, system, crg, firmware))

    return _made(system, make)


@dataclass(frozen=True)
class BoardPins:
    """Pins of a board and its chip.

    Attributes:
        io: for LiteX.
        clock_hz: the board's clock.
        inverted_reset: whether its button reads 0 when pressed.
        device: LiteX's name of the chip.
    """

    io: list[Any]
    clock_hz: float
    inverted_reset: bool
    device: str


def board_pins(board: Board) -> BoardPins:
    """Ask amaranth-boards for the pins of a board, so that no pin is written down twice."""
    platform = board.make_platform()
    pins = request_pins(board, platform)

    def found(pin: Any) -> list[Any]:
        (place,) = pin.io.metadata
        others = [Misc(f"{name}={value}") for name, value in place.attrs.items() if name != "IO_TYPE"]
        return [Pins(place.name), IOStandard(place.attrs["IO_TYPE"]), *others]

    return BoardPins(
        io=[
            ("clk", 0, *found(pins.clk)),
            ("rst", 0, *found(pins.reset)),
            ("serial", 0, Subsignal("tx", *found(pins.tx)), Subsignal("rx", *found(pins.rx))),
        ],
        clock_hz=float(platform.default_clk_frequency),
        inverted_reset=bool(pins.reset.invert[0]),
        device=f"{platform.device}-{platform.speed}{platform.package}C",
    )


def on_board(system: System, board: Board, firmware: Sequence[int]) -> Design:
    """The SoC for an ECP5 board, with its pins as ``soc.lpf``; its PLL makes other clocks, within 1 %."""
    pins = board_pins(board)
    system_hz = system.clock_mhz * 1e6

    def make() -> Design:
        platform = LatticePlatform(pins.device, pins.io, toolchain="trellis")
        clk, rst = platform.request("clk"), platform.request("rst")
        reset = ~rst if pins.inverted_reset else rst
        if system_hz == pins.clock_hz:
            crg = CRG(clk, reset)
        else:
            crg = PllCrg(clk, pins.clock_hz, reset, system_hz)
        platform.add_period_constraint(clk, 1e9 / pins.clock_hz)
        return _design(platform, RLUSoC(platform, system, crg, firmware), lpf=True)

    return _made(system, make)


def _made(system: System, make: Callable[[], Design]) -> Design:
    """Call LiteX; ModuleNotFoundError, which names the package, without the processor's."""
    importlib.import_module(system.cpu.package.replace("-", "_"))
    with _quiet():
        return make()


def _design(platform: Any, soc: RLUSoC, *, lpf: bool = False) -> Design:
    soc.finalize()
    there = {name: region.origin for name, region in soc.bus.regions.items()}
    assert there == {"rom": ROM[0], "sram": RAM[0], "rlu": UNIT[0], "csr": CSR}, there
    assert soc.csr.regions["uart"].origin == UART
    converted = platform.get_verilog(soc, name=TOP)
    texts = {f"{TOP}.v": _without_changing_comments(converted.main_source), **converted.data_files}
    chip: tuple[str, ...] = ()
    if lpf:
        toolchain = platform.toolchain
        family, size, speed, package = toolchain.nextpnr_ecp5_parse_device(platform.device)
        chip = (f"--{toolchain.nextpnr_ecp5_architectures[f'{family}-{size}']}", "--package", package, "--speed", speed)
        named_sc, named_pc = platform.resolve_signals(converted.ns)
        lines = ["BLOCK RESETPATHS;", "BLOCK ASYNCPATHS;"]
        lines += [toolchain._format_lpf(name, place[0], others, resource) for name, place, others, resource in named_sc]
        texts[f"{TOP}.lpf"] = "\n".join([*lines, *named_pc, ""])
    return Design(texts, tuple(Path(source[0]) for source in platform.sources), chip)


def _without_changing_comments(text: str) -> str:
    """LiteX's Verilog without its date and its tree of modules, which is in no particular order."""
    text = re.sub(r"^//\s+(?:Date|LiteX sha1|Auto-Generated)\b.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^/\*\n.*?^\*/\n", "", text, flags=re.MULTILINE | re.DOTALL)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """LiteX tells every step; ours are told by the command. After an error it takes standard error away."""
    before, stderr = logging.root.manager.disable, sys.stderr
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        sys.stderr = stderr
