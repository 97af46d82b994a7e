"""The planted bugs: the change, its place, and who must notice; docs/verify/bugs.md shows them as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["bench", "proof", "lockstep", "package", "test"]


@dataclass(frozen=True)
class Catcher:
    """Who must notice a bug; made by `bench`, `proof`, `lockstep`, `package` and `own_test`.

    Attributes:
        kind: which of these it is.
        name: the bench or the proof; the bus of the package; the test as pytest names it. Empty for lockstep.
        config: configuration in which the bench or lockstep runs (a name of `tb.kit.designs.CONFIGS`).
        quick: `make test` tries it, not only `make test-slow`.
        differs: the first difference that lockstep must find, or its beginning; empty: any.
    """

    kind: Kind
    name: str = ""
    config: str = ""
    quick: bool = False
    differs: str = ""

    def __str__(self) -> str:
        config = f" ({self.config})" if self.config else ""
        return f"{self.kind} {self.name}".strip() + config


def bench(name: str, config: str, *, quick: bool = False) -> Catcher:
    """The cocotb bench, in a configuration."""
    return Catcher("bench", name, config, quick)


def proof(name: str, *, quick: bool = False) -> Catcher:
    """The proof: the bug is one of its companions. A quick proof has at least one quick companion."""
    return Catcher("proof", name, quick=quick)


def lockstep(config: str, differs: str = "", *, quick: bool = False) -> Catcher:
    """`rlu lockstep` with the unit of a configuration."""
    return Catcher("lockstep", config=config, differs=differs, quick=quick)


def package(bus: str) -> Catcher:
    """The plain Verilog bench that comes with the IP package for a bus."""
    return Catcher("package", bus, quick=True)


def own_test(name: str) -> Catcher:
    """A separate test, as ``tests/FILE.py::FUNCTION``."""
    return Catcher("test", name, quick=True)


@dataclass(frozen=True)
class PlantedBug:
    """A change of a source that somebody must notice.

    Attributes:
        name: the fault in a few words; unique.
        module: full name of the module.
        old, new: the text to replace, and its replacement; ``old`` is in the module exactly once.
        caught_by: who must notice the bug, each one independently.
    """

    name: str
    module: str
    old: str
    new: str
    caught_by: tuple[Catcher, ...]

    @property
    def place(self) -> str:
        """The module's file, from the project's folder."""
        return f"{self.module.replace('.', '/')}.py"


_BUGS = (
    # The blocks of the unit.
    PlantedBug(
        "a bank is written with its neighbour's value", "rtl.unit.q_table",
        "write_odd if i % 2 else write_even", "write_even if i % 2 else write_odd",
        (bench("q_table", "narrow"),),
    ),
    PlantedBug(
        "a write's mask comes before its row", "rtl.unit.q_table",
        "write_mask = later(m, self.write_mask, 1)", "write_mask = self.write_mask",
        (bench("q_table", "narrow"),),
    ),
    PlantedBug(
        "the rows that two blocks read are mixed", "rtl.primitives.select",
        "condition & ~above", "condition",
        (bench("planning", "planner"),),
    ),
    PlantedBug(
        "the count is stored as it is", "rtl.unit.policy_store",
        "self.count.eq(count_read.data + 1)", "self.count.eq(count_read.data)",
        (bench("policy_store", "mixed"),),
    ),
    PlantedBug(
        "an action is written to every lane of its word", "rtl.unit.policy_store",
        "policy_write.en.eq(1 << self.write_row[:LANE_WIDTH])", "policy_write.en.eq(255)",
        (bench("policy_store", "mixed"),),
    ),
    PlantedBug(
        "the higher action wins a tie", "rtl.unit.row_max",
        "less(left[0], right[0])", "~less(right[0], left[0])",
        (
            bench("row_max", "narrow", quick=True), proof("row-max"), proof("row-max-small", quick=True),
            lockstep("narrow", "sampled action", quick=True),
        ),
    ),
    PlantedBug(
        "the comparison ignores the sign", "rtl.unit.row_max",
        "less(left[0], right[0])", "left[0] < right[0].as_unsigned()",
        (proof("row-max"), proof("row-max-small")),
    ),
    PlantedBug(
        "the row's highest action is left out", "rtl.unit.row_reader",
        "Cat(~(last < i)", "Cat(~(last < i + 1)",
        (proof("row-reader"),),
    ),
    PlantedBug(
        "the policy's action takes part", "rtl.unit.row_reader",
        "Mux(self.others, chosen, 0)", "0",
        (proof("row-reader"),),
    ),
    PlantedBug(
        "half is rounded up, not to even", "rtl.primitives.fixed",
        "rounded[0] & ~tie", "rounded[0]",
        (bench("reward", "narrow", quick=True),),
    ),
    PlantedBug(
        "the share is rounded away from zero on a tie", "rtl.unit.reward",
        "fits & (magnitude[0] | rest.any())", "fits",
        (bench("reward", "narrow", quick=True), proof("share", quick=True)),
    ),
    PlantedBug(
        "a negative quotient is one less", "rtl.unit.reward",
        "+ (negative ^ up)", "+ up",
        (proof("share"),),
    ),
    PlantedBug(
        "a latency at its threshold passes", "rtl.unit.reward",
        "~(self.latency < self.latency_th)", "self.latency_th < self.latency",
        (bench("reward", "narrow"),),
    ),
    PlantedBug(
        "an accuracy at its threshold passes", "rtl.unit.reward",
        "~(self.accuracy_th < self.accuracy)", "self.accuracy < self.accuracy_th",
        (bench("reward", "narrow"), proof("reward")),
    ),
    PlantedBug(
        "a term is not clipped", "rtl.unit.reward",
        "Mux(rounded[p.coef_frac :].any(), p.coef_one, rounded)", "rounded",
        (bench("reward", "mixed"), proof("reward")),
    ),
    PlantedBug(
        "the score wraps", "rtl.unit.reward",
        "Mux(score[p.q_width - 1 :].any(), p.q_max, score)", "score",
        (bench("reward", "narrow"), proof("reward")),
    ),
    PlantedBug(
        "an outlier is rewarded", "rtl.unit.reward",
        "Mux(outlier_then, 0, ", "Mux(0, 0, ",
        (bench("reward", "narrow"), lockstep("narrow", "reward", quick=True)),
    ),
    PlantedBug(
        "done comes a cycle early", "rtl.unit.reward",
        "m.d.sync += up.eq(fits", "m.d.sync += self.done.eq(1)\n                m.d.sync += up.eq(fits",
        (bench("reward", "single"),),
    ),
    PlantedBug(
        "a tie goes up in every row", "rtl.unit.updater",
        "later(m, counter[0], row_reader.LATENCY - 1)", "Const(0, 1)",
        (bench("updater", "narrow", quick=True), proof("updater"), proof("updater-small")),
    ),
    PlantedBug(
        "a Q-value wraps", "rtl.unit.updater",
        "Mux(above, p.q_max, Mux(below, p.q_min, unclipped))", "unclipped",
        (bench("updater", "narrow", quick=True), proof("updater"), proof("updater-small")),
    ),
    PlantedBug(
        "the maximum is taken before the row's own update", "rtl.unit.updater",
        "valid & legal & less(others, unclipped) & ~above", "0",
        (bench("updater", "narrow", quick=True), proof("updater", quick=True), proof("updater-small")),
    ),
    PlantedBug(
        "a row that is left alone counts as new", "rtl.unit.updater",
        "Mux(valid & legal & above,", "Mux(valid & above,",
        (proof("updater"), proof("updater-small")),
    ),
    PlantedBug(
        "an action that a row does not have is written", "rtl.unit.updater",
        "self.write_en.eq(valid & legal)", "self.write_en.eq(valid)",
        (bench("updater", "narrow"),),
    ),
    PlantedBug(
        "the last row uses a next row too", "rtl.unit.updater",
        "others_term.eq(0)", "others_term.eq(others_term)",
        (bench("updater", "narrow"),),
    ),
    PlantedBug(
        "the updater's sum is a difference", "rtl.primitives.chosen_sum",
        "self.base + Mux", "self.base - Mux",
        (package("none"),),
    ),
    PlantedBug(
        "the carry cell of ECP5 has a wrong truth table", "rtl.primitives.chosen_sum",
        "for i in range(16))", "for i in range(16)) ^ 1 << 7",
        (own_test("tests/rtl/primitives/test_chosen_sum.py::test_a_wrong_truth_table_is_found"),),
    ),
    PlantedBug(
        "coefficients have three bits less", "rtl.spec.params",
        "DISCOUNT_FRAC = 17", "DISCOUNT_FRAC = 14",
        (proof("updater-room", quick=True),),
    ),
    PlantedBug(
        "a draw shifts the LFSR by one bit", "rtl.unit.sampler",
        "leap(self.lfsr, width, width)", "leap(self.lfsr, width, 1)",
        (bench("sampler", "narrow", quick=True), proof("sampler-draws", quick=True)),
    ),
    PlantedBug(
        "the second draw is the first again", "rtl.unit.sampler",
        "leap(self.lfsr, width, 2 * width)", "leap(self.lfsr, width, width)",
        (bench("sampler", "mixed"),),
    ),
    PlantedBug(
        "the LFSR is loaded with a bit inverted", "rtl.unit.sampler",
        "self.lfsr.eq(self.lfsr_value)", "self.lfsr.eq(self.lfsr_value ^ 2)",
        (lockstep("narrow", "drawn number", quick=True),),
    ),
    PlantedBug(
        "epsilon is compared off by one", "rtl.unit.sampler",
        "Cat(~above_half, Const", "Cat(Const(0, 1), Const",
        (bench("sampler", "narrow", quick=True),),
    ),
    PlantedBug(
        "a random action ignores the row's count", "rtl.unit.sampler",
        "count.eq(self.count)", "count.eq(p.actions)",
        (bench("sampler", "narrow"), proof("sampler-choices")),
    ),
    PlantedBug(
        "exploring and greedy are exchanged", "rtl.unit.sampler",
        "explore.eq(explores)", "explore.eq(~explores)",
        (proof("sampler-choices"),),
    ),
    PlantedBug(
        "the last row is left out", "rtl.unit.sampler",
        "counter == self.states - 1", "counter == self.states - 2",
        (proof("sampler-order", quick=True),),
    ),
    PlantedBug(
        "the counter is not put back", "rtl.unit.sampler",
        "[counter.eq(0), running.eq(0)]", "[running.eq(0)]",
        (proof("sampler-order"),),
    ),
    # The register file.
    PlantedBug(
        "the acknowledgement lasts two cycles", "rtl.unit.register_file",
        "bus.ack.eq(answering)", "bus.ack.eq(answering | (bus.ack & bus.req))",
        (proof("bus-handshake", quick=True),),
    ),
    PlantedBug(
        "the error line stays high", "rtl.unit.register_file",
        "bus.err.eq(answering & refused)", "bus.err.eq((answering & refused) | bus.err)",
        (bench("register_file", "single"), proof("bus-handshake")),
    ),
    PlantedBug(
        "an access is taken while another is in progress", "rtl.unit.register_file",
        "Cat(decoding, access, answering, bus.ack)", "Cat(access, answering, bus.ack)",
        (proof("bus-handshake"),),
    ),
    PlantedBug(
        "a register is written with the word that the bus has now", "rtl.unit.register_file",
        "registers[name].eq(self.word)", "registers[name].eq(bus.wdata)",
        (proof("register-accesses"),),
    ),
    PlantedBug(
        "a write while busy is accepted", "rtl.unit.register_file",
        "was_busy & (we | at_window)", "was_busy & at_window",
        (
            bench("register_file", "narrow", quick=True), proof("register-accesses", quick=True),
            proof("busy-write", quick=True), lockstep("narrow", "register STATUS", quick=True),
        ),
    ),
    PlantedBug(
        "a read-only register can be written", "rtl.unit.register_file",
        "writable.eq(register.access.writable)", "writable.eq(1)",
        (bench("rlu", "single"), proof("register-accesses")),
    ),
    PlantedBug(
        "an address between two words counts as the lower one", "rtl.unit.register_file",
        "(addr[:2] != 0) | ~known", "~known",
        (bench("register_file", "single"), proof("register-accesses")),
    ),
    PlantedBug(
        "an error flag is cleared by any write to STATUS", "rtl.unit.register_file",
        'self.word[field_of("STATUS", name).lsb]', "1",
        (bench("register_file", "single"), proof("sticky-flags", quick=True)),
    ),
    PlantedBug(
        "irq stays up while busy", "rtl.unit.register_file",
        "(pending & enabled).any() & ~self.busy", "(pending & enabled).any()",
        (bench("wishbone", "narrow"), lockstep("narrow", "output irq at access", quick=True)),
    ),
    PlantedBug(
        "a pending interrupt cannot be cleared", "rtl.unit.register_file",
        "(kept & ~cleared) |", "kept |",
        (lockstep("narrow", "output irq at access", quick=True),),
    ),
    PlantedBug(
        "a refused access is answered as any other", "rtl.unit.register_file",
        "refused.eq(wrong)", "refused.eq(0)",
        (lockstep("narrow", "output err at access", quick=True),),
    ),
    PlantedBug(
        "a reset leaves the settings as they are", "rtl.unit.register_file",
        "name=r.name.lower(), init=r.reset_value(p))", "name=r.name.lower(), init=r.reset_value(p), reset_less=True)",
        (lockstep("narrow", "register", quick=True),),
    ),
    PlantedBug(
        "irq is inverted", "rtl.unit.register_file",
        "self.irq.eq((pending", "self.irq.eq(~(pending",
        (package("wishbone"),),
    ),
    # The whole unit.
    PlantedBug(
        "STATES does not renew the share", "rtl.unit.top",
        "divide = registers.reward_load | registers.states_written", "divide = registers.reward_load",
        (bench("rlu", "narrow"),),
    ),
    PlantedBug(
        "the probe port shows nothing", "rtl.unit.top",
        "self.probe.eq(core.probe)", "self.probe.eq(0)",
        (bench("wishbone", "narrow", quick=True),),
    ),
    PlantedBug(
        "the commands run in the wrong order", "rtl.unit.core",
        'UPDATE = field_of("COMMAND", "update").lsb\n    SAMPLE = field_of("COMMAND", "sample").lsb',
        'UPDATE = field_of("COMMAND", "sample").lsb\n    SAMPLE = field_of("COMMAND", "update").lsb',
        (bench("rlu", "narrow"),),
    ),
    PlantedBug(
        "MODE is ignored", "rtl.unit.core",
        "updater.full_last_reward.eq(settings.mode[0])", "updater.full_last_reward.eq(0)",
        (bench("rlu", "narrow"),),
    ),
    PlantedBug(
        "clearing misses the last row", "rtl.unit.core",
        "clear_row == p.states - 1", "clear_row == p.states - 2",
        (bench("rlu", "narrow"),),
    ),
    PlantedBug(
        "clearing takes one more cycle", "rtl.unit.core",
        "clear_row == p.states - 1", "clear_row == p.states",
        (proof("idle"),),
    ),
    PlantedBug(
        "a finished job stays pending", "rtl.unit.core",
        "pending & ~active)", "pending)",
        (proof("idle"),),
    ),
    PlantedBug(
        "the unit is never idle", "rtl.unit.core",
        "self.busy.eq(pending.any())", "self.busy.eq(1)",
        (lockstep("narrow", "simulation of the RTL", quick=True),),
    ),
    # The episodic unit.
    PlantedBug(
        "a candidate is credited with Q-values of actions that its rows do not have", "rtl.episodes.policy_scan",
        "answered & self.legal", "answered",
        (bench("episodes", "episodic"),),
    ),
    PlantedBug(
        "the worst of a tournament wins", "rtl.episodes.tournament",
        "less(self.winner_reward, reward)", "less(reward, self.winner_reward)",
        (lockstep("episodic"),),
    ),
    PlantedBug(
        "the last row is not compared with stored policies", "rtl.episodes.policy_scan",
        " | ((i == last) & ~self.but_last)", "",
        (lockstep("episodic"), proof("seen-scan", quick=True)),
    ),
    PlantedBug(
        "a policy that was tried at another operating point counts as untried", "rtl.episodes.policy_scan",
        "((i == last) & ~self.but_last)", "(i == last)",
        (lockstep("planner"), proof("seen-scan", quick=True)),
    ),
    PlantedBug(
        "a policy that is stored already is drawn again forever", "rtl.episodes.episode_control",
        "seen.seen & (attempt != ATTEMPTS - 1)", "seen.seen",
        (lockstep("episodic"),),
    ),
    PlantedBug(
        "the last of equal candidates wins", "rtl.episodes.episode_control",
        "best_total < score.total", "best_total <= score.total",
        (lockstep("episodic"),),
    ),
    PlantedBug(
        "the episode memory counts as full an episode too early", "rtl.episodes.episode_control",
        "self.stored != p.episodes", "self.stored != p.episodes - 1",
        (lockstep("episodic"),),
    ),
    PlantedBug(
        "every row is read from the wrong word", "rtl.episodes.episode_memory",
        "Cat(self.read_row[3 : 3 + word_bits], self.read_episode)", "self.read_episode",
        (lockstep("episodic"),),
    ),
    # The planning unit.
    PlantedBug(
        "the costs of another operating point are added", "rtl.planning.policy_walk",
        "self.cost_point.eq(self.action)", "self.cost_point.eq(0)",
        (bench("planning", "planner"), lockstep("planner")),
    ),
    PlantedBug(
        "the operating point has an effect of its own in place of the constant", "rtl.planning.policy_walk",
        "Mux(answers_last, 0, self.action)", "self.action",
        (bench("planning", "planner"), lockstep("planner", quick=True)),
    ),
    PlantedBug(
        "costs of actions that a row does not have are added", "rtl.planning.policy_walk",
        "known.eq(~(last < action) & (self.cost_point < p.points))", "known.eq(self.cost_point < p.points)",
        (lockstep("planner"),),
    ),
    PlantedBug(
        "the costs of the first row are left out", "rtl.planning.policy_walk",
        "visited = later(m, visit.valid, 1)", "visited = later(m, visit.valid, 1) & visit.valid",
        (bench("planning", "planner"), proof("planner-sums")),
    ),
    PlantedBug(
        "the sum of latencies wraps", "rtl.planning.policy_walk",
        '"latency": 16 + params.row_width', '"latency": 16',
        (bench("planning", "planner"), lockstep("planner"), proof("planner-sums", quick=True)),
    ),
    PlantedBug(
        "an effect wraps", "rtl.planning.learner",
        "self.write_value.eq(saturated(visit.effect + step, q))", "self.write_value.eq(visit.effect + step)",
        (bench("planning", "planner"), lockstep("planning"), proof("planner-effects", quick=True)),
    ),
    PlantedBug(
        "a policy that missed a threshold counts as tried", "rtl.planning.learner",
        "with m.If(~self.missed):", "with m.If(1):",
        (bench("planning", "planner"),),
    ),
    PlantedBug(
        "a count of trials wraps", "rtl.planning.learner",
        "Mux(visit.trials.all(), visit.trials, visit.trials + 1)", "visit.trials + 1",
        (bench("planning", "planner"), lockstep("planner")),
    ),
    PlantedBug(
        "the doubt about an action that was tried often starts again", "rtl.planning.policy_walk",
        "Mux(trials < len(DOUBTS), trials, len(DOUBTS) - 1)", "trials[:4]",
        (bench("planning", "planner"),),
    ),
    PlantedBug(
        "a second score has the first one's accuracy in it", "rtl.unit.reward",
        "total.eq(total - product)", "total.eq(total)",
        (bench("planning", "planner"), lockstep("planner")),
    ),
    PlantedBug(
        "a plan may be a policy that was tried", "rtl.planning.plan_search",
        "with m.If(self.seen):", "with m.If(0):",
        (bench("planning", "planner"), lockstep("planner"), proof("plan-search", quick=True)),
    ),
    PlantedBug(
        "a climb tries an action that the row does not have", "rtl.planning.plan_search",
        "last_action.eq(self.try_action == last)", "last_action.eq(self.try_action == last + 1)",
        (proof("plan-search"),),
    ),
    PlantedBug(
        "passes over the stored episodes are not counted", "rtl.planning.learner",
        "passes_left.eq(passes_left - 1)", "passes_left.eq(passes_left)",
        (proof("planner-ends", quick=True),),
    ),
    PlantedBug(
        "a walk leaves the last row out", "rtl.planning.policy_walk",
        "early.eq(self.states - 1), is_last.eq(1)", "early.eq(self.states - 2), is_last.eq(1)",
        (proof("walk", quick=True),),
    ),
    PlantedBug(
        "the planner learns in every mode", "rtl.unit.core",
        "planner.update.eq(start[Job.UPDATE] & planning)", "planner.update.eq(start[Job.UPDATE])",
        (proof("planning-off", quick=True),),
    ),
    PlantedBug(
        "the row being tried is compared in the wrong word", "rtl.planning.planner",
        "later(m, self.store_row, 1)", "later(m, self.read_row, 1)",
        (lockstep("planning"),),
    ),
    PlantedBug(
        "the last of equal stored policies is the parent", "rtl.planning.plan_search",
        "less(best, self.worth)", "~less(self.worth, best)",
        (lockstep("planner"),),
    ),
    PlantedBug(
        "the first climb varies its parent", "rtl.planning.plan_search",
        "self.still.eq(climb == 0)", "self.still.eq(0)",
        (bench("planning", "planner"),),
    ),
    PlantedBug(
        "a climb ends after a sweep that changed something", "rtl.planning.plan_search",
        "~moved | (sweep == 1)", "moved | (sweep == 1)",
        (lockstep("planner"),),
    ),
    PlantedBug(
        "a word of a memory that the unit does not have is accepted", "rtl.unit.register_file",
        "with m.Elif(memory_lacks):", "with m.Elif(0):",
        (bench("planning", "planner"),),
    ),
    PlantedBug(
        "MEMORY_ADDRESS does not go on after a write", "rtl.unit.register_file",
        "with m.Elif(next_word):", "with m.Elif(0):",
        (bench("planning", "planner"),),
    ),
    PlantedBug(
        "trials stay when the Q-table is cleared", "rtl.planning.planner",
        "with m.If(self.clear):", "with m.If(0):",
        (bench("planning", "planner"),),
    ),
    # The front ends.
    PlantedBug(
        "an answer to a read does not wait for ready", "rtl.bus.axi4lite",
        "with m.If(self.s_axi_rready):", "with m.If(1):",
        (bench("axi4lite", "narrow", quick=True),),
    ),
    PlantedBug(
        "an answer to a write does not wait for ready", "rtl.bus.axi4lite",
        "with m.If(self.s_axi_bready):", "with m.If(1):",
        (proof("axi4lite", quick=True),),
    ),
    PlantedBug(
        "a refused write is answered OKAY", "rtl.bus.axi4lite",
        "Mux(bus.err & ~empty, SLVERR, OKAY)", "OKAY",
        (bench("axi4lite", "narrow"), package("axi4lite")),
    ),
    PlantedBug(
        "a refused read is answered OKAY", "rtl.bus.axi4lite",
        "Mux(bus.err, SLVERR, OKAY)", "OKAY",
        (bench("axi4lite", "narrow"),),
    ),
    PlantedBug(
        "a read address is cut, so it has aliases", "rtl.bus.axi4lite",
        "read_address.eq(self.s_axi_araddr)", "read_address.eq(self.s_axi_araddr[:13])",
        (bench("axi4lite", "narrow"),),
    ),
    PlantedBug(
        "data that waits is overwritten", "rtl.bus.axi4lite",
        "self.s_axi_wready.eq(~have_data)", "self.s_axi_wready.eq(1)",
        (bench("axi4lite", "narrow"), proof("axi4lite")),
    ),
    PlantedBug(
        "a write starts before its data is there", "rtl.bus.axi4lite",
        "have_address & have_data & ~self.s_axi_bvalid", "have_address & ~self.s_axi_bvalid",
        (bench("axi4lite", "narrow"),),
    ),
    PlantedBug(
        "a write is made and answered twice", "rtl.bus.axi4lite",
        "                have_data.eq(0),\n", "",
        (proof("axi4lite"),),
    ),
    PlantedBug(
        "an answer is overwritten by the next", "rtl.bus.axi4lite",
        "read.eq(have_read & ~self.s_axi_rvalid)", "read.eq(have_read)",
        (bench("axi4lite", "narrow"),),
    ),
    PlantedBug(
        "the word on rdata changes", "rtl.bus.axi4lite",
        "with m.If(bus.ack & ~serving_write):", "with m.If(bus.ack):",
        (proof("axi4lite"),),
    ),
    PlantedBug(
        "a read may wait forever", "rtl.bus.axi4lite",
        "read.eq(have_read &", "read.eq(have_read & ~have_address &",
        (proof("axi4lite"),),
    ),
    PlantedBug(
        "a partial AXI write is carried out", "rtl.bus.axi4lite",
        "write_address | partial", "write_address",
        (bench("axi4lite", "narrow"),),
    ),
    PlantedBug(
        "an AXI write of nothing is carried out", "rtl.bus.axi4lite",
        "empty.eq(~self.s_axi_wstrb.any())", "empty.eq(0)",
        (bench("axi4lite", "narrow"),),
    ),
    PlantedBug(
        "ready follows valid within the cycle", "rtl.bus.axi4lite",
        "self.s_axi_arready.eq(~have_read)", "self.s_axi_arready.eq(~have_read & self.s_axi_arvalid)",
        (bench("axi4lite", "narrow"),),
    ),
    PlantedBug(
        "a Wishbone error is acknowledged too", "rtl.bus.wishbone",
        "(bus.ack & awaited & ~bus.err) | skipped", "(bus.ack & awaited) | skipped",
        (bench("wishbone", "narrow", quick=True), proof("wishbone")),
    ),
    PlantedBug(
        "a Wishbone address is cut, so it has aliases", "rtl.bus.wishbone",
        "0, self.wb_adr)", "0, self.wb_adr[:11])",
        (bench("wishbone", "narrow"),),
    ),
    PlantedBug(
        "a Wishbone strobe is answered without cycle", "rtl.bus.wishbone",
        "self.wb_cyc & self.wb_stb", "self.wb_stb",
        (bench("wishbone", "narrow"), proof("wishbone")),
    ),
    PlantedBug(
        "a partial Wishbone write is carried out", "rtl.bus.wishbone",
        "Cat(self.wb_we & ~self.wb_sel.all(), 0, self.wb_adr)", "Cat(self.wb_we & 0, 0, self.wb_adr)",
        (bench("wishbone", "narrow"),),
    ),
    PlantedBug(
        "a Wishbone write of nothing is not answered", "rtl.bus.wishbone",
        "(bus.ack & awaited & ~bus.err) | skipped", "bus.ack & awaited & ~bus.err",
        (bench("wishbone", "narrow"),),
    ),
    PlantedBug(
        "the answer to a Wishbone write of nothing comes within the cycle", "rtl.bus.wishbone",
        "(bus.ack & awaited & ~bus.err) | skipped", "(bus.ack & awaited & ~bus.err) | (request & empty)",
        (bench("wishbone", "narrow"),),
    ),
    PlantedBug(
        "a Wishbone write of nothing is answered without stall", "rtl.bus.wishbone",
        "self.wb_stall.eq(serving | skipped)", "self.wb_stall.eq(serving)",
        (bench("wishbone", "narrow"), proof("wishbone", quick=True)),
    ),
    PlantedBug(
        "a Wishbone cycle that was ended is answered in the next one", "rtl.bus.wishbone",
        "awaited.eq(self.wb_cyc & (bus.req | awaited))", "awaited.eq(1)",
        (bench("wishbone", "narrow"), proof("wishbone")),
    ),
    PlantedBug(
        "a Wishbone request is taken while another is served", "rtl.bus.wishbone",
        "m.d.sync += serving.eq(1)", "m.d.sync += serving.eq(0)",
        (bench("wishbone", "narrow"), proof("wishbone")),
    ),
    PlantedBug(
        "a Wishbone write of nothing to a refused address is an error", "rtl.bus.wishbone",
        "bus.req.eq(request & ~empty)", "bus.req.eq(request)",
        (bench("wishbone", "narrow"),),
    ),
    PlantedBug(
        "a refused APB access ends without an error", "rtl.bus.apb",
        "self.s_apb_pslverr.eq(bus.err)", "self.s_apb_pslverr.eq(0)",
        (bench("apb", "narrow", quick=True), package("apb"),),
    ),
    PlantedBug(
        "an APB address is cut, so it has aliases", "rtl.bus.apb",
        "bus.addr.eq(self.s_apb_paddr |", "bus.addr.eq(self.s_apb_paddr[:13] |",
        (bench("apb", "narrow"),),
    ),
    PlantedBug(
        "a partial APB write is carried out", "rtl.bus.apb",
        "self.s_apb_pwrite & ~self.s_apb_pstrb.all()", "0",
        (bench("apb", "narrow"), proof("apb"),),
    ),
    PlantedBug(
        "the strobes of an APB read count", "rtl.bus.apb",
        "self.s_apb_pwrite & ~self.s_apb_pstrb.all()", "~self.s_apb_pstrb.all()",
        (bench("apb", "narrow"), proof("apb"),),
    ),
    PlantedBug(
        "an APB write of nothing is refused", "rtl.bus.apb",
        "bus.req.eq(setup & ~empty)", "bus.req.eq(setup)",
        (bench("apb", "narrow"),),
    ),
    PlantedBug(
        "an APB write of nothing is never ready", "rtl.bus.apb",
        "bus.ack | skipped", "bus.ack",
        (bench("apb", "narrow"), proof("apb", quick=True),),
    ),
    PlantedBug(
        "an APB write of nothing is ready within the cycle", "rtl.bus.apb",
        "bus.ack | skipped", "bus.ack | (setup & empty)",
        (bench("apb", "narrow"),),
    ),
    PlantedBug(
        "an APB access phase is taken for another setup phase", "rtl.bus.apb",
        "self.s_apb_psel & ~self.s_apb_penable", "self.s_apb_psel",
        (bench("apb", "narrow"), proof("apb"),),
    ),
    PlantedBug(
        "an APB transfer of another completer is taken", "rtl.bus.apb",
        "self.s_apb_psel & ~self.s_apb_penable", "~self.s_apb_penable",
        (bench("apb", "narrow"),),
    ),
    # The serial link, its model and its host.
    PlantedBug(
        "the link does not check a request's checksum", "rtl.serial.serial_link",
        "m.If(~check.match_detected)", "m.If(Const(0))",
        (bench("serial_link", "single"),),
    ),
    PlantedBug(
        "the link carries out a repeated write again", "rtl.serial.serial_link",
        "(operation[:2] == WRITE) & repeated", "(operation[:2] == WRITE) & Const(0)",
        (bench("serial_link", "single"),),
    ),
    PlantedBug(
        "a board that was reset serves session 0", "rtl.serial.serial_link",
        "(session != open_session) | (session == NO_SESSION)", "session != open_session",
        (bench("serial_link", "single"),),
    ),
    PlantedBug(
        "half a request is never forgotten", "rtl.serial.serial_link",
        "receiver.broken | (gap == self.gap_bits * self.divisor - 1)", "receiver.broken",
        (bench("serial_link", "single"),),
    ),
    PlantedBug(
        "an access does not wait for the unit", "rtl.serial.serial_link",
        "m.If(~(operation[7] & self.busy))", "m.If(Const(1))",
        (bench("serial_link", "single"),),
    ),
    PlantedBug(
        "the link's model does not check a request's checksum", "sim.devices.serial_frames",
        " or crc16(frame[1:])", "",
        (own_test("tests/sim/devices/test_serial.py::test_a_planted_bug_is_noticed"),),
    ),
    PlantedBug(
        "the link's model carries out a repeated write again", "tb.kit.serial_model",
        "if not repeated:", "if True:",
        (own_test("tests/sim/devices/test_serial.py::test_a_planted_bug_is_noticed"),),
    ),
    PlantedBug(
        "the host takes any response for the answer", "sim.devices.serial_device",
        "if self._is_answer(response, request, words):", "if True:",
        (own_test("tests/sim/devices/test_serial.py::test_a_planted_bug_is_noticed"),),
    ),
)  # fmt: skip

#: Every planted bug by its name.
BUGS: dict[str, PlantedBug] = {bug.name: bug for bug in _BUGS}
assert len(BUGS) == len(_BUGS), "two planted bugs share a name"


def companions(proof_name: str) -> list[PlantedBug]:
    """The bugs that a proof must find."""
    return [bug for bug in _BUGS if any(c.kind == "proof" and c.name == proof_name for c in bug.caught_by)]


def markdown() -> str:
    """The catalogue as the Markdown that docs/verify/bugs.md holds."""
    lines = ["| planted bug | in | who must notice it |", "| --- | --- | --- |"]
    for bug in _BUGS:
        lines.append(f"| {bug.name} | `{bug.place}` | {'; '.join(map(str, bug.caught_by))} |")
    return "\n".join(lines) + "\n"
