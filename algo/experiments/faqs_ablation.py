"""FAQS with one thing changed at a time: reductions, parts of the codec, the partition; and hostile clients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
#: Clients that train alone, by the run whose clients they are.
_ALONE = {runs.ALONE: "LDA 0.2, alone, largest network"} | {
    f"lda {lda:g}, alone": f"LDA {lda:g}, alone, largest network" for lda in (0.05, 1.0)
}
_TABLES = {"**The reductions**": _REDUCTIONS, "**The codec's parts**": _CODEC, "**The partition**": _LDA}
_UNUSUAL = {
    "one silent": "one never replies",
    "one hostile": f"one sends {runs.HostileClient.factor:g} times the opposite of what it has learned",
    "one hostile, once": "one sends the opposite once",
    "two hostile": f"two send {runs.HostileClient.factor:g} times the opposite",
}
_NAMES = tuple(dict.fromkeys([name for table in (*_TABLES.values(), _UNUSUAL) for name in table]))


def configuration(settings: Settings) -> dict[str, Any]:
    """The runs."""
    return runs.description(settings, *_NAMES, *_ALONE)


def compute(settings: Settings) -> dict[str, Any]:
    """Curves of all runs."""
    found = runs.made(settings, *_NAMES)
    return {
        "data": found[_FEDAVG][0].summary["data"],
        "clients": len(found[_FEDAVG][0].rounds[0]["held"]),
        "runs": {name: [one.curve() for one in finished] for name, finished in found.items()},
        "alone": {name: runs.alone(settings, name) for name in _ALONE},
    }


def present(data: Mapping[str, Any]) -> Page:
    """Bytes and accuracy of each change."""
    curves = data["runs"]
    rows = [
        *(
            Row(f"FedNAS+EDD's bytes / FAQS's; 32-bit FedAvg's / FAQS's; points against FedNAS+EDD; {text}",
                "4.51; 1.58; -0.1",
                f"{_ratio(curves[_FEDNAS], curves[name])}; {_ratio(curves[_FEDAVG], curves[name])}; "
                f"{_points(curves[name], curves[_FEDNAS])}", "28, 32 and 16 bits a value; -0.5 points allowed")
            for name, text in ((_AS_A, "all clients as client A"), (_PERSONAL, "clients A, B and C"))
        ),
        Row("FedNAS's bytes / FAQS's with the same 16 bits a value; all clients as client A, no preferences",
            NOT_PUBLISHED,
            "; ".join(_ratio(curves["fednas, 16 bits"], curves[name]) for name in (_AS_A, "faqs, 16 bits"))),
        *(
            Row(f"32-bit FedAvg's bytes / FAQS's with {name}; points gained", NOT_PUBLISHED,
                f"{_ratio(curves[_FEDAVG], curves[name])}; {_points(curves[name], curves[_FEDAVG])}",
                "27 and 60 times wanted, 0.3 points allowed")
            for name in ("1.5 bits", "1 bit")
        ),
        Row("FedAvg with 2 bits: its bytes / FAQS's with 1.5 bits; points of FAQS less FedAvg", NOT_PUBLISHED,
            f"{_ratio(curves[_FEDAVG_OURS], curves['1.5 bits'])}; {_points(curves['1.5 bits'], curves[_FEDAVG_OURS])}",
            "1 point wanted at equal bytes"),
        Row("points that the other clients lose if one is hostile; if it never replied", NOT_PUBLISHED,
            "; ".join(_lost(curves, name) for name in ("one hostile", "one silent")), "at most 1 wanted"),
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
            [(text, *_cells(curves[name])) for name, text in table.items()]
            + [(text, *_cells_alone(data["alone"][name])) for name, text in _ALONE.items() if table is _LDA],
        )
        for title, table in _TABLES.items()
    }
    more["**Clients that are not honest**"] = markdown_table(
        ("", "named, % of the rounds", "rounds in which an honest one is named, %", "points that the others lose"),
        [(text, *_named(curves[name], runs.UNUSUAL[name]), _lost(curves, name)) for name, text in _UNUSUAL.items()],
    )
    with figure(1) as drawn:
        [axes] = drawn.axes
        for number, (name, text) in enumerate({**_CODEC, "one hostile": "one client hostile"}.items()):
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
            "rounds.",
            "No weight sharing and no bit sharing are the trainings of FedNAS+EDD and of all three reductions. Their "
            "messages would say the same, so they are counted again, with 16 and 28 bits a value.",
            "Points lost are of the mean accuracy of the honest clients after their own training, in the last table. "
            "Behind its means are the values of each seed.",
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


def _cells_alone(found: list[Any]) -> tuple[str, ...]:
    accuracies = (
        _mean([100 * runs.end(one) for one in found], 1),
        _mean([100 * one["tuned_accuracy"] for one in found], 1),
    )
    return (*accuracies, "0", "", "")


def _ratio(some: list[Any], others: list[Any]) -> str:
    return _mean([one["bytes"][-1] / other["bytes"][-1] for one, other in zip(some, others, strict=True)], 2)


def _points(some: list[Any], others: list[Any]) -> str:
    return _mean([100 * (runs.end(one) - runs.end(other)) for one, other in zip(some, others, strict=True)], 1)


def _named(found: list[Any], unusual: Collection[int]) -> tuple[str, ...]:
    """In what share of the rounds these clients are named, in the mean over them, and any other one."""
    right = [
        100 * np.mean([np.mean([one in refused for one in unusual]) for refused in run["refused"]]) for run in found
    ]
    wrong = [100 * np.mean([bool(set(refused) - set(unusual)) for refused in run["refused"]]) for run in found]
    return tuple(_each(values, 0) for values in (right, wrong))


def _lost(curves: Mapping[str, Any], name: str) -> str:
    """Points that honest clients have less after their own training than if all were honest."""
    unusual = runs.UNUSUAL[name]

    def honest(curve: Mapping[str, Any]) -> float:
        return float(np.mean([one["tuned_accuracy"] for one in curve["clients"] if one["client"] not in unusual]))

    usual = curves["faqs, our codec"]
    return _each([100 * (honest(one) - honest(other)) for one, other in zip(usual, curves[name], strict=True)], 1)


def _each(values: Sequence[Any], digits: int) -> str:
    """The mean, and the value of each seed: an interval of so few says less."""
    return f"{np.mean(values):.{digits}f} ({', '.join(f'{one:.{digits}f}' for one in values)})"


def _mean(values: list[Any], digits: int) -> str:
    return shown(mean_of_few([float(one) for one in values]), digits)
