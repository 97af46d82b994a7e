"""Tables and objectives that the experiments search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

from algo.experiments.base import Scale, Settings
from algo.search.compare.sweep import SYNTHETIC, Sweep, named_table, run_sweeps, table_digest
from algo.search.methods.registry import METHODS
from algo.search.objective import OBJECTIVES
from algo.search.schedules import published_schedule
from algo.search.tables.policy_table import Floats
from algo.search.tables.scored_table import ScoredTable, default_accuracy_th, score_table
from sim.devices.objective import Objective

#: Iterations of the published search.
BUDGET = len(published_schedule())
#: Regularised evolution by a library: it takes seconds per seed, and serves as a check of ours.
_CHECK = "pyglove-evolution"
#: A method that searches for so few seeds at a time takes seconds for each.
_SECONDS_A_SEED = 5


def table_names(scale: Scale) -> tuple[str, ...]:
    """The shipped tables; at the scale ``quick``, a synthetic one."""
    if scale == "quick":
        return (SYNTHETIC,)
    from algo.search.tables import qvf_bench

    return tuple(qvf_bench.names())


@cache
def scored(name: str, objective: str) -> ScoredTable:
    """A table under one of the two published objectives, accuracy threshold two points below 8 bits everywhere."""
    a, b, c = OBJECTIVES[objective]
    table = named_table(name)
    return score_table(table, Objective(weight_a=a, weight_l=b, weight_e=c, accuracy_th=default_accuracy_th(table)))


def digests(scale: Scale) -> dict[str, str]:
    """Name and digest of every table of a scale, for an experiment's configuration."""
    return {name: table_digest(scored(name, "energy").table) for name in table_names(scale)}


def objectives(scale: Scale) -> tuple[str, ...]:
    """Both published objectives; at the scale ``quick``, the first."""
    return tuple(OBJECTIVES)[:1] if scale == "quick" else tuple(OBJECTIVES)


def seeds_of(settings: Settings, method: str) -> int:
    """How many seeds a method is run with: fewer for those that search one seed at a time, except at full scale."""
    at_a_time = METHODS[method].seeds_per_cell
    if at_a_time <= _SECONDS_A_SEED:
        return settings.pick(quick=1, cpu=5, full=100)
    slow = at_a_time < 1000
    return settings.pick(quick=1 if slow else 20, cpu=100 if slow else 1000, full=1000)


def methods(scale: Scale) -> tuple[str, ...]:
    """Every method; the one that checks ours only at full scale."""
    return tuple(name for name in METHODS if scale == "full" or name != _CHECK)


def regrets(settings: Settings, methods: Sequence[str]) -> dict[tuple[str, str, str], Floats]:
    """Regret after every evaluation, (evaluations, seeds), by table, objective and method."""
    cases = list(product(table_names(settings.scale), objectives(settings.scale), methods))
    found = run_sweeps(
        [Sweep(table, scored(table, to), method, seeds_of(settings, method), BUDGET) for table, to, method in cases],
        folder=settings.out / "cells", jobs=settings.jobs, ray=settings.ray,
    )  # fmt: skip
    return {case: scored(*case[:2]).regret(one.chosen) for case, one in zip(cases, found, strict=True)}
