"""The pipelined updater equals the specification, which takes one row at a time (docs/arithmetic.md, "Updating").

What the row reader finds in a row (the proof ``row-reader``) is chosen by the solver here, row by row.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed

from rtl import row_reader
from rtl.fixed import round_half_even, round_half_up
from rtl.params import DISCOUNT_FRAC, GUARD, RLUParams
from rtl.updater import FIRST_WRITE, QTableUpdater

from .harness import Harness

#: Cycles from asking for a row to the row reader's answers.
MAXIMUM_AFTER = row_reader.LATENCY
OLD_AFTER = MAXIMUM_AFTER - 3


def rounding(h: Harness, width: int, shift: int) -> None:
    """``round_half_even`` gives the nearest integer, of two equally near the even one."""
    value = h.free(signed(width), "value")
    rounded, twice_error = Signal(signed(width + 1)), Signal(signed(width + 3))
    h.m.d.comb += [rounded.eq(round_half_even(value, shift)), twice_error.eq((value - (rounded << shift)) << 1)]
    h.prove((twice_error <= 1 << shift) & (twice_error >= -(1 << shift)))
    with h.m.If((twice_error == 1 << shift) | (twice_error == -(1 << shift))):
        h.prove(~rounded[0])


def _discount(alpha: Value, gamma: Value, params: RLUParams) -> Value:
    """alpha gamma, rounded half to even, in units of ``2**-DISCOUNT_FRAC``."""
    shift = 2 * params.coef_frac - DISCOUNT_FRAC
    product = Cat(gamma, Const(0, 1)).as_signed() * alpha
    return round_half_up(product, shift) if shift > 0 else product << -shift


def rows(h: Harness, params: RLUParams, plain: bool = True, ones: bool = False) -> None:
    """One update over ``params.states`` rows: each row's new value is that of the specification.

    Args:
        h: the harness.
        params: of the updater.
        plain: the specification multiplies the next row's maximum. Otherwise it multiplies each number that may
            be it and then chooses, which is the same, so that a solver meets the products of the hardware again.
        ones: alpha and gamma are both 1.0, else at most one of them.
    """
    m = h.m
    q = signed(params.q_width)
    rows_ = params.states
    dut = QTableUpdater(params)
    h.block("dut", dut)
    names = ("start", "states", "legal", "old", "maximum", "action", "alpha", "gamma")
    h.drive(dut, constant=("share", "reward", "full_last_reward"), but=names)
    if ones:
        m.d.comb += [dut.alpha.eq(params.coef_one), dut.gamma.eq(params.coef_one)]
    else:
        for port, name in ((dut.alpha, "alpha"), (dut.gamma, "gamma")):
            m.d.comb += port.eq(h.constant(params.coef_width, name))
        h.assume((dut.alpha <= params.coef_one) & (dut.gamma <= params.coef_one))
        h.assume((dut.alpha < params.coef_one) | (dut.gamma < params.coef_one))
    now = Signal(range(rows_ + 32))
    m.d.sync += now.eq(now + 1)
    m.d.comb += [dut.start.eq(now == 0), dut.states.eq(rows_)]

    # What is in the rows, and the row reader's answers.
    legal = [h.constant(1, f"legal_{t}") for t in range(rows_)]
    old = [h.constant(q, f"old_{t}") for t in range(rows_)]
    others = [h.constant(q, f"others_{t}") for t in range(rows_)]
    action = [h.constant(4, f"action_{t}") for t in range(rows_)]
    for port, values, wait in (
        (dut.legal, legal, OLD_AFTER),
        (dut.old, old, OLD_AFTER),
        (dut.maximum, others, MAXIMUM_AFTER),
        (dut.action, action, 1),
    ):
        asked = h.delayed(dut.read_row, wait)
        for t, value in enumerate(values):
            with m.If(asked == t):
                m.d.comb += port.eq(value)

    # The specification: from the last row to the first, all in one cycle.
    coefficient = Signal(DISCOUNT_FRAC + 1)
    m.d.comb += coefficient.eq(_discount(dut.alpha, dut.gamma, params))
    if not ones:
        h.prove(coefficient < 1 << DISCOUNT_FRAC)
    factor = coefficient if ones else coefficient[:DISCOUNT_FRAC]
    following: Value = Const(0)
    expected = []
    for t in reversed(range(rows_)):
        reward = Mux(dut.full_last_reward, dut.reward, dut.share) if t == rows_ - 1 else dut.share
        step, shift = (reward - old[t]) * dut.alpha, params.coef_frac - GUARD
        step = step >> shift if shift >= 0 else step << -shift
        half = (1 << (GUARD - 1)) - (t & 1)
        exact = Signal(signed(params.q_width + 4), name=f"exact_{t}")
        new = Signal(q, name=f"new_{t}")
        m.d.comb += [
            exact.eq((((old[t] << GUARD) + half) + step + following) >> GUARD),
            new.eq(Mux(exact > params.q_max, params.q_max, Mux(exact < params.q_min, params.q_min, exact))),
        ]
        expected.append((t, new))
        seen = legal[t] & (new > others[t])
        if plain:
            maximum = Signal(q, name=f"maximum_{t}")
            m.d.comb += maximum.eq(Mux(seen, new, others[t]))
            product = maximum * factor
        else:
            # A plain constant would be a shorter product, and another one to the solver.
            largest = Mux(now == 0, others[t], params.q_max)
            ends = Mux(exact > params.q_max, largest * factor, exact[: params.q_width + 2].as_signed() * factor)
            h.prove(exact[: params.q_width + 2].as_signed() == exact)
            product = Mux(seen, ends, others[t] * factor)
        following = product >> (DISCOUNT_FRAC - GUARD)

    # Row t is written FIRST_WRITE cycles after the start and the rows visited before it.
    for place, (t, new) in enumerate(expected):
        with m.If(now == FIRST_WRITE + place):
            h.prove((dut.write_en == legal[t]) & (dut.bad_action == ~legal[t]))
            h.prove(dut.done == (t == 0))
            with m.If(legal[t]):
                h.prove((dut.write_row == t) & (dut.write_action == action[t]))
                h.prove(dut.write_value == new)
    with m.If((now < FIRST_WRITE) | (now >= FIRST_WRITE + rows_)):
        h.prove(~dut.write_en & ~dut.bad_action & ~dut.done)
