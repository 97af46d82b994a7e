"""The whole unit returns to idle when it should."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Mux, Signal, Value

from rtl.params import RLUParams, clear_cycles, reward_cycles, sample_cycles, share_cycles, update_cycles
from rtl.registers import BY_NAME
from rtl.top import RLU

from .harness import Harness


def _taken(h: Harness, bus: Any, name: str) -> Value:
    """A write of the named register, requested a cycle ago, is acknowledged without error."""
    return bus.ack & ~bus.err & h.delayed(bus.we & (bus.addr == BY_NAME[name].offset), 1)


def idle(h: Harness, params: RLUParams) -> None:
    """``busy`` rises with the acknowledgement of what starts work and falls after the documented cycles."""
    dut = RLU(params)
    h.block("dut", dut)
    h.drive(dut)
    bus = dut.bus
    word = h.delayed(bus.wdata, 1)

    states = Signal(range(params.states + 1), init=params.states)
    with h.m.If(_taken(h, bus, "STATES")):
        h.m.d.sync += states.eq(word)
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
