"""What a search leaves for others: network.json, network.pt and network.py, which need PyTorch alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from algo.nas import plain_network
from algo.nas.latency_table import LatencyTable
from algo.nas.network import Network, set_bits_found
from algo.nets.quantisation import (
    QuantisedConv2d,
    QuantisedLinear,
    Rounding,
    quantised_layers,
    weight_levels,
)
from algo.nets.saving import saved
from algo.support.user_files import check_object, parse_json, reading

DESCRIPTION, WEIGHTS, MODULE = "network.json", "network.pt", "network.py"


def described(network: Network, table: LatencyTable) -> dict[str, Any]:
    """The description of a network, for JSON: stem, blocks with their options and latencies, layers with their bits.

    Args:
        network: quantised.
        table: of the device that it was found for.
    """
    space = network.space
    paths, bits = table.indices(network.architecture)
    blocks = [
        {
            "name": block.name,
            "inputs": block.inputs,
            "outputs": block.outputs,
            "stride": block.stride,
            "kernel": option.kernel,
            "expansion": option.expansion,
            "bits": option.bits,
            "latency_ms": float(table.blocks_ms[number, paths[number], bits[number]]),
        }
        for number, (block, option) in enumerate(zip(space.blocks(table.image[1:]), network.architecture, strict=True))
    ]
    return {
        "space": space.name,
        "device": table.device,
        "channels": table.image[0],
        "image_size": list(table.image[1:]),
        "classes": table.classes,
        "latency_ms": table.ms(network.architecture),
        "stem": {"channels": space.stem, "stride": space.stem_stride},
        "blocks": blocks,
        "head": {"channels": space.head},
        "layers": {
            name: {
                "weight_bits": layer.weight_bits,
                "activation_bits": layer.activation_bits,
                "rounds_input": layer.rounds_input,
            }
            for name, layer in quantised_layers(network)
        },
        "roundings": {name: {"activation_bits": one.activation_bits} for name, one in roundings(network).items()},
    }


def roundings(network: nn.Module) -> dict[str, Rounding]:
    """By name, what rounds a tensor by itself."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Rounding)}


def states(network: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Weights of a quantised network: as trained (``float``), ``rounded``, and ``ranges`` of what layers are given.

    `algo.nas.plain_network` reads the first two; `restored` the first and the last.
    """
    layers, alone = dict(quantised_layers(network)), roundings(network)
    plain, rounded, ranges = {}, {}, {}
    for name, value in network.state_dict().items():
        owner, _, last = name.rpartition(".")
        layer = layers.get(owner)
        value = value.detach().cpu().clone()
        if (layer is not None or owner in alone) and last in ("low", "high", "seen"):
            ranges[name] = value
            continue
        plain[name] = rounded[name] = value
        if layer is not None and last == "weight":
            rounded[name] = rounded_weight(layer).cpu()
    grids = {f"{name}.given": layer.input_levels() for name, layer in layers.items() if layer.rounds_input}
    grids |= {name: one.input_levels() for name, one in alone.items()}
    for name, grid in grids.items():
        rounded[f"{name}.scale"], rounded[f"{name}.zero"] = grid.step.cpu(), grid.zero.cpu()
    return {"float": plain, "rounded": rounded, "ranges": ranges}


def rounded_weight(layer: QuantisedConv2d | QuantisedLinear) -> Tensor:
    """A layer's weights, rounded to its bits."""
    with torch.no_grad():
        levels, step = weight_levels(layer.weight, layer.weight_bits)
        return levels * step


def restored(folder: Path, table: LatencyTable) -> Network:
    """The quantised network that `take_away` wrote into a folder, in evaluation mode.

    Raises:
        ValueError: for files that are damaged or not of one network; they are named.
    """
    with reading(folder / DESCRIPTION):
        kinds: dict[str, Any] = {"blocks": list[dict[str, Any]], "roundings": dict[str, Any]}
        facts = check_object(parse_json((folder / DESCRIPTION).read_bytes()), kinds, "it", optional=("roundings",))
        if "roundings" not in facts:
            raise ValueError(
                "an earlier version wrote it, whose networks did not round sums; remove it and summary.json, and "
                "train the network again: rlu nas search --resume, or rlu nas derive --train for another latency"
            )
        chosen = [(block["kernel"], block["expansion"], block["bits"]) for block in facts["blocks"]]
        network = Network(table.space, table.space.checked(chosen), table.image[0], table.classes)
    with reading(folder / WEIGHTS):
        content = torch.load(folder / WEIGHTS, weights_only=True)
        set_bits_found(network, table.in_float32)
        network.load_state_dict(content["float"] | content["ranges"])
    return network.eval()


def take_away(network: Network, table: LatencyTable) -> dict[str, bytes]:
    """Content of the three files, by name."""
    return {
        DESCRIPTION: (json.dumps(described(network, table), indent=1) + "\n").encode(),
        WEIGHTS: saved(states(network)),
        MODULE: Path(plain_network.__file__).read_bytes(),
    }
