"""Regret and its intervals: what must hold of them for any searches."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from algo.search.compare.regret import arrival, as_json, checkpoints, mean_regret
from tests.small_tables import small_scored

SCORED = small_scored(accuracy_th=0.6)
chosen = st.tuples(st.integers(1, 12), st.integers(1, 8)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, SCORED.table.space.size - 1))
)


@given(chosen)
def test_regret_never_rises_and_ends_at_the_best_policy_seen(chosen):
    regret = SCORED.regret(chosen)
    assert (regret >= 0).all() and (np.diff(regret, axis=0) <= 0).all()
    assert (regret[-1] == SCORED.optimum - SCORED.scores[chosen].max(axis=0)).all()


@given(chosen, st.randoms())
def test_the_order_of_evaluations_does_not_change_where_regret_ends(chosen, random):
    order = random.sample(range(len(chosen)), len(chosen))
    assert (SCORED.regret(chosen[order])[-1] == SCORED.regret(chosen)[-1]).all()


@given(chosen)
def test_the_interval_holds_the_mean_and_lies_within_the_seeds(chosen):
    regret = SCORED.regret(chosen)
    for n, estimate in mean_regret(regret, range(1, len(chosen) + 1)).items():
        row = regret[n - 1]
        slack = 1e-12  # means are summed in another order
        assert row.min() - slack <= estimate.low <= estimate.value + slack
        assert estimate.value - slack <= estimate.high <= row.max() + slack
        assert estimate.value == pytest.approx(row.mean())


@given(chosen)
def test_arrival_is_the_first_evaluation_within_a_percent(chosen):
    found = arrival(SCORED.regret(chosen), SCORED.optimum, range(10, 10 + chosen.shape[1]))
    first = []
    for column in SCORED.scores[chosen].T:
        near = [n for n, value in enumerate(column, start=1) if value >= 0.99 * SCORED.optimum]
        first.append(near[0] if near else np.inf)
    assert found.censored == tuple(10 + k for k, n in enumerate(first) if n == np.inf)
    assert found.median.value == sorted(first)[(len(first) - 1) // 2]
    assert found.median.low <= found.median.value <= found.median.high


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    samples = rng.exponential(1.0, (400, 60))  # skewed, as regret is; true mean 1
    hits = [row.low <= 1.0 <= row.high for row in mean_regret(samples, range(1, 401)).values()]
    assert 0.90 <= np.mean(hits) <= 0.98
    assert np.mean([row.high - row.low for row in mean_regret(samples, range(1, 401)).values()]) < 0.6


def test_an_infinite_median_is_null_in_json_and_never_in_words():
    regret = np.full((5, 3), 0.5)
    found = arrival(regret, 0.9, [1, 2, 3])
    assert found.censored == (1, 2, 3) and str(found) == "never (never..never)"
    assert json.dumps(as_json(found.median)) == '{"value": null, "low": null, "high": null}'


def test_checkpoints_end_with_the_budget():
    assert checkpoints(330) == (25, 50, 100, 200, 330)
    assert checkpoints(60) == (25, 50, 60) and checkpoints(10) == (10,) and checkpoints(400)[-2:] == (330, 400)
