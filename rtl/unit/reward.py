"""Reward calculator: the outlier decision, the score, and each row's share of it."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.planning.valuer import ScoreSignature
from rtl.primitives.fixed import round_half_even
from rtl.primitives.pipeline import later
from rtl.spec.params import RLUParams


def at_most_one(params: RLUParams, value: Value) -> Value:
    """A number of ``coef_frac`` fraction bits, limited to 1.0 (combinational)."""
    return Mux(value[params.coef_frac :].any(), params.coef_one, value[: params.coef_frac])


class RewardCalculator(wiring.Component):
    """Turns accuracy A, latency L and energy E into the reward of a policy.

    ``score = a A + b clip((L_high - L) gain_L) + c clip((E_high - E) gain_E)``, each term clipped to 0..1 and the
    sum limited to the largest Q-value; 0 for an outlier: ``A <= A_th``, ``L >= L_th`` or ``E >= E_th``. One
    multiplier does all five products, in three cycles each. The share of a row, ``reward / states``, comes from
    a divider that makes one quotient bit per cycle. docs/understand/arithmetic.md, "Reward", defines the rounding.

    Latency: ``done`` comes ``q_width + 20`` cycles after ``start``, ``q_width + 4`` after ``divide``.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    start : In(1)
        Compute the reward and the share from the measurements.
    load : In(1)
        Take ``load_value`` as the reward; the share is wrong until ``divide``.
    load_value : In(signed(q_width))
        The host's reward.
    divide : In(1)
        Compute the share again, for another reward or another number of states.
    done : Out(1)
        High for one cycle when reward and share are both right.
    accuracy, latency, energy : In(coef_width)
        Measurements, 0..1.0 of full scale.
    weight_a, weight_l, weight_e : In(coef_width)
        Weights a, b, c.
    accuracy_th, latency_th, energy_th : In(coef_width)
        Thresholds.
    latency_high, energy_high : In(coef_width)
        Latency and energy that score 0.
    latency_gain, energy_gain : In(gain_width)
        1 / (high - low).
    states : In(bits for 0..states)
        Rows of the policy, at least 1.
    idle_factor_a, idle_factor_b : In
        Factors of the multiplier's other user, for cycles in which the block is idle.
    product : Out
        The product of the factors given a cycle ago (a multiplication's delay after the clock edge).
    accuracy_outlier, latency_outlier, energy_outlier : Out(1)
        The measurement does not pass its threshold (combinational).
    reward, share : Out(signed(q_width))
        Reward of the policy, and of each of its rows.
    reward_valid : Out(1)
        High for one cycle when a computed reward appears.
    planned : In(ScoreSignature(params))
        Only in a planning unit: scores of a planner's predictions, which change neither reward nor share.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        coef = In(params.coef_width)
        width_a, width_b = (
            max(params.coef_width, params.lfsr_width),
            max(params.coef_width, params.gain_width, params.stored_width),
        )
        super().__init__(
            {
                "start": In(1),
                "load": In(1),
                "load_value": In(signed(params.q_width)),
                "divide": In(1),
                "done": Out(1),
                "accuracy": coef,
                "latency": coef,
                "energy": coef,
                "weight_a": coef,
                "weight_l": coef,
                "weight_e": coef,
                "accuracy_th": coef,
                "latency_th": coef,
                "energy_th": coef,
                "latency_high": coef,
                "energy_high": coef,
                "latency_gain": In(params.gain_width),
                "energy_gain": In(params.gain_width),
                "states": In(params.states.bit_length()),
                "idle_factor_a": In(params.lfsr_width),
                "idle_factor_b": In(max(5, params.stored_width)),
                "product": Out(width_a + width_b),
                "accuracy_outlier": Out(1),
                "latency_outlier": Out(1),
                "energy_outlier": Out(1),
                "reward": Out(signed(params.q_width)),
                "share": Out(signed(params.q_width)),
                "reward_valid": Out(1),
                **({"planned": In(ScoreSignature(params))} if params.points else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        outlier = Signal()
        # Comparisons are written with `<`: each is one carry chain. `<=` needs an equality test too.
        outlier_then = later(m, outlier, 1)  # what it depends on is steady
        m.d.comb += [
            self.accuracy_outlier.eq(~(self.accuracy_th < self.accuracy)),
            self.latency_outlier.eq(~(self.latency < self.latency_th)),
            self.energy_outlier.eq(~(self.energy < self.energy_th)),
            outlier.eq(self.accuracy_outlier | self.latency_outlier | self.energy_outlier),
        ]

        accuracy, latency, energy, start = self.accuracy, self.latency, self.energy, self.start
        if p.points:
            # The measurements are the planner's until the next reward is computed.
            planned = Signal()
            start = self.start | self.planned.start
            with m.If(start):
                m.d.sync += planned.eq(self.planned.start)
            accuracy = Mux(planned, self.planned.accuracy, self.accuracy)
            latency, energy = (
                Mux(planned, at_most_one(p, getattr(self.planned, name)), getattr(self, name))
                for name in ("latency", "energy")
            )
            m.d.comb += [
                self.planned.low.eq(~(self.accuracy_th < self.planned.accuracy)),
                self.planned.missed.eq(
                    ~(self.planned.latency < self.latency_th) | ~(self.planned.energy < self.energy_th)
                ),
            ]
            m.d.sync += self.planned.scored.eq(0)

        # The products in order: latency's term, its weight, energy's term, its weight, accuracy's weight.
        step = Signal(3, init=5)
        latency_term, latency_weight, energy_term, energy_weight, accuracy_weight, none = range(6)
        of_energy = step == energy_term
        high = Mux(of_energy, self.energy_high, self.latency_high)
        margin = Signal(signed(p.coef_width + 1))
        m.d.comb += margin.eq(high - Mux(of_energy, energy, latency))
        factor_a = Signal(max(p.coef_width, p.lfsr_width))
        factor_b = Signal(max(p.coef_width, p.gain_width, p.stored_width))
        product = Signal(p.coef_width + len(factor_b))
        term = Signal(p.coef_width)
        m.d.comb += self.product.eq(factor_a * factor_b)
        total = Signal(2 * p.coef_width + 2)
        # A product is added to the total, or taken off it; the reward is there. Registers, because the sums take long.
        adding, taking, rewarding = Signal(), Signal(), Signal()
        with m.Switch(step):
            for case, weight in ((latency_weight, self.weight_l), (energy_weight, self.weight_e)):
                with m.Case(case):
                    m.d.sync += [factor_a.eq(term), factor_b.eq(weight)]
            with m.Case(accuracy_weight):
                m.d.sync += [factor_a.eq(accuracy), factor_b.eq(self.weight_a)]
            with m.Case(latency_term, energy_term):
                # A measurement above `high` scores 0, never a negative number.
                m.d.sync += [
                    factor_a.eq(Mux(margin[-1], 0, margin)),
                    factor_b.eq(Mux(of_energy, self.energy_gain, self.latency_gain)),
                ]
            with m.Default():
                m.d.sync += [factor_a.eq(self.idle_factor_a), factor_b.eq(self.idle_factor_b)]
        m.d.sync += product.eq(self.product)
        rounded = round_half_even(product, p.gain_frac)

        # The sum has 2 coef_frac fraction bits, of which q_frac stay. With short coefficients
        # and long Q-values there are fewer, and zeros are appended instead. The sum starts with the half
        # that rounding adds, so a tie shows as a fraction of 0; then the last bit is cleared.
        excess = 2 * p.coef_frac - p.q_frac
        half = 1 << (excess - 1) if excess > 0 else 0
        tie = total[:excess] == 0 if excess > 0 else Const(0)
        score = Cat(total[excess] & ~tie, total[excess + 1 :]) if excess >= 0 else total << -excess
        limited = Mux(score[p.q_width - 1 :].any(), p.q_max, score)

        rounding = Signal()
        signing = Signal()
        magnitude = Signal(p.q_width)
        remainder = Signal(range(2 * p.states + 1))
        bits_left = Signal(range(p.q_width + 1))
        trial = (remainder << 1) | (magnitude[-1] & ~rounding)
        rest = Signal(signed(len(remainder) + 2))
        fits = ~rest[-1]
        m.d.comb += rest.eq(trial - self.states)
        # |reward| before the division, the quotient's sign after it.
        negative, up = self.reward[-1], Signal()
        signed_value = Signal(p.q_width)
        m.d.comb += signed_value.eq(
            (Mux(signing, magnitude, self.reward) ^ negative.replicate(p.q_width)) + (negative ^ up)
        )

        with m.If(adding):
            m.d.sync += total.eq(total + product)
        if p.points:
            with m.Elif(taking):
                m.d.sync += total.eq(total - product)
        with m.If(rewarding):
            m.d.sync += self.reward.eq(Mux(outlier_then, 0, limited))
        with m.FSM():
            with m.State("IDLE"):
                # A planner may ask again for the sum with another accuracy, so it is kept.
                m.d.sync += [self.done.eq(0), step.eq(none)]
                with m.If(start):
                    m.d.sync += step.eq(latency_term)
                    m.next = "FACTORS"
                if p.points:
                    with m.Elif(self.planned.again):
                        m.d.sync += step.eq(accuracy_weight)
                        m.next = "FACTORS"
                with m.Elif(self.load):
                    m.d.sync += self.reward.eq(self.load_value)
                with m.Elif(self.divide):
                    m.next = "MAGNITUDE"
            with m.State("FACTORS"):
                with m.If(step == latency_term):
                    m.d.sync += total.eq(half)
                m.next = "PRODUCT"
            with m.State("PRODUCT"):
                m.d.sync += adding.eq((step != latency_term) & (step != energy_term))
                m.next = "SUM"
            with m.State("SUM"):
                m.d.sync += [step.eq(step + 1), adding.eq(0)]
                with m.If((step == latency_term) | (step == energy_term)):
                    m.d.sync += term.eq(Mux(rounded[p.coef_frac :].any(), p.coef_one, rounded))
                m.next = "FACTORS"
                with m.If(step == accuracy_weight):
                    m.d.sync += rewarding.eq(1)
                    m.next = "REWARD"
                    if p.points:
                        with m.If(planned):
                            m.d.sync += [taking.eq(1), rewarding.eq(0)]
                            m.next = "SCORE"
            if p.points:
                with m.State("SCORE"):
                    m.d.sync += [self.planned.score.eq(limited), self.planned.scored.eq(1), taking.eq(0)]
                    m.next = "IDLE"
            with m.State("REWARD"):
                m.d.sync += [rewarding.eq(0), self.reward_valid.eq(1)]
                m.next = "MAGNITUDE"
            with m.State("MAGNITUDE"):
                m.d.sync += [
                    self.reward_valid.eq(0),
                    magnitude.eq(signed_value),
                    remainder.eq(0),
                    bits_left.eq(p.q_width - 1),
                ]
                m.next = "DIVIDE"
            with m.State("DIVIDE"):
                # The dividend leaves at the top while the quotient enters at the bottom.
                m.d.sync += [
                    magnitude.eq((magnitude << 1) | fits),
                    remainder.eq(Mux(fits, rest, trial)),
                    bits_left.eq(bits_left - 1),
                ]
                with m.If(bits_left == 0):
                    m.next = "ROUND"
            with m.State("ROUND"):
                # Up if twice the remainder is above the divisor, or equal and the quotient odd.
                m.d.comb += rounding.eq(1)
                m.d.sync += up.eq(fits & (magnitude[0] | rest.any()))
                m.next = "SIGN"
            with m.State("SIGN"):
                m.d.comb += signing.eq(1)
                m.d.sync += [self.share.eq(signed_value), up.eq(0), self.done.eq(1)]
                m.next = "IDLE"
        return m
