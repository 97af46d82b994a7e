"""Many searches of one table: every method over many seeds, in cells that are saved, and the resulting figures."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from algo.chips.evolver import EvolverChip
from algo.search.compare.regret import Arrival, Estimate, arrival, as_json, mean_regret
from algo.search.methods.registry import METHODS, Found, Noise, method_named
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
class DeployingCell:
    """A `SearchCell` whose searches say what they would deploy.

    Attributes:
        cell: the seeds, method and table.
        noise: see `Noise`; ``None`` without noise.
        at: numbers of evaluations after which they say it.
    """

    cell: SearchCell
    noise: Noise | None
    at: tuple[int, ...]


@dataclass(frozen=True)
class MethodResult:
    """One method over all seeds. All regrets are of true scores, even where the searches saw noisy ones.

    Attributes:
        regret: mean simple regret of the best policy evaluated, by number of evaluations.
        deployed: mean regret of the policy that would be deployed, by number of evaluations; empty if not asked for.
        luckiest: the same of the policy of the best score that the search saw.
        arrival: evaluations to within 1 % of the optimum.
        trainings: mean number of evaluations that cost a training: all but those skipped for latency or energy.
    """

    regret: dict[int, Estimate]
    deployed: dict[int, Estimate]
    luckiest: dict[int, Estimate]
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


@dataclass(frozen=True)
class Sweep:
    """One method on one table for seeds 1, 2 ...

    Attributes:
        name: of the table, by which other processes find it.
        scored: the same table, scored.
        method: name in `METHODS`.
        seeds: how many.
        budget: evaluations of each search. A method that is good for fewer (`Method.most`) makes only those.
        noise: of the accuracies that the searches see.
        at: numbers of evaluations, rising, after which the searches say what they would deploy, if there is noise or
            the method has a model of accuracy.

    Raises:
        ValueError: for an unknown method, seeds or budget below 1, or numbers of evaluations that are not rising from
            at least 1 to at most the budget. Also for the table's own noise if it has none.
    """

    name: str
    scored: ScoredTable
    method: str
    seeds: int
    budget: int
    noise: Noise | None = None
    at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        method_named(self.method)
        for what, value in (("seeds", self.seeds), ("budget", self.budget)):
            if value < 1:
                raise ValueError(f"{what} must be at least 1, not {value}")
        if list(self.at) != sorted({n for n in self.at if 1 <= n <= self.budget}):
            raise ValueError(
                f"numbers of evaluations must rise from at least 1 to at most {self.budget}, not {list(self.at)}"
            )
        if self.noise is not None:
            self.noise.check(self.scored.table)

    def cells(self) -> list[SearchCell] | list[DeployingCell]:
        """The cells that find it."""
        known, digest = METHODS[self.method], table_digest(self.scored.table)
        step, most = known.seeds_per_cell, min(self.budget, known.most or self.budget)
        cells = [
            SearchCell(
                self.name, digest, self.scored.objective, self.method, first, min(step, self.seeds - first + 1), most,
                known.version,
            )
            for first in range(1, self.seeds + 1, step)
        ]  # fmt: skip
        if self.noise is None and not known.believes:
            return cells
        return [DeployingCell(cell, self.noise, tuple(n for n in self.at if n <= most)) for cell in cells]


def run_sweeps(
    sweeps: Sequence[Sweep], *, folder: Path | None = None, jobs: int | None = None, ray: str | None = None
) -> list[Found]:
    """What the searches of every sweep found. The cells of all are shared out together, so no core waits between them.

    Args:
        sweeps: what is run.
        folder: where finished cells are kept; see `run_cells`.
        jobs, ray: see `run_cells`.

    Raises:
        ValueError: for jobs below 1.
        ModuleNotFoundError: without the library of a method.
    """
    cells = [cell for one in sweeps for cell in one.cells()]
    where: Any = {"folder": folder, "jobs": jobs, "ray": ray}
    plain = [cell for cell in cells if isinstance(cell, SearchCell)]
    deploying = [cell for cell in cells if isinstance(cell, DeployingCell)]
    parts: dict[SearchCell | DeployingCell, dict[str, Any]] = {}
    if plain:
        parts.update(zip(plain, run_cells(run_cell, plain, label="searches", **where), strict=True))
    if deploying:
        found = run_cells(run_deploying_cell, deploying, label="searches that deploy", **where)
        parts.update(zip(deploying, found, strict=True))
    return [_joined([parts[cell] for cell in one.cells()]) for one in sweeps]


def _joined(cells: Sequence[dict[str, Any]]) -> Found:
    """What some cells found, seed after seed."""
    parts = [
        np.concatenate([cell.get(kind, np.empty((0, cell["chosen"].shape[1]))) for cell in cells], axis=1)
        for kind in ("chosen", "deployed", "luckiest")
    ]
    return Found(*(part.astype(np.int64) for part in parts))


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
    noise: Noise | None = None,
    at: Sequence[int] = (),
) -> dict[str, Found]:
    """Run each method on one table; what they found, by method. Says what takes the place of an enumeration.

    Methods that search for many seeds at once work in this process: starting others would take longer.

    Args:
        methods: names in `METHODS`.
        name, scored, seeds, budget, noise, at: see `Sweep`.
        folder, jobs, ray: see `run_sweeps`.

    Raises:
        ValueError: see `Sweep` and `run_sweeps`.
        ModuleNotFoundError: without the library of a method.
    """
    for method in methods:
        if note := method_named(method).note_on(scored.table.space):
            print(f"note: {note}", file=sys.stderr)
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    sweeps = [Sweep(name, scored, method, seeds, budget, noise, tuple(at)) for method in methods]
    if all(METHODS[method].seeds_per_cell >= min(seeds, 1000) for method in methods):
        jobs, ray = 1, None
    return dict(zip(methods, run_sweeps(sweeps, folder=folder, jobs=jobs, ray=ray), strict=True))


@kept_as("algo.search_sweep.run_cell")
def run_cell(cell: SearchCell) -> dict[str, Any]:
    """The policies evaluated in a cell, (budget, seeds) as ``chosen``."""
    scored = _scored(cell.table, cell.digest, cell.objective)
    seeds = range(cell.first_seed, cell.first_seed + cell.seeds)
    return {"chosen": METHODS[cell.method].run(scored, seeds, cell.budget).astype(np.int32)}


@kept_as("algo.search_sweep.run_deploying_cell")
def run_deploying_cell(one: DeployingCell) -> dict[str, Any]:
    """The policies evaluated in a cell, as in `Found`."""
    cell = one.cell
    scored = _scored(cell.table, cell.digest, cell.objective)
    seeds = range(cell.first_seed, cell.first_seed + cell.seeds)
    found = METHODS[cell.method].search(scored, seeds, cell.budget, noise=one.noise, at=one.at)
    return {
        "chosen": found.chosen.astype(np.int32),
        "deployed": found.deployed.astype(np.int32),
        "luckiest": found.luckiest.astype(np.int32),
    }


@lru_cache(maxsize=4)
def _scored(name: str, digest: str, objective: Objective) -> ScoredTable:
    table = named_table(name)
    if table_digest(table) != digest:
        raise ValueError(f"the table {name} here is not the one that the search was started with: copy that one here")
    return score_table(table, objective)


def result_of(scored: ScoredTable, found: Found, at: Sequence[int]) -> MethodResult:
    """The figures of one method's searches for seeds 1, 2 ..., after some numbers of evaluations."""
    budget, seeds = found.chosen.shape
    regret, within = scored.regret(found.chosen), [n for n in at if n <= budget]

    def true(places: Ints) -> dict[int, Estimate]:
        """Mean regrets of policies at places (numbers of evaluations, seeds)."""
        regrets = mean_regret(scored.optimum - scored.scores[places], range(1, len(places) + 1))
        return dict(zip(within, regrets.values(), strict=False))

    return MethodResult(
        mean_regret(regret, within),
        true(found.deployed),
        true(found.luckiest),
        arrival(regret, scored.optimum, range(1, seeds + 1)),
        float((~scored.skipped[found.chosen]).sum(axis=0).mean()),
    )


def summary(
    name: str,
    scored: ScoredTable,
    results: dict[str, Found],
    *,
    budget: int,
    at: Sequence[int],
    noise: Noise | None = None,
) -> dict[str, Any]:
    """Everything about a sweep, as `rlu search --json` prints it."""
    found = {method: result_of(scored, one, at) for method, one in results.items()}
    seeds = next(iter(results.values())).chosen.shape[1]
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
        **({} if noise is None else {"noise": "table" if noise.std is None else noise.std}),
        "methods": {
            method: {
                "regret": {str(n): as_json(estimate) for n, estimate in result.regret.items()},
                **{
                    kind: {str(n): as_json(estimate) for n, estimate in estimates.items()}
                    for kind, estimates in (("deployed", result.deployed), ("luckiest", result.luckiest))
                    if estimates and (kind == "deployed" or noise is not None)
                },
                "evaluations_to_1_percent": as_json(result.arrival.median),
                "censored_seeds": list(result.arrival.censored),
                "trainings": result.trainings,
            }
            for method, result in found.items()
        },
    }


def text(answer: dict[str, Any], at: Sequence[int]) -> str:
    """The summary as Markdown: mean regret with its 95 % interval, a row per method.

    What would be deployed has a table of its own, of the methods that it is known of.
    """
    objective, excluded, best = answer["objective"], answer["excluded"], answer["best_policy"]
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
        "| method | " + " | ".join(map(str, at)) + " | to within 1 % (median) | seeds that never are | trainings |",
        "| --- |" + " --- |" * (len(at) + 3),
    ]
    for method, figures in answer["methods"].items():
        cells = [
            *_cells(figures["regret"], at),
            _shown(figures["evaluations_to_1_percent"], ".0f"),
            f"{len(figures['censored_seeds']):,}",
            f"{figures['trainings']:.1f}",
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    rows = [
        (method if kind == "deployed" else f"{method}, luckiest", one[kind])
        for method, one in answer["methods"].items()
        for kind in ("deployed", "luckiest")
        if kind in one and (kind == "deployed" or METHODS[method].believes)
    ]
    if rows:
        noise = answer.get("noise", 0.0)
        error = "of the table's accuracy_std" if noise == "table" else f"of {noise:g}" if noise else ""
        seen = f"accuracies seen with a normal error {error}" if error else "accuracies seen without error"
        lines += [
            "",
            f"Mean regret of the policy that would be deployed, {seen}:",
            "",
            "| method | " + " | ".join(map(str, at)) + " |",
            "| --- |" + " --- |" * len(at),
            *(f"| {name} | " + " | ".join(_cells(regret, at)) + " |" for name, regret in rows),
        ]
    return "\n".join(lines)


def _cells(regret: dict[str, Any], at: Sequence[int]) -> list[str]:
    return [_shown(regret[str(n)], ".4f") if str(n) in regret else "-" for n in at]


def _shown(estimate: dict[str, float | None], form: str) -> str:
    value, low, high = (
        "never" if estimate[name] is None else format(estimate[name], form) for name in ("value", "low", "high")
    )
    return f"{value} ({low}..{high})"
