"""Tournament: the best of several stored episodes drawn at random."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.fixed import less
from rtl.primitives.pipeline import later
from rtl.spec.params import RLUParams


class Tournament(wiring.Component):
    """Draws stored episodes, with replacement, and keeps the first one with the largest reward.

    Each draw advances the LFSR by its whole width; ``number * stored >> lfsr_width`` is the episode drawn.

    Latency: ``done`` comes ``draws + 5`` cycles after ``start``. Throughput: one draw per cycle.

    Parameters
    ----------
    params : RLUParams
        With ``episodes`` above 0.

    Members
    -------
    start : In(1)
        Begin; do not raise it again before ``done``.
    draws : In(8)
        Episodes to draw, at least 1; steady while running.
    stored : In(stored_width)
        Number of stored episodes, at least 1.
    lfsr_advance : Out(1)
        Advance the LFSR by its width.
    product : In(lfsr_width + stored_width)
        The LFSR's state a cycle ago times ``stored``.
    read_episode : Out(range(episodes))
        Episode wanted from the memory.
    reward, share : In(signed(q_width))
        The memory's answer.
    done : Out(1)
        High for one cycle; the winner below is right from the next cycle until the next start.
    winner : Out(range(episodes))
        The best episode drawn.
    winner_reward, winner_share : Out(signed(q_width))
        Its reward and share.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        q = signed(params.q_width)
        super().__init__(
            {
                "start": In(1),
                "draws": In(8),
                "stored": In(params.stored_width),
                "lfsr_advance": Out(1),
                "product": In(params.lfsr_width + params.stored_width),
                "read_episode": Out(range(params.episodes)),
                "reward": In(q),
                "share": In(q),
                "done": Out(1),
                "winner": Out(range(params.episodes)),
                "winner_reward": Out(q),
                "winner_share": Out(q),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        left = Signal(8)
        drawing, last = Signal(), Signal()
        m.d.comb += [drawing.eq(left != 0), last.eq(left == 1), self.lfsr_advance.eq(drawing)]
        with m.If(self.start):
            m.d.sync += left.eq(self.draws)
        with m.Elif(drawing):
            m.d.sync += left.eq(left - 1)

        # The LFSR holds the number a cycle after the draw; its product comes a cycle later, then the memory's answer.
        # That comes late in its cycle, so it goes into a register.
        m.d.sync += self.read_episode.eq(self.product >> p.lfsr_width)
        valid = later(m, drawing, 5)
        episode = later(m, self.read_episode, 2)
        reward, share = later(m, self.reward, 1), later(m, self.share, 1)
        first = Signal()
        with m.If(self.start):
            m.d.sync += first.eq(1)
        with m.Elif(valid):
            m.d.sync += first.eq(0)
            with m.If(first | less(self.winner_reward, reward)):
                m.d.sync += [
                    self.winner.eq(episode),
                    self.winner_reward.eq(reward),
                    self.winner_share.eq(share),
                ]
        m.d.comb += self.done.eq(later(m, last, 5))
        return m
