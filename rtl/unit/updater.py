"""Q-table updater: walks the policy from its last row to its first, one row per cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.chosen_sum import ChosenSum
from rtl.primitives.fixed import less, round_half_up
from rtl.primitives.pipeline import later
from rtl.spec.params import DISCOUNT_FRAC, GUARD, RLUParams
from rtl.unit import row_reader

#: Cycles from ``start`` to the write of the first row visited.
FIRST_WRITE = row_reader.LATENCY + 2


class QTableUpdater(wiring.Component):
    """Updates one entry per row, in reverse order along the policy (Chen 2023, chapter 2).

    Last row: ``Q <- (1 - alpha) Q + alpha r``; the others: ``Q <- (1 - alpha) Q + alpha (r + gamma M)``,
    where ``M`` is the maximum of the next row after that row's own update. docs/understand/arithmetic.md,
    "Updating", defines rounding and saturation. A row whose action is not below its count is not updated,
    and ``bad_action`` is raised.

    Only ``alpha gamma M`` depends on the row before. The loop over the rows therefore holds one product, one sum
    and one choice; all else is done ahead. The choice comes after the products: the product with the new value,
    or the product with the maximum of the row's other entries, which is computed before.

    Latency: the last write is made ``states + 8`` cycles after ``start``. Throughput: one row per cycle.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    start : In(1)
        Begin; ignored while rows are read. Do not raise it again before ``done``.
    done : Out(1)
        High for one cycle, together with the last write.
    states : In(bits for 0..states)
        Rows of the policy, at least 1.
    alpha, gamma : In(coef_width)
        Learning rate and discount, 0..1.0.
    share : In(signed(q_width))
        Reward of every row.
    reward : In(signed(q_width))
        Reward of the last row, if ``full_last_reward``.
    full_last_reward : In(1)
        The last row takes ``reward`` in place of ``share``.
    read_row : Out(row_width)
        Row wanted from the Q-table and the policy store.
    early_row : Out(row_width)
        The same a cycle earlier, with ``start`` for the first row.
    action, legal, old, maximum : In
        ``action`` is the policy store's answer for that row, the others are the row reader's. ``maximum`` leaves the
        action out.
    write_en, write_row, write_action, write_value : Out
        The new Q-value.
    bad_action : Out(1)
        High for one cycle when a row's action is not one that the row has.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        q = signed(params.q_width)
        super().__init__(
            {
                "start": In(1),
                "done": Out(1),
                "states": In(params.states.bit_length()),
                "alpha": In(params.coef_width),
                "gamma": In(params.coef_width),
                "share": In(q),
                "reward": In(q),
                "full_last_reward": In(1),
                "read_row": Out(params.row_width),
                "early_row": Out(params.row_width),
                "action": In(4),
                "legal": In(1),
                "old": In(q),
                "maximum": In(q),
                "write_en": Out(1),
                "write_row": Out(params.row_width),
                "write_action": Out(4),
                "write_value": Out(q),
                "bad_action": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        frac = DISCOUNT_FRAC

        running = Signal()
        counter = Signal(p.row_width)
        is_last = Signal()
        is_first = Signal()
        begin = Signal()
        m.d.comb += self.early_row.eq(Mux(running, counter, self.states) - 1)
        m.d.comb += [self.read_row.eq(counter), is_first.eq(counter == 0), begin.eq(self.start & ~running)]
        with m.If(running):
            m.d.sync += [counter.eq(counter - 1), is_last.eq(0)]
            with m.If(is_first):
                m.d.sync += running.eq(0)
        with m.Elif(begin):
            m.d.sync += [running.eq(1), counter.eq(self.early_row), is_last.eq(1)]

        # One multiplier does alpha (reward - old) of each row; before the first row it does alpha gamma.
        primed_1 = Signal()
        primed_2 = Signal()
        primed_3 = Signal()
        m.d.sync += [primed_1.eq(begin), primed_2.eq(primed_1), primed_3.eq(primed_2)]
        factor = Signal(signed(max(p.q_width + 1, p.coef_width + 1)))
        product = Signal(signed(len(factor) + p.coef_width))
        reward = Signal(signed(p.q_width))
        use_reward = Signal()
        m.d.sync += use_reward.eq(later(m, is_last, 3) & self.full_last_reward)
        m.d.comb += reward.eq(Mux(use_reward, self.reward, self.share))
        m.d.sync += [
            factor.eq(Mux(begin, self.gamma, reward - self.old)),
            product.eq(factor * Cat(self.alpha, Const(0, 1)).as_signed()),
        ]
        # alpha gamma: 1.0 does not fit and is not needed, because the product differs by less than half a unit.
        discount = Signal(frac)
        shift = 2 * p.coef_frac - frac
        exact = product.as_unsigned()[: 2 * p.coef_frac + 1]
        rounded = round_half_up(exact, shift) if shift > 0 else exact << -shift
        with m.If(primed_2):
            m.d.sync += discount.eq(Mux(rounded[frac], ~0, rounded))
        # Each multiplier has its own copy, which can lie beside it. They are steady before the first row comes.
        discount_factor, loop_factor = (
            Cat(copy, Const(0, 1)).as_signed() for copy in (discount, later(m, discount, 1))
        )

        # A row's new value without the next row's part, plus half a unit to round: a little less in odd rows.
        shift = GUARD - p.coef_frac
        odd = later(m, counter[0], row_reader.LATENCY - 1)
        base = Signal(signed(p.q_width + GUARD + 2))
        old = Cat(odd.replicate(GUARD - 1), ~odd, later(m, self.old, 2)).as_signed()
        m.d.sync += base.eq(old + (product << shift if shift >= 0 else product >> -shift))

        # The next row's maximum: its new value if that is above its other entries.
        unclipped = Signal(signed(p.q_width + 2))  # the new value of the row before
        above = Signal()
        below = Signal()
        m.d.comb += [
            above.eq(~unclipped[-1] & unclipped[p.q_width - 1 : -1].any()),
            below.eq(unclipped[-1] & ~unclipped[p.q_width - 1 : -1].all()),
        ]
        term = signed(p.q_width + GUARD + 1)
        others = Signal.like(unclipped)
        others_term = Signal(term)
        largest_term = Signal(term)
        use_new = Signal()
        legal = Signal()
        multiplicand = Mux(primed_3, p.q_max, self.maximum)
        busy = later(m, running, row_reader.LATENCY)
        m.d.sync += [others.eq(self.maximum), legal.eq(later(m, self.legal, 3))]
        with m.If(primed_3 | busy):
            m.d.sync += others_term.eq((multiplicand * discount_factor) >> (frac - GUARD))
        with m.Else():
            m.d.sync += others_term.eq(0)  # nothing follows the last row
        primed_4 = later(m, primed_3, 1)
        with m.If(primed_4):
            m.d.sync += largest_term.eq(others_term)
        valid = Signal()
        m.d.sync += valid.eq(busy)
        m.d.comb += use_new.eq(valid & legal & less(others, unclipped) & ~above)
        m.submodules.sum = total = ChosenSum(len(base))
        m.d.comb += [
            total.base.eq(base),
            total.choice.eq(use_new),
            total.if_chosen.eq((unclipped * loop_factor) >> (frac - GUARD)),
            total.otherwise.eq(Mux(valid & legal & above, largest_term, others_term)),
        ]
        m.d.sync += unclipped.eq(total.sum >> GUARD)

        row, action = later(m, counter, row_reader.LATENCY + 1), later(m, self.action, row_reader.LATENCY)
        m.d.comb += [
            self.write_en.eq(valid & legal),
            self.bad_action.eq(valid & ~legal),
            self.write_row.eq(row),
            self.write_action.eq(action),
            self.write_value.eq(Mux(above, p.q_max, Mux(below, p.q_min, unclipped))),
            self.done.eq(later(m, running & is_first, row_reader.LATENCY + 1)),
        ]
        return m
