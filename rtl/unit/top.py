"""The RL unit: what computes, behind its registers."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.spec.params import RLUParams
from rtl.unit.core import RLUCore, probe_layout
from rtl.unit.register_file import BUS, RegisterFile


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
    busy : Out(1)
        A command is running.
    irq : Out(1)
        Interrupt request, a level; see ``RegisterFile``.
    probe : Out(probe_layout(params))
        Draws, actions, Q-table writes and rewards as they happen.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__({"bus": In(BUS), "busy": Out(1), "irq": Out(1), "probe": Out(probe_layout(params))})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.registers = registers = RegisterFile(p)
        m.submodules.core = core = RLUCore(p)
        wiring.connect(m, registers.bus, wiring.flipped(self.bus))
        divide = registers.reward_load | registers.states_written
        for name in (
            "command", "word", "lfsr_load", "reward_load", "policy_write", "count_write", "q_write_mask", "row",
        ):  # fmt: skip
            m.d.comb += getattr(core, name).eq(getattr(registers, name))
        for name in (
            "busy", "episodes_stored", "q_row", "policy_word", "count", "lfsr", "reward", "share", "bad_action",
            "accuracy_outlier", "latency_outlier", "energy_outlier",
        ):  # fmt: skip
            m.d.comb += getattr(registers, name).eq(getattr(core, name))
        cycles = Signal(32)
        m.d.comb += [
            core.settings.eq(registers.values),
            core.divide.eq(divide),
            registers.cycles.eq(cycles),
            self.busy.eq(core.busy),
            self.irq.eq(registers.irq),
            self.probe.eq(core.probe),
        ]
        with m.If(core.busy):
            m.d.sync += cycles.eq(cycles + 1)
        with m.Elif(registers.command.any() | divide):
            m.d.sync += cycles.eq(0)
        return m
