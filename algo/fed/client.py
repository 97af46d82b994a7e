"""What a client does in a round: take what the server sends, train, and send back what it has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from algo.fed.codec import Codec
from algo.fed.costs import latency_ms, size_bytes
from algo.fed.learners import Learner, Preference, Recipe, accuracy, learn
from algo.fed.link import Link, arrays_of_file, check_fields, tensors_for_file
from algo.fed.slices import Floats
from algo.fed.threshold_net import tensors_of
from algo.fed.wire import LAST_ROUND, LOST, Message, WireError
from algo.nas.latency_table import LatencyTable
from algo.nas.search import Diverged, check_finite
from algo.nas.sizes import sizes_of

Part = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Schedule:
    """How a client learns over the rounds.

    Attributes:
        recipe: of a round.
        warmup: rounds at the start in which only weights learn.
        tuning_epochs: of its own network, after the last round.
    """

    recipe: Recipe
    warmup: int = 0
    tuning_epochs: int = 0


class Client:
    """A client: its images, its network, and its end of the link to the server.

    Args:
        number: its index.
        learner: with the fresh network of the seed.
        train, test: images and labels.
        codec: of both directions.
        schedule: how it learns.
        seed: of the order of its images.
        preference: what its learner prefers.
        feeds_back: whether what rounding loses is added to the next message.
    """

    def __init__(
        self,
        number: int,
        learner: Learner,
        train: Part,
        test: Part,
        codec: Codec,
        schedule: Schedule,
        seed: int,
        preference: Preference | None = None,
        feeds_back: bool = True,
    ) -> None:
        self.number, self.learner, self.schedule, self.train, self.test = number, learner, schedule, train, test
        self._seed, self.preference = seed, preference or Preference()
        layout = learner.layout
        self.link = Link(layout, codec, layout.of(range(len(layout.slices)), tensors_of(learner.network, layout)))
        self._feeds_back = feeds_back and codec.needs_reference
        self._lost = self._nothing_lost()

    def answer(self, blob: bytes) -> bytes:
        """The reply to the server's message of a round.

        A client that cannot read it, since differences in it are to what this client does not have, asks for a key
        frame.

        Raises:
            WireError: for a message that is not for us.
            ValueError: for options that there are not.
            Diverged: see `train_round`.
        """
        layout, link = self.learner.layout, self.link
        blocks = len(self.learner.options())
        message = Message.unpack(blob, layout.digest, blocks, link.most_bytes())
        check_fields(message, client=self.number)
        if message.round >= LAST_ROUND:
            raise WireError(f"it is of round {message.round}, and the last is {LAST_ROUND - 1}")
        if link.codec.needs_reference and message.codec == link.codec.number and message.base != link.base:
            return self._reply(message, LOST, (None, None), b"")
        if link.codec.needs_reference and message.codec == link.key.number:
            link.begin_again()
            self._lost = self._nothing_lost()
        held = self.learner.held(message.options)
        values = link.decoded(message.codec, held, message.payload)
        link.remember(held, values, message.round + 1)
        self._set(held, values)
        accuracies = self.train_round(message.round)
        return self._reply(message, link.codec.number, accuracies, self._payload())

    def train_round(self, number: int) -> tuple[float, float]:
        """Train for the epochs of a round, and say the accuracies on the test images before and after, 0..1.

        Args:
            number: of the round, from 0; it and the seed decide the order of the images.

        Raises:
            Diverged: if the training gives values that are not finite; the network is what it was before, then.
        """
        network = self.learner.network
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        before = accuracy(network, *self.test)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        learn(self.learner, *self.train, self.schedule.recipe, generator, number >= self.schedule.warmup)
        try:
            check_finite(network, f"after its training in round {number + 1}")
        except Diverged:
            network.load_state_dict(kept)
            raise
        return before, accuracy(network, *self.test)

    def finish(self, table: LatencyTable) -> dict[str, Any]:
        """Train the client's own network on its images, after the last round, and say what it is.

        Args:
            table: latencies of the client's device.

        Returns:
            What `algo.fed.finished.FINISHED` says: accuracies before and after this training, 0..1; the option of
            each block as [kernel, expansion, bits], or None where it is skipped; latency in ms; bytes of all weights.
        """
        learner, (images, _) = self.learner, self.train
        before = accuracy(learner.network, *self.test)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 - 1)
        for _ in range(self.schedule.tuning_epochs):
            learn(learner, *self.train, self.schedule.recipe, generator, searching=False)
        options = learner.chosen()
        return {
            "client": self.number,
            "images": len(images),
            "preference": list(self.preference),
            "accuracy": before,
            "tuned_accuracy": accuracy(learner.network, *self.test),
            "options": [None if option is None else list(option) for option in options],
            "latency_ms": latency_ms(table, options),
            "size_bytes": size_bytes(sizes_of(table), options),
        }

    def state(self) -> dict[str, Any]:
        """What the next round depends on."""
        return {
            "network": self.learner.network.state_dict(),
            "link": self.link.state(),
            "lost": None if self._lost is None else tensors_for_file(self._lost),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.learner.network.load_state_dict(state["network"])
        self.link.restore(state["link"])
        self._lost = None if state["lost"] is None else arrays_of_file(state["lost"])

    def _nothing_lost(self) -> list[Floats] | None:
        return [np.zeros_like(own) for own in self.link.references] if self._feeds_back else None

    def _learned(self, held: Sequence[int]) -> list[Floats]:
        """What the client says that it has learned."""
        layout = self.learner.layout
        return layout.of(held, tensors_of(self.learner.network, layout))

    def _payload(self) -> bytes:
        """What has been learned; what rounding loses is sent with the next message of the same slices."""
        held = self.learner.held(self.learner.options())
        meant = self._learned(held)
        if self._lost is not None:
            meant = [own + self._lost[number] for number, own in zip(held, meant, strict=True)]
        payload, arrived = self.link.encoded(self.link.codec, held, meant)
        if self._lost is not None:
            for number, own, there in zip(held, meant, arrived, strict=True):
                self._lost[number] = own - there
        return payload

    def _reply(self, to: Message, codec: int, accuracies: tuple[float | None, float | None], payload: bytes) -> bytes:
        layout = self.learner.layout
        return Message(
            codec, layout.digest, to.round, to.round + 1 if codec else 0, self.number, len(self.train[0]), accuracies,
            self.learner.options(), payload,
        ).pack()  # fmt: skip

    def _set(self, held: Sequence[int], values: Sequence[Floats]) -> None:
        layout = self.learner.layout
        known = tensors_of(self.learner.network, layout)
        layout.put(held, values, known)
        parameters = dict(self.learner.network.named_parameters())
        with torch.no_grad():
            for name, value in known.items():
                parameters[name].copy_(torch.from_numpy(value))
