"""AXI4-Lite front end of the RL unit."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from rtl.bus.front_end import WrappedRLU, members
from rtl.spec.buses import ADDRESS_WIDTH
from rtl.spec.params import RLUParams
from rtl.unit.register_file import BUS

OKAY, SLVERR = 0b00, 0b10

#: Ports of an AXI4-Lite subordinate, seen from its outside.
PORTS = members("axi4lite")


class AXI4LiteBridge(wiring.Component):
    """AXI4-Lite subordinate that is the master of a request/acknowledge bus.

    Each request channel has a buffer of one entry, so write addresses and write data may come in any order.
    Every output is a flip-flop, or its inverse. Under a steady stream of both, reads and writes take turns.

    An access that the unit refuses is answered with SLVERR. The unit writes only whole words: a write that strobes
    some bytes of a word reaches it at an odd address, which it refuses. A write without any strobe does not reach it
    and is answered with OKAY. ``awprot`` and ``arprot`` are ignored.

    Latency 6 cycles from the last request handshake to ``bvalid`` or ``rvalid`` (2 for a write of nothing); a write
    waits at most 4 cycles more for a read, a read 5 for a write. Throughput one write and one read in 10 cycles
    together, or one of either in 6.

    Members
    -------
    s_axi_* : In, Out
        The subordinate's channels, `PORTS`.
    bus : Out(BUS)
        The unit's bus.
    """

    def __init__(self):
        super().__init__({**PORTS, "bus": Out(BUS)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        # Requests are buffered until they are done; a full buffer takes no more.
        write_address = Signal(ADDRESS_WIDTH)
        read_address = Signal(ADDRESS_WIDTH)
        have_address = Signal()
        have_data = Signal()
        have_read = Signal()
        partial = Signal()
        empty = Signal()
        m.d.comb += [
            self.s_axi_awready.eq(~have_address),
            self.s_axi_wready.eq(~have_data),
            self.s_axi_arready.eq(~have_read),
        ]
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [have_address.eq(1), write_address.eq(self.s_axi_awaddr)]
        with m.If(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [
                have_data.eq(1),
                bus.wdata.eq(self.s_axi_wdata),
                partial.eq(~self.s_axi_wstrb.all()),
                empty.eq(~self.s_axi_wstrb.any()),
            ]
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [have_read.eq(1), read_address.eq(self.s_axi_araddr)]

        # An access waits until its answer channel is free. If both can start, the write does. The next write cannot
        # be there when this one is done, so the read is next.
        write = Signal()
        read = Signal()
        select_write = Signal()
        serving = Signal()
        serving_write = Signal()
        m.d.comb += [
            write.eq(have_address & have_data & ~self.s_axi_bvalid),
            read.eq(have_read & ~self.s_axi_rvalid),
            select_write.eq(write & ~empty),
            bus.req.eq((read | (write & ~empty)) & ~serving),
            bus.we.eq(select_write),
            bus.addr.eq(Mux(select_write, write_address | partial, read_address)),
        ]
        with m.If(bus.req):
            m.d.sync += [serving.eq(1), serving_write.eq(select_write)]
        with m.Elif(bus.ack):
            m.d.sync += serving.eq(0)

        # Answers are held until they are taken.
        with m.If(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(self.s_axi_rready):
            m.d.sync += self.s_axi_rvalid.eq(0)
        with m.If((write & empty) | (bus.ack & serving_write)):
            m.d.sync += [
                have_address.eq(0),
                have_data.eq(0),
                self.s_axi_bvalid.eq(1),
                self.s_axi_bresp.eq(Mux(bus.err & ~empty, SLVERR, OKAY)),
            ]
        with m.If(bus.ack & ~serving_write):
            m.d.sync += [
                have_read.eq(0),
                self.s_axi_rvalid.eq(1),
                self.s_axi_rdata.eq(bus.rdata),
                self.s_axi_rresp.eq(Mux(bus.err, SLVERR, OKAY)),
            ]
        return m


class AXI4LiteRLU(WrappedRLU):
    """The RL unit behind AXI4-Lite; see `AXI4LiteBridge` for the bus and `RLU` for the unit.

    Addresses are byte addresses in the unit's 16 KiB; all bits are decoded, so there are no aliases.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    s_axi_* : In, Out
        AXI4-Lite, `PORTS`.
    busy, irq, probe : Out
        As of `RLU`.
    """

    def __init__(self, params: RLUParams):
        super().__init__(params, AXI4LiteBridge, PORTS)
