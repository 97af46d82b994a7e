"""The folder of a federated run, for whoever reads or writes it; reading one needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from algo.fed.config import KIND, FedConfig
from algo.fed.finished import checked
from algo.nas.folder import TABLE
from algo.nas.latency_table import LatencyTable
from algo.support.held_folder import CONFIG, INPUTS, HeldFolder, RunFolderError, kind_of
from algo.support.user_files import check_object, parse_json, reading

STATE, ROUNDS, SUMMARY = "state.pt", "rounds.jsonl", "summary.json"
#: Names, shapes and slices of the tensors that travel; see `algo.fed.layout_file`.
LAYOUT = "layout.json"
#: Folder with each client's own network, of clients in the process of the server.
NETWORKS = "networks"
#: Folder with the folders of clients that are processes of the same machine.
CLIENTS = "clients"
_ROUND: dict[str, Any] = {
    "round": int, "accuracy": float, "global_accuracy": float, "pulled_bytes": list[int], "pushed_bytes": list[int],
    "parts": dict[str, int], "held": list[float], "refused": dict[str, str], "seconds": float,
}  # fmt: skip
_SUMMARY: dict[str, Any] = {
    "data": str, "method": str, "codec": str, "rounds": int, "bytes": int, "accuracy": float, "tuned_accuracy": float,
    "clients": list[dict[str, Any]], "missing": dict[str, str], "seconds": float,
}  # fmt: skip


def is_federation(path: Path) -> bool:
    """Whether a folder is that of a federated run."""
    return (path / CONFIG).exists() and kind_of(path / CONFIG).startswith(KIND)


class FedFolder(HeldFolder):
    """The folder of a federated run."""

    beginnings = (CONFIG, INPUTS, TABLE, LAYOUT)

    @property
    def started(self) -> bool:
        """Whether a round is done."""
        return (self.path / STATE).exists()

    @property
    def settings(self) -> FedConfig:
        """The configuration; raises RunFolderError if the folder is not one of this version's."""
        with reading(self.path / CONFIG, "{} cannot be used", "begin a new run with another --out", RunFolderError):
            return FedConfig.from_json(self.config)

    @property
    def table(self) -> LatencyTable:
        """The latencies of the run."""
        return LatencyTable.read(self.path / TABLE)

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """What is known of each round, as `algo.fed.federation.Round` has it."""
        path = self.path / ROUNDS
        with reading(path, "{} is damaged", self._again, RunFolderError):
            lines = path.read_text().splitlines() if path.exists() else []
            return [dict(check_object(parse_json(line), _ROUND, "a line")) for line in lines]

    @property
    def summary(self) -> dict[str, Any] | None:
        """What a finished run came to; ``None`` if it is unfinished."""
        path = self.path / SUMMARY
        if not path.exists():
            return None
        with reading(path, "{} is damaged", self._again, RunFolderError):
            found = dict(check_object(parse_json(path.read_bytes()), _SUMMARY, "what it holds"))
            for one in found["clients"]:
                checked(one, "a client")
            return found

    @property
    def _again(self) -> str:
        return f"remove it, and make it again: rlu fed run --resume --out {self.path}"
