"""Reward calculator: outlier decision, score, and each row's share of it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .fixed import round_half_even
from .params import RLUParams


class RewardCalculator(wiring.Component):
    """Turns accuracy A, latency L and energy E into the reward of a policy.

    ``score = a A + b clip((L_high - L) gain_L) + c clip((E_high - E) gain_E)``, each term clipped to 0..1 and the
    sum limited to the largest Q-value; 0 for an outlier: ``A <= A_th``, ``L >= L_th`` or ``E >= E_th``. One
    multiplier does all five products. The share of a row, ``reward / states``, comes from a divider of one
    quotient bit a cycle. Rounding is fixed in docs/arithmetic.md, "Reward".

    Latency: ``done`` comes ``q_width + 9`` cycles after ``start``, ``q_width + 3`` after ``divide``.

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
        Compute the share anew, for another reward or another number of states.
    done : Out(1)
        High for one cycle when reward and share are both right.
    accuracy, latency, energy : In(coef_width)
        Measurements, 0..1.0 of full scale.
    weight_a, weight_l, weight_e : In(coef_width)
        Weights a, b, c.
    accuracy_th, latency_th, energy_th : In(coef_width)
        Thresholds.
    latency_high, energy_high : In(coef_width)
        What scores 0.
    latency_gain, energy_gain : In(gain_width)
        1 / (high - low).
    states : In(bits for 0..states)
        Rows of the policy, at least 1.
    accuracy_outlier, latency_outlier, energy_outlier : Out(1)
        The measurement misses its threshold (combinational).
    reward, share : Out(signed(q_width))
        Reward of the policy, and of each of its rows.
    reward_valid : Out(1)
        High for one cycle when a computed reward has just appeared.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        coef = In(params.coef_width)
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
                "accuracy_outlier": Out(1),
                "latency_outlier": Out(1),
                "energy_outlier": Out(1),
                "reward": Out(signed(params.q_width)),
                "share": Out(signed(params.q_width)),
                "reward_valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        outlier = Signal()
        m.d.comb += [
            self.accuracy_outlier.eq(self.accuracy <= self.accuracy_th),
            self.latency_outlier.eq(self.latency >= self.latency_th),
            self.energy_outlier.eq(self.energy >= self.energy_th),
            outlier.eq(self.accuracy_outlier | self.latency_outlier | self.energy_outlier),
        ]

        left, right = Signal(p.coef_width), Signal(max(p.coef_width, p.gain_width))
        product = Signal(p.coef_width + max(p.coef_width, p.gain_width))
        m.d.comb += product.eq(left * right)
        # A measurement above `high` scores nothing, not less than nothing.
        latency_margin = Mux(self.latency < self.latency_high, self.latency_high - self.latency, 0)
        energy_margin = Mux(self.energy < self.energy_high, self.energy_high - self.energy, 0)
        term = Signal(p.coef_width)
        rounded_term = round_half_even(product, p.gain_frac)
        clipped_term = Mux(rounded_term > p.coef_one, p.coef_one, rounded_term)
        total = Signal(2 * p.coef_width + 2)

        magnitude, remainder = Signal(p.q_width), Signal(range(2 * p.states + 1))
        bits_left = Signal(range(p.q_width + 1))
        trial = (remainder << 1) | magnitude[-1]
        fits = trial >= self.states

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += self.done.eq(0)
                with m.If(self.start):
                    m.d.sync += total.eq(0)
                    m.next = "LATENCY"
                with m.Elif(self.load):
                    m.d.sync += self.reward.eq(self.load_value)
                with m.Elif(self.divide):
                    m.next = "MAGNITUDE"
            with m.State("LATENCY"):
                m.d.comb += [left.eq(latency_margin), right.eq(self.latency_gain)]
                m.d.sync += term.eq(clipped_term)
                m.next = "LATENCY_WEIGHT"
            with m.State("LATENCY_WEIGHT"):
                m.d.comb += [left.eq(term), right.eq(self.weight_l)]
                m.d.sync += total.eq(total + product)
                m.next = "ENERGY"
            with m.State("ENERGY"):
                m.d.comb += [left.eq(energy_margin), right.eq(self.energy_gain)]
                m.d.sync += term.eq(clipped_term)
                m.next = "ENERGY_WEIGHT"
            with m.State("ENERGY_WEIGHT"):
                m.d.comb += [left.eq(term), right.eq(self.weight_e)]
                m.d.sync += total.eq(total + product)
                m.next = "ACCURACY_WEIGHT"
            with m.State("ACCURACY_WEIGHT"):
                m.d.comb += [left.eq(self.accuracy), right.eq(self.weight_a)]
                m.d.sync += total.eq(total + product)
                m.next = "REWARD"
            with m.State("REWARD"):
                score = Signal(2 * p.coef_width + 2 + p.q_frac)
                # The sum has 2 coef_frac fraction bits, of which q_frac stay; for small coefficients
                # with long Q-values there are fewer, and zeros are appended instead.
                m.d.comb += score.eq(
                    round_half_even(total, 2 * p.coef_frac - p.q_frac)
                    if 2 * p.coef_frac >= p.q_frac
                    else total << (p.q_frac - 2 * p.coef_frac)
                )
                m.d.sync += self.reward.eq(Mux(outlier, 0, Mux(score > p.q_max, p.q_max, score)))
                m.next = "MAGNITUDE"
                m.d.sync += self.reward_valid.eq(1)
            with m.State("MAGNITUDE"):
                m.d.sync += [
                    self.reward_valid.eq(0),
                    magnitude.eq(Mux(self.reward < 0, -self.reward, self.reward)),
                    remainder.eq(0),
                    bits_left.eq(p.q_width - 1),
                ]
                m.next = "DIVIDE"
            with m.State("DIVIDE"):
                # The dividend leaves at the top while the quotient enters at the bottom.
                m.d.sync += [
                    magnitude.eq((magnitude << 1) | fits),
                    remainder.eq(Mux(fits, trial - self.states, trial)),
                    bits_left.eq(bits_left - 1),
                ]
                with m.If(bits_left == 0):
                    m.next = "ROUND"
            with m.State("ROUND"):
                twice = remainder << 1
                up = (twice > self.states) | ((twice == self.states) & magnitude[0])
                quotient = magnitude + up
                m.d.sync += [self.share.eq(Mux(self.reward < 0, -quotient, quotient)), self.done.eq(1)]
                m.next = "IDLE"
        return m
