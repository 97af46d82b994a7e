"""Learning of effects: a trial is stored and counted, then the effects of all stored policies are corrected."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.planning.multiplier import OTHER_WIDTH, ProductSignature
from rtl.planning.policy_walk import WalkSignature, sums_layout, visit_layout
from rtl.planning.settings import at_least_one
from rtl.primitives.fixed import round_half_up, saturated, shifted
from rtl.spec.params import TRIALS_WIDTH, UNKNOWN, RLUParams, effect_shift, error_width
from rtl.spec.registers import BY_NAME, field_of


class EffectLearner(wiring.Component):
    """The command update in planning mode (docs/understand/planning.md).

    It stores the policy with its accuracy, counts its actions' trials, and then visits all stored episodes ``passes``
    times, the newest first. An episode's policy is walked twice: for the sum of its effects, then to add the same
    step to each of them.

    Latency: `planned_update_cycles` of ``rtl.spec.params``; ``2 states + 19`` cycles for an episode that was measured,
    4 for another.

    Parameters
    ----------
    params : RLUParams
        With ``points`` above 0.

    Members
    -------
    start : In(1)
        Begin; not to be given again before ``done``.
    done : Out(1)
        High for one cycle.
    missed : In(1)
        The policy's latency or energy missed its threshold, so its accuracy was not measured.
    accuracy, alpha : In(coef_width)
        The registers ACCURACY and ALPHA.
    states : In(bits for 0..states)
        Rows in use, at least 1.
    planning, ridge : In
        The registers PLANNING and RIDGE.
    started : In(1)
        An accuracy was measured since the last clear.
    starts : Out(1)
        High for one cycle: the first accuracy has been measured.
    stored, place, stored_now, first, second : In
        See `PlannerPort`, and so are the next three; ``first`` and ``second`` come a cycle later.
    store, store_accuracy, episode : Out
        ``episode`` is read, and written.
    part, part_en : Out
        The episode's new part of the effects.
    walk : Out(WalkSignature())
        Starts the walks.
    visit, sums : In
        Of the walk.
    multiplier : Out(ProductSignature())
        The planner's multiplier.
    write_en, write_row, write_action, write_value : Out
        A new effect, for the Q-table.
    trials_mask : Out(actions)
        Actions of ``visit.row`` whose count of trials becomes ``trials``.
    trials : Out(TRIALS_WIDTH)
        See above.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        coef, episode = In(params.coef_width), range(params.episodes)
        super().__init__(
            {
                "start": In(1),
                "done": Out(1),
                "missed": In(1),
                "accuracy": coef,
                "alpha": coef,
                "states": In(params.states.bit_length()),
                "planning": In(BY_NAME["PLANNING"].width(params)),
                "ridge": In(BY_NAME["RIDGE"].width(params)),
                "started": In(1),
                "starts": Out(1),
                "stored": In(params.stored_width),
                "place": In(episode),
                "stored_now": In(1),
                "first": In(16),
                "second": In(16),
                "store": Out(1),
                "store_accuracy": Out(16),
                "episode": Out(episode),
                "part": Out(16),
                "part_en": Out(1),
                "walk": Out(WalkSignature()),
                "visit": In(visit_layout(params)),
                "sums": In(sums_layout(params)),
                "multiplier": Out(ProductSignature()),
                "write_en": Out(1),
                "write_row": Out(params.row_width),
                "write_action": Out(4),
                "write_value": Out(signed(params.q_width)),
                "trials_mask": Out(params.actions),
                "trials": Out(TRIALS_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        q, visit, multiplier = p.q_width, self.visit, self.multiplier
        passes_left = Signal(field_of("PLANNING", "passes").width)
        episodes_left = Signal(p.stored_width)
        counting, moving = Signal(), Signal()
        step = Signal(signed(error_width(p)))
        m.d.comb += self.store_accuracy.eq(Mux(self.missed, UNKNOWN, self.accuracy))

        # What the sum of effects should be: the accuracy, less the ridge times the episode's part.
        accuracy = Mux(self.first[p.coef_frac :].any(), p.coef_one, self.first[: p.coef_frac])
        expected = round_half_up(multiplier.product, p.gain_frac)
        aim = Signal(signed(len(expected) + 1))
        m.d.sync += aim.eq(shifted(accuracy, effect_shift(p)) - expected)
        error = saturated(aim - self.sums.effects, error_width(p))
        assert error_width(p) <= OTHER_WIDTH
        m.d.comb += [multiplier.coefficient.eq(self.alpha), multiplier.other.eq(error)]

        # A count of trials, and an effect a cycle later.
        m.d.comb += self.trials.eq(Mux(visit.trials.all(), visit.trials, visit.trials + 1))
        with m.If(counting & visit.valid & visit.legal):
            m.d.comb += self.trials_mask.eq(1 << visit.action)
        m.d.sync += [
            self.write_en.eq(moving & visit.valid & visit.has_effect),
            self.write_row.eq(visit.row),
            self.write_action.eq(visit.effect_action),
            self.write_value.eq(saturated(visit.effect + step, q)),
        ]
        m.d.sync += [self.part.eq(saturated(self.second.as_signed() + step, q)), self.part_en.eq(0)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += passes_left.eq(at_least_one(self.planning, "PLANNING", "passes"))
                with m.If(self.start):
                    m.d.comb += self.store.eq(1)
                    m.next = "STORE"
            with m.State("STORE"), m.If(self.stored_now):
                m.next = "PASS"
                with m.If(~self.missed):
                    m.d.comb += self.walk.start.eq(1)
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += counting.eq(1)
                with m.If(self.walk.done):
                    m.next = "PASS"
                    with m.If(~self.started):
                        m.next = "CONSTANT"
            with m.State("CONSTANT"):
                m.d.comb += self.starts.eq(1)
                m.d.sync += [
                    self.write_en.eq(1),
                    self.write_row.eq(self.states - 1),
                    self.write_action.eq(0),
                    self.write_value.eq(saturated(Cat(shifted(self.accuracy, effect_shift(p)), 0).as_signed(), q)),
                ]
                m.next = "PASS"
            with m.State("PASS"):
                m.d.sync += [
                    self.episode.eq(self.place - 1),
                    episodes_left.eq(self.stored),
                    passes_left.eq(passes_left - 1),
                ]
                m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "LOOKED"
            with m.State("LOOKED"):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.comb += self.walk.stored.eq(1)
                m.next = "NEXT"
                with m.If(self.first != UNKNOWN):
                    m.d.comb += self.walk.start.eq(1)
                    m.next = "SUM"
            with m.State("SUM"):
                with m.If(self.walk.done):
                    m.next = "PRODUCT"
                with m.Else():  # long enough for the product and the aim
                    m.d.comb += [
                        multiplier.coefficient.eq(self.ridge),
                        multiplier.other.eq(self.second.as_signed()),
                    ]
            with m.State("PRODUCT"):
                m.next = "STEP"
            with m.State("STEP"):
                m.d.sync += step.eq(round_half_up(multiplier.product, p.coef_frac))
                m.next = "MOVE"
            with m.State("MOVE"):
                m.d.sync += self.part_en.eq(1)
                m.d.comb += [self.walk.start.eq(1), self.walk.stored.eq(1)]
                m.next = "MOVING"
            with m.State("MOVING"):
                m.d.comb += moving.eq(1)
                with m.If(self.walk.done):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [self.episode.eq(self.episode - 1), episodes_left.eq(episodes_left - 1)]
                m.next = "LOOK"
                with m.If(episodes_left == 1):
                    m.next = "PASS"
                    with m.If(passes_left == 0):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
        return m
