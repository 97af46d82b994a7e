"""The driver: the host's requests to an RL unit, as register accesses on any device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtl.spec.params import ALPHA, GAMMA, TRIALS_WIDTH, RLUParams
from rtl.spec.registers import (
    ACTION_COUNT,
    CLEAR,
    ERROR_FLAGS,
    ID_VALUE,
    MEMORIES,
    POLICY,
    Q_TABLE,
    RECOMMEND,
    REGISTERS,
    REWARD,
    SAMPLE,
    UPDATE,
    VERSION_VALUE,
    Access,
    Window,
    field_of,
)
from sim.devices.device import READ, WAIT, WRITE, Device, Op, address_of
from sim.devices.episodic import Episodic, variant_registers
from sim.devices.objective import Objective
from sim.devices.planning import Costs, Planning, Recommended
from sim.model.arithmetic import to_fixed

# What a task depends on. REWARD and STATES are saved separately; interrupts belong to the system, not to the task.
_NOT_SAVED = ("REWARD", "STATES", "IRQ_ENABLE", "MEMORY_ADDRESS", "MEMORY_DATA")
_PLANNING = ("PLANNING", "DOUBT", "RIDGE")
_SAVED = tuple(r.name for r in REGISTERS if r.access is Access.RW and r.name not in (*_NOT_SAVED, *_PLANNING))


class DriverError(RuntimeError):
    """The unit refused an access; the message names the sticky flags that are set."""


@dataclass(frozen=True)
class Learned:
    """Result of a learning step.

    Attributes:
        reward: reward of the policy, in units of 2**-q_frac.
        q_table: each row's Q-values, one for each action that the row has, in the same units.
    """

    reward: int
    q_table: tuple[tuple[int, ...], ...]

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 over the Q-table."""
        return q_digest(self.q_table)


def q_digest(q_table: Sequence[Sequence[int]]) -> str:
    """First 16 hexadecimal digits of the SHA-256 over a Q-table written as text: rows as lines, values in decimal."""
    text = "\n".join(" ".join(map(str, row)) for row in q_table)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Driver:
    """Drives one RL unit.

    Args:
        device: where the unit is.

    Raises:
        DriverError: if the device is not an RL unit with this register map.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        words = self._read("ID", "VERSION", "CONFIG", "FORMATS", "EPISODES")
        # Earlier versions of the register map have no PLAN.
        words |= self._read("PLAN") if words["VERSION"] & 0xFFFF >= 3 else {"PLAN": 0}
        if words["ID"] != ID_VALUE:
            raise DriverError(f"no RL unit answers: ID is 0x{words['ID']:08X}, not 0x{ID_VALUE:08X}")
        if words["VERSION"] >> 16 != VERSION_VALUE >> 16:
            raise DriverError(f"register map version {words['VERSION'] >> 16} is not {VERSION_VALUE >> 16}")
        config, formats = words["CONFIG"], words["FORMATS"]
        self.params = RLUParams(
            states=field_of("CONFIG", "states").of(config),
            actions=field_of("CONFIG", "actions").of(config),
            lfsr_width=field_of("CONFIG", "lfsr_width").of(config),
            q_width=field_of("FORMATS", "q_width").of(formats),
            q_frac=field_of("FORMATS", "q_frac").of(formats),
            coef_frac=field_of("FORMATS", "coef_frac").of(formats),
            gain_frac=field_of("FORMATS", "gain_frac").of(formats),
            episodes=field_of("EPISODES", "capacity").of(words["EPISODES"]),
            points=field_of("PLAN", "points").of(words["PLAN"]),
        )
        self.objective = Objective()
        self.action_counts: tuple[int, ...] = ()
        self._saved = (*_SAVED, *_PLANNING) if self.params.points else _SAVED
        self._planning: Planning | None = None
        self._costs: list[list[list[int]]] = []
        self._told = 0
        # An episodic unit's memory cannot be read, so a copy is kept here for `save`.
        self._episodic = False
        self._episodes: list[tuple[list[int], int]] = []
        self._policy: list[int] = []
        self._q_ops: list[Op] = []
        self._set_counts(self._read_window(ACTION_COUNT, self._read("STATES")["STATES"]))

    def configure(
        self,
        *,
        action_counts: Sequence[int],
        seed: int,
        objective: Objective | None = None,
        alpha: float = ALPHA,
        gamma: float = GAMMA,
        full_last_reward: bool = False,
        episodic: Episodic | None = None,
        planning: Planning | None = None,
        costs: Costs | None = None,
    ) -> None:
        """Set the unit to a new task and clear its Q-table.

        Args:
            action_counts: number of actions of every row; its length is the number of rows.
            seed: first state of the LFSR, 1..2**lfsr_width - 1.
            objective: weights, thresholds and ranges.
            alpha: learning rate, 0..1.
            gamma: discount, 0..1.
            full_last_reward: give the last row the whole reward instead of its share.
            episodic: settings of the episodic mode.
            planning: settings of the planning mode, which has a learning rate of its own. Without either, the unit is
                the published one.
            costs: for the planning mode, what each action adds to latency and energy.

        Raises:
            ValueError: for a value outside its range, for ``episodic`` on a unit without an episode memory, or for
                ``planning`` on one that has no room for the costs, without costs, or together with ``episodic``.
        """
        p = self.params
        if episodic is not None and not p.episodes:
            raise ValueError("this unit has no episode memory: build one with episodes of 2..1024, such as 512")
        if planning is not None and not p.points:
            raise ValueError("this unit cannot plan: build one with episodes, such as 64, and points, such as 9")
        if planning is not None and (costs is None or episodic is not None):
            raise ValueError("a planning unit needs costs, and is not episodic at the same time")
        _check_whole("number of rows", len(action_counts), 1 if planning is None else 2, p.states)
        for row, count in enumerate(action_counts):
            _check_whole(f"number of actions of row {row}", count, 1, p.actions)
        _check_whole("seed", seed, 1, p.lfsr_max)
        _check_fraction("alpha", alpha)
        _check_fraction("gamma", gamma)
        self.objective = objective or Objective()
        values = {
            "STATES": len(action_counts),
            **variant_registers(full_last_reward, episodic),
            "ALPHA": to_fixed(alpha, p.coef_frac),
            "GAMMA": to_fixed(gamma, p.coef_frac),
            "LFSR": seed,
            **self.objective.registers(p),
            **(planning.registers(len(action_counts), p) if planning is not None else {}),
        }
        words = costs.words(action_counts, self.objective, p) if planning is not None and costs is not None else []
        # Writing STATES starts a division of the old reward: wait for its end before anything else.
        ops = [_write("STATUS", sum(f.mask for f in ERROR_FLAGS))]
        for name, value in values.items():
            ops.append(_write(name, value))
            if name == "STATES":
                ops.append(Op(WAIT))
        ops += _window_ops(ACTION_COUNT, action_counts)
        ops += [_write("COMMAND", CLEAR), Op(WAIT)]
        for point, of_point in enumerate(words):
            for row, of_row in enumerate(of_point):
                ops += _memory_ops("costs", (point, row, 0), of_row)
        self._transact(ops)
        self._planning, self._costs, self._told = planning, words, 0
        self._set_counts(list(action_counts))
        self._episodic, self._episodes = episodic is not None, []

    def sample(self, epsilon: float) -> tuple[int, ...]:
        """Draw a new policy: one action per row, first row first. ``epsilon`` is in 0..1."""
        _check_fraction("epsilon", epsilon)
        rows = len(self.action_counts)
        words = self._transact(
            [
                _write("EPSILON", to_fixed(epsilon, self.params.coef_frac)),
                _write("COMMAND", SAMPLE),
                Op(WAIT),
                *(Op(READ, address) for address in POLICY.addresses(rows)),
            ]
        )
        self._policy = words
        return POLICY.unpack(words, rows)

    def plan(self) -> tuple[int, ...]:
        """Make a planning unit plan the next policy: one action per row, first row first."""
        return self._planned(SAMPLE, self._told)[0]

    def recommend(self) -> Recommended:
        """The policy that a planning unit believes to be best; the policy to learn from stays the same."""
        policy = self._policy
        lfsr = self._read("LFSR")["LFSR"]
        actions, plan = self._planned(RECOMMEND, 0)
        places = [(row, action) for row, action in enumerate(actions)]
        trials = self._read_memory("trials", places)
        self._transact([_write("LFSR", lfsr), *_window_ops(POLICY, policy)])
        self._policy = policy
        accuracy = field_of("PLAN", "accuracy").of(plan) / self.params.coef_one
        return Recommended(actions, accuracy, tuple(trials))

    def _planned(self, command: int, episodes: int) -> tuple[tuple[int, ...], int]:
        """The policy that a command makes with the doubt of so many episodes, and the PLAN register."""
        if self._planning is None:
            raise ValueError("the unit is not set to plan: configure it with planning and costs")
        rows = len(self.action_counts)
        *words, plan = self._transact(
            [
                _write("EPSILON", to_fixed(self._planning.varied, self.params.coef_frac)),
                _write("DOUBT", self._planning.doubt_after(episodes, self.params)),
                _write("COMMAND", command),
                Op(WAIT),
                *(Op(READ, address) for address in POLICY.addresses(rows)),
                Op(READ, address_of("PLAN")),
            ]
        )
        self._policy = words
        return POLICY.unpack(words, rows), plan

    def _read_memory(self, memory: str, places: Sequence[tuple[int, ...]]) -> list[int]:
        """Words of a planning unit's memory."""
        ops = [op for place in places for op in (_memory_address(memory, place), Op(READ, address_of("MEMORY_DATA")))]
        return self._transact(ops)

    def is_outlier(self, latency_ms: float, energy_uj: float) -> bool:
        """Give the unit latency and energy; returns whether either misses its threshold, so training is useless."""
        status = self._transact(
            [
                _write("LATENCY", self.objective.latency_word(latency_ms, self.params)),
                _write("ENERGY", self.objective.energy_word(energy_uj, self.params)),
                Op(READ, address_of("STATUS")),
            ]
        )[0]
        return bool(field_of("STATUS", "latency_outlier").of(status) or field_of("STATUS", "energy_outlier").of(status))

    def reward(self, accuracy: float) -> int:
        """Give the unit the accuracy; returns the reward, in units of 2**-q_frac, without learning from it."""
        return self._reward(accuracy, REWARD, [])[0]

    def learn(self, accuracy: float) -> Learned:
        """Give the unit the accuracy, compute the reward, and update the Q-table along the policy."""
        reward, words = self._reward(accuracy, REWARD | UPDATE, self._q_ops)
        self._remember(reward)
        return Learned(reward, self._unpack(words))

    def update(self, reward: int) -> None:
        """Update the Q-table along the policy with the host's own reward, in units of 2**-q_frac.

        Raises:
            ValueError: if the unit is set to plan, which does not use rewards, or for a reward that is no Q-value.
        """
        if self._planning is not None:
            raise ValueError("a unit that plans learns from accuracies and not from rewards: use learn")
        _check_whole("reward", reward, self.params.q_min, self.params.q_max)
        self._transact(_learn_ops(reward))
        self._remember(reward)

    def write_policy(self, actions: Sequence[int]) -> None:
        """Replace the policy: one action per row; ValueError for an action that its row does not have."""
        if len(actions) != len(self.action_counts):
            raise ValueError(f"a policy has {len(self.action_counts)} rows here, not {len(actions)}")
        for row, (action, count) in enumerate(zip(actions, self.action_counts, strict=True)):
            _check_whole(f"action of row {row}", action, 0, count - 1)
        self._policy = POLICY.pack(actions)
        self._transact(_window_ops(POLICY, self._policy))

    def q_table(self) -> tuple[tuple[int, ...], ...]:
        """Q-values of every row's actions, in units of 2**-q_frac."""
        return self._unpack(self._transact(self._q_ops))

    def write_q_table(self, q_table: Sequence[Sequence[int]]) -> None:
        """Replace the Q-values of the first rows; a missing odd one is written as 0.

        Raises:
            ValueError: for a value that is not a Q-value.
        """
        for row, values in enumerate(q_table):
            for value in values:
                _check_whole(f"Q-value of row {row}", value, self.params.q_min, self.params.q_max)
        self._transact(self._q_write_ops(q_table))

    def cycles(self) -> int:
        """Clock cycles that the last command took."""
        return self._read("CYCLES")["CYCLES"]

    def save(self) -> dict[str, object]:
        """Everything that the task depends on, as plain numbers and lists, for `restore`.

        Rows and actions that the task does not use are left out.
        """
        return {
            "params": self.params.to_json(),
            "registers": self._read(*self._saved),
            "reward": _signed(self._read("REWARD")["REWARD"]),
            "policy": self._read_window(POLICY, len(self.action_counts)),
            "action_counts": list(self.action_counts),
            "q_table": [list(row) for row in self.q_table()],
            "episodes": [[list(words), reward] for words, reward in self._episodes] if self._episodic else None,
            **({"plan": self._save_plan()} if self._planning is not None else {}),
        }

    def restore(self, state: Mapping[str, object], objective: Objective) -> None:
        """Put back what `save` returned; the objective must be the same as when it was saved.

        Raises:
            ValueError: if it was saved from a unit with other parameters, or is not what `save` returns.
        """
        if state.get("params") != self.params.to_json():
            raise ValueError(f"the saved unit {state.get('params')!r:.200} is not this one, {self.params.to_json()}")
        self._check_saved(state)
        plan: Any = state.get("plan")
        if (plan is None) != (self._planning is None):
            saved, here = ("does not plan" if one is None else "plans" for one in (plan, self._planning))
            raise ValueError(f"the saved unit {saved}, and this one {here}")
        registers: Any = state["registers"]
        counts: Any = state["action_counts"]
        policy: Any = state["policy"]
        q_table: Any = state["q_table"]
        episodes: Any = state["episodes"]
        reward: Any = state["reward"]
        if plan is not None:
            self._check_plan(plan, counts)
        self._set_counts(counts)
        self._transact(
            [
                _write("STATUS", sum(f.mask for f in ERROR_FLAGS)),
                _write("STATES", len(counts)), Op(WAIT),
                *_window_ops(ACTION_COUNT, counts),
                *([] if plan is None else [_write("COMMAND", CLEAR), Op(WAIT), *self._plan_ops(plan)]),
                *_store_ops(episodes or []),
                _write("REWARD", reward), Op(WAIT),
                *(_write(name, value) for name, value in registers.items()),
                *_window_ops(POLICY, policy),
                *self._q_write_ops(q_table),
            ]
        )  # fmt: skip
        self.objective = objective
        self._episodic, self._policy = episodes is not None, list(policy)
        self._episodes = [(list(words), reward) for words, reward in episodes or []]
        self._told = plan["told"] if plan is not None else 0

    def _save_plan(self) -> dict[str, Any]:
        """What a planning unit has in its own memories, and what the host counts."""
        words = self._read("EPISODES", "PLAN")
        stored, following = (
            field_of("EPISODES", "stored").of(words["EPISODES"]),
            field_of("PLAN", "next").of(words["PLAN"]),
        )
        oldest_first = [(following - stored + k) % self.params.episodes for k in range(stored)]
        length = len(POLICY.addresses(len(self.action_counts)))
        policies = self._read_memory("policies", [(place, word) for place in oldest_first for word in range(length)])
        results = self._read_memory("results", [(place,) for place in oldest_first])
        places = [(row, action) for row, count in enumerate(self.action_counts) for action in range(count)]
        return {
            "told": self._told,
            "places": oldest_first,
            "policies": policies,
            "results": results,
            "trials": self._read_memory("trials", places),
            "costs": self._costs,
        }

    def _plan_ops(self, plan: Mapping[str, Any]) -> list[Op]:
        """Operations that put back what `_save_plan` returned; results last, oldest first."""
        length = len(POLICY.addresses(len(self.action_counts)))
        ops = []
        if plan["places"] and any(plan["trials"]):
            # Tells the unit that its constant is learned, which the results do not if none left was measured.
            ops += _memory_ops("results", (plan["places"][0],), [0])
        for number, (place, result) in enumerate(zip(plan["places"], plan["results"], strict=True)):
            ops += _memory_ops("policies", (place, 0), plan["policies"][length * number : length * (number + 1)])
            ops += _memory_ops("results", (place,), [result])
        start = 0
        for row, count in enumerate(self.action_counts):
            ops += _memory_ops("trials", (row, 0), plan["trials"][start : start + count])
            start += count
        return ops

    def _check_plan(self, plan: object, counts: Sequence[int]) -> None:
        """Raise ValueError, naming the part, unless it is what `_save_plan` returns, with the costs of this task."""
        names = {"told", "places", "policies", "results", "trials", "costs"}
        if not isinstance(plan, dict) or set(plan) != names:
            raise ValueError(f"plan of the saved unit is damaged: {plan!r:.80}")
        word, places = range(1 << 32), plan["places"]
        stored = len(places) if isinstance(places, list) else -1
        first = places[0] if stored > 0 and type(places[0]) is int else 0
        sound = {
            "told": type(plan["told"]) is int and plan["told"] >= stored,
            "places": 0 <= stored <= self.params.episodes
            and places == [(first + k) % self.params.episodes for k in range(stored)],
            "policies": _whole(plan["policies"], stored * len(POLICY.addresses(len(counts))), word),
            "results": _whole(plan["results"], stored, word),
            "trials": _whole(plan["trials"], sum(counts), range(1 << TRIALS_WIDTH)),
        }
        for name, right in sound.items():
            if not right:
                raise ValueError(f"{name} of the saved unit are damaged: {plan[name]!r:.80}")
        if plan["costs"] == self._costs:
            return
        for point, of_point in enumerate(self._costs):
            for row, of_row in enumerate(of_point):
                for action, cost in enumerate(of_row):
                    try:
                        saved = plan["costs"][point][row][action]
                    except (IndexError, TypeError):
                        saved = None
                    if saved != cost:
                        raise ValueError(
                            f"the saved search planned with other costs: those of action {action} in row {row} at "
                            f"operating point {point} are not the chip's; resume it with the chip it was begun with"
                        )
        raise ValueError(f"costs of the saved unit are damaged: {plan['costs']!r:.80}")

    def _check_saved(self, state: Mapping[str, object]) -> None:
        """Raise ValueError, naming the part, unless a state looks like what `save` returns."""
        p, counts = self.params, state.get("action_counts")
        if not isinstance(counts, list) or not 1 <= len(counts) <= p.states:
            raise ValueError(f"action_counts of the saved unit are damaged: {counts!r:.80}")
        for row, count in enumerate(counts):
            _check_whole(f"number of actions of row {row}", count, 1, p.actions)
        word, q_value, words = range(1 << 32), range(p.q_min, p.q_max + 1), len(POLICY.addresses(len(counts)))
        registers, episodes, table = state.get("registers"), state.get("episodes"), state.get("q_table")
        sound = {
            "registers": isinstance(registers, dict)
            and set(registers) == set(self._saved)
            and _whole(list(registers.values()), len(self._saved), word),
            "reward": _whole([state.get("reward")], 1, q_value),
            "policy": _whole(state.get("policy"), words, word),
            "q_table": isinstance(table, list)
            and len(table) == len(counts)
            and all(_whole(row, count, q_value) for row, count in zip(table, counts, strict=True)),
            "episodes": (episodes is None and "episodes" in state)
            or (
                isinstance(episodes, list)
                and all(
                    isinstance(one, list)
                    and len(one) == 2
                    and _whole(one[0], words, word)
                    and _whole(one[1:], 1, q_value)
                    for one in episodes
                )
            ),
        }
        for name, right in sound.items():
            if not right:
                raise ValueError(f"{name} of the saved unit are damaged: {state.get(name)!r:.80}")

    def errors(self) -> tuple[str, ...]:
        """Names of the sticky error flags that are set."""
        return _error_names(self._read("STATUS")["STATUS"])

    def _reward(self, accuracy: float, command: int, more: Sequence[Op]) -> tuple[int, list[int]]:
        words = self._transact(
            [
                _write("ACCURACY", self.objective.accuracy_word(accuracy, self.params)),
                _write("COMMAND", command),
                Op(WAIT),
                Op(READ, address_of("REWARD")),
                *more,
            ]
        )
        return _signed(words[0]), words[1:]

    def _remember(self, reward: int) -> None:
        """Record the episode that an episodic unit has just stored."""
        self._told += 1
        if self._episodic:
            self._episodes.append((list(self._policy), reward))

    def _q_write_ops(self, q_table: Sequence[Sequence[int]]) -> list[Op]:
        return [op for row, values in enumerate(q_table) for op in _window_ops(Q_TABLE, Q_TABLE.pack(values), row)]

    def _set_counts(self, counts: Sequence[int]) -> None:
        self.action_counts = tuple(counts)
        self._q_addresses = [Q_TABLE.addresses(1, count, first=row) for row, count in enumerate(counts)]
        self._q_ops = [Op(READ, address) for addresses in self._q_addresses for address in addresses]

    def _unpack(self, words: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        rows, start = [], 0
        for count, addresses in zip(self.action_counts, self._q_addresses, strict=True):
            rows.append(Q_TABLE.unpack(words[start : start + len(addresses)], count))
            start += len(addresses)
        return tuple(rows)

    def _read(self, *names: str) -> dict[str, int]:
        words = self.device.transact([Op(READ, address_of(name)) for name in names])
        return dict(zip(names, words, strict=True))

    def _read_window(self, window: Window, rows: int) -> list[int]:
        return self.device.transact([Op(READ, address) for address in window.addresses(rows)])

    def _transact(self, ops: Sequence[Op]) -> list[int]:
        """Carry out a transaction; if it set an error flag, clear the flags and raise DriverError."""
        *words, status = self.device.transact([*ops, Op(READ, address_of("STATUS"))])
        names = _error_names(status)
        if names:
            self.device.transact([_write("STATUS", sum(f.mask for f in ERROR_FLAGS))])
            raise DriverError(f"the unit refused an access: {', '.join(names)}")
        return words


def _memory_address(memory: str, place: Sequence[int]) -> Op:
    """A write of MEMORY_ADDRESS that selects a word; see `MEMORIES` for the numbers of its place."""
    number, found = next((n, one) for n, one in enumerate(MEMORIES) if one.name == memory)
    return _write("MEMORY_ADDRESS", number << field_of("MEMORY_ADDRESS", "memory").lsb | found.word(*place))


def _memory_ops(memory: str, place: Sequence[int], words: Sequence[int]) -> list[Op]:
    """Operations that write words of a memory, one after the other from a place."""
    return [_memory_address(memory, place), *(_write("MEMORY_DATA", word) for word in words)]


def _whole(values: object, count: int, among: range) -> bool:
    """Whether a value is a list of ``count`` whole numbers, all in a range."""
    return isinstance(values, list) and len(values) == count and all(type(v) is int and v in among for v in values)


def _write(name: str, value: int) -> Op:
    return Op(WRITE, address_of(name), value & 0xFFFF_FFFF)


def _window_ops(window: Window, words: Sequence[int], row: int = 0) -> list[Op]:
    """Operations that write a window's words, beginning with the first word of a row."""
    start = window.address(row)
    return [Op(WRITE, start + 4 * i, word) for i, word in enumerate(words)]


def _learn_ops(reward: int) -> list[Op]:
    """Operations that learn from the policy with a reward."""
    return [_write("REWARD", reward), Op(WAIT), _write("COMMAND", UPDATE), Op(WAIT)]


def _store_ops(episodes: Sequence[Sequence[Any]]) -> list[Op]:
    """Operations that store an episodic unit's episodes again, in their original order; they overwrite the Q-values."""
    if not episodes:
        return []
    ops = [
        _write("COMMAND", CLEAR), Op(WAIT),
        _write("MODE", field_of("MODE", "episodic").mask), _write("EPISODIC", 0),
    ]  # fmt: skip
    for words, reward in episodes:
        ops += _window_ops(POLICY, words) + _learn_ops(reward)
    return ops


def _error_names(status: int) -> tuple[str, ...]:
    return tuple(f.name for f in ERROR_FLAGS if status & f.mask)


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _check_fraction(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be in 0..1, not {value:g}")


def _check_whole(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number in {low}..{high}, not {value!r}")
