"""Largest Q-value of a row and where it stands."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .params import RLUParams

_GROUP = 4  # entries compared in the first cycle; the second compares the groups' winners


class RowMax(wiring.Component):
    """Masked maximum over a row; on a tie the lowest action wins.

    A masked entry counts as the smallest Q-value. With every entry masked the answer is that value
    and action 0.

    Latency 2 cycles, throughput one row a cycle.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    row : In(ArrayLayout(signed(q_width), actions))
        The Q-values.
    mask : In(actions)
        Bit ``i`` set: entry ``i`` takes part.
    value : Out(signed(q_width))
        The maximum of the row given two cycles ago.
    index : Out(4)
        Its action.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "row": In(data.ArrayLayout(signed(params.q_width), params.actions)),
                "mask": In(params.actions),
                "value": Out(signed(params.q_width)),
                "index": Out(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        entries = [(Mux(self.mask[i], self.row[i], self.params.q_min), i) for i in range(self.params.actions)]
        winners = []
        for first in range(0, len(entries), _GROUP):
            value, index = self._winner(m, entries[first : first + _GROUP])
            held_value = Signal(signed(self.params.q_width), name=f"group_value_{first}")
            held_index = Signal(4, name=f"group_index_{first}")
            m.d.sync += [held_value.eq(value), held_index.eq(index)]
            winners.append((held_value, held_index))
        value, index = self._winner(m, winners)
        m.d.sync += [self.value.eq(value), self.index.eq(index)]
        return m

    def _winner(self, m, entries):
        """Pairwise tournament; the left entry, of lower action, keeps a tie."""
        while len(entries) > 1:
            survivors = []
            for left, right in zip(entries[::2], entries[1::2], strict=False):
                value, index = Signal(signed(self.params.q_width)), Signal(4)
                right_wins = Signal()
                m.d.comb += [
                    right_wins.eq(right[0] > left[0]),
                    value.eq(Mux(right_wins, right[0], left[0])),
                    index.eq(Mux(right_wins, right[1], left[1])),
                ]
                survivors.append((value, index))
            if len(entries) % 2:
                survivors.append(entries[-1])
            entries = survivors
        return entries[0]
