"""Every proof; docs/verify/proofs.md shows this list as a table, with the planted bugs of `tb.bugs` for companions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from rtl.spec.params import RLUParams
from tb.bugs.catalogue import companions
from tb.proofs import bridges, planning, register_file, reward, row_max, sampler, unit, updater
from tb.proofs.harness import Proof, free_products, induction, unbounded, unrolled

FULL = RLUParams()
#: Pairs of alpha and gamma in sixteenths: the published 0.25 and 0.99 (which rounds to 16), the ends, some between.
RATES = ((4, 16), (0, 16), (16, 16), (16, 14), (8, 15), (5, 11))
SMALL = RLUParams(states=2, actions=2, q_width=8, q_frac=6, coef_frac=4, gain_frac=4, lfsr_width=8)
PLANNER = replace(SMALL, episodes=2, points=2)

ROW_MAX = "The row maximum is the largest of the entries that take part, and its index the lowest action that has it."

_PROOFS = (
    Proof(
        "row-max",
        ROW_MAX,
        "16 actions of 16 bit, every mask",
        induction(5, 7),
        partial(row_max.maximum, params=FULL),
        quick=False,
    ),
    Proof(
        "row-max-small",
        ROW_MAX,
        "8 actions of 8 bit, every mask",
        induction(5, 7),
        partial(row_max.maximum, params=RLUParams(states=2, actions=8, q_width=8, q_frac=6)),
    ),
    Proof(
        "row-reader",
        "The reader gives the maximum over a row's own actions, without the policy's action for an update; the lowest "
        "action that has it; the policy's entry; and whether the policy's action is one of the row's own.",
        "16 actions of 16 bit, every row, action and count",
        induction(7, 9),
        partial(row_max.row_reading, params=FULL),
        quick=False,
    ),
    Proof(
        "sampler-draws",
        "The two numbers drawn for a row are the LFSR's states after one and two widths of single shifts.",
        "LFSR of 16 bit, every state",
        induction(2, 6),
        partial(sampler.draws, params=FULL),
    ),
    Proof(
        "sampler-choices",
        "The decision to explore, and the action, random or the row reader's greedy one, are those of the "
        "specification; an action is always one of its row's own.",
        "16 actions, LFSR of 16 bit, every draw, count and epsilon",
        induction(9, 13),
        partial(sampler.choices, params=FULL),
        quick=False,
    ),
    Proof(
        "sampler-order",
        "From start to done every row gets one action, first row first, one per cycle, and nothing else is written.",
        "8 rows, policies of 1 to 8",
        unbounded(),
        partial(sampler.order, params=RLUParams(states=8, actions=2, q_width=8, q_frac=6, coef_frac=4, lfsr_width=8)),
    ),
    Proof(
        "bus-handshake",
        "An acknowledgement comes once, four cycles after the request, and never without a request; "
        "an error comes only with an acknowledgement.",
        "256 states x 16 actions",
        induction(6, 10),
        partial(register_file.handshake, params=FULL),
    ),
    Proof(
        "register-accesses",
        "Exactly the accesses that docs/integrate/registers.md refuses are refused, and these change no register; the "
        "others change only what they address; a register reads as it was written.",
        "256 states x 16 actions, every address and word",
        induction(8, 10),
        partial(register_file.accesses, params=FULL),
    ),
    Proof(
        "busy-write",
        "A write while busy raises no strobe, changes no register and is answered with an error.",
        "256 states x 16 actions, every address and word",
        induction(8, 10),
        partial(register_file.busy_write, params=FULL),
    ),
    Proof(
        "sticky-flags",
        "An error sets the flag of the first rule that it breaks; the flag stays until a 1 is written to it.",
        "256 states x 16 actions, every address and word",
        unbounded(),
        partial(register_file.sticky_flags, params=FULL),
    ),
    *bridges.PROOFS,
    Proof(
        "updater",
        "For every row the pipelined updater writes the value of the specification, which takes one row at a time: "
        "sums, ties, saturation, and the maximum of the row written before; nothing else is written.",
        "3 rows, Q-values of 16 bit, coefficients of 15 fraction bits; every row, reward, alpha and gamma",
        free_products(13, "one whole update"),
        partial(updater.rows, params=RLUParams(states=3), plain=False),
    ),
    Proof(
        "updater-small",
        "Like `updater`, but with real multiplications and a specification that multiplies the next row's maximum.",
        "3 rows, Q-values of 8 bit, coefficients of 4 fraction bits; every row and reward, six alphas with gammas",
        unrolled(13, "one whole update"),
        partial(
            updater.rows,
            params=RLUParams(states=3, actions=2, q_width=8, q_frac=2, coef_frac=4),
            plain=True,
            rates=RATES,
        ),
        quick=False,
    ),
    Proof(
        "updater-room",
        "A row's exact sum never wraps in the bits that `updater` gives it. No Q-value changes because 1.0 is stored "
        "as 1 - 2^-17.",
        "Q-values of 16 bit, every number; a product with a factor of 0..1 may be anything from 0 to the other factor",
        unrolled(2, "everything, because it has no state"),
        partial(updater.room, params=FULL),
    ),
    Proof(
        "share",
        "The share of a row is the reward, of either sign, divided by the number of rows, ties to the even number.",
        "Q-values of 8 bit, policies of 1 to 16 rows, every reward",
        unrolled(16, "one division"),
        partial(reward.share, params=RLUParams(states=16, actions=2, q_width=8, q_frac=6)),
    ),
    Proof(
        "reward",
        "The reward is that of the specification, limited to the largest Q-value, and 0 for an outlier; the share "
        "belongs to that reward.",
        "Q-values of 8 bit, coefficients and gains of 4 fraction bits, 1 to 4 rows; all measurements and settings",
        unrolled(32, "one calculation"),
        partial(reward.reward, params=RLUParams(states=4, actions=2, q_width=8, q_frac=6, coef_frac=4, gain_frac=4)),
        quick=False,
    ),
    Proof(
        "planner-sums",
        "The sums of effects, doubts, latency and energy over a policy's rows are exact: they never wrap.",
        "5 rows, effects of 16 bit, every effect, cost and legal doubt",
        unrolled(7, "one whole walk"),
        partial(planning.sums, params=RLUParams(states=5, actions=4, episodes=2, points=4)),
    ),
    Proof(
        "planner-effects",
        "A new effect is the old one and the step, limited to the range of a Q-value: it never wraps.",
        "effects of 16 bit, every effect and step",
        induction(1, 16),
        partial(planning.effects, params=RLUParams(states=5, actions=4, episodes=2, points=4)),
    ),
    Proof(
        "seen-scan",
        "The comparison finds whether the rows in use of a policy, or all but the last of them, are those of a stored "
        "one, in the documented cycle.",
        "1 to 11 rows, 1 or 2 episodes, every policy",
        unrolled(12, "one whole comparison"),
        partial(planning.tried, params=RLUParams(states=11, actions=3, episodes=2, points=3)),
    ),
    Proof(
        "plan-search",
        "A plan and a recommendation are legal policies if those stored and drawn are. A plan is not a stored policy, "
        "at any operating point, if the search has met another one.",
        "1 or 2 rows x 2 actions, 2 episodes, one climb of one sweep; every worth, every policy stored and drawn",
        unrolled(56, "one whole plan"),
        partial(planning.plan, params=PLANNER, most=2),
    ),
    Proof(
        "planner-ends",
        "Learner, search and valuer do not run for ever: in each cycle in which none of their helpers is waited for, "
        "less is left to do, from any state.",
        "16 rows x 4 actions, 64 episodes; every setting",
        induction(2, 8),
        partial(planning.ends, params=RLUParams(states=16, actions=4, episodes=64, points=9)),
    ),
    Proof(
        "walk",
        "A walk visits each row in use once, the last one first, one per cycle, and is done in the documented cycle.",
        "1 to 5 rows",
        unbounded(),
        partial(planning.walk, params=RLUParams(states=5, actions=4, episodes=2, points=4)),
    ),
    Proof(
        "planning-off",
        "With MODE.planning off the planner rests, and nothing of it but the host's accesses reaches the blocks that "
        "the other modes use: memories, sampler, reward calculator, sequencer.",
        "2 states x 2 actions, numbers of 8 bit, 2 episodes, 1 point, every sequence of commands",
        unbounded(),
        partial(planning.off, params=replace(SMALL, episodes=2, points=1)),
    ),
    Proof(
        "idle",
        "After any writes at any time, the unit is busy for exactly the documented cycles of the work that it took on, "
        "and then idle.",
        "2 states x 2 actions, numbers of 8 bit, every sequence of accesses",
        induction(64, 64),
        partial(unit.idle, params=SMALL),
        quick=False,
    ),
)


def markdown() -> str:
    """The list as the Markdown that docs/verify/proofs.md holds."""
    lines = [
        "| proof | what is proven | for | covers | planted bugs it finds | quick |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for proof in _PROOFS:
        bugs = "; ".join(bug.name for bug in companions(proof.name))
        quick = "yes" if proof.quick else ""
        lines.append(f"| {proof.name} | {proof.claim} | {proof.size} | {proof.method.reaches} | {bugs} | {quick} |")
    return "\n".join(lines) + "\n"


PROOFS: dict[str, Proof] = {proof.name: proof for proof in _PROOFS}
