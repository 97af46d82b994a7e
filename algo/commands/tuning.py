"""Commands about tuning a network: run a search, compare runs, score a measurement."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from algo.commands.common import CheckFailed, given_of, json_option, options_of
from algo.runs.config import UNIT_METHODS, UNITS, SearchConfig, TuneConfig, located
from algo.search.objective import ObjectiveConfig

if TYPE_CHECKING:
    from tqdm import tqdm

    from algo.search.step import Step


@click.command()
@options_of(TuneConfig)
@click.option(
    "--unit",
    type=click.Choice(list(UNITS.values())),
    help="The same as --method rlu, rlu-plus and planning: the published unit, the one that remembers, the one that "
    "plans. The default plans.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the run; default: one in runs/ that its main settings name.",
)
@click.option("--resume", is_flag=True, help="Resume the run in --out, or begin it if there is none.")
@json_option
@click.pass_context
def tune(context: click.Context, /, out: Path | None, resume: bool, as_json: bool, **settings: Any) -> None:
    """Search bit-widths, voltage and frequency for a network on local data."""
    # Threads of training that spin while idle would take cores from the simulator and from each other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from algo.runs.run_folder import RunFolder
    from algo.runs.tune import resumed_config, run
    from algo.support.held_folder import CONFIG, content

    given = given_of(context, settings)
    out = out or _usual_folder(settings)
    if resume and content(out):
        folder = RunFolder.open(out)
        config = resumed_config(folder, given)
        _check_tools(config.device.device, config.device.simulator)
    else:
        config = located(TuneConfig.of(**given))
        _check_tools(config.device.device, config.device.simulator)
        folder = RunFolder.create(out, config.to_json())
    from tqdm import tqdm

    with tqdm(initial=len(folder.steps), unit="policy", disable=None, file=sys.stderr) as bar:
        try:
            summary = run(
                config, folder, on_step=progress(bar, folder.steps), say=lambda text: bar.write(text, file=sys.stderr)
            )
        except KeyboardInterrupt:
            bar.close()
            click.echo(
                f"interrupted after {len(folder.steps)} iterations; resume: rlu tune --resume --out {out}", err=True
            )
            raise click.Abort from None
        except RuntimeError as error:
            if not (out / CONFIG).exists():  # nothing is done yet
                raise
            raise RuntimeError(f"{error}\nthe run can be resumed: rlu tune --resume --out {out}") from error
    if as_json:
        click.echo(json.dumps({"folder": str(out), **summary}))
    else:
        from algo.runs.summary_text import summary_table

        click.echo(summary_table(summary))
        click.echo(f"\nrun folder: {out}")


@click.command()
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@json_option
def compare(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Compare the traces of two runs; 0 if they agree, 1 with the first difference."""
    from algo.runs.run_folder import RunFolder
    from algo.runs.run_folder import compare as compare_folders

    left, right = RunFolder.open(run_a), RunFolder.open(run_b)
    for note in left.notes + right.notes:
        click.echo(note, err=True)
    difference = compare_folders(left, right)
    if as_json:
        click.echo(json.dumps({"agree": difference is None, "iterations": len(left.steps), "difference": difference}))
    else:
        click.echo(difference or f"the traces agree in all {len(left.steps)} iterations")
    if difference is not None:
        raise CheckFailed


@click.command("score")
@click.option("--weights", required=True, help="energy, latency, or weights a,b,c that sum to 1.")
@click.option("--accuracy", type=float, required=True, help="A fraction.")
@click.option("--latency", type=float, required=True, help="In ms.")
@click.option("--energy", type=float, required=True, help="In uJ.")
@click.option("--accuracy-th", type=float, default=0.0, show_default=True, help="A fraction.")
@click.option("--latency-th", type=float, default=ObjectiveConfig.latency_th_ms, show_default=True, help="In ms.")
@click.option("--energy-th", type=float, default=ObjectiveConfig.energy_th_uj, show_default=True, help="In uJ.")
@json_option
def score_command(
    weights: str, accuracy: float, latency: float, energy: float, accuracy_th: float, latency_th: float,
    energy_th: float, as_json: bool,
) -> None:  # fmt: skip
    """Score a measurement with the golden reward calculator, over the published chip's ranges."""
    from algo.search.objective import parse_weights
    from algo.search.scoring import score
    from sim.devices.objective import Objective

    a, b, c = parse_weights(weights)
    objective = Objective(
        weight_a=a, weight_l=b, weight_e=c, accuracy_th=accuracy_th, latency_th_ms=latency_th, energy_th_uj=energy_th
    )
    outlier = accuracy <= accuracy_th or latency >= latency_th or energy >= energy_th
    value = score(objective, accuracy, latency, energy)
    if as_json:
        click.echo(json.dumps({"score": value, "outlier": outlier}))
    else:
        click.echo(f"{value:.4f}" + ("  (an outlier: a threshold is missed)" if outlier else ""))


def progress(bar: tqdm[Any], earlier: Sequence[Step]) -> Callable[[Step, int], None]:
    """What a run calls after every iteration to move a bar; ``earlier`` are the iterations before it was resumed."""
    best = max((step.reward for step in earlier), default=0.0)

    def on_step(step: Step, total: int) -> None:
        nonlocal best
        best = max(best, step.reward)
        epsilon = {} if step.epsilon is None else {"epsilon": step.epsilon}
        bar.total, bar.n = total, step.iteration
        bar.set_postfix(score=f"{step.reward:.3f}", best=f"{best:.3f}", **epsilon, refresh=False)
        bar.update()

    return on_step


def _usual_folder(settings: Mapping[str, Any]) -> Path:
    """Folder of a run that names none, by its main settings and those that are not the default."""
    words = [
        Path(settings["data"]).absolute().stem, settings["objective"], settings["device"].split(":")[0],
        f"seed{settings['seed']}",
    ]  # fmt: skip
    method = UNIT_METHODS.get(settings["unit"] or "", settings["method"])
    if method != SearchConfig.method:
        words.append(UNITS.get(method, method))
    if settings["network"] != "vgg8":
        words.append(Path(settings["network"].partition(":")[0]).stem)
    if settings["chip"] != "evolver":
        words.append(Path(settings["chip"]).stem)
    return Path("runs") / "-".join(words)


def _check_tools(device: str, simulator: Any) -> None:
    """Check that the simulator or serial port is there, before a folder is made or anything is trained."""
    if device == "sim":
        from sim.simulators.build import tool_environment

        tool_environment(simulator)
    elif device.startswith("serial:"):
        from sim.devices.serial_device import check_port

        check_port(device.removeprefix("serial:"))
