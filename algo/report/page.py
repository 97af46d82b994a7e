"""The report of one or more runs as one self-contained HTML page (docs/use/report.md)."""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from algo.published.evolver import evolver_facts
from algo.published.scores import published_outliers, published_scores
from algo.report import effect_figures as effects
from algo.report import figures as draw
from algo.report.facts import Deployment, RunFacts
from algo.report.html import environment, part
from algo.runs.config import TuneConfig
from algo.runs.run_folder import Q_TABLE, SUMMARY, TRACE
from algo.runs.summary_text import baseline_name
from algo.support.figures import shown_cost
from algo.support.held_folder import CONFIG
from algo.support.settings import settings_of

_MINUS = "\N{MINUS SIGN}"


def page(runs: Sequence[RunFacts]) -> str:
    """The HTML page about the runs, in the given order. The same runs give the same bytes."""
    templates = environment()
    templates.filters |= {
        "without_folder": without_folder,
        "number": number, "cost": cost, "whole": whole, "against": against, "headline": headline, "role": _role,
        "outcome": outcome, "trainings": trainings, "origin": _origin, "command": repeat_command, "digests": _digests,
    }  # fmt: skip
    facts = evolver_facts()
    return templates.get_template("report.html").render(
        runs=runs,
        title=f"Tuning run {runs[0].label}" if len(runs) == 1 else f"{len(runs)} tuning runs compared",
        notes=_not_comparable(runs),
        figures=[_figures(run) for run in runs],
        overlay=draw.best_so_far(runs) if len(runs) > 1 else None,
        references=[(weights, published_scores(weights)) for weights in dict.fromkeys(run.weights for run in runs)],
        long_term=facts["long_term"],
        source=facts["source"],
        version=metadata.version("rlu-cosim"),
        remake=shlex.join(["rlu", "report", *(str(run.path) for run in runs)]),
        style=part(templates, "report.css"),
        script=part(templates, "report.js"),
    )


def facts_as_json(run: RunFacts) -> dict[str, Any]:
    """What the page says about a run, as plain values."""
    savings, history = run.savings, run.q_history
    return {
        "label": run.label,
        "folder": str(run.path),
        "finished": run.finished,
        "data": run.data,
        "iterations": len(run.steps),
        "planned": run.planned,
        **{kind: run.count(kind) for kind in ("scored", "inaccurate", "skipped")},
        "trained": trainings(run),
        "deployments": {item.name: {k: v for k, v in vars(item).items() if k != "name"} for item in run.deployments},
        "front": [step.iteration for step in run.front],
        "savings": savings
        and {
            "latency_ms": savings.latency_ms,
            "energy_uj": savings.energy_uj,
            "inferences_per_joule_of_tuning": savings.inferences_for_energy(1.0),
            "hours_until_ahead_per_hour_of_tuning": savings.hours_for_time(1.0),
        },
        "q_table": {
            "replayed": len(history.tables),
            "last_matches": history.last_matches,
            "mismatch": history.mismatch or None,
        },
        "effects": _effects_as_json(run),
        "notes": list(run.notes),
    }


def _effects_as_json(run: RunFacts) -> dict[str, Any] | None:
    """What a planning unit learned, in fractions of accuracy; ``None`` for any other searcher."""
    history = run.effects
    if history is None:
        return None
    last = None
    if history.tables:
        *rows, constant = history.tables[-1]
        counts = history.trials[-1]
        last = {
            "rows": draw.row_names(run),
            "constant": constant[0] * history.unit,
            "effects": [
                [effect * history.unit if count else None for effect, count in zip(row, tried, strict=True)]
                for row, tried in zip(rows, counts, strict=False)
            ],
            "trials": [list(row) for row in counts],
        }
    return {
        "replayed": len(history.tables),
        "last_matches": history.last_matches,
        "mismatch": history.mismatch or None,
        "last": last,
        "deployed": history.deployed and list(history.deployed.actions),
        "predictions": [pair._asdict() for pair in effects.predictions(run)],
    }


def number(value: float | None, digits: int | None = None) -> str:
    """A number with ``digits`` decimals, or as few as it needs; a dash if it is unknown."""
    if value is None or math.isnan(value):
        return "–"
    return (f"{value:g}" if digits is None else f"{value:.{digits}f}").replace("-", _MINUS)


def cost(value: float | None) -> str:
    """A latency, an energy or a size, see `algo.support.figures.shown_cost`; a dash if it is unknown."""
    return "–" if value is None or math.isnan(value) else shown_cost(value).replace("-", _MINUS)


def whole(value: float | None) -> str:
    """A large number in three digits, with a word for its size; "never" for none."""
    if value is None:
        return "never"
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if value >= size:
            return f"{value / size:.3g}{word}"
    return f"{float(f'{value:.3g}'):,.0f}"


def against(value: float | None, before: float | None, name: str) -> str:
    """How much less or more than the baseline of this name, in per cent, and the baseline's value."""
    if value is None or before is None:
        return "unavailable"
    return f"{_change(value, before)} than {name} ({shown_cost(before)})"


def headline(run: RunFacts) -> str:
    """What was found, in a few sentences."""
    best = max(run.steps, key=lambda step: step.reward)
    if run.savings is None:
        return (
            f"Unfinished, after {len(run.steps)} of {run.planned} iterations. "
            f"The best score so far is {best.reward:.3f}, at iteration {best.iteration}."
        )
    found, before, name = run.savings.found, run.savings.baseline, run.savings.baseline_name
    takes, less = f"{shown_cost(found.latency_ms)} ms", f"{_change(found.latency_ms, before.latency_ms)} time"
    if found.energy_uj is not None and before.energy_uj is not None:
        takes += f" and {shown_cost(found.energy_uj)} µJ"
        less += f" and {_change(found.energy_uj, before.energy_uj)} energy"
    sentences = (
        f"The policy found takes {takes} an inference, {less} than {name}, at an accuracy of {found.accuracy:.3f} "
        f"against {before.accuracy:.3f}. "
    )
    if found.score <= 0:
        sentences += "It misses a threshold and scores 0: look at the best policy seen."
    elif before.score <= 0:
        sentences += f"Its score is {found.score:.3f}; {name} misses a threshold and scores 0."
    else:
        sentences += f"Its score is {found.score:.3f}, that of {name} {before.score:.3f}."
    return sentences


def _change(value: float, before: float) -> str:
    """How much less or more, in per cent."""
    change = value / before - 1 if before > 0 else 0.0
    return f"{abs(change) * 100:.0f}\N{NO-BREAK SPACE}% {'more' if change > 0 else 'less'}"


def outcome(run: RunFacts) -> str:
    """How many policies were skipped, trained and looked up."""
    skipped, cached = run.count("skipped"), sum(step.served == "cached" for step in run.steps)
    looked_up = f", {cached} answered without training (looked up)" if cached else ""
    percent = f"{skipped / len(run.steps) * 100:.0f}\N{NO-BREAK SPACE}%"
    saved = (
        f"{skipped} of {len(run.steps)} policies ({percent}) missed the latency or energy threshold and were never "
        "trained, which saved as many trainings."
        if skipped
        else "No policy missed the latency or energy threshold, so no training was saved."
    )
    return (
        f"{saved} {trainings(run)} were trained{looked_up}; {run.count('inaccurate')} missed the accuracy threshold, "
        "which shows only after training."
    )


def trainings(run: RunFacts) -> int:
    """Policies that were trained during the search."""
    return sum(step.served == "trained" for step in run.steps)


def repeat_command(run: RunFacts) -> str:
    """The command line that starts such a run: what differs from the defaults of `rlu tune`."""
    words = ["rlu", "tune"]
    usual = TuneConfig.of(method=run.config["method"]).flat | {"method": TuneConfig().search.method}
    for one in settings_of(TuneConfig):
        value = run.config[one.name]
        if not one.help or value is None or value is False or value in (one.default, usual[one.name]):
            continue
        words += [one.flag] if value is True else [one.flag, without_folder(value)]
    return shlex.join(words)


def without_folder(value: object) -> str:
    """A setting as it is shown to others: only the name of a file or a folder on this machine."""
    if not isinstance(value, str) or not Path(value).is_absolute():
        return str(value)
    path = Path(value)
    return path.name if path.suffix else f"./{path.name}"  # a folder must not look like the name of a data set


def _origin(run: RunFacts) -> str:
    """Data, seed, and whether the command describes the whole run."""
    data = run.data or without_folder(run.config.get("data"))
    words = f"Data: {data}. Seed {run.config.get('seed')}, of everything random. "
    looked_up = run.config.get("weights") == "carried" and any(step.served == "cached" for step in run.steps)
    if looked_up or not run.chip.known:
        what = "accuracies from a table instead of training" if looked_up else "its own chip"
        return words + f"The run used {what}, which its configuration does not name. The rest is:"
    return words + "To repeat it, on the same machine and installation:"


def _digests(run: RunFacts) -> list[tuple[str, str]]:
    files = [run.path / name for name in (CONFIG, TRACE, Q_TABLE, SUMMARY)]
    return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files if file.exists()]


def _role(row: Deployment, run: RunFacts) -> str:
    if row.name == "best seen":
        best = max(run.steps, key=lambda step: step.reward)
        return f"best seen (iteration {best.iteration})"
    return run.found_name if row.name == "found" else baseline_name(row.chosen)


def _figures(run: RunFacts) -> dict[str, Any]:
    return {
        "learning": draw.learning_curve(run),
        "published": published_scores(run.weights),
        "visited": [(dimension, draw.visited(run, dimension)) for dimension in run.searched],
        "scatters": draw.scatters(run),
        "q_frames": draw.q_frames(run),
        "effect_frames": effects.effect_frames(run),
        "predictions": effects.prediction_chart(run),
        "mean_error": effects.mean_error(effects.predictions(run)),
        "outcomes": draw.outcomes(run),
        "published_outliers": published_outliers(run.weights),
    }


def _not_comparable(runs: Sequence[RunFacts]) -> list[str]:
    """Why scores of the runs cannot be compared."""
    notes = []
    names = ("latency_low_ms", "latency_high_ms", "energy_low_uj", "energy_high_uj", "latency_th_ms", "energy_th_uj")
    if len({(run.weights, *(run.config.get(name) for name in names)) for run in runs}) > 1:
        notes.append("These runs have different objectives: their scores cannot be compared.")
    if len({run.config.get("data") for run in runs}) > 1:
        notes.append("These runs are on different data: their accuracies cannot be compared.")
    return notes
