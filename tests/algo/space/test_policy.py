"""Rows, policies and spaces: one encode, one decode, for any dimensions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.chips.evolver import EvolverChip
from algo.nets.layer_shapes import layer_shapes
from algo.nets.models.mobilenetv2 import MobileNetV2
from algo.published.evolver import PUBLISHED_VGG8
from algo.search.places import blocks_of, space_of
from algo.space.policy import Place, Policy, PolicySpace, Row

WIDTHS = st.lists(st.integers(2, 16), min_size=1, max_size=6, unique=True).map(tuple)


@st.composite
def spaces(draw):
    """Spaces of blocks of layers, each with choices of its own."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    places, first = [], draw(st.integers(0, 1))  # a layer that is in no place
    for number, size in enumerate(sizes):
        choices = {"weight_bits": draw(WIDTHS), "activation_bits": draw(WIDTHS)}
        places.append(Place(f"block{number}", tuple(range(first, first + size)), choices))
        first += size
    return PolicySpace.of_places(places, first, draw(st.integers(1, 9)))


@given(spaces(), st.data())
def test_encode_is_the_inverse_of_decode(space, data):
    actions = tuple(data.draw(st.integers(0, count - 1)) for count in space.action_counts)
    policy = space.decode(actions)
    assert policy.layers == space.layers and space.encode(policy) == actions
    assert max(space.action_counts) <= 16
    for row, action in zip(space.rows[:-1], actions, strict=False):
        for name, value in zip(row.dimensions, row.choices[action], strict=True):
            assert {policy.per_layer[name][layer] for layer in row.layers} == {value}
    chosen = space.by_place(policy)
    assert set(chosen) == {"weight_bits", "activation_bits"} and policy.point == actions[-1]
    assert len(chosen["weight_bits"]) == len({row.where for row in space.rows[:-1]})


def test_the_published_space_packs_two_dimensions_in_a_row():
    space = PolicySpace.of_bit_widths(8, 9, (2, 4, 8), (4, 8))
    assert space.uniform and space.action_counts == (6,) * 8 + (9,)
    policy = space.decode((4, *(0,) * 7, 5))
    assert (policy.weight_bits[0], policy.activation_bits[0], policy.point) == (4, 8, 5)
    assert space.identity == ("PolicySpace(layers=8, points=9, weight_choices=(2, 4, 8), activation_choices=(4, 8))")


def test_more_than_16_pairs_become_a_row_a_dimension():
    space = PolicySpace.of_bit_widths(2, 1, (2, 3, 4, 5, 6), (2, 4, 6, 8))
    assert space.action_counts == (5, 4, 5, 4, 1) and not space.uniform
    assert space.decode((4, 0, 0, 3, 0)) == Policy((6, 2), (2, 8), 0)


def test_a_chip_with_its_own_bit_widths_gives_its_own_space():
    names = [layer.name for layer in PUBLISHED_VGG8]
    chip = EvolverChip(bit_widths=(4, 6), layer_bit_widths={"conv1": (6, 8), "fc2": (2, 3, 4, 5, 6, 7)})
    space = space_of(chip, names)
    assert space.action_counts == (2, *(2,) * 6, 6, 9)
    assert [row.values("weight_bits") for row in space.rows[:2]] == [(6, 8), (4, 6)]
    # Activations stay at 8 bits where the chip knows them, and at its widest elsewhere.
    assert [row.values("activation_bits")[0] for row in space.rows[:-1]] == [8, 6, 6, 6, 6, 6, 6, 7]
    chip.measure(space.decode((0,) * 9))
    assert space_of(EvolverChip(), names).identity == PolicySpace.of_bit_widths(8, 9).identity


def test_layers_of_a_block_choose_from_what_all_of_them_know():
    chip = EvolverChip(bit_widths=(2, 4, 8), layer_bit_widths={"conv2": (4, 8), "conv3": (2,)})
    names = [layer.name for layer in PUBLISHED_VGG8]
    space = space_of(chip, names, blocks={"first": (0, 1), "rest": (3, 4)})
    assert space.action_counts == (2, 3, 9) and space.decode((0, 0, 0)).weight_bits == (4, 4, 2, 2, 2, 8, 8, 8)
    for actions in itertools.product(range(2), range(3), range(9)):
        policy = space.decode(actions)
        assert chip.measure(policy).latency_ms > 0  # layers in no block have what the chip knows
        assert space.encode(policy) == actions and space.spread(space.by_place(policy), policy.point) == policy
    assert space.identity != space_of(EvolverChip(), names, blocks={"first": (0, 1), "rest": (3, 4)}).identity
    with pytest.raises(ValueError, match="layers conv2, conv3 share a row, but the chip gives them no weight bits"):
        space_of(chip, names, blocks={"both": (1, 2)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PolicySpace.of_bit_widths(0, 1), "at least 1 layer, not 0"),
        (lambda: PolicySpace.of_bit_widths(1, 0), "at least 1 operating point, not 0"),
        (lambda: PolicySpace.of_bit_widths(1, 1, ()), "weight bits need at least 1 value to choose from"),
        (lambda: PolicySpace.of_bit_widths(1, 1, (1, 2)), "weight bits of layer1 must be between 2 and 16, not 1, 2"),
        (lambda: Row("a", (0,), ("colour",), ((1,),)), "unknown dimension 'colour': the dimensions are weight_bits"),
        (lambda: Row("a", (0,), ("weight_bits",), ()), "row 'a' has nothing to choose from"),
        (lambda: PolicySpace((Row("a", (0,), ("weight_bits",), ((2,),)),), 1), "the last row .* the operating point"),
        (
            lambda: PolicySpace(
                (Row("a", (0,), ("weight_bits",), ((2,),)), Row("b", (0,), ("weight_bits",), ((2,),)),
                 Row("chip", (), (), ((0,),))), 1,
            ),
            "rows 'a' and 'b' both set weight_bits of layer 0",
        ),
        (
            lambda: PolicySpace((Row("a", (3,), ("weight_bits",), ((2,),)), Row("chip", (), (), ((0,),))), 2),
            r"row 'a' must set layers in 0\.\.1, not \(3,\)",
        ),
        (lambda: PolicySpace.of_bit_widths(2, 1).decode((0, 3, 0)), r"row 1 has actions 0\.\.2, not 3"),
        (lambda: PolicySpace.of_bit_widths(2, 1).encode(Policy((2, 3), (8, 8))), "row 'layer2' has no choice"),
    ],
)  # fmt: skip
def test_what_makes_no_space_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mobilenetv2_has_17_blocks_of_two_or_three_layers():
    layers = layer_shapes(MobileNetV2(10, 1, width=2), (1, 8, 8))
    chip = EvolverChip(layers)
    space = space_of(chip, chip.layer_names, blocks=blocks_of(chip.layer_names))
    assert [len(row.layers) for row in space.rows[:-1]] == [2] + [3] * 16
    in_blocks = {layer for row in space.rows for layer in row.layers}
    assert [number for number in range(len(layers)) if number not in in_blocks] == [0, 51, 52]
    costs = [chip.measure(space.decode((action,) * 17 + (4,))) for action in (0, 2)]
    assert costs[0].energy_uj < costs[1].energy_uj
    with pytest.raises(ValueError, match=r"none of the layers is in a block .*: stem, a\.1"):
        blocks_of(["stem", "a.1"])
