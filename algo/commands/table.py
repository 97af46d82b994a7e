"""Commands about tables of all policies: build one, check one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from algo.commands.common import CheckFailed, json_option, options_of, worker_options
from algo.nets.train.task import TaskConfig
from algo.runs.config import ChipConfig
from algo.search.tables.recipe import Recipe, together
from algo.space.dimensions import ACTIVATION_BITS, WEIGHT_BITS
from algo.support.figures import shown_cost


@click.group()
def table() -> None:
    """Tables of accuracy, latency and energy of every policy, as Parquet files."""


@table.command("build")
@options_of(TaskConfig, only=("data", "data_folder", "network"))
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The Parquet file.")
@click.option(
    "--weights",
    type=click.Choice(["shared", "retrained"]),
    default="shared",
    show_default=True,
    help="One set, trained under random policies, for all; or a set retrained for each policy (takes hours).",
)
@click.option("--seeds", type=int, default=3, show_default=True, help="Number of trainings; accuracy is their mean.")
@options_of(Recipe, only=("width", "noise_std", "pretrain_images", "steps", "test_images"))
@options_of(ChipConfig)
@worker_options
@json_option
def _build(
    out: Path, weights: Any, seeds: int, chip: str, chip_network: str | None, jobs: int | None, ray: str | None,
    folder: Path | None, as_json: bool, **recipe: Any,
) -> None:  # fmt: skip
    """Build the table of all weight-bit policies of a network, by default VGG8, at the chip's operating points.

    After an interruption, the same command resumes. Without --folder, finished parts are kept in the cache.
    """
    import dataclasses

    from algo.chips.by_name import network_layers, open_chip
    from algo.nets.registry import is_file_network
    from algo.search.places import fixed_value
    from algo.search.tables.build import Workers, build, task_of
    from algo.search.tables.table_file import write_table
    from sim.files import cache_dir, check_folder

    check_folder(out.absolute().parent)  # now, and not after an hour's work
    workers = Workers(folder or cache_dir() / "cells", jobs, ray)
    made_of = Recipe(**recipe)
    layers = (
        task_of(made_of).layers
        if chip_network is None and is_file_network(made_of.network)
        else network_layers(chip_network or made_of.network)
    )
    opened = open_chip(chip, layers, needs_energy=True)
    numbers = range(len(opened.layer_names))
    choices = together([opened.choices(number, WEIGHT_BITS.name) for number in numbers])
    known = [opened.choices(number, ACTIVATION_BITS.name) for number in numbers]
    fixed = together([fixed_value(values, ACTIVATION_BITS.name) for values in known])
    made_of = dataclasses.replace(made_of, choices=choices, activation_bits=fixed)
    made = build(made_of, weights, range(1, seeds + 1), workers, opened)
    write_table(made, out)
    _tell(out, made, {}, as_json)


@table.command("check")
@click.argument("name", metavar="NAME|FILE")
@click.option(
    "--against-retrained",
    "sample",
    type=int,
    metavar="N",
    help="Retrain N random policies separately and compare ranks; for tables of `rlu table build`.",
)
@click.option("--data", metavar="PATH", help="Your own data that the table was built with; it keeps only their name.")
@click.option("--data-folder", metavar="PATH", help="Folder with the files of its data set, if not in the usual place.")
@click.option("--network", metavar="FILE.py:FUNCTION", help="Your own network that the table was built with.")
@worker_options
@json_option
def _check(
    name: str, sample: int | None, jobs: int | None, ray: str | None, folder: Path | None, as_json: bool,
    **inputs: str | None,
) -> None:  # fmt: skip
    """Check that a table (of QVF-Bench, or a Parquet file) is complete and its figures possible; exit code 1 if not."""
    from algo.search.tables import qvf_bench
    from algo.search.tables.table_file import read_table

    where = {key: value for key, value in inputs.items() if value is not None}
    if where and sample is None:
        flag = next(iter(where)).replace("_", "-")
        raise ValueError(f"--{flag} is for --against-retrained: give both, or leave it out")
    file = qvf_bench.FOLDER / f"{name}.parquet" if name in qvf_bench.names() else Path(name)
    if not file.is_file():
        raise ValueError(f"unknown table {name!r}: choose {', '.join(qvf_bench.names())}, or give a Parquet file")
    try:
        read = read_table(file)
    except ValueError as error:
        click.echo(json.dumps({"ok": False, "error": str(error)}) if as_json else str(error), err=not as_json)
        raise CheckFailed from error
    found: dict[str, Any] = {}
    if sample is not None:
        from algo.search.tables.build import Workers
        from algo.search.tables.check import against_retrained
        from sim.files import cache_dir

        found = against_retrained(read, sample, Workers(folder or cache_dir() / "cells", jobs, ray), **where)
    _tell(file, read, found, as_json)


def _tell(file: Path, read: Any, found: dict[str, Any], as_json: bool) -> None:
    import hashlib

    content = file.read_bytes()
    space = read.space
    report = {
        "ok": True,
        "file": str(file),
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "policies": space.size,
        "layers": list(read.layer_names),
        **{name: list(space.choices(name)) for name in space.dimensions},
        "operating_points": [[point.voltage_v, point.frequency_mhz] for point in read.points],
        "accuracy": [float(read.accuracy.min()), float(read.accuracy.mean()), float(read.accuracy.max())],
        "accuracy_std": None if read.accuracy_std is None else float(read.accuracy_std.mean()),
        "latency_ms": [float(read.latency_ms.min()), float(read.latency_ms.max())],
        "energy_uj": [float(read.energy_uj.min()), float(read.energy_uj.max())],
        "source": read.source,
        **found,
    }
    if as_json:
        click.echo(json.dumps(report))
        return
    low, mean, high = report["accuracy"]
    noise = "" if read.accuracy_std is None else f"; standard deviation over seeds {report['accuracy_std']:.4f}"
    click.echo(f"{file}: {space.size:,} policies of {space.layers} layers at {len(read.points)} operating points")
    click.echo(f"source    {read.source}")
    click.echo(f"accuracy  {low:.4f} to {high:.4f}, mean {mean:.4f}{noise}")
    click.echo(f"latency   {shown_cost(read.latency_ms.min(), 3)} to {shown_cost(read.latency_ms.max(), 3)} ms")
    click.echo(f"energy    {shown_cost(read.energy_uj.min(), 3)} to {shown_cost(read.energy_uj.max(), 3)} uJ")
    click.echo(f"sha256    {report['sha256']}, {len(content):,} bytes")
    if found:
        low, high = found["spearman_interval"]
        click.echo(
            f"retrained {found['retrained_policies']} policies: Spearman correlation {found['spearman']:.3f} "
            f"(95 % {low:.3f} to {high:.3f}); mean accuracy {found['retrained_mean']:.4f}, "
            f"in the table {found['table_mean']:.4f}"
        )
