"""The Q-table: one memory bank for each action, so a whole row is read in a cycle."""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.pipeline import later
from rtl.spec.params import RLUParams


class QTable(wiring.Component):
    """Banked memory of ``states`` rows by ``actions`` Q-values (8 KB at full size).

    A read takes 1 cycle, a write 2, because registers before the banks keep the way to them short; both every cycle.
    A read in the cycle after a write to the same row was given may give anything in hardware (in simulation, the old
    values), and the unit never uses it. Memory blocks differ in this, and a defined value would cost a bypass for each
    bank.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    read_row : In(row_width)
        Row to read.
    row : Out(ArrayLayout(signed(q_width), actions))
        The row whose number was given a cycle ago.
    write_row : In(row_width)
        Row to write.
    write_mask : In(actions)
        Bit ``i`` set: write bank ``i``.
    write_even, write_odd : In(signed(q_width))
        Value for the banks of even and of odd number.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "read_row": In(params.row_width),
                "row": Out(data.ArrayLayout(signed(params.q_width), params.actions)),
                "write_row": In(params.row_width),
                "write_mask": In(params.actions),
                "write_even": In(signed(params.q_width)),
                "write_odd": In(signed(params.q_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Every address has a row, so no read is undefined. There is at least one address bit.
        depth = 1 << self.params.row_width
        # Above 16 rows, a memory of look-up tables costs more than the rest of the unit.
        attributes = {"no_rw_check": 1, **({"ram_style": "block"} if depth > 16 else {})}
        write_row, write_even, write_odd = (
            later(m, given, 1) for given in (self.write_row, self.write_even, self.write_odd)
        )
        write_mask = later(m, self.write_mask, 1)
        for i in range(self.params.actions):
            bank = memory.Memory(shape=signed(self.params.q_width), depth=depth, init=[], attrs=attributes)
            m.submodules[f"bank_{i}"] = bank
            read, write = bank.read_port(), bank.write_port()
            m.d.comb += [
                read.addr.eq(self.read_row),
                self.row[i].eq(read.data),
                write.addr.eq(write_row),
                write.data.eq(write_odd if i % 2 else write_even),
                write.en.eq(write_mask[i]),
            ]
        return m
