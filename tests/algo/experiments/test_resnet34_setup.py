"""The ResNet34 experiment: its blocks, its ranges."""

import pytest

from algo.chips.evolver import EvolverChip
from algo.experiments.resnet34_setup import full_width_layers, scaled_ranges, space_of_blocks
from sim.devices.objective import Objective


def test_resnet34_has_16_blocks_of_two_or_three_layers():
    layers = full_width_layers()
    space = space_of_blocks(EvolverChip(layers))
    assert len(space.rows) == 16 + 1 and space.layers == len(layers) == 1 + 32 + 3 + 1
    assert [len(row.layers) for row in space.rows[:-1]] == [2, 2, 2, 3, 2, 2, 2, 3, 2, 2, 2, 2, 2, 3, 2, 2]
    policy = space.decode((0,) * 17)
    assert policy.weight_bits == (8, *(2,) * 35, 8)
    # 1.16 billion multiply-accumulates and 21.3 million weights: the usual figures for 32x32 images.
    assert sum(layer.macs for layer in layers) == pytest.approx(1.16e9, rel=0.01)
    assert sum(layer.weights for layer in layers) == pytest.approx(21.3e6, rel=0.01)


def test_ranges_are_the_published_ones_scaled():
    ranges, published = scaled_ranges(), Objective()
    factors = [
        ranges[name] / getattr(published, name) for name in ("latency_low_ms", "latency_high_ms", "latency_th_ms")
    ]
    assert factors[0] > 1 and factors[1] == pytest.approx(factors[0], rel=1e-4)
    Objective(weight_a=0.25, weight_l=0.1, weight_e=0.65, **ranges)
