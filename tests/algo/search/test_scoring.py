"""What is said about ranges and thresholds that leave nothing to search."""

from dataclasses import replace

import pytest

from algo.chips.evolver import EvolverChip
from algo.search.scoring import Scorer, range_problems
from algo.space.policy import PolicySpace
from sim.devices.objective import Objective

CHIP = EvolverChip()
SPACE = PolicySpace.of_bit_widths(8, len(CHIP.points))
WIDE = {"latency_low_ms": 100.0, "latency_high_ms": 200.0, "latency_th_ms": 200.0}
WIDE |= {"energy_low_uj": 1000.0, "energy_high_uj": 2000.0, "energy_th_uj": 2000.0}
ABOVE = {"latency_low_ms": 0.01, "latency_high_ms": 1.5}
CHANGES = {
    "published": ({}, []),
    "latency above": (ABOVE, ["above --latency-high 1.5, so latency scores 0"]),
    "both below": (WIDE, ["below --latency-low 100, so latency sc", "below --energy-low 1000, so energy scores 1"]),
    "outliers": ({"latency_th_ms": 0.5}, ["every policy misses --latency-th 0.5 and scores 0"]),
    "no weight": (WIDE | {"weight_a": 1.0, "weight_l": 0.0, "weight_e": 0.0}, []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_ranges_that_decide_nothing_are_named(name):
    change, expected = CHANGES[name]
    found = range_problems(replace(Objective(), **change), SPACE, CHIP.measure)
    assert len(found) == len(expected) and all(part in text for part, text in zip(expected, found, strict=True))


@pytest.mark.parametrize("change", [WIDE, {"latency_th_ms": 0.5}])
def test_the_scores_are_equal_then(change):
    scorer = Scorer(replace(Objective(accuracy_th=0.0), **change))
    counts = SPACE.action_counts
    ends = [SPACE.decode((action,) * 8 + (point,)) for action in range(counts[0]) for point in range(counts[-1])]
    assert len({scorer.score(0.9, CHIP.measure(policy)) for policy in ends}) == 1
