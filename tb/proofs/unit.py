"""The whole unit returns to idle when it should."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Fragment, Mux, Signal, Value

from rtl.spec.params import RLUParams, clear_cycles, reward_cycles, sample_cycles, share_cycles, update_cycles
from rtl.spec.registers import BY_NAME
from rtl.unit.top import RLU
from tb.proofs.harness import Harness, register


def _taken(h: Harness, bus: Any, name: str) -> Value:
    """A write of the named register, requested a cycle ago, is acknowledged without error."""
    return bus.ack & ~bus.err & h.delayed(bus.we & (bus.addr == BY_NAME[name].offset), 1)


def idle(h: Harness, params: RLUParams) -> None:
    """``busy`` rises with the acknowledgement of a write that starts work, and falls after the documented cycles."""
    dut = RLU(params)
    inside = Fragment.get(dut, None)
    h.m.submodules.dut = inside
    h.drive(dut)
    bus = dut.bus
    word = h.delayed(bus.wdata, 1)

    before = Signal(range(params.states + 1), init=params.states)
    states = Mux(_taken(h, bus, "STATES"), word, before)
    h.m.d.sync += before.eq(states)
    longest = sum(
        (
            clear_cycles(params),
            reward_cycles(params),
            update_cycles(params.states),
            sample_cycles(params.states),
        )
    )
    work, left = Signal(range(longest + 1)), Signal(range(longest + 1))
    with h.m.If(_taken(h, bus, "COMMAND")):
        jobs = (
            Const(clear_cycles(params)),
            Const(reward_cycles(params)),
            states + update_cycles(0),
            states + sample_cycles(0),
        )
        h.m.d.comb += work.eq(sum(Mux(word[bit], cycles, 0) for bit, cycles in enumerate(jobs)))
    with h.m.Elif(_taken(h, bus, "REWARD") | _taken(h, bus, "STATES")):
        h.m.d.comb += work.eq(share_cycles(params))
    with h.m.If(work != 0):
        h.m.d.sync += left.eq(work - 1)
    with h.m.Elif(left != 0):
        h.m.d.sync += left.eq(left - 1)
    h.prove(dut.busy == ((work != 0) | (left != 0)))

    # Extra conditions for the induction: registers hold only possible values, and are at rest if the unit is.
    core, registers = inside.find_subfragment("core"), inside.find_subfragment("registers").origins[0]
    h.prove((registers.values.states == states) & (states != 0) & (states <= params.states))
    sampler, updater = core.find_subfragment("sampler"), core.find_subfragment("updater")
    fsm = core.find_generated("reward", "fsm")
    h.prove(fsm.state < len(fsm.encoding))
    h.prove(register(core, "clearing") | (register(core, "clear_row") == 0))
    h.prove(register(sampler, "running") | (register(sampler, "counter") == 0))
    at_work = register(core, "started"), register(core, "clearing"), register(core, "cleared"), fsm.state != 0
    h.prove(dut.busy | ~Cat(at_work, register(sampler, "running"), register(updater, "running")).any())
