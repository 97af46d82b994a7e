"""Commands about FAQS: one search over many clients that keep their images."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from algo.commands.common import differences, given_of, json_option, options_of
from algo.fed.config import FedConfig
from algo.nas.config import located


@click.group("fed")
def fed() -> None:
    """Train and search over clients that keep their images, and count the bytes (FAQS)."""


@fed.command("run")
@options_of(FedConfig)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the run; default: one in runs/ that data, method, codec and seed name.",
)
@click.option("--resume", is_flag=True, help="Resume the run in --out, or begin it if there is none.")
@json_option
@click.pass_context
def _run(context: click.Context, /, out: Path | None, resume: bool, as_json: bool, **settings: Any) -> None:
    """Simulate server and clients in this process, round by round; every message's bytes are counted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from algo.fed.folder import FedFolder
    from algo.fed.run import run
    from algo.support.held_folder import RunFolderError, content

    given = given_of(context, settings)
    config = located(FedConfig.of(**given))
    out = out or Path("runs") / "-".join(
        ["fed", Path(config.partition.data).stem, config.method.method, config.messages.codec, f"seed{config.seed}"]
    )
    if resume and content(out):
        folder = FedFolder.open(out)
        kept = folder.settings
        if changed := differences(kept, config, given):
            raise RunFolderError(
                f"{out} was begun with {', '.join(changed)}: leave the options out, or begin a new run with another "
                "--out"
            )
        config = kept
    else:
        folder = FedFolder.create(out, config.to_json())
    try:
        summary = run(config, folder, lambda text: click.echo(text, err=True), _say_round)
    except KeyboardInterrupt:
        click.echo(f"interrupted; resume: rlu fed run --resume --out {out}", err=True)
        raise click.Abort from None
    if as_json:
        click.echo(json.dumps({"folder": str(out), **summary}))
        return
    for one in summary["clients"]:
        words = " ".join("skip" if option is None else "k{}e{}/{}".format(*option) for option in one["options"])
        click.echo(
            f"client {one['client']}: {one['images']} images, accuracy {one['accuracy']:.3f}, after its own training "
            f"{one['tuned_accuracy']:.3f} {words}".rstrip()
        )
    click.echo(
        f"mean accuracy {summary['accuracy']:.3f}, {summary['tuned_accuracy']:.3f} after their own training; "
        f"{summary['bytes'] / 1e6:.3f} MB in {summary['rounds']} rounds\n\nrun folder: {out}"
    )


def _say_round(record: Any) -> None:
    """A line a round, on standard error if that is a terminal."""
    if sys.stderr.isatty():
        click.echo(
            f"round {record.round}: accuracy {record.accuracy:.3f} ({record.global_accuracy:.3f} as sent), "
            f"{sum(record.pulled_bytes) / 1e3:.1f} kB pulled, {sum(record.pushed_bytes) / 1e3:.1f} kB pushed, "
            f"{sum(record.held) / len(record.held):.0%} held, {record.seconds:.0f} s",
            err=True,
        )
    for client, why in record.refused.items():
        click.echo(f"round {record.round}: the reply of client {client} does not count: {why}", err=True)
