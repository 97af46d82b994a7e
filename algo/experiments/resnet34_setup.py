"""What the ResNet34 experiment runs: the narrow network, its data, its layers by block, the chip model's ranges."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any

from algo.chips.chip import Chip
from algo.chips.evolver import EvolverChip
from algo.experiments.base import Scale
from algo.experiments.model_size import ModelSizeChip
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

FULL_WIDTH = 64


def network(scale: Scale) -> dict[str, Any]:
    """The network that is trained at a scale, and how."""
    width, side = {"quick": (1, 8), "cpu": (4, 16), "full": (FULL_WIDTH, 32)}[scale]
    return {"network": "ResNet34", "width": width, "image_side": side, "batch_size": 125}


def space_of_blocks(chip: Chip) -> PolicySpace:
    """A row per residual block; the first convolution and the last layer have no row and stay at 8 bits."""
    names = [layer.name for layer in full_width_layers()]
    return space_of(chip, names, blocks=blocks_of(names))


@cache
def full_width_layers() -> tuple[LayerShape, ...]:
    """Layer shapes of the full-width network on 32x32 colour images of 100 classes, which the chip model runs."""
    from algo.nets.layer_shapes import layer_shapes
    from algo.nets.models.resnet34 import ResNet34

    return layer_shapes(ResNet34(100, 3, FULL_WIDTH), (3, 32, 32))


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


def chip_and_evaluator(scale: Scale, config: TuneConfig, *, by_size: bool) -> dict[str, Any]:
    """The full-width network on the chip model, the narrow one in training; a row of the policy is a block."""
    from algo.nets.models.resnet34 import ResNet34

    made = network(scale)
    training = dataclasses.replace(config.task.training, batch_size=made["batch_size"])
    if scale == "quick":
        training = dataclasses.replace(training, pretrain_epochs=1, int8_epochs=1)
    task = Task.of(config.task, config.seed, lambda dataset: _shrunken(dataset, made["image_side"]))
    channels, classes = task.dataset.train_images.shape[1], task.dataset.classes
    task = dataclasses.replace(task, training=training, make_model=lambda: ResNet34(classes, channels, made["width"]))
    chip: Any = EvolverChip(full_width_layers())
    if by_size:
        chip = ModelSizeChip(chip, tuple(layer.weights for layer in chip.layers))
    retrainer = task.retrainer(task.pretrained(cache_dir() / "pretrained"))
    return {"chip": chip, "evaluator": retrainer, "space": space_of_blocks(chip)}


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
