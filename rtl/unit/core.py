"""The RL unit without its bus: memories, reward calculator, updater, sampler, and the sequencer that starts them."""

from __future__ import annotations

import enum

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.episodes.episode_control import EpisodeControl
from rtl.planning.planner import Planner
from rtl.primitives.fixed import signed_of
from rtl.primitives.pipeline import later
from rtl.primitives.select import first_of
from rtl.spec.params import RLUParams
from rtl.spec.registers import field_of
from rtl.unit.policy_store import PolicyStore
from rtl.unit.q_table import QTable
from rtl.unit.register_file import CoreSignature, halves_of, settings_layout
from rtl.unit.reward import RewardCalculator
from rtl.unit.row_reader import RowReader
from rtl.unit.sampler import PolicySampler
from rtl.unit.updater import QTableUpdater


def probe_layout(params: RLUParams) -> data.StructLayout:
    """Events inside the unit, shown for lockstep checking; leave it open in a design."""
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


class Job(enum.IntEnum):
    """Jobs of the core, in the order in which they run: the bits of COMMAND, and one without a command."""

    CLEAR = field_of("COMMAND", "clear").lsb
    REWARD = field_of("COMMAND", "reward").lsb
    UPDATE = field_of("COMMAND", "update").lsb
    SAMPLE = field_of("COMMAND", "sample").lsb
    RECOMMEND = field_of("COMMAND", "recommend").lsb  #: Only in a planning unit.
    DIVIDE = -1  #: The last one: computes the share of a reward that the host wrote.


class RLUCore(wiring.Component):
    """The computing part of the unit. Strobes start it; the register file holds its settings.

    Latency and throughput of the commands are in ``rtl.spec.params``.

    Parameters
    ----------
    params : RLUParams

    Members
    -------
    settings : In(settings_layout(params))
        Registers; steady while ``busy``.
    divide : In(1)
        Compute the share again, because REWARD or STATES was written. Not while ``busy``.
    probe : Out(probe_layout(params))
        Draws, actions, Q-table writes and rewards as they happen.
    others
        `CoreSignature`, flipped.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        super().__init__(
            {
                "settings": In(settings_layout(params)),
                "divide": In(1),
                "probe": Out(probe_layout(params)),
                **CoreSignature(params).flip().members,
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.q_table = q_table = QTable(p)
        m.submodules.policy_store = store = PolicyStore(p)
        m.submodules.row_reader = reader = RowReader(p)
        m.submodules.reward = reward = RewardCalculator(p)
        m.submodules.updater = updater = QTableUpdater(p)
        m.submodules.sampler = sampler = PolicySampler(p)
        settings = self.settings

        # Sequencer: one bit per job, the lowest runs first.
        jobs = len(self.command) + len(self.divide)
        pending = Signal(jobs)
        active = Signal(jobs)
        started = Signal()
        finished = Signal()
        start = Signal(jobs)
        m.d.comb += [
            active.eq(Cat(pending[i] & ~pending[:i].any() for i in range(len(pending)))),
            start.eq(Mux(started, 0, active)),
            self.busy.eq(pending.any()),
        ]
        with m.If(self.busy):
            m.d.sync += started.eq(~finished)
            with m.If(finished):
                m.d.sync += pending.eq(pending & ~active)
        with m.Else():
            m.d.sync += pending.eq(Cat(self.command, self.divide))

        # Clear: all banks of one row per cycle.
        clear_row = Signal(p.row_width)
        clearing = Signal()
        cleared = Signal()
        m.d.sync += cleared.eq(0)
        with m.If(clearing):
            m.d.sync += clear_row.eq(clear_row + 1)
            with m.If(clear_row == p.states - 1):
                m.d.sync += [clearing.eq(0), clear_row.eq(0), cleared.eq(1)]
        with m.Elif(start[Job.CLEAR]):
            m.d.sync += clearing.eq(1)
        # Each block raises done only for its own work.
        m.d.comb += finished.eq(cleared | reward.done | updater.done | sampler.done)
        start_update, start_sample = start[Job.UPDATE], start[Job.SAMPLE]
        policy_action, share, whole_reward = store.action, reward.share, reward.reward
        lfsr_load, lfsr_value = self.lfsr_load, self.word
        factor_b = sampler.factor_b
        policy_word, epsilon = store.word, settings.epsilon
        if p.episodes:
            m.submodules.episodes = episodes = EpisodeControl(p)
            episodic = settings.mode[field_of("MODE", "episodic").lsb]
            vary, explore = episodic, episodic & episodes.explore
            if p.points:
                m.submodules.planner = planner = Planner(p)
                planning = settings.mode[field_of("MODE", "planning").lsb]
                planned = Signal()  # a job of the planner runs
                # The same without the job's first cycle, in which it reads nothing: a register selects faster.
                at_work, others_work = Signal(), Signal()
                m.d.comb += planned.eq(planning & (active[Job.UPDATE] | active[Job.SAMPLE] | active[Job.RECOMMEND]))
                m.d.sync += [
                    at_work.eq(planned & ~finished),
                    others_work.eq(~planning & (active[Job.UPDATE] | active[Job.SAMPLE]) & ~finished),
                ]
                episodic = episodic & ~planning
                vary, explore = episodic | planning, Mux(planning, planner.explore, episodic & episodes.explore)
                policy_word = planner.tried_word
                # It changes at least two cycles before the sampler's first row.
                epsilon = later(m, Mux(at_work & planner.still, 0, settings.epsilon), 1)
            with m.If(episodic & (active[Job.UPDATE] | active[Job.SAMPLE])):
                m.d.comb += finished.eq(episodes.done)
            m.d.comb += [
                episodes.start_update.eq(start[Job.UPDATE] & episodic),
                episodes.start_sample.eq(start[Job.SAMPLE] & episodic),
                episodes.clear.eq(start[Job.CLEAR]),
                episodes.settings.eq(settings.episodic),
                episodes.states.eq(settings.states),
                episodes.update_done.eq(updater.done),
                episodes.sample_done.eq(sampler.done),
                episodes.worker_row.eq(Mux(active[Job.SAMPLE], sampler.read_row, updater.early_row)),
                episodes.policy_word.eq(policy_word),
                episodes.old.eq(reader.old),
                episodes.legal.eq(reader.legal),
                episodes.reward.eq(reward.reward),
                episodes.share.eq(reward.share),
                episodes.lfsr.eq(sampler.lfsr),
                episodes.product.eq(reward.product),
                sampler.vary.eq(vary),
                sampler.explore.eq(explore),
                sampler.parent.eq(episodes.episode_action),
                sampler.lfsr_advance.eq(episodes.lfsr_advance),
                self.episodes_stored.eq(episodes.stored),
            ]
            start_update, start_sample = (
                Mux(episodic, own, given)
                for own, given in ((episodes.update, start[Job.UPDATE]), (episodes.sample, start[Job.SAMPLE]))
            )
            policy_action = Mux(episodes.replaying, episodes.episode_action, store.action)
            share = Mux(episodes.replaying, episodes.winner_share, reward.share)
            whole_reward = Mux(episodes.replaying, episodes.winner_reward, reward.reward)
            lfsr_load = self.lfsr_load | episodes.lfsr_load
            lfsr_value = Mux(episodes.lfsr_load, episodes.lfsr_value, self.word)
            if p.points:
                self._plan(m, planner, planning, start, active, store, reader, reward, sampler, episodes)
                m.d.comb += [
                    planner.planning.eq(at_work),
                    planner.other_mode.eq(others_work),
                    planner.clear.eq(clearing),
                    planner.clear_row.eq(clear_row),
                ]
                with m.If(planned):
                    m.d.comb += finished.eq(planner.done)
                with m.Elif(active[Job.RECOMMEND]):
                    m.d.comb += finished.eq(1)
                start_update = start_update & ~planning
                start_sample = Mux(planning, planner.sample, start_sample)
                others = Mux(at_work, planner.reader_action, store.action)
                policy_action = Mux(episodes.replaying, episodes.episode_action, others)
            # The LFSR's state times the number of episodes stored, in cycles in which the sampler does not multiply.
            factor_b = Mux(later(m, episodes.lfsr_advance, 1), episodes.stored, sampler.factor_b)

        for name in (
            "accuracy", "latency", "energy", "weight_a", "weight_l", "weight_e", "accuracy_th", "latency_th",
            "energy_th", "latency_high", "energy_high", "latency_gain", "energy_gain", "states",
        ):  # fmt: skip
            m.d.comb += getattr(reward, name).eq(settings[name])
        # The host's reward is stored when it is written; dividing it is a separate job.
        m.d.comb += [
            reward.start.eq(start[Job.REWARD]),
            reward.load.eq(self.reward_load),
            reward.load_value.eq(signed_of(self.word, p.q_width)),
            reward.divide.eq(start[Job.DIVIDE]),
            updater.start.eq(start_update),
            updater.states.eq(settings.states),
            updater.alpha.eq(settings.alpha),
            updater.gamma.eq(settings.gamma),
            updater.share.eq(share),
            updater.reward.eq(whole_reward),
            updater.full_last_reward.eq(settings.mode[0]),
            sampler.start.eq(start_sample),
            sampler.states.eq(settings.states),
            sampler.epsilon.eq(epsilon),
            sampler.lfsr_load.eq(lfsr_load),
            sampler.lfsr_value.eq(lfsr_value),
            self.lfsr.eq(sampler.lfsr),
            self.reward.eq(reward.reward),
            self.share.eq(reward.share),
            self.accuracy_outlier.eq(reward.accuracy_outlier),
            self.latency_outlier.eq(reward.latency_outlier),
            self.energy_outlier.eq(reward.energy_outlier),
            self.bad_action.eq(updater.bad_action),
        ]

        # Sampler and reward calculator never work at the same time, so they share one multiplier.
        m.d.comb += [
            reward.idle_factor_a.eq(sampler.factor_a),
            reward.idle_factor_b.eq(factor_b),
            sampler.product.eq(reward.product),
        ]

        # The bus writes memories a cycle late, because checking takes one. Nothing reads earlier than the next access.
        bus_row, bus_word = later(m, self.row, 1), later(m, self.word, 1)
        bus_mask = later(m, self.q_write_mask, 1)
        even, odd = halves_of(bus_word)

        # The memories serve the block at work, or the bus if none is.
        # A job reads nothing in its first cycle, and the bus in the cycle after the last job: registers select faster.
        sampling, updating = later(m, active[Job.SAMPLE], 1), later(m, active[Job.UPDATE], 1)
        readers = []
        if p.points:
            readers.append((at_work & ~planner.drawing, planner.read_row))
            sampling = sampling | at_work & planner.drawing
        readers += [(sampling, sampler.read_row), (updating, updater.read_row)]
        read_row = store_row = first_of(readers, self.row)
        if p.episodes:
            read_row = first_of([(episodes.scoring, episodes.score_row), *readers], self.row)
            store_row = first_of([(episodes.scanning, episodes.scan_row), *readers], self.row)
        if p.points:
            m.d.comb += planner.store_row.eq(store_row)
        m.d.comb += [
            q_table.read_row.eq(read_row),
            store.read_row.eq(store_row),
            self.q_row.eq(reader.read),
            self.policy_word.eq(later(m, store.word, 1)),
            self.count.eq(later(m, store.last, 1) + 1),
            reader.row.eq(q_table.row),
            reader.action.eq(policy_action),
            reader.last.eq(store.last),
            reader.others.eq(active[Job.UPDATE]),
            updater.action.eq(policy_action),
            updater.legal.eq(reader.legal),
            updater.old.eq(reader.old),
            updater.maximum.eq(reader.maximum),
            sampler.count.eq(store.count),
            sampler.greedy.eq(reader.index),
            store.write_row.eq(Mux(sampler.write_en, sampler.write_row, bus_row)),
            store.write_action.eq(sampler.write_action),
            store.write_action_en.eq(sampler.write_en),
            store.write_word.eq(bus_word),
            store.write_word_en.eq(later(m, self.policy_write, 1)),
            store.write_count.eq(bus_word),
            store.write_count_en.eq(later(m, self.count_write, 1)),
        ]
        if p.points:
            with m.If(planner.write_action_en | planner.write_word_en):
                m.d.comb += [
                    store.write_row.eq(planner.write_row),
                    store.write_action.eq(planner.write_action),
                    store.write_action_en.eq(planner.write_action_en),
                    store.write_word.eq(planner.write_word),
                    store.write_word_en.eq(planner.write_word_en),
                ]
        with m.If(clearing):
            m.d.comb += [q_table.write_row.eq(clear_row), q_table.write_mask.eq(~0)]
        with m.Elif(active[Job.UPDATE]):
            m.d.comb += [
                q_table.write_row.eq(updater.write_row),
                q_table.write_mask.eq(Mux(updater.write_en, 1 << updater.write_action, 0)),
                q_table.write_even.eq(updater.write_value),
                q_table.write_odd.eq(updater.write_value),
            ]
        with m.Else():
            m.d.comb += [
                q_table.write_row.eq(bus_row),
                q_table.write_mask.eq(bus_mask),
                q_table.write_even.eq(signed_of(even, p.q_width)),
                q_table.write_odd.eq(signed_of(odd, p.q_width)),
            ]

        if p.points:
            with m.If(planner.effect_en):
                m.d.comb += [
                    q_table.write_row.eq(planner.effect_row),
                    q_table.write_mask.eq(1 << planner.effect_action),
                    q_table.write_even.eq(planner.effect),
                    q_table.write_odd.eq(planner.effect),
                ]

        written = updater.write_en, updater.write_row, updater.write_action, updater.write_value
        if p.points:  # no m.If: Icarus Verilog leaves the other bits of the probe unknown then
            effect = planner.effect_en, planner.effect_row, planner.effect_action, planner.effect
            written = tuple(Mux(planner.effect_en, ours, given) for ours, given in zip(effect, written, strict=True))
        m.d.comb += [
            self.probe.draw.eq(sampler.draw_en),
            self.probe.draw_row.eq(sampler.draw_row),
            self.probe.draw_decision.eq(sampler.draw_decision),
            self.probe.draw_choice.eq(sampler.draw_choice),
            self.probe.action.eq(sampler.write_en),
            self.probe.action_row.eq(sampler.write_row),
            self.probe.action_value.eq(sampler.write_action),
            self.probe.action_explored.eq(sampler.explored),
            self.probe.write.eq(written[0]),
            self.probe.write_row.eq(written[1]),
            self.probe.write_action.eq(written[2]),
            self.probe.write_value.eq(written[3]),
            self.probe.reward.eq(reward.reward_valid),
            self.probe.reward_value.eq(reward.reward),
        ]
        return m

    def _plan(self, m, planner, planning, start, active, store, reader, reward, sampler, episodes):
        """Connect the planner of a unit that has one."""
        m.d.comb += [
            planner.update.eq(start[Job.UPDATE] & planning),
            planner.plan.eq(start[Job.SAMPLE] & planning),
            planner.recommend.eq(start[Job.RECOMMEND] & planning),
            planner.recommending.eq(active[Job.RECOMMEND]),
            # It takes two comparisons; registers do not change just before a command.
            planner.missed.eq(later(m, reward.latency_outlier | reward.energy_outlier, 1)),
            planner.action.eq(store.action),
            planner.last.eq(store.last),
            planner.word.eq(store.word),
            planner.old.eq(reader.old),
            planner.legal.eq(reader.legal),
            planner.sample_done.eq(sampler.done),
            planner.sampler_row.eq(sampler.read_row),
            *(planner.settings[name].eq(self.settings[name]) for name in planner.settings.shape().members),
            self.predicted.eq(planner.predicted),
            self.episode_place.eq(planner.episodes.place),
        ]
        wiring.connect(m, wiring.flipped(self.memory), planner.host)
        wiring.connect(m, planner.score, reward.planned)
        wiring.connect(m, planner.episodes, episodes.planner)
