"""The planning unit with real retraining, beside what an expert would try first and the units before it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.runs import Study, description, folder_of, tuned
from algo.experiments.statistics import mean_of_few, shown
from algo.runs.run_folder import TRACE, RunFolder
from algo.runs.trained_again import fresh_accuracy, trained_again
from algo.runs.tune import chip_of, config_of, retrainer_of, run_space, task_of
from algo.support.cells import kept_as, run_cells

TASKS: tuple[Study, ...] = (
    "planning-15", "planning", "one-at-a-time", "bayes-linear", "evolution", "evolution-80", "episodic", "energy",
)  # fmt: skip
_NAMES: dict[str, str] = {
    "planning-15": "planning unit", "planning": "planning unit", "one-at-a-time": "one layer at a time, exact choice",
    "bayes-linear": "Bayesian linear model, exact choice", "evolution": "regularised evolution",
    "evolution-80": "regularised evolution", "episodic": "episodic unit", "energy": "published unit",
}  # fmt: skip
#: What each search does with the weights of the policy before, by `Settings.weights`.
_WEIGHTS: dict[str | None, str] = {
    None: "The published and the episodic unit carry weights from policy to policy, as published; in the other "
    "searches every policy starts from the pre-trained ones, and bit-widths that come again are not trained again.",
    "restarted": "In every search, the published one included, every policy starts from the pre-trained weights, and "
    "bit-widths that come again are not trained again.",
    "carried": "Every search carries weights from policy to policy.",
}
#: Published: 369 J for a search of 208 trainings (Chen 2023, chapter 2).
_JOULES_A_TRAINING = 369 / 208


@dataclass(frozen=True)
class FreshTest:
    """A finished run whose deployed network is tested on images that nobody saw; a cell of `run_cells`.

    Attributes:
        folder: of the run.
        trace: digest of its trace.
        images: how many.
    """

    folder: str
    trace: str
    images: int


@kept_as("algo.experiments.planning.tested")
def tested(cell: FreshTest) -> dict[str, float]:
    """Accuracy of a run's deployed network, trained again: on the run's test images, and on fresh ones.

    With it, that of INT8 retrained once on the same fresh images, and what the run allowed a policy to lose.
    """
    folder = RunFolder.open(Path(cell.folder))
    config = config_of(folder)
    task = task_of(config, folder, _quiet)
    retrainer = retrainer_of(task, _quiet)
    space = run_space(config, chip_of(config, folder, _quiet, task), retrainer.layers)
    network, accuracy, _ = trained_again(folder, config, retrainer, space, "found", _quiet)
    fresh = fresh_accuracy(network, task, cell.images)
    int8, _, _ = trained_again(folder, config, retrainer_of(task, _quiet), space, "int8", _quiet)
    return {
        "again": accuracy, "fresh": fresh, "fresh_int8": fresh_accuracy(int8, task, cell.images),
        "drop": config.objective.accuracy_drop,
    }  # fmt: skip


def _quiet(text: str) -> None:
    del text


def configuration(settings: Settings) -> dict[str, Any]:
    """What the runs depend on."""
    return {task: description(settings, task) for task in TASKS} | {
        "fresh": _fresh(settings), "weights": settings.weights,
    }  # fmt: skip


def _fresh(settings: Settings) -> int:
    return settings.pick(quick=100, cpu=10_000, full=10_000)


def compute(settings: Settings) -> dict[str, Any]:
    """Of every run: what it deploys, as measured in the run and on fresh images."""
    found = tuned(settings, *TASKS)
    cells = []
    for task in TASKS:
        for one in found[task]:
            folder = folder_of(settings, task, one.seed).resolve()
            digest = hashlib.sha256((folder / TRACE).read_bytes()).hexdigest()[:16]
            cells.append(FreshTest(str(folder), digest, _fresh(settings)))
    tests = iter(run_cells(tested, cells, folder=settings.out / "cells", jobs=settings.jobs, label="fresh images"))
    studies: dict[str, Any] = {}
    for task in TASKS:
        runs = []
        for one in found[task]:
            summary, test = one.summary, next(tests)
            deployed = summary["found"]
            runs.append(
                {
                    "seed": one.seed, "trained": summary["trained"], "score": deployed["score"],
                    "accuracy": deployed["accuracy"], "accuracy_th": summary["accuracy_th"],
                    "best_seen": summary["best_seen"]["score"], "weight_bits": deployed["weight_bits"], **test,
                }
            )  # fmt: skip
        studies[task] = {"iterations": found[task][0].summary["iterations"], "runs": runs}
    return {
        "studies": studies, "data": found["planning"][0].summary["data"], "fresh": _fresh(settings),
        "weights": settings.weights,
    }  # fmt: skip


def present(data: Mapping[str, Any]) -> Page:
    """A row for each search; nothing like it was published."""
    rows, body = [], []
    for task, study in data["studies"].items():
        runs, name = study["runs"], f"{_NAMES[task]}, {study['iterations']}"
        below = sum(run["fresh"] <= run["accuracy_th"] for run in runs)
        beside_int8 = sum(run["fresh"] <= run["fresh_int8"] - run["drop"] for run in runs)
        trained = sum(run["trained"] for run in runs) / len(runs)
        scores = [run["score"] for run in runs]
        rows.append(Row(f"score deployed: {name}", NOT_PUBLISHED, shown(mean_of_few(scores), 3), data["data"]))
        body.append(
            (
                name, f"{len(runs)}", shown(mean_of_few(scores), 3), f"{min(scores):.3f}",
                shown(mean_of_few([run["accuracy"] for run in runs]), 3),
                shown(mean_of_few([run["fresh"] for run in runs]), 3), f"{below} of {len(runs)}",
                f"{beside_int8} of {len(runs)}", f"{trained:.0f}", f"{trained * _JOULES_A_TRAINING:.0f}",
            )
        )  # fmt: skip
    table = markdown_table(
        (
            "search, policies tried", "seeds", "score deployed", "lowest", "accuracy", "on fresh images",
            "below the threshold there", "below INT8 there by more", "trainings", "J at the published cost",
        ),
        body,
    )  # fmt: skip
    return Page(
        rows, _plot(data), "Score of the deployed policy over trainings", {"**What each search deploys**": table},
        (
            f"Fresh images: {data['fresh']:,} that were neither trained on nor tested with in the run, with noise of "
            "their own; if the data set has fewer, they are used again with other noise.",
            "The threshold is two points below INT8 retrained once, as measured on the run's own test images, so its "
            "error is in every comparison with it. The next column compares with two points below INT8 on the same "
            "fresh images.",
            _WEIGHTS[data["weights"]],
            "J at the published cost: 369 J for 208 trainings (Chen 2023, chapter 2), times the trainings here. It is "
            "the price of as many trainings on the published chip, not a measurement.",
            "Intervals are Student's t over the seeds, 95 %.",
        ),
    )  # fmt: skip


def _plot(data: Mapping[str, Any]) -> bytes:
    with figure(1) as drawn:
        [axes] = drawn.axes
        for number, (task, study) in enumerate(data["studies"].items()):
            runs = study["runs"]
            axes.plot([run["trained"] for run in runs], [run["score"] for run in runs], "o",
                      color=COLOURS[number % len(COLOURS)], label=f"{_NAMES[task]}, {study['iterations']}")  # fmt: skip
        axes.set(xlabel="trainings", ylabel="score deployed", xscale="log")
    return drawn.png
