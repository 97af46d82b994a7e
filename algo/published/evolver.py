"""The published chip, Evolver: its operating points, its network and what was measured on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from algo.space.layers import Geometry, LayerShape
from algo.space.policy import OperatingPoint, Policy


@dataclass(frozen=True)
class PublishedMeasurement:
    """One measured policy of the published chip.

    Attributes:
        name: what it was best for.
        policy: bit-widths and operating point.
        latency_ms: of one inference.
        energy_uj: of one inference.
        derived: how it follows from published figures if it was not printed itself, else empty.
    """

    name: str
    policy: Policy
    latency_ms: float
    energy_uj: float
    derived: str = ""


@cache
def evolver_facts() -> dict[str, Any]:
    """The published facts (and our fitted constants) of ``algo/published/evolver.json``; not to be changed."""
    facts: dict[str, Any] = json.loads((resources.files("algo.published") / "evolver.json").read_text(encoding="utf-8"))
    return facts


OPERATING_POINTS = tuple(
    OperatingPoint(float(p["voltage_v"]), float(p["frequency_mhz"])) for p in evolver_facts()["operating_points"]
)


BIT_WIDTHS: tuple[int, ...] = tuple(evolver_facts()["bit_widths"])


def vgg8_layers(width: int = 128, channels: int = 3, classes: int = 100) -> tuple[LayerShape, ...]:
    """Layers of `algo.nets.models.vgg8.VGG8` on 32x32 images, made without PyTorch; the defaults are as published."""
    layers, inputs, side = [], channels, 32
    for number, outputs in enumerate((width, width, 2 * width, 2 * width, 4 * width, 4 * width), start=1):
        weights, pixels, size = 9 * inputs * outputs, side * side, (side, side)
        loops = Geometry(inputs, outputs, size, size, kernel=(3, 3), padding=(1, 1))
        layers.append(LayerShape(f"conv{number}", pixels * weights, weights, pixels * inputs, pixels * outputs, loops))
        inputs = outputs
        if number % 2 == 0:  # 2x2 pooling
            side //= 2
    for number, (fan_in, outputs) in enumerate(((inputs * side * side, 8 * width), (8 * width, classes)), start=1):
        loops = Geometry(fan_in, outputs, linear=True)
        layers.append(LayerShape(f"fc{number}", fan_in * outputs, fan_in * outputs, fan_in, outputs, loops))
    return tuple(layers)


PUBLISHED_VGG8 = vgg8_layers()  # 128-128-256-256-512-512-1024-100 on 32x32 colour images, CIFAR-100


INT8_BASELINE = Policy((8,) * 8, (8,) * 8, OPERATING_POINTS.index(OperatingPoint(0.80, 232.0)))


def published_measurements() -> tuple[PublishedMeasurement, ...]:
    """The four measured policies of the published chip, and INT8 as it follows from its 20-day comparison."""
    found = []
    for entry in evolver_facts()["measurements"]:
        weight_bits = tuple(entry["weight_bits"])
        policy = Policy(weight_bits, (8,) * len(weight_bits), entry["point"])
        found.append(
            PublishedMeasurement(
                entry["name"], policy, entry["latency_ms"], entry["energy_uj"], entry.get("derived", "")
            )
        )
    return tuple(found)
