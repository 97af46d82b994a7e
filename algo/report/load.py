"""Reads run folders for a report, and checks what they say; damage is reported, never drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from algo.chips.chip import Measurement
from algo.report.chip_part import ChipFacts, chip_facts
from algo.report.facts import Deployment, RunFacts, known
from algo.runs.config import UNITS, TuneConfig
from algo.runs.effect_replay import effect_history
from algo.runs.q_replay import q_history
from algo.runs.run_folder import MEASURED, SUMMARY, TRACE, RunFolder
from algo.runs.summary_text import found_name
from algo.runs.tune import config_of
from algo.search.scoring import Scorer
from algo.search.step import Step
from algo.space.dimensions import DIMENSIONS
from algo.support.held_folder import RunFolderError


def load_runs(paths: Sequence[Path], *, on_run: Callable[[], object] = lambda: None) -> list[RunFacts]:
    """Read run folders; each is named by the end of its path, long enough to tell it from the others.

    ``on_run`` is called after each.

    Raises:
        RunFolderError: for a folder that is given twice, holds no run, has no iteration yet, or has a damaged
            configuration or summary.
    """
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise RunFolderError(f"{path} is the same run as {seen[path.resolve()]}: give every run once")
        seen[path.resolve()] = path
    facts = []
    for path, label in zip(paths, _labels(list(seen)), strict=True):
        facts.append(_load(path, label))
        on_run()
    return facts


def _labels(paths: Sequence[Path]) -> list[str]:
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _load(path: Path, label: str) -> RunFacts:
    if not path.is_dir():
        raise RunFolderError(f"{path} is {'a file' if path.exists() else 'not there'}: give the folder of a run")
    folder = RunFolder.open(path)
    notes = list(folder.notes)
    steps = _sound(folder, notes)
    if not steps:
        raise RunFolderError(
            f"{path} has no whole iteration to report on: resume it first, rlu tune --resume --out {path}"
        )
    run = config_of(folder)
    planned = len(run.epsilons)
    config = run.flat
    best = max(steps, key=lambda step: step.reward)
    chip = chip_facts(path, run, steps)
    summary, deployments = folder.summary, []
    if summary is None:
        notes.append(
            f"this run is unfinished, at {len(steps)} of {planned} iterations: it has no found policy and no INT8 "
            f"baseline yet. Resume with: rlu tune --resume --out {path}"
        )
    else:
        names = {"baseline_int8": "INT8", "found": "found"}
        deployments = [_deployment(name, summary[key], chip) for key, name in names.items()]
        if summary["iterations"] != len(steps):
            notes.append(
                f"{SUMMARY} reports {summary['iterations']} iterations, but {TRACE} has {len(steps)} complete and "
                f"valid ones: curves, maps and counts cover only those"
            )
    deployments.append(_deployment_of(best, chip))
    accuracy_th = config.get("accuracy_th") if summary is None else summary["accuracy_th"]
    history = q_history(path, steps, run)
    if run.search.method not in UNITS and accuracy_th is not None:
        history = replace(history, mismatch=_wrong_score(steps, run, accuracy_th))
    effects = effect_history(path, steps, run, summary)
    notes += [one.mismatch for one in (history, effects) if one is not None and one.mismatch]
    return RunFacts(
        label=label,
        path=path,
        config=config,
        steps=tuple(steps),
        planned=planned,
        data=None if summary is None else summary["data"],
        accuracy_th=accuracy_th,
        deployments=tuple(deployments),
        q_history=history,
        notes=tuple(notes),
        chip=chip,
        golden_words=0 if summary is None else summary["golden_words_compared"],
        found_name="" if summary is None else found_name(summary),
        effects=effects,
    )


def _wrong_score(steps: Sequence[Step], run: TuneConfig, accuracy_th: float) -> str:
    """The first score that does not follow from what was measured, in a sentence; empty if all do."""
    scorer = Scorer(replace(run.objective.at(0.0), accuracy_th=accuracy_th))
    for step in steps:
        score = scorer.score(step.accuracy, Measurement(step.latency_ms, step.energy_uj))
        if score != step.reward:
            return (
                f"the score of iteration {step.iteration} is {step.reward:g}, but accuracy, latency and energy give "
                f"{score:g}: the trace was changed, or another version made it"
            )
    return ""


def _sound(folder: RunFolder, notes: list[str]) -> list[Step]:
    """The steps before the first that does not fit those before it; what is wrong with it goes to the notes."""
    for number, step in enumerate(folder.steps):
        rows, first = len(step.actions), len(folder.steps[0].actions)
        wrong = f"iteration is {step.iteration}, not {number}" if step.iteration != number else ""
        wrong = wrong or (f"actions are {rows}, not {first}" if rows != first else "")
        if wrong:
            notes.append(
                f"line {number + 1} of {folder.path / TRACE} is damaged: {wrong}; it and all later lines are left out"
            )
            return folder.steps[:number]
    return folder.steps


def _deployment(name: str, row: Mapping[str, Any], chip: ChipFacts) -> Deployment:
    chosen = {dimension: tuple(row[dimension]) for dimension in DIMENSIONS if dimension in row}
    return Deployment(name, chosen, **{key: row[key] for key in MEASURED}, size_mb=chip.size_mb(chosen))


def _deployment_of(step: Step, chip: ChipFacts) -> Deployment:
    return Deployment(
        "best seen", step.chosen, known(step.voltage_v), known(step.frequency_mhz), step.accuracy or 0.0,
        step.latency_ms, known(step.energy_uj), step.reward, chip.size_mb(step.chosen),
    )  # fmt: skip
