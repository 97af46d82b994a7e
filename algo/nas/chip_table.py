"""The latency table of a chip model: what its layers cost at each bit-width."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from algo.chips.by_name import open_chip
from algo.chips.chip import LayerChip
from algo.nas.latency_table import LatencyTable, TableError
from algo.nas.network import END_BITS, Network, activation_bits
from algo.nas.space import Space
from algo.nets.layer_shapes import layer_shapes
from algo.nets.models.mobilenetv2 import InvertedResidual
from algo.space.layers import LayerShape


def chip_table(
    name: str, space: Space, image: tuple[int, int, int], classes: int, point: int | None = None
) -> LatencyTable:
    """Ask a chip for every layer of every candidate.

    Args:
        name: of the chip, or of its file: see `algo.chips.by_name.open_chip`.
        space: whose options are asked for.
        image: channels, height and width.
        classes: of the network.
        point: number of the chip's operating point; default: the one of the highest frequency.

    Raises:
        TableError: for a bit-width or an operating point that the chip does not have.
        ValueError, OSError, ModuleNotFoundError: as `open_chip` raises them.
    """
    with torch.device("meta"):
        network = Network(space, space.same(space.options[0]), image[0], classes)
        candidates = {
            (number, path): InvertedResidual(block.inputs, block.outputs, block.stride, path[1], path[0])
            for number, block in enumerate(space.blocks(image[1:]))
            for path in space.paths
        }
        ends = [layer for layer in layer_shapes(network, image) if not layer.name.startswith("blocks.")]
        shapes: dict[tuple[int, tuple[int, int]], list[LayerShape]] = {}
        for (number, path), block in candidates.items():
            where = space.blocks(image[1:])[number]
            shapes[number, path] = [
                dataclasses.replace(layer, name=f"block{number}.k{path[0]}e{path[1]}.{layer.name}")
                for layer in layer_shapes(block, (where.inputs, *where.size))
            ]
    layers = [*ends, *(layer for some in shapes.values() for layer in some)]
    chip = open_chip(name, layers)
    if point is None:
        point = max(range(len(chip.points)), key=lambda number: chip.points[number].frequency_mhz)
    if point not in range(len(chip.points)):
        raise TableError(f"chip {chip.name} has operating points 0..{len(chip.points) - 1}, not {point}")
    numbers = {layer.name: number for number, layer in enumerate(layers)}

    def cost(some: Sequence[LayerShape], bits: int) -> float:
        return sum(_layer_ms(chip, numbers[layer.name], bits, point) for layer in some)

    blocks = np.array(
        [
            [[cost(shapes[number, path], bits) for bits in space.bits] for path in space.paths]
            for number in range(space.block_count)
        ]
    )
    operating = chip.points[point]
    return LatencyTable(
        chip.name,
        chip.origin,
        {"point": point, "voltage_v": operating.voltage_v, "frequency_mhz": operating.frequency_mhz},
        space,
        image,
        classes,
        tuple(f"{bits} bits" for bits in space.bits),
        cost(ends, END_BITS),
        blocks,
        np.zeros((space.block_count + 1, len(space.bits), len(space.bits))),
    )


def _layer_ms(chip: LayerChip, number: int, bits: int, point: int) -> float:
    for dimension, wanted in (("weight_bits", bits), ("activation_bits", activation_bits(bits))):
        known = chip.choices(number, dimension)
        if wanted not in known:
            raise TableError(
                f"chip {chip.name} has {dimension} of {', '.join(map(str, known))}, not {wanted}: give the space "
                f"others, such as --bits {','.join(map(str, known))}"
            )
    return chip.measure_layer(number, bits, activation_bits(bits), point).latency_ms
