"""Every search on every table and both objectives: regret against the known optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import shown
from algo.experiments.tables import BUDGET, digests, methods, objectives, regrets, scored, seeds_of
from algo.search.compare.regret import CHECKPOINTS, EARLY, arrival, as_json, mean_regret
from algo.search.methods.registry import METHODS

#: The last number of evaluations of searches with a model of accuracy is among those that are shown.
_SHOWN = tuple(sorted({*EARLY, 80, *CHECKPOINTS}))
#: Evaluations after which the planning unit is set beside the published one after all of its.
_AS_GOOD_AT = ("10", "15", "25")
#: Where curves are sampled for the plot.
_CURVE = tuple(sorted({1, *range(10, BUDGET + 1, 10)}))


def configuration(settings: Settings) -> dict[str, Any]:
    """Tables, methods, seeds, and where regrets are shown."""
    return configuration_of(settings, methods(settings.scale)) | {"checkpoints": _SHOWN}


def compute(settings: Settings) -> dict[str, Any]:
    """Mean regret with its interval, and evaluations to within 1 % of the optimum."""
    return compute_of(settings, methods(settings.scale), _SHOWN)


def configuration_of(settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    """Everything that a comparison of some methods depends on."""
    seeds = {method: seeds_of(settings, method) for method in names}
    return {
        "tables": digests(settings.scale),
        "objectives": objectives(settings.scale),
        "versions": {method: METHODS[method].version for method in names},
        "seeds": seeds,
        "budget": BUDGET,
    }


def compute_of(settings: Settings, names: Sequence[str], checkpoints: Sequence[int]) -> dict[str, Any]:
    """A comparison of some methods: a list of cases (table and objective), each with its methods."""
    cases: dict[tuple[str, str], dict[str, Any]] = {}
    for (table, objective, method), regret in regrets(settings, names).items():
        known = scored(table, objective)
        case = cases.setdefault(
            (table, objective),
            {
                "table": table, "objective": objective, "source": known.table.source, "optimum": known.optimum,
                "best": known.describe(known.best), "accuracy_th": known.objective.accuracy_th,
                "excluded": known.exclusions(), "size": known.table.space.size, "methods": {},
            },
        )  # fmt: skip
        arrived = arrival(regret, known.optimum, range(1, regret.shape[1] + 1))
        mean = regret.mean(axis=1)
        case["methods"][method] = {
            "seeds": regret.shape[1],
            "regret": {
                str(at): as_json(found)
                for at, found in mean_regret(regret, [at for at in checkpoints if at <= len(regret)]).items()
            },
            "arrival": as_json(arrived.median),
            "not_arrived": len(arrived.censored),
            "curve": [round(float(mean[at - 1]), 6) for at in _CURVE if at <= len(mean)],
        }
    return {"cases": list(cases.values()), "checkpoints": list(checkpoints)}


def present(data: Mapping[str, Any]) -> Page:
    """A table for each case; nothing was published on these."""
    rows = []
    for case in data["cases"]:
        published = case["methods"]["rlu"]["regret"][str(BUDGET)]
        rows.append(
            Row(f"regret of the published search after {BUDGET} evaluations: {title(case)}", NOT_PUBLISHED,
                shown(published, 4), f"optimum {case['optimum']:.4f}")
        )  # fmt: skip
        planned = case["methods"].get("planning", {}).get("regret", {})
        for at in _AS_GOOD_AT:
            if at in planned:
                better = planned[at]["high"] < published["low"]
                rows.append(
                    Row(f"regret of the planning unit after {at}: {title(case)}", NOT_PUBLISHED, shown(planned[at], 4),
                        "below that, with separate intervals" if better else "not below that with separate intervals")
                )  # fmt: skip
    return Page(
        rows, curves(data), "Mean regret over evaluations",
        {f"**{title(case)}**": method_table(case, data["checkpoints"]) for case in data["cases"]},
        (
            "Regret is the optimum less the best score seen so far, mean over seeds, with its 95 % bootstrap interval; "
            "the last column is the median number of evaluations to within 1 % of the optimum.",
            "Every evaluation counts, including those of outliers and of policies seen before.",
            *(("A dash: the search is not given so many evaluations.",) if _cut_short(data) else ()),
            *(exclusions(case) for case in data["cases"]),
        ),
    )  # fmt: skip


def _cut_short(data: Mapping[str, Any]) -> bool:
    """Whether a search of any case ends before the last number of evaluations."""
    last = str(data["checkpoints"][-1])
    return any(last not in found["regret"] for case in data["cases"] for found in case["methods"].values())


def title(case: Mapping[str, Any]) -> str:
    """A case in words."""
    return f"{case['table']}, {case['objective']} first"


def method_table(case: Mapping[str, Any], checkpoints: Sequence[int]) -> str:
    """Regrets of a case, a row per method, best at its end first."""
    found_by = sorted(case["methods"].items(), key=lambda item: float(list(item[1]["regret"].values())[-1]["value"]))
    body = []
    for name, found in found_by:
        never = f"; {found['not_arrived']} of {found['seeds']} never" if found["not_arrived"] else ""
        body.append(
            (
                name,
                f"{found['seeds']:,}",
                *(shown(found["regret"][str(at)], 4) if str(at) in found["regret"] else "-" for at in checkpoints),
                f"{shown(found['arrival'], 0)}{never}",
            )
        )
    return markdown_table(("search", "seeds", *(f"{at}" for at in checkpoints), "to within 1 %"), body)


def exclusions(case: Mapping[str, Any]) -> str:
    """What the thresholds exclude in a case."""
    out = case["excluded"]
    return (
        f"{title(case)}: accuracy threshold {case['accuracy_th']:.4f}; thresholds exclude {out['any']:,} of "
        f"{case['size']:,} policies (accuracy {out['accuracy_th']:,}, latency {out['latency_th_ms']:,}, energy "
        f"{out['energy_th_uj']:,}); optimum {case['optimum']:.4f}. Table: {case['source']}."
    )


def curves(data: Mapping[str, Any]) -> bytes:
    """Mean regret over evaluations, a panel per case."""
    with figure(len(data["cases"])) as drawn:
        for axes, case in zip(drawn.axes, data["cases"], strict=True):
            for number, (name, found) in enumerate(case["methods"].items()):
                axes.plot(_CURVE[: len(found["curve"])], found["curve"], color=COLOURS[number % len(COLOURS)],
                          linestyle="-" if number < len(COLOURS) else "--", label=name)  # fmt: skip
            axes.set(xlabel="evaluations", yscale="log")
            axes.set_title(title(case).replace(", ", ",\n"), fontsize="small")
        drawn.axes[0].set(ylabel="mean regret")
    return drawn.png
