"""The reward calculator equals its specification (docs/understand/arithmetic.md, "Reward")."""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Signal, Value, signed

from rtl.spec.params import RLUParams, reward_cycles, share_cycles
from rtl.unit.reward import RewardCalculator
from tb.proofs.harness import Harness


def _half_even(value: Value, divisor: int) -> Value:
    """``value / divisor`` of a number not below 0, ties to the even one."""
    if divisor == 1:
        return value
    quotient, twice = value // divisor, (value % divisor) << 1
    return quotient + ((twice > divisor) | ((twice == divisor) & quotient[0]))


def _is_share(share: Value, reward: Value, states: Value) -> Value:
    """Whether ``share`` is ``reward / states``, ties to the even one; checked by multiplication."""
    twice = (reward - share * states) << 1
    return ((twice < states) & (twice > -states)) | (((twice == states) | (twice == -states)) & ~share[0])


def share(h: Harness, params: RLUParams) -> None:
    """A reward that the host wrote is divided by the number of rows."""
    dut = RewardCalculator(params)
    h.block("dut", dut)
    h.drive(dut, constant=("load_value", "states"), but=("start", "load", "divide"))
    h.assume((dut.states >= 1) & (dut.states <= params.states))
    now = Signal(range(share_cycles(params) + 4))
    h.m.d.sync += now.eq(now + 1)
    h.m.d.comb += [dut.load.eq(now == 0), dut.divide.eq(now == 1)]
    last = share_cycles(params)  # one of the busy cycles; `divide` comes in the cycle before the first
    h.prove(dut.done == (now == last))
    with h.m.If(now == last):
        h.prove((dut.reward == dut.load_value) & _is_share(dut.share, dut.reward, dut.states))


def reward(h: Harness, params: RLUParams) -> None:
    """The reward of any measurements with any settings; it is limited and never wraps."""
    p, m = params, h.m
    dut = RewardCalculator(params)
    h.block("dut", dut)
    numbers = (
        "accuracy", "latency", "energy", "weight_a", "weight_l", "weight_e", "accuracy_th", "latency_th",
        "energy_th", "latency_high", "energy_high",
    )  # fmt: skip
    h.drive(dut, constant=(*numbers, "latency_gain", "energy_gain", "states"), but=("start", "load", "divide"))
    for name in numbers:
        h.assume(getattr(dut, name) <= p.coef_one)
    h.assume((dut.states >= 1) & (dut.states <= p.states))
    now = Signal(range(reward_cycles(params) + 4))
    m.d.sync += now.eq(now + 1)
    m.d.comb += dut.start.eq(now == 0)

    total: Value = dut.weight_a * dut.accuracy
    for name, weight in (("latency", dut.weight_l), ("energy", dut.weight_e)):
        high, measured = getattr(dut, f"{name}_high"), getattr(dut, name)
        margin = Signal(p.coef_width, name=f"margin_{name}")
        term = Signal(p.coef_width, name=f"term_{name}")
        scored = Signal(p.coef_width + p.gain_width, name=f"scored_{name}")
        m.d.comb += [
            margin.eq(Mux(high > measured, high - measured, 0)),
            scored.eq(_half_even(margin * getattr(dut, f"{name}_gain"), 1 << p.gain_frac)),
            term.eq(Mux(scored > p.coef_one, p.coef_one, scored)),
        ]
        total = total + weight * term
    shift = 2 * p.coef_frac - p.q_frac
    score = _half_even(total, 1 << shift) if shift >= 0 else total << -shift
    outlier = (dut.accuracy <= dut.accuracy_th) | (dut.latency >= dut.latency_th) | (dut.energy >= dut.energy_th)
    expected = Signal(signed(p.q_width))
    m.d.comb += expected.eq(Mux(outlier, Const(0), Mux(score > p.q_max, p.q_max, score)))
    last = reward_cycles(params) - 1
    h.prove(dut.done == (now == last))
    with m.If(now == last):
        h.prove((dut.reward == expected) & (dut.reward >= 0) & _is_share(dut.share, expected, dut.states))
