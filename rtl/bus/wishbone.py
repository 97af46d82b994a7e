"""Wishbone front end of the RL unit."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from rtl.bus.front_end import WrappedRLU, members
from rtl.spec.params import RLUParams
from rtl.unit.register_file import BUS

#: Ports of a Wishbone slave, seen from its outside.
PORTS = members("wishbone")


class WishboneBridge(wiring.Component):
    """Wishbone B4 slave that is the master of a request/acknowledge bus.

    It supports the standard ("classic") single and block cycles of Wishbone B4, and pipelined ones. A standard master
    leaves ``wb_stall`` open. Port size 32 bit, granularity 8 bit; ``wb_adr`` is the address of a word: bits 13..2 of
    the byte address. Cycles end with ``wb_ack`` or ``wb_err``, never both. There is no RTY, no LOCK, no tags
    and no registered feedback (CTI, BTE). A read-modify-write cycle is a read and a write, because there is only one
    master.

    An access that the unit refuses ends with ``wb_err``. The unit writes only whole words: a write that selects some
    bytes of a word reaches it at an odd address, which it refuses. A write that selects no byte does not reach it and
    is acknowledged. A read returns the whole word, whatever it selects.

    A master that ends its cycle before the answer gets none; the access is carried out all the same, and until then
    ``wb_stall`` is high. No output depends on an input of the same cycle. Latency 4 cycles (1 for a write that selects
    nothing), throughput one access in 5 cycles.

    Members
    -------
    wb_* : In, Out
        The slave's signals, `PORTS`.
    bus : Out(BUS)
        The unit's bus.
    """

    def __init__(self):
        super().__init__({**PORTS, "bus": Out(BUS)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        request = Signal()
        empty = Signal()
        skipped = Signal()
        serving = Signal()
        awaited = Signal()
        m.d.comb += [
            request.eq(self.wb_cyc & self.wb_stb & ~self.wb_stall),
            empty.eq(self.wb_we & ~self.wb_sel.any()),
            bus.req.eq(request & ~empty),
            bus.we.eq(self.wb_we),
            bus.addr.eq(Cat(self.wb_we & ~self.wb_sel.all(), 0, self.wb_adr)),
            bus.wdata.eq(self.wb_dat_w),
            self.wb_ack.eq((bus.ack & awaited & ~bus.err) | skipped),
            self.wb_err.eq(bus.ack & awaited & bus.err),
            # The unit takes no request before it has answered; a standard master waits for the answer anyway.
            self.wb_stall.eq(serving | skipped),
            self.wb_dat_r.eq(bus.rdata),
        ]
        m.d.sync += [skipped.eq(request & empty), awaited.eq(self.wb_cyc & (bus.req | awaited))]
        with m.If(bus.req):
            m.d.sync += serving.eq(1)
        with m.Elif(bus.ack):
            m.d.sync += serving.eq(0)
        return m


class WishboneRLU(WrappedRLU):
    """The RL unit behind Wishbone; see `WishboneBridge` for the bus and `RLU` for the unit.

    Every bit of ``wb_adr`` is decoded, so there are no aliases.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    wb_* : In, Out
        Wishbone, `PORTS`.
    busy, irq, probe : Out
        As of `RLU`.
    """

    def __init__(self, params: RLUParams):
        super().__init__(params, WishboneBridge, PORTS)
