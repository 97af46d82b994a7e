"""A run's summary as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from algo.space.dimensions import DIMENSIONS, is_int8
from algo.support.figures import shown_cost


def summary_table(summary: Mapping[str, Any]) -> str:
    """Baseline, policy found and best policy seen as a Markdown table, with what they cost to find."""
    rows = [
        (baseline_name(summary["baseline_int8"]), summary["baseline_int8"]),
        (found_name(summary), summary["found"]),
        (f"best seen (iteration {summary['best_seen']['iteration']})", summary["best_seen"]),
    ]
    lines = [
        f"data: {summary['data']}; accuracy threshold {summary['accuracy_th']:.3f}",
        f"{summary['iterations']} iterations: {summary['trained']} trained, {summary['cached']} from the cache, "
        f"{summary['skipped']} outliers never trained",
    ]
    if summary["golden_words_compared"]:
        lines.append(f"the golden model agreed with the RTL in all {summary['golden_words_compared']} words read")
    if predicted := summary.get("found_predicted"):
        lines.append(
            f"accuracy predicted for the policy found: {predicted['accuracy']:.3f}; its choices were tried "
            f"{' '.join(map(str, predicted['trials']))} times"
        )
    dimensions = [dimension for dimension in DIMENSIONS.values() if dimension.name in summary["found"]]
    titles = " | ".join(dimension.title for dimension in dimensions)
    lines += [
        "",
        f"| policy | {titles} | V | MHz | accuracy | latency ms | energy uJ | score |",
        "| --- |" + " --- |" * (len(dimensions) + 6),
    ]
    for name, row in rows:
        energy = "unavailable" if row["energy_uj"] is None else shown_cost(row["energy_uj"])
        values = " | ".join(_values(row[dimension.name]) for dimension in dimensions)
        lines.append(
            f"| {name} | {values} | {_figure(row['voltage_v'], '.2f')} "
            f"| {_figure(row['frequency_mhz'], 'g')} | {row['accuracy']:.3f} | {shown_cost(row['latency_ms'])} "
            f"| {energy} | {row['score']:.3f} |"
        )
    return "\n".join(lines)


def baseline_name(values: Mapping[str, Sequence[int]]) -> str:
    """What tables call the baseline with these values by dimension."""
    return "INT8 baseline" if is_int8(values) else "baseline, widest bit-widths"


def found_name(summary: Mapping[str, Any]) -> str:
    """What tables call the policy found, with how it was found; older runs do not say how."""
    return f"found ({summary.get('found_how', 'greedy')})"


def _figure(figure: float | None, how: str) -> str:
    """A figure, or ``unavailable``."""
    return "unavailable" if figure is None else format(figure, how)


def _values(values: list[int]) -> str:
    """Values of the layers, or one value if they are all equal."""
    return str(values[0]) if len(set(values)) == 1 else " ".join(map(str, values))
