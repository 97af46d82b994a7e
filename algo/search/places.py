"""The space of a run: what a chip lets each layer, or block of layers, choose from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from algo.chips.chip import Chip, choices_of
from algo.space.dimensions import ACTIVATION_BITS, DIMENSIONS, WEIGHT_BITS, dimension_named
from algo.space.policy import Place, Policy, PolicySpace


def space_of(
    chip: Chip,
    layers: Sequence[str],
    *,
    searched: Sequence[str] = (WEIGHT_BITS.name,),
    fixed: Sequence[str] = (ACTIVATION_BITS.name,),
    blocks: Mapping[str, Sequence[int]] | None = None,
    among: Sequence[int] | None = None,
) -> PolicySpace:
    """All policies of a network on a chip.

    Args:
        chip: says which values each layer can take, and has the operating points.
        layers: names of the network's layers, in the order of a policy's values.
        searched: dimensions to choose in.
        fixed: dimensions that every policy has, at the value that `fixed_value` gives.
        blocks: numbers of the layers of each block, by name, for one choice a block; layers in no block keep the
            value that `fixed_value` gives. Default: one choice a layer.
        among: bit-widths to choose from at most; default all that the chip knows.

    Raises:
        ValueError: if the layers of a block have no value in common, or a layer none of ``among``.
    """
    for value in among or ():
        if not any(value in choices_of(chip, layer, name) for layer in range(len(layers)) for name in searched):
            raise ValueError(f"no layer of the chip knows {value} bits: leave it out of the bit-widths")
    grouped = {name: (number,) for number, name in enumerate(layers)} if blocks is None else blocks
    places = []
    for name, numbers in grouped.items():
        known = {
            dimension: choices_for(chip, tuple(numbers), dimension, dimension in searched, among)
            for dimension in DIMENSIONS
            if dimension in searched or dimension in fixed
        }
        places.append(Place(name, tuple(numbers), known))
    taken = {number for numbers in grouped.values() for number in numbers}
    rest = []
    for dimension in places[0].choices if len(taken) < len(layers) else ():
        usual = dimension_named(dimension).usual
        column = tuple(
            usual if number in taken else fixed_value(choices_of(chip, number, dimension), dimension)
            for number in range(len(layers))
        )
        if set(column) != {usual}:
            rest.append((dimension, column))
    return PolicySpace.of_places(places, len(layers), len(chip.points), tuple(rest))


def blocks_of(layers: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Numbers of the layers of each block (``blocks.0``, ``blocks.1``, ...), as ResNet34 and MobileNetV2 name theirs.

    All other layers, at the beginning and the end of the network, are in none.

    Raises:
        ValueError: if no layer is in a block.
    """
    blocks: dict[str, tuple[int, ...]] = {}
    for number, layer in enumerate(layers):
        if match := re.match(r"blocks\.\d+", layer):
            blocks[match[0]] = (*blocks.get(match[0], ()), number)
    if not blocks:
        raise ValueError(f"none of the layers is in a block (blocks.0, blocks.1, ...): {', '.join(layers)}")
    return blocks


def choices_for(
    chip: Chip, layers: Sequence[int], dimension: str, searched: bool, among: Sequence[int] | None = None
) -> tuple[int, ...]:
    """What layers that share a value may choose from: what the chip lets all of them have, or one value of it.

    Layers with no more than one value keep it, whatever bit-widths are asked for.
    """
    common = [
        value
        for value in choices_of(chip, layers[0], dimension)
        if all(value in choices_of(chip, layer, dimension) for layer in layers)
    ]
    what = dimension_named(dimension).title
    if not common:
        raise ValueError(f"{_named(chip, layers)} share a row, but the chip gives them no {what} in common")
    if not searched:
        return (fixed_value(common, dimension),)
    if len(common) == 1:
        return tuple(common)
    bits = dimension in (WEIGHT_BITS.name, ACTIVATION_BITS.name)
    chosen = tuple(value for value in common if among is None or not bits or value in among)
    if not chosen:
        known, wanted = (", ".join(map(str, values)) for values in (common, among or ()))
        raise ValueError(
            f"{_named(chip, layers)}: the chip knows {what} of {known}, and none of {wanted}: add one of these to the "
            "bit-widths"
        )
    return chosen


def _named(chip: Chip, layers: Sequence[int]) -> str:
    names = getattr(chip, "layer_names", None) or {number: str(number) for number in layers}
    return f"layer{'s' * (len(layers) > 1)} {', '.join(names[number] for number in layers)}"


def fixed_value(known: Sequence[int], dimension: str) -> int:
    """The usual value of a dimension where it is known, else the largest: what stays at its widest."""
    usual = dimension_named(dimension).usual
    return usual if usual in known else max(known)


def baseline_policy(chip: Chip, space: PolicySpace, point: int) -> Policy:
    """What a policy found is compared with: the usual value in every row if the chip knows it, else the largest."""
    values = {
        name: [choices_for(chip, row.layers, name, searched=False)[0] for row in space.rows if name in row.dimensions]
        for name in space.dimensions
    }
    return space.spread(values, point)
