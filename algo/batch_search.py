"""The search over a table of measurements, for many seeds at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rtl.params import RLUParams
from sim.arithmetic import to_fixed
from sim.batch import BatchModel
from sim.objective import Objective

from .policy_table import Floats, PolicyTable


def batch_search(
    table: PolicyTable,
    objective: Objective,
    schedule: Sequence[float],
    seeds: Sequence[int],
    *,
    alpha: float = 0.25,
    gamma: float = 0.99,
    lfsr_width: int = 16,
) -> tuple[npt.NDArray[np.int64], BatchModel]:
    """Search the table once for each seed, all at the same time.

    Returns:
        Rewards, (iterations, seeds), in units of 2**-q_frac, and the units as the search leaves them.

    Raises:
        ValueError: for a seed, ``alpha`` or ``gamma`` out of range.
    """
    counts = table.space.action_counts
    params = RLUParams(states=len(counts), actions=max(counts), action_counts=counts, lfsr_width=lfsr_width)
    settings = {
        "ALPHA": to_fixed(alpha, params.coef_frac),
        "GAMMA": to_fixed(gamma, params.coef_frac),
        **objective.registers(params),
    }
    model = BatchModel(params, seeds, settings)

    def words(values: Floats, full_scale: float) -> npt.NDArray[np.int64]:
        fixed: npt.NDArray[np.int64] = np.rint(np.minimum(1.0, values / full_scale) * params.coef_one).astype(int)
        return fixed

    accuracy = words(table.accuracy, 1.0)
    latency = words(table.latency_ms, objective.latency_full_scale_ms)
    energy = words(table.energy_uj, objective.energy_full_scale_uj)
    weights = np.cumprod([1, *counts[:0:-1]])[::-1]
    rewards = np.empty((len(schedule), len(seeds)), dtype=np.int64)
    for iteration, epsilon in enumerate(schedule):
        model.sample(to_fixed(epsilon, params.coef_frac))
        chosen = model.policy @ weights
        # An outlier's accuracy is never measured; its reward is 0 whatever it would have been.
        model.compute_reward(accuracy[chosen], latency[chosen], energy[chosen])
        model.update()
        rewards[iteration] = model.reward
    return rewards, model
