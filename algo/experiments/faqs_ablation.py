"""FAQS with one thing changed at a time: reductions, parts of the codec, the partition; and a hostile client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from algo.experiments import faqs_runs as runs
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_few, shown

PAGE = runs.PAGE
_FEDAVG, _FEDNAS, _AS_A, _PERSONAL = "fedavg, 32 bits", "fednas, 28 bits", "as client A, 16 bits", "personal, 16 bits"
_FEDAVG_OURS = "fedavg, our codec"
_REDUCTIONS = {
    _FEDAVG: "FedAvg, 32 bits",
    _FEDNAS: "FedNAS+EDD, 28 bits",
    "faqs, 16 bits": "all three reductions",
    "fednas, 16 bits": "no weight sharing: all paths",
    "faqs, 28 bits": "no bit sharing: 16, 8 and 4 bits of every value",
    _AS_A: "all three, all clients with the preference of the chapter's client A",
    _PERSONAL: "all three, clients with the preferences of A, B and C",
    "personal, 16 bits, all slices": "the same without selective aggregation",
}
_CODEC = {
    "1 bit": "1 bit",
    "1.5 bits": "1.5 bits",
    "faqs, our codec": "2 bits",
    "3 bits": "3 bits",
    "no feedback": "2 bits, what rounding loses is lost",
}
_LDA = {
    "faqs, our codec": "LDA 0.2, FAQS",
    _FEDAVG_OURS: "LDA 0.2, FedAvg",
    **{
        f"lda {lda:g}, {method}": f"LDA {lda:g}, {method.replace('faqs', 'FAQS').replace('fedavg', 'FedAvg')}"
        for lda in (0.05, 1.0)
        for method in ("faqs", "fedavg")
    },
}
_TABLES = {"**The reductions**": _REDUCTIONS, "**The codec's parts**": _CODEC, "**The partition**": _LDA}
_NAMES = tuple(dict.fromkeys([name for table in _TABLES.values() for name in table] + ["hostile"]))


def configuration(settings: Settings) -> dict[str, Any]:
    """The runs."""
    return runs.description(settings, *_NAMES)


def compute(settings: Settings) -> dict[str, Any]:
    """Curves of all runs."""
    found = runs.made(settings, *_NAMES)
    return {
        "data": found["hostile"][0].summary["data"],
        "clients": len(found["hostile"][0].rounds[0]["held"]),
        "runs": {name: [one.curve() for one in finished] for name, finished in found.items()},
    }


def present(data: Mapping[str, Any]) -> Page:
    """Bytes and accuracy of each change."""
    curves, usual = data["runs"], data["runs"]["faqs, our codec"]
    named = [np.mean([0 in refused for refused in one["refused"]]) for one in curves["hostile"]]
    others = [
        np.mean([any(client != 0 for client in refused) for refused in one["refused"]]) for one in curves["hostile"]
    ]
    lost = [100 * (_honest(one) - _honest(other)) for one, other in zip(usual, curves["hostile"], strict=True)]
    rows = [
        *(
            Row(f"FedNAS+EDD's bytes / FAQS's; 32-bit FedAvg's / FAQS's; points against FedNAS+EDD; {text}",
                "4.51; 1.58; -0.1",
                f"{_ratio(curves[_FEDNAS], curves[name])}; {_ratio(curves[_FEDAVG], curves[name])}; "
                f"{_points(curves[name], curves[_FEDNAS])}", "28, 32 and 16 bits a value; -0.5 points allowed")
            for name, text in ((_AS_A, "all clients as client A"), (_PERSONAL, "clients A, B and C"))
        ),
        *(
            Row(f"32-bit FedAvg's bytes / FAQS's with {name}; points gained", NOT_PUBLISHED,
                f"{_ratio(curves[_FEDAVG], curves[name])}; {_points(curves[name], curves[_FEDAVG])}",
                "27 and 60 times wanted, 0.3 points allowed")
            for name in ("1.5 bits", "1 bit")
        ),
        Row("FedAvg with 2 bits: its bytes / FAQS's with 1.5 bits; points of FAQS less FedAvg", NOT_PUBLISHED,
            f"{_ratio(curves[_FEDAVG_OURS], curves['1.5 bits'])}; {_points(curves['1.5 bits'], curves[_FEDAVG_OURS])}",
            "1 point wanted at equal bytes"),
        Row("one of the clients hostile: rounds in which it is named, %", NOT_PUBLISHED,
            _mean([100 * x for x in named], 0),
            f"it sends {runs.BACKWARDS:g} times the opposite of what it has learned"),
        Row("rounds in which an honest one is named, %", NOT_PUBLISHED, _mean([100 * x for x in others], 0)),
        Row("points that the other clients lose", NOT_PUBLISHED, _mean(lost, 1), "at most 1 wanted"),
    ]  # fmt: skip
    more = {
        title: markdown_table(
            (
                "",
                "accuracy, %",
                "after its own training, %",
                "all bytes, MB",
                "held, %",
                "values, heads, % of the bytes",
            ),
            [(text, *_cells(curves[name])) for name, text in table.items()],
        )
        for title, table in _TABLES.items()
    }
    with figure(1) as drawn:
        [axes] = drawn.axes
        for number, (name, text) in enumerate({**_CODEC, "hostile": "one client hostile"}.items()):
            accuracy = 100 * np.mean([one["accuracy"] for one in curves[name]], axis=0)
            axes.plot(
                np.mean([one["bytes"] for one in curves[name]], axis=0) / 1e6,
                accuracy,
                color=COLOURS[number],
                label=text,
            )
        axes.set(xlabel="all messages so far, MB", ylabel="accuracy, %")
    return Page(
        rows,
        drawn.png,
        "Accuracy over bytes for parts of the codec, and with a hostile client",
        more,
        (
            f"{data['data']}, {data['clients']} clients, LDA 0.2 where nothing else is said.",
            "Accuracy is each client's on its own test images after its training in a round, the mean of the last five "
            "rounds. With a hostile client, its own accuracy is not counted among the points lost.",
            "Intervals are Student's t over the seeds, 95 %: with few seeds they are wide.",
        ),
    )


def _cells(found: list[Any]) -> tuple[str, ...]:
    everything = [sum(one["parts"].values()) for one in found]
    parts = [
        float(np.mean([100 * one["parts"][part] / total for one, total in zip(found, everything, strict=True)]))
        for part in ("values", "heads")
    ]
    return (
        _mean([100 * runs.end(one) for one in found], 1),
        _mean([100 * one["tuned_accuracy"] for one in found], 1),
        _mean([one["bytes"][-1] / 1e6 for one in found], 2),
        _mean([100 * np.mean(one["held"]) for one in found], 0),
        f"{parts[0]:.1f}, {parts[1]:.1f}",
    )


def _ratio(some: list[Any], others: list[Any]) -> str:
    return _mean([one["bytes"][-1] / other["bytes"][-1] for one, other in zip(some, others, strict=True)], 2)


def _points(some: list[Any], others: list[Any]) -> str:
    return _mean([100 * (runs.end(one) - runs.end(other)) for one, other in zip(some, others, strict=True)], 1)


def _honest(curve: Mapping[str, Any]) -> float:
    """Mean accuracy of all clients but the first after their own training, 0..1."""
    return float(np.mean([one["tuned_accuracy"] for one in curve["clients"] if one["client"] != 0]))


def _mean(values: list[Any], digits: int) -> str:
    return shown(mean_of_few([float(one) for one in values]), digits)
