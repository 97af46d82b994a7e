"""Bayesian optimisation with a Gaussian process of accuracy, costs known: the composite objective."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from algo.search.exact_choice import Choice
from algo.search.known_costs import known_costs
from algo.search.methods.additive import Told, widest_actions
from algo.search.searcher import Floats, Ints, Outcomes, Problem, drawn
from algo.space.policy import PolicySpace

#: Policies that the expected improvement is computed for in a space too large to enumerate.
_POOL = 4000
#: Policies after which hyper-parameters are fitted again: every one at first, then every tenth.
_FITTED = 20


class GaussianProcess:
    """A Gaussian process of accuracy by scikit-learn; expected improvement of the score, for every choice of the rows.

    Only accuracy is modelled. The score is a known function of it and of the known costs, so its expected improvement
    is exact (`Worth.expected`). The kernel is linear in the rows' actions, with parts that rows and actions share, plus
    a smooth one (RBF) for interactions, plus noise. The widest policy first, then random ones. See `Batch`.

    Why scikit-learn: on three synthetic landscapes BoTorch, with a sampled composite objective, came to the same regret
    after 50 policies (0) in 18 to 37 times the time. Optuna's GPSampler takes no composite objective.

    In a space too large to enumerate the candidates are random policies and changes of those tried.

    Args:
        problem: what is searched.
        seeds: of the random policies.
        first: random policies after the widest.
    """

    def __init__(self, problem: Problem, seeds: Sequence[int], *, first: int = 3) -> None:
        space = problem.space
        self._counts = space.action_counts[:-1]
        self._choice = Choice(known_costs(problem))
        self._heights = _heights(space)
        self._told = Told(len(seeds), problem.budget, space.action_counts)
        self._generators = [np.random.default_rng(seed) for seed in seeds]
        widest = widest_actions(space)
        random = np.array([drawn(rng, self._counts, first) for rng in self._generators])
        self._begin, _ = self._choice.pointed(np.concatenate([np.tile(widest, (len(seeds), 1, 1)), random], axis=1))
        self._asked: Ints = self._begin[:, 0]
        self._kernels: list[Any] = [None] * len(seeds)
        enumeration = self._choice.enumeration
        self._every = None if enumeration is None else self._features(enumeration.policies)

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        k = self._told.number
        if k < self._begin.shape[1]:
            self._asked = self._begin[:, k]
        else:
            self._asked = np.array([self._best(search, improving=True) for search in range(len(self._generators))])
        return self._asked

    def tell(self, outcomes: Outcomes) -> None:
        """Keep the accuracies of the policies that were asked for last."""
        self._told.add(self._asked, outcomes)

    def recommend(self) -> Ints:
        """The policy of the highest expected score under the process, (searches, rows)."""
        return np.array([self._best(search, improving=False) for search in range(len(self._generators))])

    def _best(self, search: int, improving: bool) -> Ints:
        told, rule = self._told, self._choice.rule
        policies = told.policies[search, : told.number]
        trained = told.trained[search, : told.number]
        accuracy = told.accuracy[search, : told.number][trained]
        if len(accuracy) < 2:
            return policies[-1] if not improving else self._random(search)
        process = self._process(search, self._features(policies[trained]), accuracy)
        if improving:
            self._kernels[search] = process.kernel_
        enumeration = self._choice.enumeration
        if enumeration is not None:
            candidates, costs, features = enumeration.policies, enumeration.worth, self._every
        else:
            rng = self._generators[search] if improving else np.random.default_rng(0)
            candidates, costs = self._choice.pointed(self._pool(policies, rng))
            features = self._features(candidates)
        mean, std = process.predict(features, return_std=True)
        noise = process.kernel_.k2.noise_level * np.var(accuracy)
        std = np.sqrt(np.maximum(std**2 - noise, 1e-12))  # of the network's accuracy, not of a measurement
        if not improving:
            chosen: Ints = candidates[rule.expected(mean, std, costs).argmax()]
            return chosen
        seen = process.predict(self._features(policies[trained]))
        _, known = self._choice.pointed(policies[trained][:, :-1])
        best = float(max(0, rule.of(seen, known).max()))
        gain = rule.expected(mean, std, costs, best)
        tried = (candidates[:, None, :-1] == policies[:, :-1]).all(axis=2).any(axis=1)
        gain[tried & ~tried.all()] = -np.inf
        chosen = candidates[gain.argmax()]
        return chosen

    def _process(self, search: int, features: Floats, accuracy: Floats) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

        kernel, n = self._kernels[search], len(accuracy)
        fitted = kernel is None or n <= _FITTED or n % 10 == 0
        if kernel is None:
            kernel = (
                ConstantKernel(0.1, (1e-4, 1e2)) * DotProduct(0.0, "fixed")
                + ConstantKernel(0.1, (1e-4, 1e2)) * RBF(2.0, (0.3, 30.0))
                + WhiteKernel(1e-2, (1e-5, 1.0))
            )
        process = GaussianProcessRegressor(
            kernel, alpha=1e-8, normalize_y=True, optimizer="fmin_l_bfgs_b" if fitted else None
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a hyper-parameter at its limit is no harm
            process.fit(features, accuracy)
        return process

    def _features(self, policies: Ints) -> Floats:
        """Heights of the actions one by one, by row and in all, (policies, features)."""
        chosen = [np.eye(count)[policies[:, row]] * self._heights[row] for row, count in enumerate(self._counts)]
        by_row = np.stack([one.sum(axis=1) for one in chosen], axis=1)
        return np.concatenate([*chosen, by_row, 2 * by_row.sum(axis=1, keepdims=True)], axis=1)

    def _random(self, search: int) -> Ints:
        chosen: Ints = self._choice.pointed(drawn(self._generators[search], self._counts, 1))[0][0]
        return chosen

    def _pool(self, policies: Ints, rng: np.random.Generator) -> Ints:
        random = drawn(rng, self._counts, _POOL)
        parents = policies[rng.integers(len(policies), size=_POOL // 2), :-1]
        kept = rng.random(parents.shape) > 2 / len(self._counts)
        random[: len(parents)] = np.where(kept, parents, random[: len(parents)])
        return np.concatenate([random, policies[:, :-1]])


def _heights(space: PolicySpace) -> list[Floats]:
    """How far each action of each row is from the widest: 0, then 1, 2 ... times a half to the rank from below."""
    heights = []
    for row in space.rows[:-1]:
        sizes = [sum(choice) for choice in row.choices]
        ranks = np.array([sorted(set(sizes)).index(size) for size in sizes])
        heights.append(np.where(ranks == ranks.max(), 0.0, 0.5**ranks))
    return heights
