"""The command that exports a tuned network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from algo.commands.common import CheckFailed, json_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    type=click.Choice(["found", "best-seen", "int8"]),
    default="found",
    show_default=True,
    help="Which of the run's policies.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "qonnx"]),
    default="onnx",
    show_default=True,
    help="Integers for ONNX Runtime (QDQ), or exact bit-widths (QONNX).",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--fold-batch-norm", is_flag=True, help="First fold batch normalisation into the layers before it.")
@click.option("--integer-kernels", is_flag=True, help="Let ONNX Runtime fuse and round biases: faster, but inexact.")
@json_option
def export(
    run: Path, policy: Any, form: Any, out: Path, fold_batch_norm: bool, integer_kernels: bool, as_json: bool
) -> None:
    """Export a network of a finished run or search; exit code 0 if the file predicts what the network does, else 1.

    RUN is the folder of rlu tune or of rlu nas search. Shows how far the file's results in ONNX Runtime (or qonnx)
    agree with PyTorch's on the test images; for a run of rlu tune, the INT8 baseline and the policy side by side: size,
    accuracy, latency, energy.
    """
    from algo.nas.folder import is_search

    if is_search(run):
        if policy != "found":
            raise ValueError(f"a search has one network, the one found: leave out --policy {policy}")
        _export_found(run, form, out, fold_batch_norm, integer_kernels, as_json)
        return
    from algo.export import export_run

    rows = export_run.export_run(
        run, out, policy, form, fold_batch_norm, integer_kernels, say=lambda text: click.echo(text, err=True)
    )
    if as_json:
        click.echo(json.dumps({"file": str(out), "format": form, "networks": export_run.as_json(rows)}))
    else:
        click.echo(export_run.before_after(rows))
        click.echo(f"\nwrote {out}")
    wrong = [row for row in rows if not row.agreement.agrees]
    if wrong:
        click.echo(f"rlu: {wrong[0].agreement.program} does not predict the same as PyTorch on some images", err=True)
        raise CheckFailed


def _export_found(run: Path, form: Any, out: Path, fold: bool, integer_kernels: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from algo.export.export_found import export_found

    found = export_found(run, out, form, fold, integer_kernels)
    agreed = found.agreement
    if as_json:
        click.echo(json.dumps({"file": str(out), "format": form, "network": asdict(found)}))
    else:
        ties = f", {agreed.ties} too close to tell" if agreed.ties else ""
        click.echo(
            f"{agreed.program} gives the same prediction on {agreed.same_predictions} of {agreed.images} test images"
            f"{ties}; accuracy {agreed.accuracy:.3f}; weights of {found.weight_bytes:,} bytes, packed\n\nwrote {out}"
        )
    if not agreed.agrees:
        click.echo(f"rlu: {agreed.program} does not predict the same as PyTorch on some images", err=True)
        raise CheckFailed
