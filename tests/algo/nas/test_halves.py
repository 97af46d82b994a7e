"""The halves have every class, nothing twice, and are the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.nas.halves import halves


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 20), min_size=1, max_size=6), st.integers(0, 100))
def test_each_class_is_split_evenly(counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    first, second = halves(labels, len(counts), seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        assert (labels[first] == label).sum() == (count + 1) // 2
    again = halves(labels, len(counts), seed)
    assert (again[0] == first).all() and (again[1] == second).all()


def test_another_seed_gives_other_halves():
    labels = np.repeat(np.arange(2), 50)
    assert (halves(labels, 2, 1)[0] != halves(labels, 2, 2)[0]).any()


def test_fewer_images_are_drawn_from_all():
    labels = np.repeat(np.arange(2), 500)
    first, second = halves(labels, 2, 1, 100)
    assert len(first) + len(second) == 100 and max(first) > 800


def test_a_class_that_a_half_would_lack_is_named():
    with pytest.raises(ValueError, match="class 1 has 1 of the 5 images to train on, and each half needs one"):
        halves(np.array([0, 0, 0, 0, 1]), 2, 1)
