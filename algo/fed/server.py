"""What the server does in a round: send every client its slices, check what comes back, and average it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from algo.fed.aggregation import FIRST, LAST, Update, aggregated, clipped, cosines, doubtful, strengths
from algo.fed.codec import Codec
from algo.fed.learners import Learner
from algo.fed.link import Link, arrays_of_file, check_fields, tensors_for_file
from algo.fed.slices import Floats
from algo.fed.threshold_net import tensors_of
from algo.fed.wire import LOST, Message, WireError


@dataclass
class _Known:
    """What the server knows of a client.

    Attributes:
        link: its end.
        options: of the client's network, by its last reply.
        images: that the client says it has; ``None`` before its first reply.
        agreements: `algo.fed.aggregation.cosines` of its updates in the federation's first rounds.
        strengths: `algo.fed.aggregation.strengths` of those in the last rounds.
        sent: slices of this round and their values as the client decodes them.
    """

    link: Link
    options: tuple[int, ...]
    images: int | None = None
    agreements: list[float] = field(default_factory=list)
    strengths: list[float] = field(default_factory=list)
    sent: tuple[Sequence[int], Sequence[Floats]] | None = None


class Server:
    """The server: every slice's average, and its end of all links.

    Args:
        learner: with the fresh network of the seed; it is not trained.
        clients: how many.
        codec: of both directions.
        clip, trim: see `algo.fed.aggregation`.

    Attributes:
        round: the number of rounds that are done.
        values: of every slice.
    """

    def __init__(self, learner: Learner, clients: int, codec: Codec, clip: float = 0.0, trim: int = 0) -> None:
        self.learner, self.codec, self.round = learner, codec, 0
        self._clip, self._trim = clip, trim
        layout = learner.layout
        self.values = layout.of(range(len(layout.slices)), tensors_of(learner.network, layout))
        self._known = [_Known(Link(layout, codec, self.values), learner.options()) for _ in range(clients)]

    def link(self, client: int) -> Link:
        """Our end of the link to a client."""
        return self._known[client].link

    def message(self, client: int) -> bytes:
        """What a client is sent in this round: the slices that its network uses.

        It is a key frame if the client's last reply did not count, for then it is not known what the client has.
        """
        known = self._known[client]
        link, held = known.link, self.learner.held(known.options)
        codec = link.codec
        if link.base is None:
            codec = link.key
            link.begin_again()
        payload, decoded = link.encoded(codec, held, [self.values[number] for number in held])
        known.sent = held, decoded
        return Message(
            codec.number, self.learner.layout.digest, self.round, link.base or 0, client, 0, (None, None),
            known.options, payload,
        ).pack()  # fmt: skip

    def take(self, replies: Mapping[int, bytes | str]) -> tuple[dict[int, Message], dict[int, str]]:
        """Average what clients have sent, and end the round.

        Args:
            replies: by client: its reply, or why there is none. Who is missing does not count, either.

        Returns:
            By client, the replies that count, and why others do not.
        """
        layout = self.learner.layout
        counted: dict[int, Message] = {}
        updates: dict[int, Update] = {}
        sent: dict[int, Sequence[Floats]] = {}
        refused: dict[int, str] = {}
        for client, known in enumerate(self._known):
            reply = replies.get(client, "no reply")
            try:
                if isinstance(reply, str):
                    raise WireError(reply)
                counted[client], updates[client], sent[client] = self._read(client, known, reply)
            except ValueError as error:
                refused[client] = str(error)
        if self.round < FIRST:
            for client, cosine in cosines(layout, updates).items():
                self._known[client].agreements.append(cosine)
        for client, strength in strengths(updates).items():
            self._known[client].strengths = [*self._known[client].strengths, strength][-LAST:]
        known_of = {client: self._known[client] for client in updates}
        refused.update(
            doubtful(
                updates,
                {client: known.agreements for client, known in known_of.items()},
                {client: known.strengths for client, known in known_of.items()},
            )
        )
        for client in refused:
            counted.pop(client, None)
            updates.pop(client, None)
        shortened = clipped(layout, updates, self._clip)
        self.values = aggregated(
            layout, self.values, [(shortened[client], sent[client]) for client in shortened], self._trim
        )
        for client, known in enumerate(self._known):
            known.sent = None
            if client in counted:
                known.options, known.images = counted[client].options, counted[client].images
            else:
                known.link.base = None
        self.round += 1
        return counted, refused

    def _read(self, client: int, known: _Known, reply: bytes) -> tuple[Message, Update, Sequence[Floats]]:
        """A reply, what it says, and what its slices were before."""
        learner, link = self.learner, known.link
        message = Message.unpack(reply, learner.layout.digest, len(known.options), link.most_bytes())
        check_fields(message, round=self.round, client=client)
        if message.codec == LOST:
            raise WireError("it has lost what differences are to: it gets a key frame in the next round")
        check_fields(message, codec=link.codec.number, base=self.round + 1)
        if message.images < 1:
            raise WireError("it says that it learned from no image")
        if known.images is not None and known.images != message.images:
            raise WireError(f"it says {message.images} images, and said {known.images} before")
        if known.sent is None:
            raise WireError("nothing was sent to it in this round")
        held = learner.held(message.options)
        link.remember(*known.sent, self.round + 1)
        values = link.decoded(message.codec, held, message.payload)
        before = [link.references[number] for number in held]
        changes = tuple(own - was for own, was in zip(values, before, strict=True))
        weights = Update((), tuple(before), 1).length
        return message, Update(tuple(held), changes, message.images, weights), before

    def state(self) -> dict[str, Any]:
        """What the next round depends on, between two rounds."""
        clients = [
            {
                "link": known.link.state(),
                "options": known.options,
                "images": known.images,
                "agreements": known.agreements,
                "strengths": known.strengths,
            }
            for known in self._known
        ]
        return {"round": self.round, "values": tensors_for_file(self.values), "clients": clients}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.round, self.values = state["round"], arrays_of_file(state["values"])
        for known, own in zip(self._known, state["clients"], strict=True):
            known.link.restore(own["link"])
            known.options, known.images = tuple(own["options"]), own["images"]
            known.agreements, known.strengths = list(own["agreements"]), list(own["strengths"])
