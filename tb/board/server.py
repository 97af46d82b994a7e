"""cocotb module that connects the pins of a simulated board's top to a pseudo-terminal; started by `tb.board`.

Simulated time passes only while bytes are being sent or the unit is at work, and for a while after. Then the simulation
sleeps until the host sends more.
"""

from __future__ import annotations

import os
import pty
import select
import tty
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Timer
from cocotbext.uart import UartSink, UartSource  # type: ignore[import-untyped]

from rtl.flows.fpga.boards.board_top import RESET_CYCLES
from tb.board.__main__ import DIVISOR, GAP_BITS

PERIOD_NS = 10
_STEP_BITS = 10  # simulated between two reads of the terminal: the time of a byte
_REST_BITS = GAP_BITS + 40  # of silence, after which the board has nothing more to do


@cocotb.test()
async def serve(dut: Any) -> None:
    """Carry bytes between terminal and pins, forever."""
    folder = Path(os.environ["RLU_BOARD_FOLDER"])
    clk, rx, tx = (getattr(dut, os.environ[f"RLU_BOARD_{name}"]) for name in ("CLK", "RX", "TX"))
    reset_name = os.environ["RLU_BOARD_RESET"]
    reset, pressed = getattr(dut, reset_name.lstrip("~")), not reset_name.startswith("~")
    light_name = os.environ["RLU_BOARD_LIGHT"]
    light, lit = getattr(dut, light_name.lstrip("~")), "0" if light_name.startswith("~") else "1"
    reset.value = not pressed
    rx.value = 1
    Clock(clk, PERIOD_NS, "ns").start()
    await Timer((RESET_CYCLES + 8) * PERIOD_NS, "ns")

    bit_ns = DIVISOR * PERIOD_NS
    step = Timer(_STEP_BITS * bit_ns, "ns")
    source, sink = UartSource(rx, baud=10**9 // bit_ns), UartSink(tx, baud=10**9 // bit_ns)
    host, board = pty.openpty()
    tty.setraw(board)  # and keep it open while hosts connect and disconnect
    button = os.open(folder / "button", os.O_RDWR)
    temporary = folder / "port.new"
    temporary.write_text(os.ttyname(board))
    temporary.rename(folder / "port")

    rest = 0
    while True:
        if not sink.empty():
            os.write(host, sink.read_nowait())
            rest = 0
        asleep = rest > _REST_BITS and source.idle()
        ready, _, _ = select.select([host, button], [], [], None if asleep else 0)
        if host in ready:
            source.write_nowait(os.read(host, 4096))
            rest = 0
        if button in ready:
            os.read(button, 1)
            reset.value = pressed
            await Timer(50 * PERIOD_NS, "ns")
            reset.value = not pressed
            await Timer((RESET_CYCLES + 8) * PERIOD_NS, "ns")
            (folder / "pressed").touch()
        await step
        at_work = str(light.value) == lit  # unknown before the first clock edges in some simulators
        rest = 0 if at_work or not source.idle() else rest + _STEP_BITS
