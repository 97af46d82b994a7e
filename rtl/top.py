"""The RL unit: register file, Q-table, reward calculator, updater and sampler behind one bus."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .fixed import signed_of
from .params import RLUParams
from .policy_store import PolicyStore
from .q_table import QTable
from .register_file import BUS, RegisterFile
from .reward import RewardCalculator
from .sampler import PolicySampler
from .updater import QTableUpdater


def probe_layout(params: RLUParams) -> data.StructLayout:
    """What the unit shows of its inner life, for lockstep checking; leave it open in a design."""
    return data.StructLayout(
        {
            "draw": 1,
            "draw_row": params.row_width,
            "draw_decision": params.lfsr_width,
            "draw_choice": params.lfsr_width,
            "action": 1,
            "action_row": params.row_width,
            "action_value": 4,
            "action_explored": 1,
            "write": 1,
            "write_row": params.row_width,
            "write_action": 4,
            "write_value": signed(params.q_width),
            "reward": 1,
            "reward_value": signed(params.q_width),
        }
    )


class RLU(wiring.Component):
    """The RL unit.

    Latency and throughput of the commands are in ``rtl.params``; those of the bus in ``RegisterFile``.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    bus : In(BUS)
        Register interface.
    busy : Out(1)
        A command is running.
    probe : Out(probe_layout(params))
        Draws, actions, Q-table writes and rewards as they happen.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__({"bus": In(BUS), "busy": Out(1), "probe": Out(probe_layout(params))})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.registers = registers = RegisterFile(p)
        m.submodules.q_table = q_table = QTable(p)
        m.submodules.policy_store = store = PolicyStore(p)
        m.submodules.reward = reward = RewardCalculator(p)
        m.submodules.updater = updater = QTableUpdater(p)
        m.submodules.sampler = sampler = PolicySampler(p)
        wiring.connect(m, registers.bus, wiring.flipped(self.bus))
        values = registers.values

        # Sequencer: one bit a job, the lowest runs first. The fifth job is the share of a reward the
        # host wrote, which no command asks for.
        pending = Signal(5)
        clear, compute, update, sample, divide = range(5)
        active, started, finished = Signal(5), Signal(), Signal()
        start = Signal(5)
        m.d.comb += [
            active.eq(pending & -pending),
            start.eq(Mux(started, 0, active)),
            self.busy.eq(pending.any()),
            registers.busy.eq(self.busy),
        ]
        with m.If(self.busy):
            m.d.sync += started.eq(~finished)
            with m.If(finished):
                m.d.sync += pending.eq(pending & ~active)
        with m.Else():
            m.d.sync += pending.eq(Cat(registers.command, registers.reward_load | registers.states_written))

        cycles = Signal(32)
        with m.If(self.busy):
            m.d.sync += cycles.eq(cycles + 1)
        with m.Elif(registers.command.any() | registers.reward_load | registers.states_written):
            m.d.sync += cycles.eq(0)

        # Clear: all banks of one row a cycle.
        clear_row, clearing, cleared = Signal(p.row_width), Signal(), Signal()
        m.d.sync += cleared.eq(0)
        with m.If(clearing):
            m.d.sync += clear_row.eq(clear_row + 1)
            with m.If(clear_row == p.states - 1):
                m.d.sync += [clearing.eq(0), clear_row.eq(0), cleared.eq(1)]
        with m.Elif(start[clear]):
            m.d.sync += clearing.eq(1)
        m.d.comb += finished.eq(
            (active[clear] & cleared)
            | ((active[compute] | active[divide]) & reward.done)
            | (active[update] & updater.done)
            | (active[sample] & sampler.done)
        )

        for name in (
            "accuracy", "latency", "energy", "weight_a", "weight_l", "weight_e", "accuracy_th", "latency_th",
            "energy_th", "latency_high", "energy_high", "latency_gain", "energy_gain", "states",
        ):  # fmt: skip
            m.d.comb += getattr(reward, name).eq(values[name])
        # The host's reward is taken when it is written; dividing is a job of its own.
        m.d.comb += [
            reward.start.eq(start[compute]),
            reward.load.eq(registers.reward_load),
            reward.load_value.eq(signed_of(registers.word, p.q_width)),
            reward.divide.eq(start[divide]),
            updater.start.eq(start[update]),
            updater.states.eq(values.states),
            updater.alpha.eq(values.alpha),
            updater.gamma.eq(values.gamma),
            updater.share.eq(reward.share),
            updater.last_reward.eq(Mux(values.mode[0], reward.reward, reward.share)),
            sampler.start.eq(start[sample]),
            sampler.states.eq(values.states),
            sampler.epsilon.eq(values.epsilon),
            sampler.lfsr_load.eq(registers.lfsr_load),
            sampler.lfsr_value.eq(registers.word),
            registers.lfsr.eq(sampler.lfsr),
            registers.reward.eq(reward.reward),
            registers.share.eq(reward.share),
            registers.cycles.eq(cycles),
            registers.accuracy_outlier.eq(reward.accuracy_outlier),
            registers.latency_outlier.eq(reward.latency_outlier),
            registers.energy_outlier.eq(reward.energy_outlier),
            registers.bad_action.eq(updater.bad_action),
        ]

        # The memories serve whoever is at work, and the bus when nobody is.
        read_row = Mux(active[sample], sampler.read_row, Mux(active[update], updater.read_row, registers.row))
        m.d.comb += [
            q_table.read_row.eq(read_row),
            store.read_row.eq(read_row),
            registers.q_row.eq(q_table.row),
            registers.policy_word.eq(store.word),
            registers.count.eq(store.count),
            updater.row.eq(q_table.row),
            updater.action.eq(store.action),
            updater.count.eq(store.count),
            sampler.row.eq(q_table.row),
            sampler.count.eq(store.count),
            store.write_row.eq(Mux(sampler.write_en, sampler.write_row, registers.row)),
            store.write_action.eq(sampler.write_action),
            store.write_action_en.eq(sampler.write_en),
            store.write_word.eq(registers.word),
            store.write_word_en.eq(registers.policy_write),
            store.write_count.eq(registers.word),
            store.write_count_en.eq(registers.count_write),
        ]
        with m.If(clearing):
            m.d.comb += [q_table.write_row.eq(clear_row), q_table.write_mask.eq(~0)]
        with m.Elif(updater.write_en):
            m.d.comb += [
                q_table.write_row.eq(updater.write_row),
                q_table.write_mask.eq(1 << updater.write_action),
                q_table.write_even.eq(updater.write_value),
                q_table.write_odd.eq(updater.write_value),
            ]
        with m.Else():
            m.d.comb += [
                q_table.write_row.eq(registers.row),
                q_table.write_mask.eq(registers.q_write_mask),
                q_table.write_even.eq(signed_of(registers.word[:16], p.q_width)),
                q_table.write_odd.eq(signed_of(registers.word[16:], p.q_width)),
            ]

        m.d.comb += [
            self.probe.draw.eq(sampler.draw_en),
            self.probe.draw_row.eq(sampler.draw_row),
            self.probe.draw_decision.eq(sampler.draw_decision),
            self.probe.draw_choice.eq(sampler.draw_choice),
            self.probe.action.eq(sampler.write_en),
            self.probe.action_row.eq(sampler.write_row),
            self.probe.action_value.eq(sampler.write_action),
            self.probe.action_explored.eq(sampler.explored),
            self.probe.write.eq(updater.write_en),
            self.probe.write_row.eq(updater.write_row),
            self.probe.write_action.eq(updater.write_action),
            self.probe.write_value.eq(updater.write_value),
            self.probe.reward.eq(reward.reward_valid),
            self.probe.reward_value.eq(reward.reward),
        ]
        return m
