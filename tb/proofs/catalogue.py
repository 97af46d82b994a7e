"""Every proof and its companions; docs/verify/proofs.md shows this list as a table."""

from __future__ import annotations

from functools import partial

from rtl.spec.params import RLUParams
from tb.proofs import bridges, register_file, reward, row_max, sampler, unit, updater
from tb.proofs.harness import Bug, Proof, free_products, induction, unbounded, unrolled

FULL = RLUParams()
#: Pairs of alpha and gamma in sixteenths: the published 0.25 and 0.99 (which rounds to 16), the ends, some between.
RATES = ((4, 16), (0, 16), (16, 16), (16, 14), (8, 15), (5, 11))
SMALL = RLUParams(states=2, actions=2, q_width=8, q_frac=6, coef_frac=4, gain_frac=4, lfsr_width=8)

ROW_MAX = "The row maximum is the largest of the entries that take part, and its index the lowest action that has it."
ROW_MAX_BUGS = (
    Bug("the higher action wins a tie", "row_max", "less(left[0], right[0])", "left[0] <= right[0]"),
    Bug(
        "the comparison ignores the sign",
        "row_max",
        "less(left[0], right[0])",
        "left[0] < right[0].as_unsigned()",
    ),
)
UPDATER_BUGS = (
    Bug(
        "the maximum is that before the row's own update",
        "updater",
        "valid & legal & less(others, unclipped) & ~above",
        "0",
    ),
    Bug("a Q-value wraps", "updater", "Mux(above, p.q_max, Mux(below, p.q_min, unclipped))", "unclipped"),
    Bug("ties go up in odd rows too", "updater", "later(m, counter[0], row_reader.LATENCY - 1)", "Const(0, 1)"),
    Bug("a row that is left alone counts as new", "updater", "Mux(valid & legal & above,", "Mux(valid & above,"),
)

_PROOFS = (
    Proof(
        "row-max",
        ROW_MAX,
        "16 actions of 16 bit, every mask",
        induction(5, 7),
        partial(row_max.maximum, params=FULL),
        quick=False,
        bugs=ROW_MAX_BUGS,
    ),
    Proof(
        "row-max-small",
        ROW_MAX,
        "8 actions of 8 bit, every mask",
        induction(5, 7),
        partial(row_max.maximum, params=RLUParams(states=2, actions=8, q_width=8, q_frac=6)),
        ROW_MAX_BUGS,
    ),
    Proof(
        "row-reader",
        "Of a row the reader gives the maximum over the row's own actions and the lowest action that has it, for an "
        "update without the policy's action; the policy's entry; and whether that action is one of the row's own.",
        "16 actions of 16 bit, every row, action and count",
        induction(7, 9),
        partial(row_max.row_reading, params=FULL),
        quick=False,
        bugs=(
            Bug("the row's highest action is left out", "row_reader", "Cat(~(last < i)", "Cat(~(last < i + 1)"),
            Bug("the policy's action takes part", "row_reader", "Mux(self.others, chosen, 0)", "0"),
        ),
    ),
    Proof(
        "sampler-draws",
        "The two numbers drawn for a row are the LFSR's states after one and two widths of single shifts.",
        "LFSR of 16 bit, every state",
        induction(2, 6),
        partial(sampler.draws, params=FULL),
        (
            Bug(
                "a draw shifts the LFSR by one bit",
                "sampler",
                "leap(self.lfsr, width, width)",
                "leap(self.lfsr, width, 1)",
            ),
        ),
    ),
    Proof(
        "sampler-choices",
        "The decision to explore and the action, random or the row reader's greedy one, are those of the "
        "specification; an action is always one of its row's own.",
        "16 actions, LFSR of 16 bit, every draw, count and epsilon",
        induction(9, 13),
        partial(sampler.choices, params=FULL),
        quick=False,
        bugs=(
            Bug(
                "a random action ignores the row's count",
                "sampler",
                "self.factor_b.eq(count)",
                "self.factor_b.eq(p.actions)",
            ),
            Bug("exploring and greedy are exchanged", "sampler", "explore.eq(explores)", "explore.eq(~explores)"),
        ),
    ),
    Proof(
        "sampler-order",
        "From start to done every row gets one action, first row first, one a cycle, and nothing is written otherwise.",
        "8 rows, policies of 1 to 8",
        unbounded(),
        partial(sampler.order, params=RLUParams(states=8, actions=2, q_width=8, q_frac=6, coef_frac=4, lfsr_width=8)),
        (
            Bug("the last row is left out", "sampler", "counter == self.states - 1", "counter == self.states - 2"),
            Bug("the counter is not put back", "sampler", "[counter.eq(0), running.eq(0)]", "[running.eq(0)]"),
        ),
    ),
    Proof(
        "bus-handshake",
        "An acknowledgement comes in the cycle after the request, once, and never without a request; "
        "an error only with it.",
        "256 states x 16 actions",
        induction(1, 4),
        partial(register_file.handshake, params=FULL),
        (
            Bug("the acknowledgement lasts two cycles", "register_file", "bus.req & ~bus.ack", "bus.req"),
            Bug("the error line stays high", "register_file", "bus.err.eq(0)", "bus.err.eq(bus.err)"),
        ),
    ),
    Proof(
        "register-accesses",
        "Exactly the accesses that docs/integrate/registers.md refuses are refused and change no register; the others "
        "change what they address and nothing else; a register reads as it was written.",
        "256 states x 16 actions, every address and word",
        induction(1, 4),
        partial(register_file.accesses, params=FULL),
        (
            Bug(
                "a write while busy is accepted",
                "register_file",
                "self.busy & (bus.we | is_window)",
                "self.busy & is_window",
            ),
            Bug(
                "a read-only register can be written",
                "register_file",
                "writable.eq(register.access.writable)",
                "writable.eq(1)",
            ),
            Bug("an address between two words counts", "register_file", "(bus.addr[:2] != 0) | ~known", "~known"),
        ),
    ),
    Proof(
        "busy-write",
        "A write while busy raises no strobe to block or memory, changes no register and is answered with an error.",
        "256 states x 16 actions, every address and word",
        induction(1, 4),
        partial(register_file.busy_write, params=FULL),
        (
            Bug(
                "a write while busy is accepted",
                "register_file",
                "self.busy & (bus.we | is_window)",
                "self.busy & is_window",
            ),
        ),
    ),
    Proof(
        "sticky-flags",
        "An error sets the flag of the first rule it breaks, which stays until a 1 is written to it.",
        "256 states x 16 actions, every address and word",
        unbounded(),
        partial(register_file.sticky_flags, params=FULL),
        (Bug("any write to STATUS clears a flag", "register_file", 'bus.wdata[field_of("STATUS", name).lsb]', "1"),),
    ),
    Proof(
        "axi4lite",
        "Each request taken makes one access, as asked for, and gets one answer, the access's; there are no other "
        "accesses and answers. An answer waits unchanged until it is taken; a write waits for one read at most, "
        "a read for one write.",
        "the front end alone, any master, every address and word",
        unbounded(),
        bridges.axi4lite,
        (
            Bug("bvalid falls without bready", "axi4lite", "with m.If(self.s_axi_bready):", "with m.If(1):"),
            Bug("a write is made and answered twice", "axi4lite", "                have_data.eq(0),\n", ""),
            Bug("the word on rdata changes", "axi4lite", "with m.If(bus.ack & ~serving_write):", "with m.If(bus.ack):"),
            Bug("a read may wait for ever", "axi4lite", "read.eq(have_read &", "read.eq(have_read & ~have_address &"),
            Bug("another write can arrive too early", "axi4lite", "s_axi_wready.eq(~have_data)", "s_axi_wready.eq(1)"),
        ),
    ),
    Proof(
        "wishbone",
        "Each request makes one access, as asked for, and is answered in the next cycle with ACK or ERR, never both; "
        "there are no other accesses and answers.",
        "the front end alone, any master, every address and word",
        induction(1, 4),
        bridges.wishbone,
        (
            Bug("a write of nothing is answered twice", "wishbone", "eq(bus.ack | skipped)", "eq(bus.ack)"),
            Bug("an error is acknowledged too", "wishbone", "(bus.ack & ~bus.err) | skipped", "bus.ack | skipped"),
            Bug("a request counts without CYC", "wishbone", "self.wb_cyc & self.wb_stb", "self.wb_stb"),
        ),
    ),
    Proof(
        "apb",
        "Each setup phase makes one access, as asked for, and is answered in the next cycle, which is the first of the "
        "access phase, with the access's error and word; there are no other accesses and answers.",
        "the front end alone, any requester, every address and word",
        induction(2, 4),
        bridges.apb,
        (
            Bug("a write of nothing is never ready", "apb", "eq(bus.ack | skipped)", "eq(bus.ack)"),
            Bug("the access phase asks again", "apb", "self.s_apb_psel & ~self.s_apb_penable", "self.s_apb_psel"),
            Bug("a partial write is carried out", "apb", "~self.s_apb_pstrb.all()", "0"),
            Bug(
                "strobes of a read count",
                "apb",
                "(self.s_apb_pwrite & ~self.s_apb_pstrb.all())",
                "(~self.s_apb_pstrb.all())",
            ),
        ),
    ),
    Proof(
        "updater",
        "Row by row the pipelined updater writes what the specification does, which takes one row at a time: sums, "
        "ties, saturation, and the maximum of the row written before; nothing else is written.",
        "3 rows, Q-values of 16 bit, coefficients of 15 fraction bits; every row, reward, alpha and gamma",
        free_products(13, "one whole update"),
        partial(updater.rows, params=RLUParams(states=3), plain=False),
        UPDATER_BUGS,
    ),
    Proof(
        "updater-small",
        "As `updater`, with real multiplications, and a specification that multiplies the next row's maximum.",
        "3 rows, Q-values of 8 bit, coefficients of 4 fraction bits; every row and reward, six alphas with gammas",
        unrolled(13, "one whole update"),
        partial(
            updater.rows,
            params=RLUParams(states=3, actions=2, q_width=8, q_frac=2, coef_frac=4),
            plain=True,
            rates=RATES,
        ),
        UPDATER_BUGS,
        quick=False,
    ),
    Proof(
        "updater-room",
        "A row's exact sum never wraps in the bits that `updater` gives it, and no Q-value shows that 1.0 is held as "
        "1 - 2^-17.",
        "Q-values of 16 bit, every number; a product with a factor of 0..1 may be any number from 0 to the other",
        unrolled(2, "everything, as it has no state"),
        partial(updater.room, params=FULL),
        (Bug("coefficients have three bits less", "params", "DISCOUNT_FRAC = 17", "DISCOUNT_FRAC = 14"),),
    ),
    Proof(
        "share",
        "The share of a row is the reward, of either sign, divided by the number of rows, a tie to the even number.",
        "Q-values of 8 bit, policies of 1 to 16 rows, every reward",
        unrolled(16, "one division"),
        partial(reward.share, params=RLUParams(states=16, actions=2, q_width=8, q_frac=6)),
        (
            Bug("a tie goes away from zero", "reward", "fits & (magnitude[0] | rest.any())", "fits"),
            Bug("a negative quotient is one less", "reward", "+ (negative ^ up)", "+ up"),
        ),
    ),
    Proof(
        "reward",
        "The reward is that of the specification, limited to the largest Q-value, and 0 for an outlier; the share is "
        "that of the reward.",
        "Q-values of 8 bit, coefficients and gains of 4 fraction bits, 1 to 4 rows; all measurements and settings",
        unrolled(32, "one calculation"),
        partial(reward.reward, params=RLUParams(states=4, actions=2, q_width=8, q_frac=6, coef_frac=4, gain_frac=4)),
        (
            Bug("the score wraps", "reward", "Mux(score[p.q_width - 1 :].any(), p.q_max, score)", "score"),
            Bug(
                "an accuracy at its threshold passes",
                "reward",
                "~(self.accuracy_th < self.accuracy)",
                "self.accuracy < self.accuracy_th",
            ),
            Bug("a term is not clipped", "reward", "Mux(rounded[p.coef_frac :].any(), p.coef_one, rounded)", "rounded"),
        ),
        quick=False,
    ),
    Proof(
        "idle",
        "Whatever is written and when, the unit is busy for exactly the documented cycles of the work it took on, "
        "and then idle.",
        "2 states x 2 actions, numbers of 8 bit, every sequence of accesses",
        induction(64, 64),
        partial(unit.idle, params=SMALL),
        quick=False,
        bugs=(
            Bug("a job is not struck off", "core", "pending & ~active)", "pending)"),
            Bug("clearing takes a cycle more", "core", "clear_row == p.states - 1", "clear_row == p.states"),
        ),
    ),
)


def markdown() -> str:
    """The list as the Markdown that docs/verify/proofs.md holds."""
    lines = [
        "| proof | what is proven | for | covers | planted bugs it finds | quick |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for proof in _PROOFS:
        bugs = "; ".join(bug.says for bug in proof.bugs)
        quick = "yes" if proof.quick else ""
        lines.append(f"| {proof.name} | {proof.claim} | {proof.size} | {proof.method.reaches} | {bugs} | {quick} |")
    return "\n".join(lines) + "\n"


PROOFS: dict[str, Proof] = {proof.name: proof for proof in _PROOFS}
