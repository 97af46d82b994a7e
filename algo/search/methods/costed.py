"""Evolution and TPE, given latency and energy as known.

Accuracy does not depend on the operating point, so they search the layers' rows, and each policy has the point that
suits it best. What misses the threshold of latency or energy is not proposed, nor what was tried, nor what could not
beat the best score seen even with the best accuracy seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from algo.search.exact_choice import Choice
from algo.search.known_costs import known_costs
from algo.search.methods.libraries import quiet_optuna
from algo.search.methods.simple import POPULATION, TOURNAMENT, Evolution
from algo.search.searcher import DeploysBestSeen, Floats, Ints, Outcomes, Problem, drawn

#: Proposals of a method that may be refused, one after the other, before one is drawn at random.
_REFUSED = 8
#: Random policies among which one is looked for that may be proposed.
_DRAWN = 512


class Hopeful:
    """Which policies may still beat the best seen of each of several searches.

    Args:
        problem: what is searched.
        seeds: of the searches, for random policies.
    """

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        self._choice = Choice(known_costs(problem))
        self._counts = problem.space.action_counts[:-1]
        self._generators = [np.random.default_rng((seed, 1)) for seed in seeds]
        self._best: Ints = np.zeros(len(seeds), np.int64)
        self._accuracy: Floats = np.full(len(seeds), -1.0)
        self._tried: Ints = np.zeros((len(seeds), problem.budget, len(self._counts)), np.int64)
        self._number = 0

    def may(self, searches: Ints, layers: Ints) -> npt.NDArray[np.bool_]:
        """Whether searches (n,) may propose the layers' actions (n, rows - 1)."""
        _, costs = self._choice.pointed(layers)
        accuracy = np.where(self._accuracy[searches] < 0, 1.0, self._accuracy[searches])
        hopeful = self._choice.rule.of(accuracy, costs) > self._best[searches]
        tried = (self._tried[searches, : self._number] == layers[:, None]).all(axis=2).any(axis=1)
        may: npt.NDArray[np.bool_] = hopeful & ~tried
        return may

    def left(self, search: int) -> bool:
        """Whether a search may still propose something; in a space too large to enumerate always true."""
        enumeration = self._choice.enumeration
        return enumeration is None or bool(self._may_of_all(search).any())

    def drawn(self, search: int, otherwise: Ints) -> Ints:
        """Random actions of the layers (rows - 1,) that a search may propose; else untried ones; else the others."""
        rng, enumeration = self._generators[search], self._choice.enumeration
        if enumeration is not None:
            untried = np.ones(enumeration.size, bool)
            untried[self._places(search)] = False
            for fit in (self._may_of_all(search), untried):
                if fit.any():
                    chosen: Ints = enumeration.policies[rng.choice(np.flatnonzero(fit)), :-1]
                    return chosen
            return otherwise
        layers = drawn(rng, self._counts, _DRAWN)
        may = self.may(np.full(_DRAWN, search), layers)
        found: Ints = layers[may.argmax()]  # the first, if none may: in such a space it is hardly a tried one
        return found

    def _places(self, search: int) -> Ints:
        """Numbers of the choices tried."""
        assert self._choice.enumeration is not None
        tried = self._tried[search, : self._number]
        return self._choice.enumeration.places(np.concatenate([tried, tried[:, :1]], axis=1))

    def _may_of_all(self, search: int) -> npt.NDArray[np.bool_]:
        """Which choices of an enumerated space may be proposed."""
        assert self._choice.enumeration is not None
        costs = self._choice.enumeration.worth
        accuracy = self._accuracy[search] if self._accuracy[search] >= 0 else 1.0
        may: npt.NDArray[np.bool_] = self._choice.rule.of(np.full(len(costs), accuracy), costs) > self._best[search]
        may[self._places(search)] = False
        return may

    def with_point(self, layers: Ints) -> Ints:
        """Policies (n, rows) of the layers' actions, each at its best point."""
        return self._choice.pointed(layers)[0]

    def tell(self, policies: Ints, outcomes: Outcomes) -> None:
        """Take the outcomes of policies (searches, rows)."""
        _, costs = self._choice.pointed(policies[:, :-1])
        accuracy = np.where(outcomes.skipped, -1.0, outcomes.accuracy)
        worth = np.where(outcomes.skipped, 0, self._choice.rule.of(np.maximum(accuracy, 0.0), costs))
        self._best, self._accuracy = np.maximum(self._best, worth), np.maximum(self._accuracy, accuracy)
        self._tried[:, self._number] = policies[:, :-1]
        self._number += 1


class EvolutionCosts(Evolution):
    """Regularised evolution with known costs; see this module and `Evolution`.

    A refused policy is drawn again, from a new parent. After several it is a random one that is not refused.
    """

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        super().__init__(_without_point(problem), seeds, population=POPULATION, tournament=TOURNAMENT)
        self._hopeful = Hopeful(problem, seeds)
        self._asked: Ints = np.zeros((len(seeds), len(problem.space.rows)), np.int64)

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        n, chosen, everyone = self._next, self._chosen, np.arange(len(self._generators))
        super().ask()
        refused = everyone[~self._hopeful.may(everyone, chosen[n, :, :-1])]
        lost = [k for k in refused if n < self._first or not self._hopeful.left(k)]
        again = np.setdiff1d(refused, lost)
        for _ in range(_REFUSED):
            if not len(again):
                break
            numbers = np.stack([self._generators[k].random(self._tournament + 2) for k in again])
            chosen[n, again] = self._children(n, again, numbers)
            again = again[~self._hopeful.may(again, chosen[n, again, :-1])]
        for k in (*lost, *again):
            chosen[n, k, :-1] = self._hopeful.drawn(k, chosen[n, k, :-1])
        self._asked = self._hopeful.with_point(chosen[n, :, :-1])
        return self._asked

    def tell(self, outcomes: Outcomes) -> None:
        """Keep the scores of the policies that were asked for last."""
        super().tell(outcomes)
        self._hopeful.tell(self._asked, outcomes)


class TpeCosts(DeploysBestSeen):
    """Optuna's multivariate TPE over categories, on the score, with known costs; see this module and `Batch`.

    A refused trial is told to have failed, which TPE leaves out. After several, a random policy that is not refused is
    evaluated and added to the study.
    """

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        import optuna

        self._distributions: dict[str, Any] = {
            f"row{row}": optuna.distributions.CategoricalDistribution(range(count))
            for row, count in enumerate(problem.space.action_counts[:-1])
        }
        with quiet_optuna():
            self._studies = [
                optuna.create_study(
                    direction="maximize", sampler=optuna.samplers.TPESampler(multivariate=True, seed=seed)
                )
                for seed in seeds
            ]
        self._hopeful = Hopeful(problem, seeds)
        self._asked: Ints = np.zeros((len(seeds), len(problem.space.rows)), np.int64)
        self._trials: list[Any] = []

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        with quiet_optuna():
            layers = np.array([self._one(k) for k in range(len(self._studies))])
        self._asked = self._hopeful.with_point(layers)
        return self._asked

    def _one(self, search: int) -> Ints:
        import optuna

        study = self._studies[search]
        self._trials = self._trials if search else []
        layers: Ints = self._asked[search, :-1]
        for _ in range(_REFUSED if self._hopeful.left(search) else 0):
            trial = study.ask(self._distributions)
            params = trial.params
            layers = np.array([params[name] for name in self._distributions])
            if self._hopeful.may(np.array([search]), layers[None])[0]:
                self._trials.append(trial)
                return layers
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        self._trials.append(None)
        return self._hopeful.drawn(search, layers)

    def tell(self, outcomes: Outcomes) -> None:
        """Tell each study the score of its policy."""
        import optuna

        with quiet_optuna():
            for k, (study, trial) in enumerate(zip(self._studies, self._trials, strict=True)):
                score = float(outcomes.score[k])
                if trial is not None:
                    study.tell(trial, score)
                else:
                    params = dict(zip(self._distributions, self._asked[k, :-1].tolist(), strict=True))
                    study.add_trial(
                        optuna.trial.create_trial(params=params, distributions=self._distributions, value=score)
                    )
        self._hopeful.tell(self._asked, outcomes)


def _without_point(problem: Problem) -> Problem:
    """The problem with the first operating point alone."""
    *layers, chip = problem.space.rows
    one = replace(chip, choices=chip.choices[:1])
    return replace(problem, space=replace(problem.space, rows=(*layers, one)))
