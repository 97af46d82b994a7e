"""Every image has one client, and a client is tested on the classes that it meets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.fed.partition import PartitionError, partition

TRAIN, TEST = np.arange(2000) % 10, np.arange(1000) % 10


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.sampled_from([0.1, 0.2, 1.0, 100.0]))
def test_every_image_has_one_client(seed, clients, alpha):
    shares = partition(TRAIN, TEST, clients, alpha, seed, least=5)
    for part, count in (("train", 2000), ("test", 1000)):
        dealt = np.concatenate([getattr(one, part) for one in shares])
        assert len(dealt) == count and len(np.unique(dealt)) == count
    for one in shares:
        assert len(one.train) >= 5 and len(one.test) >= 1
        met, tested = (np.bincount(labels % 10, minlength=10) for labels in (TRAIN[one.train], TEST[one.test]))
        assert np.abs(met - 2 * tested).max() <= 4  # both have the same shares, but for rounding
    again = partition(TRAIN, TEST, clients, alpha, seed, least=5)
    assert all((a.train == b.train).all() and (a.test == b.test).all() for a, b in zip(shares, again, strict=True))


def test_a_small_alpha_gives_few_classes():
    def of_main(alpha):
        """Mean share of each client's two most frequent classes."""
        shares = partition(TRAIN, TEST, 8, alpha, 3, least=20)
        counts = [np.sort(np.bincount(TRAIN[one.train], minlength=10))[::-1] for one in shares]
        return np.mean([count[:2].sum() / count.sum() for count in counts])

    assert of_main(0.05) > 0.7 and of_main(0.05) > of_main(0.5) > of_main(100) and of_main(100) < 0.3


def test_fewer_images_are_drawn_first():
    shares = partition(TRAIN, TEST, 4, 1.0, 1, least=5, train_images=200)
    assert sum(len(one.train) for one in shares) == 200


def test_partitions_that_leave_a_client_too_few_are_drawn_again():
    """Whatever is drawn first, all have enough in the end; without the rule some would not."""
    drawn_again = 0
    for seed in range(20):
        ruled = partition(TRAIN, TEST, 8, 0.2, seed, least=60)
        assert min(len(one.train) for one in ruled) >= 60
        free = partition(TRAIN, TEST, 8, 0.2, seed, least=1)
        drawn_again += min(len(one.train) for one in free) < 60
    assert drawn_again > 3


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"clients": 200, "least": 20}, "2000 images to train on and 1000 to test with are too few for 200 clients"),
        ({"clients": 50, "least": 39, "alpha": 0.01}, "every client 39 images; at best the smallest had"),
        ({"alpha": 0.0}, "an alpha above 0, not 8 clients"),
        ({"clients": 0}, "at least 1 client"),
        ({"alpha": float("nan")}, "alpha nan"),
    ],
)
def test_what_cannot_be_dealt_is_said(given_, said):
    settings_ = {"clients": 8, "alpha": 0.2, "least": 20} | given_
    with pytest.raises(PartitionError, match=said):
        partition(TRAIN, TEST, seed=1, **settings_)
