"""What the units behind a standard bus have in common: the bridge's ports outside, the RL unit inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.spec.buses import front_end
from rtl.spec.params import RLUParams
from rtl.unit.core import probe_layout
from rtl.unit.top import RLU


def members(bus: str) -> dict[str, wiring.Member]:
    """The signals of a bus as members of a component, seen from its outside."""
    return {port.name: {"in": In, "out": Out}[port.direction](port.width) for port in front_end(bus).ports}


class WrappedRLU(wiring.Component):
    """The RL unit behind a bridge to another bus.

    Parameters
    ----------
    params : RLUParams
    bridge : Callable
        Makes the bridge, whose member ``bus`` is the master of the unit's bus.
    ports : Mapping
        The bridge's other members, which become ports of the whole.

    Members
    -------
    busy, irq, probe : Out
        As of `RLU`.
    """

    def __init__(self, params: RLUParams, bridge: Callable[[], wiring.Component], ports: Mapping[str, wiring.Member]):
        self.params, self._bridge, self._ports = params, bridge, ports
        super().__init__({**ports, "busy": Out(1), "irq": Out(1), "probe": Out(probe_layout(params))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = self._bridge()
        m.submodules.rlu = rlu = RLU(self.params)
        wiring.connect(m, bridge.bus, rlu.bus)
        for name, member in self._ports.items():
            inner, outer = getattr(bridge, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        m.d.comb += [self.busy.eq(rlu.busy), self.irq.eq(rlu.irq), self.probe.eq(rlu.probe)]
        return m
