"""The published unit, the better one, regularised evolution and TPE, where each evaluation is a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algo.experiments import baselines
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings
from algo.experiments.runs import EARLY, Finished, Study, description, tuned
from algo.experiments.statistics import mean_of_few, mean_of_many, shown
from algo.experiments.tables import BUDGET, scored, seeds_of
from algo.search.methods.units import batch_unit, deployed, search_with
from algo.search.schedules import published_schedule

_OTHERS = ("evolution", "evolution-no-repeats", "tpe")
METHODS_COMPARED = ("rlu", "rlu-plus", *_OTHERS)
#: Tuning runs that the data are made from, beside tables.
TASKS: tuple[Study, ...] = ("energy", "episodic")
CHECKPOINTS = (50, EARLY, 100, BUDGET)
_NO_WORSE_AT = (50, 100, BUDGET)


def configuration(settings: Settings) -> dict[str, Any]:
    """Tables, methods, seeds and runs."""
    runs: dict[str, Any] = {task: description(settings, task) for task in TASKS}
    return baselines.configuration_of(settings, METHODS_COMPARED) | runs


def compute(settings: Settings) -> dict[str, Any]:
    """Regrets at 50, 80, 100 and 330 evaluations, regret of the published unit's deployed policy, and real runs."""
    data = baselines.compute_of(settings, METHODS_COMPARED, CHECKPOINTS)
    for case in data["cases"]:
        case["deployed"] = _deployed_regret(case["table"], case["objective"], seeds_of(settings, "rlu"))
    found = tuned(settings, *TASKS)
    data["runs"] = {task: [_run(one) for one in found[task]] for task in TASKS}
    data["data"] = found["episodic"][0].summary["data"]
    return data


def _deployed_regret(table: str, objective: str, seeds: int) -> dict[str, float]:
    """Mean regret of the greedy policies that published units end with."""
    known = scored(table, objective)
    unit = batch_unit(known.table.space.action_counts, known.objective, range(1, seeds + 1))
    search_with(unit, known.table, known.objective, published_schedule())
    return mean_of_many(known.optimum - known.scores[deployed(unit, known.table)])


def _run(one: Finished) -> dict[str, Any]:
    summary = one.summary
    return {
        "iterations": summary["iterations"], "trained": summary["trained"],
        "best": summary["best_seen"]["score"], "deployed": summary["found"]["score"],
    }  # fmt: skip


def present(data: Mapping[str, Any]) -> Page:
    """Whether the better unit reaches its goals, case by case."""
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
        rows.append(
            Row(
                f"{baselines.title(case)}: published unit's greedy policy after {BUDGET}",
                "the policy deployed",
                shown(case["deployed"], 4),
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
        for other in _OTHERS:
            verdicts = ", ".join(
                f"{at}: {_verdict(better[str(at)], methods[other]['regret'][str(at)])}" for at in _NO_WORSE_AT
            )
            rows.append(Row(f"{baselines.title(case)}: better unit against {other}", NOT_PUBLISHED, verdicts))
    for task, name in (("energy", "published unit"), ("episodic", "better unit")):
        runs = data["runs"][task]
        for key, what in (("best", "best score seen"), ("deployed", "score deployed")):
            score = shown(mean_of_few([one[key] for one in runs]))
            rows.append(
                Row(f"retraining, {name} after {runs[0]['iterations']}: {what}", NOT_PUBLISHED, score, data["data"])
            )
    return Page(
        rows, baselines.curves(data), "Mean regret over evaluations",
        {f"**{baselines.title(case)}**": baselines.method_table(case, data["checkpoints"]) for case in data["cases"]},
        (
            "Regret is that of the best policy evaluated. The published unit instead deploys the greedy policy of its "
            "last table, whose regret has its own row; the better unit deploys the best policy it evaluated, "
            "[retrained once more](../understand/episodic.md#what-is-deployed).",
            f"Runs with retraining: energy first, {len(data['runs']['episodic'])} seeds; intervals are Student's t.",
            "*better*, *worse*: the 95 % intervals of the mean regrets do not overlap. *better, within error* and "
            "*worse, within error*: the means differ, but the intervals overlap.",
            *(baselines.exclusions(case) for case in data["cases"]),
        ),
    )  # fmt: skip


def _verdict(ours: Mapping[str, float], other: Mapping[str, float]) -> str:
    if ours["value"] == other["value"]:
        return "equal"
    word = "better" if ours["value"] < other["value"] else "worse"
    apart = ours["high"] < other["low"] or other["high"] < ours["low"]
    return word if apart else f"{word}, within error"
