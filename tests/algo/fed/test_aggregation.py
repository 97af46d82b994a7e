"""What many updates become: who counts, what is shortened, what is left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.fed.aggregation import (
    AGAINST,
    EARLIEST,
    LAST,
    LEAST,
    STRONG,
    TOO_FAR,
    TOO_LONG,
    TOO_MANY,
    Update,
    aggregated,
    clipped,
    cosines,
    doubtful,
    strengths,
)
from algo.fed.slices import Layout, Slice

LAYOUT = Layout({"a": (30,), "b": (10,)}, [Slice("a", "x", np.arange(20)), Slice("a", "y", np.arange(20, 30)),
                                           Slice("b", "all", np.arange(10))])  # fmt: skip
SIZES = [20, 10, 10]
ZEROS = [np.zeros(size, np.float32) for size in SIZES]


def update(rng, held=(0, 1, 2), images=100, factor=1.0, middle=None):
    values = [rng.normal(size=SIZES[n]) + (0 if middle is None else middle[n]) for n in held]
    return Update(held, tuple((factor * own).astype(np.float32) for own in values), images)


def some(seed, count=5, **more):
    rng = np.random.default_rng(seed)
    middle = [rng.normal(size=size) for size in SIZES]
    return {number: update(rng, middle=middle, **more) for number in range(count)}, rng, middle


@given(st.integers(0, 1000), st.integers(3, 8))
def test_like_updates_all_count(seed, count):
    updates, _, _ = some(seed, count)
    found = cosines(LAYOUT, updates)
    assert doubtful(updates, {client: [cosine] * 5 for client, cosine in found.items()}, {}) == {}
    assert all(cosine > 0 for cosine in found.values()) and len(found) == (count if count > 3 else 0)


@given(st.integers(0, 1000), st.integers(0, 4), st.sampled_from(["long", "against", "images"]))
def test_one_that_is_not_like_the_others_is_named(seed, bad, how):
    updates, _, middle = some(seed)
    if how == "long":
        updates[bad] = Update((0, 1, 2), tuple(30 * own for own in updates[bad].changes), 100)
    elif how == "against":
        updates[bad] = Update((0, 1, 2), tuple(np.float32(-own) for own in middle), 100)
    else:
        updates[bad] = Update((0, 1, 2), updates[bad].changes, int(100 * TOO_MANY) + 1)
    said = {"long": "times as long", "against": "its updates go against the others'", "images": "it says 1001 images"}[
        how
    ]
    agreements = {client: [cosine] * EARLIEST for client, cosine in cosines(LAYOUT, updates).items()}
    found = doubtful(updates, agreements, {})
    assert list(found) == [bad] and said in found[bad]
    if how == "against":  # not at once
        assert doubtful(updates, {client: known[:-1] for client, known in agreements.items()}, {}) == {}


def test_borders_of_the_rules():
    alike = {n: Update((2,), (np.full(10, 1, np.float32),), 100) for n in range(4)}
    for length, named in ((TOO_LONG, False), (1.01 * TOO_LONG, True)):
        assert (4 in doubtful({**alike, 4: Update((2,), (np.full(10, length, np.float32),), 100)}, {}, {})) == named
    for images, named in ((100 * TOO_MANY, False), (100 * TOO_MANY + 1, True)):
        assert (4 in doubtful({**alike, 4: Update((2,), alike[0].changes, int(images))}, {}, {})) == named
    spread = np.array([1.0, -1.0, 1.0, -1.0])  # its mean has a standard error of 1 / sqrt(3)
    for errors, named in ((0.99 * AGAINST, False), (1.01 * AGAINST, True)):
        known = 0.01 * (spread - errors / 3**0.5)
        assert (0 in doubtful(alike, {0: known.tolist()}, {})) == named
        assert doubtful(alike, {0: (-known).tolist()}, {}) == {}
    for strength, named in ((STRONG, False), (1.01 * STRONG, True)):
        assert (0 in doubtful(alike, {}, {0: [0.9, *[strength] * LAST]})) == named
        assert doubtful(alike, {}, {0: [strength] * (LEAST - 1)}) == {}


def test_cosines_are_with_the_median_of_the_others_without_the_last_layer():
    layout = Layout({"a": (2,), "last.weight": (2,)},
                    [Slice("a", "all", np.arange(2)), Slice("last.weight", "all", np.arange(2))])  # fmt: skip
    values = {0: (1, 0), 1: (1, 0), 2: (1, 0), 3: (1, 0), 4: (0, 1), 5: (-1, 0), 6: (3, 4)}
    updates = {client: Update((0, 1), (np.float32(own), np.float32([-own[0], 5])), 1) for client, own in values.items()}
    assert cosines(layout, updates) == pytest.approx({**dict.fromkeys(range(4), 1.0), 4: 0.0, 5: -1.0, 6: 0.6})


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_far_longer_than_the_weights_is_named_however_few_there_are(count):
    updates = {n: Update((2,), (np.full(10, 0.5, np.float32),), 100, 1.0) for n in range(count)}
    for length, named in ((TOO_FAR, False), (1.01 * TOO_FAR, True)):
        updates[0] = Update((2,), (np.full(10, length, np.float32),), 100, 1.0)
        found = doubtful(updates, {}, {})
        assert (0 in found) == (named or count == 5)  # five are also compared with each other
        assert "times as long as the weights" in found.get(0, "") or not named
        assert set(found) <= {0}


def test_two_clients_cannot_be_compared():
    updates, rng, _ = some(1, 1)
    both = {**updates, 1: update(rng, factor=1e6)}
    assert cosines(LAYOUT, both) == {} and doubtful(both, {0: [-1.0] * 9}, {0: [9.0] * 9}) == strengths(both) == {}


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([1.0, 2.0, 3.0]))
def test_clipping_shortens_to_the_median_and_changes_no_direction(seed, clip):
    updates, _, _ = some(seed)
    updates[0] = Update((0, 2), (50 * updates[0].changes[0], updates[0].changes[2]), 100)
    found = clipped(LAYOUT, updates, clip)
    for number in range(3):
        holders = {c: own.held.index(number) for c, own in updates.items() if number in own.held}
        lengths = {c: np.sqrt(np.mean(np.square(updates[c].changes[p], dtype=np.float64))) for c, p in holders.items()}
        most = clip * np.median(list(lengths.values()))
        for client, place in holders.items():
            before, after = updates[client].changes[place], found[client].changes[place]
            factor = min(1.0, most / lengths[client])
            assert np.allclose(after, factor * before, rtol=1e-5)
            if factor == 1:
                assert np.array_equal(after, before)
    assert clipped(LAYOUT, updates, 0) == updates


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 7), st.integers(1, 2))
def test_the_trimmed_mean_leaves_out_the_ends(seed, count, trim):
    updates, _, _ = some(seed, count)
    known = [np.full(size, 2.0, np.float32) for size in SIZES]
    found = aggregated(LAYOUT, ZEROS, [(own, [known[n] for n in own.held]) for own in updates.values()], trim)
    for number in range(3):
        values = np.sort([known[number] + own.changes[number] for own in updates.values()], axis=0).astype(np.float64)
        wanted = values[trim : count - trim].mean(0) if count > 2 * trim else np.median(values, axis=0)
        assert np.allclose(found[number], wanted, rtol=1e-6)


@pytest.mark.parametrize("trim", [0, 1])
def test_a_slice_that_none_holds_stays(trim):
    rng = np.random.default_rng(1)
    before = [np.full(size, 5.0, np.float32) for size in SIZES]
    one = update(rng, held=(0,))
    found = aggregated(LAYOUT, before, [(one, [ZEROS[0]])], trim)
    assert np.array_equal(found[0], one.changes[0])
    assert np.array_equal(found[1], before[1]) and np.array_equal(found[2], before[2])


def test_the_mean_is_weighted_by_images():
    ones = Update((2,), (np.ones(10, np.float32),), 300)
    none = Update((2,), (np.zeros(10, np.float32),), 100)
    found = aggregated(LAYOUT, ZEROS, [(ones, [ZEROS[2]]), (none, [ZEROS[2]])])
    assert np.allclose(found[2], 0.75)


@given(st.lists(st.integers(20, 2000), min_size=3, max_size=12), st.floats(0, 1), st.integers(0, 11), st.floats(1, 9))
def test_clients_with_more_images_are_not_stronger_but_one_that_sends_more_is(images, power, bad, factor):
    """Lengths grow with the steps at most, and not at all at the least."""
    bad %= len(images)
    updates = {n: Update((2,), (np.full(10, count**power, np.float32),), count) for n, count in enumerate(images)}
    found = strengths(updates)
    assert max(found.values()) <= 1 + 1e-5
    louder = strengths(updates | {bad: Update((2,), (factor * updates[bad].changes[0],), images[bad])})
    assert found[bad] * 0.99 <= louder[bad] <= factor * found[bad] * 1.01


def test_strengths_are_the_lesser_of_both_ratios():
    def one(length, images):
        return Update((2,), (np.full(10, length, np.float32),), images)

    updates = {0: one(1, 100), 1: one(1, 100), 2: one(1, 100), 3: one(4, 200), 4: one(4, 800), 5: one(0.5, 10)}
    assert strengths(updates) == pytest.approx({0: 1, 1: 1, 2: 1, 3: 2, 4: 0.5, 5: 0.5})
    assert strengths({n: one(0, 100) for n in range(4)}) == {}
