"""Spaces that no table holds: activation bits searched too, and ResNet34, on made-up landscapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from algo.chips.chip import Chip
from algo.chips.evolver import EvolverChip
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.experiments.resnet34_setup import full_width_layers, scaled_ranges, space_of_blocks
from algo.experiments.statistics import mean_of_many, shown
from algo.search.known_costs import KnownCosts, known_costs
from algo.search.methods.additive import widest_actions
from algo.search.methods.registry import METHODS
from algo.search.objective import OBJECTIVES, ObjectiveConfig
from algo.search.places import space_of
from algo.search.scoring import UNIT, register_words, rewards_of
from algo.search.searcher import Floats, Ints, Outcomes, Problem
from algo.space.policy import PolicySpace
from algo.support.cells import kept_as, run_cells
from sim.devices.objective import Objective

#: Iterations of the published search of ResNet34.
LONG = 1200
SPACES = {
    "activations": "VGG8, weight and activation bits, 9 actions a layer",
    "resnet34": "ResNet34, weight bits, a row per residual block",
}
#: Methods, the number of evaluations of each, and the last number that is shown of it.
SEARCHES: dict[str, int] = {
    "planning": 80, "evolution-costs": 80, "rlu-plus": 330, "rlu": LONG,
}  # fmt: skip
CHECKPOINTS = (15, 30, 60, 80, 330, LONG)
#: Accuracy lost by a value of a dimension, as a share of the loss at 2 bits.
_LOST = {2: 1.0, 4: 0.2, 8: 0.0}
_UNIFORM = 0.70  # accuracy of 8 bits everywhere
_MOST_LOST = 0.24  # by all rows at 2 bits, in the worst case
_INTERACTIONS = (0.0, 0.3)  # of pairs of rows: their standard deviation beside that of the sum of effects
_DRAWN = 20_000  # policies that this ratio is measured on


@dataclass(frozen=True)
class LandscapeCell:
    """Some seeds of one method on one landscape; a cell of `run_cells`.

    Attributes:
        space: name in `SPACES`.
        objective: name in `OBJECTIVES`.
        interactions: see `Landscape`.
        landscape: seed of the landscape.
        method: name in `METHODS`.
        version: of the method.
        seeds, budget: number of searches, and of evaluations of each.
    """

    space: str
    objective: str
    interactions: float
    landscape: int
    method: str
    version: int
    seeds: int
    budget: int


class Landscape:
    """A made-up accuracy of every policy; latency and energy are the chip's.

    Accuracy is 0.70 at 8 bits everywhere. Each row loses its own share for fewer bits in each dimension, and random
    terms of all pairs of rows are added.

    Args:
        space: the policies; every value of a dimension is 2, 4 or 8 bits.
        interactions: standard deviation of the pairs' terms, beside that of the sum of the rows' effects.
        seed: of everything drawn.
    """

    def __init__(self, space: PolicySpace, interactions: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rows, counts = space.rows[:-1], space.action_counts[:-1]
        dimensions = max(len(row.dimensions) for row in rows)
        self._effects = np.zeros((len(rows), max(counts)))
        for at, row in enumerate(rows):
            for dimension in row.dimensions:
                most = rng.uniform(0.0, _MOST_LOST / len(rows) / dimensions)
                self._effects[at, : counts[at]] -= [most * _LOST[bits] for bits in row.values(dimension)]
        shape = (len(rows), len(rows), max(counts), max(counts))
        self._pairs = rng.normal(size=shape) * np.triu(np.ones(shape[:2]), 1)[:, :, None, None]
        self._scale, self._at_widest = 0.0, 0.0
        drawn = rng.integers(np.array(counts), size=(_DRAWN, len(rows)))
        effects, pairs = self._sums(drawn)
        self._scale = interactions * float(effects.std() / pairs.std())
        widest = np.array([widest_actions(space)])
        self._at_widest = float(self._sums(widest)[1][0])

    def accuracy(self, policies: Ints) -> Floats:
        """Accuracies of policies (..., rows), the operating point's row included, which has no effect."""
        effects, pairs = self._sums(policies[..., :-1])
        accuracy: Floats = np.clip(_UNIFORM + effects + self._scale * (pairs - self._at_widest), 0.0, 1.0)
        return accuracy

    def _sums(self, actions: Ints) -> tuple[Floats, Floats]:
        rows = np.arange(actions.shape[-1])
        effects = self._effects[rows, actions].sum(axis=-1)
        pairs = np.zeros(actions.shape[:-1])
        for first in rows:
            for second in rows[first + 1 :]:
                pairs += self._pairs[first, second, actions[..., first], actions[..., second]]
        return effects, pairs


@kept_as("algo.experiments.large_spaces.searched")
def searched(cell: LandscapeCell) -> dict[str, Any]:
    """Best scores seen after each evaluation, (budget, seeds) as ``best``."""
    problem, known = _problem(cell.space, cell.objective, cell.budget)
    landscape = Landscape(problem.space, cell.interactions, cell.landscape)
    registers = problem.objective.registers(UNIT)
    searches = METHODS[cell.method].make(problem, range(1, cell.seeds + 1))
    best = np.zeros((cell.budget, cell.seeds))
    for n in range(cell.budget):
        policies = searches.ask()
        accuracy, (latency, energy) = landscape.accuracy(policies), known.of(policies)
        _, latency_word, energy_word = register_words(accuracy, latency, energy, problem.objective, UNIT)
        skipped = (latency_word >= registers["LATENCY_TH"]) | (energy_word >= registers["ENERGY_TH"])
        score = np.ldexp(rewards_of(accuracy, latency, energy, problem.objective).astype(float), -UNIT.q_frac)
        searches.tell(Outcomes(accuracy, latency, energy, score, skipped))
        best[n] = score
    return {"best": np.maximum.accumulate(best)}


def _problem(name: str, objective: str, budget: int) -> tuple[Problem, KnownCosts]:
    chip: Chip
    if name == "resnet34":
        resnet = EvolverChip(full_width_layers())
        chip, space, ranges = resnet, space_of_blocks(resnet), scaled_ranges()
    else:
        chip = vgg8 = EvolverChip()
        space, ranges = space_of(vgg8, vgg8.layer_names, searched=vgg8.dimensions, fixed=()), {}
    a, b, c = OBJECTIVES[objective]
    threshold = _UNIFORM - ObjectiveConfig.accuracy_drop
    wanted = replace(Objective(weight_a=a, weight_l=b, weight_e=c, accuracy_th=threshold), **ranges)
    problem = Problem(space, wanted, budget, chip.measure)
    return problem, known_costs(problem)


def configuration(settings: Settings) -> dict[str, Any]:
    """Spaces, methods and seeds."""
    return {
        "spaces": SPACES, "searches": SEARCHES, "versions": {name: METHODS[name].version for name in SEARCHES},
        "interactions": _INTERACTIONS, **_sizes(settings),
    }  # fmt: skip


def _sizes(settings: Settings) -> dict[str, int]:
    return {
        "landscapes": settings.pick(quick=1, cpu=16, full=32),
        "seeds": settings.pick(quick=2, cpu=4, full=16),
        "longest": settings.pick(quick=20, cpu=LONG, full=LONG),
    }


def compute(settings: Settings) -> dict[str, Any]:
    """Mean best scores of each method, by space, objective and interactions."""
    sizes = _sizes(settings)
    groups = [
        (space, objective, interactions, method)
        for space in SPACES for objective in OBJECTIVES for interactions in _INTERACTIONS for method in SEARCHES
    ]  # fmt: skip
    cells = [
        LandscapeCell(space, objective, interactions, landscape, method, METHODS[method].version, sizes["seeds"],
                      min(SEARCHES[method], sizes["longest"]))
        for space, objective, interactions, method in groups for landscape in range(1, sizes["landscapes"] + 1)
    ]  # fmt: skip
    found = iter(run_cells(searched, cells, folder=settings.out / "cells", jobs=settings.jobs, label="landscapes"))
    cases: dict[str, dict[str, Any]] = {}
    for space, objective, interactions, method in groups:
        # Searches of one landscape are alike: an interval is over landscapes.
        best = np.stack([next(found)["best"].mean(axis=1) for _ in range(sizes["landscapes"])], axis=1)
        case = cases.setdefault(
            f"{space} {objective} {interactions}",
            {"space": space, "objective": objective, "interactions": interactions, "methods": {}},
        )
        case["methods"][method] = {
            "best": {str(n): mean_of_many(best[n - 1]) for n in CHECKPOINTS if n <= len(best)},
            "each": {str(n): best[n - 1].tolist() for n in CHECKPOINTS if n <= len(best)},
        }
    return {"cases": list(cases.values()), **sizes, "policies": {name: _space_size(name) for name in SPACES}}


def _space_size(name: str) -> int:
    return _problem(name, "energy", 1)[0].space.size


def present(data: Mapping[str, Any]) -> Page:
    """The planning unit beside the published one, and all methods in a table for each case."""
    rows, more = [], {}
    for case in data["cases"]:
        methods, name = case["methods"], _title(case)
        ours, published = methods["planning"], methods["rlu"]
        last = list(published["each"])[-1]
        for n in ("30", "60"):
            if n in ours["each"]:
                lead = np.array(ours["each"][n]) - np.array(published["each"][last])
                value = shown(mean_of_many(lead), 4)
                rows.append(Row(f"planning unit at {n} less published unit at {last}: {name}", NOT_PUBLISHED, value))
        body = [
            (method, *(shown(found["best"][str(n)], 4) if str(n) in found["best"] else "-" for n in CHECKPOINTS))
            for method, found in methods.items()
        ]
        more[f"**{name}**"] = markdown_table(("search", *map(str, CHECKPOINTS)), body)
    sizes = ", ".join(f"{SPACES[name]}: {size:,} policies" for name, size in data["policies"].items())
    return Page(
        rows, _plot(data), "Mean best score over evaluations", more,
        (
            f"{sizes}. Latency and energy are the Evolver model's; accuracies are made up: {data['landscapes']} "
            f"landscapes of each kind, {data['seeds']} searches of each.",
            "A table holds the mean of the best score seen, with its 95 % bootstrap interval over the landscapes. The "
            "best possible score is not known in spaces of this size.",
            "Interactions: standard deviation of random terms of pairs of rows, beside that of the rows' own effects.",
        ),
    )  # fmt: skip


def _title(case: Mapping[str, Any]) -> str:
    return f"{case['space']}, {case['objective']} first, interactions {case['interactions']:g}"


def _plot(data: Mapping[str, Any]) -> bytes:
    cases: Sequence[Mapping[str, Any]] = data["cases"]
    shown_cases = [case for case in cases if case["objective"] == "energy"]
    with figure(len(shown_cases)) as drawn:
        for axes, case in zip(drawn.axes, shown_cases, strict=True):
            for number, (method, found) in enumerate(case["methods"].items()):
                axes.plot([int(n) for n in found["best"]], [one["value"] for one in found["best"].values()], "o-",
                          color=COLOURS[number % len(COLOURS)], label=method)  # fmt: skip
            axes.set(xlabel="evaluations", xscale="log")
            axes.set_title(_title(case).replace(", ", ",\n"), fontsize="small")
        drawn.axes[0].set(ylabel="best score, mean")
    return drawn.png
