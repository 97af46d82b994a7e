"""A federated run in a folder, from data to a network for every client: whatever stops it, it goes on to the same."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from algo.fed import own_network
from algo.fed.client import Client, Part
from algo.fed.config import FedConfig, PartitionConfig
from algo.fed.federation import Federation, Round, check_zip, client_of
from algo.fed.folder import LAYOUT, NETWORKS, ROUNDS, STATE, SUMMARY, FedFolder
from algo.fed.layout_file import layout_json
from algo.fed.partition import Share, partition
from algo.fed.transport import InProcess, Transport
from algo.nas.latency_table import LatencyTable
from algo.nas.run import table_in
from algo.nets.data.datasets import Dataset, load_dataset
from algo.nets.train.device_choice import training_device
from algo.nets.train.sgd import reproducible, tensors
from algo.support.held_folder import RunFolderError
from algo.support.user_files import reading


def run(
    config: FedConfig,
    folder: FedFolder,
    say: Callable[[str], None],
    on_round: Callable[[Round], None] = lambda round_: None,
    kind: Callable[[int], type[Client]] = lambda number: Client,
) -> dict[str, Any]:
    """All rounds with clients of this process, and each client's own training after them, from wherever the folder is.

    Args:
        config: of the run; the folder's own if it is resumed.
        folder: new, or of an interrupted run.
        say: is told what a user should know.
        on_round: is told of every round.
        kind: of each client, by its number.

    Returns:
        The summary.

    Raises:
        ValueError: for data, a partition or a table that do not go together, before anything is trained.
    """
    with folder, reproducible(config.threads, training_device()):
        done = folder.summary
        if done is not None:
            mend_rounds(folder, done)
            return done
        dataset = dataset_of(config.partition)
        folder.check_input("data", f"data {config.partition.data}", dataset.digest(), say)
        table = table_in(folder, config.space, dataset)
        clients = [
            client_of(config, number, *parts_of(dataset, share), table, kind=kind(number))
            for number, share in enumerate(shares_of(config, dataset))
        ]

        def keep(client: Client) -> None:
            (folder.path / NETWORKS).mkdir(exist_ok=True)
            content = own_network.file_of(config, table, client.learner, client.train[0])
            folder.write(f"{NETWORKS}/{client.number}.pt", content)

        return hosted(config, folder, table, InProcess(clients, [table] * len(clients), keep), dataset.name, on_round)


def hosted(
    config: FedConfig,
    folder: FedFolder,
    table: LatencyTable,
    transport: Transport,
    data: str,
    on_round: Callable[[Round], None] = lambda round_: None,
) -> dict[str, Any]:
    """All rounds, and what the clients make of their networks after them; the folder must be held.

    Args:
        config: of the run.
        folder: of the run, wherever it is.
        table: latencies of its space.
        transport: to the clients.
        data: what they learn from, for the summary.
        on_round: is told of every round.

    Returns:
        The summary.
    """
    federation = Federation(config, table, transport)
    if not (folder.path / LAYOUT).exists():
        content = layout_json(federation.server.learner, table.space)
        folder.write(LAYOUT, json.dumps(content) + "\n")
    if folder.started:
        with reading(folder.path / STATE, "{} is damaged", "begin again with another --out", RunFolderError):
            federation.restore((folder.path / STATE).read_bytes())
    _rounds(federation, folder, on_round)
    return _finished(federation, folder, data)


def mend_rounds(folder: FedFolder, summary: Mapping[str, Any]) -> None:
    """Write the rounds of a finished run again, if their file is not whole."""
    try:
        whole = len(folder.rounds) == summary["rounds"]
    except RunFolderError:
        whole = False
    path = folder.path / STATE
    if not whole:
        with folder, reading(path, "{} is damaged", "begin again with another --out", RunFolderError):
            content = path.read_bytes()
            check_zip(content)
            _write_rounds(folder, torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")["rounds"])


def _write_rounds(folder: FedFolder, rounds: Sequence[Mapping[str, Any]]) -> None:
    folder.write(ROUNDS, "".join(json.dumps(one) + "\n" for one in rounds))


def dataset_of(config: PartitionConfig) -> Dataset:
    """The images of a configuration; errors as of `load_dataset`."""
    return load_dataset(config.data, Path(config.data_folder) if config.data_folder else None)


def shares_of(config: FedConfig, dataset: Dataset) -> list[Share]:
    """Who has which images; errors as of `partition`."""
    part = config.partition
    return partition(
        dataset.train_labels, dataset.test_labels, part.clients, part.lda, config.seed, part.least_images,
        part.train_images, part.test_images,
    )  # fmt: skip


def parts_of(dataset: Dataset, share: Share) -> tuple[Part, Part]:
    """A client's images and labels to train on and to test with, on the training device."""
    device = training_device()
    return (
        tensors(dataset.train_images[share.train], dataset.train_labels[share.train], device),
        tensors(dataset.test_images[share.test], dataset.test_labels[share.test], device),
    )


def _rounds(federation: Federation, folder: FedFolder, on_round: Callable[[Round], None]) -> None:
    clients, wanted = federation.config.partition.clients, federation.config.rounds.rounds
    for record in federation.rounds:
        on_round(record)
    if federation.rounds:  # a killed process may have kept the state alone
        _write_rounds(folder, [one.to_json() for one in federation.rounds])
    with tqdm(total=wanted, initial=len(federation.rounds), unit="round", disable=None, file=sys.stderr) as bar:
        while not federation.finished:
            start = len(federation.rounds)

            def on_reply(count: int, start: int = start) -> None:
                bar.n = round(start + count / clients, 2)
                bar.update(0)

            record = federation.round(time.perf_counter, on_reply)
            folder.write(STATE, federation.state())
            _write_rounds(folder, [one.to_json() for one in federation.rounds])
            bar.set_postfix_str(
                f"accuracy {record.accuracy:.3f}, {record.all_bytes / 1e3:.0f} kB, "
                f"{clients - len(record.refused)} of {clients} clients",
                refresh=False,
            )
            on_round(record)


def _finished(federation: Federation, folder: FedFolder, data: str) -> dict[str, Any]:
    """Let every client train its own network, and write the summary."""
    config, rounds = federation.config, federation.rounds
    told = federation.transport.finish()
    clients = [one for _, one in sorted(told.items()) if not isinstance(one, str)]
    summary = {
        "data": data,
        "method": config.method.method,
        "codec": config.messages.codec,
        "rounds": len(rounds),
        "bytes": sum(one.all_bytes for one in rounds),
        "accuracy": float(np.mean([one["accuracy"] for one in clients])) if clients else 0.0,
        "tuned_accuracy": float(np.mean([one["tuned_accuracy"] for one in clients])) if clients else 0.0,
        "clients": clients,
        "missing": {str(client): one for client, one in sorted(told.items()) if isinstance(one, str)},
        "seconds": sum(one.seconds for one in rounds),
    }
    folder.write(SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary
