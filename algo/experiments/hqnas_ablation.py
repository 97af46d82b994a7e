"""The guard rails of a search, one left out at a time, and the three super-networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algo.experiments import hqnas_runs as runs
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_few, shown
from algo.nas.folder import NasFolder
from algo.support.cells import kept_as, run_cells

PAGE = runs.PAGE
#: What rows say of the studies that search.
_ROWS = {
    runs.JOINT: "all guard rails on, `--paths shared`",
    "no warm-up": "theta and phi learn from the first step",
    "no lead of wide bits": "all bit-widths start alike",
    "two levels": "theta and phi learn from the other half (`--levels two`)",
    "plain mixtures": "shares as they are (`--mixtures plain`)",
    "no annealing": "temperature 1 to the end",
    "multi": "`--paths multi`",
    "single": "`--paths single`",
}
STUDIES = tuple(_ROWS)
#: What rows say of other choices and statistics after the same search.
_AFTER = {
    "published": "the published choice: the most probable option of every block",
    "measured": "scores measured (`--scores measured`)",
    "running": "averages of the search in place of fresh batch statistics",
}


@dataclass(frozen=True)
class Judged:
    """Other choices after a finished search; a cell of `run_cells`. ``scores`` tells searches apart."""

    folder: str
    scores: str


def configuration(settings: Settings) -> dict[str, Any]:
    """The searches."""
    return runs.description(settings, *STUDIES)


def compute(settings: Settings) -> dict[str, Any]:
    """Accuracies of every search, and of other choices after the usual one."""
    found = runs.searches(settings, *STUDIES)
    names = (
        "mixed_accuracy", "discrete_accuracy", "gap", "accuracy", "latency_ms", "limit_ms", "collapsed", "search_s",
        "architecture",
    )  # fmt: skip
    studies = {
        study: [{"seed": one.seed, **{name: one.summary[name] for name in names}} for one in found[study]]
        for study in _ROWS
    }
    cells = [Judged(str(one.folder.path), repr(one.folder.scores.tolist())) for one in found[runs.JOINT]]
    other = run_cells(judged_otherwise, cells, folder=settings.out / "cells", jobs=settings.jobs, label="other choices")
    return {"studies": studies, "after": other, "data": found[runs.JOINT][0].summary["data"]}


@kept_as("algo.experiments.hqnas_ablation.judged_otherwise")
def judged_otherwise(cell: Judged) -> dict[str, Any]:
    """Accuracy and latency of what other rules choose after a search, before further training."""
    from algo.nas.derive import argmax
    from algo.nas.run import Task
    from algo.nas.scores import judged, measured_scores
    from algo.nets.train.device_choice import training_device
    from algo.nets.train.sgd import accuracy_of, reproducible

    folder = NasFolder.open(Path(cell.folder))
    config = folder.settings
    with reproducible(config.threads, training_device()):
        task = Task(config, folder, runs.quiet)
        table, network = task.table, task.network
        limits = task.limits
        assert limits is not None, "the usual study names a latency"
        taken = table.space.checked(folder.choice["architecture"])
        chosen = {
            "running": taken,  # first: judging takes new averages
            "published": argmax(table, *folder.probabilities),
            "measured": limits.best(measured_scores(network, *task.scored_by)).architecture,
        }
        result = {}
        for name, architecture in chosen.items():
            if name == "running":
                with network.fixed(architecture):
                    accuracy = accuracy_of(network, *task.judged)
            else:
                most = config.choice.statistics_batches
                accuracy = judged(network, architecture, task.learned[0], *task.judged, most)
            result[name] = {
                "accuracy": accuracy, "share": table.ms(architecture) / limits.ms,
                "architecture": [list(option) for option in architecture],
            }  # fmt: skip
    return result


def present(data: Mapping[str, Any]) -> Page:
    """A row for each thing left out."""
    studies, after = data["studies"], data["after"]
    usual = studies[runs.JOINT]
    rows = [
        Row("gap with all guard rails, points", NOT_PUBLISHED, _points([one["gap"] for one in usual]), "2 wanted"),
        Row("largest gap with one left out, points", NOT_PUBLISHED,
            max((_points([one["gap"] for one in found]) + f": {_ROWS[study]}" for study, found in studies.items()
                 if not runs.is_trained(study)),
                key=lambda text: float(text.split()[0]))),
    ]  # fmt: skip
    body = [
        (
            _ROWS[study], _points([one["mixed_accuracy"] for one in found]),
            _points([one["discrete_accuracy"] for one in found]), _points([one["gap"] for one in found]),
            _points([one["accuracy"] for one in found]) if runs.is_trained(study) else "",
            f"{np.mean([one['latency_ms'] / one['limit_ms'] for one in found]):.0%}",
            f"{sum(one['collapsed'] is not None for one in found)} of {len(found)}",
            f"{np.mean([one['search_s'] for one in found]):.0f}",
        )
        for study, found in studies.items()
    ]  # fmt: skip
    for name, text in _AFTER.items():
        body.append(
            (
                text, _points([one["mixed_accuracy"] for one in usual]),
                _points([one[name]["accuracy"] for one in after]),
                _points([a["mixed_accuracy"] - b[name]["accuracy"] for a, b in zip(usual, after, strict=True)]), "",
                f"{np.mean([one[name]['share'] for one in after]):.0%}", "", "",
            )
        )  # fmt: skip
    header = (
        "", "mixed network, %", "network chosen, %", "gap, points", "after training, %", "latency, of the limit",
        "blocks all alike", "search, s",
    )  # fmt: skip
    with figure(1, height=3.5) as drawn:
        [axes] = drawn.axes
        for number, found in enumerate(studies.values()):
            axes.plot([100 * one["gap"] for one in found], [number] * len(found), "o", color=COLOURS[1])
        axes.set_yticks(range(len(studies)), [_ROWS[study].replace("`", "") for study in studies], fontsize=7)
        axes.invert_yaxis()
        axes.axvline(2, color="grey", linestyle=":")
        axes.set(xlabel="mixed network less the one chosen, points")
    return Page(
        rows,
        drawn.png,
        "Accuracy lost from the mixed network to the one chosen, every seed",
        {"**One thing changed at a time**": markdown_table(header, body)},
        (
            f"{data['data']}, latency {runs.USUAL}. Both networks are judged on the validation half before any further "
            "training; after training on the test images, with the bits found.",
            "The last three rows choose or judge otherwise after the searches of the first row.",
            "Intervals are Student's t over the seeds, 95 %: with few seeds they are wide.",
        ),
    )


def _points(values: list[float]) -> str:
    return shown(mean_of_few([100 * value for value in values]), 1)
