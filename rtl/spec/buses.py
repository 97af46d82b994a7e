"""The buses that the unit comes with: one record each, which all parts of the project read.

docs/integrate/integration.md lists what else a new bus needs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from rtl.spec.names import DEFAULT

#: Bits of a byte address and of a word, on the unit's own bus.
ADDRESS_WIDTH = 14
DATA_WIDTH = 32

#: On the unit's own bus: cycles from taking an access to its effect, to its answer, and to the next access.
EFFECT_CYCLES, ANSWER_CYCLES, ACCESS_CYCLES = 2, 4, 5


class Port(NamedTuple):
    """A signal of a bus.

    Attributes:
        name: of the port.
        direction: seen from the unit.
        width: bits.
        doc: what it means.
    """

    name: str
    direction: Literal["in", "out"]
    width: int
    doc: str


class FrontEnd(NamedTuple):
    """A bus that the unit comes with.

    Attributes:
        name: value of ``--bus``. Files of the bus are named after it: its tasks for a package's bench
            (``rtl/flows/ip/shipped/rlu_bus_<name>.vh``), its bench (``tb/benches/<name>.py``) and its page.
        title: the bus in a sentence: "the unit on ...".
        component: class of the whole unit behind the bus, with its module. Only a name, because the class imports
            Amaranth.
        summary: what a package's README says about the bus, and about an access that is refused.
        ports: signals of the bus.
        latency_cycles: from the request, or the last handshake of it, to the answer.
        interval_cycles: from an access to the next, for a master that waits for nothing else.
    """

    name: str
    title: str
    component: str
    summary: str
    ports: tuple[Port, ...]
    latency_cycles: int
    interval_cycles: int

    @property
    def top(self) -> str:
        """Name of the Verilog module, if no other prefix was asked for."""
        return self.module(DEFAULT)

    def module(self, prefix: str) -> str:
        """Name of the Verilog module with a prefix."""
        return prefix if self is OWN else f"{prefix}_{self.name}"

    @property
    def inputs(self) -> list[str]:
        """Names of the signals that a master drives."""
        return [port.name for port in self.ports if port.direction == "in"]


#: The unit's own request/acknowledge bus.
OWN = FrontEnd(
    name="none",
    title="its own bus",
    component="rtl.unit.top.RLU",
    summary="The bus is the unit's own: hold `req` until `ack`; `rdata` and `err` are valid only in that cycle.",
    ports=(
        Port("bus__req", "in", 1, "request: hold it high, and the other inputs steady, until ack"),
        Port("bus__we", "in", 1, "1 writes, 0 reads"),
        Port("bus__addr", "in", ADDRESS_WIDTH, "byte address, a multiple of 4"),
        Port("bus__wdata", "in", DATA_WIDTH, "word to write"),
        Port("bus__ack", "out", 1, "the access is done, in this cycle only"),
        Port("bus__err", "out", 1, "the access is done and was refused; it changed only an error flag"),
        Port("bus__rdata", "out", DATA_WIDTH, "word read, in the cycle of the answer"),
    ),
    latency_cycles=ANSWER_CYCLES,
    interval_cycles=ACCESS_CYCLES,
)

#: The standard ones. Their ports have the usual names.
STANDARD = (
    FrontEnd(
        name="axi4lite",
        title="AXI4-Lite",
        component="rtl.bus.axi4lite.AXI4LiteRLU",
        summary="The bus is AXI4-Lite, 32 bits; an access that is refused answers SLVERR.",
        ports=(
            Port("s_axi_awvalid", "in", 1, "write address: valid"),
            Port("s_axi_awready", "out", 1, "write address: taken"),
            Port("s_axi_awaddr", "in", ADDRESS_WIDTH, "write address, in bytes, a multiple of 4"),
            Port("s_axi_awprot", "in", 3, "write address: protection, ignored"),
            Port("s_axi_wvalid", "in", 1, "write data: valid"),
            Port("s_axi_wready", "out", 1, "write data: taken"),
            Port("s_axi_wdata", "in", DATA_WIDTH, "word to write"),
            Port(
                "s_axi_wstrb",
                "in",
                DATA_WIDTH // 8,
                "write strobes: set all of them; a write with only some is refused",
            ),
            Port("s_axi_bvalid", "out", 1, "write response: valid"),
            Port("s_axi_bready", "in", 1, "write response: taken"),
            Port("s_axi_bresp", "out", 2, "write response: 0 OKAY, 2 SLVERR when the write was refused"),
            Port("s_axi_arvalid", "in", 1, "read address: valid"),
            Port("s_axi_arready", "out", 1, "read address: taken"),
            Port("s_axi_araddr", "in", ADDRESS_WIDTH, "read address, in bytes, a multiple of 4"),
            Port("s_axi_arprot", "in", 3, "read address: protection, ignored"),
            Port("s_axi_rvalid", "out", 1, "read data: valid"),
            Port("s_axi_rready", "in", 1, "read data: taken"),
            Port("s_axi_rdata", "out", DATA_WIDTH, "word read, in the cycle of the answer"),
            Port("s_axi_rresp", "out", 2, "read data: 0 OKAY, 2 SLVERR when the read was refused"),
        ),
        latency_cycles=ANSWER_CYCLES + 2,
        interval_cycles=ANSWER_CYCLES + 2,
    ),
    FrontEnd(
        name="wishbone",
        title="Wishbone",
        component="rtl.bus.wishbone.WishboneRLU",
        summary="The bus is Wishbone B4, standard (classic) and pipelined cycles, 32 bits; an access that is refused "
        "answers `err`.",
        ports=(
            Port("wb_cyc", "in", 1, "a bus cycle is in progress"),
            Port("wb_stb", "in", 1, "this access is valid"),
            Port("wb_we", "in", 1, "1 writes, 0 reads"),
            Port("wb_adr", "in", ADDRESS_WIDTH - 2, "word address: bits 13..2 of the byte address"),
            Port("wb_dat_w", "in", DATA_WIDTH, "word to write (DAT_I of the slave)"),
            Port("wb_sel", "in", DATA_WIDTH // 8, "byte selects: set all of them; a write with only some is refused"),
            Port("wb_ack", "out", 1, "the access is done, in this cycle only"),
            Port("wb_err", "out", 1, "the access is done and was refused; it changed only an error flag"),
            Port("wb_stall", "out", 1, "no further access is taken; leave it open with a classic master"),
            Port("wb_dat_r", "out", DATA_WIDTH, "word read (DAT_O of the slave), with ack"),
        ),
        latency_cycles=ANSWER_CYCLES,
        interval_cycles=ACCESS_CYCLES,
    ),
    FrontEnd(
        name="apb",
        title="APB",
        component="rtl.bus.apb.ApbRLU",
        summary="The bus is AMBA APB4, 32 bits, and fits APB3 if `s_apb_pstrb` is tied to ones; an access that is "
        "refused answers `pslverr`.",
        ports=(
            Port("s_apb_psel", "in", 1, "the unit is selected"),
            Port("s_apb_penable", "in", 1, "0 in the setup phase, 1 in the access phase"),
            Port("s_apb_paddr", "in", ADDRESS_WIDTH, "byte address, a multiple of 4"),
            Port("s_apb_pwrite", "in", 1, "1 writes, 0 reads"),
            Port("s_apb_pwdata", "in", DATA_WIDTH, "word to write"),
            Port("s_apb_pstrb", "in", DATA_WIDTH // 8, "write strobes: set all of them; with APB3 tie it to ones"),
            Port("s_apb_pprot", "in", 3, "protection, ignored"),
            Port(
                "s_apb_pready",
                "out",
                1,
                "the access is done: in the fourth cycle of the access phase, or the first if nothing is strobed",
            ),
            Port("s_apb_prdata", "out", DATA_WIDTH, "word read, with pready"),
            Port("s_apb_pslverr", "out", 1, "with pready: the access was refused and changed only an error flag"),
        ),
        latency_cycles=ANSWER_CYCLES,
        interval_cycles=ACCESS_CYCLES,
    ),
)

FRONT_ENDS = (OWN, *STANDARD)
#: Values of ``--bus``.
BUSES = tuple(front_end.name for front_end in FRONT_ENDS)


def front_end(bus: str) -> FrontEnd:
    """The record of a bus; ValueError for an unknown one."""
    if bus not in BUSES:
        raise ValueError(f"bus must be one of {', '.join(BUSES)}, not {bus!r}")
    return FRONT_ENDS[BUSES.index(bus)]
