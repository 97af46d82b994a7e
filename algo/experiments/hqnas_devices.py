"""Networks found for three devices, drawn as in the chapter, and what each costs on the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from algo.experiments import hqnas_runs as runs
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.statistics import mean_of_few, shown

PAGE = runs.PAGE
#: Studies by the name of their device.
_DEVICES = {"this machine": runs.JOINT, "Evolver": "evolver", "ZigZag": "zigzag"}
STUDIES = tuple(_DEVICES.values())
#: Colours of a network's drawing.
_KERNELS = {1: "0.85", 3: COLOURS[1], 5: COLOURS[2], 7: COLOURS[3]}


def configuration(settings: Settings) -> dict[str, Any]:
    """The searches."""
    return runs.description(settings, *STUDIES)


def compute(settings: Settings) -> dict[str, Any]:
    """Of every search: the network found, and its latency beside the largest network's on each chip."""
    found = runs.searches(settings, *STUDIES)
    devices = {}
    for name, study in _DEVICES.items():
        networks = []
        for one in found[study]:
            architecture = one.folder.table.space.checked(one.summary["architecture"])
            networks.append(
                {
                    "seed": one.seed,
                    "architecture": [list(option) for option in architecture],
                    "latency_ms": one.summary["latency_ms"],
                    "limit_ms": one.summary["limit_ms"],
                    "accuracy": one.summary["accuracy"],
                    "size_bytes": one.summary["size_bytes"],
                    "collapsed": one.summary["collapsed"],
                    "elsewhere": {
                        other: _share(found[theirs][0].folder.table, architecture)
                        for other, theirs in _DEVICES.items()
                        if other != name
                    },
                }
            )
        table = found[study][0].folder.table
        devices[name] = {"origin": table.origin, "bits": list(table.space.bits), "networks": networks}
    first = found[runs.JOINT][0]
    space = first.folder.table.space
    blocks = [block.name for block in space.blocks(first.folder.table.image[1:])]
    down = [block.stride == 2 for block in space.blocks(first.folder.table.image[1:])]
    return {"devices": devices, "data": first.summary["data"], "blocks": blocks, "down": down}


def _share(table: Any, architecture: Any) -> float | None:
    """Latency as a share of the largest 8-bit network's; ``None`` if the device lacks one of its bit-widths."""
    if not {option.bits for option in architecture} <= set(table.space.bits):
        return None
    return float(table.ms(architecture) / table.ms(table.largest))


def present(data: Mapping[str, Any]) -> Page:
    """Describe and draw the networks, and compare what the devices chose."""
    devices = data["devices"]
    rows, body = [], []
    for name, device in devices.items():
        networks = device["networks"]
        kernels, expansions, bits = (
            np.mean([[option[place] for option in one["architecture"]] for one in networks]) for place in range(3)
        )
        rows.append(
            Row(f"{name}: mean kernel, expansion, bits", NOT_PUBLISHED, f"{kernels:.1f}, {expansions:.1f}, {bits:.1f}",
                f"bits of {', '.join(map(str, device['bits']))}")
        )  # fmt: skip
        for one in networks:
            elsewhere = ", ".join(
                f"{other} {'not possible' if share is None else f'{share:.0%}'}"
                for other, share in one["elsewhere"].items()
            )
            body.append(
                (
                    name, str(one["seed"]), " ".join(f"k{k}e{e}/{b}" for k, e, b in one["architecture"]),
                    f"{one['latency_ms']:.4f} ({one['latency_ms'] / one['limit_ms']:.0%} of the limit)",
                    f"{100 * one['accuracy']:.1f}", f"{one['size_bytes'] / 1024:.0f}", elsewhere,
                )
            )  # fmt: skip
    for name, device in devices.items():
        accuracy = mean_of_few([100 * one["accuracy"] for one in device["networks"]])
        rows.append(Row(f"{name}: accuracy, %", NOT_PUBLISHED, shown(accuracy, 1)))
    header = (
        "device", "seed", "blocks: kernel, expansion / bits", "latency by the table, ms", "accuracy, %", "weights, KiB",
        "elsewhere, of the largest network's latency",
    )  # fmt: skip
    return Page(
        rows,
        _plot(data),
        "The network of the first seed for each device: height is the expansion, colour the kernel; a line marks where "
        "the image is halved",
        {"**Every network**": markdown_table(header, body)},
        (
            f"{data['data']}. This machine: {runs.USUAL} of its largest 8-bit network; both chips: 60 %.",
            *(f"{name}: {device['origin']}." for name, device in devices.items()),
            "Published, for ImageNet: the CPU's network is shallower and wider than the GPU's, the GPU's has short "
            "bit-widths, above all late, and both keep early layers at high precision. These are other devices, other "
            "images and a small space.",
        ),
    )


def _plot(data: Mapping[str, Any]) -> bytes:
    devices = data["devices"]
    with figure(1, height=1.6 * len(devices) + 0.6) as drawn:
        [axes] = drawn.axes
        for row, (name, device) in enumerate(devices.items()):
            base = 1.4 * (len(devices) - 1 - row)
            axes.text(-0.6, base + 0.3, name, ha="right", fontsize="small")
            largest = max(option[1] for one in device["networks"] for option in one["architecture"])
            for place, (kernel, expansion, bits) in enumerate(device["networks"][0]["architecture"]):
                axes.bar(place, expansion / largest, 0.8, bottom=base, color=_KERNELS[kernel], label=f"kernel {kernel}")
                axes.text(place, base + 0.1, f"e{expansion}\n{bits} bits", ha="center", fontsize="x-small")
                if data["down"][place]:
                    axes.plot([place - 0.5] * 2, [base, base + 1.1], "--", color="grey", linewidth=1)
        axes.set(xlim=(-1.6, len(data["blocks"]) - 0.4), xlabel="block", yticks=[])
        axes.set_xticks(range(len(data["blocks"])), data["blocks"])
    return drawn.png
