"""Commands about chips: what a layer costs on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from algo.chips.by_name import NETWORK_METAVAR
from algo.commands.common import json_option
from algo.nets.registry import is_file_network
from algo.support.settings import whole_numbers

if TYPE_CHECKING:
    from algo.chips.table import LayerTable
    from algo.space.layers import LayerShape

#: Formats of a table of layers; a file's suffix selects one.
FORMATS: dict[str, Callable[[LayerTable], str]] = {
    "markdown": lambda table: table.to_markdown(),
    "csv": lambda table: table.to_csv(),
    "json": lambda table: json.dumps(table.to_json()),
}


@click.group()
def chip() -> None:
    """Chips to tune for: the published chip's model, your own hardware, or this machine."""


@chip.command("table")
@click.option(
    "--chip",
    "chip_name",
    metavar="evolver|zigzag|measured|FILE",
    default="evolver",
    show_default=True,
    help="Chip, or a CSV of measured layers, or a description in YAML, TOML or JSON.",
)
@click.option(
    "--network",
    metavar=NETWORK_METAVAR,
    help="Network whose layers it runs; default the published VGG8, or a CSV's own layers.",
)
@click.option(
    "--data", help="Data for a network in FILE.py, as for rlu tune; default 32x32 colour images of 100 classes."
)
@click.option("--data-folder", type=click.Path(), help="As for rlu tune.")
@click.option("--width", type=int, help="With --data: channels of the first layer, as for rlu tune.")
@click.option("--weight-bits", default="all", show_default=True, help="all, or a list such as 2,4,8.")
@click.option("--activation-bits", default="8", show_default=True, help="all, or a list such as 2,4,8.")
@click.option("--point", type=int, multiple=True, help="Number of an operating point, from 0; default all of them.")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of ONNX Runtime, for measured.")
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), help="Default: by the suffix of the -o file, else markdown."
)
@click.option("-o", "--out", "output", type=click.Path(path_type=Path), help="File to write; default the terminal.")
@json_option
def _table(
    chip_name: str,
    network: str | None,
    data: str | None,
    data_folder: str | None,
    width: int | None,
    weight_bits: str,
    activation_bits: str,
    point: tuple[int, ...],
    threads: int,
    form: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Latency and energy of every layer at every bit-width and operating point of a chip.

    The chip is evolver (the published chip's model), zigzag (a first-principles model of the hardware in a YAML
    file, by default one of ours), measured (this machine, by ONNX Runtime), a CSV of measured layers, or a
    description in YAML, TOML or JSON. With --data, your own network is the one that rlu tune trains on these data.
    What --format csv writes is such a CSV. See docs/use/chips.md.
    """
    from algo.chips.by_name import network_layers, open_chip
    from algo.chips.table import layer_table
    from algo.space.dimensions import ACTIVATION_BITS, WEIGHT_BITS
    from sim.files import write_atomically

    layers: Sequence[LayerShape] | None = None
    if data is not None:
        from algo.nets.train.task import Task, TaskConfig

        if network is None or not is_file_network(network):
            raise ValueError(
                "--data is for --network FILE.py:FUNCTION: rlu tune puts a network with a name on the chip in its "
                "published size, and --network NAME:WIDTHxCHANNELSxCLASSES has other sizes"
            )
        config = TaskConfig(data=data, data_folder=data_folder, network=network, width=width)
        layers = Task.of(config, seed=1).layers
    elif width is not None or data_folder is not None:
        raise ValueError(f"{'--data-folder' if width is None else '--width'} is for --data: give both, or leave it out")
    elif network or not chip_name.lower().endswith(".csv"):  # a CSV brings layers of its own
        layers = network_layers(network or "vgg8")
    weights, activations = _bit_widths("--weight-bits", weight_bits), _bit_widths("--activation-bits", activation_bits)
    opened = open_chip(chip_name, layers, threads=threads)
    asked = {WEIGHT_BITS.name: weights, ACTIVATION_BITS.name: activations}

    def choices(layer: int, dimension: str) -> tuple[int, ...]:
        return asked.get(dimension) or opened.choices(layer, dimension)

    made = layer_table(opened, choices, point or None)
    ending = output.suffix.lower().lstrip(".") if output else ""
    form = "json" if as_json else form or (ending if ending in FORMATS else "markdown")
    text = FORMATS[form](made)
    text = text.rstrip("\n")
    if output is None:
        click.echo(text)
    else:
        write_atomically(output, text + "\n")
        click.echo(f"{len(made.rows)} rows written to {output}", err=True)


@chip.command("measure")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of ONNX Runtime.")
@json_option
def _measure(model: Path, threads: int, as_json: bool) -> None:
    """Latency, and energy where it can be read, of a whole network in an ONNX file on this machine.

    The median over repeated runs after a warm-up, for one image. A run takes one image, or the batch that the model
    is fixed to; the output says how many images.
    """
    from algo.chips.measured import check_threads, runtime_in_words, session, time_runs
    from algo.chips.rapl import find_rapl
    from algo.chips.table import or_none

    check_threads(threads)
    rapl, reason = find_rapl()
    content = model.read_bytes()
    try:
        run, images = session(content, threads)
        timing = time_runs(run, rapl, images)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from None
    except Exception as error:
        if type(error).__module__.startswith("onnx"):
            raise ValueError(f"ONNX Runtime cannot run {model}: {' '.join(str(error).split())[:300]}") from None
        raise
    origin = runtime_in_words(threads, images)
    if as_json:
        figures = {
            "latency_ms": timing.median_ms,
            "latency_quartiles_ms": [timing.low_ms, timing.high_ms],
            "runs": timing.runs,
            "images_per_run": images,
            "energy_uj": or_none(timing.energy_uj),
            "energy_unavailable": reason or None,
            "origin": f"measured on {origin}",
        }
        click.echo(json.dumps(figures))
        return
    energy = f"{timing.energy_uj:.4g} uJ per image, of all processor packages" if rapl else f"unavailable: {reason}"
    click.echo(
        f"{model} on {origin}\n"
        f"latency: {timing.median_ms:.4g} ms per image, the median of {timing.runs} runs, "
        f"quartiles {timing.low_ms:.4g} to {timing.high_ms:.4g} ms\nenergy: {energy}"
    )


def _bit_widths(option: str, text: str) -> tuple[int, ...]:
    """Value of an option; nothing for ``all``."""
    if text == "all":
        return ()
    try:
        widths = whole_numbers(text)
    except ValueError:
        raise ValueError(f"{option} must be all, or whole numbers such as 2,4,8, not {text!r}") from None
    if len(set(widths)) != len(widths):
        raise ValueError(f"{option} must not repeat a bit-width, as {text!r} does")
    return widths
