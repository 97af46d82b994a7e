"""Largest Q-value of a row, and its action."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.fixed import less
from rtl.spec.params import MAX_ACTIONS, RLUParams

_ROUNDS = (MAX_ACTIONS - 1).bit_length()
#: Cycles from a row to its maximum: one to mask, and one for each round of the widest row's knock-out.
LATENCY = 1 + _ROUNDS


class RowMax(wiring.Component):
    """Masked maximum over a row, by knock-out; on a tie the lowest action wins.

    A masked entry counts as the smallest Q-value. If every entry is masked, the answer is that value
    and action 0.

    Latency 5 cycles for any number of actions, throughput one row per cycle.

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
        The maximum of the row given five cycles ago.
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
        entries = []
        for i in range(self.params.actions):
            value = Signal(signed(self.params.q_width), name=f"masked_{i}")
            with m.If(self.mask[i]):
                m.d.sync += value.eq(self.row[i])
            with m.Else():  # a synchronous reset, which takes no logic
                m.d.sync += value.eq(self.params.q_min)
            entries.append((value, i))
        for round_ in range(_ROUNDS):
            winners = []
            for pair in range(0, len(entries), 2):
                value = Signal(signed(self.params.q_width), name=f"value_{round_}_{pair // 2}")
                index = Signal(4, name=f"index_{round_}_{pair // 2}")
                left = entries[pair]
                m.d.sync += [value.eq(left[0]), index.eq(left[1])]
                if pair + 1 < len(entries):
                    right = entries[pair + 1]
                    right_wins = Signal(name=f"right_wins_{round_}_{pair // 2}")
                    m.d.comb += right_wins.eq(less(left[0], right[0]))
                    with m.If(right_wins):
                        m.d.sync += [value.eq(right[0]), index.eq(right[1])]
                winners.append((value, index))
            entries = winners
        [(value, index)] = entries
        m.d.comb += [self.value.eq(value), self.index.eq(index)]
        return m
