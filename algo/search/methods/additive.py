"""Searches that model accuracy as a sum of effects of the rows, take costs as known, and choose exactly.

They search the layers' rows: accuracy does not depend on the operating point, so each policy has the point that suits
it best. Nothing is tried twice while something else is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from algo.search.exact_choice import Choice
from algo.search.known_costs import known_costs
from algo.search.searcher import Floats, Ints, Outcomes, Problem, drawn
from algo.space.policy import PolicySpace


def widest_actions(space: PolicySpace) -> Ints:
    """The widest action of each row but the last: of the largest sum over its dimensions."""
    return np.array([int(np.sum(row.choices, axis=1).argmax()) for row in space.rows[:-1]])


#: What accuracy is counted from, and the prior standard deviation of the widest policy's, in units of an effect's.
CENTRE, CONSTANT = 0.8, 10.0
#: Part of the model's error that is the network's and not the measurement's, when a policy is deployed.
MISFIT = 0.05


class Told:
    """What searches were told: the policies, and the accuracies of those that were trained.

    Args:
        searches: number of searches.
        budget: number of policies.
        counts: number of actions of each row.

    Attributes:
        policies: (searches, budget, rows); only the first ``number`` count.
        accuracy: (searches, budget).
        trained: (searches, budget); a policy that was skipped for latency or energy has no accuracy.
        number: how many.
    """

    def __init__(self, searches: int, budget: int, counts: Sequence[int]) -> None:
        self.policies: Ints = np.zeros((searches, budget, len(counts)), np.int64)
        self.accuracy: Floats = np.zeros((searches, budget))
        self.trained = np.zeros((searches, budget), bool)
        self.number = 0

    def add(self, policies: Ints, outcomes: Outcomes) -> None:
        """One policy of each search, (searches, rows), and its outcome."""
        k = self.number
        self.policies[:, k], self.accuracy[:, k] = policies, np.where(outcomes.skipped, 0.0, outcomes.accuracy)
        self.trained[:, k] = ~outcomes.skipped
        self.number += 1

    def moments(self, features: Features) -> tuple[Floats, Floats]:
        """What least squares needs of the trained policies: (searches, columns, columns) and (searches, columns)."""
        design = features.of(self.policies[:, : self.number]) * self.trained[:, : self.number, None]
        turned = design.swapaxes(1, 2)
        return turned @ design, (turned @ self.accuracy[:, : self.number, None])[..., 0]


class OneAtATime:
    """Sensitivity of one row at a time, then the exact choice; in the spirit of HAWQ-V3 and ModelOpt's AutoQuantize.

    The widest policy first; then each other action of each row by itself, in an order that the seed draws. What each
    costs in accuracy makes an additive model; the exact choice under it is next. After that it goes on: the exact
    choice that is untried, by the model refitted by least squares to all accuracies. See `Batch`.
    """

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        counts = problem.space.action_counts
        self._counts = counts[:-1]
        self._choice = Choice(known_costs(problem))
        widest = widest_actions(problem.space)
        single = [
            [*widest[:row], action, *widest[row + 1 :]]
            for row, count in enumerate(self._counts)
            for action in range(count)
            if action != widest[row]
        ]
        first = np.array([widest.tolist(), *single])
        orders = [np.r_[0, 1 + np.random.default_rng(seed).permutation(len(single))] for seed in seeds]
        self._first = self._choice.pointed(first)[0][np.array(orders)]
        self._features = Features(self._counts, widest)
        self._told = Told(len(seeds), problem.budget, counts)
        self._asked: Ints = self._first[:, 0]

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        told = self._told
        if told.number < self._first.shape[1]:
            self._asked = self._first[:, told.number]
        else:
            self._asked = self._choice.best(*self._model(), told.policies[:, : told.number], exact=True)
        return self._asked

    def tell(self, outcomes: Outcomes) -> None:
        """Keep the accuracies of the policies that were asked for last."""
        self._told.add(self._asked, outcomes)

    def recommend(self) -> Ints:
        """The exact choice under the model, among actions that were tried, (searches, rows)."""
        constant, effects = self._model()
        gram, _ = self._told.moments(self._features)
        never = self._features.split((np.diagonal(gram, axis1=-2, axis2=-1) == 0).astype(float))[1]
        return self._choice.best(constant, effects - never, exact=True)

    def _model(self) -> tuple[Floats, Floats]:
        """The least-squares model, smallest where it is not determined: constant and effects of every search."""
        gram, moment = self._told.moments(self._features)
        weights = np.linalg.pinv(gram, rcond=1e-9, hermitian=True) @ moment[..., None]
        return self._features.split(weights[..., 0])


class Features:
    """Policies as rows of a design matrix: 1, then one column for each action that is not its row's widest.

    Args:
        counts: number of actions of the layers' rows.
        widest: the widest action of each.

    Attributes:
        rows, actions: of every column but the first.
    """

    def __init__(self, counts: Sequence[int], widest: Ints) -> None:
        pairs = [(row, a) for row, count in enumerate(counts) for a in range(count) if a != widest[row]]
        self.rows = np.array([row for row, _ in pairs], int)
        self.actions = np.array([action for _, action in pairs], int)
        self._shape = (len(counts), max(counts))

    @property
    def number(self) -> int:
        """Number of columns."""
        return len(self.rows) + 1

    def of(self, policies: Ints) -> Floats:
        """Design of policies (..., rows): (..., columns)."""
        chosen = (policies[..., self.rows] == self.actions).astype(float)
        return np.concatenate([np.ones((*chosen.shape[:-1], 1)), chosen], axis=-1)

    def split(self, weights: Floats) -> tuple[Floats, Floats]:
        """Constant (...,) and effects (..., rows, actions) of weights (..., columns)."""
        effects = np.zeros((*weights.shape[:-1], *self._shape))
        effects[..., self.rows, self.actions] = weights[..., 1:]
        return weights[..., 0], effects


class BayesLinear:
    """Bayesian linear model of accuracy with an effect for each row and action; Thompson sampling, exact choice.

    The widest policy first, then a few random ones. Then the exact choice, untried, under effects drawn from the
    posterior. In a space too large to enumerate, the choice is by `Ascent`. See `Batch`.

    Effects are relative to the widest action. A priori they are correlated: all rows share a part, the actions of a row
    share another, and each has one of its own; all in proportion to ``ratio`` to the power of an action's rank from the
    narrowest. ``ratio`` and the noise come from a grid: for the draws those of the highest evidence, for what is
    deployed all of them, weighted by it. The scale is estimated with each.

    Args:
        problem: what is searched.
        seeds: of the draws.
        first: random policies after the widest.
        boldness: standard deviations of the draws, as a part of the posterior's: at the beginning, later, and after how
            many policies.
        shared, of_row: variance of the shared part and of a row's, in units of an action's own.
    """

    #: Grid of ``ratio`` and of the variance of noise in units of an action's own.
    RATIOS, NOISES = (0.25, 0.5, 1.0), (0.003, 0.03, 0.3, 3.0)
    #: Inverse gamma prior of the scale: shape, and the usual standard deviation of an effect (a fraction).
    SHAPE, SCALE = 1.0, 0.02

    def __init__(
        self,
        problem: Problem,
        seeds: Sequence[int],
        *,
        first: int = 1,
        boldness: tuple[float, float, int] = (0.2, 1.5, 50),
        shared: float = 4.0,
        of_row: float = 1.0,
    ) -> None:
        space = problem.space
        self._choice = Choice(known_costs(problem))
        widest = widest_actions(space)
        self._features = Features(space.action_counts[:-1], widest)
        self._told = Told(len(seeds), problem.budget, space.action_counts)
        self._boldness, self._first = boldness, first
        self._generators = [np.random.default_rng(seed) for seed in seeds]
        random = np.array([drawn(rng, space.action_counts[:-1], first) for rng in self._generators])
        layers = np.concatenate([np.tile(widest, (len(seeds), 1, 1)), random], axis=1)
        self._begin = self._choice.pointed(layers)[0]
        self._asked: Ints = self._begin[:, 0]
        size = self._features.number
        self._gram, self._moment = np.zeros((len(seeds), size, size)), np.zeros((len(seeds), size))
        self._square, self._count = np.zeros(len(seeds)), np.zeros(len(seeds))
        self._grid = [
            (noise, self._prior(space, widest, ratio, shared, of_row)) for ratio in self.RATIOS for noise in self.NOISES
        ]

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        told = self._told
        if told.number <= self._first:
            self._asked = self._begin[:, told.number]
            return self._asked
        evidence, means, roots, scales = self._posterior()
        normal = np.array([rng.standard_normal(means.shape[2]) for rng in self._generators])
        best, each = evidence.argmax(axis=0), np.arange(len(normal))
        mean, root, scale = means[best, each], roots[best, each], scales[best, each]
        low, high, until = self._boldness
        bold = low + (high - low) * min(1.0, told.number / until)
        weights = mean + bold * np.sqrt(scale)[:, None] * np.einsum("nij,nj->ni", root, normal)
        constant, effects = self._features.split(weights)
        self._asked = self._choice.best(CENTRE + constant, effects, told.policies[:, : told.number])
        return self._asked

    def tell(self, outcomes: Outcomes) -> None:
        """Learn the accuracies of the policies that were asked for last."""
        self._told.add(self._asked, outcomes)
        k = self._told.number - 1
        trained = self._told.trained[:, k].astype(float)
        design = self._features.of(self._asked) * trained[:, None]
        accuracy = (self._told.accuracy[:, k] - CENTRE) * trained
        self._gram += design[:, :, None] * design[:, None, :]
        self._moment += design * accuracy[:, None]
        self._square += accuracy**2
        self._count += trained

    def recommend(self) -> Ints:
        """The policy of the highest expected score under the posterior, (searches, rows).

        Expected over what the model does not know: a policy whose accuracy may lie below the threshold counts less.
        """
        evidence, means, roots, scales = self._posterior()
        shares = np.exp(evidence - evidence.max(axis=0))
        shares /= shares.sum(axis=0)
        misfits = MISFIT * scales * np.array([noise for noise, _ in self._grid])[:, None]
        choice, enumeration = self._choice, self._choice.enumeration
        chosen = np.empty((means.shape[1], self._told.policies.shape[2]), np.int64)
        for k in range(len(chosen)):
            likely = np.flatnonzero(shares[:, k] > 0.01)
            if enumeration is not None:
                policies, costs = enumeration.policies, enumeration.worth
            else:  # the tried, and those that the means prefer if they are a little wrong
                best = []
                for one in likely:
                    constant, effects = self._features.split(means[one, k])
                    lower = CENTRE + constant - np.sqrt(misfits[one, k]) * np.arange(4.0)
                    best.append(choice.best(lower, np.tile(effects, (len(lower), 1, 1))))
                policies = np.concatenate([*best, self._told.policies[k, : self._told.number]])
                costs = choice.rule.of_costs(*choice.costs.of(policies))
            design = self._features.of(policies)
            expected = np.zeros(len(policies))
            for one in likely:
                variance = ((design @ roots[one, k]) ** 2).sum(axis=1) * scales[one, k] + misfits[one, k]
                accuracy = CENTRE + design @ means[one, k]
                expected += shares[one, k] * choice.rule.expected(accuracy, np.sqrt(variance), costs)
            chosen[k] = policies[expected.argmax()]
        return chosen

    def _prior(self, space: PolicySpace, widest: Ints, ratio: float, shared: float, of_row: float) -> Floats:
        """Covariance of constant and effects, in units of an action's own variance."""
        f = self._features
        ranks = []
        for row, action in zip(f.rows, f.actions, strict=True):
            sizes = sorted({sum(choice) for choice in space.rows[row].choices})
            ranks.append(sizes.index(sum(space.rows[row].choices[action])))
        height = ratio ** np.array(ranks, float)
        same_row = f.rows[:, None] == f.rows
        covariance = np.zeros((f.number, f.number))
        covariance[0, 0] = CONSTANT**2
        covariance[1:, 1:] = np.outer(height, height) * (shared + of_row * same_row + np.eye(len(height)))
        return covariance

    def _posterior(self) -> tuple[Floats, Floats, Floats, Floats]:
        """For each hyper-parameters of the grid (g) and search (n): what is believed.

        Returns:
            Logarithm of the evidence (g, n); mean of constant and effects (g, n, columns); a root of their covariance
            (g, n, columns, columns) in units of the scale; and the scale (g, n), an action's own variance.
        """
        found: list[tuple[Any, Any, Any, Any]] = []
        for noise, prior in self._grid:
            precision = np.linalg.inv(prior) + self._gram / noise
            lower = np.linalg.cholesky(precision)
            mean = np.linalg.solve(precision, self._moment[..., None] / noise)[..., 0]
            rest = np.maximum(0.0, self._square / noise - (self._moment / noise * mean).sum(axis=1))
            shape = self.SHAPE + self._count / 2
            scale = (self.SHAPE * self.SCALE**2 + rest / 2) / shape
            logs = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
            evidence = (
                -0.5 * self._count * np.log(noise)
                - 0.5 * np.linalg.slogdet(prior)[1]
                - logs
                - shape * np.log(scale * shape)
            )
            found.append((evidence, mean, np.linalg.inv(lower).swapaxes(1, 2), scale))
        evidence, mean, root, scale = (np.array([one[k] for one in found], np.float64) for k in range(4))
        return evidence, mean, root, scale
