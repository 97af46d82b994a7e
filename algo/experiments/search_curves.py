"""The published search against grid search and the model-size proxy: iterations to a score, best score, ratio."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings
from algo.experiments.plots import COLOURS, figure, score_axis
from algo.experiments.statistics import mean_of_many, shown
from algo.experiments.tables import BUDGET, digests, scored, table_names
from algo.published.evolver import evolver_facts
from algo.search.methods.registry import METHODS
from algo.search.methods.units import batch_unit, deployed, search_with
from algo.search.schedules import published_schedule
from algo.search.tables.policy_table import Floats, TableEvaluator
from algo.search.tables.scored_table import ScoredTable
from algo.search.unit_searcher import search_with_unit
from rtl.spec.params import RLUParams
from sim.devices.driver import Driver
from sim.devices.shadow import Disagreement, ShadowedDevice
from sim.simulators.simulator import SimDevice

_GRID_CHUNK = 50  # seeds at a time: the grid is searched to its end


def configuration(settings: Settings) -> dict[str, Any]:
    """Tables and seeds."""
    return {"tables": digests(settings.scale), "seeds": _seeds(settings), "grid_seeds": _grid_seeds(settings)}


def compute(settings: Settings) -> dict[str, Any]:
    """For every table, energy first: curves, best and deployed scores, iterations to the RL's score."""
    names = tqdm(table_names(settings.scale), unit="table", disable=None, file=sys.stderr)
    return {"tables": [_of_table(name, settings) for name in names]}


def _of_table(name: str, settings: Settings) -> dict[str, Any]:
    known = scored(name, "energy")
    seeds = range(1, 1 + _seeds(settings))
    unit = batch_unit(known.table.space.action_counts, known.objective, seeds)
    rewards, chosen = search_with(unit, known.table, known.objective, published_schedule())
    found = deployed(unit, known.table)
    best = known.optimum - known.regret(chosen)
    proxy = known.optimum - known.regret(METHODS["model-size"].run(known, seeds, BUDGET))
    target = float(best[-1].mean())
    grid_curve, grid_reached, grid_at_published = _grid(known, target, _grid_seeds(settings))
    matched = _first(best, grid_at_published)
    compared = _through_rtl(known, rewards[:, 0]) if settings.device == "sim" else 0
    return {
        "table": name, "source": known.table.source, "optimum": known.optimum,
        "accuracy_th": known.objective.accuracy_th,
        "rl": {"best": mean_of_many(best[-1]), "deployed": mean_of_many(known.scores[found]),
               "curve": _curve(best), "seeds_at_target": float(np.mean(best[-1] >= target)),
               "to_grid": None if np.isinf(matched).any() else mean_of_many(matched)},
        "proxy": {"best": mean_of_many(proxy[-1]), "curve": _curve(proxy),
                  "seeds_at_target": float(np.mean(proxy[-1] >= target))},
        "grid": {"reached": mean_of_many(grid_reached), "median": float(np.median(grid_reached)), "curve": grid_curve,
                 "at_published": grid_at_published},
        "target": target, "random_expects": float(1 / np.mean(known.scores >= target)), "rtl_words_compared": compared,
    }  # fmt: skip


def _grid(known: ScoredTable, target: float, seeds: int) -> tuple[dict[str, list[float]], list[float], float]:
    """Grids from places that the seeds draw: curve, iterations to the target, mean best at the published iterations."""
    published = evolver_facts()["search"]["grid_search_iterations_to_similar_score"]
    size = known.table.space.size
    starts, reached = [], []
    for first in range(1, seeds + 1, _GRID_CHUNK):
        some = range(first, min(first + _GRID_CHUNK, seeds + 1))
        chosen = METHODS["grid"].run(known, some, size)
        reached += ((known.scores[chosen] >= target).argmax(axis=0) + 1.0).tolist()
        starts.append(known.optimum - known.regret(chosen[:published]))
    best = np.concatenate(starts, axis=1)
    return _curve(best[:BUDGET]), reached, float(best[-1].mean())


def _through_rtl(known: ScoredTable, rewards: Any) -> int:
    """Search with the simulated RTL for the first seed; the words compared with the golden model's.

    Raises:
        Disagreement: if a word, or a reward of the batch over seeds, differs.
    """
    counts = known.table.space.action_counts
    params = RLUParams(states=len(counts), actions=max(counts), action_counts=counts)
    with SimDevice(params) as simulated:
        device = ShadowedDevice(simulated, params)
        driver = Driver(device)
        driver.configure(action_counts=counts, seed=1, objective=known.objective)
        steps = search_with_unit(
            driver, known.table.space, known.table, TableEvaluator(known.table), published_schedule()
        )
        for step, reward in zip(steps, rewards, strict=True):
            if step.reward * 2**params.q_frac != reward:
                raise Disagreement(f"iteration {step.iteration}: reward {step.reward} of the RTL is not the batch's")
        return device.compared


def present(data: Mapping[str, Any]) -> Page:
    """Published beside ours, table by table."""
    facts = evolver_facts()["search"]
    grid = facts["grid_search_iterations_to_similar_score"]
    measured = {entry["name"]: entry for entry in evolver_facts()["measurements"]}
    rows = []
    for one in data["tables"]:
        where = f"{one['table']}: "
        ratio = one["grid"]["reached"]["value"] / BUDGET
        proxies = f"{measured['smallest model']['score']}, {measured['model size, best score']['score']}"
        rows += [
            Row(f"{where}RL iterations", f"{facts['iterations']}", f"{BUDGET}", "table in place of training"),
            Row(f"{where}RL, score deployed", f"{measured['energy first']['score']}", shown(one["rl"]["deployed"], 4),
                f"optimum {one['optimum']:.4f}, known of a table"),
            Row(f"{where}RL, best score seen", NOT_PUBLISHED, shown(one["rl"]["best"], 4)),
            Row(f"{where}grid iterations to a similar score", f"{grid}",
                shown(one["grid"]["reached"], 0), f"RL's mean best; median {one['grid']['median']:,.0f}"),
            Row(f"{where}score of the grid there", f"{facts['grid_search_score']}", f"{one['target']:.4f} or more"),
            Row(f"{where}grid iterations over RL iterations", f"{facts['iteration_ratio']}", f"{ratio:.2f}"),
            Row(f"{where}RL iterations to the grid's mean score at {grid}", NOT_PUBLISHED, _matched(one),
                f"that score: {one['grid']['at_published']:.4f}"),
            Row(f"{where}model-size search, best energy-first score", f"{proxies} (its two policies)",
                shown(one["proxy"]["best"], 4), "best of the policies it visited"),
            Row(f"{where}random draws to the same score", NOT_PUBLISHED, f"{one['random_expects']:,.0f} expected",
                "1 / share of policies as good"),
        ]  # fmt: skip
    with figure(len(data["tables"])) as drawn:
        for axes, one in zip(drawn.axes, data["tables"], strict=True):
            for colour, label, key in (
                (COLOURS[0], "RL", "rl"),
                (COLOURS[1], "grid", "grid"),
                (COLOURS[2], "model size", "proxy"),
            ):
                curve = one[key]["curve"]
                axes.plot(curve["at"], curve["mean"], color=colour, label=label)
                axes.fill_between(curve["at"], curve["low"], curve["high"], color=colour, alpha=0.2)
            axes.axhline(one["optimum"], color="black", linewidth=0.6, label="optimum")
            score_axis(axes, [one[key]["curve"]["low"] for key in ("rl", "grid", "proxy")], one["optimum"])
            axes.set(xlabel="iteration")
            axes.set_title(one["table"], fontsize="small")
        drawn.axes[0].set(ylabel="best score so far")
    compared = [
        f"{one['table']}: {one['rtl_words_compared']:,} words" for one in data["tables"] if one["rtl_words_compared"]
    ]
    rtl = f"Seed 1 ran through the RTL too and agreed ({'; '.join(compared)})." if compared else ""
    return Page(
        rows, drawn.png, "Best score so far, mean over seeds; the bands hold the middle 95 % of the seeds",
        notes=tuple(
            filter(
                None,
                (
                    "The published order of the grid is unknown. Ours is the table's: the operating point changes "
                    "fastest, the first layer's bits slowest, from a place that each seed draws (reading).",
                    *map(_note, data["tables"]),
                    rtl,
                ),
            )
        ),
    )  # fmt: skip


def _matched(one: Mapping[str, Any]) -> str:
    found = one["rl"]["to_grid"]
    return "not every seed gets there" if found is None else shown(found, 0)


def _first(best: Floats, score: float) -> Floats:
    """Iterations of each seed until its best so far is that score; infinite if it never reaches that."""
    there = best >= score
    return np.where(there.any(axis=0), there.argmax(axis=0) + 1.0, np.inf)


def _note(one: Mapping[str, Any]) -> str:
    return (
        f"{one['table']}: {one['rl']['seeds_at_target']:.0%} of the RL's seeds, and "
        f"{one['proxy']['seeds_at_target']:.0%} of the model-size search's, reach the grid's target score; "
        f"accuracy threshold {one['accuracy_th']:.4f}. Table: {one['source']}."
    )


def _curve(best: Floats) -> dict[str, list[float]]:
    """Mean over seeds and their middle 95 %, every few iterations."""
    at = [1, *range(10, BUDGET + 1, 10)]
    rows = best[np.array(at) - 1]
    low, high = np.quantile(rows, (0.025, 0.975), axis=1)
    return {
        "at": [float(n) for n in at], "mean": np.round(rows.mean(axis=1), 5).tolist(),
        "low": np.round(low, 5).tolist(), "high": np.round(high, 5).tolist(),
    }  # fmt: skip


def _seeds(settings: Settings) -> int:
    return settings.pick(quick=20, cpu=1000, full=1000)


def _grid_seeds(settings: Settings) -> int:
    return settings.pick(quick=20, cpu=200, full=1000)
