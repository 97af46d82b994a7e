"""The four published deployments: two from a search by model size, one energy-first and one latency-first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from algo.chips.evolver import EvolverChip
from algo.experiments.base import Page, Row, Settings, bits, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.runs import Finished, Study, description, policy_line, run_of, tuned
from algo.experiments.statistics import mean_of_few, shown
from algo.published.evolver import INT8_BASELINE, PUBLISHED_VGG8, evolver_facts
from algo.search.scoring import score
from algo.space.policy import Policy
from sim.devices.objective import Objective

#: Names in `algo/published/evolver.json`, in the order shown.
SMALLEST, BEST_BY_SIZE, ENERGY, LATENCY = "smallest model", "model size, best score", "energy first", "latency first"
#: Tuning runs that the data are made from.
TASKS: tuple[Study, ...] = ("energy", "latency", "model-size")
_FIGURES = ("accuracy", "latency_ms", "energy_uj", "score")


def configuration(settings: Settings) -> dict[str, Any]:
    """What the runs depend on."""
    return {task: description(settings, task) for task in TASKS}


def compute(settings: Settings) -> dict[str, Any]:
    """For every seed, the policy that each search deploys and the best it saw."""
    found = tuned(settings, *TASKS)
    config = run_of(settings, "energy", 1).config
    deployments: dict[str, list[dict[str, Any]]] = {SMALLEST: [], BEST_BY_SIZE: [], ENERGY: [], LATENCY: []}
    for proxy in found["model-size"]:
        scored = by_size(proxy, config.objective.at(proxy.summary["accuracy_th"]))
        deployments[SMALLEST].append(scored[0])
        deployments[BEST_BY_SIZE].append(scored[1])
    for name, task in ((ENERGY, "energy"), (LATENCY, "latency")):
        for one in found[task]:  # type: ignore[index]
            best = one.summary["best_seen"]
            deployments[name].append(
                _with_size(one.summary["found"])
                | {"seed": one.seed, "best_seen": _with_size(best) | {"iteration": best["iteration"]}}
            )
    first = found["energy"][0].summary
    return {
        "deployments": deployments,
        "baseline": [_with_size(one.summary["baseline_int8"]) for one in found["energy"]],
        "data": first["data"],
        "accuracy_th": [one.summary["accuracy_th"] for one in found["energy"]],
    }


def by_size(proxy: Finished, objective: Objective) -> tuple[dict[str, Any], dict[str, Any]]:
    """The smallest policy of a model-size search that keeps the accuracy, and its best by the objective's score.

    Among equally small ones, the one with the higher score. If no policy keeps the accuracy, the most accurate one,
    with the score 0.
    """
    chip, eights = EvolverChip(), (8,) * len(PUBLISHED_VGG8)
    seen = []
    for step in proxy.steps:
        if step.accuracy is None:
            continue
        cost = chip.measure(Policy(step.chosen["weight_bits"], eights, INT8_BASELINE.point))
        reached = score(objective, step.accuracy, cost.latency_ms, cost.energy_uj)
        measured = {
            "weight_bits": list(step.chosen["weight_bits"]), "activation_bits": list(eights),
            "voltage_v": step.voltage_v, "frequency_mhz": step.frequency_mhz,
            "accuracy": step.accuracy, "latency_ms": cost.latency_ms, "energy_uj": cost.energy_uj, "score": reached,
        }  # fmt: skip
        seen.append(_with_size(measured) | {"seed": proxy.seed, "iteration": step.iteration})
    feasible = [one for one in seen if one["score"] > 0] or [max(seen, key=lambda one: float(one["accuracy"]))]
    smallest = min(feasible, key=lambda one: (one["size_mb"], -one["score"]))
    return smallest, max(feasible, key=lambda one: float(one["score"]))


def present(data: Mapping[str, Any]) -> Page:
    """Published beside ours, figure by figure; the policies of every seed in a table."""
    rows, lines = [], []
    instead = {
        "accuracy": data["data"], "latency_ms": "chip model", "energy_uj": "chip model", "score": "both of these",
    }  # fmt: skip
    deployments = data["deployments"]
    for published in evolver_facts()["measurements"]:
        name = published["name"]
        if name not in deployments:
            continue
        ours = deployments[name]
        first = ours[0]
        point = evolver_facts()["operating_points"][published["point"]]
        rows.append(
            Row(
                f"**{name}**: weight bits; V, MHz",
                f"{bits(published['weight_bits'])}; {point['voltage_v']:.2f}, {point['frequency_mhz']}",
                f"{bits(first['weight_bits'])}; {first['voltage_v']:.2f}, {first['frequency_mhz']:g}",
                "seed 1; the other seeds below",
            )
        )
        rows.append(
            Row(
                "size, MB", f"{published['size_as_printed_mb']} as printed", f"{first['size_mb']:.2f}", "weights packed"
            )
        )
        for figure_name in _FIGURES:
            digits = 2 if figure_name in ("latency_ms", "energy_uj") else 3
            estimate = mean_of_few([one[figure_name] for one in ours])
            label = {"latency_ms": "latency, ms", "energy_uj": "energy, uJ"}.get(figure_name, figure_name)
            rows.append(Row(label, f"{published[figure_name]}", shown(estimate, digits), instead[figure_name]))
    for name, ours in deployments.items():
        for one in ours:
            lines.append(_line(f"{name}, seed {one['seed']}", one))
            if "best_seen" in one:
                lines.append(_line(f"{name}, seed {one['seed']}: best seen", one["best_seen"]))
    header = (
        "policy",
        "weight bits",
        "V",
        "MHz",
        "size MB",
        "accuracy",
        "latency ms",
        "energy uJ",
        "score",
        "iteration",
    )
    thresholds = ", ".join(f"{threshold:.3f}" for threshold in data["accuracy_th"])
    return Page(
        rows,
        _plot(deployments),
        "Latency and energy of the four deployments, published (on the chip) and ours (on the chip model)",
        {"Every policy": markdown_table(header, lines)},
        (
            "Energy-first and latency-first policies are the greedy ones of the last Q-table, retrained once more, as "
            "published; the best seen during the search is listed below them.",
            "The model-size search is the same unit with the model's size in place of latency and energy, at 0.80 V "
            "and 232 MHz (reading). From the policies it visited come the smallest that keeps the accuracy, and the "
            "best by the energy-first score.",
            f"Accuracy thresholds of the seeds: {thresholds}, two points below INT8 retrained; published: 0.685.",
            "Intervals are Student's t over the seeds, 95 %: with few seeds they are wide, and may exceed the range "
            "of a figure.",
        ),
    )


def _with_size(measured: Mapping[str, Any]) -> dict[str, Any]:
    weights = [layer.weights for layer in PUBLISHED_VGG8]
    size = float(np.dot(weights, measured["weight_bits"])) / 8e6
    return {**{key: measured[key] for key in policy_line(dict(measured))}, "size_mb": size}


def _line(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name, bits(one["weight_bits"]), f"{one['voltage_v']:.2f}", f"{one['frequency_mhz']:g}", f"{one['size_mb']:.2f}",
        f"{one['accuracy']:.3f}", f"{one['latency_ms']:.2f}", f"{one['energy_uj']:.2f}", f"{one['score']:.3f}",
        str(one.get("iteration", "last table")),
    )  # fmt: skip


def _plot(deployments: Mapping[str, Any]) -> bytes:
    with figure() as drawn:
        axes = drawn.axes[0]
        published = {entry["name"]: entry for entry in evolver_facts()["measurements"]}
        for colour, (name, ours) in zip(COLOURS, deployments.items(), strict=False):
            axes.plot(
                [one["latency_ms"] for one in ours], [one["energy_uj"] for one in ours], "o", color=colour, label=name
            )
            axes.plot(
                published[name]["latency_ms"],
                published[name]["energy_uj"],
                "x",
                color=colour,
                label=f"{name}, published",
            )
        axes.set(xlabel="latency, ms", ylabel="energy, uJ")
    return drawn.png
