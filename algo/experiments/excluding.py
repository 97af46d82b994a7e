"""Thresholds that exclude as large a share of the space as the published run skipped."""

from __future__ import annotations

from functools import cache

import numpy as np

from algo.chips.evolver import EvolverChip
from algo.published.evolver import OPERATING_POINTS, evolver_facts
from algo.search.tables.policy_table import Floats
from algo.space.policy import PolicySpace


def excluding_factor(latency_ms: Floats, energy_uj: Floats) -> float:
    """The factor for both published thresholds, to three digits after the point.

    Args:
        latency_ms, energy_uj: of every policy, (size,).
    """
    limits, search = evolver_facts()["limits"], evolver_facts()["search"]
    misses = np.maximum(latency_ms / limits["latency_ms"], energy_uj / limits["energy_uj"])
    return round(float(np.quantile(misses, 1 - search["outliers_skipped"] / search["iterations"])), 3)


@cache
def excluding_thresholds() -> dict[str, float]:
    """The thresholds for VGG8 on the chip model; energy is still scored over the published range."""
    chip, space = EvolverChip(), PolicySpace.of_bit_widths(layers=8, points=len(OPERATING_POINTS))
    costs = [chip.measure(space.decode(actions)) for actions in np.ndindex(*space.action_counts)]
    latency, energy = (np.array([getattr(cost, name) for cost in costs]) for name in ("latency_ms", "energy_uj"))
    factor, limits = excluding_factor(latency, energy), evolver_facts()["limits"]
    return {
        "latency_th_ms": factor * limits["latency_ms"],
        "energy_th_uj": factor * limits["energy_uj"],
        "energy_high_uj": limits["energy_uj"],
    }
