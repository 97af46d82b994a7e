"""The score of a policy, by the golden reward calculator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from algo.chips.chip import Measurement
from algo.space.policy import Policy, PolicySpace
from algo.support.figures import shown_cost
from rtl.spec.params import RLUParams
from sim.devices.device import GoldenDevice
from sim.devices.driver import Driver
from sim.devices.objective import Objective
from sim.model.batch import BatchModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: The formats that rewards are computed in.
UNIT = RLUParams(states=1, actions=2)


class Scorer:
    """Scores policies for an objective as a unit does, bit for bit.

    Args:
        objective: weights, thresholds and ranges.
        formats: unit whose number formats are used; default the published ones.
    """

    def __init__(self, objective: Objective, formats: RLUParams | None = None) -> None:
        one = RLUParams(states=1, actions=2)
        if formats is not None:
            names = ("q_width", "q_frac", "coef_frac", "gain_frac")
            one = RLUParams(states=1, actions=2, **{name: getattr(formats, name) for name in names})
        self._driver = Driver(GoldenDevice(one))
        self._driver.configure(action_counts=(2,), seed=1, objective=objective)
        self._handed_over: tuple[Measurement, bool] | None = None

    def is_outlier(self, cost: Measurement) -> bool:
        """Whether latency or energy misses its threshold; training is useless then."""
        if self._handed_over is None or self._handed_over[0] != cost:
            energy_uj = weighed_energy(self._driver.objective, cost.energy_uj)
            self._handed_over = cost, self._driver.is_outlier(cost.latency_ms, energy_uj)
        return self._handed_over[1]

    def score(self, accuracy: float | None, cost: Measurement) -> float:
        """Score of a policy; 0 for an outlier, and for one that was not trained."""
        self.is_outlier(cost)  # hands latency and energy over
        return self._driver.reward(accuracy or 0.0) * 2.0**-self._driver.params.q_frac


def range_problems(objective: Objective, space: PolicySpace, costs: Callable[[Policy], Measurement]) -> list[str]:
    """What is wrong with ranges or thresholds under which latency or energy cannot tell one policy from another.

    It looks at the smallest and the largest values in all rows, at every operating point.

    Args:
        objective: with its ranges and thresholds.
        space: the policies that will be searched.
        costs: latency and energy of a policy.

    Returns:
        A sentence for latency and one for energy, as far as there is something wrong.
    """
    ends = []
    for end in (min, max):
        actions = [end(range(len(row.choices)), key=row.choices.__getitem__) for row in space.rows[:-1]]
        ends += [costs(space.decode((*actions, point))) for point in range(space.points)]
    o = objective
    kinds = (
        ("latency", "ms", o.weight_l, o.latency_low_ms, o.latency_high_ms, o.latency_th_ms),
        ("energy", "uJ", o.weight_e, o.energy_low_uj, o.energy_high_uj, o.energy_th_uj),
    )
    found = []
    for name, unit, weight, low, high, threshold in kinds:
        values = [cost.latency_ms if name == "latency" else cost.energy_uj for cost in ends]
        least, most = min(values), max(values)
        reach = f"the chip's {name} is {shown_cost(least)} to {shown_cost(most)} {unit} in this space"
        if least >= threshold:
            found.append(f"{reach}, so every policy misses --{name}-th {threshold:g} and scores 0")
        elif weight > 0 and most <= low:
            found.append(f"{reach}, below --{name}-low {low:g}, so {name} scores 1 for every policy")
        elif weight > 0 and least >= high:
            found.append(f"{reach}, above --{name}-high {high:g}, so {name} scores 0 for every policy")
    return found


def score(objective: Objective, accuracy: float, latency_ms: float, energy_uj: float) -> float:
    """Score of one measurement; 0 for an outlier."""
    return Scorer(objective).score(accuracy, Measurement(latency_ms, energy_uj))


def weighed_energy(objective: Objective, energy_uj: float) -> float:
    """Energy for the unit: 0 if it is unavailable and the objective gives it no weight."""
    return 0.0 if math.isnan(energy_uj) and objective.weight_e == 0.0 else energy_uj


def register_words(
    accuracy: Floats, latency_ms: Floats, energy_uj: Floats, objective: Objective, params: RLUParams
) -> tuple[Ints, Ints, Ints]:
    """Register values of accuracies, latencies and energies, of any shape."""

    def words(values: Floats, full_scale: float) -> Ints:
        fixed: Ints = np.rint(np.minimum(1.0, values / full_scale) * params.coef_one).astype(int)
        return fixed

    return (
        words(accuracy, 1.0),
        words(latency_ms, objective.latency_full_scale_ms),
        words(energy_uj, objective.energy_full_scale_uj),
    )


def rewards_of(accuracy: Floats, latency_ms: Floats, energy_uj: Floats, objective: Objective) -> Ints:
    """Rewards of many measurements in the unit's integers, in steps of 2**-14; 0 for an outlier.

    Args:
        accuracy: fractions, of any shape.
        latency_ms, energy_uj: of the same shape; energy may be NaN if the objective gives it no weight.
        objective: weights, thresholds and ranges.
    """
    if objective.weight_e == 0.0:
        energy_uj = np.nan_to_num(energy_uj, nan=0.0)
    model = BatchModel(UNIT, [1], objective.registers(UNIT))
    model.compute_reward(*register_words(accuracy, latency_ms, energy_uj, objective, UNIT))
    return model.reward
