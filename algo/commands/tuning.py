"""Commands about tuning a network: run a search, compare runs, score a measurement."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from algo.commands.common import CheckFailed, bus_option, chip_options, json_option, range_options


@click.command()
@click.option(
    "--device",
    metavar="golden|sim|serial:PORT",
    default="golden",
    show_default=True,
    help="The golden model; or, checked against it, the RTL in a simulator or a board (serial:PORT or ...@BAUD).",
)
@click.option("--simulator", type=click.Choice(["verilator", "icarus"]), default="verilator", show_default=True)
@bus_option("Of the simulated RTL: ")
@chip_options
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits, fashion-mnist, cifar10, cifar100, or an NPZ file with images and labels.",
)
@click.option("--data-folder", help="Where the data set's files lie; nothing is downloaded then.")
@click.option("--local-size", type=int, help="Images of the local private set.")
@click.option("--noise-std", type=float, help="Standard deviation of the noise on them, 0..100; default 1.5.")
@click.option(
    "--schedule",
    type=click.Choice(["published", "quick", "long", "episodic"]),
    default="published",
    show_default=True,
    help="330 iterations as published, 33, or 1200; episodic is the default of --unit episodic.",
)
@click.option(
    "--iterations",
    type=int,
    help="Another number of them: the published epsilons stretched, or fewer or more of the episodic ones.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option("--objective", default="energy", show_default=True, help="energy, latency, or weights a,b,c.")
@click.option("--accuracy-th", type=float, help="Accuracy at or below which a policy is an outlier.")
@click.option(
    "--accuracy-drop",
    type=float,
    default=0.02,
    show_default=True,
    help="Without --accuracy-th: this much below the INT8 baseline.",
)
@range_options
@click.option(
    "--weights",
    type=click.Choice(["carried", "restarted"]),
    default="carried",
    show_default=True,
    help="Network weights go on from iteration to iteration, or start from the pre-trained ones.",
)
@click.option(
    "--activations",
    type=click.Choice(["fixed", "searched"]),
    default="fixed",
    show_default=True,
    help="Activations at 8 bits, or searched like the weights.",
)
@click.option(
    "--activation-range",
    type=click.Choice(["minmax", "lsq"]),
    default="minmax",
    show_default=True,
    help="Range of activations: observed smallest and largest values, or learned.",
)
@click.option("--fold-batch-norm", is_flag=True, help="Fold batch normalisation into the layers after pre-training.")
@click.option("--width", type=int, default=8, show_default=True, help="Channels of VGG8's first layer.")
@click.option("--epochs", type=int, default=1, show_default=True, help="Retraining epochs an iteration.")
@click.option(
    "--lr-schedule",
    type=click.Choice(["constant", "cosine", "k-decay"]),
    default="constant",
    show_default=True,
    help="Step size over the steps of one retraining.",
)
@click.option("--k", "lr_k", type=float, default=2.0, show_default=True, help="Power of k-decay; 1 is the cosine.")
@click.option("--alpha", type=float, default=0.25, show_default=True, help="Learning rate of the unit.")
@click.option("--gamma", type=float, default=0.99, show_default=True, help="Discount of the unit.")
@click.option("--lfsr-width", type=int, default=16, show_default=True, help="Bits of its LFSR: 8, 16 or 32.")
@click.option("--full-last-reward", is_flag=True, help="Reward the last row in full instead of with its share.")
@click.option(
    "--unit",
    type=click.Choice(["published", "episodic"]),
    default="published",
    show_default=True,
    help="The published unit, or the one with a memory of episodes, which needs fewer trainings.",
)
@click.option("--threads", type=int, default=2, show_default=True, help="CPU threads of training.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; default runs/ and its settings.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or begin it if there is none.")
@json_option
@click.pass_context
def tune(context: click.Context, /, out: Path | None, resume: bool, as_json: bool, **settings: Any) -> None:
    """Search bit-widths, voltage and frequency for a network on local data."""
    # Idle training threads that spin keep the simulator, and one another, from the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from algo.runs.run_folder import CONFIG, RunFolder, content
    from algo.runs.tune import TuneConfig, located, resumed_config, run

    if settings["unit"] == "episodic" and context.get_parameter_source("schedule") is ParameterSource.DEFAULT:
        settings["schedule"] = "episodic"
    out = out or Path("runs") / "-".join(
        [
            Path(settings["data"]).stem,
            settings["objective"],
            settings["device"].split(":")[0],
            f"seed{settings['seed']}",
            *(["episodic"] if settings["unit"] == "episodic" else []),
        ]
    )
    if resume and content(out):
        folder = RunFolder.open(out)
        given = {
            name: value
            for name, value in settings.items()
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        }
        config = resumed_config(folder, given)
        _check_tools(config.device, config.simulator)
    else:
        config = located(TuneConfig(**settings))
        _check_tools(config.device, config.simulator)
        folder = RunFolder.create(out, dataclasses.asdict(config))
    from tqdm import tqdm

    best = 0.0
    with tqdm(initial=len(folder.steps), unit="policy", disable=None, file=sys.stderr) as bar:

        def on_step(step: Any, total: int) -> None:
            nonlocal best
            best = max(best, step.reward)
            bar.total = total
            bar.set_postfix(score=f"{step.reward:.3f}", best=f"{best:.3f}", epsilon=step.epsilon, refresh=False)
            bar.update()

        try:
            summary = run(config, folder, on_step=on_step, say=lambda text: bar.write(text, file=sys.stderr))
        except KeyboardInterrupt:
            bar.close()
            click.echo(
                f"interrupted after {len(folder.steps)} iterations; go on with: rlu tune --resume --out {out}", err=True
            )
            raise click.Abort from None
        except RuntimeError as error:
            if not (out / CONFIG).exists():  # nothing had been done yet
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
@click.option("--accuracy-th", type=float, default=0.0, show_default=True)
@click.option("--latency-th", type=float, default=20.0, show_default=True, help="In ms.")
@click.option("--energy-th", type=float, default=300.0, show_default=True, help="In uJ.")
@json_option
def score_command(
    weights: str, accuracy: float, latency: float, energy: float, accuracy_th: float, latency_th: float,
    energy_th: float, as_json: bool,
) -> None:  # fmt: skip
    """Score a measurement with the golden reward calculator, over the published chip's ranges."""
    from algo.search.loop import parse_weights, score
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


def _check_tools(device: str, simulator: Any) -> None:
    """Before a folder is made, or anything trained: the simulator, or the serial port, must be there."""
    if device == "sim":
        from sim.simulators.build import tool_environment

        tool_environment(simulator)
    elif device.startswith("serial:"):
        from sim.devices.serial_device import check_port

        check_port(device.removeprefix("serial:"))
