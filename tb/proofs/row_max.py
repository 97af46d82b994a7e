"""The row maximum is the maximum, the lowest action wins a tie, and the row reader masks the right entries."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal, Value, signed

from rtl.spec.params import RLUParams
from rtl.unit import row_max, row_reader
from rtl.unit.row_max import RowMax
from rtl.unit.row_reader import RowReader
from tb.proofs.harness import Harness


def _is_maximum(h: Harness, row: list[Value], mask: Value, value: Value, index: Value, params: RLUParams) -> None:
    """Assert that ``value`` is the largest entry and ``index`` its lowest action; other entries count as q_min."""
    h.prove(index < params.actions)
    for i, entry in enumerate(row):
        counted = Mux(mask[i], entry, params.q_min)
        h.prove(counted <= value)
        with h.m.If(index == i):
            h.prove(counted == value)
        with h.m.If(index > i):
            h.prove(counted != value)


def _earlier_row(h: Harness, row: Value, cycles: int, params: RLUParams) -> list[Value]:
    entries: list[Value] = []
    for i in range(params.actions):
        entry = Signal(signed(params.q_width), name=f"entry_{i}")
        h.m.d.comb += entry.eq(h.delayed(row[i], cycles))
        entries.append(entry)
    return entries


def maximum(h: Harness, params: RLUParams) -> None:
    """For every row and mask, the value is the maximum and the index the lowest action that has it."""
    dut = RowMax(params)
    h.block("dut", dut)
    h.drive(dut)
    row = _earlier_row(h, dut.row, row_max.LATENCY, params)
    with h.m.If(h.after(row_max.LATENCY)):
        _is_maximum(h, row, h.delayed(dut.mask, row_max.LATENCY), dut.value, dut.index, params)


def row_reading(h: Harness, params: RLUParams) -> None:
    """The row reader's maximum is that of the row's own actions; for the updater, without the policy's action."""
    dut = RowReader(params)
    h.block("dut", dut)
    h.drive(dut, constant=("others",))
    wait = row_reader.LATENCY - 1  # from the memories' answer
    row = _earlier_row(h, dut.row, wait, params)
    action, last = h.delayed(dut.action, wait), h.delayed(dut.last, wait)
    h.assume(dut.last < params.actions)
    mask = Signal(params.actions)
    for i in range(params.actions):
        h.m.d.comb += mask[i].eq((i <= last) & ~(dut.others & (action == i)))
    early = wait - 3  # needed first by the updater, three cycles before the maximum
    legal = dut.action <= dut.last
    with h.m.If(h.after(wait)):
        h.prove(dut.others | (dut.index <= last))
        _is_maximum(h, row, mask, dut.maximum, dut.index, params)
        h.prove(dut.legal == h.delayed(legal, early))
        for i in range(params.actions):
            with h.m.If(h.delayed(legal & (dut.action == i), early)):
                h.prove(dut.old == h.delayed(dut.row[i], early))
