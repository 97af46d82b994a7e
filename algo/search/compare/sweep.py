"""Many searches of one table: every method over many seeds, in cells that are saved, and the resulting figures."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from algo.chips.evolver import EvolverChip
from algo.search.compare.regret import Arrival, Estimate, arrival, as_json, checkpoints, mean_regret
from algo.search.methods.registry import METHODS, method_named
from algo.search.tables.policy_table import PolicyTable, synthetic_table
from algo.search.tables.scored_table import Ints, ScoredTable, score_table
from algo.space.dimensions import DIMENSIONS, WEIGHT_BITS
from algo.support.cells import kept_as, run_cells
from sim.devices.objective import Objective

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class SearchCell:
    """Some seeds of one method on one table; everything the result depends on.

    Attributes:
        table: as `named_table` knows it.
        digest: of the table's figures, since a file can change.
        objective: what is searched for.
        method: name in `METHODS`.
        first_seed, seeds: the first seed and the number of seeds: ``first_seed``, ``first_seed + 1``, ...
        budget: evaluations.
        version: of the method; results of another version are not used.
    """

    table: str
    digest: str
    objective: Objective
    method: str
    first_seed: int
    seeds: int
    budget: int
    version: int


@dataclass(frozen=True)
class MethodResult:
    """One method over all seeds.

    Attributes:
        regret: mean simple regret by number of evaluations.
        arrival: evaluations to within 1 % of the optimum.
        trainings: mean number of evaluations that cost a training: all but those skipped for latency or energy.
    """

    regret: dict[int, Estimate]
    arrival: Arrival
    trainings: float


def named_table(name: str) -> PolicyTable:
    """A table by name: a built-in one, ``synthetic``, or a Parquet file's path; raises ValueError if unknown."""
    if name == SYNTHETIC:
        return synthetic_table(EvolverChip(), layers=8, seed=1)
    from algo.search.tables.qvf_bench import load, names

    if name in names():
        return load(name)
    if not Path(name).is_file():
        raise ValueError(f"unknown table {name!r}: choose {', '.join([*names(), SYNTHETIC])}, or give a Parquet file")
    from algo.search.tables.table_file import read_table

    return read_table(Path(name))


def table_digest(table: PolicyTable) -> str:
    """First 16 hexadecimal digits of the SHA-256 over the table's figures."""
    digest = hashlib.sha256(f"({table.space.identity}, {table.points!r})".encode())
    for values in (table.accuracy, table.latency_ms, table.energy_uj):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def sweep(
    name: str,
    scored: ScoredTable,
    methods: Sequence[str],
    *,
    seeds: int,
    budget: int,
    folder: Path | None = None,
    jobs: int | None = None,
    ray: str | None = None,
) -> dict[str, Ints]:
    """Run each method for seeds 1, 2 ...; the policies evaluated, (budget, seeds), by method.

    Args:
        name: of the table, by which other processes find it.
        scored: the same table, scored.
        methods: names in `METHODS`.
        seeds: how many.
        budget: evaluations of each search.
        folder: where finished cells are kept; see `run_cells`.
        jobs: processes for the methods that search for one seed at a time; the others take one.
        ray: see `run_cells`.

    Raises:
        ValueError: for an unknown method, or seeds, budget or jobs below 1.
        ModuleNotFoundError: without the library of a method.
    """
    for method in methods:
        method_named(method)
    for what, value in (("seeds", seeds), ("budget", budget), ("jobs", 1 if jobs is None else jobs)):
        if value < 1:
            raise ValueError(f"{what} must be at least 1, not {value}")
    digest = table_digest(scored.table)
    results = {}
    for method in methods:
        step, version = METHODS[method].seeds_per_cell, METHODS[method].version
        cells = [
            SearchCell(name, digest, scored.objective, method, first, min(step, seeds - first + 1), budget, version)
            for first in range(1, seeds + 1, step)
        ]
        quick = len(cells) == 1 or step >= 1000
        found = run_cells(
            run_cell, cells, folder=folder, jobs=1 if quick else jobs, ray=None if quick else ray, label=method
        )
        results[method] = np.concatenate([cell["chosen"] for cell in found], axis=1).astype(np.int64)
    return results


@kept_as("algo.search_sweep.run_cell")
def run_cell(cell: SearchCell) -> dict[str, Any]:
    """The policies evaluated in a cell, (budget, seeds) as ``chosen``."""
    scored = _scored(cell.table, cell.digest, cell.objective)
    seeds = range(cell.first_seed, cell.first_seed + cell.seeds)
    return {"chosen": METHODS[cell.method].run(scored, seeds, cell.budget).astype(np.int32)}


@lru_cache(maxsize=4)
def _scored(name: str, digest: str, objective: Objective) -> ScoredTable:
    table = named_table(name)
    if table_digest(table) != digest:
        raise ValueError(f"the table {name} here is not the one that the search was started with: copy that one here")
    return score_table(table, objective)


def result_of(scored: ScoredTable, chosen: Ints) -> MethodResult:
    """The figures of one method's searches for seeds 1, 2 ..."""
    budget, seeds = chosen.shape
    regret = scored.regret(chosen)
    return MethodResult(
        mean_regret(regret, checkpoints(budget)),
        arrival(regret, scored.optimum, range(1, seeds + 1)),
        float((~scored.skipped[chosen]).sum(axis=0).mean()),
    )


def summary(name: str, scored: ScoredTable, results: dict[str, Ints]) -> dict[str, Any]:
    """Everything about a sweep, as `rlu search --json` prints it."""
    found = {method: result_of(scored, chosen) for method, chosen in results.items()}
    budget, seeds = next(iter(results.values())).shape
    return {
        "table": name,
        "source": scored.table.source,
        "policies": scored.table.space.size,
        "objective": dataclasses.asdict(scored.objective),
        "excluded": scored.exclusions(),
        "optimum": scored.optimum,
        "best_policy": scored.describe(scored.best),
        "seeds": seeds,
        "budget": budget,
        "methods": {
            method: {
                "regret": {str(at): as_json(estimate) for at, estimate in result.regret.items()},
                "evaluations_to_1_percent": as_json(result.arrival.median),
                "censored_seeds": list(result.arrival.censored),
                "trainings": result.trainings,
            }
            for method, result in found.items()
        },
    }


def text(answer: dict[str, Any]) -> str:
    """The summary as Markdown: mean regret with its 95 % interval, a row per method."""
    objective, excluded, best = answer["objective"], answer["excluded"], answer["best_policy"]
    at = list(next(iter(answer["methods"].values()))["regret"])
    weights = ", ".join(f"{objective[name]:g}" for name in ("weight_a", "weight_l", "weight_e"))
    thresholds = ", ".join(
        f"{name} {objective[name]:.4g} excludes {excluded[name]:,}"
        for name in ("accuracy_th", "latency_th_ms", "energy_th_uj")
    )
    chosen = ", ".join(
        f"{one.title} {' '.join(map(str, best[one.name]))}"
        for one in DIMENSIONS.values()
        if one.name in best and (one is WEIGHT_BITS or set(best[one.name]) != {one.usual})
    )
    where = f"{chosen}, {best['voltage_v']:.2f} V, {best['frequency_mhz']:g} MHz"
    lines = [
        f"{answer['table']}: {answer['source']}",
        f"{answer['policies']:,} policies; weights {weights}; {thresholds}; {excluded['any']:,} excluded in all",
        f"optimum {answer['optimum']:.4f}: {where}",
        f"{answer['seeds']:,} seeds; mean regret (95 % interval) by number of evaluations:",
        "",
        "| method | " + " | ".join(at) + " | to within 1 % (median) | seeds that never are | trainings |",
        "| --- |" + " --- |" * (len(at) + 3),
    ]
    for method, figures in answer["methods"].items():
        cells = [_shown(figures["regret"][n], ".4f") for n in at]
        cells += [
            _shown(figures["evaluations_to_1_percent"], ".0f"),
            f"{len(figures['censored_seeds']):,}",
            f"{figures['trainings']:.1f}",
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(estimate: dict[str, float | None], form: str) -> str:
    value, low, high = (
        "never" if estimate[name] is None else format(estimate[name], form) for name in ("value", "low", "high")
    )
    return f"{value} ({low}..{high})"
