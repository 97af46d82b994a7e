"""Networks over the published weights (mu, nu) and over named latencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from algo.experiments import hqnas_runs as runs
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_few, shown
from algo.nas.derive import fastest
from algo.nas.onnx_blocks import network_model

PAGE = runs.PAGE
STUDIES = tuple(f"latency {latency}" for latency in runs.LATENCIES) + tuple(f"mu {mu:g}" for mu, _ in runs.WEIGHTS)
#: Share of a named latency that a network should take, measured.
_LEAST, _MOST = 0.90, 1.00


def configuration(settings: Settings) -> dict[str, Any]:
    """The searches."""
    return runs.description(settings, *STUDIES)


def compute(settings: Settings) -> dict[str, Any]:
    """Of every search: the network found, its latency measured in turn with all others, its accuracies."""
    found = runs.searches(settings, *STUDIES)
    table = runs.table_of(settings)
    every = [one for study in STUDIES for one in found[study]]
    architectures = [table.space.checked(one.summary["architecture"]) for one in every]
    models = [network_model(table.space, one, table.image, table.classes) for one in architectures]
    ms = runs.measured_in_turn([*models, *map(_exported, every)], settings.scale)
    measured, exported = iter(ms[: len(every)]), iter(ms[len(every) :])
    names = (
        "architecture", "latency_ms", "limit_ms", "accuracy", "float_accuracy", "gap", "collapsed", "size_bytes",
        "search_s", "training_s",
    )  # fmt: skip
    studies = {
        study: [
            {
                "seed": one.seed,
                **{name: one.summary[name] for name in names},
                "measured_ms": next(measured),
                "exported_ms": next(exported),
            }
            for one in found[study]
        ]
        for study in STUDIES
    }
    return {
        "studies": studies,
        "data": every[0].summary["data"],
        "largest_ms": table.ms(table.largest),
        "fastest_ms": fastest(table).ms,
    }


def _exported(one: runs.Found) -> Any:
    """The file that a user of the network gets, in integer kernels."""
    import torch

    from algo.export.export_found import file_of
    from algo.nas.run import images_to_test
    from algo.nas.take_away import restored

    images, _ = images_to_test(one.folder)
    network = restored(one.folder.path, one.folder.table)
    return file_of(network, torch.from_numpy(images[:2]), fold=True, integer_kernels=True)


def present(data: Mapping[str, Any]) -> Page:
    """How near to the named latency networks are, and accuracy over latency."""
    studies = data["studies"]
    named = [one for study, found in studies.items() if study.startswith("latency") for one in found]
    shares = [one["measured_ms"] / one["limit_ms"] for one in named]
    files = [one["exported_ms"] / one["limit_ms"] for one in named]
    met = sum(_LEAST <= share <= _MOST for share in shares)
    every = [one for found in studies.values() for one in found]
    alike = sum(one["collapsed"] is not None for one in named)
    rows = [
        Row("named latency kept, searches", NOT_PUBLISHED, f"{met} of {len(named)}",
            f"measured on the whole network, {_LEAST:.2f} to {_MOST:.2f} of the limit"),
        Row("lowest and highest share of the limit", NOT_PUBLISHED, f"{min(shares):.3f} and {max(shares):.3f}"),
        Row("the same of exported files", NOT_PUBLISHED, f"{min(files):.3f} and {max(files):.3f}",
            "`rlu export --fold-batch-norm --integer-kernels`"),
        Row("mixed network less the one chosen, points, named latencies", NOT_PUBLISHED,
            f"{100 * np.mean([one['gap'] for one in named]):.1f}, at most {100 * max(one['gap'] for one in named):.1f}",
            "accuracies on the validation half, before further training"),
        Row("searches with all blocks alike, named latencies", NOT_PUBLISHED, f"{alike} of {len(named)}"),
    ]  # fmt: skip
    body = [
        (
            _name(study), *_mean(found, "latency_ms", 4, 1.0), *_mean(found, "measured_ms", 4, 1.0),
            *_mean(found, "exported_ms", 4, 1.0),
            *_mean(found, "accuracy", 1, 100.0), *_mean(found, "gap", 1, 100.0),
            *_mean(found, "size_bytes", 0, 1 / 1024), f"{sum(one['collapsed'] is not None for one in found)}",
            f"{np.mean([one['search_s'] for one in found]):.0f}, {np.mean([one['training_s'] for one in found]):.0f}",
        )
        for study, found in studies.items()
    ]  # fmt: skip
    header = (
        "aim", "by the table, ms", "measured, ms", "exported file, ms", "accuracy, %", "gap, points",
        "weights, KiB", "all alike", "search, training, s",
    )  # fmt: skip
    with figure(1) as drawn:
        [axes] = drawn.axes
        for number, (study, found) in enumerate(studies.items()):
            axes.plot(
                [one["measured_ms"] for one in found], [100 * one["accuracy"] for one in found],
                "o" if study.startswith("latency") else "s", color=COLOURS[number], label=_name(study),
            )  # fmt: skip
        axes.set(xlabel="latency measured, ms", ylabel="accuracy, %")
    return Page(
        rows,
        drawn.png,
        "Accuracy over latency of every network found",
        {"**Means over the seeds**": markdown_table(header, body)},
        (
            f"{data['data']}, {len(every)} searches. A latency in % is of the network that is largest in every block, "
            f"at 8 bits: {data['largest_ms']:.4f} ms.",
            "Latencies measured are of integer kernels with random weights, all timed in turn after the last search. "
            "Each search had timed its own network before it took it. Exported files have the trained weights.",
            f"The fastest network takes {100 * data['fastest_ms'] / data['largest_ms']:.0f} % of that, so a latency "
            "just above it leaves little to choose.",
            "Intervals are Student's t over the seeds, 95 %: with few seeds they are wide.",
            "As printed, the publication's accuracy first is (0.2, 0.8), which contradicts its loss. Here mu weighs "
            "accuracy.",
        ),
    )


def _name(study: str) -> str:
    if study.startswith("latency"):
        return study
    return next(f"(mu, nu) = ({mu:g}, {nu:g})" for mu, nu in runs.WEIGHTS if study == f"mu {mu:g}")


def _mean(found: list[dict[str, Any]], name: str, digits: int, times: float) -> tuple[str]:
    return (shown(mean_of_few([times * one[name] for one in found]), digits),)
