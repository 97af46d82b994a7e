"""cocotb module that serves a simulated RL unit to the host, one transaction at a time.

Time stands still in the simulation while the host thinks: waiting for it blocks the simulator.
"""

from __future__ import annotations

import os
import socket
from multiprocessing.connection import Connection
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from cocotb.utils import get_sim_time

from sim.device import READ, WAIT

HALF_PERIOD_NS = 5
_HANG_CYCLES = 20_000  # far more than the longest command takes


class BusMaster:
    """Master of the unit's request/acknowledge bus; drives and samples at the falling clock edge."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self._one_cycle = Timer(2 * HALF_PERIOD_NS, "ns")
        self._two_cycles = Timer(4 * HALF_PERIOD_NS, "ns")
        # Handles are looked up once: each look-up costs as much as a write.
        self._inputs = {name: getattr(dut, name) for name in ("bus__req", "bus__we", "bus__addr", "bus__wdata", "rst")}
        self._ack, self._rdata, self._busy = dut.bus__ack, dut.bus__rdata, dut.busy
        self._driven: dict[str, int] = {}
        self._acknowledged = False
        self._waiting = False
        self._waits = 0

    def _drive(self, **values: int) -> None:
        """Set inputs of the unit; one that stays as it is costs nothing."""
        for name, value in values.items():
            if self._driven.get(name) != value:
                self._driven[name] = value
                self._inputs[name].value = value

    async def reset(self) -> None:
        """Start the clock and reset the unit."""
        dut = self.dut
        self._drive(bus__req=0, bus__we=0, bus__addr=0, bus__wdata=0, rst=1)
        Clock(dut.clk, 2 * HALF_PERIOD_NS, "ns").start()
        for _ in range(3):
            await FallingEdge(dut.clk)
        self._drive(rst=0)
        await FallingEdge(dut.clk)

    async def access(self, address: int, value: int | None = None) -> int:
        """Write ``value``, or read if there is none; returns the word read."""
        if value is None:
            self._drive(bus__req=1, bus__we=0, bus__addr=address)
        else:
            self._drive(bus__req=1, bus__we=1, bus__addr=address, bus__wdata=value)
        # The acknowledge of the access before is still high: the unit takes the next one a cycle later.
        await (self._two_cycles if self._acknowledged else self._one_cycle)
        if not self._ack.value:
            raise RuntimeError(f"no acknowledge for address 0x{address:04X}: the bus hangs")
        self._acknowledged = True
        return 0 if value is not None else self._rdata.value.to_unsigned()

    async def watch(self) -> None:
        """End the simulation when the unit stays busy for good."""
        while True:
            waited_for = self._waits
            await Timer(_HANG_CYCLES * 2 * HALF_PERIOD_NS, "ns")
            if self._waiting and self._waits == waited_for:
                raise RuntimeError(f"the unit has been busy for {_HANG_CYCLES} cycles: it hangs")

    async def wait_idle(self) -> None:
        """Let go of the bus and wait until the unit is not busy."""
        self._drive(bus__req=0)
        self._waits += 1
        if self._busy.value:
            self._waiting = True
            await FallingEdge(self._busy)
            self._waiting = False
            await FallingEdge(self.dut.clk)
        else:
            # Not the falling edge: that of this very moment may still be to come.
            await self._one_cycle
        self._acknowledged = False


@cocotb.test()
async def serve(dut: Any) -> None:
    """Carry out the host's transactions until it hangs up."""
    link = socket.socket(socket.AF_UNIX)
    link.connect(os.environ["RLU_SOCKET"])
    connection: Connection[Any, Any] = Connection(link.detach())
    bus = BusMaster(dut)
    await bus.reset()
    cocotb.start_soon(bus.watch())
    events: list[tuple[int, int]] = []
    if os.environ["RLU_RECORD"] == "1":
        cocotb.start_soon(_record(dut, events))
    while True:
        try:
            ops = connection.recv()
        except (EOFError, ConnectionError):
            return
        if ops is None:
            return
        answers = []
        for kind, address, value in ops:
            if kind == READ:
                answers.append(await bus.access(address))
            elif kind == WAIT:
                await bus.wait_idle()
            else:
                await bus.access(address, value)
        connection.send((answers, events[:], _cycle()))
        events.clear()


def _cycle() -> int:
    """Clock cycles since the start of the simulation."""
    return int(get_sim_time("ns")) // (2 * HALF_PERIOD_NS)


async def _record(dut: Any, events: list[tuple[int, int]]) -> None:
    """Note the clock cycle and the probe port whenever it shows an event."""
    valid = int(os.environ["RLU_PROBE_VALID"])
    while True:
        await FallingEdge(dut.clk)
        probe = dut.probe.value.to_unsigned()
        if probe & valid:
            events.append((_cycle(), probe))
