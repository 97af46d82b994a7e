"""Interfaces that are the same if their members are."""

from __future__ import annotations

from amaranth.lib import wiring


class Interface(wiring.Signature):
    """A signature with a name of its own, equal to any other of its class with the same members."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.members == other.members
