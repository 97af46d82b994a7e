"""`rlu experiment`: the experiments of the published chapter, ours beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from algo.commands.common import json_option
from algo.nets.training_config import PRECISIONS, RETRAINING_MODES


@click.command()
@click.argument("name", required=False)
@click.option("--list", "list_them", is_flag=True, help="List the experiments.")
@click.option(
    "--device",
    type=click.Choice(["golden", "sim"]),
    default="golden",
    show_default=True,
    help="The golden model, or the RTL in a simulator, checked against it.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; default runs/experiments.")
@click.option("--full", is_flag=True, help="Full width, CIFAR-100 if available, more seeds: meant for a GPU.")
@click.option("--quick", is_flag=True, help="Seconds instead of minutes, to try the commands out.")
@click.option("--docs", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Also put tables and plots into this folder's results, on the page of the experiment.")  # fmt: skip
@click.option("--page", help="Another page of --docs than the experiment's own, by its name in results/.")
@click.option("--data", metavar="NAME|FILE", help="Other data for the runs with retraining, as for rlu tune.")
@click.option("--width", type=click.IntRange(1), help="Channels of VGG8's first layer in these runs; default 8.")
@click.option("--noise-std", type=float, help="Noise on the local images of these runs; default 1.5.")
@click.option("--weights", type=click.Choice(RETRAINING_MODES), help="Of all these runs; default as rlu tune has it.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="Of all these runs; default float32.")
@click.option("--seeds", type=click.IntRange(1), help="Of these runs; default: the scale's number, mostly 3.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; default: every core.")
@click.option(
    "--ray",
    metavar="ADDRESS|local",
    help="Spread independent runs over Ray, but not HQNAS's; machines must share --out.",
)
@json_option
def experiment(
    name: str | None, list_them: bool, out: Path | None, full: bool, quick: bool, docs: Path | None, page: str | None,
    as_json: bool, **others: Any,
) -> None:  # fmt: skip
    """Run experiment NAME of the published chapter, or all, and set the published figures beside ours.

    After an interruption, the same command resumes. Finished work is repeated only if its configuration changed. Only
    one command at a time can work in a folder.
    """
    from algo.experiments import EXPERIMENTS

    if list_them:
        if as_json:
            click.echo(json.dumps(EXPERIMENTS))
        else:
            for known, summary in EXPERIMENTS.items():
                click.echo(f"{known:<15} {summary}")
        return
    if full and quick:
        raise ValueError("--full and --quick exclude each other")
    from algo.experiments.base import Settings, load, perform
    from algo.experiments.hqnas_runs import search_for
    from algo.experiments.results_page import publish
    from algo.experiments.runs import run_for
    from sim.files import FolderLock

    if name is None:
        raise ValueError("name an experiment, or all; rlu experiment --list lists them")
    names = list(EXPERIMENTS) if name == "all" else [name]
    for one in names:
        load(one)  # an unknown one is refused before anything runs
    scale = "full" if full else "quick" if quick else "cpu"
    default = Path("runs") / ("experiments" if scale == "cpu" else f"experiments-{scale}")
    settings = Settings(scale=scale, out=out or default, **others)  # type: ignore[arg-type]
    # What several of them share is made together, before the first of these.
    together = {"TASKS": run_for, "STUDIES": search_for}
    sharing = {kind: [one for one in names if hasattr(load(one), kind)] for kind in together}
    told = []
    with FolderLock(settings.out):  # experiments share runs
        for one in names:
            if not as_json:
                click.echo(f"{one}: {EXPERIMENTS[one]}", err=True)
            for kind, make in together.items():
                if sharing[kind][:1] == [one]:
                    make(sharing[kind], settings)
            done = perform(one, settings)
            if docs is not None:
                publish(done, docs, page)
            told.append({"experiment": one, "folder": str(done.folder), "computed": not done.repeated, **done.content})
            if not as_json:
                click.echo(done.page.markdown(str(done.folder / "plot.png")))
                click.echo(f"folder: {done.folder}")
    if as_json:
        click.echo(json.dumps(told[0] if name != "all" else told))
