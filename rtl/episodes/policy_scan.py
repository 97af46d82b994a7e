"""Scans of a drawn policy: whether it has been tried before, and the sum of its Q-values."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.pipeline import later
from rtl.spec.params import ACTION_WIDTH, ACTIONS_PER_WORD, LANE_WIDTH, RLUParams


class SeenScan(wiring.Component):
    """Compares the rows in use of the policy with those of every stored one.

    A memory's answer comes late in its cycle, so it goes straight into registers.

    Latency: ``done`` comes ``stored * ceil(states / 8) + 4`` cycles after ``start``. Throughput: eight rows per cycle.

    Parameters
    ----------
    params : RLUParams
        With ``episodes`` above 0.

    Members
    -------
    start : In(1)
        Begin; not to be given again before ``done``.
    states : In(bits for 0..states)
        Rows in use, at least 1.
    but_last : In(1)
        The last row in use does not count.
    stored : In(stored_width)
        Number of stored episodes, at least 1.
    read_episode : Out(range(episodes))
        Episode wanted from the memory.
    read_row : Out(row_width)
        First row of the word wanted, from the memory and from the policy store.
    word, policy_word : In(32)
        The answers of the memory and the policy store.
    done : Out(1)
        High for one cycle.
    seen : Out(1)
        With ``done``: the policy is stored already.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "states": In(params.states.bit_length()),
                "but_last": In(1),
                "stored": In(params.stored_width),
                "read_episode": Out(range(params.episodes)),
                "read_row": Out(params.row_width),
                "word": In(32),
                "policy_word": In(32),
                "done": Out(1),
                "seen": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        last_row = Signal(p.row_width)
        m.d.comb += last_row.eq(self.states - 1)
        number = Signal(range(max(2, p.policy_words)), name="word")
        episode = Signal(range(p.episodes))
        running, last_word, last_episode = Signal(), Signal(), Signal()
        m.d.comb += [
            last_word.eq(number == last_row[LANE_WIDTH:]),
            last_episode.eq(episode == self.stored - 1),
            self.read_episode.eq(episode),
            self.read_row.eq(number << LANE_WIDTH),
        ]
        with m.If(running):
            m.d.sync += number.eq(number + 1)
            with m.If(last_word):
                m.d.sync += [number.eq(0), episode.eq(episode + 1)]
                with m.If(last_episode):
                    m.d.sync += [episode.eq(0), running.eq(0)]
        with m.Elif(self.start):
            m.d.sync += running.eq(1)

        # Actions beyond the last row that counts do not.
        valid, final = later(m, running, 2), later(m, last_word, 2)
        word, policy_word = later(m, self.word, 1), later(m, self.policy_word, 1)
        last = last_row[:LANE_WIDTH]
        counts = Cat(~final | (i < last) | ((i == last) & ~self.but_last) for i in range(ACTIONS_PER_WORD))
        differing = Cat(
            (word.word_select(i, ACTION_WIDTH) != policy_word.word_select(i, ACTION_WIDTH)) & counts[i]
            for i in range(ACTIONS_PER_WORD)
        )
        differs, before = Signal(), Signal()
        m.d.sync += differs.eq(differing.any())
        compared, whole = later(m, valid, 1), later(m, final, 1)
        with m.If(self.start):
            m.d.sync += [self.seen.eq(0), before.eq(0)]
        with m.Elif(compared):
            m.d.sync += before.eq((before | differs) & ~whole)
            with m.If(whole & ~before & ~differs):
                m.d.sync += self.seen.eq(1)
        m.d.comb += self.done.eq(later(m, running & last_word & last_episode, 4))
        return m


class ScoreScan(wiring.Component):
    """Adds up the Q-values along the policy; a row adds nothing if it does not have its action.

    Latency: ``done`` comes ``states + 4`` cycles after ``start``. Throughput: one row per cycle.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    start : In(1)
        Begin; not to be given again before ``done``.
    states : In(bits for 0..states)
        Rows in use, at least 1.
    read_row : Out(row_width)
        Row wanted from the Q-table and the policy store.
    old : In(signed(q_width))
        The row reader's answer: the policy's entry.
    legal : In(1)
        The row reader's answer: whether the row has the action.
    done : Out(1)
        High for one cycle.
    total : Out(signed(q_width + row_width))
        With ``done`` and until the next start: the sum.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "states": In(params.states.bit_length()),
                "read_row": Out(params.row_width),
                "old": In(signed(params.q_width)),
                "legal": In(1),
                "done": Out(1),
                "total": Out(signed(params.q_width + params.row_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        running, last = Signal(), Signal()
        m.d.comb += last.eq(self.read_row == self.states - 1)
        with m.If(running):
            m.d.sync += self.read_row.eq(self.read_row + 1)
            with m.If(last):
                m.d.sync += [self.read_row.eq(0), running.eq(0)]
        with m.Elif(self.start):
            m.d.sync += running.eq(1)
        answered = later(m, running, 4)  # the row reader's latency
        with m.If(later(m, self.start, 1)):
            m.d.sync += self.total.eq(0)
        with m.Elif(answered & self.legal):
            m.d.sync += self.total.eq(self.total + self.old)
        m.d.comb += self.done.eq(later(m, running & last, 5))
        return m
