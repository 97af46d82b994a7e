"""Row reader: finds what sampler and updater need of a row, in a pipeline that both share."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.spec.params import RLUParams
from rtl.unit import row_max
from rtl.unit.row_max import RowMax

#: Cycles from the request of a row to its maximum: memory, register, knock-out.
LATENCY = 2 + row_max.LATENCY


class RowReader(wiring.Component):
    """Takes a row from the Q-table and the policy store and finds its maximum and the policy's entry.

    A memory's answer comes late in its cycle, so it goes straight into registers.

    Latency: ``maximum`` and ``index`` 7 cycles after the row was requested, ``old`` and ``legal`` 4.
    Throughput: one row per cycle.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    row : In(ArrayLayout(signed(q_width), actions))
        The Q-table's answer.
    action, last : In(4)
        The policy store's answer: the row's action in the policy and its highest action.
    others : In(1)
        Leave the policy's entry out of the maximum; constant while rows are read.
    read : Out(ArrayLayout(signed(q_width), actions))
        The Q-table's answer a cycle later.
    legal : Out(1)
        The action is one of the row's.
    old : Out(signed(q_width))
        The policy's entry.
    maximum : Out(signed(q_width))
        The largest entry of the row's actions; the smallest Q-value if no entry takes part.
    index : Out(4)
        Its action; on a tie the lowest.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        row = data.ArrayLayout(signed(params.q_width), params.actions)
        super().__init__(
            {
                "row": In(row),
                "action": In(4),
                "last": In(4),
                "others": In(1),
                "read": Out(row),
                "legal": Out(1),
                "old": Out(signed(params.q_width)),
                "maximum": Out(signed(params.q_width)),
                "index": Out(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        row = self.read
        action = Signal(4)
        last = Signal(4)
        m.d.sync += [row.eq(self.row), action.eq(self.action), last.eq(self.last)]
        chosen = Cat(action == i for i in range(p.actions))
        within = Cat(~(last < i) for i in range(p.actions))
        legal = Signal()
        m.d.sync += [legal.eq(~(last < action)), self.legal.eq(legal)]

        # The policy's entry: registers that reset all others to 0, then an OR.
        entries = []
        for i in range(p.actions):
            entry = Signal(p.q_width, name=f"entry_{i}")
            with m.If(chosen[i]):
                m.d.sync += entry.eq(row[i])
            with m.Else():
                m.d.sync += entry.eq(0)
            entries.append(entry)
        m.d.sync += self.old.eq(Cat(Cat(entry[bit] for entry in entries).any() for bit in range(p.q_width)))

        m.submodules.row_max = row_max = RowMax(p)
        m.d.comb += [
            row_max.row.eq(row),
            row_max.mask.eq(within & ~Mux(self.others, chosen, 0)),
            self.maximum.eq(row_max.value),
            self.index.eq(row_max.index),
        ]
        return m
