"""A run is a folder: configuration, trace, checkpoint and results; always readable, resumable after any interruption.

See docs/use/run-folder.md for the files and for why a resumed run ends in the same bytes.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algo.search.step import Step
from algo.space.dimensions import DIMENSIONS
from algo.support.held_folder import CONFIG, DAMAGED, INPUTS, HeldFolder, RunFolderError, put_aside
from algo.support.user_files import check_object, check_type, parse_json, reading, shown
from algo.support.zipped import zipped
from sim.files import write_atomically

TRACE, CHECKPOINT, CHIP_TABLE = "trace.jsonl", "checkpoint.zip", "chip.csv"
Q_TABLE, SUMMARY, LEARNING_CURVE = "q_table.json", "summary.json", "learning-curve.png"

#: Types of what a summary says about a policy besides its values, and of all that it says.
MEASURED: dict[str, Any] = {
    "voltage_v": float | None,
    "frequency_mhz": float | None,
    "accuracy": float,
    "latency_ms": float,
    "energy_uj": float | None,
    "score": float,
}
_SUMMARY: dict[str, Any] = {
    "data": str,
    **dict.fromkeys(("iterations", "trained", "cached", "skipped", "golden_words_compared"), int),
    "accuracy_th": float,
    "found_how": str,
    "found_predicted": dict[str, Any],
    **dict.fromkeys(("baseline_int8", "found", "best_seen"), dict[str, Any]),
}
#: Parts of a summary that older runs, or those of other searches, do not have.
_OPTIONAL = ("found_how", "found_predicted")


class RunFolder(HeldFolder):
    """The folder of one tuning run; `algo.runs.tune.run` holds it.

    Attributes:
        steps: the trace.
        notes: what was recovered when it was read.
    """

    beginnings = (CONFIG, INPUTS, CHIP_TABLE, TRACE)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.steps: list[Step] = []
        self.notes: list[str] = []

    @property
    def started(self) -> bool:
        """Whether there are steps."""
        return bool(self.steps)

    @property
    def summary(self) -> dict[str, Any] | None:
        """What a finished run found, checked; ``None`` if it is unfinished. Raises RunFolderError."""
        path = self.path / SUMMARY
        if not path.exists():
            return None
        advice = f"make it again: rlu tune --resume --out {self.path}"
        with reading(path, "{} is damaged", advice, RunFolderError):
            summary = check_object(parse_json(path.read_bytes()), _SUMMARY, "what it holds", optional=_OPTIONAL)
            for name in ("baseline_int8", "found", "best_seen"):
                row = check_object(summary[name], MEASURED, name)
                chosen = {known: row[known] for known in DIMENSIONS if known in row}
                check_type(chosen, dict[str, list[int]], f"the values of {name}")
                counts = {len(values) for values in chosen.values()}
                if not chosen or len(counts) != 1:
                    raise ValueError(f"values of {name} are {shown(chosen)}, not as many of each dimension")
                if self.steps and counts != {len(values) for values in self.steps[0].chosen.values()}:
                    raise ValueError(f"values of {name} are {shown(chosen)}, not as many as in {TRACE}")
                for known, values in chosen.items():
                    low, high = DIMENSIONS[known].low, DIMENSIONS[known].high
                    if not values or not low <= min(values) <= max(values) <= high:
                        raise ValueError(f"{known} of {name} are {shown(values)}, not all in {low}..{high}")
            check_object(summary["best_seen"], {"iteration": int}, "best_seen")
            return dict(summary)

    def recover_summary(self, say: Callable[[str], None]) -> dict[str, Any] | None:
        """The `summary`; a damaged one is put aside, since the end of the run makes it again."""
        try:
            return self.summary
        except RunFolderError:
            path = self.path / SUMMARY
            say(f"{path} is damaged: it is put aside as {put_aside(path)} and made again")
            return None

    def append(self, step: Step) -> None:
        """Add a step to the trace; it counts once `save_checkpoint` has followed."""
        with (self.path / TRACE).open("a", encoding="utf-8") as trace:
            trace.write(step.line() + "\n")
            trace.flush()
            os.fsync(trace.fileno())
        self.steps.append(step)

    def save_checkpoint(self, unit: Mapping[str, object], evaluator: bytes) -> None:
        """Replace the checkpoint by one that continues after the last step, all of it or not at all."""
        header = json.dumps({"iterations": len(self.steps), "unit": unit})
        write_atomically(self.path / CHECKPOINT, zipped({"unit.json": header, "evaluator.bin": evaluator}))

    def load_checkpoint(self) -> tuple[dict[str, Any], bytes] | None:
        """State of unit and evaluator to resume from; ``None`` to begin at 0. The trace is cut to match.

        An interruption leaves one line more than the checkpoint knows. A trace with more of them is put aside first.

        Raises:
            RunFolderError: if the checkpoint is damaged, is missing after the first iteration, or says more than the
                trace.
        """
        saved, trace = self.read_checkpoint(), self.path / TRACE
        if saved is None and len(self.steps) > 1:
            raise RunFolderError(
                f"{trace} has {len(self.steps)} iterations, but {CHECKPOINT} is missing: put it back, or begin again "
                "with another --out"
            )
        iterations, unit, evaluator = saved or (0, {}, None)
        if len(self.steps) > iterations + 1:
            aside = put_aside(trace)
            self.notes.append(
                f"the checkpoint follows line {iterations} of {trace}, which has {len(self.steps)}: the rest is run "
                f"again; the trace so far is kept as {aside}"
            )
        self._keep(iterations)
        return None if evaluator is None else (unit, evaluator)

    def read_checkpoint(self) -> tuple[int, dict[str, Any], bytes] | None:
        """Iterations before the checkpoint, state of unit and evaluator; errors as of `load_checkpoint`."""
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        with reading(path, *DAMAGED):
            with zipfile.ZipFile(path) as archive:
                header, evaluator = parse_json(archive.read("unit.json")), archive.read("evaluator.bin")
            check_object(header, {"iterations": int, "unit": dict[str, Any]}, "unit.json")
            iterations, unit = header["iterations"], header["unit"]
            if iterations < 0:
                raise ValueError(f"iterations of unit.json must be 0 or more, not {shown(iterations)}")
        if iterations > len(self.steps):
            raise RunFolderError(
                f"{self.path / TRACE} has {len(self.steps)} whole lines, but the checkpoint follows line "
                f"{iterations}: the trace is damaged, begin again with another --out"
            )
        return iterations, unit, evaluator

    def check_steps(self, expected: Callable[[Step], Step]) -> None:
        """Refuse a trace that is not of this run.

        Args:
            expected: the step as it must be, from its actions and accuracy.

        Raises:
            RunFolderError: naming the first line and field that differ.
        """
        for number, step in enumerate(self.steps):
            try:
                fields, wanted = step.fields, expected(step).fields
            except ValueError as error:
                wrong = str(error)
            else:
                wanted["iteration"] = number
                if not (fields["reward"] and wanted["reward"]):
                    wanted["reward"] = fields["reward"]  # the threshold of accuracy may be near, on another machine
                name = next((name for name in wanted if fields.get(name) != wanted[name]), None)
                if name is None:
                    continue
                wrong = f"{name} is {shown(fields.get(name))}, not {shown(wanted[name])}"
            raise RunFolderError(
                f"line {number + 1} of {self.path / TRACE} is not of this run: {wrong}; put back what was there, or "
                "begin again with another --out"
            )

    def refresh(self) -> None:
        """Read the trace."""
        self.steps, self.notes = [], []
        path = self.path / TRACE
        whole, _, rest = (path.read_bytes() if path.exists() else b"").rpartition(b"\n")
        if rest:
            self.notes.append(f"the last line of {path} was cut short: its iteration is run again")
        for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
            try:
                self.steps.append(Step.from_line(line.decode("utf-8-sig")))
            except (ValueError, RecursionError) as error:
                self.notes.append(
                    f"line {number} of {path} is damaged ({error}): what follows it is run again if it can be"
                )
                break

    def _keep(self, iterations: int) -> None:
        """Cut the trace to the steps that the checkpoint knows."""
        self.steps = self.steps[:iterations]
        lines = "".join(step.line() + "\n" for step in self.steps)
        path = self.path / TRACE
        if not path.exists() or path.read_bytes() != lines.encode():
            write_atomically(path, lines)


def compare(left: RunFolder, right: RunFolder) -> str | None:
    """The first iteration and field in which two traces differ, in words; ``None`` if they agree."""
    for one, other in zip(left.steps, right.steps, strict=False):
        mine, theirs = one.fields, other.fields
        for name in dict.fromkeys([*mine, *theirs]):
            if mine.get(name) != theirs.get(name):
                ours, others = mine.get(name), theirs.get(name)
                return f"iteration {one.iteration}: {name} is {ours!r} in {left.path} and {others!r} in {right.path}"
    if len(left.steps) != len(right.steps):
        return f"{left.path} has {len(left.steps)} iterations, {right.path} has {len(right.steps)}"
    return None
