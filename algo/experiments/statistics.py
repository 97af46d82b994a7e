"""Means with confidence intervals, of many seeds of a table search or of the few seeds of a real run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from algo.search.compare.regret import as_json, mean_regret
from algo.search.tables.policy_table import Floats


def mean_of_many(values: Sequence[float] | Floats) -> dict[str, Any]:
    """Mean over seeds with its 95 % bootstrap interval, as JSON holds it."""
    return as_json(mean_regret(np.asarray(values, dtype=float)[None], (1,))[1])


def mean_of_few(values: Sequence[float]) -> dict[str, Any]:
    """Mean over a few seeds with its 95 % interval by Student's t, and the values; one seed has no interval."""
    from scipy.stats import t

    mean = float(np.mean(values))
    half = None
    if len(values) > 1:
        half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"value": mean, "low": low, "high": high, "values": [float(value) for value in values]}


def shown(estimate: dict[str, Any], digits: int = 3) -> str:
    """``0.905 (0.890..0.920)``; an infinite figure is ``never``."""

    def number(value: float | None) -> str:
        return "never" if value is None else f"{value:,.{digits}f}"

    if estimate.get("values") is not None and estimate["low"] is None:
        return f"{number(estimate['value'])} (one seed)"
    return f"{number(estimate['value'])} ({number(estimate['low'])}..{number(estimate['high'])})"
