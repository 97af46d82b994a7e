"""Search methods by name; `METHODS` is the list of them.

Every method searches for many seeds at once over a table (`Method.run`), and for one seed in a tuning run
(`Method.searcher`): the same code. All of them see only a policy's score (`nsga2-pareto`: accuracy, latency and
energy). Every evaluation counts, even if the policy is an outlier or was seen before, as in the published loop. A
seed's result does not depend on the seeds beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from algo.search.methods import libraries, simple, units
from algo.search.searcher import Batch, Ints, OneOfBatch, Problem
from algo.search.tables.scored_table import ScoredTable
from rtl.spec.params import ATTEMPTS


@dataclass(frozen=True)
class Method:
    """A search by name.

    Attributes:
        name: in `METHODS`.
        make: function of problem and seeds; returns searches that run side by side.
        summary: what it does, in a line.
        seeds_per_cell: how many seeds one process searches for at a time.
        version: raise it when the method searches differently; then results of earlier versions are not used.
    """

    name: str
    make: Callable[[Problem, Sequence[int]], Batch]
    summary: str
    seeds_per_cell: int = 1000
    version: int = 1

    def run(self, scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
        """Search a table for many seeds at once; places in the table of the policies tried, (budget, seeds)."""
        table = scored.table
        searches = self.make(Problem(table.space, scored.objective, budget, table.measure), seeds)
        chosen = np.empty((budget, len(seeds)), dtype=np.int64)
        for n in range(budget):
            chosen[n] = places = searches.ask() @ table.space.strides
            searches.tell(scored.outcomes(places))
        return chosen

    def searcher(self, problem: Problem, seed: int) -> OneOfBatch:
        """A searcher for one seed."""
        return OneOfBatch(f"{self.name} {self.version}", self.make(problem, [seed]))


#: Every method by the name that `rlu tune` and `rlu search` know it by.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("rlu", units.rlu, "the published search by the golden model, bit-exact with the RTL"),
        Method(
            "rlu-plus",
            units.rlu_plus,
            "the unit with an episode memory, by the golden model, bit-exact with the RTL",
            version=2,
        ),
        Method("float", simple.FloatQ, "the published search in double precision"),
        Method("random", simple.Random, "uniform draws with replacement"),
        Method("grid", simple.Grid, "the table's order, from a place that the seed draws"),
        Method(
            "model-size", units.ModelSize, "the published search rewarded for a small model, at one operating point"
        ),
        Method("evolution", simple.Evolution, "regularised evolution, all seeds at once"),
        Method(
            "evolution-no-repeats",
            partial(simple.Evolution, attempts=ATTEMPTS),
            f"the same; a policy tried before is drawn again, up to {ATTEMPTS} times",
        ),
        Method("pyglove-evolution", libraries.PyGloveEvolution, "regularised evolution by PyGlove", 5),
        Method("tpe", libraries.tpe, "tree-structured Parzen estimator by Optuna", 10),
        Method("nsga2", libraries.nsga2, "NSGA-II by Optuna on the score", 25),
        Method("nsga2-pareto", libraries.nsga2_pareto, "NSGA-II by Optuna on accuracy, latency and energy", 25),
    )
}


def method_named(name: str) -> Method:
    """A method by its name; ValueError for an unknown one, which lists all."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: choose from {', '.join(METHODS)}")
    return METHODS[name]
