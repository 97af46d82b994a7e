"""The objective of a task, in physical units, and the register values that set the reward calculator to it."""

from __future__ import annotations

from dataclasses import dataclass

from rtl.spec.params import WEIGHTS, RLUParams


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Weights, thresholds and the ranges over which latency and energy are scored.

    ``score = a A + b clip((L_high - L) / (L_high - L_low)) + c clip((E_high - E) / (E_high - E_low))``, and 0 for
    an outlier (Chen 2023, section 2.3, as docs/understand/reward.md reads it). The defaults are the published
    energy-first task on the published chip.

    Attributes:
        weight_a, weight_l, weight_e: weights a, b, c of accuracy, latency and energy; each 0..1, with sum 1.
        accuracy_th: accuracy at or below which a policy is an outlier, a fraction.
        latency_th_ms, energy_th_uj: latency and energy from which a policy is an outlier.
        latency_low_ms, latency_high_ms: latencies that score 1 and 0.
        energy_low_uj, energy_high_uj: energies that score 1 and 0.

    Raises:
        ValueError: for a value outside its range; the message names it.
    """

    weight_a: float = WEIGHTS[0]
    weight_l: float = WEIGHTS[1]
    weight_e: float = WEIGHTS[2]
    accuracy_th: float = 0.685
    latency_th_ms: float = 20.0
    energy_th_uj: float = 300.0
    latency_low_ms: float = 3.90
    latency_high_ms: float = 10.58
    energy_low_uj: float = 41.06
    energy_high_uj: float = 300.0

    def __post_init__(self) -> None:
        weights = (self.weight_a, self.weight_l, self.weight_e)
        for name, weight in zip(("a", "b", "c"), weights, strict=True):
            if not 0.0 <= weight <= 1.0:
                raise ValueError(f"weight {name} must be in 0..1, not {weight:g}")
        if abs(sum(weights) - 1.0) > 1e-6:
            raise ValueError(f"the weights a,b,c must sum to 1, but {weights} sum to {sum(weights):g}")
        if not 0.0 <= self.accuracy_th <= 1.0:
            raise ValueError(f"accuracy_th must be a fraction in 0..1, not {self.accuracy_th:g}")
        for name, threshold, low, high in (
            ("latency", self.latency_th_ms, self.latency_low_ms, self.latency_high_ms),
            ("energy", self.energy_th_uj, self.energy_low_uj, self.energy_high_uj),
        ):
            if not 0.0 < threshold < float("inf"):
                raise ValueError(f"the {name} threshold must be above 0, not {threshold:g}")
            if not 0.0 <= low < high < float("inf"):
                raise ValueError(f"{name} must have 0 <= low < high, not low {low:g} and high {high:g}")
            if high - low < max(threshold, high) / 15.9:
                raise ValueError(
                    f"{name}'s range high - low must be at least 1/15.9 of full scale {max(threshold, high):g} "
                    f"(the larger of high and the {name} threshold), not {high - low:g}"
                )

    @property
    def latency_full_scale_ms(self) -> float:
        """Latency that the LATENCY register shows as 1.0."""
        return max(self.latency_th_ms, self.latency_high_ms)

    @property
    def energy_full_scale_uj(self) -> float:
        """Energy that the ENERGY register shows as 1.0."""
        return max(self.energy_th_uj, self.energy_high_uj)

    def registers(self, params: RLUParams) -> dict[str, int]:
        """Register values that set the reward calculator to this objective."""
        coef = params.coef_frac
        latency, energy = self.latency_full_scale_ms, self.energy_full_scale_uj
        return {
            "WEIGHT_A": _fixed(self.weight_a, coef),
            "WEIGHT_L": _fixed(self.weight_l, coef),
            "WEIGHT_E": _fixed(self.weight_e, coef),
            "ACCURACY_TH": _fixed(self.accuracy_th, coef),
            "LATENCY_TH": _fixed(self.latency_th_ms / latency, coef),
            "ENERGY_TH": _fixed(self.energy_th_uj / energy, coef),
            "LATENCY_HIGH": _fixed(self.latency_high_ms / latency, coef),
            "ENERGY_HIGH": _fixed(self.energy_high_uj / energy, coef),
            "LATENCY_GAIN": _fixed(latency / (self.latency_high_ms - self.latency_low_ms), params.gain_frac),
            "ENERGY_GAIN": _fixed(energy / (self.energy_high_uj - self.energy_low_uj), params.gain_frac),
        }

    def accuracy_word(self, accuracy: float, params: RLUParams) -> int:
        """Register value of an accuracy; ValueError unless it is a fraction."""
        if not 0.0 <= accuracy <= 1.0:
            raise ValueError(f"accuracy must be a fraction in 0..1, not {accuracy:g}")
        return _fixed(accuracy, params.coef_frac)

    def latency_word(self, latency_ms: float, params: RLUParams) -> int:
        """Register value of a latency, at most full scale; ValueError unless it is 0 or more."""
        return _scaled("latency_ms", latency_ms, self.latency_full_scale_ms, params)

    def energy_word(self, energy_uj: float, params: RLUParams) -> int:
        """Register value of an energy, at most full scale; ValueError unless it is 0 or more."""
        return _scaled("energy_uj", energy_uj, self.energy_full_scale_uj, params)


def _scaled(name: str, value: float, full_scale: float, params: RLUParams) -> int:
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{name} must be a number of 0 or more, not {value:g}")
    return _fixed(min(1.0, value / full_scale), params.coef_frac)


def _fixed(value: float, frac: int) -> int:
    from sim.model.arithmetic import to_fixed  # brings NumPy, which those who only want the defaults do without

    return to_fixed(value, frac)
