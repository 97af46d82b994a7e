"""Lifelong learning: a search that meets classes in steps, beside one that has them all from the start."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from algo.experiments import hqnas_runs as runs
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Scale, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_few, shown
from algo.nas.latency_table import LatencyTable
from algo.support.cells import kept_as, run_cells

if TYPE_CHECKING:
    from algo.nas.search import Part, Search

PAGE = runs.PAGE
#: Kernel whose weights are compared, as published.
_KERNEL = 3


@dataclass(frozen=True)
class Pair:
    """A lifelong search and one from scratch, with the same seed; a cell of `run_cells`.

    Attributes:
        seed: of everything random.
        scale: see `Settings`.
        data: name or file, in place of the scale's.
        config: of the searches, JSON.
        table: file of this machine's table.
        digest: of the table.
        each, last: epochs of every step, and more epochs after the last one.
    """

    seed: int
    scale: Scale
    data: str | None
    config: str
    table: str
    digest: str
    each: int
    last: int


def configuration(settings: Settings) -> dict[str, Any]:
    """The searches and their steps."""
    return {**runs.description(settings, runs.JOINT), "steps": _steps(settings)}


def _steps(settings: Settings) -> tuple[int, int]:
    return (1, 1) if settings.scale == "quick" else (2, 4)


def compute(settings: Settings) -> dict[str, Any]:
    """Accuracies and distances after every epoch, and what both searches would choose."""
    runs.table_of(settings)
    file = runs.run_of(settings, runs.JOINT, 1).table
    each, last = _steps(settings)
    config = json.dumps(runs.description(settings, runs.JOINT))
    digest = runs.digest_of(settings)
    cells = [
        Pair(seed, settings.scale, settings.data, config, file, digest, each, last) for seed in runs.seeds_of(settings)
    ]
    found = run_cells(
        searched_twice, cells, folder=settings.out / "cells", jobs=settings.jobs, label="lifelong learning"
    )
    return {"seeds": found, "data": found[0]["data"]}


@kept_as("algo.experiments.hqnas_lifelong.searched_twice")
def searched_twice(cell: Pair) -> dict[str, Any]:
    """Search with classes in steps, and with all, from the same first weights and for the same number of epochs."""
    import torch

    from algo.nas.config import MEASURED
    from algo.nas.halves import halves
    from algo.nas.limits import limits_of
    from algo.nas.scores import judged, learned_scores
    from algo.nas.search import Search, accuracy_of_batches
    from algo.nas.supernet import SuperNet
    from algo.nets.data.datasets import load_dataset
    from algo.nets.train.device_choice import training_device
    from algo.nets.train.sgd import reproducible, tensors

    given = {"data": cell.data} if cell.data else {}
    config = runs.config_of(runs.JOINT, cell.scale, cell.seed, MEASURED, given)
    table = LatencyTable.read(Path(cell.table))
    dataset = load_dataset(config.data.data)
    limits = limits_of(config.aim, table)
    assert limits is not None, "the study names a latency"
    known = range(-(-dataset.classes // 2), dataset.classes + 1)
    counts = [count for count in known for _ in range(cell.each)] + [dataset.classes] * cell.last
    values = {"epochs": len(counts), "warmup": min(config.learning.warmup, len(counts) - 1)}
    config = runs.config_of(runs.JOINT, cell.scale, cell.seed, MEASURED, {**given, **values})
    parts = halves(dataset.train_labels, dataset.classes, cell.seed, config.data.train_images)
    with reproducible(config.threads, training_device()):

        def of_classes(count: int) -> tuple[Part, Part]:
            images, labels = dataset.train_images, dataset.train_labels
            learned, judged_by = (part[labels[part] < count] for part in parts)
            device = training_device()
            return (
                tensors(images[learned], labels[learned], device),
                tensors(images[judged_by], labels[judged_by], device),
            )

        falls = 1 - (cell.each + cell.last) / len(counts)  # once all classes are known

        def rate(done: float) -> float:
            return 1.0 if done < falls else 0.5 + 0.5 * math.cos(math.pi * (done - falls) / (1 - falls))

        every = of_classes(dataset.classes)
        searches: dict[str, Search] = {}
        for name in ("lifelong", "scratch"):
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(cell.seed)
                network = SuperNet(
                    table.space, table.image, table.classes, config.learning.paths, config.learning.bits_bias
                )
            network.to(training_device())
            searches[name] = Search(network, table, *every, config.learning, config.aim, limits, cell.seed)
            searches[name].rate = rate
        epochs = []
        for count in counts:
            shown_now = of_classes(count)
            searches["lifelong"].show(*shown_now)
            for search in searches.values():
                search.epoch()
            accuracy = {
                name: accuracy_of_batches(search.network, *shown_now[1], classes=count)
                for name, search in searches.items()
            }
            epochs.append({"classes": count, **accuracy, "distance": _distance(searches)})
        ends = {}
        for name, search in searches.items():
            architecture = limits.best(learned_scores(search.network)).architecture
            discrete = judged(search.network, architecture, every[0][0], *every[1], config.choice.statistics_batches)
            ends[name] = {"architecture": [list(option) for option in architecture], "discrete_accuracy": discrete}
    return {"seed": cell.seed, "epochs": epochs, "ends": ends, "data": dataset.name}


def _distance(searches: Mapping[str, Search]) -> float:
    """Between the 3x3 kernels of all blocks: length of the difference over that of the weights from scratch."""
    import torch

    kernels = []
    for search in searches.values():
        found = []
        for name, value in search.network.named_parameters():
            if name.endswith("depthwise"):
                edge = (value.shape[-1] - _KERNEL) // 2
                found.append(value.detach()[..., edge : edge + _KERNEL, edge : edge + _KERNEL].flatten())
        kernels.append(torch.cat(found))
    lifelong, scratch = kernels
    return float((lifelong - scratch).norm() / scratch.norm())


def present(data: Mapping[str, Any]) -> Page:
    """Accuracy after every epoch of both, and how far their weights are from each other."""
    seeds = data["seeds"]
    ends = [one["epochs"][-1] for one in seeds]
    same = [
        sum(
            a == b
            for a, b in zip(*(one["ends"][name]["architecture"] for name in ("lifelong", "scratch")), strict=True)
        )
        for one in seeds
    ]
    blocks = len(seeds[0]["ends"]["scratch"]["architecture"])

    def percent(values: list[float]) -> str:
        return shown(mean_of_few([100 * value for value in values]), 1)

    gap = [one["lifelong"] - one["scratch"] for one in ends]
    rows = [
        Row("accuracy at the end, lifelong less from scratch, points", "approaches it; ImageNet, 500 to 1,000 classes",
            percent(gap)),
        Row("accuracy at the end, lifelong, %", NOT_PUBLISHED, percent([one["lifelong"] for one in ends])),
        Row("accuracy at the end, from scratch, %", NOT_PUBLISHED, percent([one["scratch"] for one in ends])),
        *(
            Row(f"network chosen, before training, {name}, %", NOT_PUBLISHED,
                percent([one["ends"][name]["discrete_accuracy"] for one in seeds]))
            for name in ("lifelong", "scratch")
        ),
        Row(f"blocks of the same option, of {blocks}", NOT_PUBLISHED, shown(mean_of_few([float(n) for n in same]), 1)),
        Row("distance of the 3x3 kernels at the end", "approach each other",
            shown(mean_of_few([one["distance"] for one in ends]), 2), "relative to the length of those from scratch"),
    ]  # fmt: skip
    count = len(seeds[0]["epochs"])
    body = []
    for number in range(count):
        now = [one["epochs"][number] for one in seeds]
        body.append(
            (
                str(number + 1), str(now[0]["classes"]), percent([one["lifelong"] for one in now]),
                percent([one["scratch"] for one in now]), f"{np.mean([one['distance'] for one in now]):.2f}",
            )
        )  # fmt: skip
    with figure(2) as drawn:
        left, right = drawn.axes
        epochs = range(1, count + 1)
        for number, name in enumerate(("lifelong", "scratch")):
            for one in seeds:
                left.plot(epochs, [100 * epoch[name] for epoch in one["epochs"]], color=COLOURS[number],
                          label={"lifelong": "classes in steps", "scratch": "all classes"}[name])  # fmt: skip
        for one in seeds:
            right.plot(epochs, [epoch["distance"] for epoch in one["epochs"]], color=COLOURS[2])
        left.set(xlabel="epoch", ylabel="accuracy on the classes known so far, %")
        right.set(xlabel="epoch", ylabel="distance of the 3x3 kernels", ylim=(0, None))
    header = ("epoch", "classes known", "classes in steps, %", "all classes, %", "distance of 3x3 kernels")
    return Page(
        rows,
        drawn.png,
        "Accuracy of the mixed networks on the validation half, and the distance of their 3x3 kernels",
        {"**After every epoch, mean over the seeds**": markdown_table(header, body)},
        (
            f"{data['data']}, latency {runs.USUAL}. Both searches begin with the same weights and have the same number "
            "of epochs and the same step sizes, which fall once all classes are known; the one from scratch sees all "
            "classes in each epoch.",
            "Both are judged on the validation images of the classes known so far, and answer with one of these.",
            "Published: 500 classes of ImageNet, 100 more every 50 epochs.",
        ),
    )
