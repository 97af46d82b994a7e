"""The command that compares searches of a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from algo.commands.common import json_option, options_of, worker_options
from algo.search.objective import ObjectiveConfig
from algo.support.settings import whole_numbers


@click.command()
@click.option(
    "--table", required=True, metavar="NAME|FILE", help="cifar10, digits, fashion-mnist, synthetic, or a Parquet file."
)
@click.option("--method", required=True, metavar="NAME,...", help="Search methods; an unknown name lists them.")
@click.option("--seeds", type=int, default=1000, show_default=True, help="Number of seeds: 1, 2, ...")
@click.option("--budget", type=int, default=330, show_default=True, help="Evaluations in each search.")
@click.option("--at", metavar="N,...", help="Evaluations to give regret after; default 25, 50, 100, 200, budget.")
@click.option(
    "--noise",
    metavar="STD|table",
    help="Normal error of the accuracies that the searches see: a standard deviation, or the table's own.",
)
@options_of(ObjectiveConfig, without=("accuracy_drop",))
@worker_options
@json_option
def search(
    table: str, method: str, seeds: int, budget: int, at: str | None, noise: str | None, jobs: int | None,
    ray: str | None, folder: Path | None, as_json: bool, **objective: Any,
) -> None:  # fmt: skip
    """Compare searches of a table of policies: mean regret against the known optimum, over many seeds."""
    from algo.search.compare.regret import checkpoints
    from algo.search.compare.sweep import named_table, summary, sweep, text
    from algo.search.methods.registry import Noise
    from algo.search.tables.scored_table import default_accuracy_th, score_table

    wanted = ObjectiveConfig(**objective)
    measured = named_table(table)
    scored = score_table(measured, wanted.at(default_accuracy_th(measured)))
    methods = list(dict.fromkeys(method.split(",")))
    after = checkpoints(budget) if at is None else whole_numbers(at)
    error = None if noise is None else Noise.named(noise)
    found = sweep(
        table, scored, methods, seeds=seeds, budget=budget, folder=folder, jobs=jobs, ray=ray, noise=error, at=after
    )
    answer = summary(table, scored, found, budget=budget, at=after, noise=error)
    click.echo(json.dumps(answer) if as_json else text(answer, after))
