"""What a search looks for, as settings: weights, thresholds, and the ranges of latency and energy."""

from __future__ import annotations

from dataclasses import dataclass

from algo.support.settings import check_settings, setting
from rtl.spec.params import WEIGHTS
from sim.devices.objective import Objective

#: Weights a, b, c of the two published tasks.
OBJECTIVES = {"energy": WEIGHTS, "latency": (0.25, 0.65, 0.10)}


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """An objective whose accuracy threshold may depend on the baseline. Each field says what it means.

    Raises:
        ValueError: for a value that a setting may not have, or values that make no objective.
    """

    objective: str = setting("energy", "energy, latency, or weights a,b,c.")
    accuracy_th: float | None = setting(None, "A policy with at most this accuracy is an outlier.")
    accuracy_drop: float = setting(
        0.02, "Without --accuracy-th, the threshold is this much below the INT8 baseline.", low=0, high=1
    )
    latency_th_ms: float = setting(
        Objective.latency_th_ms, "A policy with at least this latency is an outlier, in ms.", flag="--latency-th"
    )
    energy_th_uj: float = setting(
        Objective.energy_th_uj, "A policy with at least this energy is an outlier, in uJ.", flag="--energy-th"
    )
    latency_low_ms: float = setting(Objective.latency_low_ms, "Latency that scores 1.", flag="--latency-low")
    latency_high_ms: float = setting(Objective.latency_high_ms, "Latency that scores 0.", flag="--latency-high")
    energy_low_uj: float = setting(Objective.energy_low_uj, "Energy that scores 1.", flag="--energy-low")
    energy_high_uj: float | None = setting(None, "Energy that scores 0; default --energy-th.", flag="--energy-high")

    def __post_init__(self) -> None:
        check_settings(self)

    def at(self, accuracy_th: float) -> Objective:
        """The objective with its accuracy threshold, which may depend on a baseline; ValueError if it is impossible."""
        a, b, c = parse_weights(self.objective)
        return Objective(
            weight_a=a,
            weight_l=b,
            weight_e=c,
            accuracy_th=self.accuracy_th if self.accuracy_th is not None else accuracy_th,
            latency_th_ms=self.latency_th_ms,
            energy_th_uj=self.energy_th_uj,
            latency_low_ms=self.latency_low_ms,
            latency_high_ms=self.latency_high_ms,
            energy_low_uj=self.energy_low_uj,
            energy_high_uj=self.energy_th_uj if self.energy_high_uj is None else self.energy_high_uj,
        )


def parse_weights(text: str) -> tuple[float, float, float]:
    """Weights a, b, c from ``energy``, ``latency`` or ``a,b,c``; raises ValueError for anything else."""
    if text in OBJECTIVES:
        return OBJECTIVES[text]
    try:
        a, b, c = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"the objective must be energy, latency or three weights a,b,c, not {text!r}") from None
    return a, b, c
