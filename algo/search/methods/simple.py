"""Searches without a library: random, grid, regularised evolution, and Q-learning in double precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from algo.search.schedules import stretched_schedule
from algo.search.searcher import DeploysBestSeen, Floats, Ints, Outcomes, Problem, drawn
from rtl.spec.params import ALPHA, GAMMA

#: Of regularised evolution: the best on synthetic tables for 330 evaluations (docs/use/search.md).
POPULATION, TOURNAMENT = 20, 10


class Random(DeploysBestSeen):
    """Uniform draws with replacement, as the published exploration draws."""

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        counts = problem.space.action_counts
        self._policies = np.stack([drawn(_rng(seed), counts, problem.budget) for seed in seeds], axis=1)
        self._next = 0

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        policies: Ints = self._policies[self._next]
        self._next += 1
        return policies

    def tell(self, outcomes: Outcomes) -> None:
        """Nothing is learned."""


class Grid(DeploysBestSeen):
    """The space from one policy to the next, the operating point changing fastest; the seed says from where."""

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        self._counts = problem.space.action_counts
        self._policies = np.concatenate([drawn(_rng(seed), self._counts, 1) for seed in seeds])
        self._first = True

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        if not self._first:
            policies = self._policies.copy()
            carry = np.ones(len(policies), np.int64)
            for row in range(len(self._counts) - 1, -1, -1):
                policies[:, row] += carry
                carry = policies[:, row] // self._counts[row]
                policies[:, row] %= self._counts[row]
            self._policies = policies
        self._first = False
        return self._policies

    def tell(self, outcomes: Outcomes) -> None:
        """Nothing is learned."""


class Evolution(DeploysBestSeen):
    """Regularised evolution (Real et al., AAAI 2019), for all seeds at once.

    ``population`` random policies first. Then the best of ``tournament``, drawn with replacement from the last
    ``population`` evaluated, has one row changed to another action. `pyglove-evolution` is the library's. A policy that
    was tried before is drawn again, from a new parent, up to ``attempts`` draws in all: the original does not do this.
    """

    def __init__(
        self,
        problem: Problem,
        seeds: Sequence[int],
        *,
        population: int = POPULATION,
        tournament: int = TOURNAMENT,
        attempts: int = 1,
    ) -> None:
        budget = problem.budget
        self._population, self._tournament, self._attempts = population, tournament, attempts
        self._counts = np.array(problem.space.action_counts)
        self._changeable = np.flatnonzero(self._counts > 1)
        self._first = min(population, budget)
        self._chosen = np.empty((budget, len(seeds), len(self._counts)), dtype=np.int64)
        self._scores: Floats = np.zeros((budget, len(seeds)))
        self._draws = np.empty((len(seeds), budget, tournament + 2))
        self._generators = [_rng(seed) for seed in seeds]
        self._next = 0
        for k, rng in enumerate(self._generators):
            self._chosen[: self._first, k] = drawn(rng, problem.space.action_counts, self._first)
            self._draws[k] = rng.random((budget, tournament + 2))

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        n, chosen = self._next, self._chosen
        if n >= self._first:
            chosen[n] = self._children(n, np.arange(len(self._generators)), self._draws[:, n])
            for _ in range(self._attempts - 1):
                again = np.flatnonzero((chosen[:n] == chosen[n]).all(axis=2).any(axis=0))
                if not len(again):
                    break
                numbers = np.stack([self._generators[k].random(self._tournament + 2) for k in again])
                chosen[n, again] = self._children(n, again, numbers)
        self._next += 1
        policies: Ints = chosen[n]
        return policies

    def tell(self, outcomes: Outcomes) -> None:
        """Keep the scores of the policies that were asked for last."""
        self._scores[self._next - 1] = outcomes.score

    def _children(self, n: int, column: Ints, numbers: Floats) -> Ints:
        picks = n - self._population + (numbers[:, : self._tournament] * self._population).astype(int)
        best = self._scores[picks, column[:, None]].argmax(axis=1)
        child: Ints = self._chosen[picks[np.arange(len(column)), best], column]
        if not len(self._changeable):
            return child
        row = self._changeable[(numbers[:, -2] * len(self._changeable)).astype(int)]
        counts, everyone = self._counts[row], np.arange(len(column))
        child[everyone, row] = (child[everyone, row] + 1 + (numbers[:, -1] * (counts - 1)).astype(int)) % counts
        return child


class FloatQ(DeploysBestSeen):
    """The published Q-learning in double precision with NumPy's generator, for all seeds at once."""

    def __init__(self, problem: Problem, seeds: Sequence[int]) -> None:
        self._counts = problem.space.action_counts
        rows = len(self._counts)
        self._draws = np.stack([_rng(seed).random((problem.budget, rows, 2)) for seed in seeds], axis=-1)
        self._q: Floats = np.zeros((len(seeds), rows, max(self._counts)))
        self._policy = np.zeros((len(seeds), rows), dtype=np.int64)
        self._schedule = stretched_schedule(problem.budget)
        self._next = 0

    def ask(self) -> Ints:
        """The next policy of each search, (searches, rows)."""
        n = self._next
        for row, count in enumerate(self._counts):
            explored = (self._draws[n, row, 1] * count).astype(int)
            greedy = self._q[:, row, :count].argmax(axis=1)
            self._policy[:, row] = np.where(self._draws[n, row, 0] < self._schedule[n], explored, greedy)
        self._next += 1
        return self._policy

    def tell(self, outcomes: Outcomes) -> None:
        """Update the Q-values along the policies that were asked for last."""
        float_update(self._q, self._policy, outcomes.score, self._counts)


def float_update(q: Floats, policy: Ints, reward: Floats, counts: Sequence[int]) -> None:
    """The published update, in place.

    Args:
        q: Q-values, (seeds, rows, actions).
        policy: actions, (seeds, rows).
        reward: (seeds,).
        counts: number of actions of every row.
    """
    column, share = np.arange(len(q)), reward / len(counts)
    following: Floats = np.zeros(len(q))
    for row in range(len(counts) - 1, -1, -1):
        values, action = q[:, row], policy[:, row]
        old = values[column, action]
        values[column, action] = old + ALPHA * (share + GAMMA * following - old)
        following = values[:, : counts[row]].max(axis=1)


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
