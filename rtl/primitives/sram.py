"""SRAM macros in place of the unit's memories."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Elaboratable, Instance, Value
from amaranth.lib import memory


class Sram:
    """Stands for a chip whose memories are SRAM macros: ``verilog.convert(..., platform=Sram("rlu_sram"))``.

    Each memory of the unit has one read port and one write port of the same clock. The read port reads in every cycle,
    with a latency of 1 cycle; what it gives for a place that is written in the same cycle is undefined. The macros have
    no initial values.

    Attributes:
        module: name of the Verilog module that each memory is an instance of.
    """

    def __init__(self, module: str) -> None:
        self.module = module

    def get_memory(self, one: memory.Memory) -> Elaboratable:
        """What Amaranth puts in the place of a memory."""
        (read,), (write,) = one.read_ports, one.write_ports
        width = len(Value.cast(write.data))
        return Instance(
            self.module,
            p_WIDTH=width,
            p_DEPTH=one.depth,
            p_ADDRESS=len(read.addr),
            p_GRANULE=width // len(write.en),
            i_clk=ClockSignal(),
            i_read_address=read.addr,
            o_read_data=read.data,
            i_write_address=write.addr,
            i_write_data=write.data,
            i_write_enable=write.en,
        )
