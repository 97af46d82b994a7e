"""The published unit, the better one, regularised evolution and TPE, where each evaluation is a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import baselines
from .base import NOT_PUBLISHED, Page, Row, Settings
from .statistics import shown
from .tables import BUDGET

METHODS_COMPARED = ("rlu", "rlu-plus", "evolution", "tpe")
CHECKPOINTS = (50, 80, 100, BUDGET)
EARLY = 80
_NO_WORSE_AT = (50, 100, BUDGET)


def configuration(settings: Settings) -> dict[str, Any]:
    """Tables, methods and seeds."""
    return baselines.configuration_of(settings, METHODS_COMPARED)


def compute(settings: Settings) -> dict[str, Any]:
    """Regrets at 50, 80, 100 and 330 evaluations."""
    return baselines.compute_of(settings, METHODS_COMPARED, CHECKPOINTS)


def present(data: Mapping[str, Any]) -> Page:
    """Whether the better unit does what it is for, case by case."""
    rows = []
    for case in data["cases"]:
        methods = case["methods"]
        published = methods["rlu"]["regret"]
        rows.append(
            Row(
                f"{baselines.title(case)}: published unit at {BUDGET}",
                "the published search",
                shown(published[str(BUDGET)], 4),
            )
        )
        better = methods["rlu-plus"]["regret"]
        reached = better[str(EARLY)]["value"] <= published[str(BUDGET)]["value"]
        rows.append(
            Row(
                f"{baselines.title(case)}: better unit at {EARLY}", NOT_PUBLISHED,
                f"{shown(better[str(EARLY)], 4)}: {'as good' if reached else 'not as good'}",
            )
        )  # fmt: skip
        for other in ("evolution", "tpe"):
            verdicts = ", ".join(
                f"{at}: {_verdict(better[str(at)], methods[other]['regret'][str(at)])}" for at in _NO_WORSE_AT
            )
            rows.append(Row(f"{baselines.title(case)}: better unit against {other}", NOT_PUBLISHED, verdicts))
    return Page(
        rows, baselines.curves(data), "Mean regret over evaluations",
        {f"**{baselines.title(case)}**": baselines.method_table(case, data["checkpoints"]) for case in data["cases"]},
        (
            "*better*, *worse*: the 95 % intervals of the mean regrets do not overlap; *better, within error* and "
            "*worse, within error*: the means differ so, but the intervals overlap.",
            *(baselines.exclusions(case) for case in data["cases"]),
        ),
    )  # fmt: skip


def _verdict(ours: Mapping[str, float], other: Mapping[str, float]) -> str:
    if ours["value"] == other["value"]:
        return "equal"
    word = "better" if ours["value"] < other["value"] else "worse"
    apart = ours["high"] < other["low"] or other["high"] < ours["low"]
    return word if apart else f"{word}, within error"
