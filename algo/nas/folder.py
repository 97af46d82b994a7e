"""The folder of a search, for whoever reads or writes it; reading one needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from algo.nas.config import KIND, NasConfig
from algo.nas.latency_table import Floats, LatencyTable
from algo.support.held_folder import CONFIG, INPUTS, HeldFolder, RunFolderError, kind_of
from algo.support.user_files import check_object, parse_json, reading

TABLE, PROGRESS, STATE = "table.json", "progress.jsonl", "state.pt"
SCORES, FRONT, CHOICE, SUMMARY = "scores.json", "front.json", "choice.json", "summary.json"


_EPOCH: dict[str, Any] = {
    "epoch": int,
    **dict.fromkeys(
        ("loss", "accuracy", "expected_ms", "path_entropy", "bit_entropy", "temperature", "seconds"), float
    ),
}
_CHOICE: dict[str, Any] = {"chosen": str, "architecture": list[list[int]], "latency_ms": float}
_SUMMARY: dict[str, Any] = {
    **_CHOICE,
    "data": str,
    "limit_ms": float | None,
    "limit_bytes": float | None,
    "size_bytes": int,
    "published_choice": dict[str, Any],
    "collapsed": str | None,
    **dict.fromkeys(
        ("mixed_accuracy", "discrete_accuracy", "accuracy", "float_accuracy", "search_s", "training_s"), float
    ),
}


class NasFolder(HeldFolder):
    """The folder of a search."""

    beginnings = (CONFIG, INPUTS, TABLE)

    @property
    def started(self) -> bool:
        """Whether an epoch is done."""
        return (self.path / STATE).exists()

    @property
    def settings(self) -> NasConfig:
        """The configuration of the search; raises RunFolderError if the folder is not one of this version's."""
        with reading(self.path / CONFIG, "{} cannot be used", "begin a new search with another --out", RunFolderError):
            return NasConfig.from_json(self.config)

    @property
    def table(self) -> LatencyTable:
        """The table of the search."""
        return LatencyTable.read(self.path / TABLE)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """What is known of each epoch, as `algo.nas.search.Epoch` has it."""
        path = self.path / PROGRESS
        with reading(path, "{} is damaged", self._again(PROGRESS), RunFolderError):
            lines = path.read_text().splitlines() if path.exists() else []
            return [dict(check_object(parse_json(line), _EPOCH, "a line")) for line in lines]

    @property
    def summary(self) -> dict[str, Any] | None:
        """What a finished search found; ``None`` if it is unfinished."""
        return self._read(SUMMARY, _SUMMARY) if (self.path / SUMMARY).exists() else None

    @property
    def choice(self) -> dict[str, Any]:
        """The network taken, with its latency by the table and, on this machine, measured."""
        return self._read(CHOICE, _CHOICE)

    @property
    def front(self) -> list[dict[str, Any]]:
        """Every network that no other one beats, by rising latency; at least one."""
        found: list[dict[str, Any]] = self._read(FRONT, {"networks": list[dict[str, Any]]})["networks"]
        with reading(self.path / FRONT, "{} is damaged", self._again(FRONT), RunFolderError):
            if not found:
                raise ValueError("it has no networks")
            for one in found:
                check_object(one, {"architecture": list[list[int]], "score": float, "latency_ms": float}, "a network")
        return found

    @property
    def scores(self) -> Floats:
        """(blocks, options); raises RunFolderError before the search has come to them."""
        if not (self.path / SCORES).exists():
            raise RunFolderError(f"{self.path} has no scores yet: finish the search with --resume")
        return np.array(self._read(SCORES, {"scores": list[list[float]]})["scores"], dtype=np.float64)

    @property
    def scores_s(self) -> float:
        """Seconds that the scores took."""
        return float(self._read(SCORES, {"seconds": float})["seconds"])

    @property
    def probabilities(self) -> tuple[Floats, Floats]:
        """Probabilities at the end of the search: of paths (blocks, paths) and of bits (blocks, bits)."""
        found = self._read(SCORES, dict.fromkeys(("theta", "phi"), list[list[float]]))
        return np.array(found["theta"], dtype=np.float64), np.array(found["phi"], dtype=np.float64)

    def _again(self, name: str) -> str:
        """What to do about a damaged file that the end of a search writes."""
        files = "it" if name == SUMMARY else f"it and {SUMMARY}"
        return f"remove {files}, and make them again: rlu nas search --resume --out {self.path}"

    def _read(self, name: str, kinds: dict[str, Any]) -> dict[str, Any]:
        """A file's object, checked; an architecture in it is one of the space."""
        space = self.table.space
        with reading(self.path / name, "{} is damaged", self._again(name), RunFolderError):
            found = dict(check_object(parse_json((self.path / name).read_bytes()), kinds, "what it holds"))
            if "architecture" in kinds:
                space.checked(found["architecture"])
            return found


def is_search(path: Path) -> bool:
    """Whether a folder, or the one that it is in, is that of a search."""
    known = [config for config in (path / CONFIG, path.parent / CONFIG) if config.exists()]
    return bool(known) and kind_of(known[0]).startswith(KIND)
