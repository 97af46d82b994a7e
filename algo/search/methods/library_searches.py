"""Searches of a table by libraries: Optuna's TPE and NSGA-II, PyGlove's regularised evolution.

They search for one seed after the other.
Everything of theirs that only costs time is left out: no storage but memory, no logging.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from algo.search.tables.scored_table import Ints, ScoredTable

#: Of regularised evolution: the best on synthetic tables for 330 evaluations (docs/use/search.md).
POPULATION, TOURNAMENT = 20, 10


def tpe(scored: ScoredTable, seeds: Sequence[int], budget: int, *, multivariate: bool = True) -> Ints:
    """Optuna's tree-structured Parzen estimator over categories, on the score."""
    import optuna

    def sampler(seed: int) -> Any:
        return optuna.samplers.TPESampler(multivariate=multivariate, seed=seed)

    return _with_optuna(scored, seeds, budget, sampler, ["maximize"], lambda index: (scored.scores[index],))


def nsga2(scored: ScoredTable, seeds: Sequence[int], budget: int, *, population: int = POPULATION) -> Ints:
    """Optuna's NSGA-II on the score alone, which makes it an elitist genetic algorithm."""
    import optuna

    def sampler(seed: int) -> Any:
        return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)

    return _with_optuna(scored, seeds, budget, sampler, ["maximize"], lambda index: (scored.scores[index],))


def nsga2_pareto(scored: ScoredTable, seeds: Sequence[int], budget: int, *, population: int = POPULATION) -> Ints:
    """Optuna's NSGA-II on accuracy, latency and energy, with the thresholds as its constraints.

    A policy skipped for latency or energy has no accuracy: it counts as 0.
    """
    import optuna

    table, wanted = scored.table, scored.objective
    accuracy = np.where(scored.skipped, 0.0, table.accuracy)

    def sampler(seed: int) -> Any:
        return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)

    def values(index: int) -> tuple[float, ...]:
        return accuracy[index], table.latency_ms[index], table.energy_uj[index]

    def missed(index: int) -> dict[str, float]:
        return {
            "accuracy": wanted.accuracy_th - accuracy[index],
            "latency": table.latency_ms[index] / wanted.latency_th_ms - 1,
            "energy": table.energy_uj[index] / wanted.energy_th_uj - 1,
        }

    return _with_optuna(scored, seeds, budget, sampler, ["maximize", "minimize", "minimize"], values, missed)


def evolution(
    scored: ScoredTable,
    seeds: Sequence[int],
    budget: int,
    *,
    population: int = POPULATION,
    tournament: int = TOURNAMENT,
) -> Ints:
    """PyGlove's regularised evolution; its mutation may draw the action a row already has."""
    import pyglove as pg  # type: ignore[import-untyped]

    counts, strides = scored.table.space.action_counts, scored.table.space.strides
    choices = [pg.geno.oneof([pg.geno.constant() for _ in range(count)]) for count in counts]
    chosen = np.empty((budget, len(seeds)), dtype=np.int64)
    for k, seed in enumerate(seeds):
        algorithm = pg.evolution.regularized_evolution(
            pg.evolution.mutators.Uniform(seed=seed), population, tournament, seed=seed
        )
        algorithm.setup(pg.geno.space(choices))
        for n in range(budget):
            proposal = algorithm.propose()
            chosen[n, k] = np.dot(proposal.to_numbers(), strides)
            algorithm.feedback(proposal, float(scored.scores[chosen[n, k]]))
    return chosen


def _with_optuna(
    scored: ScoredTable,
    seeds: Sequence[int],
    budget: int,
    sampler: Callable[[int], Any],
    directions: Sequence[Any],
    values: Callable[[int], Sequence[float]],
    missed: Callable[[int], dict[str, float]] | None = None,
) -> Ints:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    counts, strides = scored.table.space.action_counts, scored.table.space.strides
    distributions: dict[str, Any] = {
        f"row{row}": optuna.distributions.CategoricalDistribution(range(n)) for row, n in enumerate(counts)
    }
    chosen = np.empty((budget, len(seeds)), dtype=np.int64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate TPE is called one
            for k, seed in enumerate(seeds):
                study = optuna.create_study(directions=directions, sampler=sampler(seed))
                for n in range(budget):
                    trial = study.ask(distributions)
                    params = trial.params  # a copy each time
                    chosen[n, k] = np.dot([params[name] for name in distributions], strides)
                    if missed is not None:
                        for name, by in missed(chosen[n, k]).items():
                            trial.set_constraint(name, by)
                    study.tell(trial, [float(value) for value in values(chosen[n, k])])
    finally:
        optuna.logging.set_verbosity(before)
    return chosen
