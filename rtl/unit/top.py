"""The RL unit: the core behind its registers."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.pipeline import later
from rtl.spec.buses import DATA_WIDTH
from rtl.spec.params import RLUParams
from rtl.unit.core import RLUCore, probe_layout
from rtl.unit.register_file import BUS, CoreSignature, RegisterFile


class UnitSignature(wiring.Signature):
    """The outputs of a unit besides its bus, the same with every bus.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    busy : Out(1)
        A command is running.
    irq : Out(1)
        Interrupt request, a level; see ``RegisterFile``.
    probe : Out(probe_layout(params))
        Draws, actions, Q-table writes and rewards as they happen.
    """

    def __init__(self, params: RLUParams):
        super().__init__({"busy": Out(1), "irq": Out(1), "probe": Out(probe_layout(params))})


def ports_of(component: wiring.Component, signature: wiring.Signature):
    """The ports of a component that a signature names, as one interface to connect.

    The signature is the one on the component's side.
    """
    interface = signature.create()
    for name in signature.members:
        setattr(interface, name, getattr(component, name))
    return interface


class RLU(wiring.Component):
    """The RL unit.

    Latency and throughput of the commands are in ``rtl.spec.params``; those of the bus in ``RegisterFile``.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    bus : In(BUS)
        Register interface.
    others
        `UnitSignature`.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__({"bus": In(BUS), **UnitSignature(params).members})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.registers = registers = RegisterFile(p)
        m.submodules.core = core = RLUCore(p)
        wiring.connect(m, registers.bus, wiring.flipped(self.bus))
        to_core = CoreSignature(p)
        wiring.connect(m, ports_of(registers, to_core), ports_of(core, to_core.flip()))
        divide = registers.reward_load | registers.states_written
        cycles = Signal(DATA_WIDTH)
        m.d.comb += [
            core.settings.eq(registers.values),
            core.divide.eq(divide),
            registers.cycles.eq(cycles),
            self.busy.eq(core.busy),
            self.irq.eq(registers.irq),
            self.probe.eq(core.probe),
        ]
        # A cycle late, which no read sees: it finds the unit busy for as long.
        was_busy, began = later(m, core.busy, 1), later(m, registers.command.any() | divide, 1)
        with m.If(was_busy):
            m.d.sync += cycles.eq(cycles + 1)
        with m.Elif(began):
            m.d.sync += cycles.eq(0)
        return m
