"""What the ResNet34 experiment runs: the narrow network, its data, its blocks, the chip model's ranges."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any

from algo.chips.by_name import network_layers
from algo.chips.evolver import EvolverChip
from algo.experiments.base import Scale
from algo.nets.registry import published_width
from algo.nets.train.task import Task
from algo.published.evolver import INT8_BASELINE
from algo.runs.config import TuneConfig
from algo.search.places import blocks_of, space_of
from algo.space.layers import LayerShape
from algo.space.policy import Policy, PolicySpace
from sim.devices.objective import Objective
from sim.files import cache_dir

if TYPE_CHECKING:
    from algo.nets.data.datasets import Dataset
    from algo.nets.train.retrainer import Retrainer

NAME = "resnet34"
FULL_WIDTH = published_width(NAME)


def network(scale: Scale) -> dict[str, Any]:
    """The network that is trained at a scale, and how."""
    width, side = {"quick": (1, 8), "cpu": (4, 16), "full": (FULL_WIDTH, 32)}[scale]
    return {"network": "ResNet34", "width": width, "image_side": side, "batch_size": 125}


def settings(scale: Scale) -> dict[str, Any]:
    """Settings of a run by name: the network, a choice for each residual block, how it is trained."""
    made = network(scale)
    fields = {"network": NAME, "rows": "block", "width": made["width"], "batch_size": made["batch_size"]}
    return fields | ({"pretrain_epochs": 1, "int8_epochs": 1} if scale == "quick" else {})


@cache
def full_width_layers() -> tuple[LayerShape, ...]:
    """Layer shapes of the full-width network on 32x32 colour images of 100 classes, which the chip model runs."""
    return network_layers(NAME)


def space_of_blocks(chip: EvolverChip) -> PolicySpace:
    """A row per residual block; the first convolution and the last layer have no row and stay at 8 bits."""
    return space_of(chip, chip.layer_names, blocks=blocks_of(chip.layer_names))


@cache
def scaled_ranges() -> dict[str, float]:
    """The published thresholds and ranges of VGG8, times the ratio of INT8 ResNet34 to INT8 VGG8 in the chip model."""
    published = Objective()
    vgg8 = EvolverChip().measure(INT8_BASELINE)
    layers = full_width_layers()
    eights = (8,) * len(layers)
    resnet = EvolverChip(layers).measure(Policy(eights, eights, INT8_BASELINE.point))
    latency, energy = resnet.latency_ms / vgg8.latency_ms, resnet.energy_uj / vgg8.energy_uj
    ranges = {
        name: getattr(published, name) * latency for name in ("latency_th_ms", "latency_low_ms", "latency_high_ms")
    }
    ranges |= {name: getattr(published, name) * energy for name in ("energy_th_uj", "energy_low_uj", "energy_high_uj")}
    return {name: round(value, 4) for name, value in ranges.items()}


def evaluator(scale: Scale, config: TuneConfig) -> Retrainer:
    """The retraining of a run on images of the scale's size, which a configuration cannot say."""
    task = Task.of(config.task, config.seed, lambda dataset: _shrunken(dataset, network(scale)["image_side"]))
    return task.retrainer(task.pretrained(cache_dir() / "pretrained"))


def _shrunken(dataset: Dataset, side: int) -> Dataset:
    """The data set with images averaged down to ``side`` pixels per side, then shifted and scaled again."""
    import numpy as np

    def shrink(images: Any) -> Any:
        count, channels, height, _ = images.shape
        factor = height // side
        return images.reshape(count, channels, side, factor, side, factor).mean((3, 5), dtype=np.float32)

    train, test = shrink(dataset.train_images), shrink(dataset.test_images)
    mean, deviation = train.mean((0, 2, 3), keepdims=True), train.std((0, 2, 3), keepdims=True)
    scaled = [np.ascontiguousarray((images - mean) / deviation, dtype=np.float32) for images in (train, test)]
    return dataclasses.replace(dataset, train_images=scaled[0], test_images=scaled[1])
