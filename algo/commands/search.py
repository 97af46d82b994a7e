"""The command that compares searches of a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from algo.commands.common import json_option, range_options, worker_options


@click.command()
@click.option(
    "--table", required=True, metavar="NAME|FILE", help="digits, fashion-mnist, synthetic, or a Parquet file."
)
@click.option("--method", required=True, metavar="NAME,...", help="Which searches; an unknown one lists them.")
@click.option("--objective", default="energy", show_default=True, help="energy, latency, or weights a,b,c.")
@click.option("--seeds", type=int, default=1000, show_default=True, help="How many; they are 1, 2 ...")
@click.option("--budget", type=int, default=330, show_default=True, help="Evaluations of each search.")
@click.option(
    "--accuracy-th",
    type=float,
    help="Accuracy at or below which a policy is an outlier; default two points below the widest policy's.",
)
@range_options
@worker_options
@json_option
def search(
    table: str, method: str, objective: str, seeds: int, budget: int, accuracy_th: float | None,
    jobs: int | None, ray: str | None, folder: Path | None, as_json: bool, **limits: Any,
) -> None:  # fmt: skip
    """Compare searches of a table of policies: mean regret against the known optimum, over many seeds."""
    from algo.search.compare.sweep import named_table, summary, sweep, text
    from algo.search.scoring import parse_weights
    from algo.search.tables.scored_table import default_accuracy_th, score_table
    from sim.devices.objective import Objective

    a, b, c = parse_weights(objective)
    measured = named_table(table)
    if limits["energy_high_uj"] is None:
        limits["energy_high_uj"] = limits["energy_th_uj"]
    scored = score_table(
        measured,
        Objective(
            weight_a=a, weight_l=b, weight_e=c,
            accuracy_th=default_accuracy_th(measured) if accuracy_th is None else accuracy_th, **limits,
        ),
    )  # fmt: skip
    methods = list(dict.fromkeys(method.split(",")))
    chosen = sweep(table, scored, methods, seeds=seeds, budget=budget, folder=folder, jobs=jobs, ray=ray)
    answer = summary(table, scored, chosen)
    click.echo(json.dumps(answer) if as_json else text(answer))
