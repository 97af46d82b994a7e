"""A federation in one process: all clients of a partition, and the server, round by round.

Messages are the blobs that would travel, so their bytes are counted as they are. What comes after the last round is
each client's own: its network, trained further on its own images.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from algo.fed.codec import Chapter, Codec, Differences, Float32
from algo.fed.config import FedConfig, preferences_of
from algo.fed.learners import METHODS, Learner, Preference, Recipe, accuracy
from algo.fed.partition import Share, partition
from algo.fed.round_parts import Client, Server
from algo.nas.latency_table import LatencyTable
from algo.nets.data.datasets import Dataset
from algo.nets.train.device_choice import training_device
from algo.nets.train.sgd import tensors


@dataclass(frozen=True)
class Round:
    """What is known after a round.

    Attributes:
        round: its number, from 1.
        accuracy: mean over the clients, on their own test images, after their training, 0..1.
        global_accuracy: the same of what the server sent them, before their training.
        pulled_bytes, pushed_bytes: of all clients in this round: sent to them, and by them.
        held: share of the weights that clients hold, mean.
        refused: by client, why its reply did not count.
        seconds: that it took.
    """

    round: int
    accuracy: float
    global_accuracy: float
    pulled_bytes: int
    pushed_bytes: int
    held: float
    refused: dict[int, str]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As an object for JSON."""
        return asdict(self)


def codec_of(config: FedConfig) -> Codec:
    """The codec of a configuration."""
    messages = config.messages
    if messages.codec == "differences":
        return Differences(messages.codec_bits)
    return Chapter() if messages.codec == "chapter" else Float32()


class Federation:
    """Server and clients of a run.

    Args:
        config: of the run.
        dataset: its images.
        table: latencies of its space and images.

    Attributes:
        shares: the images of each client.
        clients, server: the parts.
        rounds: what is known of each round.

    Raises:
        PartitionError: if the images cannot be dealt out.
    """

    def __init__(self, config: FedConfig, dataset: Dataset, table: LatencyTable) -> None:
        self.config, self.table = config, table
        part = config.partition
        self.shares: list[Share] = partition(
            dataset.train_labels, dataset.test_labels, part.clients, part.lda, config.seed, part.least_images,
            part.train_images,
        )  # fmt: skip
        self._dataset = dataset
        rounds = config.rounds
        steps = max(1, (rounds.rounds - rounds.warmup) * rounds.local_epochs)
        mean_images = float(np.mean([len(one.train) for one in self.shares]))
        self.recipe = Recipe(
            rounds.local_epochs, rounds.batch_size, rounds.learning_rate, rounds.momentum, rounds.weight_decay,
            rounds.reach / (steps * max(1.0, mean_images / rounds.batch_size)),
        )  # fmt: skip
        wanted = preferences_of(config.method.preferences)
        self.preferences = [Preference(*wanted[number % len(wanted)]) for number in range(part.clients)]
        self.clients = [
            Client(
                number, self._learner(preference), *self.train_set(number), codec_of(config), self.recipe,
                config.seed + 7919 * (number + 1),
            )
            for number, preference in enumerate(self.preferences)
        ]  # fmt: skip
        self.server = Server(self._learner(Preference()), part.clients, codec_of(config))
        self.rounds: list[Round] = []

    def train_set(self, client: int) -> tuple[Tensor, Tensor]:
        """A client's images and labels to train on."""
        own = self.shares[client].train
        return tensors(self._dataset.train_images[own], self._dataset.train_labels[own], training_device())

    def test_set(self, client: int) -> tuple[Tensor, Tensor]:
        """A client's images and labels to test with."""
        own = self.shares[client].test
        return tensors(self._dataset.test_images[own], self._dataset.test_labels[own], training_device())

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return len(self.rounds) >= self.config.rounds.rounds

    def round(self, clock: Callable[[], float], on_client: Callable[[int], None] = lambda client: None) -> Round:
        """One round of all clients; ``on_client`` is told of each that is done."""
        start, number = clock(), len(self.rounds)
        searching = number >= self.config.rounds.warmup
        pulled = pushed = 0
        replies: dict[int, bytes] = {}
        before: list[float] = []
        after: list[float] = []
        layout = self.server.learner.layout
        whole = layout.count(range(len(layout.slices)))
        held = []
        for client in self.clients:
            blob = self.server.message(client.number)
            pulled += len(blob)
            test = self.test_set(client.number)

            def judge(learner: Learner, test: tuple[Tensor, Tensor] = test) -> None:
                before.append(accuracy(learner.network, *test))

            reply = client.answer(blob, searching, judge)
            pushed += len(reply)
            replies[client.number] = reply
            after.append(accuracy(client.learner.network, *test))
            held.append(layout.count(client.learner.held(client.learner.options())) / whole)
            on_client(client.number)
        refused = self.server.take(replies)
        record = Round(
            number + 1, float(np.mean(after)), float(np.mean(before)), pulled, pushed, float(np.mean(held)), refused,
            clock() - start,
        )  # fmt: skip
        self.rounds.append(record)
        return record

    def state(self) -> bytes:
        """Everything that the next round depends on, and the rounds so far."""
        buffer = io.BytesIO()
        torch.save(
            {
                "server": self.server.state(),
                "clients": [client.state() for client in self.clients],
                "rounds": [one.to_json() for one in self.rounds],
            },
            buffer,
        )
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on from what `state` gave."""
        content = torch.load(io.BytesIO(state), weights_only=True, map_location=training_device())
        self.server.restore(content["server"])
        for client, own in zip(self.clients, content["clients"], strict=True):
            client.restore(own)
        self.rounds = [Round(**one) for one in content["rounds"]]

    def _learner(self, preference: Preference) -> Learner:
        """A fresh learner, whose weights the seed decides: the same at the server and at every client."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.config.seed)
            learner = METHODS[self.config.method.method](self.table, preference)
        learner.network.to(training_device())
        return learner
