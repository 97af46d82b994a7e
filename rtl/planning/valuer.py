"""What a policy is worth: the score that is believed, or what is to be gained from trying it."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from rtl.planning.multiplier import ProductSignature
from rtl.planning.policy_walk import sums_layout
from rtl.primitives.fixed import less, saturated, shifted
from rtl.primitives.interface import Interface
from rtl.primitives.pipeline import later
from rtl.spec.params import (
    DOUBT_FRAC,
    HOPES,
    RLUParams,
    accuracy_width,
    doubt_width,
    effect_shift,
    missed_worth,
    worth_width,
)
from rtl.spec.registers import BY_NAME, field_of


class ScoreSignature(Interface):
    """Use of the reward calculator, seen from the user: scores without rewards.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    accuracy : Out(coef_width)
        In place of the measurement, steady until ``scored``.
    latency, energy : Out(16 + row_width)
        The same; more than 1.0 counts as 1.0.
    start : Out(1)
        Compute the score.
    again : Out(1)
        Compute it for another accuracy; latency and energy must be those of the last ``start``.
    scored : In(1)
        High for one cycle, 17 cycles after ``start``, 5 after ``again``.
    score : In(q_width - 1)
        With ``scored`` and until the next one: the score, whatever the thresholds.
    low : In(1)
        ``accuracy`` does not pass its threshold (combinational).
    missed : In(1)
        ``latency`` or ``energy`` does not pass its threshold (combinational).
    """

    def __init__(self, params: RLUParams):
        cost = Out(16 + params.row_width)
        super().__init__(
            {
                "accuracy": Out(params.coef_width),
                "latency": cost,
                "energy": cost,
                "start": Out(1),
                "again": Out(1),
                "scored": In(1),
                "score": In(params.q_width - 1),
                "low": In(1),
                "missed": In(1),
            }
        )


def fraction(params: RLUParams, value):
    """A signed accuracy limited to 0..1.0 (combinational)."""
    whole = Mux(value[params.coef_frac :].any(), params.coef_one, value[: params.coef_frac])
    return Mux(value[-1], 0, whole)


def accuracy_of(params: RLUParams, effects):
    """A sum of effects as an accuracy, limited (combinational)."""
    return saturated(shifted(effects, -effect_shift(params)), accuracy_width(params))


def _times(value, power):
    """A value times plus or minus a power of two, without a multiplier (combinational)."""
    bits = exact_log2(abs(power))
    return value << bits if power > 0 else -(value << bits)


class Valuer(wiring.Component):
    """Turns the sums over a policy's rows into its worth (docs/understand/planning.md).

    Latency from ``start`` to ``done``: 2 cycles if the costs miss a threshold, 19 for a single score, 40 for one at
    each of the four hopes.

    Parameters
    ----------
    params : RLUParams
        With ``points`` above 0.

    Members
    -------
    start : In(1)
        Begin; not to be given again before ``done``.
    sums : In(sums_layout(params))
        Of the policy, with ``start``; latency and energy from the next cycle until ``done``.
    measured : In(1)
        With ``start`` and a cycle later: believe ``measured_accuracy``, without doubt, in place of the prediction.
    measured_accuracy : In(coef_width)
        See above.
    hopeful : In(1)
        What is to be gained from trying it; else the score that is believed. Steady until ``done``.
    known : In(q_width - 1)
        The score that is known already, for hopes; steady until ``done``.
    planning, doubt : In
        The registers PLANNING and DOUBT.
    multiplier : Out(ProductSignature())
        The planner's multiplier.
    score : Out(ScoreSignature(params))
        The reward calculator.
    done : Out(1)
        High for one cycle.
    worth : Out(signed(worth_width(params)))
        With ``done``, if ``hopeful`` a cycle later, and until the next start.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "sums": In(sums_layout(params)),
                "measured": In(1),
                "measured_accuracy": In(params.coef_width),
                "hopeful": In(1),
                "known": In(params.q_width - 1),
                "planning": In(BY_NAME["PLANNING"].width(params)),
                "doubt": In(BY_NAME["DOUBT"].width(params)),
                "multiplier": Out(ProductSignature()),
                "score": Out(ScoreSignature(params)),
                "done": Out(1),
                "worth": Out(signed(worth_width(params))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        sums, score, multiplier = self.sums, self.score, self.multiplier
        caution = field_of("PLANNING", "caution")
        accuracy = Signal(signed(accuracy_width(p)))
        doubt = Signal(doubt_width(p))
        hope = Signal(range(len(HOPES)))
        # What is added to the accuracy, in a register before it is: quarters of the doubt for each hope, in the cycle
        # before its number counts; the caution takes its own share off.
        scoring = Signal()
        added = Signal(signed(doubt_width(p) + 5))
        with m.If(~self.hopeful):
            m.d.sync += added.eq(-multiplier.product)
        with m.Else(), m.Switch(hope + scoring):
            for i, (quarters, _) in enumerate(HOPES):
                with m.Case(i):
                    m.d.sync += added.eq(_times(doubt, quarters) >> 2)
        gained = Signal(signed(p.q_width + 1))
        # What a further hope adds, a cycle after its score.
        gained_then, hope_then, adding = later(m, gained, 1), later(m, hope, 1), Signal()
        weighed = Signal(signed(len(gained) + 2))
        with m.Switch(hope_then):
            for i, (_, weight) in enumerate(HOPES):
                with m.Case(i):
                    m.d.comb += weighed.eq(_times(gained_then, weight))
        m.d.sync += adding.eq(scoring & score.scored & (hope != 0) & ~score.low & ~gained[-1])
        with m.If(adding):
            m.d.sync += self.worth.eq(self.worth + weighed)
        low = (score.accuracy - p.coef_one - 1).as_signed()
        m.d.comb += gained.eq(score.score - self.known)

        m.d.comb += [score.latency.eq(sums.latency), score.energy.eq(sums.energy)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [multiplier.coefficient.eq(self.doubt), multiplier.other.eq(sums.doubts)]
                with m.If(self.start):
                    m.d.sync += [
                        accuracy.eq(Mux(self.measured, self.measured_accuracy, accuracy_of(p, sums.effects))),
                        hope.eq(0),
                    ]
                    m.next = "COSTS"
            with m.State("COSTS"):
                m.next = "DOUBT"
                with m.If(score.missed):
                    m.d.sync += self.worth.eq(missed_worth(p))
                    m.next = "DONE"
                with m.Else():
                    m.d.comb += score.start.eq(1)
            with m.State("DOUBT"):
                exact = multiplier.product[DOUBT_FRAC:-1]
                limited = Mux(exact[len(doubt) :].any(), ~Const(0, len(doubt)), exact[: len(doubt)])
                m.d.sync += doubt.eq(Mux(self.measured, 0, limited))
                m.next = "CAUTION"
            with m.State("CAUTION"):
                m.d.comb += [
                    multiplier.coefficient.eq(self.planning[caution.lsb : caution.lsb + caution.width]),
                    multiplier.other.eq(doubt),
                ]
                m.next = "WAIT"
            with m.State("WAIT"):
                m.next = "ADD"
            with m.State("ADD"):
                m.next = "AT"
            with m.State("AT"):
                m.d.sync += score.accuracy.eq(fraction(p, accuracy + added))
                m.next = "SCORE"
                with m.If(hope != 0):
                    m.next = "AGAIN"
            with m.State("AGAIN"):
                m.d.comb += score.again.eq(1)
                m.next = "SCORE"
            with m.State("SCORE"):
                m.d.comb += scoring.eq(1)
                with m.If(score.scored):
                    m.d.sync += hope.eq(hope + 1)
                    m.next = "DONE"
                    with m.If(hope == 0):
                        m.d.sync += self.worth.eq(Mux(score.low, low, score.score))
                        with m.If(self.hopeful & ~score.low & less(Const(0, signed(len(gained))), gained)):
                            m.next = "AT"
                    with m.Elif(hope != len(HOPES) - 1):
                        m.next = "AT"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m


assert HOPES[0][1] == 1  # the first hope's gain on what is known is its score
