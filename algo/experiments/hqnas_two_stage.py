"""The joint search beside its rivals: two stages, a uniform 8-bit network, and choices at random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from algo.experiments import hqnas_runs as runs
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.hqnas_rivals import Rival, made, training_s, weight_count, with_channels
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_few, shown
from algo.nas.onnx_blocks import network_model
from algo.support.cells import run_cells

PAGE = runs.PAGE
_FLOAT32 = "float32"
_NAMED = tuple(f"latency {latency}" for latency in runs.LATENCIES)
_SIZES = tuple(f"size {size}" for size in runs.SIZES)
STUDIES = (*_NAMED, *_SIZES, _FLOAT32)
#: Bit policies that the second stage trains, and networks that are drawn.
_TRAININGS, _DRAWN = 15, 2
_NAMES: dict[str, str] = {
    **{study: f"joint search, {study}" for study in _NAMED},
    **{study: f"joint search, latency 100%, {study}" for study in _SIZES},
    "from the search": f"the network of {runs.JOINT}, trained from the weights of the search",
    "two stages": f"two stages, {runs.JOINT}: float32 search, then bits by the planning unit, {_TRAININGS} trainings",
    "uniform": "MobileNetV2 (kernel 3, expansion 6), all 8 bits, of the joint network's size",
    "random": f"random scores, {runs.JOINT}, {_DRAWN} networks a seed",
    _FLOAT32: "float32 search without a limit, computed in float32",
}
#: Points of accuracy that the published headline gives up for its speed.
_HEADLINE = 0.7


def configuration(settings: Settings) -> dict[str, Any]:
    """The searches."""
    return {**runs.description(settings, *STUDIES), "trainings": _trainings(settings), "drawn": _DRAWN}


def _trainings(settings: Settings) -> int:
    return settings.pick(quick=3, cpu=_TRAININGS, full=_TRAININGS)


def compute(settings: Settings) -> dict[str, Any]:
    """Accuracy, size, measured latency and time of every network."""
    from algo.nas.take_away import restored

    found = runs.searches(settings, *STUDIES)
    file = runs.run_of(settings, runs.JOINT, 1).table
    digest = runs.digest_of(settings)
    cells = [
        Rival(
            kind, number, joint.seed, str(begins.folder.path), f"{float(begins.folder.scores.sum())!r} {digest}",
            joint.summary["limit_ms"], joint.summary["size_bytes"], _trainings(settings), file,
        )
        for joint, float32 in zip(found[runs.JOINT], found[_FLOAT32], strict=True)
        for kind, begins, count in (
            ("two stages", float32, 1), ("uniform", joint, 1), ("random", joint, _DRAWN), ("from the search", joint, 1)
        )
        for number in range(count)
    ]  # fmt: skip
    folder = settings.out / "cells"
    rivals = run_cells(made, cells, folder=folder, jobs=settings.jobs, label="rivals")
    begun = [cell for cell in cells if cell.kind == "uniform"]  # one a seed
    seconds = run_cells(training_s, begun, folder=folder, jobs=settings.jobs, label="largest network")
    table = runs.table_of(settings)
    lines: list[dict[str, Any]] = []
    models: list[Any] = []
    for study in STUDIES:
        in_float = study == _FLOAT32
        for one in found[study]:
            space, summary = one.folder.table.space, one.summary
            architecture = space.checked(summary["architecture"])
            models.append(network_model(space, architecture, table.image, table.classes, in_float))
            weights = summary["size_bytes"]
            if in_float:
                weights = 4 * weight_count(restored(one.folder.path, one.folder.table))
            lines.append(
                {
                    "kind": study, "seed": one.seed, "architecture": summary["architecture"], "width": 1.0,
                    "accuracy": summary["accuracy"], "size_bytes": weights,
                    "seconds": summary["search_s"] + one.folder.scores_s + summary["training_s"],
                }
            )  # fmt: skip
    searched, searched_float = (
        {one.seed: one.summary["search_s"] + one.folder.scores_s for one in found[study]}
        for study in (runs.JOINT, _FLOAT32)
    )
    for cell, rival in zip(cells, rivals, strict=True):
        space = with_channels(table.space, rival["width"])
        models.append(network_model(space, space.checked(rival["architecture"]), table.image, table.classes))
        before = {"two stages": searched_float, "from the search": searched}.get(cell.kind, {}).get(cell.seed, 0.0)
        lines.append({"kind": cell.kind, "seed": cell.seed, **rival, "seconds": rival["seconds"] + before})
    for line, ms in zip(lines, runs.measured_in_turn(models, settings.scale), strict=True):
        line["measured_ms"] = ms
    return {
        "networks": lines,
        "data": found[runs.JOINT][0].summary["data"],
        "limit_ms": found[runs.JOINT][0].summary["limit_ms"],
        "search_s": [one.summary["search_s"] + one.folder.scores_s for one in found[runs.JOINT]],
        "largest_s": seconds,
    }


def present(data: Mapping[str, Any]) -> Page:
    """Means of each kind, and the comparisons that targets are set for."""
    known = {one["kind"] for one in data["networks"]}
    kinds = {
        kind: _of_seeds([one for one in data["networks"] if one["kind"] == kind]) for kind in _NAMES if kind in known
    }
    joint, two, float32, uniform = (kinds[kind] for kind in (runs.JOINT, "two stages", _FLOAT32, "uniform"))
    rows = [
        Row("joint less two stages, points, pairs of seeds", NOT_PUBLISHED, _pairs(joint, two, _points),
            "0.5 wanted, or 1.3 times faster"),
        Row("latency of two stages / of the joint network", NOT_PUBLISHED, _pairs(joint, two, _slower, 2)),
    ]  # fmt: skip
    for study in _NAMED:
        rows.append(
            Row(f"float32 search's network / {_NAMES[study]}: latency, and points lost",
                "1.8 times, 0.9 points (thesis) or 0.7 (arXiv); ImageNet" if study == _NAMED[0] else NOT_PUBLISHED,
                f"{_pairs(kinds[study], float32, _slower, 2)}; {_pairs(float32, kinds[study], _points)}",
                f"1.8 times at {_HEADLINE} points wanted")
        )  # fmt: skip
    times = [search / largest for search, largest in zip(data["search_s"], data["largest_s"], strict=True)]
    rows.append(
        Row("time of a search / training the largest network on as many images", NOT_PUBLISHED,
            shown(mean_of_few(times), 2), "1.5 wanted")
    )  # fmt: skip
    for study in (one for one in (runs.JOINT, *_SIZES) if one in known):
        rows.append(
            Row(f"{_NAMES[study]}: size of its weights, and points lost, against uniform 8 bits", NOT_PUBLISHED,
                f"{_pairs(uniform, kinds[study], _smaller, 0)} %; {_pairs(uniform, kinds[study], _points)}",
                "-25 % at no loss wanted")
        )  # fmt: skip
    body = [
        (
            _NAMES[kind], shown(mean_of_few([100 * one["accuracy"] for one in found]), 1),
            shown(mean_of_few([one["measured_ms"] for one in found]), 4),
            shown(mean_of_few([one["size_bytes"] / 1024 for one in found]), 0),
            f"{np.mean([one['seconds'] for one in found]):.0f}",
        )
        for kind, found in kinds.items()
    ]  # fmt: skip
    header = ("how it was found", "accuracy, %", "measured, ms", "weights, KiB", "search and training, s")
    with figure(1) as drawn:
        [axes] = drawn.axes
        for number, (kind, found) in enumerate(kinds.items()):
            axes.plot([one["measured_ms"] for one in found], [100 * one["accuracy"] for one in found], "o",
                      color=COLOURS[number], label=kind)  # fmt: skip
        axes.axvline(data["limit_ms"], color="grey", linestyle=":")
        axes.set(xlabel="latency measured, ms", ylabel="accuracy, %")
    return Page(
        rows,
        drawn.png,
        f"Accuracy over measured latency; the dotted line is {runs.JOINT}",
        {"**Means over the seeds**": markdown_table(header, body)},
        (
            f"{Path(data['data']).name}. Latencies were timed in turn, on the whole network. Accuracies are of the "
            "test images.",
            "Two stages: the architecture that the float32 search scores best of those that keep the latency at 8 "
            "bits, by the same exact choice. Then every bit policy is trained for an epoch from the same float32 "
            "network and judged on the validation half. The network recommended is trained on all images, as the joint "
            "one is. This shows more images than the joint search does. The planning unit wants costs that add up, so "
            "it is charged for two changes of arithmetic at every block in float32, also between two of these; an "
            "architecture that keeps the latency only in float32 is not considered.",
            "The float32 search's network has weights of 16 bits, which hardly differ from those of 32, and is trained "
            "for as many epochs as the others. Its size is that of weights of 32 bits.",
            "The uniform network is shown as many images as the joint search and its training together. The other "
            "networks are trained for as long as the joint search's, from fresh weights unless a row says otherwise. A "
            "random choice has no search, so its time is that of its training.",
            "A size in % is of the largest network's weights at 8 bits.",
            "Intervals are Student's t over the seeds, 95 %: with few seeds they are wide. Random networks of a seed "
            "count once, with their mean. Seconds are of cores that were mostly busy.",
        ),
    )


def _of_seeds(networks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a seed, with the mean of its networks' figures."""
    names = ("accuracy", "measured_ms", "size_bytes", "seconds")
    return [
        {name: float(np.mean([one[name] for one in networks if one["seed"] == seed])) for name in names}
        for seed in sorted({one["seed"] for one in networks})
    ]


def _pairs(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], figure_of: Any, digits: int = 1) -> str:
    """A figure of pairs of networks with the same seed, with its mean and interval."""
    return shown(mean_of_few([figure_of(one, other) for one, other in zip(ours, theirs, strict=True)]), digits)


def _points(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return float(100 * (one["accuracy"] - other["accuracy"]))


def _smaller(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return float(100 * (other["size_bytes"] / one["size_bytes"] - 1))


def _slower(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return float(other["measured_ms"] / one["measured_ms"])
