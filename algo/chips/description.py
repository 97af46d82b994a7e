"""Descriptions of chips in JSON, TOML or YAML, checked key by key; docs/use/chips.md has the format."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from algo.published.evolver import BIT_WIDTHS
from algo.space.policy import OperatingPoint
from algo.support.user_files import LARGEST_FIGURE, finite, read_values, shown

SUFFIXES = (".json", ".toml", ".yaml", ".yml")
#: Keys of every description.
COMMON = ("model", "name", "origin", "operating_points", "bit_widths", "layer_bit_widths")


class Description:
    """The keys of a description, or of a part of it; every error names file and place.

    Args:
        content: what was read.
        where: file and place in words.
    """

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, Mapping):
            raise ValueError(f"{where} must be keys with values, not {shown(content)}")
        self.content: Mapping[str, Any] = content
        self.where = where

    def check_keys(self, required: Collection[str], optional: Collection[str] = ()) -> None:
        """Raise ValueError for a key that is missing or unknown."""
        for key in self.content:
            if key not in required and key not in optional:
                raise ValueError(f"{self.where}: unknown key {key!r}: allowed are {', '.join((*required, *optional))}")
        for key in required:
            if key not in self.content:
                raise ValueError(f"{self.where}: {key} is missing: give all of {', '.join(required)}")

    def part(self, key: str) -> Description:
        """What is under a key."""
        return Description(self.content[key], f"{self.where}: {key}")

    def number(self, key: str, above_zero: bool = False) -> float:
        """A number of 0 or more, or above 0 (and not below 1e-12), up to `LARGEST_FIGURE`."""
        value = self.content[key]
        range_ = "above 0" if above_zero else "of 0 or more"
        if not finite(value) or value < 0 or (above_zero and value == 0):
            raise ValueError(f"{self.where}: {key} must be a number {range_}, not {shown(value)}")
        if value > LARGEST_FIGURE or (above_zero and value < 1 / LARGEST_FIGURE):
            least = f"{1 / LARGEST_FIGURE:g}" if above_zero else "0"
            raise ValueError(f"{self.where}: {key} must be in {least}..{LARGEST_FIGURE:g}, not {shown(value)}")
        return float(value)

    def text(self, key: str, default: str) -> str:
        """A text that is not empty."""
        value = self.content.get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{self.where}: {key} must be text, not {shown(value)}")
        return " ".join(value.split())

    def operating_points(self) -> tuple[OperatingPoint, ...]:
        """At least one pair of voltage and frequency, each once."""
        given = self.content["operating_points"]
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            raise ValueError(
                f"{self.where}: operating_points must be a list of at least 1 pair of voltage_v and frequency_mhz, "
                f"not {shown(given)}"
            )
        points: list[OperatingPoint] = []
        for number, entry in enumerate(given):
            part = Description(entry, f"{self.where}: operating point {number}")
            part.check_keys(("voltage_v", "frequency_mhz"))
            point = OperatingPoint(part.number("voltage_v", True), part.number("frequency_mhz", True))
            if point in points:
                raise ValueError(f"{part.where} repeats operating point {points.index(point)}")
            points.append(point)
        return tuple(points)

    def bit_widths(self) -> tuple[int, ...]:
        """Bit-widths that the chip knows; 2, 4 and 8 by default."""
        return self._widths("bit_widths", self.content.get("bit_widths", BIT_WIDTHS))

    def layer_bit_widths(self) -> dict[str, tuple[int, ...]]:
        """Bit-widths of layers that differ from the chip's, by name; empty by default."""
        given = self.content.get("layer_bit_widths", {})
        if not isinstance(given, Mapping):
            raise ValueError(f"{self.where}: layer_bit_widths must be bit-widths by layer, not {shown(given)}")
        return {str(name): self._widths(f"layer_bit_widths of {name}", widths) for name, widths in given.items()}

    def _widths(self, key: str, given: Any) -> tuple[int, ...]:
        if not isinstance(given, Sequence) or not given or not all(type(b) is int and 2 <= b <= 16 for b in given):
            raise ValueError(f"{self.where}: {key} must be a list of whole numbers in 2..16, not {shown(given)}")
        if list(given) != sorted(set(given)):
            raise ValueError(f"{self.where}: {key} must rise and not repeat, not {list(given)}")
        return tuple(given)


def read_description(path: Path) -> Description:
    """Read a description; ValueError if it is not in the format of its suffix."""
    return Description(read_values(path), str(path))
