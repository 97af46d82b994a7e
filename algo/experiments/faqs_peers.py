"""FAQS beside FedAvg and FedNAS+EDD on the same path: accuracy and measured bytes, as published and with our codec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from algo.experiments import faqs_runs as runs
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_few, shown

PAGE = runs.PAGE
_NAMES = (
    "fedavg, 32 bits", "fedavg, our codec", "fednas, 28 bits", "fednas, our codec", "faqs, 16 bits", "faqs, our codec",
    "fedavg largest, our codec",
)  # fmt: skip
#: Bits a value by the chapter's count.
_BITS = {"fedavg, 32 bits": 32, "fednas, 28 bits": 28, "faqs, 16 bits": 16}


def configuration(settings: Settings) -> dict[str, Any]:
    """The runs."""
    return runs.description(settings, *_NAMES) | {"alone": runs.ALONE}


def compute(settings: Settings) -> dict[str, Any]:
    """Curves of all runs, and how many values each method's network has."""
    found = runs.made(settings, *_NAMES)
    first = next(iter(found.values()))[0]
    return {
        "data": first.summary["data"],
        "clients": len(first.rounds[0]["held"]),
        "runs": {name: [one.curve() for one in finished] for name, finished in found.items()},
        "values": {name: _values(settings, name) for name in _NAMES},
        "alone": runs.alone(settings),
    }


def _values(settings: Settings, name: str) -> int:
    """Values of all slices of a method's network."""
    from algo.fed.federation import learner_of
    from algo.fed.learners import Preference
    from algo.nas.latency_table import LatencyTable

    table = runs.table_of(settings)
    layout = learner_of(
        runs.config_of(name, settings.scale, 1, str(table), settings.data), LatencyTable.read(table), Preference()
    ).layout
    return layout.count(range(len(layout.slices)))


def present(data: Mapping[str, Any]) -> Page:
    """Bytes and accuracies, compared as the chapter does and at equal bytes."""
    curves = data["runs"]
    fedavg, fedavg_ours, fednas, _, faqs, faqs_ours, largest = (curves[name] for name in _NAMES)
    rows = [
        Row("FedNAS+EDD's bytes / FAQS's, method alone", "4.51", _ratio(fednas, faqs), "28 and 16 bits a value"),
        Row("32-bit FedAvg's bytes a round / FAQS's, method alone", "1.58", _ratio(fedavg, faqs)),
        Row("FAQS less FedNAS+EDD, points", "-0.1", _points(faqs, fednas), "0.5 allowed"),
        Row("FAQS less FedAvg, points", "3.1", _points(faqs, fedavg)),
        Row("32-bit FedAvg's bytes / FAQS's with our codec; points gained", NOT_PUBLISHED,
            f"{_ratio(fedavg, faqs_ours)}; {_points(faqs_ours, fedavg)}", "12.7 times wanted, 0.3 points allowed"),
        Row("the same, FedAvg with our codec", NOT_PUBLISHED,
            f"{_ratio(fedavg, fedavg_ours)}; {_points(fedavg_ours, fedavg)}"),
        Row("FedNAS+EDD's bytes / FAQS's with our codec", NOT_PUBLISHED, _ratio(fednas, faqs_ours), "30 times wanted"),
        Row("FAQS less FedAvg at equal bytes, both with our codec, points", NOT_PUBLISHED,
            _at_equal_bytes(faqs_ours, fedavg_ours), "1 wanted"),
        Row("the same, FedAvg with all blocks as large as a super-kernel", NOT_PUBLISHED,
            _at_equal_bytes(faqs_ours, largest)),
        Row("FAQS with our codec less clients alone, with the largest network; both after their own training, points",
            NOT_PUBLISHED, f"{_points(faqs_ours, data['alone'])}; {_tuned_points(faqs_ours, data['alone'])}"),
    ]  # fmt: skip
    clients = data["clients"]
    body = [
        (
            name, f"{data['values'][name]:,}",
            _mean([100 * float(np.mean(one["global_accuracy"][-5:])) for one in found], 1),
            _mean([100 * runs.end(one) for one in found], 1),
            _mean([100 * one["tuned_accuracy"] for one in found], 1),
            _mean([one["bytes"][-1] / 1e6 for one in found], 2),
            _mean([100 * np.mean(one["held"]) for one in found], 0),
            f"{np.mean([one['bytes'][0] for one in found]) / clients / 1e3:.1f}",
            f"{np.mean([one['bytes'][-1] - one['bytes'][-2] for one in found]) / clients / 1e3:.1f}",
            _formula(data, name, found),
        )
        for name, found in curves.items()
    ]  # fmt: skip
    body.append(
        (
            "alone, largest network", f"{data['values'][runs.ALONE]:,}", "",
            _mean([100 * runs.end(one) for one in data["alone"]], 1),
            _mean([100 * one["tuned_accuracy"] for one in data["alone"]], 1), "0", "", "", "", "",
        )
    )  # fmt: skip
    header = (
        "method and coding", "values", "what the server sends, %", "accuracy, %", "after its own training, %",
        "all bytes, MB", "held, %",
        "first round, kB a client", "last round, kB a client", "the chapter's formula, kB a round and client",
    )  # fmt: skip
    return Page(
        rows,
        _plot(data),
        "Mean accuracy of the clients by round and by bytes; lines are means over the seeds",
        {"**Means over the seeds**": markdown_table(header, body)},
        (
            f"{data['data']}, {clients} clients, LDA 0.2. Accuracy is each client's on its own test images after its "
            "training in a round, the mean of the last five rounds; what the server sends is tested on the same images "
            "before that training. Clients alone train for as many epochs, and send nothing.",
            "Held is the share of the values that clients send and receive, of those whose replies count.",
            "Bytes are the lengths of all messages, both ways. The chapter's formula is 2 x ratio x values x bits.",
            "Published: CIFAR-10, networks of 16 blocks, 100 to 150 rounds. The chapter's block has 9 k values and 72 "
            "kB (FedAvg), 25 k and 175 kB (FedNAS+EDD), 9 k and 18.4 kB (FAQS, ratio 0.51) a round, which is 3.9 and "
            "9.5 times less; its measured totals are 1.58 and 4.51.",
            "Intervals are Student's t over the seeds, 95 %: with few seeds they are wide.",
        ),
    )


def _mean(values: list[Any], digits: int) -> str:
    return shown(mean_of_few([float(one) for one in values]), digits)


def _ratio(some: list[Any], others: list[Any]) -> str:
    pairs = zip(some, others, strict=True)
    return _mean([one["bytes"][-1] / other["bytes"][-1] for one, other in pairs], 2)


def _points(some: list[Any], others: list[Any]) -> str:
    return _mean([100 * (runs.end(one) - runs.end(other)) for one, other in zip(some, others, strict=True)], 1)


def _tuned_points(some: list[Any], others: list[Any]) -> str:
    pairs = zip(some, others, strict=True)
    return _mean([100 * (one["tuned_accuracy"] - other["tuned_accuracy"]) for one, other in pairs], 1)


def _at_equal_bytes(some: list[Any], others: list[Any]) -> str:
    """Points that some are ahead when the one that sends less has ended."""
    gains = []
    for one, other in zip(some, others, strict=True):
        most = min(one["bytes"][-1], other["bytes"][-1])
        gains.append(100 * (runs.at_bytes(one, most) - runs.at_bytes(other, most)))
    return _mean(gains, 1)


def _formula(data: Mapping[str, Any], name: str, found: list[Any]) -> str:
    if name not in _BITS:
        return ""
    ratio = float(np.mean([np.mean(one["held"]) for one in found]))
    return f"{2 * ratio * data['values'][name] * _BITS[name] / 8 / 1e3:.1f}"


def _plot(data: Mapping[str, Any]) -> bytes:
    with figure(2) as drawn:
        left, right = drawn.axes
        alone = 100 * np.mean([one["accuracy"] for one in data["alone"]], axis=0)
        left.plot(range(1, len(alone) + 1), alone, color="#888888", linestyle=":", label="alone, largest network")
        for number, (name, found) in enumerate(data["runs"].items()):
            accuracy = 100 * np.mean([one["accuracy"] for one in found], axis=0)
            megabytes = np.mean([one["bytes"] for one in found], axis=0) / 1e6
            left.plot(range(1, len(accuracy) + 1), accuracy, color=COLOURS[number], label=name)
            right.plot(megabytes, accuracy, color=COLOURS[number], label=name)
        left.set(xlabel="round", ylabel="accuracy, %")
        right.set(xlabel="all messages so far, MB", xscale="log")
    return drawn.png
