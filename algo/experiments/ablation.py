"""The published search with one thing changed at a time, on every table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import shown
from algo.experiments.tables import BUDGET, digests, scored, table_names
from algo.search.compare.regret import as_json
from algo.search.compare.sweep import table_digest
from algo.search.compare.variants import PUBLISHED, ablation, variants_of_the_published_search
from algo.support.cells import kept_as, run_cells


def configuration(settings: Settings) -> dict[str, Any]:
    """Tables, variants and seeds."""
    variants = [f"{variant.factor}: {variant.value}" for variant in variants_of_the_published_search()]
    return {"tables": digests(settings.scale), "seeds": _seeds(settings), "variants": variants}


def compute(settings: Settings) -> dict[str, Any]:
    """Mean regret of each variant, energy first."""
    names = table_names(settings.scale)
    variants = range(len(variants_of_the_published_search()))
    digest = {name: table_digest(scored(name, "energy").table) for name in names}
    cells = [(name, digest[name], variant, _seeds(settings)) for name in names for variant in variants]
    folder = settings.out / "cells"
    found = run_cells(search, cells, folder=folder, jobs=settings.jobs, ray=settings.ray, label="variants")
    return {
        "tables": [
            {
                "table": name,
                "optimum": scored(name, "energy").optimum,
                "rows": [row for cell, row in zip(cells, found, strict=True) if cell[0] == name],
            }
            for name in names
        ]
    }


@kept_as("algo.experiments.ablation.search")
def search(cell: tuple[str, str, int, int]) -> dict[str, Any]:
    """One variant, by its number, on a table (name and digest), for seeds 1, 2 ..."""
    name, _, number, seeds = cell
    variant = variants_of_the_published_search()[number]
    row = next(ablation(scored(name, "energy"), range(1, seeds + 1), [variant]))
    regret = {str(at): as_json(estimate) for at, estimate in row.regret.items()}
    return {"factor": row.factor, "value": row.value, "seeds": row.seeds, "regret": regret}


def present(data: Mapping[str, Any]) -> Page:
    """Regret of each variant, and whether it differs from the published search; nothing was published on these."""
    rows, more = [], {}
    for one in data["tables"]:
        published = one["rows"][0]["regret"][str(BUDGET)]
        rows.append(
            Row(f"{one['table']}: regret of the published search at {BUDGET}", NOT_PUBLISHED, shown(published, 4),
                f"optimum {one['optimum']:.4f}")
        )  # fmt: skip
        for what, pick in (("lowest", min), ("highest", max)):
            end = pick(one["rows"], key=lambda row: float(row["regret"][str(BUDGET)]["value"]))
            name = PUBLISHED if end["factor"] == PUBLISHED else f"{end['factor']} {end['value']}"
            figure_shown = shown(end["regret"][str(BUDGET)], 4)
            rows.append(Row(f"{one['table']}: {what} regret", NOT_PUBLISHED, f"{figure_shown}: {name}"))
        body = [
            (row["factor"], row["value"], f"{row['seeds']:,}", *(shown(found, 4) for found in row["regret"].values()),
             _verdict(row["regret"][str(BUDGET)], published))
            for row in one["rows"]
        ]  # fmt: skip
        header = ("factor", "value", "seeds", *one["rows"][0]["regret"], f"at {BUDGET}")
        more[f"**{one['table']}, energy first**"] = markdown_table(header, body)
    return Page(
        rows, _plot(data), f"Mean regret after {BUDGET} evaluations with one thing changed, with its 95 % interval",
        more,
        (
            "Regret is mean over seeds, with its 95 % bootstrap interval; *better* and *worse* mean that the interval "
            "does not overlap the published search's.",
            "An LFSR of 8 bits has 255 seeds.",
        ),
    )  # fmt: skip


def _verdict(ours: Mapping[str, float], published: Mapping[str, float]) -> str:
    if ours["high"] < published["low"]:
        return "better"
    return "worse" if ours["low"] > published["high"] else ""


def _plot(data: Mapping[str, Any]) -> bytes:
    with figure(len(data["tables"]), height=6.0) as drawn:
        for number, (axes, one) in enumerate(zip(drawn.axes, data["tables"], strict=True)):
            labels = [
                PUBLISHED if row["factor"] == PUBLISHED else f"{row['factor']}: {row['value']}" for row in one["rows"]
            ]
            found = [row["regret"][str(BUDGET)] for row in one["rows"]]
            values = [estimate["value"] for estimate in found]
            spans = [
                [estimate["value"] - estimate["low"] for estimate in found],
                [estimate["high"] - estimate["value"] for estimate in found],
            ]
            axes.errorbar(values, range(len(found)), xerr=spans, fmt="o", color=COLOURS[1], markersize=3)
            axes.axvline(values[0], color="grey", linestyle=":")
            axes.set_yticks(range(len(found)), labels if number == 0 else [""] * len(found), fontsize=6)
            axes.invert_yaxis()
            axes.set(xlabel=f"mean regret at {BUDGET}")
            axes.set_title(one["table"], fontsize="small")
    return drawn.png


def _seeds(settings: Settings) -> int:
    return settings.pick(quick=20, cpu=1000, full=1000)
