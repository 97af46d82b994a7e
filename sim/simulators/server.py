"""cocotb module that serves a simulated RL unit to the host, one transaction at a time.

Simulated time stands still while the server waits for the host, because that blocks the simulator.
"""

from __future__ import annotations

import os
import socket
from multiprocessing.connection import Connection
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge
from cocotb.utils import get_sim_time

from sim.devices.device import READ, RESET, WAIT
from sim.simulators.masters import HALF_PERIOD_NS, MASTERS


@cocotb.test()
async def serve(dut: Any) -> None:
    """Carry out the host's transactions until it closes the connection."""
    link = socket.socket(socket.AF_UNIX)
    link.connect(os.environ["RLU_SOCKET"])
    connection: Connection[Any, Any] = Connection(link.detach())
    bus = MASTERS[os.environ["RLU_BUS"]](dut)
    await bus.reset()
    cocotb.start_soon(bus.watch(int(os.environ["RLU_HANG_CYCLES"])))
    events: list[tuple[int, int]] = []
    accesses: list[tuple[int, int, int, int]] = []
    pins: tuple[Any, ...] = ()
    if os.environ["RLU_RECORD"] == "1":
        cocotb.start_soon(_record(dut, events))
        if os.environ["RLU_BUS"] == "none":
            pins = dut.busy, dut.irq, dut.bus__err
    while True:
        try:
            ops = connection.recv()
        except (EOFError, ConnectionError):
            return
        if ops is None:
            return
        answers = []
        for kind, address, value in ops:
            if kind == WAIT:
                await bus.wait_idle()
                continue
            if kind == RESET:
                await bus.reset_again()
                continue
            if kind == READ:
                answers.append(await bus.access(address))
            else:
                await bus.access(address, value)
            if pins:
                busy, irq, err = pins
                accesses.append((_cycle(), int(busy.value), int(irq.value), int(err.value)))
        connection.send((answers, events[:], accesses[:], _cycle()))
        events.clear()
        accesses.clear()


def _cycle() -> int:
    """Clock cycles since the start of the simulation."""
    return int(get_sim_time("ns")) // (2 * HALF_PERIOD_NS)


async def _record(dut: Any, events: list[tuple[int, int]]) -> None:
    """Record the clock cycle and the probe port whenever it shows an event."""
    valid = int(os.environ["RLU_PROBE_VALID"])
    while True:
        await FallingEdge(dut.clk)
        probe = dut.probe.value.to_unsigned()
        if probe & valid:
            events.append((_cycle(), probe))
