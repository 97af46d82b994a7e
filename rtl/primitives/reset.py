"""A unit whose reset input is active low."""

from __future__ import annotations

from amaranth.hdl import ClockDomain
from amaranth.lib import wiring
from amaranth.lib.wiring import In


class ActiveLow(wiring.Component):
    """A component with ``clk`` and ``rst_n`` in place of the implicit ``clk`` and ``rst``; nothing else differs.

    Parameters
    ----------
    inside : wiring.Component
        What is reset.

    Members
    -------
    clk : In(1)
        Clock, rising edge.
    rst_n : In(1)
        Synchronous reset, active low.
    """

    def __init__(self, inside: wiring.Component):
        self.inside = inside
        members = dict(inside.signature.members.items())
        super().__init__({**members, "clk": In(1), "rst_n": In(1)})
        for name in members:
            setattr(self, name, getattr(inside, name))

    def elaborate(self, platform):
        m = self.inside.elaborate(platform)
        m.domains.sync = domain = ClockDomain()
        m.d.comb += [domain.clk.eq(self.clk), domain.rst.eq(~self.rst_n)]
        return m
