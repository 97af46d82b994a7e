"""The sampler's actions are legal and those of the specification; every row gets one, in order."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal, Value

from rtl.spec.params import LFSR_TAPS, RLUParams
from rtl.unit import row_reader
from rtl.unit.sampler import PolicySampler
from tb.proofs.harness import Harness

LATENCY = row_reader.LATENCY - 1  # cycles from a row's draw to the writing of its action


def _sampler(h: Harness, params: RLUParams) -> PolicySampler:
    """A sampler with a multiplier, as in the unit, and any other inputs."""
    dut = PolicySampler(params)
    h.block("dut", dut)
    h.drive(dut, constant=("epsilon", "states"), but=("product",))
    h.m.d.sync += dut.product.eq(dut.factor_a * dut.factor_b)
    h.assume((dut.count >= 1) & (dut.count <= params.actions))
    h.assume((dut.greedy < h.delayed(dut.count, LATENCY)) | ~h.after(LATENCY))  # the proof `row-reader`
    h.assume(dut.epsilon <= params.coef_one)
    h.assume((dut.states >= 1) & (dut.states <= params.states))
    return dut


def _shifted(h: Harness, state: Value, width: int) -> Value:
    """The LFSR ``width`` single shifts later."""
    for _ in range(width):
        shifted = Signal(width)
        parity = Cat(state[tap - 1] for tap in LFSR_TAPS[width]).xor()
        h.m.d.comb += shifted.eq(Cat(parity, state[: width - 1]))
        state = shifted
    return state


def draws(h: Harness, params: RLUParams) -> None:
    """For any state of the LFSR, the two numbers drawn for a row are those after 16 and 32 single shifts."""
    dut = _sampler(h, params)
    width = params.lfsr_width
    decision, choice = Signal(width), Signal(width)
    h.m.d.comb += [decision.eq(_shifted(h, dut.lfsr, width)), choice.eq(_shifted(h, decision, width))]
    with h.m.If(dut.draw_en):
        for bit in range(width):
            h.prove((dut.draw_decision[bit] == decision[bit]) & (dut.draw_choice[bit] == choice[bit]))
    with h.m.If(h.delayed(dut.draw_en, 1)):
        h.prove(dut.lfsr == h.delayed(dut.draw_choice, 1))


def choices(h: Harness, params: RLUParams) -> None:
    """For any draw, the decision to explore and the action are as specified, and the action is legal."""
    dut = _sampler(h, params)
    width = params.lfsr_width
    limit = Signal(width)
    h.m.d.comb += limit.eq((dut.epsilon * ((1 << width) - 1) + (1 << (params.coef_frac - 1))) >> params.coef_frac)
    with h.m.If(h.after(LATENCY + 1)):
        h.prove(dut.write_en == h.delayed(dut.draw_en, LATENCY))
        with h.m.If(dut.write_en):
            h.prove(dut.write_action < h.delayed(dut.count, LATENCY))
            h.prove(dut.write_row == h.delayed(dut.draw_row, LATENCY))
            h.prove(dut.explored == (h.delayed(dut.draw_decision, LATENCY) <= limit))
            random = h.delayed((dut.draw_choice * dut.count) >> width, LATENCY)
            h.prove(dut.write_action == Mux(dut.explored, random, dut.greedy))


def order(h: Harness, params: RLUParams) -> None:
    """From ``start`` to ``done`` every row gets one action, first row first, at one row per cycle."""
    dut = _sampler(h, params)
    busy = Signal()
    written = Signal(range(params.states + 1))
    waited = Signal(range(params.states + 16))
    with h.m.If(dut.start):
        h.m.d.sync += [busy.eq(1), written.eq(0), waited.eq(0)]
    with h.m.Elif(dut.done):
        h.m.d.sync += busy.eq(0)
    h.assume(~(busy & dut.start))
    with h.m.If(busy):
        h.m.d.sync += waited.eq(waited + 1)
        with h.m.If(dut.write_en):
            h.prove(dut.write_row == written)
            h.prove(written < dut.states)
            h.m.d.sync += written.eq(written + 1)
        with h.m.If(dut.done):
            h.prove(written + dut.write_en == dut.states)
        h.prove(waited <= dut.states + 6)
    with h.m.Else():
        h.prove(~dut.write_en & ~dut.draw_en & ~dut.done)
