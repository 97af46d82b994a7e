"""The `rlu` command. Exit codes: 0 well, 1 a check failed, 2 bad use or a missing tool, 130 interrupted.

Each command imports what it needs when it runs, so that only those that train bring torch.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

FAILED, BAD_USE, INTERRUPTED = 1, 2, 130

Command = TypeVar("Command", bound=Callable[..., Any])


class CheckFailed(Exception):
    """A check came out negative; the message has been printed already."""


def unit_options(*names: str) -> Callable[[Command], Command]:
    """Options that make an `RLUParams`; without names, all of them."""
    options = {
        "states": click.option("--states", type=int, default=256, show_default=True, help="Rows, 1..256."),
        "actions": click.option("--actions", type=int, default=16, show_default=True, help="Actions, 2..16."),
        "action_counts": click.option(
            "--action-counts", metavar="N,N,...", help="Number of actions of every row; default --actions."
        ),
        "q_width": click.option("--q-width", type=int, default=16, show_default=True, help="Bits of a Q-value."),
        "q_frac": click.option("--q-frac", type=int, default=14, show_default=True, help="Fraction bits of it."),
        "coef_frac": click.option(
            "--coef-frac", type=int, default=15, show_default=True, help="Fraction bits of coefficients."
        ),
        "gain_frac": click.option(
            "--gain-frac", type=int, default=12, show_default=True, help="Fraction bits of gains."
        ),
        "lfsr_width": click.option(
            "--lfsr-width", type=int, default=16, show_default=True, help="Bits of the LFSR: 8, 16 or 32."
        ),
    }

    def decorate(command: Command) -> Command:
        for name in reversed(names or tuple(options)):
            command = options[name](command)
        return command

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rlu-cosim", prog_name="rlu")
def rlu() -> None:
    """The reinforcement-learning unit: tune networks with it, check it, and take its Verilog away."""


@rlu.command()
@click.option(
    "--device",
    metavar="golden|sim|serial:PORT",
    default="golden",
    show_default=True,
    help="The golden model; or, checked against it, the RTL in a simulator or a board (serial:PORT or ...@BAUD).",
)
@click.option("--simulator", type=click.Choice(["verilator", "icarus"]), default="verilator", show_default=True)
@click.option("--bus", default="none", show_default=True, help="Of the simulated RTL: none, axi4lite or wishbone.")
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits, fashion-mnist, cifar10, cifar100, or an NPZ file with images and labels.",
)
@click.option("--data-folder", help="Where the data set's files lie; nothing is downloaded then.")
@click.option("--local-size", type=int, help="Images of the local private set.")
@click.option("--noise-std", type=float, help="Standard deviation of the noise on them.")
@click.option(
    "--schedule",
    type=click.Choice(["published", "quick"]),
    default="published",
    show_default=True,
    help="330 iterations as published, or 33.",
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
@click.option("--latency-th", "latency_th_ms", type=float, default=20.0, show_default=True, help="In ms.")
@click.option("--energy-th", "energy_th_uj", type=float, default=300.0, show_default=True, help="In uJ.")
@click.option("--latency-low", "latency_low_ms", type=float, default=3.90, show_default=True, help="Scores 1.")
@click.option("--latency-high", "latency_high_ms", type=float, default=10.58, show_default=True, help="Scores 0.")
@click.option("--energy-low", "energy_low_uj", type=float, default=41.06, show_default=True, help="Scores 1.")
@click.option("--energy-high", "energy_high_uj", type=float, help="Scores 0; default --energy-th.")
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
@click.option("--width", type=int, default=8, show_default=True, help="Channels of VGG8's first layer.")
@click.option("--epochs", type=int, default=1, show_default=True, help="Retraining epochs an iteration.")
@click.option("--alpha", type=float, default=0.25, show_default=True, help="Learning rate of the unit.")
@click.option("--gamma", type=float, default=0.99, show_default=True, help="Discount of the unit.")
@click.option("--lfsr-width", type=int, default=16, show_default=True, help="Bits of its LFSR: 8, 16 or 32.")
@click.option("--full-last-reward", is_flag=True, help="Reward the last row in full instead of with its share.")
@click.option("--threads", type=int, default=2, show_default=True, help="CPU threads of training.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; default runs/ and its settings.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or begin it if there is none.")
@json_option
@click.pass_context
def tune(context: click.Context, /, out: Path | None, resume: bool, as_json: bool, **settings: Any) -> None:
    """Search bit-widths, voltage and frequency for a network on local data."""
    # Idle training threads that spin keep the simulator, and one another, from the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from .run_folder import RunFolder
    from .tuning_run import TuneConfig, resumed_config, run

    out = out or Path("runs") / "-".join(
        [
            Path(settings["data"]).stem,
            settings["objective"],
            settings["device"].split(":")[0],
            f"seed{settings['seed']}",
        ]
    )
    folder = RunFolder.open(out) if resume and out.exists() else None
    if folder is not None:
        given = {
            name: value
            for name, value in settings.items()
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        }
        config = resumed_config(folder, given)
    else:
        config = TuneConfig(**settings)
    _check_tools(config.device, config.simulator)
    if folder is None:
        import dataclasses

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
            raise RuntimeError(f"{error}\nthe run can be resumed: rlu tune --resume --out {out}") from error
    if as_json:
        click.echo(json.dumps({"folder": str(out), **summary}))
    else:
        from .report import summary_table

        click.echo(summary_table(summary))
        click.echo(f"\nrun folder: {out}")


@rlu.command()
@unit_options("states", "actions", "lfsr_width")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the stimulus.")
@click.option("--episodes", type=int, default=200, show_default=True)
@click.option("--alpha", type=float, default=0.25, show_default=True, help="Learning rate, 0..1.")
@click.option("--gamma", type=float, default=0.99, show_default=True, help="Discount, 0..1.")
@click.option("--simulator", type=click.Choice(["verilator", "icarus"]), default="verilator", show_default=True)
@click.option("--rtl", type=click.Path(path_type=Path), help="A Verilog file to run instead of the generated one.")
@click.option("--waves", type=click.Path(path_type=Path), help="VCD file for the cycles around a divergence.")
@json_option
def lockstep(
    states: int, actions: int, lfsr_width: int, rtl: Path | None, waves: Path | None, as_json: bool, **settings: Any
) -> None:
    """Compare RTL and golden model, event by event, on random stimulus; 0 identical, 1 diverged."""
    import dataclasses

    from tqdm import tqdm

    from rtl.params import RLUParams
    from sim.lockstep import run

    params = RLUParams(states=states, actions=actions, lfsr_width=lfsr_width)
    if rtl is not None and not rtl.is_file():
        raise ValueError(f"--rtl {rtl} is not a file: write one with `rlu verilog -o FILE`")
    with tqdm(total=settings["episodes"], unit="episode", disable=None, file=sys.stderr) as bar:
        report = run(params, verilog=rtl, waves=waves, progress=bar.update, **settings)
    divergence = report.divergence
    if as_json:
        click.echo(
            json.dumps(
                {
                    "identical": report.identical,
                    "seed": settings["seed"],
                    "episodes": report.episodes,
                    "cycles": report.cycles,
                    "compared": dict(report.compared),
                    "divergence": dataclasses.asdict(divergence) if divergence else None,
                }
            )
        )
    else:
        counts = ", ".join(f"{count} {name}s" for name, count in sorted(report.compared.items()))
        click.echo(f"{report.episodes} episodes, {report.cycles} clock cycles; compared {counts}")
        click.echo("identical" if divergence is None else f"DIVERGED in {divergence}")
        if divergence is not None:
            click.echo(f"seed {settings['seed']}: the same call finds it again")
            if waves is not None:
                click.echo(f"waveform: {waves}")
    if divergence is not None:
        raise CheckFailed


@rlu.command()
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@json_option
def compare(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Compare the traces of two runs; 0 if they agree, 1 with the first difference."""
    from .run_folder import RunFolder
    from .run_folder import compare as compare_folders

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


@rlu.command()
@unit_options()
@click.option("--bus", default="none", show_default=True, help="none, axi4lite or wishbone.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A .v file, which gets a JSON description and Verilator's waivers beside it; or a folder, which becomes an "
    "IP package. Default: print.",
)
@click.option("--clock", type=float, metavar="MHZ", help="Clock of the package's timing constraints; default 100.")
@click.option(
    "--technology", default="generic", show_default=True, help="Or ecp5: name that family's carry cells, for speed."
)
@json_option
def verilog(
    output: Path | None, bus: Any, clock: float | None, technology: str, as_json: bool, action_counts: str | None,
    **settings: Any,
) -> None:  # fmt: skip
    """Write the unit as one self-contained Verilog file, or as an IP package."""
    from rtl.params import RLUParams
    from rtl.verilog import sidecar, top_name
    from sim.build import generated_verilog, write_package

    params = RLUParams(action_counts=_counts(action_counts), **settings)
    top_name(bus)  # refuses an unknown one before anything is written
    folder = output is not None and (output.is_dir() or not output.suffix)
    if clock is not None and not folder:
        raise ValueError("--clock is for the constraints of a package: name its folder with -o")
    if folder and technology != "generic":
        raise ValueError(
            "a package holds plain Verilog, which its simulation needs: give -o a .v file for --technology"
        )
    if output is None:
        click.echo(
            json.dumps(sidecar(params, bus)) if as_json else generated_verilog(params, bus, technology).read_text(),
            nl=as_json,
        )
        return
    if folder:
        from sim.package import write

        written = write(params, bus, output, clock_mhz=100.0 if clock is None else clock)
    else:
        written = write_package(params, output, bus, technology)
    if as_json:
        click.echo(json.dumps({"files": [str(path) for path in written], "parameters_sha256": params.digest}))
    else:
        for path in written:
            click.echo(f"wrote {path}")


@rlu.command()
@unit_options()
@click.option(
    "--format", "form", default="markdown", show_default=True, help="c, verilog, svd (CMSIS-SVD), markdown or json."
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File; default: print.")
def registers(form: str, output: Path | None, action_counts: str | None, **settings: Any) -> None:
    """Write the unit's register map for C, Verilog, a debugger, or to read."""
    from rtl.params import RLUParams
    from rtl.register_exports import exported
    from sim.files import write_atomically

    text = exported(RLUParams(action_counts=_counts(action_counts), **settings), form)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomically(output, text)
        click.echo(f"wrote {output}")


@rlu.command()
@unit_options()
@click.option("--target", required=True, help="ecp5-85k, ice40-up5k, gowin, gatemate or xilinx (synthesis only).")
@click.option("--bus", default="none", show_default=True, help="none, axi4lite or wishbone.")
@click.option("--core", is_flag=True, help="The unit without bus and register file.")
@click.option("--block", help="One of its blocks alone, such as updater.")
@click.option(
    "--seeds", type=click.IntRange(1, 99), default=3, show_default=True, help="Placements; the median counts."
)
@click.option("--freq", type=float, metavar="MHZ", help="Clock that is required; exit code 1 if it is missed.")
@click.option("--jobs", type=click.IntRange(1), help="Placements at a time; default: all cores.")
@json_option
def synth(
    target: str, bus: Any, core: bool, block: str | None, seeds: int, freq: float | None, jobs: int | None,
    as_json: bool, action_counts: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Measure clock and area on an FPGA with open tools; 0 well, 1 does not fit or misses --freq."""
    import dataclasses

    from tqdm import tqdm

    from rtl.params import RLUParams
    from rtl.synth import complaint, design, measure, table
    from rtl.synth_targets import target_named
    from sim.files import cache_dir

    chosen = target_named(target)
    if core and block:
        raise ValueError("--core and --block exclude each other: --core is --block core")
    params = RLUParams(action_counts=_counts(action_counts), **settings)
    text, top = design(params, bus=bus, block="core" if core else block, technology=chosen.technology)
    with tqdm(total=1 + seeds, unit="step", disable=None, file=sys.stderr) as bar:

        def progress(doing: str, done: int) -> None:
            bar.set_description(doing, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        report = measure(
            text, top, chosen, seeds=range(1, seeds + 1), mhz=freq, cache=cache_dir(), jobs=jobs, progress=progress
        )
    if as_json:
        click.echo(json.dumps({**report, "bus": bus, "parameters": dataclasses.asdict(params)}))
    else:
        click.echo(table(report))
    wrong = complaint(report)
    if wrong is not None:
        click.echo(f"rlu: {wrong}", err=True)
        raise CheckFailed


@rlu.command()
@click.option("--board", "name", required=True, help="Such as ulx3s-85f; a wrong one lists those there are.")
@click.option("--states", type=int, help="Rows of the unit; default: the board's.")
@click.option("--actions", type=int, help="Its actions; default: the board's.")
@click.option("--lfsr-width", type=int, help="Its bits of the LFSR; default: the board's.")
@click.option("--baud", type=int, help="Bits a second of the serial port; default: the board's.")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("build"),
              show_default=True, help="Folder for the bitstream.")  # fmt: skip
@json_option
def fpga(name: str, output: Path, baud: int | None, as_json: bool, **settings: int | None) -> None:
    """Write a board's bitstream with open tools; 0 well, 1 does not fit or misses its clock."""
    import dataclasses

    from rtl.bitstream import BitstreamFailed, build
    from rtl.boards import board
    from sim.files import cache_dir

    chosen = board(name)
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    params = dataclasses.replace(chosen.params, **given)

    def say(doing: str) -> None:
        if sys.stderr.isatty():
            click.echo(doing, err=True)

    try:
        written = build(chosen, params, output, cache=cache_dir(), baud=baud, say=say)
    except BitstreamFailed as error:
        click.echo(f"rlu: {error}", err=True)
        raise CheckFailed from None
    if as_json:
        click.echo(json.dumps(written.to_json()))
        return
    click.echo(f"{params.states} states x {params.actions} actions on {written.board}")
    click.echo(f"clock: {written.clock_mhz:g} MHz needed, {written.fmax_mhz:g} MHz possible")
    click.echo(f"LUTs: {written.luts} of {written.luts_available}")
    click.echo(f"serial port: {written.baud} baud, 8N1")
    click.echo(f"sha256: {written.sha256}")
    click.echo(f"wrote {written.path}{' (made before, from the cache)' if written.cached else ''}")


@rlu.command("score")
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
    from sim.objective import Objective

    from .tuning import parse_weights, score

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


@rlu.command()
@click.option("--seconds", type=float, default=5.0, show_default=True, help="Time for each rate.")
@json_option
def bench(seconds: float, as_json: bool) -> None:
    """Measure cycles, search iterations a second, and start-up time on this machine."""
    from .bench import run, table

    figures = run(seconds)
    click.echo(json.dumps(figures) if as_json else table(figures))


def _counts(text: str | None) -> tuple[int, ...] | None:
    """The value of --action-counts."""
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--action-counts must be whole numbers N,N,..., not {text!r}") from None


def _check_tools(device: str, simulator: Any) -> None:
    """Before a folder is made, or anything trained: the simulator, or the serial port, must be there."""
    if device == "sim":
        from sim.build import tool_environment

        tool_environment(simulator)
    elif device.startswith("serial:"):
        from sim.serial_device import check_port

        check_port(device.removeprefix("serial:"))


class _terminable:
    """While inside, SIGTERM ends a command as Ctrl-C does: with its children killed and its scratch folders gone."""

    def __enter__(self) -> None:
        def interrupt(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        self._before = signal.signal(signal.SIGTERM, interrupt)

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self._before)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: errors become one message and an exit code."""
    try:
        with _terminable():
            rlu.main(arguments, prog_name="rlu", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_USE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except CheckFailed:
        sys.exit(FAILED)
    except BrokenPipeError:
        sys.stderr.close()  # nothing more can be said to a closed pipe
        sys.exit(FAILED)
    except ModuleNotFoundError as error:
        _complain(
            f"{error.name} is not installed: pip install 'rlu-cosim[train]' (in a checkout: pip install -e '.[train]')"
        )
    except OSError as error:
        _complain(_what_failed(error))
    except (ValueError, RuntimeError) as error:
        # Every rejection of ours is one of these, with a message meant for the user.
        _complain(str(error), FAILED if type(error).__name__ == "Disagreement" else BAD_USE)


def _what_failed(error: OSError) -> str:
    """The operating system's refusal with what to do about it; one of our own as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        # Where nothing is named, it was the output, or a file of the command's own.
        place = error.filename or "standard output, --out or the cache"
        return f"{place}: {error.strerror}: make room, or choose another -o or --out; RLU_CACHE_DIR moves the cache"
    if error.strerror is None or error.filename is None:
        return str(error)
    advice = "choose another path (-o, --out; RLU_CACHE_DIR for the cache), or change what is there"
    return f"{error.filename}: {error.strerror}: {advice}"


def _complain(message: str, code: int = BAD_USE) -> None:
    click.echo(f"rlu: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
