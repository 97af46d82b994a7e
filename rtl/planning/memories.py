"""The planner's own memories: known costs, and how often each action was tried."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from rtl.spec.params import ACTION_WIDTH, TRIALS_WIDTH, RLUParams

#: Latency and energy that an action adds, of full scale.
COST = data.StructLayout({"latency": 16, "energy": 16})


def action_bits(params: RLUParams) -> int:
    """Bits that tell the actions of a unit apart, at least 1."""
    return (params.actions - 1).bit_length()


class CostMemory(wiring.Component):
    """A word for each operating point, row and action.

    It takes ``points`` times the rows and actions, each rounded up to a power of two, times 32 bits: 9 KB for 9 points,
    16 rows and 9 actions. A read takes 1 cycle, a write 1; both every cycle, but never at the same place. A read of an
    action or a point that the unit does not have gives anything.

    Parameters
    ----------
    params : RLUParams
        With ``points`` above 0.

    Members
    -------
    read_point, read_action : In(4)
        Operating point and action to read.
    read_row : In(row_width)
        Row to read.
    cost : Out(COST)
        The word asked for a cycle ago.
    write_point, write_row, write_action, write_cost, write_en : In
        The word to write.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        row = In(params.row_width)
        super().__init__(
            {
                "read_point": In(ACTION_WIDTH),
                "read_row": row,
                "read_action": In(ACTION_WIDTH),
                "cost": Out(COST),
                "write_point": In(ACTION_WIDTH),
                "write_row": row,
                "write_action": In(ACTION_WIDTH),
                "write_cost": In(COST),
                "write_en": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        bits = action_bits(p)
        depth = p.points << (p.row_width + bits)
        m.submodules.costs = costs = memory.Memory(shape=COST, depth=depth, init=[], attrs={"no_rw_check": 1})
        read, write = costs.read_port(), costs.write_port()
        m.d.comb += [
            read.addr.eq(Cat(self.read_action[:bits], self.read_row, self.read_point)),
            self.cost.eq(read.data),
            write.addr.eq(Cat(self.write_action[:bits], self.write_row, self.write_point)),
            write.data.eq(self.write_cost),
            write.en.eq(self.write_en),
        ]
        return m


class TrialMemory(wiring.Component):
    """A count of trials for each row and action; a word holds a row.

    A read takes 1 cycle, a write 1; both every cycle, but never at the same place.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    read_row : In(row_width)
        Row to read.
    row : Out(ArrayLayout(TRIALS_WIDTH, actions))
        Counts of the row given a cycle ago.
    write_row : In(row_width)
        Row to write.
    write_mask : In(actions)
        Actions whose count is written.
    write_count : In(TRIALS_WIDTH)
        The count.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "read_row": In(params.row_width),
                "row": Out(data.ArrayLayout(TRIALS_WIDTH, params.actions)),
                "write_row": In(params.row_width),
                "write_mask": In(params.actions),
                "write_count": In(TRIALS_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.trials = trials = memory.Memory(
            shape=data.ArrayLayout(TRIALS_WIDTH, p.actions), depth=1 << p.row_width, init=[], attrs={"no_rw_check": 1}
        )
        read, write = trials.read_port(), trials.write_port(granularity=1)
        m.d.comb += [
            read.addr.eq(self.read_row),
            self.row.eq(read.data),
            write.addr.eq(self.write_row),
            write.en.eq(self.write_mask),
        ]
        m.d.comb += [write.data[i].eq(self.write_count) for i in range(p.actions)]
        return m
