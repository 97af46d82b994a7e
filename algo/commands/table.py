"""Commands about tables of all policies: build one, check one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from algo.commands.common import CheckFailed, chip_options, json_option, worker_options


@click.group()
def table() -> None:
    """Tables of accuracy, latency and energy of every policy, as Parquet files."""


@table.command("build")
@click.option("--data", default="digits", show_default=True, help="As for `rlu tune`.")
@click.option("--data-folder", help="Where files of fashion-mnist, cifar10 or cifar100 lie; none is downloaded then.")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The Parquet file.")
@click.option(
    "--weights",
    type=click.Choice(["shared", "retrained"]),
    default="shared",
    show_default=True,
    help="One set for all policies, trained under random ones; or each policy's own, retrained (takes hours).",
)
@click.option("--seeds", type=int, default=3, show_default=True, help="Trainings to take the mean over.")
@click.option("--width", type=int, default=2, show_default=True, help="Channels of VGG8's first layer.")
@click.option("--noise-std", type=float, help="Noise on local images, 0..100; default 2.5 for digits, else 1.5.")
@click.option("--pretrain-images", type=int, default=6000, show_default=True, help="Images to pre-train on, at most.")
@click.option("--steps", type=int, default=500, show_default=True, help="Batches that shared weights are trained on.")
@click.option("--test-images", type=int, default=2400, show_default=True, help="Images to test with.")
@chip_options
@worker_options
@json_option
def _build(
    out: Path, weights: Any, seeds: int, chip: str, chip_network: str, jobs: int | None, ray: str | None,
    folder: Path | None, as_json: bool, **recipe: Any,
) -> None:  # fmt: skip
    """Build the table of VGG8's 3^8 weight-bit policies on the chip's operating points, 9 of the published one.

    Interrupted, it goes on where it was when it is started again; without --folder, finished parts are in the cache.
    """
    from algo.chips import network_layers, open_chip
    from algo.table_build import Recipe, Workers, build
    from algo.table_file import write_table
    from sim.files import cache_dir, check_folder

    check_folder(out.absolute().parent)  # not after an hour's work
    workers = Workers(folder or cache_dir() / "cells", jobs, ray)
    opened = open_chip(chip, network_layers(chip_network), needs_energy=True)
    made = build(Recipe(**recipe), weights, range(1, seeds + 1), workers, opened)
    write_table(made, out)
    _tell(out, made, {}, as_json)


@table.command("check")
@click.argument("name", metavar="NAME|FILE")
@click.option(
    "--against-retrained",
    "sample",
    type=int,
    metavar="N",
    help="Retrain N policies drawn at random, each by itself, and compare ranks; for tables of `rlu table build`.",
)
@worker_options
@json_option
def _check(
    name: str, sample: int | None, jobs: int | None, ray: str | None, folder: Path | None, as_json: bool
) -> None:
    """Check that a table, one of QVF-Bench or a Parquet file, is whole and its figures possible; exit 1 if not."""
    from algo import qvf_bench
    from algo.table_file import read_table

    file = qvf_bench.FOLDER / f"{name}.parquet" if name in qvf_bench.names() else Path(name)
    if not file.is_file():
        raise ValueError(f"there is no table {name!r}: give {', '.join(qvf_bench.names())}, or a Parquet file")
    try:
        read = read_table(file)
    except ValueError as error:
        click.echo(json.dumps({"ok": False, "error": str(error)}) if as_json else str(error), err=not as_json)
        raise CheckFailed from error
    found: dict[str, Any] = {}
    if sample is not None:
        from algo.table_build import Workers
        from algo.table_check import against_retrained
        from sim.files import cache_dir

        found = against_retrained(read, sample, Workers(folder or cache_dir() / "cells", jobs, ray))
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
        "weight_bits": list(space.weight_choices),
        "activation_bits": list(space.activation_choices),
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
    click.echo(f"latency   {read.latency_ms.min():.3f} to {read.latency_ms.max():.3f} ms")
    click.echo(f"energy    {read.energy_uj.min():.3f} to {read.energy_uj.max():.3f} uJ")
    click.echo(f"sha256    {report['sha256']}, {len(content):,} bytes")
    if found:
        low, high = found["spearman_interval"]
        click.echo(
            f"retrained {found['retrained_policies']} policies: Spearman correlation {found['spearman']:.3f} "
            f"(95 % {low:.3f} to {high:.3f}); mean accuracy {found['retrained_mean']:.4f}, "
            f"in the table {found['table_mean']:.4f}"
        )
