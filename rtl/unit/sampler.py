"""Policy sampler: epsilon-greedy choice of one action per row, one row per cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.lfsr import leap
from rtl.primitives.pipeline import later
from rtl.spec.params import RLUParams
from rtl.unit import row_reader


class PolicySampler(wiring.Component):
    """Draws a new policy, first row first.

    Each row takes two draws from the LFSR, used or not. A draw advances it by its
    whole width. The first decides between exploring and the greedy action; the second gives the random
    action (docs/understand/arithmetic.md, "Drawing").

    Latency: the last action is written ``states + 7`` cycles after ``start``. Throughput: one row per cycle.

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
        Rows to sample, at least 1.
    epsilon : In(coef_width)
        Probability of exploring, 0..1.0.
    vary, explore, parent, lfsr_advance : In
        Only in a unit with episode memory. ``vary``: rows that do not explore take ``parent``, which comes with
        ``count``, in place of the greedy action. ``explore``: every row explores. ``lfsr_advance``: advance the LFSR
        by its width, only while not running.
    lfsr_load : In(1)
        Take ``lfsr_value`` as the LFSR's state; only while not running.
    lfsr_value : In(lfsr_width)
        New state, not 0.
    lfsr : Out(lfsr_width)
        State of the LFSR.
    read_row : Out(row_width)
        Row wanted from the Q-table and the policy store.
    count : In(5)
        The policy store's answer: number of actions of that row.
    greedy : In(4)
        The row reader's answer: the row's best action.
    factor_a, factor_b : Out
        To a multiplier that the block shares.
    product : In(lfsr_width + 5)
        The product of the factors given a cycle ago.
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
                "count": In(5),
                "greedy": In(4),
                "factor_a": Out(params.lfsr_width),
                "factor_b": Out(5),
                **(
                    {"vary": In(1), "explore": In(1), "parent": In(4), "lfsr_advance": In(1)} if params.episodes else {}
                ),
                "product": In(params.lfsr_width + 5),
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

        # A row explores if decision <= limit. The LFSR is never 0, so that holds for limit of its 2**width - 1
        # states: for none if epsilon is 0, for all if it is 1.0.
        explores = Signal()
        decision = Signal(width)
        decided = later(m, decision, 1)
        half = 1 << (p.coef_frac - 1)
        if width < p.coef_frac:
            limit = Signal(width)
            m.d.sync += limit.eq(((self.epsilon << width) + half - self.epsilon) >> p.coef_frac)
            m.d.comb += explores.eq(~(limit < decided))
        else:
            # limit is epsilon shifted, less one if epsilon is above a half; that one is appended as a last bit.
            above_half = Signal()
            m.d.sync += above_half.eq(half < self.epsilon)
            limit = Cat(~above_half, Const(0, width - p.coef_frac), self.epsilon)
            m.d.comb += explores.eq(Cat(Const(0, 1), decided) < limit)

        running = Signal()
        counter = Signal(p.row_width)
        last = Signal()
        m.d.comb += [self.read_row.eq(counter), last.eq(counter == self.states - 1)]
        with m.If(running):
            m.d.sync += counter.eq(counter + 1)
            with m.If(last):
                m.d.sync += [counter.eq(0), running.eq(0)]
        with m.Elif(self.start):
            m.d.sync += running.eq(1)

        # The row's count has arrived: draw the row's two numbers. The second one stays in the LFSR.
        drawing = Signal()
        row = Signal(p.row_width)
        choice = leap(self.lfsr, width, 2 * width)
        m.d.sync += [drawing.eq(running), row.eq(counter)]
        m.d.comb += [
            decision.eq(leap(self.lfsr, width, width)),
            self.draw_en.eq(drawing),
            self.draw_row.eq(row),
            self.draw_decision.eq(decision),
            self.draw_choice.eq(choice),
        ]
        with m.If(drawing):
            m.d.sync += self.lfsr.eq(choice)
        if p.episodes:
            with m.Elif(self.lfsr_advance):
                m.d.sync += self.lfsr.eq(decision)
        with m.Elif(self.lfsr_load):
            m.d.sync += self.lfsr.eq(self.lfsr_value)

        # The multiplier registers its factors and gives the random action, which waits for the greedy one.
        explore = Signal()
        if p.episodes:
            explores = explores | self.explore
        count = Signal(5)
        random = Signal(4)
        m.d.sync += [explore.eq(explores), count.eq(self.count), random.eq(self.product >> width)]
        m.d.comb += [self.factor_a.eq(self.lfsr), self.factor_b.eq(count)]
        wait = row_reader.LATENCY - 1
        known = self.greedy if not p.episodes else Mux(self.vary, later(m, self.parent, wait - 1), self.greedy)
        m.d.comb += [
            self.write_en.eq(later(m, drawing, wait)),
            self.write_row.eq(later(m, row, wait)),
            self.explored.eq(later(m, explore, wait - 2)),
            self.write_action.eq(Mux(self.explored, later(m, random, wait - 3), known)),
            self.done.eq(later(m, running & last, wait + 1)),
        ]
        return m
