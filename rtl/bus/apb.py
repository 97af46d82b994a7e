"""APB front end of the RL unit."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from rtl.bus.front_end import WrappedRLU, members
from rtl.spec.params import RLUParams
from rtl.unit.register_file import BUS

#: Ports of an APB completer, seen from its outside.
PORTS = members("apb")


class ApbBridge(wiring.Component):
    """AMBA APB4 completer that is the master of a request/acknowledge bus.

    The request goes to the unit in the setup phase. The unit's answer comes in the fourth cycle of the access phase,
    after three wait states. An APB3 requester has no ``pstrb`` and no ``pprot``: tie ``s_apb_pstrb`` to ones.

    An access that the unit refuses ends with ``pslverr``. The unit writes only whole words: a write that strobes some
    bytes of a word reaches it at an odd address, which it refuses. A write without any strobe does not reach it and
    ends without an error or a wait state. ``pprot`` is ignored, and so is ``pstrb`` of a read.

    No output depends on an input of the same cycle. Latency 4 cycles from setup phase to answer, throughput one access
    in 5 cycles.

    Members
    -------
    s_apb_* : In, Out
        The completer's signals, `PORTS`.
    bus : Out(BUS)
        The unit's bus.
    """

    def __init__(self):
        super().__init__({**PORTS, "bus": Out(BUS)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        setup = Signal()
        empty = Signal()
        skipped = Signal()
        m.d.comb += [
            setup.eq(self.s_apb_psel & ~self.s_apb_penable),
            empty.eq(self.s_apb_pwrite & ~self.s_apb_pstrb.any()),
            bus.req.eq(setup & ~empty),
            bus.we.eq(self.s_apb_pwrite),
            bus.addr.eq(self.s_apb_paddr | (self.s_apb_pwrite & ~self.s_apb_pstrb.all())),
            bus.wdata.eq(self.s_apb_pwdata),
            self.s_apb_pready.eq(bus.ack | skipped),
            self.s_apb_pslverr.eq(bus.err),
            self.s_apb_prdata.eq(bus.rdata),
        ]
        m.d.sync += skipped.eq(setup & empty)
        return m


class ApbRLU(WrappedRLU):
    """The RL unit behind APB; see `ApbBridge` for the bus and `RLU` for the unit.

    Addresses are byte addresses in the unit's 16 KiB; all bits are decoded, so there are no aliases.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    s_apb_* : In, Out
        APB, `PORTS`.
    busy, irq, probe : Out
        As of `RLU`.
    """

    def __init__(self, params: RLUParams):
        super().__init__(params, ApbBridge, PORTS)
