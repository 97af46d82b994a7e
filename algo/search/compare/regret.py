"""How good searches are: mean regret with its confidence interval, and evaluations until the optimum is near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from algo.search.tables.policy_table import Floats

#: Numbers of evaluations after which regret is given.
CHECKPOINTS = (25, 50, 100, 200, 330)
#: Earlier ones, for searches with a model of accuracy.
EARLY = (10, 15)
#: A search has arrived when its best score is within this fraction of the optimum.
NEAR = 0.01
_RESAMPLES = 2000
_TAIL = 0.025  # on either side: 95 % between


@dataclass(frozen=True)
class Estimate:
    """A figure over seeds and its 95 % confidence interval, by the percentile bootstrap over seeds."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f}..{self.high:.4f})"


@dataclass(frozen=True)
class Arrival:
    """Evaluations a search needs until its best score is within 1 % of the optimum.

    Attributes:
        median: over seeds, with its 95 % interval; infinite where fewer than half of the seeds arrive.
        censored: the seeds that do not arrive within the budget.
    """

    median: Estimate
    censored: tuple[int, ...]

    def __str__(self) -> str:
        def shown(value: float) -> str:
            return "never" if value == float("inf") else f"{value:.0f}"

        return f"{shown(self.median.value)} ({shown(self.median.low)}..{shown(self.median.high)})"


def checkpoints(budget: int) -> tuple[int, ...]:
    """Numbers of evaluations after which regret is given for a budget: the usual ones within it, and its end."""
    return (*(at for at in CHECKPOINTS if at < budget), budget)


def mean_regret(regret: Floats, at: Sequence[int]) -> dict[int, Estimate]:
    """Mean regret over seeds after some numbers of evaluations.

    Args:
        regret: (evaluations, seeds), as `ScoredTable.regret` has it.
        at: numbers of evaluations, each 1..evaluations.
    """
    again = _resamples(regret.shape[1])
    return {n: _estimate(float(regret[n - 1].mean()), regret[n - 1][again].mean(axis=1)) for n in at}


def arrival(regret: Floats, optimum: float, seeds: Sequence[int]) -> Arrival:
    """Evaluations to within 1 % of the optimum.

    Args:
        regret: (evaluations, seeds).
        optimum: the highest score.
        seeds: of the columns.
    """
    near = regret <= NEAR * optimum
    first = np.where(near.any(axis=0), near.argmax(axis=0) + 1.0, np.inf)
    resampled = _median(first[_resamples(len(first))])
    censored = tuple(int(seed) for seed, evaluations in zip(seeds, first, strict=True) if np.isinf(evaluations))
    return Arrival(_estimate(float(_median(first)), resampled), censored)


def as_json(estimate: Estimate) -> dict[str, Any]:
    """The estimate as JSON can hold it: null for what is infinite."""
    return {name: None if value == float("inf") else value for name, value in asdict(estimate).items()}


@lru_cache(maxsize=2)
def _resamples(seeds: int) -> npt.NDArray[np.int64]:
    """The same resamples for every method, (resamples, seeds)."""
    return np.random.default_rng(0).integers(0, seeds, (_RESAMPLES, seeds))


def _median(values: Floats) -> Floats:
    """The lower median along the last axis: always one of the values, even if infinite."""
    middle: Floats = np.partition(values, (values.shape[-1] - 1) // 2, axis=-1)[..., (values.shape[-1] - 1) // 2]
    return middle


def _estimate(value: float, resampled: Floats) -> Estimate:
    ordered = np.sort(resampled)
    edge = round(_TAIL * len(ordered))
    return Estimate(value, float(ordered[edge]), float(ordered[-1 - edge]))
