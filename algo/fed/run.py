"""A federated run in a folder, from data to a network for every client: whatever stops it, it goes on to the same."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from algo.fed.config import FedConfig
from algo.fed.federation import Federation, Round
from algo.fed.folder import ROUNDS, STATE, SUMMARY, FedFolder
from algo.fed.learners import accuracy, learn
from algo.nas.run import table_in
from algo.nas.sizes import sizes_of
from algo.nets.data.datasets import load_dataset
from algo.nets.train.device_choice import training_device
from algo.nets.train.sgd import reproducible
from algo.support.held_folder import RunFolderError
from algo.support.user_files import reading


def run(
    config: FedConfig,
    folder: FedFolder,
    say: Callable[[str], None],
    on_round: Callable[[Round], None] = lambda round_: None,
) -> dict[str, Any]:
    """All rounds, and each client's own training after them, from wherever the folder is.

    Args:
        config: of the run; the folder's own if it is resumed.
        folder: new, or of an interrupted run.
        say: is told what a user should know.
        on_round: is told of every round.

    Returns:
        The summary.

    Raises:
        ValueError: for data, a partition or a table that do not go together, before anything is trained.
    """
    with folder, reproducible(config.threads, training_device()):
        done = folder.summary
        if done is not None:
            return done
        part = config.partition
        dataset = load_dataset(part.data, Path(part.data_folder) if part.data_folder else None)
        folder.check_input("data", f"data {part.data}", dataset.digest(), say)
        federation = Federation(config, dataset, table_in(folder, config.space, dataset))
        if folder.started:
            with reading(folder.path / STATE, "{} is damaged", "begin again with another --out", RunFolderError):
                federation.restore((folder.path / STATE).read_bytes())
        _rounds(federation, folder, on_round)
        return _finished(federation, folder, dataset.name)


def _rounds(federation: Federation, folder: FedFolder, on_round: Callable[[Round], None]) -> None:
    clients, wanted = len(federation.clients), federation.config.rounds.rounds
    for record in federation.rounds:
        on_round(record)
    with tqdm(total=wanted, initial=len(federation.rounds), unit="round", disable=None, file=sys.stderr) as bar:
        while not federation.finished:
            start = len(federation.rounds)

            def on_client(client: int, start: int = start) -> None:
                bar.n = round(start + (client + 1) / clients, 2)
                bar.update(0)

            record = federation.round(time.perf_counter, on_client)
            folder.write(STATE, federation.state())
            folder.write(ROUNDS, "".join(json.dumps(one.to_json()) + "\n" for one in federation.rounds))
            bar.set_postfix_str(
                f"accuracy {record.accuracy:.3f}, {(record.pulled_bytes + record.pushed_bytes) / 1e3:.0f} kB",
                refresh=False,
            )
            on_round(record)


def _finished(federation: Federation, folder: FedFolder, data: str) -> dict[str, Any]:
    """Train every client's own network on its images, and write the summary."""
    config, rounds, table = federation.config, federation.rounds, federation.table
    sizes = sizes_of(table)
    clients = []
    for client in federation.clients:
        learner = client.learner
        train, test = federation.train_set(client.number), federation.test_set(client.number)
        before = accuracy(learner.network, *test)
        generator = torch.Generator().manual_seed(config.seed + 104_729 * (client.number + 1))
        for _ in range(config.rounds.tuning_epochs):
            learn(learner, *train, federation.recipe, generator, searching=False)
        options = learner.chosen()
        architecture = tuple(option for option in options if option is not None)
        whole = len(architecture) == len(options)
        clients.append(
            {
                "client": client.number,
                "images": len(train[0]),
                "preference": list(federation.preferences[client.number]),
                "accuracy": before,
                "tuned_accuracy": accuracy(learner.network, *test),
                "options": [None if option is None else list(option) for option in options],
                "latency_ms": table.ms(architecture) if whole else None,
                "size_bytes": sizes.of(architecture) if whole else None,
            }
        )
    summary = {
        "data": data,
        "method": config.method.method,
        "codec": config.messages.codec,
        "rounds": len(rounds),
        "bytes": sum(one.pulled_bytes + one.pushed_bytes for one in rounds),
        "accuracy": float(np.mean([one["accuracy"] for one in clients])),
        "tuned_accuracy": float(np.mean([one["tuned_accuracy"] for one in clients])),
        "clients": clients,
        "seconds": sum(one.seconds for one in rounds),
    }
    folder.write(SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary
