"""Policy sampler: epsilon-greedy choice of one action a row, one row a cycle."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .lfsr import leap
from .params import RLUParams
from .row_max import RowMax


class PolicySampler(wiring.Component):
    """Draws a new policy, first row first.

    Each row takes two draws from the LFSR, whether they are used or not. A draw advances it by its
    whole width. The first decides between exploring and the greedy action, the second is the random
    action (docs/arithmetic.md, "Drawing").

    Latency: the last action is written ``states + 3`` cycles after ``start``. Throughput: one row a cycle.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    start : In(1)
        Begin; ignored while rows are read, and not to be given again before ``done``.
    done : Out(1)
        High for the one cycle after the last action was written.
    states : In(bits for 0..states)
        Rows to sample, at least 1.
    epsilon : In(coef_width)
        Probability of exploring, 0..1.0.
    lfsr_load : In(1)
        Take ``lfsr_value`` as the LFSR's state; only while not running.
    lfsr_value : In(lfsr_width)
        New state, not 0.
    lfsr : Out(lfsr_width)
        State of the LFSR.
    read_row : Out(row_width)
        Row wanted from the Q-table and the policy store, which answer a cycle later.
    row : In(ArrayLayout(signed(q_width), actions))
        That row's Q-values.
    count : In(5)
        That row's number of actions.
    write_en, write_row, write_action : Out
        The action chosen for a row.
    explored : Out(1)
        With ``write_en``: the action is the random one.
    draw_en, draw_row, draw_decision, draw_choice : Out
        The two numbers drawn for a row.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "done": Out(1),
                "states": In(params.states.bit_length()),
                "epsilon": In(params.coef_width),
                "lfsr_load": In(1),
                "lfsr_value": In(params.lfsr_width),
                "lfsr": Out(params.lfsr_width, init=1),
                "read_row": Out(params.row_width),
                "row": In(data.ArrayLayout(signed(params.q_width), params.actions)),
                "count": In(5),
                "write_en": Out(1),
                "write_row": Out(params.row_width),
                "write_action": Out(4),
                "explored": Out(1),
                "draw_en": Out(1),
                "draw_row": Out(params.row_width),
                "draw_decision": Out(params.lfsr_width),
                "draw_choice": Out(params.lfsr_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        width = p.lfsr_width

        # Exploring when decision <= limit happens for limit of the 2**width - 1 states: never for
        # epsilon = 0 and always for 1.0, although the LFSR never shows 0.
        limit = Signal(width)
        scaled = (self.epsilon << width) - self.epsilon
        m.d.sync += limit.eq((scaled + (1 << (p.coef_frac - 1))) >> p.coef_frac)

        running = Signal()
        counter, last = Signal(p.row_width), Signal()
        m.d.comb += [self.read_row.eq(counter), last.eq(counter == self.states - 1)]
        with m.If(running):
            m.d.sync += counter.eq(counter + 1)
            with m.If(last):
                m.d.sync += [counter.eq(0), running.eq(0)]
        with m.Elif(self.start):
            m.d.sync += running.eq(1)

        # Stage 1: the row has arrived; draw for it.
        valid_1, last_1 = Signal(), Signal()
        row_1 = Signal(p.row_width)
        m.d.sync += [valid_1.eq(running), last_1.eq(running & last), row_1.eq(counter)]
        decision, choice = leap(self.lfsr, width, width), leap(self.lfsr, width, 2 * width)
        m.d.comb += [
            self.draw_en.eq(valid_1),
            self.draw_row.eq(row_1),
            self.draw_decision.eq(decision),
            self.draw_choice.eq(choice),
        ]
        with m.If(valid_1):
            m.d.sync += self.lfsr.eq(choice)
        with m.Elif(self.lfsr_load):
            m.d.sync += self.lfsr.eq(self.lfsr_value)
        m.submodules.row_max = row_max = RowMax(p)
        m.d.comb += [
            row_max.row.eq(self.row),
            row_max.mask.eq((Const(1, 17) << self.count) - 1),
        ]

        # Stages 2 and 3: the maximum is being found; the random action waits for it.
        valid_2, last_2, explore_2 = Signal(), Signal(), Signal()
        valid_3, last_3, explore_3 = Signal(), Signal(), Signal()
        row_2, row_3 = Signal(p.row_width), Signal(p.row_width)
        random_2, random_3 = Signal(4), Signal(4)
        m.d.sync += [
            valid_2.eq(valid_1), last_2.eq(last_1), row_2.eq(row_1),
            explore_2.eq(decision <= limit), random_2.eq((choice * self.count) >> width),
            valid_3.eq(valid_2), last_3.eq(last_2), row_3.eq(row_2),
            explore_3.eq(explore_2), random_3.eq(random_2),
            self.done.eq(last_3),
        ]  # fmt: skip
        m.d.comb += [
            self.write_en.eq(valid_3),
            self.write_row.eq(row_3),
            self.explored.eq(explore_3),
            self.write_action.eq(Mux(explore_3, random_3, row_max.index)),
        ]
        return m
