"""What each choice costs on a device, measured or modelled beforehand, and the latency of whole networks from it.

Lat of HQNAS, equation 3-5: the sum over the blocks of what their options cost, with probabilities as weights. Changing
the arithmetic between two blocks has a price of its own.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algo.nas.config import parsed_latency
from algo.nas.space import Architecture, Option, Space, Stage
from algo.support.user_files import check_object, parse_json, reading, shown
from sim.files import write_atomically

Floats = NDArray[np.float64]

FORMAT = "rlu latency table 1"
_CONTENT: dict[str, Any] = {
    "format": str, "device": str, "origin": str, "details": dict[str, Any], "space": dict[str, Any],
    "image": list[int], "classes": int, "speeds": list[str], "ends_ms": float, "blocks_ms": list[Any],
    "switch_ms": list[Any],
}  # fmt: skip


class TableError(ValueError):
    """A table that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class LatencyTable:
    """Latency of every option of every block on a device, for one image.

    Attributes:
        device: its name, such as ``measured`` or ``evolver``.
        origin: a sentence that says where the figures come from.
        details: what must be the same where the table is used: threads, versions, processor.
        space: whose options they are.
        image: channels, height and width of an image.
        classes: of the network.
        speeds: the arithmetic that each bit-width of the space runs in; bit-widths that share one cost the same.
        ends_ms: stem, head and last layer.
        blocks_ms: (blocks, paths, bits).
        switch_ms: (blocks + 1, bits, bits), price of going from one bit-width to another: before the first block,
            between blocks, after the last one. Stem and head count as `end`.

    Raises:
        TableError: for a shape that does not suit the space, or a figure that is missing or negative; it is named.
    """

    device: str
    origin: str
    details: Mapping[str, str | int | float]
    space: Space
    image: tuple[int, int, int]
    classes: int
    speeds: tuple[str, ...]
    ends_ms: float
    blocks_ms: Floats = field(repr=False)
    switch_ms: Floats = field(repr=False)

    def __post_init__(self) -> None:
        space = self.space
        blocks, bits = space.block_count, len(space.bits)
        if len(self.speeds) != bits:
            raise TableError(f"{len(self.speeds)} speeds do not suit the {bits} bit-widths of space {space.name}")
        shapes = {"blocks_ms": (blocks, len(space.paths), bits), "switch_ms": (blocks + 1, bits, bits)}
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values.shape != shape:
                raise TableError(f"{name} has the shape {values.shape}, not {shape}, which space {space.name} needs")
            if not (np.isfinite(values) & (values >= 0)).all():
                place = np.argwhere(~(np.isfinite(values) & (values >= 0)))[0]
                raise TableError(f"{name} has no latency of {self._named(name, place)}: build the table again")
        if not self.blocks_ms.any():
            raise TableError("all of blocks_ms are 0 ms: build the table again")
        if not (math.isfinite(self.ends_ms) and self.ends_ms >= 0):
            raise TableError(f"ends_ms must be a latency of at least 0 ms, not {self.ends_ms}: build the table again")

    def _named(self, name: str, place: NDArray[np.intp]) -> str:
        space = self.space
        if name == "blocks_ms":
            kernel, expansion = space.paths[place[1]]
            option = Option(kernel, expansion, space.bits[place[2]])
            return f"block {space.blocks(self.image[1:])[place[0]].name} with {option}"
        return f"a change from {space.bits[place[1]]} to {space.bits[place[2]]} bits before block {place[0] + 1}"

    @property
    def end(self) -> int:
        """The number of the bit-width that stem, head and last layer run in: the one nearest to 8."""
        return min(range(len(self.space.bits)), key=lambda number: abs(self.space.bits[number] - 8))

    @property
    def in_float32(self) -> tuple[int, ...]:
        """The bit-widths that the device computes in float32."""
        return tuple(bits for bits, speed in zip(self.space.bits, self.speeds, strict=True) if speed == "float32")

    def ms(self, architecture: Architecture) -> float:
        """Latency of a network."""
        paths, bits = self.indices(architecture)
        numbers = np.arange(self.space.block_count)
        ways = [self.end, *bits, self.end]
        switches = sum(self.switch_ms[place, one, other] for place, (one, other) in enumerate(itertools.pairwise(ways)))
        return float(self.ends_ms + self.blocks_ms[numbers, paths, bits].sum() + switches)

    def indices(self, architecture: Architecture) -> tuple[list[int], list[int]]:
        """The numbers of each block's path and bit-width."""
        paths, bits = self.space.paths, self.space.bits
        return [paths.index(option[:2]) for option in architecture], [
            bits.index(option.bits) for option in architecture
        ]

    def expected_ms(self, theta: Any, phi: Any, convert: Callable[[Floats], Any] = np.asarray) -> Any:
        """Latency to be expected where paths and bits are drawn independently; differentiable for tensors.

        Args:
            theta: probabilities of the paths, (blocks, paths), an array or a tensor.
            phi: of the bits, (blocks, bits).
            convert: makes what theta is from an array.
        """
        fixed = np.zeros((1, len(self.space.bits)))
        fixed[0, self.end] = 1
        ends, blocks, switches = convert(fixed), convert(self.blocks_ms), convert(self.switch_ms)
        inside = (theta[:, :, None] * phi[:, None, :] * blocks).sum()
        first = (ends @ switches[0] @ phi[0]).sum()
        between = (phi[:-1, :, None] * switches[1:-1] * phi[1:, None, :]).sum()
        last = (phi[-1] @ switches[-1] @ ends[0]).sum()
        return self.ends_ms + inside + first + between + last

    @property
    def uniform_ms(self) -> float:
        """The latency to be expected of a network whose options are drawn uniformly."""
        _, paths, bits = self.blocks_ms.shape
        blocks = self.space.block_count
        return float(self.expected_ms(np.full((blocks, paths), 1 / paths), np.full((blocks, bits), 1 / bits)))

    @property
    def largest(self) -> Architecture:
        """The largest kernel and expansion in every block, at 8 bits or the width nearest to it."""
        return self.space.same(Option(*self.space.paths[-1], self.space.bits[self.end]))

    def limit_ms(self, text: str) -> float:
        """A limit in ms from ``0.8ms``, or from ``60%`` of the `largest` network's latency.

        Raises:
            ValueError: for another form, or a limit that is not above 0.
        """
        number, of_largest = parsed_latency(text)
        return number * self.ms(self.largest) / 100 if of_largest else number

    def narrowed(self, bits: Sequence[int]) -> LatencyTable:
        """The table with these bit-widths alone, if it has them all; else the table as it is.

        Networks keep their latency: what changes at stem and head cost goes to the first and the last block.
        """
        known = self.space.bits
        if tuple(bits) == known or not set(bits) <= set(known):
            return self
        chosen = [known.index(width) for width in bits]
        switch_ms = self.switch_ms[:, chosen][:, :, chosen]
        switch_ms[[0, -1]] = 0
        return replace(
            self, space=replace(self.space, bits=tuple(bits)), speeds=tuple(self.speeds[number] for number in chosen),
            blocks_ms=self.blocks_with_ends_ms[:, :, chosen], switch_ms=switch_ms,
        )  # fmt: skip

    @property
    def blocks_with_ends_ms(self) -> Floats:
        """Latency of every option, (blocks, paths, bits), with what changes at stem and head cost."""
        blocks_ms = self.blocks_ms.copy()
        blocks_ms[0] += self.switch_ms[0, self.end]
        blocks_ms[-1] += self.switch_ms[-1, :, self.end]
        return blocks_ms

    def check_suits(self, space: Space, image: tuple[int, ...], classes: int) -> None:
        """Raise TableError, which says what differs, unless the table is of this space and these images."""
        for what, mine, wanted in (
            ("space", self.space, space),
            ("images of (channels, height, width)", self.image, tuple(image)),
            ("number of classes", self.classes, classes),
        ):
            if mine != wanted:
                shown_mine, shown_wanted = (getattr(one, "name", one) for one in (mine, wanted))
                known = f"the {what} {shown_mine}, not {shown_wanted}"
                if shown_mine == shown_wanted:
                    known = f"another {what} of the name {shown_mine}"
                raise TableError(f"the latency table is for {known}: build one with rlu nas latency-table")

    def check_details(self, here: Mapping[str, str | int | float]) -> None:
        """Raise TableError unless what the table was measured with is what is here."""
        for name, value in here.items():
            if self.details.get(name) != value:
                raise TableError(
                    f"the latency table was measured on another machine or set-up: {name} was "
                    f"{self.details.get(name)!r}, and is {value!r} here; build one here with rlu nas latency-table"
                )

    def to_json(self) -> dict[str, Any]:
        """As an object for JSON."""
        space = self.space
        return {
            "format": FORMAT,
            "device": self.device,
            "origin": self.origin,
            "details": dict(self.details),
            "space": space_to_json(space),
            "image": list(self.image),
            "classes": self.classes,
            "speeds": list(self.speeds),
            "options": [list(option) for option in space.options],
            "ends_ms": self.ends_ms,
            "blocks_ms": self.blocks_ms.tolist(),
            "switch_ms": self.switch_ms.tolist(),
        }

    def write(self, path: Path) -> None:
        """Write the table to a file, whole or not at all."""
        write_atomically(path, json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def from_json(cls, content: object) -> LatencyTable:
        """The table that `to_json` gave; raises ValueError, which names the place, for anything else."""
        found = check_object(content, _CONTENT, "the table", optional=())
        if found["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT!r}, not {shown(found['format'])}: build the table again")
        if len(found["image"]) != 3 or min(found["image"]) < 1 or found["classes"] < 2:
            raise ValueError(f"image {shown(found['image'])} and {found['classes']} classes are not those of a network")
        return cls(
            found["device"], found["origin"], found["details"], space_from_json(found["space"]),
            (found["image"][0], found["image"][1], found["image"][2]), found["classes"], tuple(found["speeds"]),
            found["ends_ms"], _numbers(found["blocks_ms"], "blocks_ms"), _numbers(found["switch_ms"], "switch_ms"),
        )  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """The table in a file; raises TableError, which names file and place, if there is none."""
        with reading(path, "latency table {} cannot be used", raises=TableError):
            return cls.from_json(parse_json(path.read_bytes()))


def space_to_json(space: Space) -> dict[str, Any]:
    """A space as an object for JSON."""
    return {
        "name": space.name,
        "stem": space.stem,
        "stem_stride": space.stem_stride,
        "stages": [[stage.channels, stage.blocks, stage.stride] for stage in space.stages],
        "head": space.head,
        "kernels": list(space.kernels),
        "expansions": list(space.expansions),
        "bits": list(space.bits),
    }


def space_from_json(content: object) -> Space:
    """The space that `space_to_json` gave; raises ValueError for anything else."""
    kinds: dict[str, Any] = {
        "name": str, "stem": int, "stem_stride": int, "stages": list[list[int]], "head": int, "kernels": list[int],
        "expansions": list[int], "bits": list[int],
    }  # fmt: skip
    found = check_object(content, kinds, "the space")
    if bad := [stage for stage in found["stages"] if len(stage) != 3]:
        raise ValueError(f"a stage must be channels, blocks and stride, not {shown(bad[0])}")
    return Space(
        found["name"], found["stem"], found["stem_stride"], tuple(Stage(*stage) for stage in found["stages"]),
        found["head"], tuple(found["kernels"]), tuple(found["expansions"]), tuple(found["bits"]),
    )  # fmt: skip


def _numbers(content: list[Any], what: str) -> Floats:
    """Nested lists as an array; a missing figure (null) becomes not a number."""
    try:
        return np.array(content, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be lists of numbers, all of one length") from None
