"""The published spaces have the published sizes; a space that cannot be is refused by what is wrong with it."""

import dataclasses

import pytest

from algo.nas.space import SPACES, Option, Space, Stage, space_named


def test_the_published_sizes():
    imagenet, cifar10 = SPACES["imagenet"], SPACES["cifar10"]
    assert imagenet.architectures == 4**22 and imagenet.bit_policies == 3**22
    assert [stage.blocks for stage in cifar10.stages] == [1, 4, 4, 4, 1]  # 5 stages of 4, first and last of 1
    assert [stage.blocks for stage in imagenet.stages] == [1, 4, 4, 4, 4, 4, 1]
    assert len(cifar10.options) == 12


@pytest.mark.parametrize("name", SPACES)
def test_blocks_follow_each_other(name):
    space = space_named(name)
    blocks = space.blocks((32, 32))
    assert len(blocks) == space.block_count
    for before, after in zip(blocks, blocks[1:], strict=False):
        assert after.inputs == before.outputs and after.size == before.output_size
    assert blocks[-1].outputs == space.stages[-1].channels


def test_odd_images_are_halved_as_convolutions_do():
    blocks = SPACES["tiny"].blocks((29, 31))
    assert [block.size for block in blocks] == [(15, 16), (15, 16), (8, 8), (8, 8)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stages": ()}, "has no stages"),
        ({"stem": 0}, "stem must be at least 1, not 0"),
        ({"stages": (Stage(8, 0),)}, "blocks of stage 1 must be at least 1"),
        ({"stages": (Stage(8, 1, 3),)}, "stride of stage 1 must be 1 or 2, not 3"),
        ({"kernels": (3, 4)}, "kernels must be 1, 3, 5 or 7, not 4"),
        ({"bits": (4, 32)}, "bits must be in 2..16, not 32"),
        ({"bits": (8, 4)}, "bits must rise"),
        ({"expansions": (0,)}, "expansions must be at least 1"),
    ],
)
def test_an_impossible_space_is_refused(change, said):
    with pytest.raises(ValueError, match=f"space tiny.*{said}"):
        dataclasses.replace(SPACES["tiny"], **change)


def test_an_architecture_of_another_space_is_refused():
    space = Space("mine", 4, 1, (Stage(4, 2),), 8)
    assert space.checked([[3, 6, 8], (5, 3, 16)]) == (Option(3, 6, 8), Option(5, 3, 16))
    with pytest.raises(ValueError, match="has 2 blocks, not 1"):
        space.checked([Option(3, 3, 4)])
    with pytest.raises(ValueError, match="block 2 cannot have k7 e3 4 bits"):
        space.checked([Option(3, 3, 4), Option(7, 3, 4)])
    with pytest.raises(ValueError, match="unknown space 'big': the spaces are cifar10, imagenet"):
        space_named("big")
