"""The whole unit returns to idle when it should."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Fragment, Mux, Signal

from rtl.spec.params import RLUParams, clear_cycles, reward_cycles, sample_cycles, share_cycles, update_cycles
from rtl.unit.top import RLU
from tb.proofs.harness import Harness, register


def idle(h: Harness, params: RLUParams) -> None:
    """``busy`` rises in the cycle after a write that starts work, and falls after the documented cycles.

    Which accesses write what is the proof `register-accesses`.
    """
    dut = RLU(params)
    inside = Fragment.get(dut, None)
    h.m.submodules.dut = inside
    h.drive(dut)
    core, registers = inside.find_subfragment("core"), inside.find_subfragment("registers").origins[0]
    word, command = h.delayed(registers.word, 1), h.delayed(registers.command, 1)

    before = Signal(range(params.states + 1), init=params.states)
    states = Mux(h.delayed(registers.states_written, 1), word, before)
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
    with h.m.If(command.any()):
        jobs = (
            Const(clear_cycles(params)),
            Const(reward_cycles(params)),
            states + update_cycles(0),
            states + sample_cycles(0),
        )
        h.m.d.comb += work.eq(sum(Mux(command[bit], cycles, 0) for bit, cycles in enumerate(jobs)))
    with h.m.Elif(h.delayed(registers.reward_load | registers.states_written, 1)):
        h.m.d.comb += work.eq(share_cycles(params))
    with h.m.If(work != 0):
        h.m.d.sync += left.eq(work - 1)
    with h.m.Elif(left != 0):
        h.m.d.sync += left.eq(left - 1)
    h.prove(dut.busy == ((work != 0) | (left != 0)))

    # Extra conditions for the induction: registers hold only possible values, and are at rest if the unit is.
    h.prove((registers.values.states == states) & (states != 0) & (states <= params.states))
    sampler, updater = core.find_subfragment("sampler"), core.find_subfragment("updater")
    fsm = core.find_generated("reward", "fsm")
    h.prove(fsm.state < len(fsm.encoding))
    h.prove(register(core, "clearing") | (register(core, "clear_row") == 0))
    h.prove(register(sampler, "running") | (register(sampler, "counter") == 0))
    at_work = register(core, "started"), register(core, "clearing"), register(core, "cleared"), fsm.state != 0
    h.prove(dut.busy | ~Cat(at_work, register(sampler, "running"), register(updater, "running")).any())
