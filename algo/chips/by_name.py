"""Chips by name or file: `open_chip` is the one place where a word on the command line becomes a chip."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from algo.chips.chip import LayerChip
from algo.chips.description import COMMON, SUFFIXES, Description, read_description
from algo.chips.evolver import ChipConstants, EvolverChip
from algo.nets.registry import NETWORKS, is_file_network, network_builder, published_width
from algo.published.evolver import PUBLISHED_VGG8, vgg8_layers
from algo.space.layers import LayerShape
from algo.support.user_files import reading, shown

#: Chips with a name; any other chip is a file.
NAMES = ("evolver", "zigzag", "measured")
#: What may be given where a chip is asked for, for help texts.
METAVAR = "evolver|zigzag|measured|FILE.csv|FILE.yaml"
#: What may be given where the network of a chip is asked for, for help texts.
NETWORK_METAVAR = "|".join([*NETWORKS, "NAME:WIDTHxCHANNELSxCLASSES", "FILE.py:FUNCTION", "FILE.onnx"])


def open_chip(
    name: str, layers: Sequence[LayerShape] | None = PUBLISHED_VGG8, *, needs_energy: bool = False, threads: int = 1
) -> LayerChip:
    """A chip by its name, or from a file.

    Args:
        name: ``evolver``, the published chip's model; ``zigzag``, ZigZag on the hardware that ships with the project;
            ``measured``, this machine; a CSV of measured layers; or a description in YAML, TOML or JSON.
        layers: of the network it runs; ``None`` takes a CSV's own layers, and the published VGG8 elsewhere.
        needs_energy: whether energies are required.
        threads: of the measured machine.

    Raises:
        ValueError: for an unknown name, a file that cannot be used, or missing energies that are required.
        OSError: if the file is missing.
        ModuleNotFoundError: if the chip needs something that is not installed.
    """
    if name == "measured":
        from algo.chips.measured import MeasuredChip
        from algo.chips.rapl import find_rapl

        counters = find_rapl()
        if needs_energy and counters[0] is None:
            raise _no_energy(name, counters[1])  # before anything is measured
        return MeasuredChip(PUBLISHED_VGG8 if layers is None else layers, threads, counters)
    chip = _open(name, layers)
    if needs_energy and chip.no_energy is not None:
        raise _no_energy(name, chip.no_energy)
    return chip


def network_layers(name: str) -> tuple[LayerShape, ...]:
    """Layers of a network that a chip may run.

    Args:
        name: one of `algo.nets.registry.NETWORKS` in its usual size for 32x32 colour images of 100 classes, as
            published; ``NAME:WIDTHxCHANNELSxCLASSES`` for another size; ``FILE.py:FUNCTION``, a user's own for those
            images; or an ONNX file. Only VGG8 and ONNX files need no PyTorch.

    Raises:
        ValueError: for an unknown name, or a network that cannot be made.
        OSError: if the ONNX file is missing.
    """
    if name == "vgg8":
        return PUBLISHED_VGG8
    if name.lower().endswith(".onnx"):
        from algo.chips.onnx_layers import onnx_layers

        with reading(Path(name)):
            return onnx_layers(Path(name))
    if is_file_network(name):
        return _built_layers(name, None, 3, 100)
    kind, _, sizes = name.partition(":")
    given = re.fullmatch(r"(\d+)x(\d+)x(\d+)", sizes)
    numbers = tuple(map(int, given.groups())) if given else ()
    whole = name == kind or (numbers and all(0 < number <= 65536 for number in numbers))
    if kind not in NETWORKS or not whole:
        raise ValueError(
            f"the network must be {', '.join(NETWORKS)}, one of them with :WIDTHxCHANNELSxCLASSES, such as "
            f"vgg8:8x1x10, FILE.py:FUNCTION, or a file that ends in .onnx, not {name!r}"
        )
    width, channels, classes = numbers or (published_width(kind), 3, 100)
    return vgg8_layers(width, channels, classes) if kind == "vgg8" else _built_layers(kind, width, channels, classes)


def _built_layers(name: str, width: int | None, channels: int, classes: int) -> tuple[LayerShape, ...]:
    """Layers of a network for 32x32 images, from a forward pass."""
    import torch

    from algo.nets.layer_shapes import layer_shapes

    build = network_builder(name)
    with torch.random.fork_rng(devices=()), torch.device("meta" if build.digest is None else "cpu"):
        model = build(classes, channels, (32, 32), width)
    return layer_shapes(model, (channels, 32, 32))


def _no_energy(name: str, reason: str) -> ValueError:
    return ValueError(
        f"chip {name} has no energies ({reason}), so no objective can weigh them: set the weight c to 0, "
        "as rlu tune --objective 0.3,0.7,0 does, or choose another chip"
    )


def _open(name: str, layers: Sequence[LayerShape] | None) -> LayerChip:
    shapes = PUBLISHED_VGG8 if layers is None else layers
    if name == "evolver":
        return EvolverChip(shapes)
    if name == "zigzag":
        from importlib import resources

        from algo.chips.zigzag_chip import SHIPPED

        with resources.as_file(SHIPPED) as path:
            return described_chip(read_description(path), shapes)
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        from algo.chips.layer_csv import TableChip, read_csv

        return TableChip(read_csv(path), None if layers is None else [layer.name for layer in layers], str(path))
    if suffix in SUFFIXES:
        with reading(path):
            return described_chip(read_description(path), shapes)
    raise ValueError(
        f"unknown chip {name!r}: choose {', '.join(NAMES)}, or name a file that ends in .csv, {', '.join(SUFFIXES)}"
    )


def fixed_chip(
    name: str,
    layers: Sequence[LayerShape],
    *,
    choices: Callable[[LayerChip, int, str], Sequence[int]],
    needs_energy: bool,
    saved: Path,
) -> LayerChip:
    """A chip whose figures stay the same until the end of a run, also when the run is resumed.

    The Evolver model is a formula. Any other chip becomes a table: the one in ``saved``, if it is there, else one of
    all that the run may ask for (the caller saves it). A file may change, and measurements never repeat exactly.

    Args:
        name, layers, needs_energy: as of `open_chip`.
        choices: what the run may ask a chip for, by number of a layer and dimension.
        saved: the table of a run that was begun earlier.

    Raises:
        ValueError, OSError, ModuleNotFoundError: as `open_chip`.
    """
    if name == "evolver":
        return EvolverChip(layers)
    from algo.chips.layer_csv import TableChip, read_csv
    from algo.chips.table import layer_table

    names = [layer.name for layer in layers]
    if saved.exists():
        return TableChip(read_csv(saved), names, str(saved))
    chip = open_chip(name, layers, needs_energy=needs_energy)
    table = layer_table(chip, lambda layer, dimension: choices(chip, layer, dimension))
    return TableChip(table, names, f"chip {name}")


def described_chip(description: Description, layers: Sequence[LayerShape]) -> LayerChip:
    """The chip of a description, whose ``model`` is ``bit-scalable`` or ``zigzag``."""
    model = description.content.get("model")
    if model == "zigzag":
        from algo.chips.zigzag_chip import ZigzagChip

        return ZigzagChip(description, layers)
    if model == "bit-scalable":
        return bit_scalable_chip(description, layers)
    raise ValueError(f"{description.where}: model must be bit-scalable or zigzag, not {shown(model)}")


def bit_scalable_chip(description: Description, layers: Sequence[LayerShape]) -> EvolverChip:
    """A chip by the equations of the Evolver model, with constants and operating points of its own."""
    description.check_keys(("model", "operating_points", "constants"), COMMON)
    constants = description.part("constants")
    names = [field.name for field in fields(ChipConstants)]
    constants.check_keys(names)
    rates = ("macs_per_cycle", "memory_gbit_per_s")
    values = {name: constants.number(name, above_zero=name in rates) for name in names}
    chip = EvolverChip(
        layers,
        ChipConstants(**values),
        description.operating_points(),
        description.bit_widths(),
        description.layer_bit_widths(),
    )
    chip.name = description.text("name", Path(description.where).stem)
    usual = f"the equations of docs/understand/evolver-model.md with the constants of {Path(description.where).name}"
    chip.origin = description.text("origin", usual)
    return chip
