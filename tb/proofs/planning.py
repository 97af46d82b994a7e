"""The planner's numbers never wrap: sums over a policy, and effects."""

from __future__ import annotations

from amaranth.hdl import Fragment, Mux, Signal, signed

from rtl.planning.learner import EffectLearner
from rtl.planning.policy_walk import PolicySums
from rtl.spec.params import DOUBTS, RLUParams
from tb.proofs.harness import Harness


def sums(h: Harness, params: RLUParams) -> None:
    """After every row of a walk the sums are the exact ones."""
    m, dut = h.m, PolicySums(params)
    h.block("dut", dut)
    h.drive(dut, but=("start",))
    now = Signal(range(params.states + 3))
    with m.If(now <= params.states + 1):
        m.d.sync += now.eq(now + 1)
    visit = dut.visit
    m.d.comb += dut.start.eq(now == 0)
    h.assume(~visit.valid | ((now >= 1) & (now <= params.states)))
    h.assume(visit.doubt <= Mux(now == 1, 0, max(DOUBTS)))  # the last row, which comes first, has none
    added = {
        "effects": (signed(params.q_width), Mux(visit.has_effect, visit.effect, 0)),
        "doubts": (len(visit.doubt), visit.doubt),
        "latency": (16, visit.latency),
        "energy": (16, visit.energy),
    }
    for name, (shape, number) in added.items():
        exact = Signal(signed(len(Signal(shape)) + params.states), name=f"exact_{name}")
        with m.If(visit.valid & ~dut.start):
            m.d.sync += exact.eq(exact + number)
        with m.If(now >= 1):
            h.prove(dut.sums[name] == exact)


def effects(h: Harness, params: RLUParams) -> None:
    """A new effect is the old one and the step, limited to the range of a Q-value."""
    dut = EffectLearner(params)
    inside = Fragment.get(dut, None)
    h.m.submodules.dut = inside
    h.drive(dut)
    driven = (signal for statement in inside.statements["sync"] for signal in statement._lhs_signals())
    step = next(signal for signal in driven if signal.name == "step")
    exact = h.delayed(dut.visit.effect + step, 1).as_signed()
    limited = Mux(exact > params.q_max, params.q_max, Mux(exact < params.q_min, params.q_min, exact))
    h.prove(~(h.after(1) & dut.write_en & ~h.delayed(dut.starts, 1)) | (dut.write_value == limited))
