"""The folder of a search, for whoever reads or writes it; reading one needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from algo.nas.config import NasConfig
from algo.nas.latency_table import Floats, LatencyTable
from algo.support.held_folder import CONFIG, INPUTS, HeldFolder, RunFolderError
from algo.support.user_files import check_object, parse_json, reading

TABLE, PROGRESS, STATE = "table.json", "progress.jsonl", "state.pt"
SCORES, FRONT, CHOICE, SUMMARY = "scores.json", "front.json", "choice.json", "summary.json"


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
        with reading(self.path / CONFIG, "{} cannot be used", "name the folder of a search", RunFolderError):
            return NasConfig.from_json(self.config)

    @property
    def table(self) -> LatencyTable:
        """The table of the search."""
        return LatencyTable.read(self.path / TABLE)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """What is known of each epoch."""
        path = self.path / PROGRESS
        with reading(path, "{} is damaged", raises=RunFolderError):
            lines = path.read_text().splitlines() if path.exists() else []
            return [dict(check_object(parse_json(line), {"epoch": int}, "a line")) for line in lines]

    @property
    def summary(self) -> dict[str, Any] | None:
        """What a finished search found; ``None`` if it is unfinished."""
        return self._read(SUMMARY) if (self.path / SUMMARY).exists() else None

    @property
    def choice(self) -> dict[str, Any]:
        """The network taken, with its latency by the table and, on this machine, measured."""
        return self._read(CHOICE)

    @property
    def front(self) -> list[dict[str, Any]]:
        """Every network that no other one beats, by rising latency."""
        found: list[dict[str, Any]] = self._read(FRONT)["networks"]
        return found

    @property
    def scores(self) -> Floats:
        """(blocks, options); raises RunFolderError before the search has come to them."""
        if not (self.path / SCORES).exists():
            raise RunFolderError(f"{self.path} has no scores yet: finish the search with --resume")
        with reading(self.path / SCORES, "{} is damaged", raises=RunFolderError):
            return np.array(self._read(SCORES)["scores"], dtype=np.float64)

    def _read(self, name: str) -> dict[str, Any]:
        with reading(self.path / name, "{} is damaged", raises=RunFolderError):
            return dict(check_object(parse_json((self.path / name).read_bytes()), {}, "what it holds"))


def is_search(path: Path) -> bool:
    """Whether a folder, or the one that it is in, is that of a search."""
    for folder in (path, path.parent):
        if (folder / CONFIG).exists():
            try:
                return '"rlu nas search' in (folder / CONFIG).read_text()[:200]
            except (OSError, UnicodeError):
                return False
    return False
