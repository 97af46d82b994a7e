"""A federation, round by round, however its messages travel; and its parts made from a configuration."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from algo.fed.client import Client, Part, Schedule
from algo.fed.codec import Chapter, ChapterWidths, Codec, Differences, Float32
from algo.fed.config import FedConfig, preferences_of
from algo.fed.fresh import begin
from algo.fed.learners import METHODS, Learner, Preference, Recipe
from algo.fed.link import groups_of
from algo.fed.server import Server
from algo.fed.transport import InProcess, NotSent, Transport
from algo.fed.wire import Message
from algo.nas.latency_table import LatencyTable
from algo.nets.saving import saved
from algo.nets.train.device_choice import training_device


@dataclass(frozen=True)
class Round:
    """What is known after a round.

    Attributes:
        round: its number, from 1.
        accuracy: mean over the clients whose replies count, on their own test images, after their training, 0..1.
        global_accuracy: the same of what the server sent them, before their training.
        pulled_bytes, pushed_bytes: by client: length of the message to it, if it was sent, and of its reply, if there
            is one.
        parts: bytes of these by what they are: heads, scales (ranges, steps, frequencies), values; others are those of
            blobs that are no valid messages.
        held: share of the weights that the network of each client uses, by client; 0 if its reply does not
            count.
        refused: by client, why its reply does not count.
        seconds: that it took.
    """

    round: int
    accuracy: float
    global_accuracy: float
    pulled_bytes: list[int]
    pushed_bytes: list[int]
    parts: dict[str, int]
    held: list[float]
    refused: dict[int, str]
    seconds: float

    @property
    def all_bytes(self) -> int:
        """Of all messages, both ways."""
        return sum(self.pulled_bytes) + sum(self.pushed_bytes)

    def to_json(self) -> dict[str, Any]:
        """As an object for JSON."""
        return asdict(self)


def check_zip(content: bytes) -> None:
    """Raise ValueError for a file of torch's with a wrong checksum, which torch does not look at."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        if damaged := file.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")


def codec_of(config: FedConfig) -> Codec:
    """The codec of a configuration."""
    messages = config.messages
    codecs: dict[str, Callable[[], Codec]] = {
        "differences": lambda: Differences(messages.codec_bits), "chapter": Chapter, "chapter-widths": ChapterWidths,
        "float32": Float32,
    }  # fmt: skip
    return codecs[messages.codec]()


def learner_of(config: FedConfig, table: LatencyTable, preference: Preference) -> Learner:
    """A fresh learner, whose weights the seed decides: the same at the server and at every client.

    Args:
        config: of the run.
        table: latencies of the device, of the run's space.
        preference: of the client.
    """
    with torch.random.fork_rng(devices=()):
        learner = METHODS[config.method.method](table, preference, config.method)
    begin(learner, config.seed)
    # Convolutions are faster in channels last.
    learner.network.to(training_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return learner


def preference_of(config: FedConfig, client: int) -> Preference:
    """What a client prefers, unless it says so itself."""
    wanted = preferences_of(config.method.preferences)
    return Preference(*wanted[client % len(wanted)])


def client_of(
    config: FedConfig,
    number: int,
    train: Part,
    test: Part,
    table: LatencyTable,
    preference: Preference | None = None,
    kind: type[Client] = Client,
) -> Client:
    """A client of a run.

    Args:
        config: of the run.
        number: of the client.
        train, test: its images and labels, on the training device.
        table: latencies of its device.
        preference: its own; ``None`` for the run's.
        kind: of client.
    """
    rounds = config.rounds
    # A step of Adam is about as long as its rate. So all steps together can go about as far as `reach`.
    searched = max(1, rounds.rounds - rounds.warmup) * rounds.local_epochs * max(1, len(train[0]) // rounds.batch_size)
    recipe = Recipe(
        rounds.local_epochs, rounds.batch_size, rounds.learning_rate, rounds.momentum, rounds.weight_decay,
        rounds.reach / searched,
    )  # fmt: skip
    schedule = Schedule(recipe, rounds.warmup, rounds.tuning_epochs)
    wanted = preference or preference_of(config, number)
    learner, seed = learner_of(config, table, wanted), config.seed + 7919 * (number + 1)
    feeds_back = config.messages.feedback == "on"
    return kind(number, learner, train, test, codec_of(config), schedule, seed, wanted, feeds_back)


class Federation:
    """The server of a run, and the way to its clients.

    Args:
        config: of the run.
        table: latencies of the run's space, for images of the clients' shape and classes.
        transport: to the clients.

    Attributes:
        server: with the averages.
        rounds: what is known of each that is done.
    """

    def __init__(self, config: FedConfig, table: LatencyTable, transport: Transport) -> None:
        self.config, self.transport, self.rounds = config, transport, list[Round]()
        self.server = Server(
            learner_of(config, table, Preference()), config.partition.clients, codec_of(config), config.messages.clip,
            config.messages.trim,
        )  # fmt: skip

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return len(self.rounds) >= self.config.rounds.rounds

    def round(self, clock: Callable[[], float], on_reply: Callable[[int], None] = lambda count: None) -> Round:
        """One round of all clients; ``on_reply`` is told how many have replied."""
        start, count, server = clock(), self.config.partition.clients, self.server
        messages = {client: server.message(client) for client in range(count)}
        replies = self.transport.exchange(messages, on_reply)
        counted, refused = server.take(replies)
        sent = {client: own for client, own in messages.items() if not isinstance(replies.get(client), NotSent)}
        learner, held = server.learner, [0.0] * count
        whole = learner.layout.count(range(len(learner.layout.slices)))
        for client, message in counted.items():
            held[client] = learner.layout.count(learner.held(message.options)) / whole
        before, after = ([one.accuracies[place] or 0.0 for one in counted.values()] for place in (0, 1))
        record = Round(
            len(self.rounds) + 1, float(np.mean(after)) if after else 0.0, float(np.mean(before)) if before else 0.0,
            [len(sent.get(client, b"")) for client in range(count)],
            [len(reply) if isinstance(reply := replies.get(client), bytes) else 0 for client in range(count)],
            self._parts([*sent.values(), *(one for one in replies.values() if isinstance(one, bytes))]),
            held, refused, clock() - start,
        )  # fmt: skip
        self.rounds.append(record)
        return record

    def _parts(self, blobs: Sequence[bytes]) -> dict[str, int]:
        """Bytes of some messages by what they are."""
        layout, found = self.server.learner.layout, dict.fromkeys(("heads", "scales", "values", "others"), 0)
        link = self.server.link(0)
        for blob in blobs:
            try:
                message = Message.unpack(blob, layout.digest, len(self.server.learner.options()), link.most_bytes())
                scales = 0
                if message.payload:
                    codec = link.codec_of(message.codec)
                    scales = codec.scale_bytes(
                        message.payload, groups_of(layout, self.server.learner.held(message.options))
                    )
            except ValueError:  # not a message of ours
                found["others"] += len(blob)
                continue
            found["heads"] += len(blob) - len(message.payload)
            found["scales"] += scales
            found["values"] += len(message.payload) - scales
        return found

    def state(self) -> bytes:
        """Everything that the next round depends on, with clients of this process, and the rounds so far."""
        own = self.transport
        clients = [client.state() for client in own.clients] if isinstance(own, InProcess) else []
        rounds = [one.to_json() for one in self.rounds]
        return saved({"server": self.server.state(), "clients": clients, "rounds": rounds})

    def restore(self, state: bytes) -> None:
        """Go on from what `state` gave."""
        check_zip(state)
        content = torch.load(io.BytesIO(state), weights_only=True, map_location=training_device())
        self.server.restore(content["server"])
        own = self.transport
        if isinstance(own, InProcess):
            for client, known in zip(own.clients, content["clients"], strict=True):
                client.restore(known)
        self.rounds = [Round(**one) for one in content["rounds"]]
