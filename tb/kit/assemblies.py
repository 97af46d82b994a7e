"""Blocks together with the parts of the core that they share, so a bench tests them as they work in the unit.

The row reader feeds updater and sampler, and the sampler uses the reward calculator's multiplier. An assembly has the
ports of the block, with the memories' answers instead of the row reader's.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from rtl.spec.params import RLUParams
from rtl.unit.row_reader import RowReader
from rtl.unit.sampler import PolicySampler
from rtl.unit.updater import QTableUpdater


class _Assembly(wiring.Component):
    """A block with all its ports except those in ``inner``, which the subclass connects in ``elaborate``."""

    def __init__(self, block: wiring.Component, inner: tuple[str, ...], outer: dict[str, Any]):
        self.block = block
        self.shown = [name for name in block.signature.members if name not in inner and name not in outer]
        super().__init__({name: block.signature.members[name] for name in self.shown} | outer)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.block = self.block
        for name in self.shown:
            ours, theirs = getattr(self, name), getattr(self.block, name)
            is_input = self.block.signature.members[name].flow is In
            m.d.comb += theirs.eq(ours) if is_input else ours.eq(theirs)
        return m


def _row(params: RLUParams) -> Any:
    return In(data.ArrayLayout(signed(params.q_width), params.actions))


class Updater(_Assembly):
    """`QTableUpdater` behind the row reader."""

    def __init__(self, params: RLUParams):
        self.params = params
        outer = {"row": _row(params), "action": In(4), "count": In(5)}
        super().__init__(QTableUpdater(params), ("legal", "old", "maximum"), outer)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        block = self.block
        m.submodules.reader = reader = RowReader(self.params)
        m.d.comb += [
            reader.row.eq(self.row), reader.action.eq(self.action), reader.last.eq(self.count - 1), reader.others.eq(1),
            block.action.eq(self.action), block.legal.eq(reader.legal), block.old.eq(reader.old),
            block.maximum.eq(reader.maximum),
        ]  # fmt: skip
        return m


class Sampler(_Assembly):
    """`PolicySampler` behind the row reader, with its multiplier."""

    def __init__(self, params: RLUParams):
        self.params = params
        outer = {"row": _row(params), "count": In(5)}
        super().__init__(PolicySampler(params), ("greedy", "factor_a", "factor_b", "product"), outer)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        block = self.block
        m.submodules.reader = reader = RowReader(self.params)
        factor_a, factor_b = Signal.like(block.factor_a), Signal.like(block.factor_b)
        m.d.comb += [
            reader.row.eq(self.row), reader.last.eq(self.count - 1), block.count.eq(self.count),
            block.greedy.eq(reader.index), block.product.eq(factor_a * factor_b),
        ]  # fmt: skip
        m.d.sync += [factor_a.eq(block.factor_a), factor_b.eq(block.factor_b)]
        return m
