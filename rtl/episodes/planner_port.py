"""What the episode memory offers to a planner."""

from __future__ import annotations

from amaranth.lib.wiring import In, Out

from rtl.primitives.interface import Interface
from rtl.spec.params import RLUParams


class PlannerPort(Interface):
    """Access to the episode memory, seen from the planner.

    A read takes 1 cycle, a write 1; both every cycle, but never at the same place.

    Parameters
    ----------
    params : RLUParams
        With ``points`` above 0.

    Members
    -------
    active : Out(1)
        The planner reads. It gives way while it stores or compares.
    read_episode : Out(range(episodes))
        Episode to read.
    read_row : Out(row_width)
        Row of its policy.
    word : In(32)
        The policy word with the row given a cycle ago.
    action : In(4)
        The action of the row given two cycles ago.
    first, second : In(16)
        The episode's two numbers: in planning mode its accuracy and its part of the effects.
    write_episode : Out(range(episodes))
        Episode to write.
    write_row : Out(row_width)
        A row of the word to write.
    write_word, write_word_en : Out
        Policy word to write.
    write_first, write_first_en : Out
        First number to write; the episode counts as the newest then, so there are
    newest : Out(stored_width)
        this many episodes up to it, if that is
    grows : Out(1)
        more than are stored. Both come with the write, from registers.
    write_second, write_second_en : Out
        Second number to write.
    store : Out(1)
        Store the policy with ``accuracy`` and no part; for one cycle.
    accuracy : Out(16)
        See above; steady until ``stored_now``.
    stored_now : In(1)
        High for one cycle ``policy_words + 1`` cycles after ``store``.
    compare_start : Out(1)
        Compare the policy with all stored ones, of which there must be one.
    compare : Out(1)
        High from the next cycle until ``compared``.
    compared : In(1)
        High for one cycle: see `SeenScan`.
    seen : In(1)
        With ``compared``: the policy is stored already.
    stored : In(stored_width)
        Number of stored episodes.
    place : In(range(episodes))
        Place of the next episode.
    """

    def __init__(self, params: RLUParams):
        episode = range(params.episodes)
        super().__init__(
            {
                "active": Out(1),
                "read_episode": Out(episode),
                "read_row": Out(params.row_width),
                "word": In(32),
                "action": In(4),
                "first": In(16),
                "second": In(16),
                "write_episode": Out(episode),
                "write_row": Out(params.row_width),
                "write_word": Out(32),
                "write_word_en": Out(1),
                "write_first": Out(16),
                "write_first_en": Out(1),
                "newest": Out(params.stored_width),
                "grows": Out(1),
                "write_second": Out(16),
                "write_second_en": Out(1),
                "store": Out(1),
                "accuracy": Out(16),
                "stored_now": In(1),
                "compare_start": Out(1),
                "compare": Out(1),
                "compared": In(1),
                "seen": In(1),
                "stored": In(params.stored_width),
                "place": In(episode),
            }
        )
