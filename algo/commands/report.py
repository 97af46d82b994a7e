"""The command that makes a page of runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from algo.commands.common import CheckFailed, json_option


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    "output",
    type=click.Path(path_type=Path),
    help="The page; default report.html, in the folder of one run, or in the current folder for several.",
)
@json_option
def report(runs: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Make one self-contained HTML page: of one or more runs of `rlu tune`, or of one of `rlu nas` or `rlu fed`.

    Several runs are also printed side by side.

    Exit code 1 if what a run's unit learned cannot be reconstructed from its trace, or, with a method without a unit,
    if a score does not follow from what was measured; the page is still written.
    """
    from algo.fed.folder import is_federation
    from algo.nas.folder import is_search
    from algo.support.held_folder import CONFIG, DAMAGED, kind_of
    from algo.support.user_files import parse_json, reading

    for path in runs:
        if (path / CONFIG).exists():
            with reading(path / CONFIG, *DAMAGED):
                parse_json((path / CONFIG).read_bytes())
        if (path / CONFIG).exists() and kind_of(path / CONFIG).startswith("rlu fed client"):
            raise ValueError(f"{path} is of a client, which knows no rounds: report the folder of rlu fed server")
        for what, is_one, report_one in (
            ("a search", is_search, _report_search), ("a federated run", is_federation, _report_federation),
        ):  # fmt: skip
            if is_one(path):
                if len(runs) > 1:
                    raise ValueError(f"{path} is {what}: its page is of it alone, leave out the other runs")
                report_one(path, output, as_json)
                return
    from tqdm import tqdm

    from algo.report.load import load_runs
    from algo.report.page import facts_as_json, page
    from algo.report.text import side_by_side
    from sim.files import write_atomically

    output = output or (runs[0] if len(runs) == 1 else Path()) / "report.html"
    if output.is_dir():
        raise ValueError(f"{output} is a folder: give -o the name of a file, such as {output / 'report.html'}")
    with tqdm(total=len(runs), unit="run", disable=None, leave=False, file=sys.stderr) as bar:
        facts = load_runs(runs, on_run=bar.update)
    write_atomically(output, page(facts))
    for run in facts:
        for note in run.notes:
            click.echo(f"{run.label}: {note}", err=True)
    if as_json:
        click.echo(json.dumps({"page": str(output), "runs": [facts_as_json(run) for run in facts]}))
    else:
        if len(facts) > 1:
            click.echo(side_by_side(facts) + "\n")
        click.echo(f"{output}: {', '.join(run.label for run in facts)}")
    if any(run.mismatch for run in facts):
        raise CheckFailed


def _report_search(run: Path, output: Path | None, as_json: bool) -> None:
    from algo.nas.folder import NasFolder
    from algo.report.search_page import search_page

    _report_alone(run, output, search_page, {"search": NasFolder.open(run).summary} if as_json else None)


def _report_federation(run: Path, output: Path | None, as_json: bool) -> None:
    from algo.fed.folder import FedFolder
    from algo.report.federation_page import federation_page

    _report_alone(run, output, federation_page, {"federation": FedFolder.open(run).summary} if as_json else None)


def _report_alone(run: Path, output: Path | None, page_of: Callable[[Path], str], said: dict[str, Any] | None) -> None:
    """Write the page of one folder, and say so: as JSON with ``said``."""
    from sim.files import write_atomically

    output = output or run / "report.html"
    if output.is_dir():
        raise ValueError(f"{output} is a folder: give -o the name of a file, such as {output / 'report.html'}")
    write_atomically(output, page_of(run))
    click.echo(f"{output}: {run.name}" if said is None else json.dumps({"page": str(output), **said}))
