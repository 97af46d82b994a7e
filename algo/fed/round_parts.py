"""What one client and the server do in a round, and what they know of each other; no transport.

Both ends of a link have the same references: what was last sent down of every slice, exactly as it was decoded. At the
start that is the fresh network, which both make from the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from algo.fed.codec import Codec
from algo.fed.learners import Learner, Recipe, learn
from algo.fed.slices import Floats, Layout, averaged
from algo.fed.threshold_net import tensors_of
from algo.fed.wire import Message, WireError


def groups_of(layout: Layout, held: Sequence[int]) -> list[int]:
    """For every slice, the number of its tensor, counted among those that are held."""
    found: list[int] = []
    names: list[str] = []
    for number in held:
        name = layout.slices[number].tensor
        if not names or names[-1] != name:
            names.append(name)
        found.append(len(names) - 1)
    return found


def _tensors(values: Sequence[Floats]) -> list[Tensor]:
    """Copies, for a file of torch's."""
    return [torch.from_numpy(own.copy()) for own in values]


def _arrays(values: Sequence[Tensor]) -> list[Floats]:
    return [own.cpu().numpy().copy() for own in values]


def _check(message: Message, **wanted: int) -> None:
    """Raise WireError unless fields of a message have these values."""
    for what, ours in wanted.items():
        if (theirs := getattr(message, what)) != ours:
            raise WireError(f"it is of {what} {theirs}, not {ours}")


class Link:
    """One direction of messages between the server and a client, as one end sees it.

    Args:
        layout, codec: of both ends.
        references: of every slice, as both ends know them.
        feeds_back: whether what rounding loses is added to the next message of the same slices.
    """

    def __init__(self, layout: Layout, codec: Codec, references: Sequence[Floats], feeds_back: bool) -> None:
        self.layout, self.codec = layout, codec
        self.references = [own.copy() for own in references]
        self._lost = [np.zeros_like(own) for own in references] if feeds_back and codec.needs_reference else None

    def encode(self, held: Sequence[int], values: Sequence[Floats]) -> tuple[bytes, list[Floats]]:
        """A payload, and what the other end makes of it; references stay."""
        groups = groups_of(self.layout, held)
        known = [self.references[number] for number in held]
        meant = list(values)
        if self._lost is not None:
            meant = [own + self._lost[number] for number, own in zip(held, values, strict=True)]
        payload = self.codec.encode(meant, groups, known)
        decoded = self.codec.decode(payload, groups, known)
        if self._lost is not None:
            for number, own, arrived in zip(held, meant, decoded, strict=True):
                self._lost[number] = own - arrived
        return payload, decoded

    def decode(self, held: Sequence[int], payload: bytes) -> list[Floats]:
        """What a payload says; raises WireError for one that says nothing of these slices."""
        known = [self.references[number] for number in held]
        return self.codec.decode(payload, groups_of(self.layout, held), known)

    def most_bytes(self) -> int:
        """Bytes that no payload exceeds."""
        counts = [len(cut.places) for cut in self.layout.slices]
        return self.codec.most_bytes(counts, len(self.layout.shapes))

    def state(self) -> dict[str, Any]:
        """References, and what rounding has lost."""
        return {"references": _tensors(self.references), "lost": None if self._lost is None else _tensors(self._lost)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.references = _arrays(state["references"])
        self._lost = None if state["lost"] is None else _arrays(state["lost"])

    def remember(self, held: Sequence[int], values: Sequence[Floats]) -> None:
        """Take values as the references of their slices."""
        for number, own in zip(held, values, strict=True):
            self.references[number] = own


class Client:
    """A client: its images, its network, and its end of both links.

    Args:
        number: its index.
        learner: with the fresh network of the seed.
        images, labels: to train on.
        codec: of both directions.
        recipe: how it trains.
        seed: of the order of its images.
    """

    def __init__(
        self, number: int, learner: Learner, images: Tensor, labels: Tensor, codec: Codec, recipe: Recipe, seed: int
    ) -> None:
        self.number, self.learner, self.recipe, self._seed = number, learner, recipe, seed
        self._images, self._labels = images, labels
        layout = learner.layout
        fresh = layout.of(range(len(layout.slices)), tensors_of(learner.network, layout))
        self._down = Link(layout, codec, fresh, feeds_back=False)
        self._up = Link(layout, codec, fresh, feeds_back=True)

    def answer(
        self, blob: bytes, searching: bool = True, on_pulled: Callable[[Learner], object] = lambda learner: None
    ) -> bytes:
        """Take what the server sends, train, and send back.

        Args:
            blob: the server's message.
            searching: whether what decides between options learns, too.
            on_pulled: is told the learner before it trains.

        Raises:
            WireError: for a message that is not for us.
        """
        layout = self.learner.layout
        blocks = len(self.learner.options())
        message = Message.unpack(blob, layout.digest, blocks, self._down.most_bytes())
        _check(message, codec=self._down.codec.number, client=self.number)
        held = self.learner.held(message.options)
        values = self._down.decode(held, message.payload)
        for link in (self._down, self._up):
            link.remember(held, values)
        self._set(held, values)
        on_pulled(self.learner)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + message.round)
        learn(self.learner, self._images, self._labels, self.recipe, generator, searching)
        options = self.learner.options()
        held = self.learner.held(options)
        payload, _ = self._up.encode(held, layout.of(held, tensors_of(self.learner.network, layout)))
        return Message(
            self._up.codec.number, layout.digest, message.round, self.number, len(self._images), options, payload
        ).pack()

    def state(self) -> dict[str, Any]:
        """What the next round depends on."""
        return {"network": self.learner.network.state_dict(), "down": self._down.state(), "up": self._up.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.learner.network.load_state_dict(state["network"])
        self._down.restore(state["down"])
        self._up.restore(state["up"])

    def _set(self, held: Sequence[int], values: Sequence[Floats]) -> None:
        layout = self.learner.layout
        known = tensors_of(self.learner.network, layout)
        layout.put(held, values, known)
        parameters = dict(self.learner.network.named_parameters())
        with torch.no_grad():
            for name, value in known.items():
                parameters[name].copy_(torch.from_numpy(value))


@dataclass
class _Known:
    """What the server knows of a client."""

    down: Link
    up: Link
    options: tuple[int, ...]


class Server:
    """The server: every slice's average, and its end of all links.

    Args:
        learner: with the fresh network of the seed; it is not trained.
        clients: how many.
        codec: of both directions.

    Attributes:
        round: the number of rounds that are done.
        values: of every slice.
    """

    def __init__(self, learner: Learner, clients: int, codec: Codec) -> None:
        self.learner, self.codec, self.round = learner, codec, 0
        layout = learner.layout
        self.values = layout.of(range(len(layout.slices)), tensors_of(learner.network, layout))
        self._known = [
            _Known(Link(layout, codec, self.values, False), Link(layout, codec, self.values, False), learner.options())
            for _ in range(clients)
        ]

    def message(self, client: int) -> bytes:
        """What a client is sent in this round: the slices that its network uses."""
        known = self._known[client]
        held = self.learner.held(known.options)
        payload, decoded = known.down.encode(held, [self.values[number] for number in held])
        for link in (known.down, known.up):
            link.remember(held, decoded)
        return Message(
            self.codec.number, self.learner.layout.digest, self.round, client, 0, known.options, payload
        ).pack()

    def take(self, replies: Mapping[int, bytes]) -> dict[int, str]:
        """Average what clients have sent, and end the round.

        Args:
            replies: by client; those that are missing or wrong do not count.

        Returns:
            By client, why its reply does not count.
        """
        updates: list[tuple[Sequence[int], Sequence[Floats], float]] = []
        refused: dict[int, str] = {}
        for client, blob in sorted(replies.items()):
            known = self._known[client]
            try:
                message = Message.unpack(blob, self.learner.layout.digest, len(known.options), known.up.most_bytes())
                _check(message, codec=self.codec.number, round=self.round, client=client)
                if message.images < 1:
                    raise WireError("it says that it learned from no image")
                held = self.learner.held(message.options)
                values = known.up.decode(held, message.payload)
            except ValueError as error:
                refused[client] = str(error)
                continue
            known.options = message.options
            updates.append((held, values, float(message.images)))
        self.values = averaged(self.learner.layout, updates, self.values)
        self.round += 1
        return refused

    def state(self) -> dict[str, Any]:
        """What the next round depends on."""
        clients = [
            {"down": known.down.state(), "up": known.up.state(), "options": known.options} for known in self._known
        ]
        return {"round": self.round, "values": _tensors(self.values), "clients": clients}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.round, self.values = state["round"], _arrays(state["values"])
        for known, own in zip(self._known, state["clients"], strict=True):
            known.down.restore(own["down"])
            known.up.restore(own["up"])
            known.options = tuple(own["options"])
