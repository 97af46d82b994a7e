"""A run is a folder: configuration, trace, checkpoint and results; always readable, resumable after any interruption.

See docs/use/run-folder.md for the files and for why a resumed run ends in the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algo.search.step import Step
from algo.space.dimensions import DIMENSIONS
from algo.support.user_files import check_object, check_type, parse_json, reading, shown
from sim.files import LOCK, FolderLock, write_atomically

CONFIG, TRACE, CHECKPOINT = "config.json", "trace.jsonl", "checkpoint.zip"
CHIP_TABLE, INPUTS = "chip.csv", "inputs.json"
Q_TABLE, SUMMARY, LEARNING_CURVE = "q_table.json", "summary.json", "learning-curve.png"


class RunFolderError(ValueError):
    """A run folder that cannot be used as asked; the message says why and what to do."""


#: What `reading` is to say of a file that nothing can replace.
DAMAGED = ("{} is damaged", "begin again with another --out", RunFolderError)
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


class RunFolder:
    """The folder of one run. Any number of processes may read it, and one at a time write to it.

    As a context manager, and for `algo.runs.tune.run`, it is held for writing until the end of the block. A run that
    was begun here and fails before its first iteration leaves nothing behind then.

    Args:
        path: the folder; `create` makes it, `open` expects it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.begun_here = False
        self._lock: FolderLock | None = None

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> RunFolder:
        """Begin a new run, and hold its folder for writing.

        Args:
            path: the folder.
            config: what the run depends on.

        Raises:
            RunFolderError: if there is something in the folder already.
            FolderInUse: if another process writes to it.
        """
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is a file, not a folder: choose another --out")
        folder = cls(path)
        folder._lock = FolderLock(path)
        try:
            if content(path):
                raise RunFolderError(f"{path} is not empty: continue it with --resume, or choose another --out")
            folder.begun_here = True
            write_atomically(path / CONFIG, json.dumps(config, indent=2) + "\n")
        except BaseException:
            folder.release()
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a run; `steps` holds its trace, `notes` what was recovered."""
        if not (path / CONFIG).exists():
            raise RunFolderError(f"{path} holds no run: it has no {CONFIG}")
        folder = cls(path)
        folder._read_trace()
        return folder

    def hold(self) -> None:
        """Take the folder for writing, unless it is held already; raises FolderInUse if another process has it."""
        if self._lock is None:
            self._lock = FolderLock(self.path)
            self._read_trace()  # again: another process may have continued it

    def release(self) -> None:
        """Let other processes write to the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunFolder:
        self.hold()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        # Ctrl-C is not a refusal: such a run can be resumed.
        if kind is not None and issubclass(kind, Exception) and self.begun_here and not self.steps and self._lock:
            for name in (CONFIG, INPUTS, CHIP_TABLE, TRACE):
                (self.path / name).unlink(missing_ok=True)
        self.release()

    @property
    def config(self) -> dict[str, Any]:
        """The configuration the run was begun with."""
        with reading(self.path / CONFIG, *DAMAGED):
            return dict(check_object(parse_json((self.path / CONFIG).read_bytes()), {}, "what it holds"))

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
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            header = {"iterations": len(self.steps), "unit": unit}
            archive.writestr("unit.json", json.dumps(header))
            archive.writestr("evaluator.bin", evaluator)
        write_atomically(self.path / CHECKPOINT, buffer.getvalue())

    def check_input(self, name: str, what: str, digest: str, say: Callable[[str], None]) -> None:
        """Refuse a file that is not as it was when the run was begun; before its first iteration, keep its digest.

        Args:
            name: under which the digest is kept.
            what: the file, as a message names it.
            digest: of its content as the run sees it.
            say: is told if an earlier version began the run, which kept no digests.

        Raises:
            RunFolderError: if the digest is another.
        """
        known = self.inputs
        if name in known and known[name] != digest:
            raise RunFolderError(
                f"{what} changed after the run in {self.path} began (SHA-256 {digest[:12]}..., not "
                f"{str(known[name])[:12]}...): put back what was there, or begin a new run with another --out"
            )
        if name not in known and self.steps:
            say(f"{self.path} was begun by a version that kept no digests: changes in {what} cannot be detected")
        elif name not in known and self._lock is not None:
            write_atomically(self.path / INPUTS, json.dumps(known | {name: digest}, indent=2) + "\n")

    @property
    def inputs(self) -> dict[str, Any]:
        """Digests of what the run was begun with, by name; empty if an earlier version began it."""
        path = self.path / INPUTS
        if not path.exists():
            return {}
        with reading(path, *DAMAGED):
            known = parse_json(path.read_bytes())
            check_type(known, dict[str, str], "what it holds")
            return dict(known)

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

    def write(self, name: str, content: str | bytes) -> None:
        """Write one of the results."""
        write_atomically(self.path / name, content)

    def _read_trace(self) -> None:
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


def put_aside(path: Path) -> Path:
    """Rename a file or folder that is in the way, and return its new path: its name with the first free number."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def content(path: Path) -> list[Path]:
    """What is in a folder, apart from a writer's lock; empty if the folder is missing."""
    return [there for there in path.iterdir() if there.name != LOCK] if path.is_dir() else []


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
