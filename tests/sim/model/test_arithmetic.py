"""The arithmetic page's rules against exact fractions."""

from collections import Counter
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.model.arithmetic import (
    discount,
    divide_half_even,
    explore_limit,
    next_draw,
    next_draws,
    round_half_even,
    to_fixed,
    updated,
)

BIG = st.integers(-(2**40), 2**40)


@given(value=BIG, shift=st.integers(0, 30))
def test_round_half_even_is_python_rounding_of_the_exact_quotient(value, shift):
    assert round_half_even(value, shift) == round(Fraction(value, 2**shift))


@given(values=st.lists(BIG, min_size=1), shift=st.integers(0, 30))
def test_round_half_even_of_arrays_equals_that_of_integers(values, shift):
    rounded = round_half_even(np.array(values, dtype=np.int64), shift)
    assert rounded.tolist() == [round_half_even(value, shift) for value in values]


@given(value=BIG, divisor=st.integers(1, 256))
def test_divide_half_even_is_python_rounding_of_the_exact_quotient(value, divisor):
    assert divide_half_even(value, divisor) == round(Fraction(value, divisor))
    assert divide_half_even(np.array([value]), divisor).tolist() == [divide_half_even(value, divisor)]


@given(value=st.floats(0, 1), frac=st.integers(4, 15))
def test_to_fixed_is_the_nearest_multiple(value, frac):
    assert to_fixed(value, frac) == round(Fraction(value) * 2**frac)


@given(data=st.data(), frac=st.integers(4, 15))
def test_discount_is_the_nearest_multiple_of_2_to_minus_17_ties_upwards(data, frac):
    alpha = data.draw(st.one_of(st.integers(0, 1 << frac), st.integers(0, frac).map(lambda bit: 1 << bit)))
    gamma = data.draw(st.integers(0, 1 << frac))
    exact = Fraction(alpha, 1 << frac) * Fraction(gamma, 1 << frac)
    assert discount(alpha, gamma, frac) == floor(exact * 2**17 + Fraction(1, 2))


Q = st.integers(-(2**15), 2**15 - 1)


@given(data=st.data(), frac=st.integers(4, 15), old=Q, reward=Q, row=st.integers(0, 3))
def test_an_update_is_cut_to_8_bits_and_rounded_once_ties_by_the_row(data, frac, old, reward, row):
    alpha = data.draw(st.integers(0, 1 << frac))
    own = floor(Fraction(alpha, 1 << frac) * (reward - old) * 256)
    # Half the time the sum is a tie, or almost one.
    near_tie = st.integers(-2, 2).map(lambda off: 128 + off - own % 256)
    following = data.draw(st.one_of(near_tie, st.integers(-(2**23), 2**23)))
    exact, half = old + Fraction(own + following, 256), Fraction(1, 2)
    nearest = ceil(exact - half) if row % 2 else floor(exact + half)
    assert updated(old, reward, following, alpha, frac, row) == nearest
    arrays = (np.array([value]) for value in (old, reward, following))
    assert updated(*arrays, alpha, frac, row).tolist() == [nearest]


@given(maximum=Q, reward=Q, old=Q, row=st.integers(0, 1))
def test_a_coefficient_of_1_held_in_17_bits_changes_no_update(maximum, reward, old, row):
    one = 1 << 15
    assert discount(one, one, 15) == 2**17 and discount(one, one - 1, 15) < 2**17 - 1
    held = ((2**17 - 1) * maximum) // 2**9
    assert updated(old, reward, held, one, 15, row) == reward + maximum


@pytest.mark.parametrize("width", [8, 16, 32])
@pytest.mark.parametrize("coef_frac", [4, 15])
def test_exploring_is_exact_at_both_ends_and_nearest_in_between(width, coef_frac):
    one, states = 1 << coef_frac, 2**width - 1
    assert explore_limit(0, coef_frac, width) == 0  # no state is 0: none explores
    assert explore_limit(one, coef_frac, width) == states  # every state explores
    for epsilon in range(0, one + 1, max(1, one // 64)):
        limit = explore_limit(epsilon, coef_frac, width)
        assert abs(Fraction(limit) - Fraction(epsilon, one) * states) <= Fraction(1, 2)


@pytest.mark.parametrize("width", [8, 16])
def test_draws_visit_every_state_once_in_a_period(width):
    # The number of shifts a draw makes has no factor in common with the period, or visits a part of it.
    state, seen = 1, set()
    for _ in range(2**width - 1):
        state = next_draw(state, width)
        seen.add(state)
    assert seen == set(range(1, 2**width))


def test_a_draw_is_width_single_shifts():

    for width, taps in ((8, (8, 6, 5, 4)), (16, (16, 15, 13, 4)), (32, (32, 22, 2, 1))):
        for start in (1, 0x5A, 2**width - 1):
            state = start
            for _ in range(width):
                bits = sum((state >> (tap - 1)) & 1 for tap in taps) % 2
                state = (state << 1 | bits) & (2**width - 1)
            assert next_draw(start, width) == state
            assert next_draws(np.array([start]), width).tolist() == [state]


@pytest.mark.parametrize("count", range(1, 17))
@pytest.mark.parametrize("width", [8, 16])
def test_random_actions_are_as_uniform_as_a_period_allows(width, count):
    actions = Counter(state * count >> width for state in range(1, 2**width))
    assert set(actions) == set(range(count))
    assert max(actions.values()) - min(actions.values()) <= 1


@pytest.mark.parametrize(("width", "iterations"), [(8, 85), (16, 21845)])
def test_decisions_of_nine_rows_repeat_after_the_documented_iterations(width, iterations):
    state, repeats_after = 1, 0
    while state != 1 or not repeats_after:
        repeats_after += 1
        for _ in range(18):
            state = next_draw(state, width)
    assert repeats_after == iterations
