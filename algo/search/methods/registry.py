"""Search methods by name; `METHODS` is the list of them.

Every method searches for many seeds at once over a table (`Method.run`), and for one seed in a tuning run
(`Method.searcher`): the same code. Those without known costs see only a policy's score (`nsga2-pareto`: accuracy,
latency and energy). Every evaluation counts, even if the policy is an outlier or was seen before, as in the published
loop. A seed's result does not depend on the seeds beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from algo.search.exact_choice import MOST_POLICIES
from algo.search.methods import additive, costed, gaussian_process, libraries, planning, simple, units
from algo.search.scoring import UNIT, rewards_of
from algo.search.searcher import Batch, Floats, Ints, OneOfBatch, Outcomes, Problem
from algo.search.tables.policy_table import PolicyTable
from algo.search.tables.scored_table import ScoredTable
from algo.space.policy import PolicySpace
from rtl.spec.params import ATTEMPTS

_OF_NOISE = 0x6E6F697365  # a stream of random numbers of its own


@dataclass(frozen=True)
class Noise:
    """A normal error of the accuracies that searches see; they are clipped to 0..1.

    The error of a search's n-th evaluation depends on its seed and n alone, so all methods have the same.

    Attributes:
        std: standard deviation, a fraction; ``None`` for the one that the table has of each policy.

    Raises:
        ValueError: if the standard deviation is not a number of 0 or more.
    """

    std: float | None

    def __post_init__(self) -> None:
        if self.std is not None and not 0.0 <= self.std < math.inf:
            raise ValueError(f"noise must be a standard deviation of 0 or more, or 'table', not {self.std:g}")

    @classmethod
    def named(cls, text: str) -> Noise:
        """The noise that ``table`` or a number says; raises ValueError for anything else."""
        try:
            return cls(None if text == "table" else float(text))
        except ValueError:
            raise ValueError(f"noise must be a standard deviation of 0 or more, or 'table', not {text!r}") from None

    def check(self, table: PolicyTable) -> Floats:
        """The table's standard deviations, (size,); ValueError if they are asked for and it has none."""
        if self.std is None and table.accuracy_std is None:
            raise ValueError("the table has no accuracy_std: give --noise a standard deviation, such as 0.014")
        return np.zeros(table.space.size) if table.accuracy_std is None else table.accuracy_std

    def usual(self, table: PolicyTable) -> float:
        """The standard deviation that a search is told of: the mean over the policies; ValueError as `check`."""
        return float(self.check(table).mean()) if self.std is None else self.std

    def errors(self, seed: int, budget: int) -> Floats:
        """Errors of a seed's evaluations, (budget,), in standard deviations."""
        return np.random.default_rng((seed, _OF_NOISE)).standard_normal(budget)

    def on(self, outcomes: Outcomes, places: Ints, errors: Floats, scored: ScoredTable) -> Outcomes:
        """Outcomes of policies at places of a table, (n,), as a search with these errors sees them.

        Raises:
            ValueError: as `check`.
        """
        std = self.check(scored.table)[places] if self.std is None else self.std
        accuracy = np.clip(outcomes.accuracy + errors * std, 0.0, 1.0)
        rewards = rewards_of(accuracy, outcomes.latency_ms, outcomes.energy_uj, scored.objective)
        return replace(outcomes, accuracy=accuracy, score=np.ldexp(rewards.astype(float), -UNIT.q_frac))


@dataclass(frozen=True)
class Found:
    """What searches of a table found, as places in the table.

    Attributes:
        chosen: of the policies tried, (budget, seeds).
        deployed: of those that would be deployed, (numbers of evaluations, seeds): what the method's model of accuracy
            believes best, or without a model the luckiest.
        luckiest: of those of the best score seen until then, noise and all, of the same shape.
    """

    chosen: Ints
    deployed: Ints
    luckiest: Ints


@dataclass(frozen=True)
class Method:
    """A search by name.

    Attributes:
        name: in `METHODS`.
        make: function of problem and seeds; returns searches that run side by side.
        summary: what it does, in a line.
        seeds_per_cell: how many seeds one process searches for at a time.
        believes: whether it has a model of accuracy, which says what to deploy.
        most: evaluations that it is given in a search of a table, because it has found the best by then or takes too
            long; ``None`` for any number.
        version: raise it when the method searches differently; then results of earlier versions are not used.
        beyond: of a method with an exact choice, how it chooses where there are too many policies to enumerate.
    """

    name: str
    make: Callable[[Problem, Sequence[int]], Batch]
    summary: str
    seeds_per_cell: int = 1000
    version: int = 1
    believes: bool = False
    most: int | None = None
    beyond: str = ""

    def note_on(self, space: PolicySpace) -> str:
        """A sentence on what takes the place of the enumeration in a space; empty if nothing does."""
        if not self.beyond or space.size <= MOST_POLICIES:
            return ""
        return (
            f"{self.name} enumerates up to {MOST_POLICIES:,} policies, and this space has {space.size:,}: it chooses "
            f"by {self.beyond}"
        )

    def run(self, scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
        """Search a table for many seeds at once; places in the table of the policies tried, (budget, seeds)."""
        return self.search(scored, seeds, budget).chosen

    def search(
        self,
        scored: ScoredTable,
        seeds: Sequence[int],
        budget: int,
        *,
        noise: Noise | None = None,
        at: Sequence[int] = (),
    ) -> Found:
        """Search a table for many seeds at once.

        Args:
            scored: the table under an objective.
            seeds: of the searches.
            budget: evaluations of each.
            noise: error of the accuracies that the searches see, and their scores with them.
            at: numbers of evaluations, rising, after which a search says what it would deploy.
        """
        table = scored.table
        error = 0.0 if noise is None else noise.usual(table)
        searches = self.make(Problem(table.space, scored.objective, budget, table.measure, error), seeds)
        chosen = np.empty((budget, len(seeds)), dtype=np.int64)
        deployed, luckiest = np.empty((2, len(at), len(seeds)), dtype=np.int64)
        lucky, best = np.zeros(len(seeds), np.int64), np.full(len(seeds), -1.0)
        errors = None if noise is None else np.stack([noise.errors(seed, budget) for seed in seeds], axis=1)
        for n in range(budget):
            chosen[n] = places = searches.ask() @ table.space.strides
            outcomes = scored.outcomes(places)
            if noise is not None and errors is not None:
                outcomes = noise.on(outcomes, places, errors[n], scored)
            searches.tell(outcomes)
            better = outcomes.score > best
            lucky, best = np.where(better, places, lucky), np.where(better, outcomes.score, best)
            for k in np.flatnonzero(np.array(at, int) == n + 1):
                believed = searches.recommend()
                luckiest[k], deployed[k] = lucky, lucky if believed is None else believed @ table.space.strides
        return Found(chosen, deployed, luckiest)

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
        Method(
            "planning",
            planning.PlanningUnits,
            "the unit that knows costs and learns effects, by the golden model, bit-exact with the RTL",
            believes=True,
            most=80,
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
        Method(
            "one-at-a-time",
            additive.OneAtATime,
            "sensitivity of one row at a time, then the exact choice by it",
            believes=True,
            version=2,
            beyond="an integer programme for each operating point (SciPy's milp), which is as exact",
        ),
        Method(
            "bayes-linear",
            additive.BayesLinear,
            "Bayesian linear model of accuracy, Thompson sampling, exact choice",
            25,
            believes=True,
            most=80,
            beyond="the best action of each row under 64 sets of prices, improved row by row, which is not exact",
        ),
        Method("evolution-costs", costed.EvolutionCosts, "evolution that knows latency and energy"),
        Method("tpe-costs", costed.TpeCosts, "TPE by Optuna that knows latency and energy", 5, most=80),
        Method(
            "gp",
            gaussian_process.GaussianProcess,
            "Gaussian process of accuracy by scikit-learn, expected improvement of the score with known costs",
            5,
            believes=True,
            most=80,
            beyond="random policies and changes of those tried, some 4,000, which is not exact",
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
