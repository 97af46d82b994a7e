"""An episode, as the memory of an episodic or a planning unit holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Episode(NamedTuple):
    """A word of the episode memory: a policy, and two numbers of 16 bits.

    Attributes:
        actions: of the policy.
        first: its reward, or in planning mode its accuracy.
        second: each row's share of the reward, or in planning mode the policy's part of the effects.
    """

    actions: Sequence[int]
    first: int
    second: int

    @property
    def reward(self) -> int:
        """Reward, in units of 2**-q_frac."""
        return _signed16(self.first)

    @property
    def share(self) -> int:
        """Each row's share of the reward."""
        return _signed16(self.second)

    @property
    def accuracy(self) -> int:
        """Accuracy, in units of 2**-coef_frac; 0xFFFF if it was not measured."""
        return self.first & 0xFFFF

    @property
    def part(self) -> int:
        """What the policy has added to the effects of its actions."""
        return _signed16(self.second)


def _signed16(word: int) -> int:
    return ((word & 0xFFFF) ^ 0x8000) - 0x8000
