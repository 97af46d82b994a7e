"""Trainings saved because a policy that misses the latency or energy threshold is never trained."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings
from algo.experiments.excluding import excluding_factor
from algo.experiments.plots import COLOURS, figure
from algo.experiments.runs import Study, description, tuned
from algo.experiments.statistics import mean_of_few, mean_of_many, shown
from algo.experiments.tables import digests, scored, table_names
from algo.published.evolver import evolver_facts
from algo.search.methods.units import batch_unit, search_with
from algo.search.schedules import published_schedule
from algo.search.tables.scored_table import ScoredTable, score_table

#: Tuning runs that the data are made from, beside tables.
TASKS: tuple[Study, ...] = ("energy", "excluding")


def configuration(settings: Settings) -> dict[str, Any]:
    """Tables, seeds and runs."""
    runs: dict[str, Any] = {task: description(settings, task) for task in TASKS}
    return {"tables": digests(settings.scale), "seeds": _seeds(settings), **runs}


def compute(settings: Settings) -> dict[str, Any]:
    """Skipped iterations on every table and in real runs, for both pairs of thresholds."""
    tables = []
    for name in tqdm(table_names(settings.scale), unit="table", disable=None, file=sys.stderr):
        published = scored(name, "energy")
        tables.append(
            {
                "table": name,
                "source": published.table.source,
                "published": _skipped(published, _seeds(settings)),
                "excluding": _skipped(excluding(published), _seeds(settings)),
            }
        )
    found = tuned(settings, *TASKS)
    real = {
        task: {
            "skipped": [one.summary["skipped"] for one in finished],
            "below_accuracy": [sum(s.served != "skipped" and s.reward <= 0 for s in one.steps) for one in finished],
            "iterations": finished[0].summary["iterations"],
            "found": [one.summary["found"]["score"] for one in finished],
            "best": [one.summary["best_seen"]["score"] for one in finished],
            "curve": np.cumsum([step.served == "skipped" for step in finished[0].steps]).tolist(),
        }
        for task, finished in found.items()
    }
    return {"tables": tables, "real": real, "data": found["energy"][0].summary["data"]}


def excluding(known: ScoredTable) -> ScoredTable:
    """The table under both published thresholds times one factor, which makes them exclude the published share.

    Energy is still scored over the published range.
    """
    factor = excluding_factor(known.table.latency_ms, known.table.energy_uj)
    objective = dataclasses.replace(
        known.objective,
        latency_th_ms=known.objective.latency_th_ms * factor,
        energy_th_uj=known.objective.energy_th_uj * factor,
    )
    return score_table(known.table, objective)


def _skipped(known: ScoredTable, seeds: int) -> dict[str, Any]:
    unit = batch_unit(known.table.space.action_counts, known.objective, range(1, seeds + 1))
    rewards, chosen = search_with(unit, known.table, known.objective, published_schedule())
    skipped = known.skipped[chosen]
    below = (rewards == 0) & ~skipped
    return {
        "latency_th_ms": known.objective.latency_th_ms,
        "energy_th_uj": known.objective.energy_th_uj,
        "share_of_space": float(known.skipped.mean()),
        "skipped": mean_of_many(skipped.sum(axis=0)),
        "skipped_exploring": mean_of_many(skipped[:90].sum(axis=0)),
        "below_accuracy": mean_of_many(below.sum(axis=0)),
        "best": mean_of_many(known.scores[chosen].max(axis=0)),
        "curve": np.round(np.cumsum(skipped.mean(axis=1)), 3).tolist(),
    }


def present(data: Mapping[str, Any]) -> Page:
    """Published beside ours, for both pairs of thresholds."""
    search = evolver_facts()["search"]
    published = f"{search['outliers_skipped']} of {search['iterations']}"
    rows, notes = [], []
    for one in data["tables"]:
        for kind, label in (("published", "published thresholds"), ("excluding", "excluding thresholds")):
            ours, where = one[kind], f"{one['table']}, {label}: "
            rows.append(
                Row(f"{where}iterations skipped of {search['iterations']}", published, shown(ours["skipped"], 1),
                    f"{ours['latency_th_ms']:.2f} ms, {ours['energy_th_uj']:.1f} uJ: {ours['share_of_space']:.1%}")
            )  # fmt: skip
            rows.append(Row(f"{where}of them in the first 90", NOT_PUBLISHED, shown(ours["skipped_exploring"], 1)))
            rows.append(Row(f"{where}trained, accuracy too low", NOT_PUBLISHED, shown(ours["below_accuracy"], 1)))
            rows.append(Row(f"{where}best score", NOT_PUBLISHED, shown(ours["best"], 4)))
        notes.append(f"{one['table']}: {one['source']}.")
    for task, label in (("energy", "published thresholds"), ("excluding", "excluding thresholds")):
        real, where = data["real"][task], f"retraining, {label}: "
        rows += [
            Row(f"{where}iterations skipped of {real['iterations']}", published,
                shown(mean_of_few(real["skipped"]), 1), data["data"]),
            Row(f"{where}trained, accuracy too low", NOT_PUBLISHED, shown(mean_of_few(real["below_accuracy"]), 1)),
            Row(f"{where}score deployed", NOT_PUBLISHED, shown(mean_of_few(real["found"]))),
            Row(f"{where}best score seen", NOT_PUBLISHED, shown(mean_of_few(real["best"]))),
        ]  # fmt: skip
    with figure() as drawn:
        axes = drawn.axes[0]
        for colour, one in zip(COLOURS, data["tables"], strict=False):
            axes.plot(one["excluding"]["curve"], color=colour, label=f"{one['table']}, excluding")
            axes.plot(one["published"]["curve"], ":", color=colour, label=f"{one['table']}, published thresholds")
        axes.plot(data["real"]["excluding"]["curve"], color=COLOURS[-1], label="retraining, excluding, seed 1")
        axes.plot(search["iterations"], search["outliers_skipped"], "kx", label="published")
        axes.set(xlabel="iteration", ylabel="iterations skipped so far")
    return Page(
        rows, drawn.png, "Iterations skipped so far, mean over seeds on tables",
        notes=(
            "*Excluding thresholds* are both published ones times one factor, chosen to exclude the published share "
            "(37 %) of all policies. It is unknown which policies the published thresholds excluded.",
            "Under the chip model the published thresholds exclude almost nothing: "
            "[what the thresholds do](../understand/evolver-model.md#what-the-thresholds-do).",
            "A skipped iteration is rewarded 0 and counts as one of the 330; it saves its training.",
            *notes,
        ),
    )  # fmt: skip


def _seeds(settings: Settings) -> int:
    return settings.pick(quick=20, cpu=1000, full=1000)
