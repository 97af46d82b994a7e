"""Accuracies seen with an error: what each search would deploy, by its true score."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.baselines import exclusions, title
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_many, shown
from algo.experiments.tables import BUDGET, digests, objectives, scored, seeds_of, table_names
from algo.search.compare.sweep import Sweep, run_sweeps
from algo.search.methods.registry import METHODS, Noise

#: Standard deviation of the error of an accuracy that 1,000 test images give at about 0.7.
STD = 0.014
#: A search without a model of accuracy deploys the luckiest measurement, as does a published one here.
SEARCHES = (
    "planning", "bayes-linear", "one-at-a-time", "evolution-costs", "evolution", "rlu-plus", "rlu", "random",
)  # fmt: skip
CHECKPOINTS = (15, 25, 50, 80, BUDGET)
_MOST_SEEDS = 200


def configuration(settings: Settings) -> dict[str, Any]:
    """Tables, methods, seeds and the error."""
    return {
        "tables": digests(settings.scale), "objectives": objectives(settings.scale), "std": STD,
        "versions": {method: METHODS[method].version for method in SEARCHES},
        "seeds": {method: _seeds(settings, method) for method in SEARCHES}, "checkpoints": CHECKPOINTS,
    }  # fmt: skip


def _seeds(settings: Settings, method: str) -> int:
    return min(seeds_of(settings, method), settings.pick(quick=_MOST_SEEDS, cpu=_MOST_SEEDS, full=1000))


def _sweep(settings: Settings, table: str, objective: str, method: str) -> Sweep:
    most = min(BUDGET, METHODS[method].most or BUDGET)
    at = tuple(n for n in CHECKPOINTS if n <= most)
    return Sweep(table, scored(table, objective), method, _seeds(settings, method), most, Noise(STD), at)


def compute(settings: Settings) -> dict[str, Any]:
    """Mean regret of what is deployed, and how often it misses the accuracy threshold in truth."""
    names, goals = table_names(settings.scale), objectives(settings.scale)
    sweeps = {case: _sweep(settings, *case) for case in product(names, goals, SEARCHES)}
    found = run_sweeps(list(sweeps.values()), folder=settings.out / "cells", jobs=settings.jobs, ray=settings.ray)
    results = dict(zip(sweeps, found, strict=True))
    cases = []
    for table, objective in product(names, goals):
        known = scored(table, objective)
        methods = {}
        for method in SEARCHES:
            at, scores = sweeps[table, objective, method].at, known.scores[results[table, objective, method].deployed]
            methods[method] = {
                "seeds": scores.shape[1],
                "deployed": {str(n): mean_of_many(known.optimum - one) for n, one in zip(at, scores, strict=True)},
                "missed": {str(n): float((one <= 0).mean()) for n, one in zip(at, scores, strict=True)},
            }
        cases.append(
            {
                "table": table, "objective": objective, "source": known.table.source, "optimum": known.optimum,
                "accuracy_th": known.objective.accuracy_th, "excluded": known.exclusions(),
                "size": known.table.space.size, "methods": methods,
            }
        )  # fmt: skip
    return {"cases": cases, "std": STD}


def present(data: Mapping[str, Any]) -> Page:
    """A table for each case; nothing was published on these."""
    rows, more = [], {}
    for case in data["cases"]:
        ours = case["methods"]["planning"]["deployed"]
        for at in (80, BUDGET):
            others = {
                name: found["deployed"][str(at)] for name, found in case["methods"].items()
                if name != "planning" and str(at) in found["deployed"]
            }  # fmt: skip
            best = min(others, key=lambda name: others[name]["value"])
            rows.append(
                Row(f"planning unit at 25: {title(case)}", NOT_PUBLISHED, shown(ours["25"], 4),
                    f"best other at {at}: {best} {shown(others[best], 4)}")
            )  # fmt: skip
        body = [
            (name, f"{found['seeds']:,}", *(_cell(found, str(at)) for at in CHECKPOINTS))
            for name, found in case["methods"].items()
        ]
        more[f"**{title(case)}**"] = markdown_table(("search", "seeds", *map(str, CHECKPOINTS)), body)
    return Page(
        rows, _plot(data), "Mean regret of the policy deployed, over evaluations", more,
        (
            f"Every accuracy that a search sees has a normal error of {data['std']:g}, about that of 1,000 test "
            "images. Regrets are of true scores, means over seeds with their 95 % bootstrap interval.",
            "In brackets: the share of seeds whose deployed policy misses the accuracy threshold in truth and scores "
            "0, where there are any.",
            "`planning`, `bayes-linear` and `one-at-a-time` deploy what their model believes best, all others the "
            "luckiest measurement.",
            "The published unit would deploy the greedy policy of its table, whose regret is larger still without any "
            "error: see [a better unit](#a-better-unit).",
            *(exclusions(case) for case in data["cases"]),
        ),
    )  # fmt: skip


def _cell(found: Mapping[str, Any], at: str) -> str:
    if at not in found["deployed"]:
        return "-"
    missed = found["missed"][at]
    return shown(found["deployed"][at], 4) + (f" [{missed:.1%}]" if missed else "")


def _plot(data: Mapping[str, Any]) -> bytes:
    with figure(len(data["cases"])) as drawn:
        for axes, case in zip(drawn.axes, data["cases"], strict=True):
            for number, (name, found) in enumerate(case["methods"].items()):
                at = [int(n) for n in found["deployed"]]
                axes.plot(at, np.maximum([one["value"] for one in found["deployed"].values()], 1e-5), "o-",
                          color=COLOURS[number % len(COLOURS)], label=name)  # fmt: skip
            axes.set(xlabel="evaluations", xscale="log", yscale="log")
            axes.set_title(title(case).replace(", ", ",\n"), fontsize="small")
        drawn.axes[0].set(ylabel="mean regret deployed")
    return drawn.png
