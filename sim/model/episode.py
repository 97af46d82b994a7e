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

    def reward(self, q_width: int) -> int:
        """Reward, in units of 2**-q_frac: the low bits."""
        return _signed(self.first, q_width)

    def share(self, q_width: int) -> int:
        """Each row's share of the reward: the low bits."""
        return _signed(self.second, q_width)

    @property
    def accuracy(self) -> int:
        """Accuracy, in units of 2**-coef_frac; 0xFFFF if it was not measured."""
        return self.first & 0xFFFF

    @property
    def part(self) -> int:
        """What the policy has added to the effects of its actions."""
        return _signed(self.second, 16)


def _signed(word: int, width: int) -> int:
    sign = 1 << width - 1
    return (word & 2 * sign - 1 ^ sign) - sign
