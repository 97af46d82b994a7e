"""The search for a plan: climbs from the best policy known, one changed row after the other."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from rtl.planning.policy_walk import WalkSignature
from rtl.planning.settings import at_least_one, setting
from rtl.primitives.fixed import less
from rtl.primitives.pipeline import later
from rtl.spec.params import ACTION_WIDTH, LANE_WIDTH, UNKNOWN, RLUParams, worth_width
from rtl.spec.registers import BY_NAME, field_of


class PlanSearch(wiring.Component):
    """The commands sample and recommend in planning mode (docs/understand/planning.md).

    It finds the stored policy that is worth most, and climbs from there: the sampler draws a start, then row after row
    takes the action with which the policy is worth most. The best policy met is kept, and becomes POLICY at the end.
    For a sample that is one that was never tried; without one the sampler draws every row.

    Latency: `incumbent_cycles` and others of ``rtl.spec.params``; a candidate takes ``states + 9`` cycles and those of
    the valuer.

    Parameters
    ----------
    params : RLUParams
        With ``points`` above 0.

    Members
    -------
    start : In(1)
        Begin; not to be given again before ``done``.
    recommending : In(1)
        Recommend, in place of sample; steady until ``done``.
    done : Out(1)
        High for one cycle.
    states : In(bits for 0..states)
        Rows in use, at least 1.
    planning : In
        The register PLANNING.
    stored, first, compared, seen : In
        See `PlannerPort`, and so are the next three; ``first`` comes a cycle later.
    episode, compare_start, compare : Out
        ``episode`` is read.
    episode_word : In(32)
        Word of a stored policy, a cycle after the request of a row.
    sample, explore, still : Out(1)
        Start the sampler; every row must explore; no row may.
    sample_done : In(1)
        The sampler is done.
    drawing : Out(1)
        The sampler reads the memories.
    walk : Out(WalkSignature())
        Starts the walks.
    value : Out(1)
        Start the valuer.
    value_done : In(1)
        It is done.
    worth : In(signed(worth_width(params)))
        Its answer.
    measured : Out(1)
        It must believe what was measured of the episode.
    hopeful, known : Out
        It must look for what is to be gained on ``known``.
    copying : Out(1)
        It reads a stored policy, word by word.
    read_row : Out(row_width)
        Row wanted from the policy store and the episode memory, where neither sampler nor walk reads.
    action, last : In(4)
        The policy store's answer, a cycle later.
    word : In(32)
        The policy word, with the row that is being tried.
    trying, try_row, try_action : Out
        This row of POLICY counts as having this action.
    write_row, write_action, write_action_en, write_word, write_word_en : Out
        To the policy store.
    foreseen : Out(1)
        High for one cycle, with ``done``: the sums are those of the plan.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        row, action = params.row_width, ACTION_WIDTH
        super().__init__(
            {
                "start": In(1),
                "recommending": In(1),
                "done": Out(1),
                "states": In(params.states.bit_length()),
                "planning": In(BY_NAME["PLANNING"].width(params)),
                "stored": In(params.stored_width),
                "first": In(16),
                "compared": In(1),
                "seen": In(1),
                "episode": Out(range(params.episodes)),
                "compare_start": Out(1),
                "compare": Out(1),
                "episode_word": In(32),
                "sample": Out(1),
                "explore": Out(1),
                "still": Out(1),
                "sample_done": In(1),
                "drawing": Out(1),
                "walk": Out(WalkSignature()),
                "value": Out(1),
                "value_done": In(1),
                "worth": In(signed(worth_width(params))),
                "measured": Out(1),
                "hopeful": Out(1),
                "known": Out(params.q_width - 1),
                "copying": Out(1),
                "read_row": Out(row),
                "action": In(action),
                "last": In(action),
                "word": In(32),
                "trying": Out(1),
                "try_row": Out(row),
                "try_action": Out(action),
                "write_row": Out(row),
                "write_action": Out(action),
                "write_action_en": Out(1),
                "write_word": Out(32),
                "write_word_en": Out(1),
                "foreseen": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.kept = kept = memory.Memory(
            shape=32, depth=max(2, p.policy_words), init=[], attrs={"no_rw_check": 1}
        )
        kept_read, kept_write = kept.read_port(), kept.write_port()

        worth = signed(worth_width(p))
        best, current = Signal(worth), Signal(worth)  # of what was met, of the policy as it stands
        have = Signal()  # there is a best one
        found = Signal()  # it is one that a climb met
        parent = Signal(range(p.episodes))
        judging = Signal()  # stored policies, to find the parent
        climb = Signal(field_of("PLANNING", "climbs").width)
        last_climb = Signal.like(climb)
        m.d.sync += last_climb.eq(at_least_one(self.planning, "PLANNING", "climbs") - 1)
        sweep = Signal(field_of("PLANNING", "sweeps").width)
        row, moved = self.try_row, Signal()
        here, chosen, last = Signal(ACTION_WIDTH), Signal(ACTION_WIDTH), Signal(ACTION_WIDTH)
        word = Signal(range(max(2, p.policy_words)))
        recommends = Signal()  # a register selects faster
        # In the states of that name; registers, because they select what the memories read.
        restoring = Signal()
        keeping = Signal()
        better, last_action, last_word, last_episode = Signal(), Signal(), Signal(), Signal()
        last_row = Signal(p.row_width)
        m.d.comb += [
            better.eq(~have | less(best, self.worth)),
            last_action.eq(self.try_action == last),
            last_row.eq(self.states - 1),
            last_word.eq(word == last_row[LANE_WIDTH:]),
            last_episode.eq(self.episode == self.stored - 1),
            self.still.eq(climb == 0),
            self.copying.eq(restoring),
            self.measured.eq(judging & setting(self.planning, "PLANNING", "trust")),
            self.hopeful.eq(~judging & ~recommends),
            self.read_row.eq(Mux(restoring | keeping, word << LANE_WIDTH, row)),
        ]

        # Copies of POLICY, a word per cycle: what is read is written a cycle later; to POLICY itself two cycles later,
        # because a memory's answer comes late.
        copied = later(m, word, 1)
        m.d.comb += [
            kept_read.addr.eq(word),
            kept_write.addr.eq(copied),
            kept_write.data.eq(self.word),
            kept_write.en.eq(later(m, keeping, 1)),
            self.write_word_en.eq(later(m, restoring, 2)),
            self.write_row.eq(Mux(self.write_word_en, later(m, copied, 1) << LANE_WIDTH, row)),
            self.write_action.eq(chosen),
        ]
        m.d.sync += self.write_word.eq(Mux(found, kept_read.data, self.episode_word))
        with m.If(restoring | keeping):
            m.d.sync += word.eq(Mux(last_word, 0, word + 1))

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [self.episode.eq(0), have.eq(0), found.eq(0), judging.eq(1), climb.eq(0)]
                m.d.sync += recommends.eq(self.recommending)
                with m.If(self.start):
                    m.next = "PARENT"
                    with m.If(self.stored != 0):
                        m.next = "LOOK"

            # The stored policy that is worth most.
            with m.State("LOOK"):
                m.next = "LOOKED"
            with m.State("LOOKED"):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.comb += self.walk.stored.eq(1)
                m.next = "NEXT"
                with m.If(self.first != UNKNOWN):
                    m.d.comb += self.walk.start.eq(1)
                    m.next = "SUM"
            with m.State("NEXT"):
                m.d.sync += self.episode.eq(self.episode + 1)
                m.next = "LOOK"
                with m.If(last_episode):
                    m.next = "PARENT"
            with m.State("PARENT"):
                m.d.sync += [self.episode.eq(parent), judging.eq(0), self.known.eq(Mux(best[-1], 0, best))]
                with m.If(have):
                    # A plan is compared with other plans; a recommendation with the best known, too.
                    m.d.sync += have.eq(recommends)
                    m.next = "CLIMB"
                with m.Elif(recommends):
                    m.d.comb += self.walk.start.eq(1)
                    m.next = "FORESEE"
                with m.Else():
                    m.d.sync += self.explore.eq(1)
                    m.next = "DRAW"

            # A policy's worth.
            with m.State("SUM"), m.If(self.walk.done):
                m.d.comb += self.value.eq(1)
                m.next = "VALUE"
            with m.State("VALUE"), m.If(self.value_done):
                m.next = "WEIGH"
                with m.If(judging):
                    m.next = "NEXT"
                    with m.If(better):
                        m.d.sync += [best.eq(self.worth), have.eq(1), parent.eq(self.episode)]
            with m.State("WEIGH"):
                with m.If(~self.trying | less(current, self.worth)):
                    m.d.sync += [current.eq(self.worth), chosen.eq(self.try_action)]
                m.next = "ON"
                with m.If(better & recommends):
                    m.d.sync += keeping.eq(1)
                    m.next = "KEEP"
                with m.Elif(better):
                    m.d.comb += self.compare_start.eq(1)
                    m.d.sync += self.compare.eq(1)
                    m.next = "COMPARE"
            with m.State("COMPARE"), m.If(self.compared):
                m.d.sync += [keeping.eq(1), self.compare.eq(0)]
                m.next = "KEEP"
                with m.If(self.seen):
                    m.d.sync += keeping.eq(0)
                    m.next = "ON"
            with m.State("KEEP"):
                m.d.sync += [best.eq(self.worth), have.eq(1), found.eq(1)]
                with m.If(last_word):
                    m.d.sync += keeping.eq(0)
                    m.next = "ON"
            with m.State("ON"):
                m.next = "TRY"
                m.d.sync += self.try_action.eq(self.try_action + 1)
                with m.If(~self.trying):
                    m.next = "ROW"
                with m.Elif(last_action):
                    m.next = "WRITE"

            # A climb: a start, then row after row.
            with m.State("CLIMB"):
                m.d.sync += [sweep.eq(at_least_one(self.planning, "PLANNING", "sweeps")), row.eq(0), moved.eq(0)]
                m.next = "DRAW"
            with m.State("DRAW"):
                m.d.comb += self.sample.eq(1)
                m.d.sync += self.drawing.eq(1)
                m.next = "DRAWN"
            with m.State("DRAWN"), m.If(self.sample_done):
                m.d.sync += self.drawing.eq(0)
                m.d.comb += self.walk.start.eq(1)
                m.next = "SUM"
                with m.If(self.explore):
                    m.next = "FORESEE"
            with m.State("ROW"):
                m.next = "ROW READ"
            with m.State("ROW READ"):
                m.d.sync += [here.eq(self.action), chosen.eq(self.action), last.eq(self.last), self.try_action.eq(0)]
                m.next = "TRY"
            with m.State("TRY"):
                with m.If(self.try_action != here):
                    m.d.sync += self.trying.eq(1)
                    m.d.comb += self.walk.start.eq(1)
                    m.next = "SUM"
                with m.Else():
                    m.d.sync += self.try_action.eq(self.try_action + 1)
                    with m.If(last_action):
                        m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.write_action_en.eq(1)
                m.d.sync += [self.trying.eq(0), moved.eq(moved | (chosen != here)), row.eq(row + 1)]
                m.next = "ROW"
                with m.If(row == last_row):
                    m.next = "SWEPT"
            with m.State("SWEPT"):
                m.d.sync += [row.eq(0), moved.eq(0), sweep.eq(sweep - 1)]
                m.next = "ROW"
                with m.If(~moved | (sweep == 1)):
                    m.next = "CLIMBED"
            with m.State("CLIMBED"):
                m.d.sync += climb.eq(climb + 1)
                with m.If(climb != last_climb):
                    m.next = "CLIMB"
                with m.Elif(found | recommends):
                    m.d.sync += restoring.eq(1)
                    m.next = "RESTORE"
                with m.Else():
                    m.d.sync += self.explore.eq(1)
                    m.next = "DRAW"

            # The end: POLICY becomes the plan, and its accuracy is predicted.
            with m.State("RESTORE"), m.If(last_word):
                m.d.sync += restoring.eq(0)
                m.next = "RESTORE LAST"
            with m.State("RESTORE LAST"):
                m.next = "RESTORED"
            with m.State("RESTORED"):
                m.d.comb += self.walk.start.eq(1)
                m.next = "FORESEE"
            with m.State("FORESEE"), m.If(self.walk.done):
                m.d.comb += [self.foreseen.eq(1), self.done.eq(1)]
                m.d.sync += self.explore.eq(0)
                m.next = "IDLE"
        return m
