"""The latency-first task (a, b, c = 0.25, 0.65, 0.10), and its trade-off against the energy-first one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings
from algo.experiments.plots import COLOURS, figure, score_axis
from algo.experiments.policies import ENERGY, LATENCY
from algo.experiments.runs import Study, description, policy_line, tuned
from algo.experiments.statistics import mean_of_few, shown
from algo.published.evolver import evolver_facts

#: Tuning runs that the data are made from.
TASKS: tuple[Study, ...] = ("latency", "energy")


def configuration(settings: Settings) -> dict[str, Any]:
    """What the runs depend on."""
    return {task: description(settings, task) for task in TASKS}


def compute(settings: Settings) -> dict[str, Any]:
    """Both tasks' deployed policies, and the latency-first search's curve."""
    found = tuned(settings, *TASKS)
    return {
        "data": found["latency"][0].summary["data"],
        "curves": [one.best_so_far for one in found["latency"]],
        "best_at": [one.summary["best_seen"]["iteration"] for one in found["latency"]],
        "best": [policy_line(one.summary["best_seen"]) for one in found["latency"]],
        "latency": [policy_line(one.summary["found"]) for one in found["latency"]],
        "energy": [policy_line(one.summary["found"]) for one in found["energy"]],
    }


def present(data: Mapping[str, Any]) -> Page:
    """Published beside ours: the trade-off between the two tasks, and the score."""
    published = {entry["name"]: entry for entry in evolver_facts()["measurements"]}
    fast, frugal = published[LATENCY], published[ENERGY]

    def ratios(figure_name: str) -> list[float]:
        return [a[figure_name] / b[figure_name] for a, b in zip(data["latency"], data["energy"], strict=True)]

    def ours(key: str, figure_name: str, digits: int = 3) -> str:
        return shown(mean_of_few([one[figure_name] for one in data[key]]), digits)

    rows = [
        Row("score of the deployed policy", f"{fast['score']}", ours("latency", "score"), data["data"]),
        Row("score of the best policy seen", NOT_PUBLISHED, ours("best", "score")),
        Row("voltage, V", "1.05", ours("latency", "voltage_v", 2)),
        Row("accuracy", f"{fast['accuracy']}", ours("latency", "accuracy"), data["data"]),
        Row("latency, ms", f"{fast['latency_ms']}", ours("latency", "latency_ms", 2), "chip model"),
        Row("energy, uJ", f"{fast['energy_uj']}", ours("latency", "energy_uj", 2), "chip model"),
        Row("latency over that of energy first", f"{fast['latency_ms'] / frugal['latency_ms']:.2f}",
            shown(mean_of_few(ratios("latency_ms")), 2), "chip model"),
        Row("energy over that of energy first", f"{fast['energy_uj'] / frugal['energy_uj']:.2f}",
            shown(mean_of_few(ratios("energy_uj")), 2), "chip model"),
    ]  # fmt: skip
    with figure() as drawn:
        axes = drawn.axes[0]
        for seed, curve in enumerate(data["curves"], start=1):
            axes.plot(curve, color=COLOURS[seed - 1], label=f"seed {seed}, best so far")
        axes.axhline(fast["score"], color="grey", linestyle=":", label="published policy (its own network and data)")
        score_axis(axes, data["curves"], fast["score"])
        axes.set(xlabel="iteration", ylabel="score")
    return Page(
        rows, drawn.png, "Best latency-first score so far, a line per seed",
        notes=(
            "Deployed policies are the greedy ones of the last Q-table, one per seed; intervals are Student's t, 95 %.",
            "The chip model does not explain why the published latency-first policy is 26 % faster than the "
            "energy-first one although it computes more: see "
            "[the chip model](../understand/evolver-model.md#measured-against-modelled).",
        ),
    )  # fmt: skip
