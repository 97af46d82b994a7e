"""Q-table updater: walks the policy from its last row to its first."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .fixed import round_half_even, saturate
from .params import RLUParams
from .row_max import RowMax


class QTableUpdater(wiring.Component):
    """Updates one entry a row, in reverse order along the policy (Chen 2023, chapter 2).

    Last row: ``Q <- (1 - alpha) Q + alpha r``; the others: ``Q <- (1 - alpha) Q + alpha (r + gamma M)``,
    where ``M`` is the maximum of the next row after that row's own update. Rounding and saturation are
    fixed in docs/arithmetic.md, "Updating". A row whose action is not below its count is left alone
    and ``bad_action`` is raised.

    Latency: the last write is made ``2 * states + 3`` cycles after ``start``. Throughput: two cycles a row.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    start : In(1)
        Begin; ignored while rows are read, and not to be given again before ``done``.
    done : Out(1)
        High for one cycle, together with the last write.
    states : In(bits for 0..states)
        Rows of the policy, at least 1.
    alpha, gamma : In(coef_width)
        Learning rate and discount, 0..1.0.
    share : In(signed(q_width))
        Reward of every row.
    last_reward : In(signed(q_width))
        Reward of the last row.
    read_row : Out(row_width)
        Row wanted from the Q-table and the policy store, which answer a cycle later.
    row : In(ArrayLayout(signed(q_width), actions))
        That row's Q-values.
    action, count : In
        That row's action in the policy and its number of actions.
    write_en, write_row, write_action, write_value : Out
        The new Q-value.
    bad_action : Out(1)
        High for one cycle when a row's action is not one of its own.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "done": Out(1),
                "states": In(params.states.bit_length()),
                "alpha": In(params.coef_width),
                "gamma": In(params.coef_width),
                "share": In(signed(params.q_width)),
                "last_reward": In(signed(params.q_width)),
                "read_row": Out(params.row_width),
                "row": In(data.ArrayLayout(signed(params.q_width), params.actions)),
                "action": In(4),
                "count": In(5),
                "write_en": Out(1),
                "write_row": Out(params.row_width),
                "write_action": Out(4),
                "write_value": Out(signed(params.q_width)),
                "bad_action": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params

        # Even cycles ask for a row, odd ones receive it.
        running, odd = Signal(), Signal()
        counter = Signal(p.row_width)
        m.d.comb += self.read_row.eq(counter)
        with m.If(running):
            m.d.sync += odd.eq(~odd)
            with m.If(odd):
                m.d.sync += counter.eq(counter - 1)
                with m.If(counter == 0):
                    m.d.sync += running.eq(0)
        with m.Elif(self.start):
            m.d.sync += [running.eq(1), odd.eq(0), counter.eq(self.states - 1)]
        arrived = Signal()
        m.d.comb += arrived.eq(running & odd)

        # The row has arrived: start on the maximum of all its entries but the one to be updated, and
        # hold what else is needed for the two cycles that takes. The next row arrives just after.
        m.submodules.row_max = row_max = RowMax(p)
        m.d.comb += [
            row_max.row.eq(self.row),
            row_max.mask.eq(((Const(1, 17) << self.count) - 1) & ~(Const(1, 16) << self.action)),
        ]
        is_last, legal, action_exists = Signal(), Signal(), Signal()
        old_value = Signal(signed(p.q_width))
        action, row = Signal(4), Signal(p.row_width)
        m.d.comb += action_exists.eq(self.action < self.count)
        with m.If(arrived):
            m.d.sync += [
                is_last.eq(counter == self.states - 1),
                legal.eq(action_exists),
                # Selecting beyond the row's end would be undefined in Verilog.
                old_value.eq(Mux(action_exists, self.row[self.action], 0)),
                action.eq(self.action),
                row.eq(counter),
            ]
        discounting, computing = Signal(), Signal()
        m.d.sync += [discounting.eq(arrived), computing.eq(discounting)]

        # First compute cycle: gamma times the maximum of the row updated before, nothing for the last row.
        row_maximum = Signal(signed(p.q_width))
        discounted = Signal(signed(p.q_width))
        with m.If(discounting):
            m.d.sync += discounted.eq(Mux(is_last, 0, round_half_even(row_maximum * self.gamma, p.coef_frac)))

        # Second compute cycle: the new value, and with it the row's maximum.
        reward, error = Signal(signed(p.q_width)), Signal(signed(p.q_width + 2))
        exact = Signal(signed(p.q_width + p.coef_frac + 4))
        new_value = Signal(signed(p.q_width))
        m.d.comb += [
            reward.eq(Mux(is_last, self.last_reward, self.share)),
            error.eq(reward + discounted - old_value),
            exact.eq((old_value << p.coef_frac) + self.alpha * error),
            new_value.eq(saturate(round_half_even(exact, p.coef_frac), p.q_min, p.q_max, p.q_width)),
        ]
        m.d.sync += [self.write_en.eq(0), self.bad_action.eq(0), self.done.eq(0)]
        with m.If(computing):
            m.d.sync += [
                row_maximum.eq(Mux(legal & (new_value > row_max.value), new_value, row_max.value)),
                self.write_en.eq(legal),
                self.bad_action.eq(~legal),
                self.write_row.eq(row),
                self.write_action.eq(action),
                self.write_value.eq(new_value),
                self.done.eq(row == 0),
            ]
        return m
