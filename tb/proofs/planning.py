"""The planner: numbers never wrap, plans are legal and untried, commands end, and it can be switched off."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Fragment, Mux, Signal, Value, ValueLike, signed

from rtl.episodes.policy_scan import SeenScan
from rtl.planning.learner import EffectLearner
from rtl.planning.plan_search import PlanSearch
from rtl.planning.policy_walk import PolicySums, PolicyWalk
from rtl.planning.settings import at_least_one, setting
from rtl.planning.valuer import Valuer
from rtl.spec.params import (
    ACTION_WIDTH,
    ACTIONS_PER_WORD,
    DOUBTS,
    HOPES,
    LANE_WIDTH,
    RLUParams,
    seen_cycles,
    walk_cycles,
)
from rtl.spec.registers import field_of
from rtl.unit.core import RLUCore
from tb.proofs.harness import Harness, register


def sums(h: Harness, params: RLUParams) -> None:
    """After every row of a walk the sums are the exact ones."""
    m, dut = h.m, PolicySums(params)
    h.block("dut", dut)
    h.drive(dut, but=("start",))
    now = Signal(range(params.states + 3))
    with m.If(now <= params.states + 1):
        m.d.sync += now.eq(now + 1)
    visit = dut.visit
    m.d.comb += dut.start.eq(now == 0)
    h.assume(~visit.valid | ((now >= 1) & (now <= params.states)))
    h.assume(visit.doubt <= Mux(now == 1, 0, max(DOUBTS)))  # the last row, which comes first, has none
    # Costs come a cycle after the rest of their row.
    visited = h.delayed(visit.valid, 1)
    added = {
        "effects": (signed(params.q_width), visit.valid, Mux(visit.has_effect, visit.effect, 0)),
        "doubts": (len(visit.doubt), visit.valid, visit.doubt),
        "latency": (16, visited, visit.latency),
        "energy": (16, visited, visit.energy),
    }
    for name, (shape, comes, number) in added.items():
        exact = Signal(signed(len(Signal(shape)) + params.states), name=f"exact_{name}")
        with m.If(comes & ~dut.start):
            m.d.sync += exact.eq(exact + number)
        with m.If(now >= 1):
            h.prove(dut.sums[name] == exact)


def effects(h: Harness, params: RLUParams) -> None:
    """A new effect is the old one and the step, limited to the range of a Q-value."""
    dut = EffectLearner(params)
    inside = Fragment.get(dut, None)
    h.m.submodules.dut = inside
    h.drive(dut)
    step = register(inside, "step")
    exact = h.delayed(dut.visit.effect + step, 1).as_signed()
    limited = Mux(exact > params.q_max, params.q_max, Mux(exact < params.q_min, params.q_min, exact))
    h.prove(~(h.after(1) & dut.write_en & ~h.delayed(dut.starts, 1)) | (dut.write_value == limited))


def tried(h: Harness, params: RLUParams) -> None:
    """Whether a policy is stored is answered right, and in time, whether its last row counts or not."""
    dut = SeenScan(params)
    h.block("dut", dut)
    h.drive(dut, constant=("states", "stored", "but_last"), but=("start", "word", "policy_word"))
    h.assume((dut.states >= 1) & (dut.states <= params.states))
    h.assume((dut.stored >= 1) & (dut.stored <= params.episodes))
    words = params.policy_words
    policy = [h.constant(32, f"policy_{i}") for i in range(words)]
    episodes = [[h.constant(32, f"episode_{e}_{i}") for i in range(words)] for e in range(params.episodes)]
    word = dut.read_row >> LANE_WIDTH
    h.m.d.sync += [
        dut.policy_word.eq(Array(policy)[word]),
        dut.word.eq(Array(Array(episode)[word] for episode in episodes)[dut.read_episode]),
    ]

    def action(of: list[Signal], row: int) -> Value:
        return of[row // ACTIONS_PER_WORD].word_select(row % ACTIONS_PER_WORD, ACTION_WIDTH)

    same = [
        (dut.stored > e)
        & Cat(
            (dut.states <= r) | (dut.but_last & (dut.states == r + 1)) | (action(policy, r) == action(episode, r))
            for r in range(params.states)
        ).all()
        for e, episode in enumerate(episodes)
    ]
    now = Signal(range(seen_cycles(params.states, params.episodes) + 2))
    h.m.d.sync += now.eq(Mux(now.all(), now, now + 1))
    h.m.d.comb += dut.start.eq(now == 0)
    needed = Mux(dut.states > ACTIONS_PER_WORD, dut.stored << 1, dut.stored)
    assert words == 2
    h.prove(dut.done == (now == needed + seen_cycles(1, 0)))
    with h.m.If(dut.done):
        h.prove(dut.seen == Cat(same).any())


def plan(h: Harness, params: RLUParams, most: int) -> None:
    """A plan of up to ``most`` rows is a legal policy, and an untried one if the search has met one."""
    m, dut = h.m, PlanSearch(params)
    h.block("dut", dut)
    made = (
        "start", "stored", "compared", "seen", "episode_word", "sample_done", "walk__done", "value_done", "action",
        "last", "word", "worth",
    )  # fmt: skip
    h.drive(dut, constant=("recommending", "states", "planning"), but=made)
    rows = range(params.states)
    assert params.policy_words == 1
    for field in ("climbs", "sweeps"):
        h.assume(setting(dut.planning, "PLANNING", field) <= 1)
    h.assume((dut.states >= 1) & (dut.states <= most))

    # The memories: rows with their highest actions, policies stored, POLICY. A memory answers a cycle later.
    lasts = [h.constant(ACTION_WIDTH, f"last_{r}") for r in rows]
    episodes = [[h.constant(ACTION_WIDTH, f"episode_{e}_{r}") for r in rows] for e in range(params.episodes)]
    policy = [Signal(ACTION_WIDTH, name=f"policy_{r}") for r in rows]
    stored = h.constant(params.stored_width, "stored")
    h.assume(stored <= params.episodes)
    for last, *actions in zip(lasts, *episodes, strict=True):
        h.assume(last < params.actions)
        for action in actions:
            h.assume(action <= last)
    now_tried = [Mux(dut.trying & (dut.try_row == r), dut.try_action, policy[r]) for r in rows]
    answered = [Signal(ACTION_WIDTH, name=f"answered_{r}") for r in rows]
    m.d.sync += [a.eq(action) for a, action in zip(answered, policy, strict=True)]
    shown = [Mux(dut.trying & (dut.try_row == r), dut.try_action, answered[r]) for r in rows]
    m.d.sync += [
        dut.action.eq(Array(policy)[dut.read_row]),
        dut.last.eq(Array(lasts)[dut.read_row]),
        dut.episode_word.eq(Array(Cat(episode) for episode in episodes)[dut.episode]),
    ]
    m.d.comb += [dut.word.eq(Cat(shown)), dut.stored.eq(stored)]

    # POLICY is written by the search, by the sampler when it has drawn, and before the command by the host.
    now = Signal(2)
    m.d.sync += now.eq(Mux(now == 2, now, now + 1))
    m.d.comb += dut.start.eq(now == 1)
    for r in rows:
        drawn = h.free(ACTION_WIDTH, f"drawn_{r}")
        h.assume(drawn <= lasts[r])
        with m.If((now == 0) | dut.sample_done):
            m.d.sync += policy[r].eq(drawn)
        with m.If(dut.write_action_en & (dut.write_row == r)):
            m.d.sync += policy[r].eq(dut.write_action)
        with m.If(dut.write_word_en):
            m.d.sync += policy[r].eq(dut.write_word.word_select(r, ACTION_WIDTH))

    # Its helpers answer at once. Worths are any; a comparison says the truth (proof `seen-scan`).
    def is_stored(actions: list[Value]) -> Value:
        """At any operating point, which is the last row's action."""
        return Cat(
            (stored > e) & Cat((dut.states <= r + 1) | (actions[r] == episode[r]) for r in rows).all()
            for e, episode in enumerate(episodes)
        ).any()

    worth = h.free(dut.worth.shape(), "any_worth")
    m.d.comb += [
        dut.walk.done.eq(h.delayed(dut.walk.start, 1)),
        dut.sample_done.eq(dut.drawing),
        dut.value_done.eq(h.delayed(dut.value, 1)),
        dut.compared.eq(dut.compare),
        dut.seen.eq(is_stored(now_tried)),
        dut.worth.eq(Mux(dut.value_done, worth, h.delayed(dut.worth, 1))),
    ]

    met = Signal()  # an untried candidate
    with m.If(h.delayed(dut.value_done & dut.hopeful, 1) & ~is_stored(now_tried)):
        m.d.sync += met.eq(1)
    h.prove(Cat(policy[r] <= lasts[r] for r in rows).all())
    h.prove(~(dut.done & ~dut.recommending & met & is_stored(policy)))


def ends(h: Harness, params: RLUParams) -> None:
    """From any state, learner, search and valuer come closer to their end in every cycle in which they do not wait."""
    learner, search, valuer = EffectLearner(params), PlanSearch(params), Valuer(params)
    for name, dut in (("learner", learner), ("search", search), ("valuer", valuer)):
        inside = Fragment.get(dut, None)
        h.m.submodules[name] = inside
        h.drive(dut, constant=("states", "stored", "planning", "recommending", "hopeful"))
        {"learner": _learner_ends, "search": _search_ends, "valuer": _valuer_ends}[name](h, dut, inside, params)


def _falls(h: Harness, name: str, fsm: Any, left: dict[str, list[ValueLike]], waits: dict[str, Value]) -> None:
    """A block's state machine is at rest, waits, or has less left than in the cycle before.

    ``left`` has what is left in each state but IDLE, in its order from the most to the least significant, as numbers
    of `_WIDTH` bits; ``waits`` says in which states it waits, for what.
    """
    assert {*left, "IDLE"} == set(fsm.encoding)
    parts = max(len(numbers) for numbers in left.values())
    rank = Signal(parts * _WIDTH, name=f"{name}_left")
    waiting = Signal(name=f"{name}_waiting")
    with h.m.Switch(fsm.state):
        for state, numbers in left.items():
            with h.m.Case(fsm.encoding[state]):
                cells = [Signal(_WIDTH, name=f"{name}_{fsm.encoding[state]}_{i}") for i in range(parts)]
                h.m.d.comb += [cell.eq(n) for cell, n in zip(cells, [*numbers, *[0] * parts], strict=False)]
                h.m.d.comb += [rank.eq(Cat(reversed(cells))), waiting.eq(~waits.get(state, Const(1)))]
    idle = fsm.state == fsm.encoding["IDLE"]
    h.prove(fsm.state < len(fsm.encoding))
    before = h.delayed(rank, 1)
    h.prove(~h.after(1) | h.delayed(idle | waiting, 1) | (rank < before))


_WIDTH = 8


def _less_one(number: ValueLike, width: int) -> Value:
    """How often a counter of ``width`` bits can still go down before it is 1."""
    return (Value.cast(number) - 1)[:width]


def _learner_ends(h: Harness, dut: EffectLearner, inside: Fragment, params: RLUParams) -> None:
    fsm = inside.find_generated("fsm")
    passes, episodes = register(inside, "passes_left"), register(inside, "episodes_left")
    more = _less_one(episodes, len(episodes))
    in_pass = ("LOOK", "LOOKED", "JUDGE", "SUM", "PRODUCT", "STEP", "MOVE", "MOVING", "NEXT")
    left: dict[str, list[ValueLike]] = {state: [1, passes, 0, more, 9 - i] for i, state in enumerate(in_pass)}
    left |= {"STORE": [4], "COUNT": [3], "CONSTANT": [2], "PASS": [1, _less_one(passes, len(passes)), 1]}
    done = dut.walk.done
    _falls(h, "learner", fsm, left, {"STORE": dut.stored_now, "COUNT": done, "SUM": done, "MOVING": done})
    early = Cat(fsm.state == fsm.encoding[state] for state in ("STORE", "COUNT", "CONSTANT", "PASS")).any()
    h.prove(~early | (passes != 0))


def _search_ends(h: Harness, dut: PlanSearch, inside: Fragment, params: RLUParams) -> None:
    fsm = inside.find_generated("fsm")
    judging, climb, sweep = (register(inside, name) for name in ("judging", "climb", "sweep"))
    word, last = register(inside, "word"), register(inside, "last")
    last_row = (dut.states - 1)[: params.row_width]
    words = (last_row[LANE_WIDTH:] - word)[: len(word)]
    episodes = (dut.stored - 1 - dut.episode)[: len(dut.episode)]
    climbs = (at_least_one(dut.planning, "PLANNING", "climbs") - 1 - climb)[: len(climb)]
    rows = (last_row - dut.try_row)[: params.row_width]
    actions = (last - dut.try_action)[:ACTION_WIDTH]
    sweeps = _less_one(sweep, len(sweep))

    def judged(step: int) -> list[ValueLike]:
        return [4, episodes, step]

    def in_row(*rest: ValueLike) -> list[ValueLike]:
        return [2, climbs, 1, sweeps, 1, rows, *rest]

    def appraised(step: int, among: list[ValueLike] | None = None) -> list[ValueLike]:
        climbing = [Mux(dut.trying, a, b) for a, b in zip(tried_row(step), at_start(step), strict=True)]
        if among is None:
            return climbing
        judged = among + [0] * (len(climbing) - len(among))
        return [Mux(judging, a, b) for a, b in zip(judged, climbing, strict=True)]

    def at_start(step: int) -> list[ValueLike]:
        return [2, climbs, 2, 0, 0, 0, 0, 0, step, words]

    def tried_row(step: int) -> list[ValueLike]:
        return in_row(1, actions, step, words)

    def drawn(step: int) -> list[ValueLike]:
        return (
            [Mux(dut.explore, a, b) for a, b in zip([1, step, 0], [2, climbs, 2], strict=True)] + [0] * 5 + [step + 4]
        )

    left: dict[str, list[ValueLike]] = {
        "LOOK": judged(6), "LOOKED": judged(5), "JUDGE": judged(4), "NEXT": judged(1),
        "SUM": appraised(6, judged(3)), "VALUE": appraised(5, judged(2)), "WEIGH": appraised(4),
        "COMPARE": appraised(3), "KEEP": appraised(2), "ON": appraised(1),
        "PARENT": [3], "CLIMB": [2, climbs, 3], "DRAW": drawn(5), "DRAWN": drawn(4),
        "ROW": in_row(3), "ROW READ": in_row(2), "TRY": in_row(1, actions, 7), "WRITE": in_row(0),
        "SWEPT": [2, climbs, 1, sweeps, 0], "CLIMBED": [2, climbs, 0],
        "RESTORE": [1, 3, words], "RESTORE LAST": [1, 2, 1], "RESTORED": [1, 2], "FORESEE": [1, 1],
    }  # fmt: skip
    for flag, state in (
        (register(inside, "restoring"), "RESTORE"),
        (register(inside, "keeping"), "KEEP"),
        (dut.drawing, "DRAWN"),
    ):
        h.prove(flag == (fsm.state == fsm.encoding[state]))
    climbs_less_one = at_least_one(dut.planning, "PLANNING", "climbs") - 1
    h.prove(~h.after(1) | (register(inside, "last_climb") == climbs_less_one[: len(climb)]))
    done = dut.walk.done
    waits = {"SUM": done, "FORESEE": done, "VALUE": dut.value_done, "COMPARE": dut.compared, "DRAWN": dut.sample_done}
    _falls(h, "search", fsm, left, waits)
    judges = ("IDLE", "LOOK", "LOOKED", "JUDGE", "SUM", "VALUE", "NEXT", "PARENT")
    h.prove(~judging | Cat(fsm.state == fsm.encoding[state] for state in judges).any())
    looks = Cat(fsm.state == fsm.encoding[state] for state in ("LOOK", "LOOKED", "JUDGE", "NEXT")).any()
    h.assume(dut.stored <= params.episodes)
    h.prove(
        ~(looks | (judging & (fsm.state != fsm.encoding["IDLE"]) & (fsm.state != fsm.encoding["PARENT"])))
        | (dut.stored != 0)
    )


def _valuer_ends(h: Harness, dut: Valuer, inside: Fragment, params: RLUParams) -> None:
    fsm = inside.find_generated("fsm")
    hopes = len(HOPES) - 1 - register(inside, "hope")
    left: dict[str, list[ValueLike]] = {
        **{state: [2, 0, 5 - i] for i, state in enumerate(("COSTS", "DOUBT", "CAUTION", "WAIT", "ADD"))},
        "AT": [1, hopes, 3], "AGAIN": [1, hopes, 2], "SCORE": [1, hopes, 1], "DONE": [0, 0, 1],
    }  # fmt: skip
    _falls(h, "valuer", fsm, left, {"SCORE": dut.score.scored})


def walk(h: Harness, params: RLUParams) -> None:
    """A walk visits every row once, the last one first, and is done in its cycle."""
    dut = PolicyWalk(params)
    h.block("dut", dut)
    h.drive(dut, constant=("states",))
    h.assume((dut.states >= 1) & (dut.states <= params.states))
    now = Signal(range(walk_cycles(params.states) + 1))  # cycles since the start; 0: at rest
    order = dut.order
    h.assume(~order.start | (now == 0))
    with h.m.If(order.start):
        h.m.d.sync += now.eq(1)
    with h.m.Elif(now == dut.states + walk_cycles(0)):
        h.m.d.sync += now.eq(0)
    with h.m.Elif(now != 0):
        h.m.d.sync += now.eq(now + 1)
    visits = (now >= walk_cycles(0)) & (now < dut.states + walk_cycles(0))
    h.prove(order.done == ((now != 0) & (now == dut.states + walk_cycles(0))))
    h.prove(dut.visit.valid == visits)
    h.prove(~dut.visit.valid | (dut.visit.row == dut.states + walk_cycles(0) - 1 - now))


def off(h: Harness, params: RLUParams) -> None:
    """With MODE.planning off, nothing of the planner reaches what the other modes use."""
    dut = RLUCore(params)
    inside = Fragment.get(dut, None)
    h.m.submodules.dut = inside
    h.drive(dut)
    planning = dut.settings.mode[field_of("MODE", "planning").lsb]
    h.assume(~planning)
    planner = inside.find_subfragment("planner").origins[0]
    episodes = planner.episodes
    used = (
        planner.planning, planner.done, planner.sample, planner.still & planner.planning, planner.write_action_en,
        planner.write_word_en, planner.effect_en, planner.score.start, planner.score.again, episodes.store,
        episodes.compare_start, episodes.compare,
    )  # fmt: skip
    h.prove(~Cat(used).any())
    host = h.delayed(dut.memory.write, 1)
    h.prove(host | ~Cat(episodes.write_word_en, episodes.write_first_en, episodes.write_second_en).any())
    reader = inside.find_subfragment("planner")
    fsms = [reader.find_subfragment(name).find_generated("fsm") for name in ("learner", "search", "valuer")]
    h.prove(~Cat(fsm.state != fsm.encoding["IDLE"] for fsm in fsms).any())
