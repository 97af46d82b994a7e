"""Reads run folders for a report, and checks what they say; damage is told, never drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .chip import UNAVAILABLE
from .q_replay import q_history
from .report import found_name
from .report_chip import ChipFacts, chip_facts
from .report_data import Deployment, RunFacts, known
from .run_folder import SUMMARY, TRACE, RunFolder, RunFolderError
from .tuning import Step, parse_weights, schedule_of


def load_runs(paths: Sequence[Path], *, on_run: Callable[[], object] = lambda: None) -> list[RunFacts]:
    """Read run folders; each is called by as much of the end of its path as tells it from the others.

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
    config = folder.config
    notes = list(folder.notes)
    steps = _sound(folder, notes)
    if not steps:
        raise RunFolderError(
            f"{path} has no whole iteration to report on: go on with it first, rlu tune --resume --out {path}"
        )
    try:
        planned = len(schedule_of(config["schedule"], config.get("iterations")))
        parse_weights(config["objective"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunFolderError(f"{path} was made by another version, or its configuration is damaged: {error}") from None
    best = max(steps, key=lambda step: step.reward)
    chip = chip_facts(path, config, steps)
    summary, deployments = _summary(path), []
    if summary is None:
        notes.append(
            f"this run is unfinished, at {len(steps)} of {planned} iterations: it has no found policy and no INT8 "
            f"baseline yet. Go on with: rlu tune --resume --out {path}"
        )
    else:
        names = {"baseline_int8": "INT8", "found": "found"}
        deployments = [_deployment(path, name, summary.get(key), chip) for key, name in names.items()]
        if summary.get("iterations") != len(steps):
            notes.append(
                f"{SUMMARY} speaks of {summary.get('iterations')} iterations, but {TRACE} has {len(steps)} whole and "
                f"sound ones: curves, maps and counts cover those alone"
            )
    deployments.append(_deployment_of(best, chip))
    history = q_history(path, steps, config)
    if history.mismatch:
        notes.append(history.mismatch)
    return RunFacts(
        label=label,
        path=path,
        config=config,
        steps=tuple(steps),
        planned=planned,
        data=None if summary is None else str(summary.get("data")),
        accuracy_th=config.get("accuracy_th") if summary is None else summary.get("accuracy_th"),
        deployments=tuple(deployments),
        q_history=history,
        notes=tuple(notes),
        chip=chip,
        golden_words=0 if summary is None else int(summary.get("golden_words_compared") or 0),
        found_name="" if summary is None else found_name(summary),
    )


def _sound(folder: RunFolder, notes: list[str]) -> list[Step]:
    """The steps up to the first that cannot be right; what is wrong with it goes to the notes."""
    rows = len(folder.steps[0].actions) if folder.steps and isinstance(folder.steps[0].actions, tuple) else 0
    for number, step in enumerate(folder.steps):
        wrong = _wrong_with(step, number, rows)
        if wrong:
            notes.append(
                f"line {number + 1} of {folder.path / TRACE} is damaged: {wrong}; it and what follows are left out"
            )
            return folder.steps[:number]
    return folder.steps


def _wrong_with(step: Step, number: int, rows: int) -> str:
    if step.iteration != number:
        return f"iteration is {step.iteration!r}, not {number}"
    if step.served not in ("trained", "cached", "skipped"):
        return f"served is {step.served!r}"
    limits = {"epsilon": 1.0, "reward": 2.0, "voltage_v": math.inf, "frequency_mhz": math.inf}
    unavailable = ("voltage_v", "frequency_mhz", "energy_uj")
    for name, high in (limits | {"latency_ms": math.inf, "energy_uj": math.inf, "accuracy": 1.0}).items():
        value = getattr(step, name)
        if name == "accuracy" and value is None and step.served == "skipped":
            continue
        if name in unavailable and value is UNAVAILABLE:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high or value == math.inf:
            return f"{name} is {value!r}"
    for name, length in (("actions", rows), ("weight_bits", rows - 1), ("activation_bits", rows - 1)):
        values = getattr(step, name)
        if len(values) != length or length < 1 or not all(type(v) is int and 0 <= v <= 16 for v in values):
            return f"{name} are {values!r}"
    return ""


def _summary(path: Path) -> dict[str, Any] | None:
    """The summary, ``None`` if there is none yet."""
    if not (path / SUMMARY).exists():
        return None
    try:
        summary = json.loads((path / SUMMARY).read_text())
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(summary, dict):
        raise _damaged(path, "it is not an object")
    return summary


def _deployment(path: Path, name: str, fields: Any, chip: ChipFacts) -> Deployment:
    try:
        weight_bits = tuple(int(bits) for bits in fields["weight_bits"])
        activation_bits = tuple(int(bits) for bits in fields["activation_bits"])
        accuracy, latency, score = (float(fields[key]) for key in ("accuracy", "latency_ms", "score"))
        voltage, frequency, energy = (
            None if fields[key] is None else float(fields[key]) for key in ("voltage_v", "frequency_mhz", "energy_uj")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{name}: {type(error).__name__} {error}") from None
    if not all(math.isfinite(figure or 0.0) for figure in (voltage, frequency, accuracy, latency, energy, score)):
        raise _damaged(path, f"{name}: a figure is not finite")
    if len(weight_bits) != len(chip.layer_names) or len(activation_bits) != len(chip.layer_names):
        raise _damaged(path, f"{name}: bit-widths of other layers than the trace's")
    size = chip.size_mb(weight_bits)
    return Deployment(name, weight_bits, activation_bits, voltage, frequency, accuracy, latency, energy, score, size)


def _damaged(path: Path, what: str) -> RunFolderError:
    return RunFolderError(
        f"{path / SUMMARY} is damaged ({what}): move it away and finish the run again, rlu tune --resume --out {path}"
    )


def _deployment_of(step: Step, chip: ChipFacts) -> Deployment:
    return Deployment(
        "best seen", step.weight_bits, step.activation_bits, known(step.voltage_v), known(step.frequency_mhz),
        step.accuracy or 0.0, step.latency_ms, known(step.energy_uj), step.reward, chip.size_mb(step.weight_bits),
    )  # fmt: skip
