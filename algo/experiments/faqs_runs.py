"""Federated runs (`rlu fed run`) that several experiments share; each is a folder, and none is made twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from algo.experiments.base import Scale, Settings
from algo.experiments.hqnas_runs import quiet, seeds_of
from algo.fed.client import Client
from algo.fed.config import FedConfig
from algo.fed.folder import FedFolder
from algo.fed.slices import Floats
from algo.fed.wire import WireError
from algo.support.cells import kept_as, run_cells
from algo.support.held_folder import CONFIG, content, put_aside

#: Page of the results that these experiments are on.
PAGE = "faqs"
#: What runs share, by scale.
_SCALES: dict[Scale, dict[str, Any]] = {
    "quick": {
        "data": "digits", "space": "tiny", "train_images": 300, "test_images": 200, "clients": 4, "rounds": 3,
        "warmup": 1, "tuning_epochs": 1, "least_images": 10,
    },
    "cpu": {
        "data": "fashion-mnist", "space": "tiny", "train_images": 1600, "test_images": 1000, "rounds": 30, "warmup": 6,
        "tuning_epochs": 2,
    },
    "full": {"data": "fashion-mnist", "space": "small", "rounds": 100, "warmup": 20},
}  # fmt: skip
#: The preferences of the chapter's clients A, B and C: alpha, beta, gamma.
PREFERENCES = {"A": (0.8, 0.1, 0.1), "B": (0.4, 0.5, 0.1), "C": (0.4, 0.1, 0.5)}
_PERSONAL = ",".join("/".join(map(str, one)) for one in PREFERENCES.values())
#: What each run sets besides.
RUNS: dict[str, dict[str, Any]] = {
    "fedavg, 32 bits": {"method": "fedavg", "codec": "float32"},
    "fedavg, our codec": {"method": "fedavg"},
    "fedavg largest, our codec": {"method": "fedavg", "fixed": "largest"},
    "fednas, 28 bits": {"method": "fednas", "codec": "chapter-widths"},
    "fednas, our codec": {"method": "fednas"},
    "faqs, 16 bits": {"codec": "chapter"},
    "faqs, our codec": {},
    "personal": {"preferences": _PERSONAL},
    "fednas, 16 bits": {"method": "fednas", "codec": "chapter"},
    "faqs, 28 bits": {"codec": "chapter-widths"},
    "personal, 16 bits": {"preferences": _PERSONAL, "codec": "chapter"},
    "as client A, 16 bits": {"preferences": "/".join(map(str, PREFERENCES["A"])), "codec": "chapter"},
    "personal, 16 bits, all slices": {"preferences": _PERSONAL, "codec": "chapter", "slices": "all"},
    "1 bit": {"codec_bits": 1.0},
    "1.5 bits": {"codec_bits": 1.5},
    "3 bits": {"codec_bits": 3.0},
    "no feedback": {"feedback": "off"},
    **{
        f"lda {lda:g}, {method}": {"lda": lda, "method": method} for lda in (0.05, 1.0) for method in ("faqs", "fedavg")
    },
    **{f"lda {lda:g}, alone": {"lda": lda, "method": "fedavg", "fixed": "largest"} for lda in (0.05, 1.0)},
    **{name: {} for name in ("one silent", "one hostile", "one hostile, once", "two hostile")},
}


#: Runs that are not made, since their messages say what another run's say, with other bits a value: by name, that run
#: and how many times as many bytes its values have.
RECOUNTED = {"fednas, 16 bits": ("fednas, 28 bits", 16 / 28), "faqs, 28 bits": ("faqs, 16 bits", 28 / 16)}


@dataclass(frozen=True)
class FedRun:
    """One run; a cell of `run_cells`.

    Attributes:
        name: of `RUNS`.
        seed: of everything random.
        scale, data: see `Settings`.
        table: file of this machine's latency table.
        folder: of the run.
    """

    name: str
    seed: int
    scale: Scale
    data: str | None
    table: str
    folder: str

    @property
    def config(self) -> FedConfig:
        """Its configuration."""
        return config_of(self.name, self.scale, self.seed, self.table, self.data)


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        name, seed: see `FedRun`.
        summary, rounds: of its folder.
    """

    name: str
    seed: int
    summary: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]

    def curve(self) -> dict[str, Any]:
        """Bytes so far and mean accuracy, 0..1, after every round, as JSON holds them; and what the clients made."""
        each = [sum(one["parts"].values()) for one in self.rounds]
        return {
            "seed": self.seed,
            "bytes": list(accumulate(each)),
            "accuracy": [one["accuracy"] for one in self.rounds],
            "global_accuracy": [one["global_accuracy"] for one in self.rounds],
            "held": [_held(one) for one in self.rounds],
            "parts": {part: sum(one["parts"][part] for one in self.rounds) for part in self.rounds[0]["parts"]},
            "refused": [[int(client) for client in one["refused"]] for one in self.rounds],
            "tuned_accuracy": self.summary["tuned_accuracy"],
            "clients": list(self.summary["clients"]),
        }

    def recounted(self, name: str) -> Finished:
        """What a run of `RECOUNTED` would be: the same, but for its parts' values. Exact to half a byte a message."""
        times = RECOUNTED[name][1]
        rounds = [
            {**one, "parts": {**one["parts"], "values": round(times * one["parts"]["values"])}} for one in self.rounds
        ]
        return Finished(name, self.seed, self.summary, rounds)


def _held(round_: Mapping[str, Any]) -> float:
    """The share that clients hold, in the mean over those whose replies count."""
    counted = [own for client, own in enumerate(round_["held"]) if str(client) not in round_["refused"]]
    return float(np.mean(counted)) if counted else 0.0


class HostileClient(Client):
    """A client that sends the opposite of what it has learned, ``factor`` times."""

    factor = 3.0

    def _learned(self, held: Sequence[int]) -> list[Floats]:
        found = []
        for number, own in zip(held, super()._learned(held), strict=True):
            known = self.link.references[number]
            found.append(known - np.float32(self.factor) * (own - known))
        return found


class HostileOnce(HostileClient):
    """Sends the opposite once, so that nothing is too long."""

    factor = 1.0


class SilentClient(Client):
    """Never replies: what is lost without its images."""

    def answer(self, blob: bytes) -> bytes:
        """Raises `WireError`."""
        raise WireError("no reply")


#: The run whose clients train `alone`, for as many epochs.
ALONE = "fedavg largest, our codec"
#: Clients of runs that are not as they should be, by their numbers.
UNUSUAL: dict[str, dict[int, type[Client]]] = {
    "one silent": {0: SilentClient},
    "one hostile": {0: HostileClient},
    "one hostile, once": {0: HostileOnce},
    "two hostile": {0: HostileClient, 1: HostileClient},
}


def config_of(name: str, scale: Scale, seed: int, table: str, data: str | None = None) -> FedConfig:
    """The configuration of a run."""
    given = {"data": data} if data is not None else {}
    return FedConfig.of(**{"device": table, "seed": seed} | _SCALES[scale] | given | RUNS[name])


def description(settings: Settings, *names: str) -> dict[str, Any]:
    """What runs depend on, for an experiment's configuration, but for latencies: each machine has others."""
    configs = {name: config_of(name, settings.scale, 1, "measured", settings.data).to_json() for name in names}
    return {"runs": configs, "seeds": seeds_of(settings)}


def made(settings: Settings, *names: str) -> dict[str, list[Finished]]:
    """Runs by name, one a seed; unfinished ones are resumed, missing ones are made."""
    table, trained = table_of(settings), list(dict.fromkeys(RECOUNTED.get(name, (name,))[0] for name in names))
    cells = [
        FedRun(
            name, seed, settings.scale, settings.data, str(table),
            str((settings.out / "faqs" / f"{name.replace(', ', '-').replace(' ', '-')}-seed{seed}").resolve()),
        )
        for name in trained
        for seed in seeds_of(settings)
    ]  # fmt: skip
    run_cells(_made, cells, jobs=settings.jobs, label="federated runs")
    found: dict[str, list[Finished]] = {name: [] for name in trained}
    for cell in cells:
        folder = FedFolder.open(Path(cell.folder))
        assert folder.summary is not None, "_made has finished it"
        found[cell.name].append(Finished(cell.name, cell.seed, folder.summary, folder.rounds))
    return {
        name: [one.recounted(name) for one in found[RECOUNTED[name][0]]] if name in RECOUNTED else found[name]
        for name in names
    }


def alone(settings: Settings, name: str = ALONE) -> list[dict[str, Any]]:
    """The clients of a run without any messages, each with the largest network: curves as of `Finished.curve`."""
    table = str(table_of(settings))
    cells = [FedRun(name, seed, settings.scale, settings.data, table, "") for seed in seeds_of(settings)]
    found: list[dict[str, Any]] = run_cells(
        _alone, cells, folder=settings.out / "faqs" / "alone", jobs=settings.jobs, label="clients alone"
    )
    return found


@kept_as("faqs clients alone")
def _alone(cell: FedRun) -> dict[str, Any]:
    from algo.fed.federation import client_of
    from algo.fed.run import dataset_of, parts_of, shares_of
    from algo.nas.latency_table import LatencyTable
    from algo.nets.train.device_choice import training_device
    from algo.nets.train.sgd import reproducible

    config, table = cell.config, LatencyTable.read(Path(cell.table))
    with reproducible(config.threads, training_device()):
        dataset = dataset_of(config.partition)
        clients = [
            client_of(config, number, *parts_of(dataset, share), table)
            for number, share in enumerate(shares_of(config, dataset))
        ]
        rounds = range(config.rounds.rounds)
        accuracy = [float(np.mean([client.train_round(number)[1] for client in clients])) for number in rounds]
        finished = [client.finish(table) for client in clients]
    return {
        "seed": cell.seed,
        "bytes": [0 for _ in rounds],
        "accuracy": accuracy,
        "tuned_accuracy": float(np.mean([one["tuned_accuracy"] for one in finished])),
        "clients": finished,
    }


def table_of(settings: Settings) -> Path:
    """This machine's latency table, measured once a folder."""
    from algo.nas.config import space_of
    from algo.nas.latency_table import LatencyTable
    from algo.nas.measured_table import SECONDS, measured_table
    from algo.nets.data.datasets import load_dataset

    path = (settings.out / "faqs" / "table.json").resolve()
    if not path.exists():
        config = config_of("faqs, our codec", settings.scale, 1, "measured", settings.data)
        dataset = load_dataset(config.partition.data)
        channels, height, width = map(int, dataset.train_images.shape[1:])
        seconds = 0.0 if settings.scale == "quick" else SECONDS
        table: LatencyTable = measured_table(
            space_of(config.space), (channels, height, width), dataset.classes, seconds=seconds
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write(path)
    return path


def _made(cell: FedRun) -> None:
    from algo.fed.run import run

    path = Path(cell.folder)
    wanted = json.loads(json.dumps(cell.config.to_json()))
    if (path / CONFIG).exists() and FedFolder.open(path).config == wanted:
        folder = FedFolder.open(path)
    else:
        if content(path):
            put_aside(path)
        folder = FedFolder.create(path, cell.config.to_json())
    unusual = UNUSUAL.get(cell.name, {})
    run(cell.config, folder, quiet, kind=lambda number: unusual.get(number, Client))


def at_bytes(curve: Mapping[str, Any], most: float) -> float:
    """The accuracy after the last rounds whose bytes so far are at most so many, as of `end`; 0 before the first."""
    done = [accuracy for count, accuracy in zip(curve["bytes"], curve["accuracy"], strict=True) if count <= most]
    return end({"accuracy": done}) if done else 0.0


def end(curve: Mapping[str, Any], rounds: int = 5) -> float:
    """Mean accuracy of the last rounds, 0..1: single rounds differ by chance."""
    return float(np.mean(curve["accuracy"][-rounds:]))
