"""What each row has besides its Q-values: the chosen action and the number of actions."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from rtl.spec.params import ACTION_WIDTH, ACTIONS_PER_WORD, LANE_WIDTH, RLUParams


class PolicyStore(wiring.Component):
    """Memories of the policy (eight actions per word) and of every row's number of actions.

    Reads take 1 cycle, writes 1; every port takes one access per cycle. As in the Q-table, a read in the cycle of
    a write to the same place is undefined.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    read_row : In(row_width)
        Row to read.
    word : Out(32)
        The policy word with the row given a cycle ago.
    action : Out(4)
        That row's action.
    count : Out(5)
        That row's number of actions, 1..16.
    last : Out(4)
        Its highest action, which is ``count - 1``.
    write_row : In(row_width)
        Row to write.
    write_action : In(4)
        Action to write.
    write_action_en : In(1)
        Write it.
    write_word : In(32)
        Policy word to write.
    write_word_en : In(1)
        Write the whole word that holds ``write_row``.
    write_count : In(5)
        Number of actions to write.
    write_count_en : In(1)
        Write it.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "read_row": In(params.row_width),
                "word": Out(32),
                "action": Out(4),
                "count": Out(5),
                "last": Out(4),
                "write_row": In(params.row_width),
                "write_action": In(4),
                "write_action_en": In(1),
                "write_word": In(32),
                "write_word_en": In(1),
                "write_count": In(5),
                "write_count_en": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Every address has a row, so no read is undefined. There is at least one address bit.
        depth = 1 << self.params.row_width
        words = max(2, depth // ACTIONS_PER_WORD)
        m.submodules.policy = policy = memory.Memory(shape=32, depth=words, init=[], attrs={"no_rw_check": 1})
        # The count less one is stored, so 1..16 fits in four bits.
        m.submodules.counts = counts = memory.Memory(
            shape=ACTION_WIDTH,
            depth=depth,
            init=[count - 1 for count in self.params.counts],
            attrs={"no_rw_check": 1, **({"ram_style": "block"} if depth > 64 else {})},
        )
        policy_read, policy_write = policy.read_port(), policy.write_port(granularity=ACTION_WIDTH)
        count_read, count_write = counts.read_port(), counts.write_port()
        lane = Signal(LANE_WIDTH)
        m.d.sync += lane.eq(self.read_row[:LANE_WIDTH])
        m.d.comb += [
            policy_read.addr.eq(self.read_row[LANE_WIDTH:]),
            self.word.eq(policy_read.data),
            self.action.eq(policy_read.data.word_select(lane, ACTION_WIDTH)),
            count_read.addr.eq(self.read_row),
            self.count.eq(count_read.data + 1),
            self.last.eq(count_read.data),
            policy_write.addr.eq(self.write_row[LANE_WIDTH:]),
            policy_write.data.eq(self.write_word),
            policy_write.en.eq(self.write_word_en.replicate(ACTIONS_PER_WORD)),
            count_write.addr.eq(self.write_row),
            count_write.data.eq(self.write_count - 1),
            count_write.en.eq(self.write_count_en),
        ]
        with m.If(self.write_action_en):
            m.d.comb += [
                policy_write.data.eq(Cat(self.write_action for _ in range(ACTIONS_PER_WORD))),
                policy_write.en.eq(1 << self.write_row[:LANE_WIDTH]),
            ]
        return m
