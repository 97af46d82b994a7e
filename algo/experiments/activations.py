"""Activation bits searched as well as weight bits: 9 actions per layer, instead of 3 with activations at 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, bits, markdown_table
from algo.experiments.plots import COLOURS, figure, score_axis
from algo.experiments.runs import Study, description, policy_line, tuned
from algo.experiments.statistics import mean_of_few, shown

#: Tuning runs that the data are made from.
TASKS: tuple[Study, ...] = ("activations", "energy")


def configuration(settings: Settings) -> dict[str, Any]:
    """What the runs depend on."""
    return {task: description(settings, task) for task in TASKS}


def compute(settings: Settings) -> dict[str, Any]:
    """Curves and policies with activation bits searched and fixed."""
    found = tuned(settings, *TASKS)
    kinds = {}
    for kind, task in (("searched", "activations"), ("fixed", "energy")):
        runs = found[task]  # type: ignore[index]
        kinds[kind] = {
            "curves": [one.best_so_far for one in runs],
            "below_threshold": [sum(s.served != "skipped" and s.reward <= 0 for s in one.steps) for one in runs],
            "skipped": [one.summary["skipped"] for one in runs],
            "found": [policy_line(one.summary["found"]) for one in runs],
            "best": [policy_line(one.summary["best_seen"]) for one in runs],
            "best_at": [one.summary["best_seen"]["iteration"] for one in runs],
        }
    return {"data": found["activations"][0].summary["data"], **kinds}


def present(data: Mapping[str, Any]) -> Page:
    """Searched beside fixed activations; no figure was published for this search."""
    searched, fixed = data["searched"], data["fixed"]

    def mean(kind: Mapping[str, Any], key: str) -> str:
        return shown(mean_of_few([one["score"] for one in kind[key]]))

    layers = len(searched["found"][0]["weight_bits"])
    rows = [
        Row("actions per layer", "9", "9", "VGG8's rows with activations and weights of 2, 4 or 8 bits"),
        Row("policies in the space", NOT_PUBLISHED, f"{9**layers * 9:,}", f"at 8 bits: {3**layers * 9:,}"),
        Row("best score seen, activations searched", NOT_PUBLISHED, mean(searched, "best"), data["data"]),
        Row("best score seen, activations at 8 bits", NOT_PUBLISHED, mean(fixed, "best"), "the energy-first runs"),
        Row("score of the deployed policy, searched", NOT_PUBLISHED, mean(searched, "found")),
        Row("score of the deployed policy, at 8 bits", NOT_PUBLISHED, mean(fixed, "found")),
        Row("iterations below the accuracy threshold, searched", NOT_PUBLISHED,
            shown(mean_of_few(searched["below_threshold"]), 0)),
        Row("iterations below the accuracy threshold, at 8 bits", NOT_PUBLISHED,
            shown(mean_of_few(fixed["below_threshold"]), 0)),
    ]  # fmt: skip
    with figure() as drawn:
        axes = drawn.axes[0]
        for colour, name, kind in ((COLOURS[0], "searched", searched), (COLOURS[2], "at 8 bits", fixed)):
            for number, curve in enumerate(kind["curves"]):
                axes.plot(curve, color=colour, alpha=0.8, label=None if number else f"activations {name}, best so far")
        score_axis(axes, [*searched["curves"], *fixed["curves"]])
        axes.set(xlabel="iteration", ylabel="score")
    lines = [
        (f"seed {seed}: {name}", bits(one["weight_bits"]), bits(one["activation_bits"]), f"{one['voltage_v']:.2f}",
         f"{one['accuracy']:.3f}", f"{one['latency_ms']:.2f}", f"{one['energy_uj']:.2f}", f"{one['score']:.3f}")
        for name, key in (("found (greedy)", "found"), ("best seen", "best"))
        for seed, one in enumerate(searched[key], start=1)
    ]  # fmt: skip
    header = ("policy", "weight bits", "activation bits", "V", "accuracy", "latency ms", "energy uJ", "score")
    return Page(
        rows, drawn.png, "Best score so far with activation bits searched and at 8 bits, a line per seed",
        {"Policies with activations searched": markdown_table(header, lines)},
        (
            "The published text has 9 actions per state for VGG8 and reports its policies with activations at 8 bits.",
            "Below L_low and E_low the score is flat: what fewer activation bits save beyond them does not count.",
            "Intervals are Student's t over the seeds, 95 %.",
        ),
    )  # fmt: skip
