"""A changed image is the same image, shifted or mirrored; which way is drawn from a generator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.nets.train.augment import CHANGES, shifted, shifted_and_mirrored


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def moved(image, down, right):
    """An image moved by hand."""
    made = torch.zeros_like(image)
    height, width = image.shape[1:]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                made[:, row, column] = image[:, row - down, column - right]
    return made


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 17), st.integers(1, 17), st.integers(0, 1000))
def test_every_image_is_one_of_the_shifts(count, channels, height, width, seed):
    images = torch.rand(count, channels, height, width, generator=drawn(seed)) + 1
    most_down, most_right = height // 8, width // 8
    for mirrored, made in ((False, shifted(images, drawn(seed))), (True, shifted_and_mirrored(images, drawn(seed)))):
        assert made.shape == images.shape
        for image, other in zip(images, made, strict=True):
            possible = [
                moved(image, down, right)
                for down in range(-most_down, most_down + 1)
                for right in range(-most_right, most_right + 1)
            ]
            possible += [one.flip(2) for one in possible] if mirrored else []
            assert any(torch.equal(other, one) for one in possible)


def test_small_images_stay_where_they_are():
    images = torch.rand(100, 1, 1, 7, generator=drawn(1)) + 1
    assert torch.equal(shifted(images, drawn(1)), images)


def test_shifts_and_mirrors_are_drawn_evenly():
    images = torch.zeros(4000, 1, 16, 16)
    images[:, :, 8, 8] = 1
    places = shifted(images, drawn(1)).flatten(1).argmax(1)
    rows, columns = places // 16, places % 16
    for found in (rows, columns):
        values, counts = found.unique(return_counts=True)
        assert values.tolist() == [6, 7, 8, 9, 10] and counts.min() > 650
    images = torch.zeros(1000, 1, 16, 16)
    images[:, :, 8, :4] = 1
    left = shifted_and_mirrored(images, drawn(1))[:, :, :, :8].flatten(1).amax(1)
    assert 400 < left.sum() < 600


@pytest.mark.parametrize("name", [name for name, change in CHANGES.items() if change])
def test_one_seed_gives_the_same_and_the_next_draw_others(name):
    change, images = CHANGES[name], torch.rand(20, 3, 16, 16)
    generator = drawn(1)
    first, second = change(images, generator), change(images, generator)
    assert torch.equal(first, change(images, drawn(1))) and not torch.equal(first, second)
