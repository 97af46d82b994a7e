"""The common part of the units behind a standard bus: the bridge's ports outside, the RL unit inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.spec.buses import front_end
from rtl.spec.params import RLUParams
from rtl.unit.top import RLU, UnitSignature, ports_of


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
        The bridge's other members, which become ports of the component.

    Members
    -------
    others
        ``ports`` and `UnitSignature`.
    """

    def __init__(self, params: RLUParams, bridge: Callable[[], wiring.Component], ports: Mapping[str, wiring.Member]):
        self.params, self._bridge, self._ports = params, bridge, ports
        super().__init__({**ports, **UnitSignature(params).members})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = self._bridge()
        m.submodules.rlu = rlu = RLU(self.params)
        wiring.connect(m, bridge.bus, rlu.bus)
        for inside, signature in ((bridge, wiring.Signature(self._ports)), (rlu, UnitSignature(self.params))):
            wiring.connect(m, ports_of(inside, signature), wiring.flipped(ports_of(self, signature)))
        return m
