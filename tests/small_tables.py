"""Policy tables small enough to check by hand."""

import numpy as np

from algo.chips.evolver import EvolverChip
from algo.search.tables.policy_table import PolicyTable, synthetic_table
from algo.search.tables.scored_table import default_accuracy_th, score_table
from algo.space.layers import LayerShape
from algo.space.policy import OperatingPoint, PolicySpace
from sim.devices.objective import Objective


def small_table(seed=5, layers=3):
    """A synthetic table of 27 x 9 policies."""
    return synthetic_table(
        EvolverChip([LayerShape(f"l{k}", 10**8, 10**6, 10**4, 10**4) for k in range(layers)]), layers, seed
    )


def small_scored(seed=5, layers=3, accuracy_th=None):
    table = small_table(seed, layers)
    return score_table(table, Objective(accuracy_th=default_accuracy_th(table) if accuracy_th is None else accuracy_th))


def tiny_table(*, adds_up=False):
    """Two layers of 4 or 8 bits, one operating point: four policies, the third of them the best.

    Latency and energy are no sums over the layers, unless they should be.
    """
    space = PolicySpace.of_bit_widths(layers=2, points=1, weight_choices=(4, 8))
    return PolicyTable(
        space, (OperatingPoint(0.8, 200.0),),
        accuracy=np.array([0.60, 0.70, 0.80, 0.81]), latency_ms=np.array([4.0, 5.0, 5.0, 6.0 if adds_up else 9.0]),
        energy_uj=np.array([50.0, 90.0, 60.0, 100.0 if adds_up else 200.0]), source="made up",
    )  # fmt: skip
