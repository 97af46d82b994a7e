"""Slices are all of each tensor, once; each is averaged over the clients that hold it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.fed.slices import Layout, Slice, averaged

SHAPES = {"weight": (4, 6), "bias": (5,)}


def layout(seed=0):
    """Three slices of the weight, two of the bias, at random places."""
    rng = np.random.default_rng(seed)
    found = []
    for name, cuts in (("weight", [7, 15]), ("bias", [2])):
        places = rng.permutation(int(np.prod(SHAPES[name])))
        found += [Slice(name, str(n), np.sort(part)) for n, part in enumerate(np.split(places, cuts))]
    return Layout(SHAPES, found)


def tensors(rng):
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def test_values_go_where_they_came_from():
    rng = np.random.default_rng(1)
    known, other = tensors(rng), tensors(rng)
    before = {name: value.copy() for name, value in other.items()}
    one = layout()
    one.put([0, 2, 3], one.of([0, 2, 3], known), other)
    for number, own in enumerate(one.slices):
        source = known if number in (0, 2, 3) else before
        assert np.array_equal(other[own.tensor].reshape(-1)[own.places], source[own.tensor].reshape(-1)[own.places])
    assert one.count([0, 2, 3]) == 7 + 9 + 2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_a_slice_is_the_mean_over_the_clients_that_hold_it(seed):
    """Against a direct computation, value by value."""
    rng = np.random.default_rng(seed)
    one, clients = layout(seed % 7), [tensors(rng) for _ in range(4)]
    held = [sorted(rng.permutation(5)[: rng.integers(0, 6)].tolist()) for _ in clients]
    weights = rng.integers(1, 100, 4)
    before = tensors(rng)
    updates = [
        (own, one.of(own, known), float(weight)) for own, known, weight in zip(held, clients, weights, strict=True)
    ]
    after = {name: value.copy() for name, value in before.items()}
    one.put(range(5), averaged(one, updates, one.of(range(5), before)), after)
    for number, cut in enumerate(one.slices):
        for place in cut.places:
            known = [
                (weight, client[cut.tensor].flat[place])
                for client, own, weight in zip(clients, held, weights, strict=True)
                if number in own
            ]
            total = sum(int(weight) for weight, _ in known)
            wanted = sum(int(w) * float(v) for w, v in known) / total if known else before[cut.tensor].flat[place]
            assert after[cut.tensor].flat[place] == pytest.approx(wanted, rel=1e-6, abs=1e-7)


def test_the_digest_tells_layouts_apart():
    assert layout(1).digest == layout(1).digest != layout(2).digest
    assert len(layout().digest) == 8


@pytest.mark.parametrize("places", [[[0, 1]], [[0, 1], [1, 2]], [[0, 1, 2, 3]], []])
def test_slices_that_are_not_all_of_a_tensor_once_are_refused(places):
    cut = [Slice("a", str(number), np.array(own, dtype=np.int64)) for number, own in enumerate(places)]
    with pytest.raises(ValueError, match="the slices of tensor a of shape \\(3,\\) overlap, or are not all of it"):
        Layout({"a": (3,)}, cut)


def test_a_slice_of_no_tensor_is_refused():
    with pytest.raises(ValueError, match="tensor b, which there is not"):
        Layout({"a": (1,)}, [Slice("a", "0", np.array([0])), Slice("b", "0", np.array([0]))])
