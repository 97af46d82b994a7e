"""What both ends of a connection know of each other: references that differences are to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from algo.fed.codec import Chapter, Codec
from algo.fed.slices import Floats, Layout
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


def tensors_for_file(values: Sequence[Floats]) -> dict[str, Any]:
    """Copies, for a file of torch's: one tensor, since each costs time, and where to cut it."""
    return {"values": torch.from_numpy(np.concatenate(values)), "lengths": [len(own) for own in values]}


def arrays_of_file(content: Mapping[str, Any]) -> list[Floats]:
    """What `tensors_for_file` gave."""
    whole, ends = content["values"].cpu().numpy(), np.cumsum(content["lengths"])
    return [own.copy() for own in np.split(whole, ends[:-1])]


def check_fields(message: Message, **wanted: object) -> None:
    """Raise WireError unless fields of a message have these values."""
    for what, ours in wanted.items():
        if (theirs := getattr(message, what)) != ours:
            raise WireError(f"it is of {what} {theirs}, not {ours}")


class Link:
    """A server and a client, as one of them sees it.

    References are what the server sent last of every slice, exactly as it was decoded; at the start, and after a key
    frame for all other slices, they are the fresh network, which both ends make from the same seed.

    Args:
        layout, codec: of both ends.
        fresh: every slice of the fresh network.

    Attributes:
        references: of every slice.
        base: which these are, see `Message`; ``None`` if the other end's are unknown, so a key frame is needed.
        key: codec of key frames, which need no reference.
    """

    def __init__(self, layout: Layout, codec: Codec, fresh: Sequence[Floats]) -> None:
        self.layout, self.codec, self._fresh = layout, codec, [own.copy() for own in fresh]
        self.key: Codec = Chapter() if codec.needs_reference else codec
        self.references = [own.copy() for own in fresh]
        self.base: int | None = 0

    def encoded(self, codec: Codec, held: Sequence[int], values: Sequence[Floats]) -> tuple[bytes, list[Floats]]:
        """A payload, and what the other end makes of it; references stay."""
        groups, known = groups_of(self.layout, held), [self.references[number] for number in held]
        payload = codec.encode(values, groups, known)
        return payload, codec.decode(payload, groups, known)

    def decoded(self, number: int, held: Sequence[int], payload: bytes) -> list[Floats]:
        """What a payload in the codec of a number says.

        Raises:
            WireError: for another codec than ours, or a payload that says nothing of these slices.
        """
        return self.codec_of(number).decode(
            payload, groups_of(self.layout, held), [self.references[one] for one in held]
        )

    def codec_of(self, number: int) -> Codec:
        """The codec of a number; raises WireError unless it is ours, or that of key frames."""
        codec = {one.number: one for one in (self.codec, self.key)}.get(number)
        if codec is None:
            raise WireError(f"it is of codec {number}, not {self.codec.number}")
        return codec

    def most_bytes(self) -> int:
        """Bytes that no payload exceeds."""
        counts = [len(cut.places) for cut in self.layout.slices]
        return max(one.most_bytes(counts, len(self.layout.shapes)) for one in (self.codec, self.key))

    def begin_again(self) -> None:
        """Take the fresh network as references."""
        self.references = [own.copy() for own in self._fresh]

    def remember(self, held: Sequence[int], values: Sequence[Floats], base: int) -> None:
        """Take values as the references of their slices; they are those of a base from now on."""
        for number, own in zip(held, values, strict=True):
            self.references[number] = own
        self.base = base

    def state(self) -> dict[str, Any]:
        """References and their base."""
        return {"references": tensors_for_file(self.references), "base": self.base}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.references, self.base = arrays_of_file(state["references"]), state["base"]
