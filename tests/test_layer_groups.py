"""Layers that share a bit-width, and the network they are for."""

import pytest
import torch

from algo.chip import EvolverChip
from algo.experiments.resnet34_setup import full_width_layers, groups, scaled_ranges
from algo.layer_groups import GroupedChip, GroupedEvaluator, LayerGroups
from algo.networks import MobileNetV2, ResNet34, layer_shapes
from algo.policy import Policy
from sim.objective import Objective

NAMES = ["stem", "a.1", "a.2", "b.1", "last"]


def of_name(name):
    return name[0] if "." in name else None


def test_a_policy_over_groups_is_spread_over_layers():
    found = LayerGroups.by_name(NAMES, of_name)
    assert found.names == ("a", "b") and found.group_of_layer == (None, 0, 0, 1, None)
    assert found.spread(Policy((2, 4), (4, 8), 3)) == Policy((8, 2, 2, 4, 8), (8, 4, 4, 8, 8), 3)
    with pytest.raises(ValueError, match="a policy over 2 groups cannot have 3 bit-widths"):
        found.spread(Policy((2, 4, 8), (8, 8, 8), 0))


def test_groups_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="layer 1 is in group 2, but there are only 1 groups"):
        LayerGroups(("a",), (0, 2))
    with pytest.raises(ValueError, match="group 'b' has no layer"):
        LayerGroups(("a", "b"), (0, None))


def test_resnet34_has_16_blocks_of_two_or_three_layers():
    found, layers = groups(), full_width_layers()
    assert len(found.names) == 16 and len(layers) == 1 + 32 + 3 + 1
    sizes = [found.group_of_layer.count(block) for block in range(16)]
    assert sizes == [2, 2, 2, 3, 2, 2, 2, 3, 2, 2, 2, 2, 2, 3, 2, 2]
    assert found.group_of_layer[0] is None and found.group_of_layer[-1] is None
    # 1.16 billion multiply-accumulates and 21.3 million weights: the usual figures for 32x32 images.
    assert sum(layer.macs for layer in layers) == pytest.approx(1.16e9, rel=0.01)
    assert sum(layer.weights for layer in layers) == pytest.approx(21.3e6, rel=0.01)


def test_groups_by_block_are_those_of_the_experiment():
    assert LayerGroups.by_block([layer.name for layer in full_width_layers()]) == groups()
    with pytest.raises(ValueError, match=r"none of the layers is in a block .*: stem, a\.1"):
        LayerGroups.by_block(NAMES)


def test_mobilenetv2_has_17_blocks_of_two_or_three_layers():
    layers = layer_shapes(MobileNetV2(10, 1, width=2), (1, 8, 8))
    found = LayerGroups.by_block([layer.name for layer in layers])
    assert [found.group_of_layer.count(block) for block in range(17)] == [2] + [3] * 16
    assert [number for number, group in enumerate(found.group_of_layer) if group is None] == [0, 51, 52]
    chip = GroupedChip(EvolverChip(layers), found)
    costs = [chip.measure(Policy((bits,) * 17, (8,) * 17, 4)) for bits in (2, 8)]
    assert costs[0].energy_uj < costs[1].energy_uj


def test_the_network_takes_any_size_and_halves_it_three_times():
    model = ResNet34(10, 1, width=2).eval()
    assert model(torch.zeros(3, 1, 16, 16)).shape == (3, 10)
    assert model.blocks(model.stem(torch.zeros(1, 1, 16, 16))).shape == (1, 16, 2, 2)
    with pytest.raises(ValueError, match="width must be an integer of at least 1, not 0"):
        ResNet34(10, 1, 0)


def test_the_chip_measures_the_layers_that_a_policy_over_blocks_stands_for():
    chip, found = EvolverChip(full_width_layers()), groups()
    policy = Policy((2, 8) * 8, (8,) * 16, 4)
    assert GroupedChip(chip, found).measure(policy) == chip.measure(found.spread(policy))
    assert GroupedChip(chip, found).points == chip.points
    narrower = GroupedChip(chip, found).measure(Policy((2,) * 16, (8,) * 16, 4))
    assert narrower.energy_uj < GroupedChip(chip, found).measure(policy).energy_uj


def test_an_evaluator_of_another_network_is_refused():
    class Three:
        layers = 3

    with pytest.raises(ValueError, match="the groups cover 5 layers, the network has 3"):
        GroupedEvaluator(Three(), LayerGroups.by_name(NAMES, of_name))


def test_ranges_are_the_published_ones_scaled():
    ranges, published = scaled_ranges(), Objective()
    factors = [
        ranges[name] / getattr(published, name) for name in ("latency_low_ms", "latency_high_ms", "latency_th_ms")
    ]
    assert factors[0] > 1 and factors[1] == pytest.approx(factors[0], rel=1e-4)
    Objective(weight_a=0.25, weight_l=0.1, weight_e=0.65, **ranges)
