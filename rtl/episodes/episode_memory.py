"""Memory of episodes: the policies tried so far, and the reward of each."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from rtl.primitives.pipeline import later
from rtl.spec.params import RLUParams


class EpisodeMemory(wiring.Component):
    """``episodes`` policies, eight actions per word, each with its reward and a row's share of it.

    It takes ``episodes * policy_words * 32`` bits for policies and ``episodes * 2 * q_width`` for rewards: 6 KB for
    512 episodes of up to 16 rows. A read takes 1 cycle, a write 1; both every cycle, but never at the same place.
    In a planning unit both numbers have 16 bits, are sign-extended, and can be written one by one.

    Parameters
    ----------
    params : RLUParams
        With ``episodes`` above 0.

    Members
    -------
    read_episode : In(range(episodes))
        Episode to read.
    read_row : In(row_width)
        Row of its policy.
    word : Out(32)
        The policy word with the row given a cycle ago.
    action : Out(4)
        The action of the row given two cycles ago: a memory's answer comes late, so it goes into a register first.
    reward, share : Out(signed(q_width))
        That episode's reward and share: the low bits of its two numbers.
    first, second : Out(16)
        Only in a planning unit: all bits of them.
    write_episode : In(range(episodes))
        Episode to write.
    write_row : In(row_width)
        A row of the word to write.
    write_word : In(32)
        Policy word to write.
    write_word_en : In(1)
        Write it.
    write_reward, write_share : In(signed(q_width))
        Reward and share to write.
    write_reward_en : In(1)
        Write both.
    write_first, write_second, write_first_en, write_second_en : In
        Only in a planning unit, in place of these: numbers of 16 bits, each with its own enable.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        q = signed(params.q_width)
        super().__init__(
            {
                "read_episode": In(range(params.episodes)),
                "read_row": In(params.row_width),
                "word": Out(32),
                "action": Out(4),
                "reward": Out(q),
                "share": Out(q),
                "write_episode": In(range(params.episodes)),
                "write_row": In(params.row_width),
                "write_word": In(32),
                "write_word_en": In(1),
                **(
                    {
                        "first": Out(16),
                        "second": Out(16),
                        "write_first": In(16),
                        "write_second": In(16),
                        "write_first_en": In(1),
                        "write_second_en": In(1),
                    }
                    if params.points
                    else {"write_reward": In(q), "write_share": In(q), "write_reward_en": In(1)}
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        q = signed(p.q_width)
        attributes = {"no_rw_check": 1}
        m.submodules.policies = policies = memory.Memory(
            shape=32, depth=p.episodes * p.policy_words, init=[], attrs=attributes
        )
        numbers = data.ArrayLayout(16, 2) if p.points else data.StructLayout({"reward": q, "share": q})
        m.submodules.rewards = rewards = memory.Memory(shape=numbers, depth=p.episodes, init=[], attrs=attributes)
        read, write = policies.read_port(), policies.write_port()
        reward_read, reward_write = rewards.read_port(), rewards.write_port(granularity=1 if p.points else None)
        word_bits = (p.policy_words - 1).bit_length()
        lane = later(m, self.read_row[:3], 2)
        if p.points:
            write_numbers = [
                reward_write.data.eq(Cat(self.write_first, self.write_second)),
                reward_write.en.eq(Cat(self.write_first_en, self.write_second_en)),
                self.first.eq(reward_read.data[0]),
                self.second.eq(reward_read.data[1]),
            ]
            reward, share = reward_read.data[0], reward_read.data[1]
        else:
            write_numbers = [
                reward_write.data.reward.eq(self.write_reward),
                reward_write.data.share.eq(self.write_share),
                reward_write.en.eq(self.write_reward_en),
            ]
            reward, share = reward_read.data.reward, reward_read.data.share
        m.d.comb += [
            read.addr.eq(Cat(self.read_row[3 : 3 + word_bits], self.read_episode)),
            self.word.eq(read.data),
            self.action.eq(later(m, read.data, 1).word_select(lane, 4)),
            reward_read.addr.eq(self.read_episode),
            self.reward.eq(reward),
            self.share.eq(share),
            write.addr.eq(Cat(self.write_row[3 : 3 + word_bits], self.write_episode)),
            write.data.eq(self.write_word),
            write.en.eq(self.write_word_en),
            reward_write.addr.eq(self.write_episode),
            *write_numbers,
        ]
        return m
