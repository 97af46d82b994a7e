"""The planner: its memories, its blocks, and the host's way to the memories."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.episodes.planner_port import PlannerPort
from rtl.planning.learner import EffectLearner
from rtl.planning.memories import COST, CostMemory, TrialMemory
from rtl.planning.multiplier import Multiplier
from rtl.planning.plan_search import PlanSearch
from rtl.planning.policy_walk import PolicySums, PolicyWalk
from rtl.planning.valuer import ScoreSignature, Valuer, accuracy_of, fraction
from rtl.primitives.interface import Interface
from rtl.primitives.pipeline import later
from rtl.spec.params import ACTION_WIDTH, ACTIONS_PER_WORD, LANE_WIDTH, UNKNOWN, RLUParams
from rtl.spec.registers import BY_NAME, MEMORIES, field_of

_SETTINGS = ("alpha", "accuracy", "states", "planning", "doubt", "ridge")


class HostSignature(Interface):
    """The host's way to the planner's memories (registers MEMORY_ADDRESS and MEMORY_DATA), seen from the host.

    Members
    -------
    address : Out(MEMORY_ADDRESS)
        The memory and the word; one that the unit has.
    data : In(32)
        The word addressed two cycles ago, while no command runs.
    write : Out(1)
        Write ``write_data`` to it; while no command runs.
    write_data : Out(32)
        See above.
    """

    def __init__(self, params: RLUParams):
        super().__init__(
            {
                "address": Out(BY_NAME["MEMORY_ADDRESS"].width(params)),
                "data": In(32),
                "write": Out(1),
                "write_data": Out(32),
            }
        )


class Planner(wiring.Component):
    """What MODE.planning adds to the unit (docs/understand/planning.md).

    Updater and episode replays stay idle in this mode. The sampler and the reward calculator work for the planner.

    Latency of the commands: `planned_update_cycles` and others of ``rtl.spec.params``.

    Parameters
    ----------
    params : RLUParams
        With ``points`` above 0.

    Members
    -------
    settings : In(StructLayout)
        The registers that it needs, by lower-case name.
    missed : In(1)
        The measured latency or energy missed its threshold.
    update, plan, recommend : In(1)
        Start learning, a plan, a recommendation; not while another one runs.
    planning, recommending, other_mode : In(1)
        One of these runs, since the cycle after its start; it is a recommendation; the same as the first for an
        update or a sample of another mode.
    done : Out(1)
        High for one cycle.
    clear, clear_row : In
        Forget the trials of a row, and that any accuracy was measured.
    predicted : Out(coef_width)
        Accuracy predicted for the last plan.
    host : In(HostSignature(params))
        The host's accesses.
    episodes : Out(PlannerPort(params))
        The episode memory.
    read_row : Out(row_width)
        Row wanted from Q-table and policy store while not ``drawing``.
    store_row : In(row_width)
        Row that the policy store reads, which is another one while policies are compared.
    action, last, word : In
        The policy store's answers, a cycle later.
    tried_word : Out(32)
        The policy word, with the row that is being tried.
    reader_action : Out(4)
        The action that the row reader must take.
    old, legal : In
        The row reader's answer.
    write_row, write_action, write_action_en, write_word, write_word_en : Out
        To the policy store.
    sample, explore, still, drawing, sample_done, sampler_row
        The sampler: start it, every row explores, no row explores, it is at work; it is done, and the row that it
        wants, which Q-table and policy store must read then.
    score : Out(ScoreSignature(params))
        The reward calculator.
    effect_en, effect_row, effect_action, effect : Out
        A new effect, for the Q-table.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        row, q = params.row_width, signed(params.q_width)
        super().__init__(
            {
                "settings": In(data.StructLayout({n: BY_NAME[n.upper()].width(params) for n in _SETTINGS})),
                "missed": In(1),
                "update": In(1),
                "plan": In(1),
                "recommend": In(1),
                "planning": In(1),
                "recommending": In(1),
                "other_mode": In(1),
                "done": Out(1),
                "clear": In(1),
                "clear_row": In(row),
                "predicted": Out(params.coef_width),
                "host": In(HostSignature(params)),
                "episodes": Out(PlannerPort(params)),
                "read_row": Out(row),
                "store_row": In(row),
                "action": In(ACTION_WIDTH),
                "last": In(ACTION_WIDTH),
                "word": In(32),
                "tried_word": Out(32),
                "reader_action": Out(ACTION_WIDTH),
                "old": In(q),
                "legal": In(1),
                "write_row": Out(row),
                "write_action": Out(ACTION_WIDTH),
                "write_action_en": Out(1),
                "write_word": Out(32),
                "write_word_en": Out(1),
                "sample": Out(1),
                "explore": Out(1),
                "still": Out(1),
                "drawing": Out(1),
                "sample_done": In(1),
                "sampler_row": In(row),
                "score": Out(ScoreSignature(params)),
                "effect_en": Out(1),
                "effect_row": Out(row),
                "effect_action": Out(ACTION_WIDTH),
                "effect": Out(q),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        settings, memory, host = self.settings, self.episodes, self.host
        m.submodules.costs = costs = CostMemory(p)
        m.submodules.trials = trials = TrialMemory(p)
        m.submodules.walk = walk = PolicyWalk(p)
        m.submodules.sums = sums = PolicySums(p)
        m.submodules.multiplier = multiplier = Multiplier()
        m.submodules.valuer = valuer = Valuer(p)
        m.submodules.learner = learner = EffectLearner(p)
        m.submodules.search = search = PlanSearch(p)

        # One of learner and search is at work; each gives its orders to walk and multiplier.
        learning = Signal()
        with m.If(self.update):
            m.d.sync += learning.eq(1)
        with m.Elif(self.done):
            m.d.sync += learning.eq(0)
        for shared, (of_learner, of_search) in (
            (walk.order, (learner.walk, search.walk)),
            (multiplier.user, (learner.multiplier, valuer.multiplier)),
        ):
            for name, member in shared.signature.members.items():
                ours = getattr(shared, name)
                if member.flow is In:
                    m.d.comb += ours.eq(Mux(learning, getattr(of_learner, name), getattr(of_search, name)))
                else:
                    m.d.comb += [getattr(user, name).eq(ours) for user in (of_learner, of_search)]
        wiring.connect(m, valuer.score, wiring.flipped(self.score))

        # A memory's answer comes late in its cycle.
        first, second = later(m, memory.first, 1), later(m, memory.second, 1)
        lane = later(m, walk.early_row[:LANE_WIDTH], 2)
        stored_word = later(m, memory.word, 1)
        stored_action = stored_word.word_select(lane, ACTION_WIDTH)
        cost = Signal(COST)
        m.d.sync += cost.eq(costs.cost)

        # The policy, with the row that is being tried.
        answered_row = later(m, self.store_row, 1)
        here = search.trying & (answered_row == search.try_row)
        tried = Mux(here, search.try_action, self.action)
        same_word = search.trying & (answered_row[LANE_WIDTH:] == search.try_row[LANE_WIDTH:])
        for i in range(ACTIONS_PER_WORD):
            in_lane = same_word & (search.try_row[:LANE_WIDTH] == i)
            bits = slice(ACTION_WIDTH * i, ACTION_WIDTH * (i + 1))
            m.d.comb += self.tried_word[bits].eq(Mux(in_lane, search.try_action, self.word[bits]))

        m.d.comb += [
            walk.states.eq(settings.states),
            walk.action.eq(Mux(walk.stored, stored_action, tried)),
            walk.last.eq(self.last),
            walk.old.eq(self.old),
            walk.legal.eq(self.legal),
            walk.trials.eq(trials.row),
            walk.cost.eq(cost),
            self.reader_action.eq(walk.effect_action),
            sums.start.eq(later(m, walk.order.start, 1)),
            sums.visit.eq(walk.visit),
            valuer.start.eq(search.value),
            valuer.sums.eq(sums.sums),
            valuer.measured.eq(search.measured),
            valuer.measured_accuracy.eq(Mux(first[p.coef_frac :].any(), p.coef_one, first[: p.coef_frac])),
            valuer.hopeful.eq(search.hopeful),
            valuer.known.eq(search.known),
            valuer.planning.eq(settings.planning),
            valuer.doubt.eq(settings.doubt),
            self.done.eq(learner.done | search.done),
        ]

        # Learning.
        started = Signal()
        m.d.comb += [
            learner.start.eq(self.update),
            learner.missed.eq(self.missed),
            learner.accuracy.eq(settings.accuracy),
            learner.alpha.eq(settings.alpha),
            learner.states.eq(settings.states),
            learner.planning.eq(settings.planning),
            learner.ridge.eq(settings.ridge),
            learner.started.eq(started),
            learner.stored.eq(memory.stored),
            learner.place.eq(memory.place),
            learner.stored_now.eq(memory.stored_now),
            learner.first.eq(first),
            learner.second.eq(second),
            learner.visit.eq(walk.visit),
            learner.sums.eq(sums.sums),
            memory.store.eq(learner.store),
            memory.accuracy.eq(learner.store_accuracy),
            self.effect_en.eq(learner.write_en),
            self.effect_row.eq(learner.write_row),
            self.effect_action.eq(learner.write_action),
            self.effect.eq(learner.write_value),
        ]

        # Planning.
        m.d.comb += [
            search.start.eq(self.plan | self.recommend),
            search.recommending.eq(self.recommending),
            search.states.eq(settings.states),
            search.planning.eq(settings.planning),
            search.stored.eq(memory.stored),
            search.first.eq(first),
            search.compared.eq(memory.compared),
            search.seen.eq(memory.seen),
            search.episode_word.eq(memory.word),
            search.sample_done.eq(self.sample_done),
            search.value_done.eq(valuer.done),
            search.worth.eq(valuer.worth),
            search.action.eq(self.action),
            search.last.eq(self.last),
            search.word.eq(self.tried_word),
            memory.compare_start.eq(search.compare_start),
            memory.compare.eq(search.compare),
            self.sample.eq(search.sample),
            self.explore.eq(search.explore),
            self.still.eq(search.still),
            self.drawing.eq(search.drawing),
            self.write_row.eq(search.write_row),
            self.write_action.eq(search.write_action),
            self.write_action_en.eq(search.write_action_en),
            self.write_word.eq(search.write_word),
            self.write_word_en.eq(search.write_word_en),
        ]
        with m.If(search.foreseen):
            m.d.sync += self.predicted.eq(fraction(p, accuracy_of(p, sums.sums.effects)))

        # The host's access: a read while nothing runs; a write a cycle late, because checking takes one.
        address = _Address(host.address)
        late = _Address(later(m, host.address, 1))
        write, word = later(m, host.write, 1), later(m, host.write_data, 1)
        of_memory = {memory.name: write & (late.memory == i) for i, memory in enumerate(MEMORIES)}
        answers = {
            "costs": cost,
            "trials": later(m, trials.row[late.action], 1),
            "policies": stored_word,
            "results": Cat(first, second),
        }
        with m.Switch(late.memory):
            for i, one in enumerate(MEMORIES):
                with m.Case(i):
                    m.d.comb += host.data.eq(answers[one.name])
        newest = Signal(p.stored_width)
        # The write before was longer ago, so what is stored is known already.
        m.d.sync += [memory.newest.eq(newest), memory.grows.eq(memory.stored < newest)]
        m.d.comb += [
            memory.active.eq(~self.other_mode),
            costs.write_point.eq(late.point),
            costs.write_row.eq(late.row),
            costs.write_action.eq(late.action),
            costs.write_cost.eq(word),
            costs.write_en.eq(of_memory["costs"]),
            memory.write_row.eq(late.policy_word << LANE_WIDTH),
            memory.write_word.eq(word),
            memory.write_word_en.eq(of_memory["policies"]),
            memory.write_first.eq(word),
            memory.write_first_en.eq(of_memory["results"]),
            newest.eq((address.result + 1)[: len(newest)]),
        ]
        m.d.comb += self.read_row.eq(Mux(walk.walking, walk.read_row, search.read_row))
        with m.If(self.planning):
            m.d.comb += [
                memory.read_episode.eq(Mux(learning, learner.episode, search.episode)),
                memory.read_row.eq(
                    Mux(search.drawing, self.sampler_row, Mux(search.copying, search.read_row, walk.early_row))
                ),
                trials.read_row.eq(walk.trials_row),
                costs.read_point.eq(walk.cost_point),
                costs.read_row.eq(walk.cost_row),
                costs.read_action.eq(walk.cost_action),
                memory.write_episode.eq(learner.episode),
                memory.write_second.eq(learner.part),
                memory.write_second_en.eq(learner.part_en),
            ]
        with m.Else():
            results = address.memory == _RESULTS
            m.d.comb += [
                memory.read_episode.eq(Mux(results, address.result, address.episode)),
                memory.read_row.eq(address.policy_word << LANE_WIDTH),
                trials.read_row.eq(address.row),
                costs.read_point.eq(address.point),
                costs.read_row.eq(address.row),
                costs.read_action.eq(address.action),
                memory.write_episode.eq(Mux(late.memory == _RESULTS, late.result, late.episode)),
                memory.write_second.eq(word[16:]),
                memory.write_second_en.eq(of_memory["results"]),
            ]

        # Counts of trials: the learner's, the host's, or none of a row.
        m.d.comb += [
            trials.write_row.eq(Mux(learning, walk.visit.row, late.row)),
            trials.write_mask.eq(Mux(learning, learner.trials_mask, of_memory["trials"] << late.action)),
            trials.write_count.eq(Mux(learning, learner.trials, word)),
        ]
        with m.If(learner.starts | (of_memory["results"] & (word[:16] != UNKNOWN))):
            m.d.sync += started.eq(1)
        with m.If(self.clear):
            m.d.comb += [
                trials.write_row.eq(self.clear_row),
                trials.write_mask.eq(~0),
                trials.write_count.eq(0),
            ]
            m.d.sync += started.eq(0)
        return m


_RESULTS = next(i for i, memory in enumerate(MEMORIES) if memory.name == "results")


class _Address:
    """The parts of a word of MEMORY_ADDRESS, each for the memories that have it (`rtl.spec.registers.MEMORIES`)."""

    def __init__(self, word):
        select = field_of("MEMORY_ADDRESS", "memory")
        self.memory = word[select.lsb : select.lsb + select.width]
        self.action, self.row, self.point = word[:4], word[4:12], word[12:16]
        self.policy_word, self.episode = word[:5], word[5:16]
        self.result = word[:11]
