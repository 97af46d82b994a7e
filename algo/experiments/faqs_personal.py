"""Clients with three preferences: the network that each ends with, as the chapter's clients A, B and C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from algo.experiments import faqs_runs as runs
from algo.experiments.base import Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_few, shown

PAGE = runs.PAGE
_NAMES = ("personal", "faqs, our codec", "fedavg, our codec")
#: Published: accuracy in %, latency in ms, size in MB.
_PUBLISHED = {"A": (88.2, 8.6, 15.1), "B": (83.6, 5.2, 15.4), "C": (86.1, 7.8, 11.3)}
_FEDAVG = "no preference (FedAvg)"


def configuration(settings: Settings) -> dict[str, Any]:
    """The runs."""
    return runs.description(settings, *_NAMES)


def compute(settings: Settings) -> dict[str, Any]:
    """What every client of every run ended with."""
    found = runs.made(settings, *_NAMES)
    return {
        "data": found["personal"][0].summary["data"],
        "runs": {name: [one.curve() for one in finished] for name, finished in found.items()},
    }


def present(data: Mapping[str, Any]) -> Page:
    """Means over the clients of each preference, all networks, and their scatter."""
    kinds = _kinds(data)
    rows = []
    for name, of_seeds in kinds.items():
        if name in _PUBLISHED:
            rows.append(
                Row(f"client {name}, (alpha, beta, gamma) = {runs.PREFERENCES[name]}: accuracy %, latency ms, size",
                    "{:g}, {:g}, {:g} MB".format(*_PUBLISHED[name]),
                    f"{_mean(of_seeds, 'tuned_accuracy', 100, 1)}; {_mean(of_seeds, 'latency_ms', 1, 4)}; "
                    f"{_mean(of_seeds, 'size_bytes', 1 / 1024, 1)} KiB")
            )  # fmt: skip
    rows.append(
        Row("latency of A / of B; size of A / of C", "1.65; 1.34",
            f"{_ratio(kinds['A'], kinds['B'], 'latency_ms')}; {_ratio(kinds['A'], kinds['C'], 'size_bytes')}")
    )  # fmt: skip
    networks = [
        (
            "ABC"[one["client"] % 3], str(curve["seed"]), str(one["client"]),
            " ".join("skip" if option is None else "k{}e{}/{}".format(*option) for option in one["options"]),
            f"{100 * one['tuned_accuracy']:.1f}", f"{one['latency_ms']:.4f}", f"{one['size_bytes'] / 1024:.1f}",
        )
        for curve in data["runs"]["personal"]
        for one in curve["clients"]
    ]  # fmt: skip
    means = [
        (
            name, _mean(of_seeds, "tuned_accuracy", 100, 1), _mean(of_seeds, "latency_ms", 1, 4),
            _mean(of_seeds, "size_bytes", 1 / 1024, 1),
        )
        for name, of_seeds in kinds.items()
    ]  # fmt: skip
    return Page(
        rows,
        _plot(kinds),
        "Latency, size and accuracy of every client after its own training",
        {
            "**Means over the clients and the seeds**": markdown_table(
                ("preference", "accuracy, %", "latency, ms", "weights, KiB"), means
            ),
            "**Every network**": markdown_table(
                ("preference", "seed", "client", "blocks: kernel, expansion / bits", "accuracy, %", "ms", "KiB"),
                sorted(networks),
            ),
        },
        (
            f"{data['data']}. Clients take the preferences A, B, C in turn; all have this machine's latency table.",
            "Clients have other classes and images, so accuracies of preferences are not of the same task: the same "
            "clients without a preference are in the last rows.",
            "Published sizes do not fit weights of at most 16 bits. Ours are bytes of all weights at their bits.",
            "Intervals are Student's t over the seeds, 95 %: with few seeds they are wide.",
        ),
    )


def _kinds(data: Mapping[str, Any]) -> dict[str, list[list[Mapping[str, Any]]]]:
    """By preference, the clients of every seed."""
    found = {}
    for number, name in enumerate(runs.PREFERENCES):
        found[name] = [
            [one for one in curve["clients"] if one["client"] % len(runs.PREFERENCES) == number]
            for curve in data["runs"]["personal"]
        ]
    found["no preference (FAQS)"] = [curve["clients"] for curve in data["runs"]["faqs, our codec"]]
    found[_FEDAVG] = [curve["clients"] for curve in data["runs"]["fedavg, our codec"]]
    return found


def _means(of_seeds: list[list[Mapping[str, Any]]], name: str, times: float) -> list[float]:
    return [float(np.mean([times * one[name] for one in clients])) for clients in of_seeds]


def _mean(of_seeds: list[list[Mapping[str, Any]]], name: str, times: float, digits: int) -> str:
    return shown(mean_of_few(_means(of_seeds, name, times)), digits)


def _ratio(some: list[list[Mapping[str, Any]]], others: list[list[Mapping[str, Any]]], name: str) -> str:
    pairs = zip(_means(some, name, 1), _means(others, name, 1), strict=True)
    return shown(mean_of_few([one / other for one, other in pairs]), 2)


def _plot(kinds: Mapping[str, list[list[Mapping[str, Any]]]]) -> bytes:
    with figure(2) as drawn:
        for axes, (name, label, times) in zip(
            drawn.axes, (("latency_ms", "latency, ms", 1.0), ("size_bytes", "weights, KiB", 1 / 1024)), strict=True
        ):
            for number, (kind, of_seeds) in enumerate(kinds.items()):
                everyone = [one for clients in of_seeds for one in clients]
                axes.plot(
                    [times * one[name] for one in everyone], [100 * one["tuned_accuracy"] for one in everyone], "o",
                    color=COLOURS[number], alpha=0.7, label=kind,
                )  # fmt: skip
            axes.set(xlabel=label)
        drawn.axes[0].set(ylabel="accuracy, %")
    return drawn.png
