"""Ways to search a table, each for many seeds at once; `METHODS` names them.

Each takes a scored table, the seeds and a budget and returns the policies it evaluates, in order. All of them see a
policy's score and nothing else of it (`nsga2-pareto`: accuracy, latency and energy); every evaluation counts, also of
an outlier or of a policy seen before, as in the published loop. A seed's result does not depend on the seeds beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from algo.published.evolver import INT8_BASELINE, PUBLISHED_VGG8
from algo.search.loop import episodic_schedule, stretched_schedule
from algo.search.methods import library_searches
from algo.search.methods.batch_search import batch_unit, search_with
from algo.search.methods.library_searches import POPULATION, TOURNAMENT
from algo.search.tables.policy_table import Floats, PolicyTable
from algo.search.tables.scored_table import Ints, ScoredTable
from rtl.spec.params import ATTEMPTS
from sim.devices.episodic import Episodic
from sim.devices.objective import Objective

ALPHA, GAMMA = 0.25, 0.99  # of float Q-learning, as published

Search = Callable[[ScoredTable, Sequence[int], int], Ints]


@dataclass(frozen=True)
class Method:
    """A search by name.

    Attributes:
        run: called with scored table, seeds and budget; places in the table, (budget, seeds).
        summary: what it does, in a line.
        seeds_per_cell: how many seeds one process searches for at a time.
        version: to be raised when it searches differently, so that results kept from before are not taken for its.
    """

    run: Search
    summary: str
    seeds_per_cell: int = 1000
    version: int = 1


def grid(scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
    """The table from one policy to the next, the operating point changing fastest; the seed says from where."""
    size = scored.table.space.size
    starts = np.array([_rng(seed).integers(size) for seed in seeds])
    return (starts + np.arange(budget)[:, None]) % size


def random(scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
    """Uniform draws with replacement, as the published exploration draws."""
    return np.stack([_rng(seed).integers(scored.table.space.size, size=budget) for seed in seeds], axis=1)


def evolution(
    scored: ScoredTable,
    seeds: Sequence[int],
    budget: int,
    *,
    population: int = POPULATION,
    tournament: int = TOURNAMENT,
    attempts: int = 1,
) -> Ints:
    """Regularised evolution (Real et al., AAAI 2019), for all seeds at once.

    ``population`` random policies first; then the best of ``tournament`` drawn with replacement from the last
    ``population`` evaluated has one row changed to another action. `pyglove-evolution` is the library's. One that was
    tried before is drawn anew, parent and all, up to ``attempts`` draws in all: not a part of the original.
    """
    counts, strides = np.array(scored.table.space.action_counts), np.array(scored.table.space.strides)
    changeable = np.flatnonzero(counts > 1)
    first = min(population, budget)
    chosen = np.empty((budget, len(seeds)), dtype=np.int64)
    draws = np.empty((len(seeds), budget, tournament + 2))
    generators = [_rng(seed) for seed in seeds]
    for k, rng in enumerate(generators):
        chosen[:first, k] = rng.integers(scored.table.space.size, size=first)
        draws[k] = rng.random((budget, tournament + 2))

    def children(n: int, column: Ints, numbers: Floats) -> Ints:
        drawn = n - population + (numbers[:, :tournament] * population).astype(int)  # (seeds, tournament)
        candidates = chosen[drawn, column[:, None]]
        parent: Ints = candidates[np.arange(len(column)), scored.rewards[candidates].argmax(axis=1)]
        if not len(changeable):
            return parent
        row = changeable[(numbers[:, -2] * len(changeable)).astype(int)]
        action = parent // strides[row] % counts[row]
        other = (action + 1 + (numbers[:, -1] * (counts[row] - 1)).astype(int)) % counts[row]
        changed: Ints = parent + (other - action) * strides[row]
        return changed

    everyone = np.arange(len(seeds))
    for n in range(first, budget):
        chosen[n] = children(n, everyone, draws[:, n])
        for _ in range(attempts - 1):
            again = np.flatnonzero((chosen[:n] == chosen[n]).any(axis=0))
            if not len(again):
                break
            numbers = np.stack([generators[k].random(tournament + 2) for k in again])
            chosen[n, again] = children(n, again, numbers)
    return chosen


def evolution_no_repeats(scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
    """Regularised evolution that draws as often as `rlu_plus` before it tries a policy again."""
    return evolution(scored, seeds, budget, attempts=ATTEMPTS)


def float_q(scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
    """The published Q-learning in double precision with NumPy's generator, for all seeds at once."""
    counts = scored.table.space.action_counts
    rows = len(counts)
    draws = np.stack([_rng(seed).random((budget, rows, 2)) for seed in seeds], axis=-1)
    q: Floats = np.zeros((len(seeds), rows, max(counts)))
    policy = np.zeros((len(seeds), rows), dtype=np.int64)
    chosen = np.empty((budget, len(seeds)), dtype=np.int64)
    for n, epsilon in enumerate(stretched_schedule(budget)):
        for row, count in enumerate(counts):
            explored = (draws[n, row, 1] * count).astype(int)
            policy[:, row] = np.where(draws[n, row, 0] < epsilon, explored, q[:, row, :count].argmax(axis=1))
        chosen[n] = policy @ scored.table.space.strides
        float_update(q, policy, scored.scores[chosen[n]], counts)
    return chosen


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


def rlu(scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
    """The published search by the golden model, bit-exact with the RTL; a seed is the first state of the LFSR."""
    return _unit_search(scored.table, scored.objective, seeds, budget)


def rlu_plus(scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
    """The same unit with an episode memory (docs/understand/episodic.md), by the golden model: bit-exact."""
    unit = batch_unit(scored.table, scored.objective, seeds, episodic=Episodic())
    return search_with(unit, scored.table, scored.objective, episodic_schedule(budget))[1]


def model_size(scored: ScoredTable, seeds: Sequence[int], budget: int) -> Ints:
    """The published comparison: the same unit rewarded for a small model instead of low latency and energy.

    The weight of accuracy stays, the model's size takes that of latency and energy together, scored from the largest
    model (0) to the smallest (1). The operating point is the INT8 baseline's: size says nothing about it.
    """
    table, wanted = scored.table, scored.objective
    points = len(table.points)
    point = min(INT8_BASELINE.point, points - 1)
    size = model_sizes(table)[point::points]
    span = float(np.ptp(size)) or 1.0
    proxy = PolicyTable(
        replace(table.space, points=1),
        table.points[point : point + 1],
        table.accuracy[point::points],
        np.zeros_like(size),
        (size - size.min()) / span,
        f"model size of {table.source}",
    )
    objective = Objective(
        weight_a=wanted.weight_a, weight_l=0.0, weight_e=1.0 - wanted.weight_a, accuracy_th=wanted.accuracy_th,
        energy_th_uj=1.01, energy_low_uj=0.0, energy_high_uj=1.0,
    )  # fmt: skip
    return _unit_search(proxy, objective, seeds, budget) * points + point


def model_sizes(table: PolicyTable) -> Floats:
    """Size of every policy's weights, (size,), in bits: the published VGG8's for 8 layers, else one weight a layer."""
    space = table.space
    shapes = [layer.weights for layer in PUBLISHED_VGG8]
    per_layer = shapes if space.layers == len(shapes) else [1] * space.layers
    actions = np.indices(space.action_counts).reshape(space.layers + 1, -1)[:-1]
    bits = np.array(space.weight_choices)[actions % len(space.weight_choices)]
    sizes: Floats = (np.array(per_layer, dtype=float)[:, None] * bits).sum(axis=0)
    return sizes


def _unit_search(table: PolicyTable, objective: Objective, seeds: Sequence[int], budget: int) -> Ints:
    return search_with(batch_unit(table, objective, seeds), table, objective, stretched_schedule(budget))[1]


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


#: Every method by the name `rlu search` knows it by.
METHODS: dict[str, Method] = {
    "rlu": Method(rlu, "the published search by the golden model, bit-exact with the RTL"),
    "rlu-plus": Method(
        rlu_plus, "the unit with an episode memory, by the golden model, bit-exact with the RTL", version=2
    ),
    "float": Method(float_q, "the published search in double precision"),
    "random": Method(random, "uniform draws with replacement"),
    "grid": Method(grid, "the table's order, from a place that the seed draws"),
    "model-size": Method(model_size, "the published search rewarded for a small model, at one operating point"),
    "evolution": Method(evolution, "regularised evolution, all seeds at once"),
    "evolution-no-repeats": Method(
        evolution_no_repeats, f"the same; one tried before is drawn anew, up to {ATTEMPTS} times"
    ),
    "pyglove-evolution": Method(library_searches.evolution, "regularised evolution by PyGlove", 5),
    "tpe": Method(library_searches.tpe, "tree-structured Parzen estimator by Optuna", 10),
    "nsga2": Method(library_searches.nsga2, "NSGA-II by Optuna on the score", 25),
    "nsga2-pareto": Method(library_searches.nsga2_pareto, "NSGA-II by Optuna on accuracy, latency and energy", 25),
}
