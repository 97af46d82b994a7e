"""Searches by libraries: Optuna's TPE and NSGA-II, PyGlove's regularised evolution.

Each seed is a separate search. What only costs time is off: storage outside memory, and logging.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from algo.search.methods.simple import POPULATION, TOURNAMENT
from algo.search.searcher import DeploysBestSeen, Ints, Outcomes, Problem


class Optuna(DeploysBestSeen):
    """Searches by a sampler of Optuna over categories, one study per seed; see `Batch`.

    Args:
        problem: what is searched.
        seeds: of the samplers.
        sampler: makes one from a seed.
        pareto: whether it sees accuracy, latency and energy, with the thresholds as its constraints, instead of the
            score. A policy skipped for latency or energy has no accuracy: it counts as 0.
    """

    def __init__(
        self, problem: Problem, seeds: Sequence[int], sampler: Callable[[int], Any], pareto: bool = False
    ) -> None:
        import optuna

        self._objective, self._pareto = problem.objective, pareto
        self._distributions: dict[str, Any] = {
            f"row{row}": optuna.distributions.CategoricalDistribution(range(n))
            for row, n in enumerate(problem.space.action_counts)
        }
        directions: Any = ["maximize", "minimize", "minimize"] if pareto else ["maximize"]
        with quiet_optuna():
            self._studies = [optuna.create_study(directions=directions, sampler=sampler(seed)) for seed in seeds]
        self._trials: list[Any] = []

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        with quiet_optuna():
            self._trials = [study.ask(self._distributions) for study in self._studies]
        chosen = [trial.params for trial in self._trials]  # a copy each time
        return np.array([[params[name] for name in self._distributions] for params in chosen], dtype=np.int64)

    def tell(self, outcomes: Outcomes) -> None:
        """Tell each study the outcome of its trial."""
        wanted = self._objective
        with quiet_optuna():
            for k, (study, trial) in enumerate(zip(self._studies, self._trials, strict=True)):
                if not self._pareto:
                    study.tell(trial, [float(outcomes.score[k])])
                    continue
                accuracy = 0.0 if outcomes.skipped[k] else float(outcomes.accuracy[k])
                latency, energy = float(outcomes.latency_ms[k]), float(outcomes.energy_uj[k])
                for name, by in (
                    ("accuracy", wanted.accuracy_th - accuracy),
                    ("latency", latency / wanted.latency_th_ms - 1),
                    ("energy", energy / wanted.energy_th_uj - 1),
                ):
                    trial.set_constraint(name, by)
                study.tell(trial, [accuracy, latency, energy])


def tpe(problem: Problem, seeds: Sequence[int], *, multivariate: bool = True) -> Optuna:
    """Optuna's tree-structured Parzen estimator over categories, on the score."""
    import optuna

    return Optuna(problem, seeds, lambda seed: optuna.samplers.TPESampler(multivariate=multivariate, seed=seed))


def nsga2(problem: Problem, seeds: Sequence[int], *, population: int = POPULATION, pareto: bool = False) -> Optuna:
    """Optuna's NSGA-II on the score alone, which makes it an elitist genetic algorithm."""
    import optuna

    return Optuna(
        problem, seeds, lambda seed: optuna.samplers.NSGAIISampler(population_size=population, seed=seed), pareto
    )


def nsga2_pareto(problem: Problem, seeds: Sequence[int], *, population: int = POPULATION) -> Optuna:
    """Optuna's NSGA-II on accuracy, latency and energy, with the thresholds as its constraints."""
    return nsga2(problem, seeds, population=population, pareto=True)


class PyGloveEvolution(DeploysBestSeen):
    """PyGlove's regularised evolution; its mutation may draw the action a row already has. See `Batch`."""

    def __init__(
        self, problem: Problem, seeds: Sequence[int], *, population: int = POPULATION, tournament: int = TOURNAMENT
    ) -> None:
        import pyglove as pg  # type: ignore[import-untyped]

        choices = [pg.geno.oneof([pg.geno.constant() for _ in range(count)]) for count in problem.space.action_counts]
        self._algorithms = []
        for seed in seeds:
            algorithm = pg.evolution.regularized_evolution(
                pg.evolution.mutators.Uniform(seed=seed), population, tournament, seed=seed
            )
            algorithm.setup(pg.geno.space(choices))
            self._algorithms.append(algorithm)
        self._proposals: list[Any] = []

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        self._proposals = [algorithm.propose() for algorithm in self._algorithms]
        return np.array([proposal.to_numbers() for proposal in self._proposals], dtype=np.int64)

    def tell(self, outcomes: Outcomes) -> None:
        """Feed back the scores."""
        for algorithm, proposal, score in zip(self._algorithms, self._proposals, outcomes.score, strict=True):
            algorithm.feedback(proposal, float(score))


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's logging, and without its warning that a multivariate TPE is an experiment."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
