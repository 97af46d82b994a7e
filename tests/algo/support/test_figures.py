"""Figures as tables show them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.support.figures import shown_cost


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0.00"), (4.0149, "4.01"), (0.1, "0.10"), (0.0099, "0.0099"), (0.0001193, "0.000119")]
)
def test_costs(value, shown):
    assert shown_cost(value) == shown


@given(st.floats(1e-30, 1e6), st.integers(1, 4))
def test_a_cost_is_never_hidden(value, decimals):
    assert float(shown_cost(value, decimals)) == pytest.approx(value, rel=0.06)
