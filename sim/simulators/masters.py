"""Masters of the unit's buses for the served simulation: one access at a time, as fast as the bus allows.

They drive and sample at the falling clock edge; the unit works at the rising edge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from rtl.spec.buses import front_end

HALF_PERIOD_NS = 5
_ANSWER_CYCLES = 100  # far more than an access takes


class BusMaster(ABC):
    """Common part of the masters: clock, reset, and waiting for the unit.

    Args:
        dut: the simulated unit.

    Attributes:
        bus: name of the bus, one of `rtl.spec.buses`.
    """

    bus: ClassVar[str]

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self._one_cycle = Timer(2 * HALF_PERIOD_NS, "ns")
        # Handles are looked up once, because a look-up costs as much as a write.
        self._inputs = {name: getattr(dut, name) for name in (*front_end(self.bus).inputs, "rst")}
        self._busy = dut.busy
        self._driven: dict[str, int] = {}
        self._waiting = False
        self._waits = 0

    @abstractmethod
    async def access(self, address: int, value: int | None = None) -> int:
        """Write ``value``, or read if it is ``None``; returns the word read."""

    @abstractmethod
    async def release(self) -> None:
        """Release the bus."""

    async def reset(self) -> None:
        """Start the clock and reset the unit."""
        self._drive(**dict.fromkeys(self._inputs, 0) | {"rst": 1})
        Clock(self.dut.clk, 2 * HALF_PERIOD_NS, "ns").start()
        await self.reset_again()

    async def reset_again(self) -> None:
        """Release the bus and reset the unit, whatever it is doing."""
        await self.release()
        self._drive(rst=1)
        for _ in range(3):
            await FallingEdge(self.dut.clk)
        self._drive(rst=0)
        await FallingEdge(self.dut.clk)

    async def watch(self, cycles: int) -> None:
        """End the simulation if the unit stays busy for so many cycles, which no command takes."""
        while True:
            waited_for = self._waits
            await Timer(cycles * 2 * HALF_PERIOD_NS, "ns")
            if self._waiting and self._waits == waited_for:
                raise RuntimeError(f"the unit has been busy for {cycles} cycles: it hangs")

    async def wait_idle(self) -> None:
        """Release the bus and wait until the unit is not busy."""
        await self.release()
        self._waits += 1
        if self._busy.value:
            self._waiting = True
            await FallingEdge(self._busy)
            self._waiting = False
            await FallingEdge(self.dut.clk)
        else:
            # Not the falling edge: the one of this moment may still come.
            await self._one_cycle

    def _drive(self, **values: int) -> None:
        """Set inputs of the unit; an unchanged one costs nothing."""
        for name, value in values.items():
            if self._driven.get(name) != value:
                self._driven[name] = value
                self._inputs[name].value = value

    @staticmethod
    def _no_answer(address: int) -> RuntimeError:
        return RuntimeError(f"no answer for address 0x{address:04X}: the bus hangs")


class OwnBusMaster(BusMaster):
    """Master of the unit's own request/acknowledge bus: an access in 5 cycles."""

    bus = "none"

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        own = front_end(self.bus)
        self._answer_after = Timer(2 * HALF_PERIOD_NS * own.latency_cycles, "ns")
        self._next_answer_after = Timer(2 * HALF_PERIOD_NS * own.interval_cycles, "ns")
        self._ack, self._rdata = dut.bus__ack, dut.bus__rdata
        self._acknowledged = False

    async def access(self, address: int, value: int | None = None) -> int:
        """Request; the acknowledge comes a fixed number of cycles later."""
        if value is None:
            self._drive(bus__req=1, bus__we=0, bus__addr=address)
        else:
            self._drive(bus__req=1, bus__we=1, bus__addr=address, bus__wdata=value)
        # The acknowledge of the previous access is still high: the unit takes the next one a cycle later.
        await (self._next_answer_after if self._acknowledged else self._answer_after)
        if not self._ack.value:
            raise self._no_answer(address)
        self._acknowledged = True
        return 0 if value is not None else int(self._rdata.value.to_unsigned())

    async def release(self) -> None:
        """Withdraw the request."""
        self._drive(bus__req=0)
        self._acknowledged = False


class AXI4LiteMaster(BusMaster):
    """Manager for an AXI4-Lite unit, always ready for an answer: an access in 6 cycles."""

    bus = "axi4lite"

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self._ready = {channel: getattr(dut, f"s_axi_{channel}ready") for channel in ("aw", "w", "ar")}
        self._valid = {channel: getattr(dut, f"s_axi_{channel}valid") for channel in ("b", "r")}
        self._rdata = dut.s_axi_rdata

    async def access(self, address: int, value: int | None = None) -> int:
        """Request on one or two channels, then the answer on another."""
        if value is None:
            self._drive(s_axi_arvalid=1, s_axi_araddr=address, s_axi_rready=1)
            requests, answer = ["ar"], self._valid["r"]
        else:
            self._drive(
                s_axi_awvalid=1, s_axi_awaddr=address, s_axi_wvalid=1, s_axi_wdata=value, s_axi_wstrb=15, s_axi_bready=1
            )
            requests, answer = ["aw", "w"], self._valid["b"]
        for _ in range(_ANSWER_CYCLES):
            taken = [channel for channel in requests if self._ready[channel].value]
            await self._one_cycle
            self._drive(**{f"s_axi_{channel}valid": 0 for channel in taken})
            requests = [channel for channel in requests if channel not in taken]
            if answer.value:
                return 0 if value is not None else int(self._rdata.value.to_unsigned())
        raise self._no_answer(address)

    async def release(self) -> None:
        """Nothing to do: no request stays up after its answer."""


class WishboneMaster(BusMaster):
    """Standard (not pipelined) master of a Wishbone unit: an access in 5 cycles."""

    bus = "wishbone"

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self._ack, self._err, self._dat_r = dut.wb_ack, dut.wb_err, dut.wb_dat_r
        self._answered = False

    async def access(self, address: int, value: int | None = None) -> int:
        """Hold the strobe until the answer comes."""
        await self._pass_answer()
        write = {} if value is None else {"wb_dat_w": value}
        self._drive(wb_cyc=1, wb_stb=1, wb_we=int(value is not None), wb_adr=address >> 2, wb_sel=15, **write)
        for _ in range(_ANSWER_CYCLES):
            await self._one_cycle
            if self._ack.value or self._err.value:
                self._answered = True
                return 0 if value is not None else int(self._dat_r.value.to_unsigned())
        raise self._no_answer(address)

    async def release(self) -> None:
        """End the bus cycle."""
        await self._pass_answer()
        self._drive(wb_cyc=0, wb_stb=0)

    async def _pass_answer(self) -> None:
        """A standard master holds its request through the cycle of the answer."""
        if self._answered:
            await self._one_cycle
            self._answered = False


class ApbMaster(BusMaster):
    """Requester of an APB unit: an access in 5 cycles, setup and access phase."""

    bus = "apb"

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self._pready, self._prdata = dut.s_apb_pready, dut.s_apb_prdata

    async def access(self, address: int, value: int | None = None) -> int:
        """Setup phase, then the access phase until it is ready."""
        write = {"s_apb_pstrb": 0} if value is None else {"s_apb_pwdata": value, "s_apb_pstrb": 15}
        self._drive(s_apb_psel=1, s_apb_penable=0, s_apb_pwrite=int(value is not None), s_apb_paddr=address, **write)
        await self._one_cycle
        self._drive(s_apb_penable=1)
        for _ in range(_ANSWER_CYCLES):
            # Sampled before the rising edge that ends the access.
            ready, word = self._pready.value, self._prdata.value
            await self._one_cycle
            if ready:
                return 0 if value is not None else int(word.to_unsigned())
        raise self._no_answer(address)

    async def release(self) -> None:
        """Select nobody."""
        self._drive(s_apb_psel=0, s_apb_penable=0)


#: The master of each bus of `rtl.spec.buses`.
MASTERS: dict[str, Callable[[Any], BusMaster]] = {master.bus: master for master in BusMaster.__subclasses__()}
