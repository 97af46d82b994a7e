"""ResNet34 with one weight bit-width per residual block, 1,200 iterations, beside the search by model size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algo.chips.evolver import EvolverChip
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, bits, markdown_table
from algo.experiments.plots import COLOURS, figure, score_axis
from algo.experiments.resnet34_setup import FULL_WIDTH, full_width_layers, network, scaled_ranges, space_of_blocks
from algo.experiments.runs import Finished, Study, description, policy_line, run_of, tuned
from algo.published.evolver import INT8_BASELINE, evolver_facts
from algo.search.scoring import score
from sim.devices.objective import Objective

#: Tuning runs that the data are made from.
TASKS: tuple[Study, ...] = ("resnet34", "resnet34-size")


def configuration(settings: Settings) -> dict[str, Any]:
    """What the runs depend on."""
    return {task: description(settings, task) for task in TASKS}


def compute(settings: Settings) -> dict[str, Any]:
    """Both searches; policies of the model-size search are scored like the others, at its operating point."""
    found = tuned(settings, *TASKS)
    config = run_of(settings, "resnet34", 1).config
    seeds = []
    for ours, proxy in zip(found["resnet34"], found["resnet34-size"], strict=True):
        scores = proxy_scores(proxy, config.objective.at(proxy.summary["accuracy_th"]))
        best_proxy = max(scores)
        curve = ours.best_so_far
        beats = next((k for k, value in enumerate(curve) if value > best_proxy), None)
        summary = ours.summary
        seeds.append(
            {
                "seed": ours.seed,
                "curve": curve,
                "proxy_curve": [max(scores[: k + 1]) for k in range(len(scores))],
                "best_proxy": best_proxy,
                "beats_best_proxy_at": beats,
                "counts": {name: summary[name] for name in ("iterations", "trained", "skipped")},
                "baseline": policy_line(summary["baseline_int8"]),
                "found": policy_line(summary["found"]),
                "best_seen": {"iteration": summary["best_seen"]["iteration"]} | policy_line(summary["best_seen"]),
                "accuracy_th": summary["accuracy_th"],
                "data": summary["data"],
            }
        )
    return {"seeds": seeds, "network": network(settings.scale), "ranges": scaled_ranges()}


def proxy_scores(proxy: Finished, objective: Objective) -> list[float]:
    """Energy-first score of each policy of a model-size search; 0 for an outlier."""
    chip, space = EvolverChip(full_width_layers()), space_of_blocks(EvolverChip(full_width_layers()))
    scores = []
    for step in proxy.steps:
        cost = chip.measure(space.decode((*step.actions[:-1], INT8_BASELINE.point)))
        scores.append(score(objective, step.accuracy or 0.0, cost.latency_ms, cost.energy_uj))
    return scores


def present(data: Mapping[str, Any]) -> Page:
    """Published beside ours for the first seed; the others in a table."""
    facts = evolver_facts()["resnet34"]
    first, made = data["seeds"][0], data["network"]
    best, narrow = (
        first["best_seen"],
        f"width {made['width']} of {FULL_WIDTH}, {made['image_side']}x{made['image_side']} images",
    )
    proxy = first["beats_best_proxy_at"]
    rows = [
        Row(
            "iterations", f"{facts['iterations']:,}", f"{first['counts']['iterations']:,}", "the 330 epsilons stretched"
        ),
        Row("best score", f"{facts['best_score']}", f"{best['score']:.3f}", f"{first['data']}; {narrow}; chip model"),
        Row("found at iteration", f"{facts['found_at_iteration']:,}", f"{best['iteration']:,}"),
        Row(
            "grid search's score",
            f"{facts['grid_score']}",
            "not run",
            "it needs as many trainings again; see the tables",
        ),
        Row(
            "better than the best of the model-size search from iteration",
            f"{facts['beats_best_proxy_at_iteration']}",
            "never" if proxy is None else f"{proxy:,}",
            f"its best of as many iterations: {first['best_proxy']:.3f}",
        ),
        Row("tuning time, h", f"{facts['hours']}", "not measured", "no chip"),
        Row("tuning energy, J", f"{facts['energy_j']}", "not measured", "no chip"),
        Row("trainings", NOT_PUBLISHED, f"{first['counts']['trained']:,} of {first['counts']['iterations']:,}"),
    ]
    with figure() as drawn:
        axes = drawn.axes[0]
        axes.plot(first["curve"], color=COLOURS[0], label="energy first, best so far")
        axes.plot(first["proxy_curve"], color=COLOURS[2], label="model size, best so far at 0.80 V")
        axes.axhline(
            facts["best_score"], color="grey", linestyle=":", label="published best (its own network and data)"
        )
        score_axis(axes, [first["curve"], first["proxy_curve"]], facts["best_score"])
        axes.set(xlabel="iteration", ylabel="score")
    policies = [
        (f"seed {seed['seed']}: {name}", bits(seed[key]["weight_bits"]), f"{seed[key]['voltage_v']:.2f}",
         f"{seed[key]['frequency_mhz']:g}", f"{seed[key]['accuracy']:.3f}", f"{seed[key]['latency_ms']:.2f}",
         f"{seed[key]['energy_uj']:.1f}", f"{seed[key]['score']:.3f}")
        for seed in data["seeds"]
        for name, key in (("INT8", "baseline"), ("found (greedy)", "found"), ("best seen", "best_seen"))
    ]  # fmt: skip
    ranges = data["ranges"]
    header = ("policy", "weight bits of the 16 blocks", "V", "MHz", "accuracy", "latency ms", "energy uJ", "score")
    return Page(
        rows, drawn.png, "ResNet34: best score so far of the energy-first and the model-size search",
        {"Policies": markdown_table(header, policies)},
        (
            "A row of the policy is a residual block, whose two or three convolutions share its bit-width; the first "
            "convolution and the last layer stay at 8 bits (reading of \"one weight bit-width per residual block\").",
            f"The network trained has {narrow}; latency and energy are the chip model's for the full-width network on "
            "32x32 colour images.",
            f"Thresholds and ranges are VGG8's times the ratio of the two networks' INT8 latencies and energies in the "
            f"chip model: {ranges['latency_low_ms']:.2f} to {ranges['latency_high_ms']:.2f} ms, "
            f"{ranges['energy_low_uj']:.1f} to {ranges['energy_high_uj']:.1f} uJ. Scores can therefore not be compared "
            "with the published one in absolute terms.",
            f"Accuracy threshold {first['accuracy_th']:.3f}, two points below INT8 retrained; {len(data['seeds'])} "
            "seed(s), so no confidence interval of the search itself.",
        ),
    )  # fmt: skip
