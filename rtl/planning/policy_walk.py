"""A walk along a policy, and the sums over its rows."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.planning.memories import COST
from rtl.primitives.interface import Interface
from rtl.primitives.pipeline import later
from rtl.spec.params import ACTION_WIDTH, DOUBT_FRAC, DOUBTS, TRIALS_WIDTH, RLUParams


class WalkSignature(Interface):
    """The order for a walk, seen from who gives it.

    Members
    -------
    start : Out(1)
        Begin; not to be given again before ``done``.
    stored : Out(1)
        With ``start``: along the policy of the stored episode that is read, not along POLICY.
    done : In(1)
        High for one cycle ``states + 6`` cycles after ``start``; the sums are right from then until the next start,
        those of latency and energy from the next cycle on.
    """

    def __init__(self):
        super().__init__({"start": Out(1), "stored": Out(1), "done": In(1)})


def visit_layout(params: RLUParams) -> data.StructLayout:
    """A row that a walk visits: its number and action, and what both add to a prediction.

    ``legal`` says whether the row has the ``action``; ``doubt``, ``latency`` and ``energy`` are 0 where nothing is
    added. ``latency`` and ``energy`` are those of the row visited a cycle ago. ``effect`` belongs to ``effect_action``,
    which in the last row is 0, for the constant; ``has_effect`` says whether the row has that action.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "row": params.row_width,
            "effect_action": ACTION_WIDTH,
            "has_effect": 1,
            "effect": signed(params.q_width),
            "action": ACTION_WIDTH,
            "legal": 1,
            "trials": TRIALS_WIDTH,
            "doubt": DOUBT_FRAC + 1,
            "latency": 16,
            "energy": 16,
        }
    )


class PolicyWalk(wiring.Component):
    """Visits the rows of a policy from the last, which has the operating point, to the first.

    Latency: ``visit`` shows the last row 6 cycles after ``start``, the first one ``states + 5``. Throughput: one row
    per cycle.

    Parameters
    ----------
    params : RLUParams
        With ``points`` above 0.

    Members
    -------
    order : In(WalkSignature())
        Starts the walk.
    states : In(bits for 0..states)
        Rows in use, at least 1.
    early_row : Out(row_width)
        Row wanted from the memory of stored policies, a cycle before the others: its answer goes into a register.
    walking : Out(1)
        Rows are asked for, from the others.
    read_row : Out(row_width)
        Row wanted from the Q-table and the policy store.
    stored : Out(1)
        The answer must be a stored policy's action.
    action, last : In(4)
        The answers, a cycle later: the row's action in the policy, and its highest action.
    effect_action : Out(4)
        The action that the row reader must take (combinational).
    old, legal : In
        The row reader's answer.
    trials_row : Out(row_width)
        Row wanted from the memory of trials.
    trials : In(ArrayLayout(TRIALS_WIDTH, actions))
        Its answer a cycle later.
    cost_point, cost_row, cost_action : Out
        Word wanted from the memory of costs.
    cost : In(COST)
        Its answer two cycles later, from a register.
    visit : Out(visit_layout(params))
        The row visited.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "order": In(WalkSignature()),
                "states": In(params.states.bit_length()),
                "early_row": Out(params.row_width),
                "walking": Out(1),
                "read_row": Out(params.row_width),
                "stored": Out(1),
                "action": In(ACTION_WIDTH),
                "last": In(ACTION_WIDTH),
                "effect_action": Out(ACTION_WIDTH),
                "old": In(signed(params.q_width)),
                "legal": In(1),
                "trials_row": Out(params.row_width),
                "trials": In(data.ArrayLayout(TRIALS_WIDTH, params.actions)),
                "cost_point": Out(ACTION_WIDTH),
                "cost_row": Out(params.row_width),
                "cost_action": Out(ACTION_WIDTH),
                "cost": In(COST),
                "visit": Out(visit_layout(params)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        running, is_last, is_first = Signal(), Signal(), Signal()
        early, asked, asks_last = self.early_row, Signal(), Signal()
        m.d.comb += is_first.eq(early == 0)
        with m.If(running):
            m.d.sync += [early.eq(early - 1), is_last.eq(0)]
            with m.If(is_first):
                m.d.sync += running.eq(0)
        with m.Elif(self.order.start):
            m.d.sync += [running.eq(1), early.eq(self.states - 1), is_last.eq(1), self.stored.eq(self.order.stored)]

        row = self.read_row
        m.d.sync += [asked.eq(running), row.eq(early), asks_last.eq(is_last)]
        m.d.comb += self.walking.eq(asked)

        # A cycle after the request: the action. The last row comes first, and its action is the operating point.
        answers_last = later(m, asks_last, 1)
        action, last = Signal(ACTION_WIDTH), Signal(ACTION_WIDTH)
        m.d.comb += [
            self.effect_action.eq(Mux(answers_last, 0, self.action)),
            self.trials_row.eq(later(m, row, 1)),
        ]
        m.d.sync += [action.eq(self.action), last.eq(self.last)]
        with m.If(answers_last):
            m.d.sync += self.cost_point.eq(self.action)

        # Two cycles after it: its trials, and where its costs are.
        known = Signal()
        trials = Signal(TRIALS_WIDTH)
        m.d.comb += [self.cost_row.eq(later(m, row, 2)), self.cost_action.eq(action)]
        legal = Signal()
        m.d.sync += [
            legal.eq(~(last < action)),
            known.eq(~(last < action) & (self.cost_point < p.points)),
            trials.eq(Array(self.trials[i] for i in range(p.actions))[action]),
        ]

        # Three cycles after it: its doubt.
        visit = self.visit
        of_last = later(m, asks_last, 3)
        doubt = Array(DOUBTS)[Mux(trials < len(DOUBTS), trials, len(DOUBTS) - 1)]
        m.d.sync += [
            visit.legal.eq(legal),
            visit.trials.eq(trials),
            visit.doubt.eq(Mux(legal & ~of_last, doubt, 0)),
        ]
        # Four cycles after it: its costs.
        has_costs = later(m, known, 1)
        m.d.sync += [
            visit.latency.eq(Mux(has_costs, self.cost.latency, 0)),
            visit.energy.eq(Mux(has_costs, self.cost.energy, 0)),
        ]
        m.d.comb += [
            visit.valid.eq(later(m, asked, 4)),
            visit.row.eq(later(m, row, 4)),
            visit.action.eq(later(m, action, 2)),
            visit.effect_action.eq(later(m, Mux(later(m, answers_last, 1), 0, action), 2)),
            visit.has_effect.eq(self.legal),
            visit.effect.eq(self.old),
            self.order.done.eq(later(m, running & is_first, 6)),
        ]
        return m


def sums_layout(params: RLUParams) -> data.StructLayout:
    """Sums over the rows of a policy: nothing is limited, and nothing wraps."""
    return data.StructLayout(
        {
            "effects": signed(params.q_width + params.row_width),
            "doubts": DOUBT_FRAC + params.row_width,
            "latency": 16 + params.row_width,
            "energy": 16 + params.row_width,
        }
    )


class PolicySums(wiring.Component):
    """Adds up what the rows of a walk add.

    Latency 1 cycle from a row to the sums, 2 to those of latency and energy, whose values come a cycle after the rest
    of their row; throughput one row per cycle.

    Parameters
    ----------
    params : RLUParams
        With ``points`` above 0.

    Members
    -------
    start : In(1)
        Begin with sums of 0.
    visit : In(visit_layout(params))
        A row.
    sums : Out(sums_layout(params))
        The sums over the rows before.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__({"start": In(1), "visit": In(visit_layout(params)), "sums": Out(sums_layout(params))})

    def elaborate(self, platform):
        m = Module()
        visit, sums = self.visit, self.sums
        visited = later(m, visit.valid, 1)
        with m.If(self.start):
            m.d.sync += sums.eq(0)
        with m.Else():
            with m.If(visit.valid):
                m.d.sync += sums.doubts.eq(sums.doubts + visit.doubt)
            with m.If(visit.valid & visit.has_effect):
                m.d.sync += sums.effects.eq(sums.effects + visit.effect)
            with m.If(visited):
                m.d.sync += [
                    sums.latency.eq(sums.latency + visit.latency),
                    sums.energy.eq(sums.energy + visit.energy),
                ]
        return m
