"""The best policy under an objective where accuracy is a sum of effects and costs are known.

A small space is enumerated: accuracy does not depend on the operating point, so each choice of the layers' rows takes
the point that suits it best. A large one is an integer programme for SciPy's `milp`, or a search for many models at
once that is not exact.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from algo.search.known_costs import KnownCosts
from algo.search.scoring import UNIT, Floats, Ints, register_words
from algo.support.integer_programme import solved
from sim.devices.objective import Objective
from sim.model.batch import BatchModel

#: Policies of a space that is enumerated, at most.
MOST_POLICIES = 500_000
#: The operating point, among policies to leave out, of one that is left out at every point.
EVERY_POINT = -1
_CHUNK = 1 << 21  # predicted accuracies at a time, so that they stay in the cache
_NOTHING_LEFT = "no policy is left: each is left out, or misses the threshold of latency or energy"
_NEVER = -(1 << 40)
_SKIPPED = -(1 << 36)
_TOO_LOW = -(1 << 32)


class Worth:
    """How good policies are under an objective, on register values, before the reward is rounded.

    It orders policies as their rewards do, and also those that the reward rule makes 0: first those of too low an
    accuracy, the more accurate the better; last those that miss latency or energy.

    Args:
        objective: weights, thresholds and ranges.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        registers = objective.registers(UNIT)
        self._model = BatchModel(UNIT, [1], registers)
        self._weight, self._threshold = registers["WEIGHT_A"], registers["ACCURACY_TH"]

    def of_costs(self, latency_ms: Floats, energy_uj: Floats) -> Ints:
        """What costs are worth, of any shape; energy may be NaN if it has no weight."""
        energy_uj = np.nan_to_num(energy_uj, nan=0.0)
        _, latency, energy = register_words(latency_ms * 0.0, latency_ms, energy_uj, self._objective, UNIT)
        terms = self._model.cost_terms(latency, energy)
        return np.where(self._model.outlier(latency, energy), _SKIPPED, terms)

    def of(self, accuracy: Floats, costs: Ints) -> Ints:
        """What policies are worth: predicted accuracies, clipped to 0..1, and what `of_costs` gives."""
        words: Ints = np.rint(np.clip(accuracy, 0.0, 1.0) * UNIT.coef_one).astype(np.int64)
        worth: Ints = self._weight * words + costs
        # The costs of one that is not accurate enough matter only beside another as accurate.
        low: Ints = _TOO_LOW + words * (1 << 8) + np.maximum(costs, 0) // (1 << 23)
        return np.where(words > self._threshold, worth, np.where(costs < 0, costs, low))

    def expected(self, accuracy: Floats, std: Floats, costs: Ints, best: float = 0.0) -> Floats:
        """Expected worth of policies above a best one, where their accuracy is normal: expected improvement.

        The clip of accuracy to 0..1 is left out. Those that miss latency or energy are worth less than any other.

        Args:
            accuracy, std: mean and standard deviation of each policy's accuracy, (policies,).
            costs: what `of_costs` gives, (policies,).
            best: worth that counts as none; with 0 it is the expected worth.
        """
        from scipy.special import ndtr

        slope = self._weight * UNIT.coef_one
        least = np.maximum(self._threshold / UNIT.coef_one, (best - costs) / max(slope, 1))
        above = (accuracy - least) / std
        inside = ndtr(above)
        density = np.exp(-0.5 * above**2) * (2 * np.pi) ** -0.5
        worth: Floats = (slope * accuracy + costs - best) * inside + slope * std * density
        # Where none is likely to be accurate enough, the least unlikely.
        return np.where(costs < 0, -np.inf, worth + 1e-6 * np.minimum(above, 0.0))


class Enumeration:
    """All choices of the layers' rows, each at the operating point that suits it best.

    Args:
        costs: of the problem.

    Attributes:
        counts: number of actions of the layers' rows.
        policies: (choices, rows); choices in the order of a table.
        worth: (choices,), what the costs at that point are worth; see `Worth`.
        rule: the `Worth`.
    """

    def __init__(self, costs: KnownCosts) -> None:
        self.counts = costs.action_counts[:-1]
        self.rule = Worth(costs.objective)
        layers = np.indices(self.counts).reshape(len(self.counts), -1).T
        every = np.empty((len(layers), costs.points, len(costs.action_counts)), np.int64)
        every[:, :, :-1], every[:, :, -1] = layers[:, None], np.arange(costs.points)
        self._worth = self.rule.of_costs(*costs.of(every))
        point = self._worth.argmax(axis=1)
        self.policies: Ints = np.take_along_axis(every, point[:, None, None], 1)[:, 0]
        self.worth: Ints = self._worth.max(axis=1)
        self._strides = np.array([int(np.prod(self.counts[k + 1 :])) for k in range(len(self.counts))])

    @property
    def size(self) -> int:
        """Number of choices."""
        return len(self.policies)

    def places(self, policies: Ints) -> Ints:
        """Numbers of the choices of policies (..., rows), whatever their point."""
        places: Ints = policies[..., :-1] @ self._strides
        return places

    def accuracy(self, constant: Floats, effects: Floats) -> Floats:
        """Predicted accuracies, (models, choices), of models as in `ExactChoice.best`."""
        total = constant[:, None]
        for row, count in enumerate(self.counts):
            total = (total[:, :, None] + effects[:, row, None, :count]).reshape(len(constant), -1)
        return total

    def best(self, accuracy: Floats, tried: Ints | None = None) -> Ints:
        """The best policy of each model, (models, rows), the first of several.

        Args:
            accuracy: predicted, (models, choices).
            tried: numbers of choices not to take, (models, k); they may be taken again when nothing else is left.
        """
        worth = self.rule.of(accuracy, self.worth)
        if tried is not None and tried.size:
            np.put_along_axis(worth, tried, np.take_along_axis(worth, tried, 1) + _NEVER, 1)
        chosen: Ints = self.policies[worth.argmax(axis=1)]
        return chosen

    def best_of_model(self, accuracy: Floats, left_out: Ints) -> Ints:
        """The best policy, (rows,), of one model: accuracies (choices,), without the policies (k, rows) left out."""
        worth, policies = self.worth.copy(), self.policies.copy()
        for place in np.unique(self.places(left_out)):
            points = left_out[self.places(left_out) == place, -1]
            rest = self._worth[place].copy()
            rest[points if (points >= 0).all() else slice(None)] = _NEVER
            worth[place], policies[place, -1] = rest.max(), rest.argmax()
        total = np.where(worth == _NEVER, _NEVER, self.rule.of(accuracy, worth))
        best = int(total.argmax())
        if total[best] < _TOO_LOW:
            raise ValueError(_NOTHING_LEFT)
        chosen: Ints = policies[best]
        return chosen

    def chunks(self, models: int) -> Iterator[slice]:
        """Models in parts small enough to predict all choices of at once."""
        step = max(1, _CHUNK // self.size)
        return (slice(first, first + step) for first in range(0, models, step))


class ExactChoice:
    """The best policy of a space for additive models of accuracy.

    Args:
        costs: of the problem.
        most: policies of a space that is enumerated, at most; a larger one takes SciPy.

    Attributes:
        enumeration: of the space; ``None`` if it is too large.
    """

    def __init__(self, costs: KnownCosts, most: int = MOST_POLICIES) -> None:
        self._costs = costs
        size = np.prod(np.array(costs.action_counts, float))
        self.enumeration = Enumeration(costs) if size <= most else None

    def best(self, constant: Floats, effects: Floats, left_out: Ints | None = None) -> Ints:
        """The best policy of each model, (models, rows).

        Where no policy is predicted to satisfy the objective, it is the most accurate one whose latency and energy do.

        Args:
            constant: of the predicted accuracy, (models,).
            effects: what each action of each row but the last adds to it, (models, rows - 1, actions); those of actions
                that a row does not have are not looked at.
            left_out: policies not to take, (models, k, rows); a last action of `EVERY_POINT` leaves the rest of the
                policy out at every operating point.

        Raises:
            ValueError: if each policy is left out or misses the threshold of latency or energy.
        """
        rows = len(self._costs.action_counts)
        if left_out is None:
            left_out = np.zeros((len(constant), 0, rows), np.int64)
        chosen = np.empty((len(constant), rows), np.int64)
        if self.enumeration is None:
            programme = Programme(self._costs)
            for k in range(len(constant)):
                chosen[k] = programme.best(float(constant[k]), effects[k], left_out[k])
            return chosen
        for part in self.enumeration.chunks(len(constant)):
            accuracy = self.enumeration.accuracy(constant[part], effects[part])
            for k, one in zip(range(part.start, len(constant)), accuracy, strict=False):
                chosen[k] = self.enumeration.best_of_model(one, left_out[k])
        return chosen


class Programme:
    """The exact choice as an integer programme, one an operating point, by SciPy's `milp` (HiGHS).

    Variables: one binary per row and action; the accuracy a and the terms l and e of latency and energy; a binary
    each that says whether l and e are above 0. Upper clips are inequalities (a, l, e <= 1), because all three are
    maximised; the clip at 0 is what the binaries are for. It computes in real numbers, so it may prefer a policy whose
    reward differs in the last step.

    Args:
        costs: of the problem.
    """

    def __init__(self, costs: KnownCosts) -> None:
        self._costs, self._objective = costs, costs.objective
        self._pairs = [(row, action) for row, count in enumerate(costs.action_counts[:-1]) for action in range(count)]
        self._rows = np.array([row for row, _ in self._pairs], int)
        self._actions = np.array([action for _, action in self._pairs], int)
        self._rule = Worth(costs.objective)

    def best(self, constant: float, effects: Floats, left_out: Ints) -> Ints:
        """The best policy, (rows,), of one model; see `ExactChoice.best`."""
        for most_accurate in (False, True):
            found = [
                policy
                for point in range(self._costs.points)
                if (policy := self._at(point, constant, effects, left_out, most_accurate)) is not None
            ]
            if found:
                policies = np.array(found)
                accuracy = constant + effects[np.arange(policies.shape[1] - 1), policies[:, :-1]].sum(axis=1)
                worth = self._rule.of(accuracy, self._rule.of_costs(*self._costs.of(policies)))
                chosen: Ints = policies[worth.argmax()]
                return chosen
        raise ValueError(_NOTHING_LEFT)

    def _at(self, point: int, constant: float, effects: Floats, left_out: Ints, most_accurate: bool) -> Ints | None:
        """The best policy at a point, or the most accurate one; ``None`` if none satisfies the objective there."""
        from scipy.optimize import Bounds, LinearConstraint

        o, n = self._objective, len(self._pairs)
        step = 0.5 / UNIT.coef_one  # a threshold is missed on register values, which are rounded
        acc, lat, en, above_lat, above_en = range(n, n + 5)
        gain = effects[self._rows, self._actions]
        objective = np.zeros(n + 5)
        if most_accurate:
            objective[:n] = -gain
        else:
            objective[[acc, lat, en]] = -o.weight_a, -o.weight_l, -o.weight_e
        lines, lows, highs = [], [], []

        def constrain(line: Floats, low: float, high: float) -> None:
            lines.append(line)
            lows.append(low)
            highs.append(high)

        for row in range(len(self._costs.action_counts) - 1):
            line = np.zeros(n + 5)
            line[:n] = self._rows == row
            constrain(line, 1, 1)
        line = np.zeros(n + 5)
        line[:n], line[acc] = -gain, 1
        constrain(line, -np.inf, constant)
        if not most_accurate:
            threshold = self._objective.registers(UNIT)["ACCURACY_TH"] / UNIT.coef_one
            line = np.zeros(n + 5)
            line[:n] = gain
            constrain(line, threshold + step * 1.0001 - constant, np.inf)
        for term, above, weight, base, added, low, high, limit, full_scale in (
            (lat, above_lat, o.weight_l, self._costs.base_latency_ms, self._costs.latency_ms, o.latency_low_ms,
             o.latency_high_ms, o.latency_th_ms, o.latency_full_scale_ms),
            (en, above_en, o.weight_e, self._costs.base_energy_uj, self._costs.energy_uj, o.energy_low_uj,
             o.energy_high_uj, o.energy_th_uj, o.energy_full_scale_uj),
        ):  # fmt: skip
            if np.isnan(base[point]):
                continue  # energy that is unavailable has no weight
            adds = added[point, self._rows, self._actions]
            word = round(limit / full_scale * UNIT.coef_one)
            line = np.zeros(n + 5)
            line[:n] = adds
            constrain(line, -np.inf, (word / UNIT.coef_one - step * 1.0001) * full_scale - base[point])
            if weight == 0.0 or most_accurate:
                continue
            line = np.zeros(n + 5)
            line[term], line[above] = 1, -1
            constrain(line, -np.inf, 0)
            # term <= (high - cost) / (high - low), unless it is 0
            spread = (base[point] + adds.sum()) / (high - low)
            line = np.zeros(n + 5)
            line[:n], line[term], line[above] = adds / (high - low), 1, spread
            constrain(line, -np.inf, (high - base[point]) / (high - low) + spread)
        for policy in left_out.tolist():
            if policy[-1] in (point, EVERY_POINT):
                line = np.zeros(n + 5)
                line[:n] = [policy[row] == action for row, action in self._pairs]
                constrain(line, -np.inf, len(policy) - 2)
        whole = np.zeros(n + 5)
        whole[:n] = whole[[above_lat, above_en]] = 1
        least = np.zeros(n + 5)
        least[acc] = -np.inf
        values = solved(
            objective, [LinearConstraint(np.array(lines), lows, highs)], Bounds(least, np.ones(n + 5)), whole
        )
        if values is None:
            return None
        policy = np.full(len(self._costs.action_counts), point)
        for (row, action), value in zip(self._pairs, values[:n], strict=True):
            if value > 0.5:
                policy[row] = action
        return policy


class Choice:
    """The best policies of a space for models of accuracy, as a search needs them: nothing tried is taken again.

    Args:
        costs: of the problem.

    Attributes:
        costs: see above.
        enumeration: of the space; ``None`` if it has more than `MOST_POLICIES` policies.
        rule: the `Worth`.
    """

    def __init__(self, costs: KnownCosts) -> None:
        self.costs = costs
        self._exact = ExactChoice(costs)
        self.enumeration = self._exact.enumeration
        self.rule = Worth(costs.objective)
        self._ascent = Ascent(costs, self.rule)

    def pointed(self, layers: Ints) -> tuple[Ints, Ints]:
        """Policies of the layers' actions (..., rows - 1), each at the point that suits it best.

        Returns:
            Policies, (..., rows), and what their costs are worth, (...,); see `Worth`.
        """
        if self.enumeration is not None:
            places = self.enumeration.places(np.concatenate([layers, layers[..., :1]], axis=-1))
            return self.enumeration.policies[places], self.enumeration.worth[places]
        points = self.costs.points
        every = np.empty((*layers.shape[:-1], points, layers.shape[-1] + 1), np.int64)
        every[..., :-1], every[..., -1] = layers[..., None, :], np.arange(points)
        worth = self.rule.of_costs(*self.costs.of(every))
        return np.concatenate([layers, worth.argmax(axis=-1)[..., None]], axis=-1), worth.max(axis=-1)

    def best(self, constant: Floats, effects: Floats, tried: Ints | None = None, exact: bool = False) -> Ints:
        """The best policy of each model, (models, rows).

        Args:
            constant, effects: as in `ExactChoice.best`.
            tried: policies whose layers' actions are not to be taken, (models, k, rows); they may be taken again when
                nothing else is left.
            exact: in a space that cannot be enumerated, solve an integer programme a model and not `Ascent`.
        """
        tried = np.zeros((len(constant), 0, len(self.costs.action_counts)), np.int64) if tried is None else tried
        if self.enumeration is None:
            if exact:
                everywhere = tried.copy()
                everywhere[..., -1] = EVERY_POINT
                try:
                    return self._exact.best(constant, effects, everywhere)
                except ValueError:
                    pass
            return self._ascent.best(constant, effects, tried)
        chosen = np.empty((len(constant), len(self.costs.action_counts)), np.int64)
        for part in self.enumeration.chunks(len(constant)):
            accuracy = self.enumeration.accuracy(constant[part], effects[part])
            chosen[part] = self.enumeration.best(accuracy, self.enumeration.places(tried[part]))
        return chosen


class Ascent:
    """A good policy for each of many models, in a space too large to enumerate: not exact.

    Where nothing is clipped, worth is a sum over the rows, and the best action of each row is known at each point. It
    begins there, with several prices of latency and energy (a clip makes them free) and of accuracy (the threshold
    makes it dear). The best of these are improved by changing one row, at the best point, while that helps.

    Args:
        costs: of the problem.
        rule: of the objective.
        starts: number of policies that are improved.
    """

    _PRICES = (0.0, 0.5, 1.0, 2.0)
    _ACCURACY = (1.0, 3.0, 10.0, 100.0)

    def __init__(self, costs: KnownCosts, rule: Worth, starts: int = 6) -> None:
        o = costs.objective
        self._costs, self._rule, self._starts = costs, rule, starts
        pairs = [(row, action) for row, count in enumerate(costs.action_counts[:-1]) for action in range(count)]
        self._rows, self._actions = (np.array(column, int) for column in zip(*pairs, strict=True))
        self._keys = np.random.default_rng(0).integers(1 << 62, size=costs.latency_ms.shape[1:])
        legal = np.zeros(costs.latency_ms.shape[1:], bool)
        legal[self._rows, self._actions] = True
        self._illegal = np.where(legal, 0.0, -np.inf)
        self._energy = np.nan_to_num(costs.energy_uj, nan=0.0)
        prices = [
            latency * o.weight_l / (o.latency_high_ms - o.latency_low_ms) * costs.latency_ms
            + energy * o.weight_e / (o.energy_high_uj - o.energy_low_uj) * self._energy
            for latency in self._PRICES
            for energy in self._PRICES
        ]
        self._price: Floats = np.concatenate(prices)  # (prices x points, rows - 1, actions)

    def best(self, constant: Floats, effects: Floats, tried: Ints) -> Ints:
        """The best policy found for each model, (models, rows); arguments as in `Choice.best`."""
        return np.concatenate(
            [
                self._one(constant[k : k + 1], effects[k : k + 1], tried[k : k + 1]) for k in range(len(constant))
            ]
        )  # fmt: skip

    def _one(self, constant: Floats, effects: Floats, tried: Ints) -> Ints:
        rows = np.arange(effects.shape[1])
        legal = effects[0] + self._illegal
        weight = self._costs.objective.weight_a
        layers = np.unique(
            np.concatenate([(dear * weight * legal - self._price).argmax(axis=-1) for dear in self._ACCURACY]), axis=0
        )
        gone = self._keys[rows, tried[0, :, :-1]].sum(axis=-1)

        def worth(accuracy: Floats, latency: Floats, energy: Floats, key: Ints) -> tuple[Ints, Ints]:
            costs = self._rule.of_costs(latency, energy)
            value = self._rule.of(accuracy, costs.max(axis=-1)) + np.where(np.isin(key, gone), _NEVER, 0)
            return value, costs.argmax(axis=-1)

        def state(layers: Ints) -> tuple[Floats, Floats, Floats, Ints]:
            latency = self._costs.base_latency_ms + self._costs.latency_ms[:, rows, layers].sum(axis=-1).T
            energy = np.nan_to_num(self._costs.base_energy_uj) + self._energy[:, rows, layers].sum(axis=-1).T
            return (
                constant[0] + effects[0][rows, layers].sum(axis=-1), latency, energy,
                self._keys[rows, layers].sum(axis=-1),
            )  # fmt: skip

        def changes(added: Floats, old: Ints) -> Floats:
            """What each change of one row adds: (policies, changes, points)."""
            change: Floats = np.moveaxis(
                added[:, self._rows, self._actions][:, None] - added[:, self._rows, old], 0, -1
            )
            return change

        value, _ = worth(*state(layers))
        first = np.argsort(-value, kind="stable")[: self._starts]
        layers, value = layers[first], value[first]
        moving = np.arange(len(layers))
        while len(moving):
            now = layers[moving]
            accuracy, latency, energy, key = state(now)
            old = now[:, self._rows]
            there, _ = worth(
                accuracy[:, None] + effects[0][self._rows, self._actions] - effects[0][self._rows, old],
                latency[:, None] + changes(self._costs.latency_ms, old),
                energy[:, None] + changes(self._energy, old),
                key[:, None] + self._keys[self._rows, self._actions] - self._keys[self._rows, old],
            )
            best = there.argmax(axis=1)
            reached = there[np.arange(len(best)), best]
            better = reached > value[moving]
            moving, best = moving[better], best[better]
            layers[moving, self._rows[best]] = self._actions[best]
            value[moving] = reached[better]
        chosen = layers[value.argmax()]
        _, point = worth(*state(chosen[None]))
        return np.array([[*chosen, point[0]]])
