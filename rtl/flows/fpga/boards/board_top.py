"""Top of every board: pins, reset, serial link and unit. The same for the bitstream and for simulation."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetInserter, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer

from rtl.flows.fpga.boards.board import Board, Pins, request_pins
from rtl.serial.serial_link import SerialLink
from rtl.spec.params import RLUParams
from rtl.spec.serial_protocol import GAP_BITS, divisor
from rtl.unit.top import RLU
from rtl.verilog import converted

#: Clock cycles of reset after power-up and after the button is released: long enough for iCE40 block RAM, which
#: cannot be read in its first 15 us, and for the button, which bounces for 10 us.
RESET_CYCLES = 1024

#: Module name of the Verilog and of the bitstream.
TOP = "board"


class BoardTop(Elaboratable):
    """The unit and its serial link between the pins of a board.

    Parameters
    ----------
    pins : Pins
        The board's pins.
    params : RLUParams
        The unit.
    divisor : int
        Clock cycles per bit of the serial line.
    gap_bits : int
        Bit times of silence that end an unfinished request.
    """

    def __init__(self, pins: Pins, params: RLUParams, divisor: int, gap_bits: int = GAP_BITS):
        self.pins, self.params, self.divisor, self.gap_bits = pins, params, divisor, gap_bits

    def elaborate(self, platform):
        m = Module()
        pins = self.pins
        m.submodules.clk_buffer = clk = io.Buffer("i", pins.clk)
        m.submodules.rx_buffer = rx = io.Buffer("i", pins.rx)
        m.submodules.tx_buffer = tx = io.Buffer("o", pins.tx)
        m.submodules.reset_buffer = button = io.Buffer("i", pins.reset)
        m.submodules.active_buffer = active = io.Buffer("o", pins.lights[0])
        m.submodules.fault_buffer = fault = io.Buffer("o", pins.lights[1])

        # `power` has no reset: it makes the reset of `sync`, from the bitstream's initial values on.
        m.domains += [ClockDomain("power", reset_less=True), ClockDomain("sync")]
        m.d.comb += [ClockSignal("power").eq(clk.i), ClockSignal("sync").eq(clk.i)]
        pressed = Signal()
        in_reset = Signal(init=1)
        m.submodules += FFSynchronizer(button.i, pressed, o_domain="power")
        count = Signal(range(RESET_CYCLES))
        m.d.power += [count.eq(count + 1), in_reset.eq(in_reset & (count != RESET_CYCLES - 1))]
        with m.If(pressed):
            m.d.power += [count.eq(0), in_reset.eq(1)]
        m.d.comb += ResetSignal("sync").eq(in_reset)

        m.submodules.link = link = SerialLink(self.divisor, self.gap_bits)
        unit = RLU(self.params)
        m.submodules.unit = ResetInserter(link.unit_reset)(unit)
        wiring.connect(m, link.bus, unit.bus)
        m.d.comb += [
            link.rx.eq(rx.i),
            tx.o.eq(link.tx),
            link.busy.eq(unit.busy),
            active.o.eq(link.active | unit.busy),
            fault.o.eq(link.fault),
        ]
        return m


def board_top(board: Board, params: RLUParams, baud: int) -> tuple[BoardTop, Any]:
    """The top for a bitstream, and the platform that builds it; ValueError for a rate that the clock cannot make."""
    platform = board.make_platform()
    cycles = divisor(platform.default_clk_frequency, baud)
    return BoardTop(request_pins(board, platform), params, cycles), platform


def simulation_top(board: Board, params: RLUParams, divisor: int, gap_bits: int) -> tuple[str, dict[str, str]]:
    """The same top as Verilog without vendor cells, and the names of its ports: clk, rx, tx, reset, light.

    There is a ``~`` in front of the name of ``reset`` if the button reads 0 when pressed, and of ``light``, which says
    that the unit is at work, if 0 lights it.
    """
    pins = request_pins(board, board.make_platform())
    top = BoardTop(pins, params, divisor, gap_bits)
    used = (pins.clk, pins.rx, pins.tx, pins.reset, *pins.lights)
    text = converted(top, name=TOP, ports=[pin.io for pin in used])
    names = {"clk": pins.clk.io.name, "rx": pins.rx.io.name, "tx": pins.tx.io.name}
    inverted = {"reset": pins.reset, "light": pins.lights[0]}
    return text, names | {name: ("~" if pin.invert[0] else "") + pin.io.name for name, pin in inverted.items()}
