"""How the tensors of a model are cut into slices, and which of them a network uses.

Selective aggregation, chapter 4: a client sends and receives only the slices that its network uses, and the server
averages each slice over the clients that hold it. A slice is a part of one tensor, such as the rim of 5x5 kernels of
the second half of the channels. The slices of a tensor have no weight in common, and are all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """A part of a tensor.

    Attributes:
        tensor: its name.
        name: of the part, unlike those of the tensor's other parts.
        places: of its values in the flat tensor, rising.
    """

    tensor: str
    name: str
    places: Places


class Layout:
    """All slices of a model, in the order in which messages have them: the same at the server and every client.

    Args:
        shapes: of the tensors, by name.
        slices: of all tensors; those of one tensor follow each other.
        begun_with: digest of the fresh network's values, if they are known.

    Raises:
        ValueError: naming a tensor whose slices overlap, or are not all of it.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], slices: Sequence[Slice], begun_with: bytes = b"") -> None:
        self.shapes, self.slices, self._begun_with = dict(shapes), tuple(slices), begun_with
        for name, shape in self.shapes.items():
            own = [one.places for one in self.slices if one.tensor == name]
            places = np.sort(np.concatenate(own)) if own else np.zeros(0, np.int64)
            if not np.array_equal(places, np.arange(int(np.prod(shape)))):
                raise ValueError(f"the slices of tensor {name} of shape {shape} overlap, or are not all of it")
        if unknown := [one.tensor for one in self.slices if one.tensor not in self.shapes]:
            raise ValueError(f"a slice is of tensor {unknown[0]}, which there is not")

    @property
    def digest(self) -> bytes:
        """Eight bytes that differ for other tensors, other slices, or another fresh network."""
        content = {name: list(shape) for name, shape in self.shapes.items()}
        found = hashlib.sha256(json.dumps(content).encode())
        for one in self.slices:
            found.update(f"{one.tensor}/{one.name}".encode())
            found.update(one.places.astype("<i8").tobytes())
        found.update(self._begun_with)
        return found.digest()[:8]

    def begun(self, begun_with: bytes) -> Layout:
        """The same, with the digest of a fresh network's values."""
        return Layout(self.shapes, self.slices, begun_with)

    def of(self, held: Iterable[int], tensors: Mapping[str, Floats]) -> list[Floats]:
        """The values of some slices, by their numbers."""
        return [tensors[one.tensor].reshape(-1)[one.places] for one in (self.slices[number] for number in held)]

    def put(self, held: Iterable[int], values: Iterable[Floats], tensors: Mapping[str, Floats]) -> None:
        """Write the values of some slices into tensors, which must be contiguous."""
        for number, own in zip(held, values, strict=True):
            one = self.slices[number]
            tensors[one.tensor].reshape(-1)[one.places] = own

    def count(self, held: Iterable[int]) -> int:
        """How many values some slices have."""
        return sum(len(self.slices[number].places) for number in held)


def averaged(
    layout: Layout, updates: Sequence[tuple[Sequence[int], Sequence[Floats], float]], before: Sequence[Floats]
) -> list[Floats]:
    """Every slice's mean over the clients that hold it, weighted; a slice that none holds stays as it was.

    Args:
        layout: of the model.
        updates: of each client: the numbers of its slices, their values, and its weight (its images), above 0.
        before: every slice of the layout, before this round.
    """
    sums = [np.zeros(len(values), np.float64) for values in before]
    weights = np.zeros(len(before))
    for held, values, weight in updates:
        for number, own in zip(held, values, strict=True):
            sums[number] += weight * own.astype(np.float64)
            weights[number] += weight
    return [
        (total / weight).astype(np.float32) if weight else values
        for total, weight, values in zip(sums, weights, before, strict=True)
    ]
