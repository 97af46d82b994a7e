"""The pipelined updater equals the specification, which takes one row at a time.

The specification is "Updating" of docs/understand/arithmetic.md.

Here the solver chooses the row reader's answers for each row (the proof ``row-reader`` covers them).
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed

from rtl.primitives.fixed import round_half_up
from rtl.spec.params import DISCOUNT_FRAC, GUARD, RLUParams
from rtl.unit import row_reader
from rtl.unit.updater import FIRST_WRITE, QTableUpdater
from tb.proofs.harness import Harness

#: Cycles from asking for a row to the row reader's answers.
MAXIMUM_AFTER = row_reader.LATENCY
OLD_AFTER = MAXIMUM_AFTER - 3
#: Bits that a row's exact sum needs in addition to a Q-value's (the proof `updater-room`).
ROOM = 2


def _times_alpha(h: Harness, value: Value, alpha: Value, params: RLUParams) -> Value:
    """The product of numbers as wide as the updater's, so a solver sees that it is the same product."""
    factor = Signal(signed(max(params.q_width, params.coef_width) + 1))
    h.m.d.comb += factor.eq(value)
    return factor * Cat(alpha, Const(0, 1)).as_signed()


def _discount(h: Harness, alpha: Value, gamma: Value, params: RLUParams) -> Value:
    """alpha gamma, ties upwards, in units of ``2**-DISCOUNT_FRAC``."""
    shift = 2 * params.coef_frac - DISCOUNT_FRAC
    product = _times_alpha(h, gamma, alpha, params)[: 2 * params.coef_frac + 1]
    return round_half_up(product, shift) if shift > 0 else product << -shift


def _step(h: Harness, error: Value, alpha: Value, params: RLUParams) -> Value:
    """alpha times error, cut to ``GUARD`` fraction bits."""
    shift = params.coef_frac - GUARD
    product = _times_alpha(h, error, alpha, params)
    return product >> shift if shift >= 0 else product << -shift


def rows(h: Harness, params: RLUParams, plain: bool, rates: Sequence[tuple[int, int]] = ()) -> None:
    """One update over ``params.states`` rows: each row's new value is that of the specification.

    Args:
        h: the harness.
        params: parameters of the updater.
        plain: the specification multiplies the next row's maximum, and stores 1.0. Otherwise it multiplies each
            number that may be the maximum and then chooses, and 1.0 is 1 - 2**-17 (the proof `updater-room`).
        rates: the pairs of alpha and gamma to consider; none: all.
    """
    m = h.m
    q = signed(params.q_width)
    rows_ = params.states
    dut = QTableUpdater(params)
    h.block("dut", dut)
    names = ("start", "states", "legal", "old", "maximum", "action", "alpha", "gamma")
    h.drive(dut, constant=("share", "reward", "full_last_reward"), but=names)
    for port, name in ((dut.alpha, "alpha"), (dut.gamma, "gamma")):
        m.d.comb += port.eq(h.constant(params.coef_width, name))
    h.assume((dut.alpha <= params.coef_one) & (dut.gamma <= params.coef_one))
    if rates:
        h.assume(Cat((dut.alpha == alpha) & (dut.gamma == gamma) for alpha, gamma in rates).any())
    now = Signal(range(rows_ + 32))
    m.d.sync += now.eq(now + 1)
    m.d.comb += [dut.start.eq(now == 0), dut.states.eq(rows_)]

    # Contents of the rows, and the row reader's answers.
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

    # The specification: all rows from the last to the first, in one cycle.
    coefficient, below_one = Signal(DISCOUNT_FRAC + 1), Signal(DISCOUNT_FRAC)
    m.d.comb += [
        coefficient.eq(_discount(h, dut.alpha, dut.gamma, params)),
        below_one.eq(Mux(coefficient[-1], (1 << DISCOUNT_FRAC) - 1, coefficient)),
    ]
    factor = Cat(coefficient if plain else below_one, Const(0, 1)).as_signed()
    width = params.q_width + GUARD + (4 if plain else ROOM)
    following: Value = Const(0)
    expected = []
    for t in reversed(range(rows_)):
        reward = Mux(dut.full_last_reward, dut.reward, dut.share) if t == rows_ - 1 else dut.share
        base, total = Signal(signed(width), name=f"base_{t}"), Signal(signed(width), name=f"total_{t}")
        exact = Signal(signed(width - GUARD), name=f"exact_{t}")
        new = Signal(q, name=f"new_{t}")
        m.d.comb += [
            base.eq((old[t] << GUARD) + (1 << (GUARD - 1)) - (t & 1) + _step(h, reward - old[t], dut.alpha, params)),
            total.eq(base + following),
            exact.eq(total >> GUARD),
            new.eq(Mux(exact > params.q_max, params.q_max, Mux(exact < params.q_min, params.q_min, exact))),
        ]
        expected.append((t, new))
        above = legal[t] & (exact > params.q_max)
        seen = legal[t] & (new > others[t])
        following = Signal(signed(width), name=f"following_{t}")
        cut = DISCOUNT_FRAC - GUARD
        if plain:
            maximum = Signal(q, name=f"maximum_{t}")
            m.d.comb += [maximum.eq(Mux(seen, new, others[t])), following.eq((maximum * factor) >> cut)]
        else:
            term = Signal(signed(params.q_width + GUARD + 1), name=f"term_{t}")
            m.d.comb += [
                term.eq(Mux(above, Const(params.q_max, q) * factor, others[t] * factor) >> cut),
                following.eq(Mux(seen & ~above, (exact * factor) >> cut, term)),
            ]

    # Row t is written FIRST_WRITE cycles after the start, plus one for each row visited before it.
    for place, (t, new) in enumerate(expected):
        with m.If(now == FIRST_WRITE + place):
            h.prove((dut.write_en == legal[t]) & (dut.bad_action == ~legal[t]))
            h.prove(dut.done == (t == 0))
            with m.If(legal[t]):
                h.prove((dut.write_row == t) & (dut.write_action == action[t]))
                h.prove(dut.write_value == new)
    with m.If((now < FIRST_WRITE) | (now >= FIRST_WRITE + rows_)):
        h.prove(~dut.write_en & ~dut.bad_action & ~dut.done)


def room(h: Harness, params: RLUParams) -> None:
    """A row's exact sum does not wrap, and 1.0 may be stored as 1 - 2**-17.

    It is assumed that a product with a factor of 0..1 lies between 0 and the other factor.
    """
    q = signed(params.q_width)
    unit = 1 << GUARD
    old, reward, maximum = (h.free(q, name) for name in ("old", "reward", "maximum"))
    odd = h.free(1, "odd")
    step, following = (
        h.free(signed(params.q_width + GUARD + 4), "step"),
        h.free(signed(params.q_width + GUARD + 4), "following"),
    )
    for part, whole in ((step, reward - old), (following, maximum)):
        h.assume(Mux(whole < 0, (part >= whole * unit) & (part <= 0), (part >= 0) & (part <= whole * unit)))
    half = unit // 2 - odd
    base = (old << GUARD) + half + step
    largest, smallest = params.q_max * 2 + 1, params.q_min * 2
    # alpha = gamma = 1.0: the stored alpha gamma times the maximum, cut.
    scale = DISCOUNT_FRAC - GUARD
    held = (maximum * unit * (1 << scale) - maximum) >> scale
    exact = (reward << GUARD) + half
    with h.m.If(h.after(1)):  # the engine needs a state
        for number in (base, base + following):
            h.prove(((number >> GUARD) <= largest) & ((number >> GUARD) >= smallest))
        h.prove(((exact + held) >> GUARD) == ((exact + maximum * unit) >> GUARD))
