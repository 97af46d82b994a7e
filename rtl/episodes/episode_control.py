"""Episode control: learns from stored episodes again, and makes new policies by varying the better ones."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.episodes.episode_memory import EpisodeMemory
from rtl.episodes.planner_port import PlannerPort
from rtl.episodes.policy_scan import ScoreScan, SeenScan
from rtl.episodes.tournament import Tournament
from rtl.primitives.pipeline import later
from rtl.spec.params import ATTEMPTS, RLUParams
from rtl.spec.registers import BY_NAME, field_of


class EpisodeControl(wiring.Component):
    """What MODE.episodic adds to the commands update and sample (docs/understand/episodic.md).

    Update: learn from the policy, store it with its reward, then ``replays`` times draw a stored episode and learn
    from it again. Sample: draw ``candidates`` variations of stored policies and keep the one with the largest sum of
    Q-values. A candidate that is stored already is drawn again, up to ``ATTEMPTS`` draws in all. Of the best candidate
    only the LFSR's state before it is kept; if needed, the candidate is drawn again from that state.

    Updater and sampler do the work; this block starts them and decides which policy they see. The duration of a
    command depends on the draws; the golden model counts the same cycles (`rtl.spec.params`).

    Parameters
    ----------
    params : RLUParams
        With ``episodes`` above 0.

    Members
    -------
    start_update, start_sample : In(1)
        Begin; do not raise it again before ``done``.
    done : Out(1)
        High for one cycle.
    clear : In(1)
        Forget all episodes; only while not running.
    settings : In(24)
        The EPISODIC register.
    states : In(bits for 0..states)
        Rows in use, at least 1.
    stored : Out(stored_width)
        Number of stored episodes.
    update, sample : Out(1)
        Start the updater, the sampler.
    update_done, sample_done : In(1)
        They are done.
    replaying : Out(1)
        The updater must learn from ``episode_action``, ``winner_reward`` and ``winner_share``.
    explore : Out(1)
        There is nothing to vary: every row must explore.
    worker_row : In(row_width)
        Row wanted by the sampler, or a cycle early by the updater.
    episode_action : Out(4)
        The action of the row wanted two cycles ago, in the current episode.
    winner_reward, winner_share : Out(signed(q_width))
        That episode's reward and share.
    scanning, scoring : Out(1)
        The policy store must read ``scan_row``; with ``scoring`` the Q-table must read ``score_row``, the same one.
    scan_row, score_row : Out(row_width)
        See above.
    policy_word : In(32)
        The policy store's answer.
    old, legal : In
        The row reader's answer.
    reward, share : In(signed(q_width))
        Of the policy.
    lfsr : In(lfsr_width)
        State of the LFSR.
    lfsr_advance : Out(1)
        Advance it by its width.
    lfsr_load : Out(1)
        Replace it by ``lfsr_value``.
    lfsr_value : Out(lfsr_width)
        See above.
    product : In(lfsr_width + stored_width)
        The LFSR's state a cycle ago times ``stored``.
    planner : In(PlannerPort(params))
        Only in a planning unit, and served only while neither of the above runs.
    """

    def __init__(self, params: RLUParams):
        self.params = params
        q = signed(params.q_width)
        super().__init__(
            {
                "start_update": In(1),
                "start_sample": In(1),
                "done": Out(1),
                "clear": In(1),
                "settings": In(BY_NAME["EPISODIC"].width(params)),
                "states": In(params.states.bit_length()),
                "stored": Out(params.stored_width),
                "update": Out(1),
                "sample": Out(1),
                "update_done": In(1),
                "sample_done": In(1),
                "replaying": Out(1),
                "explore": Out(1),
                "worker_row": In(params.row_width),
                "episode_action": Out(4),
                "winner_reward": Out(q),
                "winner_share": Out(q),
                "scanning": Out(1),
                "scoring": Out(1),
                "scan_row": Out(params.row_width),
                "score_row": Out(params.row_width),
                "policy_word": In(32),
                "old": In(q),
                "legal": In(1),
                "reward": In(q),
                "share": In(q),
                "lfsr": In(params.lfsr_width),
                "lfsr_advance": Out(1),
                "lfsr_load": Out(1),
                "lfsr_value": Out(params.lfsr_width),
                "product": In(params.lfsr_width + params.stored_width),
                **({"planner": In(PlannerPort(params))} if params.points else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.memory = memory = EpisodeMemory(p)
        m.submodules.tournament = tournament = Tournament(p)
        m.submodules.seen = seen = SeenScan(p)
        m.submodules.score = score = ScoreScan(p)

        def setting(name):
            field = field_of("EPISODIC", name)
            return self.settings[field.lsb : field.lsb + field.width]

        place = Signal(range(p.episodes))  # of the next episode
        word = Signal(range(max(2, p.policy_words)))
        replays = Signal(field_of("EPISODIC", "replays").width)
        candidate = Signal(field_of("EPISODIC", "candidates").width)
        attempt = Signal(range(ATTEMPTS))
        seed = Signal(p.lfsr_width)  # before this candidate
        best_seed = Signal(p.lfsr_width)  # before the best one
        best_total = Signal.like(score.total)
        best_is_last = Signal()
        again = Signal()  # the best candidate is being drawn again
        last_candidate = Signal()
        m.d.comb += [
            self.explore.eq(self.stored == 0),
            last_candidate.eq(Mux(setting("candidates") == 0, 0, setting("candidates") - 1) == candidate),
            tournament.draws.eq(Mux(self.replaying | (setting("tournament") == 0), 1, setting("tournament"))),
            tournament.stored.eq(self.stored),
            tournament.product.eq(self.product),
            tournament.reward.eq(memory.reward),
            tournament.share.eq(memory.share),
            self.lfsr_advance.eq(tournament.lfsr_advance),
            self.winner_reward.eq(tournament.winner_reward),
            self.winner_share.eq(tournament.winner_share),
            seen.states.eq(self.states),
            seen.but_last.eq(self.planner.active if p.points else 0),
            seen.stored.eq(self.stored),
            seen.word.eq(memory.word),
            seen.policy_word.eq(self.policy_word),
            score.states.eq(self.states),
            score.old.eq(self.old),
            score.legal.eq(self.legal),
            self.episode_action.eq(memory.action),
        ]

        # In the states PICK, STORE and so on; registers, because they select what the memories read.
        picking, storing, comparing, self_comparing = Signal(), Signal(), Signal(), Signal()
        m.d.comb += comparing.eq(self_comparing)
        m.d.comb += [
            memory.read_episode.eq(tournament.winner),
            memory.read_row.eq(self.worker_row),
            self.score_row.eq(score.read_row),
            self.scan_row.eq(score.read_row),
        ]
        with m.If(picking):
            m.d.comb += memory.read_episode.eq(tournament.read_episode)
        with m.Elif(comparing):
            m.d.comb += [
                memory.read_episode.eq(seen.read_episode),
                memory.read_row.eq(seen.read_row),
                self.scan_row.eq(seen.read_row),
            ]
        with m.Elif(storing):
            m.d.comb += self.scan_row.eq(word << 3)
        m.d.comb += self.scanning.eq(comparing | storing | self.scoring)
        is_better = later(m, best_total < score.total, 1)

        # A word of the policy arrives a cycle after its request, and is written.
        m.d.comb += [
            memory.write_episode.eq(place),
            memory.write_row.eq(later(m, self.scan_row, 1)),
            memory.write_word.eq(self.policy_word),
            memory.write_word_en.eq(later(m, storing, 1)),
        ]
        if not p.points:
            m.d.comb += [
                memory.write_reward.eq(self.reward),
                memory.write_share.eq(self.share),
                memory.write_reward_en.eq(storing),
            ]
        else:
            self._serve(m, memory, seen, place, storing, comparing)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [candidate.eq(0), attempt.eq(0), replays.eq(setting("replays")), self.replaying.eq(0)]
                with m.If(self.clear):
                    m.d.sync += [self.stored.eq(0), place.eq(0)]
                with m.If(self.start_update):
                    m.d.comb += self.update.eq(1)
                    m.next = "LEARN"
                with m.Elif(self.start_sample):
                    m.next = "VARY"
                if p.points:
                    with m.Elif(self.planner.store):
                        m.d.sync += storing.eq(1)
                        m.next = "STORE"

            # Update.
            with m.State("LEARN"), m.If(self.update_done):
                m.d.sync += storing.eq(~self.replaying)
                m.next = "STORE"
                with m.If(self.replaying):
                    m.next = "REPLAY"
            with m.State("STORE"):
                m.d.sync += word.eq(word + 1)
                with m.If(word == p.policy_words - 1):
                    m.d.sync += [word.eq(0), storing.eq(0)]
                    m.next = "STORED"
            with m.State("STORED"):
                m.d.sync += [place.eq(place + 1), self.replaying.eq(1)]
                with m.If(self.stored != p.episodes):
                    m.d.sync += self.stored.eq(self.stored + 1)
                m.next = "REPLAY"
                if p.points:
                    with m.If(self.planner.active):
                        m.d.comb += self.planner.stored_now.eq(1)
                        m.d.sync += self.replaying.eq(0)
                        m.next = "IDLE"
            with m.State("REPLAY"):
                with m.If(replays == 0):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
                with m.Else():
                    m.d.sync += [replays.eq(replays - 1), picking.eq(1)]
                    m.d.comb += tournament.start.eq(1)
                    m.next = "PICK"

            # Both: draw stored episodes.
            with m.State("PICK"), m.If(tournament.done):
                m.d.sync += picking.eq(0)
                m.next = "DRAW"
                with m.If(self.replaying):
                    m.next = "RELEARN"
            with m.State("RELEARN"):
                m.d.comb += self.update.eq(1)
                m.next = "LEARN"

            # Sample.
            with m.State("VARY"):
                m.d.sync += [seed.eq(self.lfsr), picking.eq(~self.explore)]
                m.next = "DRAW"
                with m.If(~self.explore):
                    m.d.comb += tournament.start.eq(1)
                    m.next = "PICK"
            with m.State("DRAW"):
                m.d.comb += self.sample.eq(1)
                m.next = "DRAWN"
            with m.State("DRAWN"), m.If(self.sample_done):
                with m.If(again):
                    m.next = "RESTORE"
                with m.Elif(self.explore):
                    m.next = "NEW"
                with m.Else():
                    m.d.comb += seen.start.eq(1)
                    m.d.sync += self_comparing.eq(1)
                    m.next = "COMPARE"
            with m.State("COMPARE"), m.If(seen.done):
                m.d.sync += [attempt.eq(attempt + 1), self_comparing.eq(0)]
                m.next = "NEW"
                with m.If(seen.seen & (attempt != ATTEMPTS - 1)):
                    m.next = "VARY"
            with m.State("NEW"):
                m.d.sync += attempt.eq(0)
                with m.If(last_candidate & (candidate == 0)):
                    m.next = "END"
                with m.Else():
                    m.d.comb += score.start.eq(1)
                    m.d.sync += self.scoring.eq(1)
                    m.next = "SCORE"
            with m.State("SCORE"), m.If(score.done):
                m.d.sync += self.scoring.eq(0)
                m.next = "CHOOSE"
            # The comparison was made a cycle ago: the sum is right since then.
            with m.State("CHOOSE"):
                m.d.sync += [candidate.eq(candidate + 1), best_is_last.eq(0)]
                with m.If((candidate == 0) | is_better):
                    m.d.sync += [best_total.eq(score.total), best_seed.eq(seed), best_is_last.eq(1)]
                m.next = "VARY"
                with m.If(last_candidate):
                    m.next = "LAST"
            with m.State("LAST"):
                m.next = "END"
                with m.If(~best_is_last):
                    m.d.sync += [seed.eq(self.lfsr), again.eq(1)]
                    m.d.comb += [self.lfsr_load.eq(1), self.lfsr_value.eq(best_seed)]
                    m.next = "AGAIN"
            with m.State("AGAIN"):
                m.d.sync += picking.eq(~self.explore)
                m.next = "DRAW"
                with m.If(~self.explore):
                    m.d.comb += tournament.start.eq(1)
                    m.next = "PICK"
            with m.State("RESTORE"):
                m.d.sync += again.eq(0)
                m.d.comb += [self.lfsr_load.eq(1), self.lfsr_value.eq(seed)]
                m.next = "END"
            with m.State("END"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m

    def _serve(self, m, memory, seen, place, storing, comparing):
        """The planner's access to the memory, and the numbers of an episode that is stored, with 16 bits each."""
        planner = self.planner
        m.d.comb += [
            memory.write_first.eq(Mux(planner.active, planner.accuracy, self.reward)),
            memory.write_second.eq(Mux(planner.active, 0, self.share)),
            memory.write_first_en.eq(storing),
            memory.write_second_en.eq(storing),
            planner.word.eq(memory.word),
            planner.action.eq(memory.action),
            planner.first.eq(memory.first),
            planner.second.eq(memory.second),
            planner.compared.eq(seen.done),
            planner.seen.eq(seen.seen),
            planner.stored.eq(self.stored),
            planner.place.eq(place),
        ]
        with m.If(planner.active & ~storing & ~planner.compare):
            m.d.comb += [memory.read_episode.eq(planner.read_episode), memory.read_row.eq(planner.read_row)]
        with m.If(planner.compare_start):
            m.d.comb += seen.start.eq(1)
        with m.If(planner.compare):
            m.d.comb += [comparing.eq(1)]
        with m.If(planner.write_word_en):
            m.d.comb += [
                memory.write_episode.eq(planner.write_episode),
                memory.write_row.eq(planner.write_row),
                memory.write_word.eq(planner.write_word),
                memory.write_word_en.eq(1),
            ]
        with m.If(planner.write_first_en | planner.write_second_en):
            m.d.comb += [
                memory.write_episode.eq(planner.write_episode),
                memory.write_first.eq(planner.write_first),
                memory.write_second.eq(planner.write_second),
                memory.write_first_en.eq(planner.write_first_en),
                memory.write_second_en.eq(planner.write_second_en),
            ]
        with m.If(planner.write_first_en):
            m.d.sync += place.eq(planner.newest)
            with m.If(planner.grows):
                m.d.sync += self.stored.eq(planner.newest)
