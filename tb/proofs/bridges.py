"""The front ends alone: each request of a master reaches the unit's bus once and gets one answer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value

from rtl.bus.apb import ApbBridge
from rtl.bus.axi4lite import OKAY, SLVERR, AXI4LiteBridge
from rtl.bus.wishbone import WishboneBridge
from rtl.spec.buses import ACCESS_CYCLES, ANSWER_CYCLES
from tb.proofs.harness import Harness, Proof, taken, unbounded


def _answer(h: Harness, bus: Any) -> Value:
    """Assume a unit that answers each request in time (the proof `bus-handshake`), with any values.

    Returns whether it takes an access in this cycle.
    """
    stages = taken(h, bus)
    h.assume(bus.ack == stages[ANSWER_CYCLES])
    h.assume(bus.ack | ~bus.err)
    return stages[0]


class _Channel:
    """A request channel, seen from outside: the last request, and whether it still waits for its access."""

    def __init__(self, h: Harness, handshake: Value, payload: Value, name: str) -> None:
        self.waiting, self.payload = Signal(name=f"{name}_waiting"), Signal(len(payload), name=f"{name}_payload")
        self._h = h
        with h.m.If(handshake):
            h.prove(~self.waiting)
            h.m.d.sync += [self.waiting.eq(1), self.payload.eq(payload)]

    def served(self) -> None:
        """Its access is made in this cycle (under the current ``m.If``)."""
        self._h.m.d.sync += self.waiting.eq(0)


def axi4lite(h: Harness) -> None:
    """Any master, even one that breaks the rules of AXI."""
    dut = AXI4LiteBridge()
    h.block("dut", dut)
    h.drive(dut)
    m, bus = h.m, dut.bus
    _answer(h, bus)

    # An answer waits, unchanged, until it is taken.
    for valid, ready, payload in (
        (dut.s_axi_bvalid, dut.s_axi_bready, dut.s_axi_bresp),
        (dut.s_axi_rvalid, dut.s_axi_rready, Cat(dut.s_axi_rresp, dut.s_axi_rdata)),
    ):
        with m.If(h.delayed(valid & ~ready, 1)):
            h.prove(valid & (payload == h.delayed(payload, 1)))

    # Every access on the unit's bus was requested, and was not made before.
    address = _Channel(h, dut.s_axi_awvalid & dut.s_axi_awready, dut.s_axi_awaddr, "aw")
    data = _Channel(h, dut.s_axi_wvalid & dut.s_axi_wready, Cat(dut.s_axi_wdata, dut.s_axi_wstrb), "w")
    reads = _Channel(h, dut.s_axi_arvalid & dut.s_axi_arready, dut.s_axi_araddr, "ar")
    strobes = data.payload[32:]
    whole, nothing = strobes.all(), ~strobes.any()
    writes = address.waiting & data.waiting
    wrote, skipped, read = Signal(), Signal(), Signal()
    with m.If(bus.req & bus.we):
        h.prove(writes & ~nothing & ~dut.s_axi_bvalid)
        h.prove((bus.addr == (address.payload | ~whole)) & (bus.wdata == data.payload[:32]))
        m.d.comb += wrote.eq(1)
    with m.If(bus.req & ~bus.we):
        h.prove(reads.waiting & ~dut.s_axi_rvalid & (bus.addr == reads.payload))
        m.d.comb += read.eq(1)
        reads.served()
    m.d.comb += skipped.eq(writes & nothing & ~dut.s_axi_bvalid)
    with m.If(wrote | skipped):
        address.served()
        data.served()

    # An answer comes if and only if the access is done.
    write_done = h.delayed(wrote, ANSWER_CYCLES + 1) | h.delayed(skipped, 1)
    read_done = h.delayed(read, ANSWER_CYCLES + 1)
    h.prove(dut.s_axi_bvalid == (write_done | h.delayed(dut.s_axi_bvalid & ~dut.s_axi_bready, 1)))
    h.prove(dut.s_axi_rvalid == (read_done | h.delayed(dut.s_axi_rvalid & ~dut.s_axi_rready, 1)))
    result = Mux(h.delayed(bus.err, 1), SLVERR, OKAY)
    with m.If(write_done):
        h.prove(~h.delayed(dut.s_axi_bvalid & ~dut.s_axi_bready, 1))
        h.prove(dut.s_axi_bresp == Mux(h.delayed(skipped, 1), OKAY, result))
    with m.If(read_done):
        h.prove(~h.delayed(dut.s_axi_rvalid & ~dut.s_axi_rready, 1))
        h.prove((dut.s_axi_rresp == result) & (dut.s_axi_rdata == h.delayed(bus.rdata, 1)))

    # Waits are short: a write waits for at most one read, a read for at most one write.
    for waits, begins, patience in (
        (writes & ~dut.s_axi_bvalid, wrote, ACCESS_CYCLES),
        (reads.waiting & ~dut.s_axi_rvalid, read, ACCESS_CYCLES + 1),
    ):
        waited = Signal(4)
        with m.If(~waits | begins):
            m.d.sync += waited.eq(0)
        with m.Else():
            m.d.sync += waited.eq(waited + 1)
        h.prove(waited < patience)


def wishbone(h: Harness) -> None:
    """Any master, standard or pipelined."""
    dut = WishboneBridge()
    h.block("dut", dut)
    h.drive(dut)
    m, bus = h.m, dut.bus
    takes = _answer(h, bus)
    request = dut.wb_cyc & dut.wb_stb & ~dut.wb_stall
    nothing = dut.wb_we & ~dut.wb_sel.any()
    h.prove(bus.req == (request & ~nothing))
    h.prove(~bus.req | takes)
    with m.If(bus.req):
        h.prove((bus.we == dut.wb_we) & (bus.addr[2:] == dut.wb_adr) & (bus.wdata == dut.wb_dat_w))
        h.prove(bus.addr[:2] == (dut.wb_we & ~dut.wb_sel.all()))
    with m.If(h.after(1)):
        answer = dut.wb_ack | dut.wb_err
        skipped = h.delayed(request & nothing, 1)
        # The bus cycle has lasted since the request.
        lasted = Cat(h.delayed(dut.wb_cyc, cycles) for cycles in range(1, ANSWER_CYCLES)).all()
        done = h.delayed(bus.req, ANSWER_CYCLES)
        pending = Cat(h.delayed(bus.req, cycles) for cycles in range(1, ANSWER_CYCLES)).any()
        h.prove(answer == (skipped | (done & lasted)))
        h.prove(~(dut.wb_ack & dut.wb_err) & (dut.wb_stall == (skipped | done | pending)))
        h.prove(dut.wb_err == (done & lasted & bus.err))
        with m.If(dut.wb_ack):
            h.prove(skipped | (dut.wb_dat_r == bus.rdata))


def apb(h: Harness) -> None:
    """Any requester with an access phase that follows the rules of APB."""
    dut = ApbBridge()
    h.block("dut", dut)
    h.drive(dut)
    m, bus = h.m, dut.bus
    takes = _answer(h, bus)
    setup = dut.s_apb_psel & ~dut.s_apb_penable
    access = dut.s_apb_psel & dut.s_apb_penable
    nothing = dut.s_apb_pwrite & ~dut.s_apb_pstrb.any()
    partial = dut.s_apb_pwrite & ~dut.s_apb_pstrb.all()
    h.prove(bus.req == (setup & ~nothing))
    with m.If(bus.req):
        h.prove((bus.we == dut.s_apb_pwrite) & (bus.wdata == dut.s_apb_pwdata))
        h.prove(bus.addr == (dut.s_apb_paddr | partial))
    with m.If(h.after(1)):
        skipped = h.delayed(setup & nothing, 1)
        h.prove(dut.s_apb_pready == (bus.ack | skipped))
        h.prove(dut.s_apb_pslverr == (bus.ack & bus.err))
        with m.If(bus.ack):
            h.prove(dut.s_apb_prdata == bus.rdata)

    # The requester's rules: an access phase follows each setup phase and lasts until it is ready.
    waiting = h.delayed(setup | (access & ~dut.s_apb_pready), 1)
    kept, broken = Signal(), Signal()
    m.d.comb += kept.eq(~broken & (access == waiting))
    m.d.sync += broken.eq(~kept)
    with m.If(kept):
        done = h.delayed(setup & ~nothing, ANSWER_CYCLES)
        h.prove(dut.s_apb_pready == (done | h.delayed(setup & nothing, 1)))
        h.prove(~dut.s_apb_pready | access)
        h.prove(~bus.req | takes)


#: A proof for each bus.
PROOFS = (
    Proof(
        "axi4lite",
        "Each request taken makes one access, as asked for, and gets the answer of that access; there are no other "
        "accesses and answers. An answer waits unchanged until it is taken; a write waits for at most one read, "
        "a read for at most one write.",
        "the front end alone, any master, every address and word",
        unbounded(),
        axi4lite,
    ),
    Proof(
        "wishbone",
        "Each request makes one access, as asked for, and is answered after four cycles (a write of nothing after one) "
        "with ACK or ERR, never both, unless its bus cycle was ended; there are no other accesses and answers.",
        "the front end alone, any master, every address and word",
        unbounded(),
        wishbone,
    ),
    Proof(
        "apb",
        "Each setup phase makes one access, as asked for, and is answered in the fourth cycle of the access phase (the "
        "first for a write of nothing), with the access's error and word; there are no other accesses and answers.",
        "the front end alone, any requester, every address and word",
        unbounded(),
        apb,
    ),
)
