"""The published search with one thing changed at a time, to see what LFSR, formats, rounding and schedule matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from algo.search.compare.regret import Estimate, checkpoints, mean_regret
from algo.search.methods.units import batch_unit, search_with
from algo.search.schedules import published_schedule
from algo.search.tables.scored_table import ScoredTable
from rtl.spec.params import GUARD
from sim.model.arithmetic import to_fixed, updated
from sim.model.batch import Ints, Rule

PUBLISHED = "published"


@dataclass(frozen=True)
class Variant:
    """The published search with one thing changed.

    Attributes:
        factor: what is changed.
        value: to what, in words.
        unit: arguments of `batch_unit` that change it.
        schedule: epsilon of each iteration; empty for the published one.
        initial_q: what every Q-value starts from.
        rule: makes the update rule for a number of rows and a seed of its own; None for the unit's.
    """

    factor: str
    value: str
    unit: Mapping[str, Any] = field(default_factory=dict)
    schedule: tuple[float, ...] = ()
    initial_q: float = 0.0
    rule: Callable[[int, int], Rule] | None = None


@dataclass(frozen=True)
class Row:
    """Mean regret of a variant over seeds.

    Attributes:
        factor, value: of the variant.
        seeds: how many.
        regret: by number of evaluations.
    """

    factor: str
    value: str
    seeds: int
    regret: dict[int, Estimate]


def ablation(scored: ScoredTable, seeds: Sequence[int], variants: Sequence[Variant] | None = None) -> Iterator[Row]:
    """Search the table with each variant; the published search comes first.

    Regret is always of the policies' scores in the unit's own formats, so a coarser Q-value is not flattered.

    Args:
        scored: the table.
        seeds: first states of the LFSR, 1..65535; a narrower one takes those that it has.
        variants: default all of `variants`.

    Yields:
        A row per variant, as soon as it is searched.
    """
    for variant in variants_of_the_published_search() if variants is None else variants:
        schedule = variant.schedule or published_schedule()
        usable = [seed for seed in seeds if seed < 1 << variant.unit.get("lfsr_width", 16)]
        extra: dict[str, Any] = dict(variant.unit)
        if variant.rule is not None:
            extra["rule"] = variant.rule(len(scored.table.space.action_counts), usable[0])
        unit = batch_unit(scored.table.space.action_counts, scored.objective, usable, **extra)
        unit.q[:] = to_fixed(variant.initial_q, unit.params.q_frac)
        chosen = search_with(unit, scored.table, scored.objective, schedule)[1]
        at = checkpoints(len(schedule))
        yield Row(variant.factor, variant.value, len(usable), mean_regret(scored.regret(chosen), at))


def variants_of_the_published_search() -> tuple[Variant, ...]:
    """One factor at a time; the first row has all the published values."""
    return (
        Variant(PUBLISHED, "16-bit LFSR and Q, unit's rounding, alpha 0.25, gamma 0.99, Q from 0, shared reward"),
        *(Variant("LFSR width", f"{width} bit", {"lfsr_width": width}) for width in (8, 32)),
        *(Variant("Q width", f"{width} bit", {"q_width": width, "q_frac": width - 2}) for width in (8, 10, 12)),
        Variant("rounding", "truncation", rule=lambda rows, seed: truncated),
        Variant("rounding", "half up", rule=lambda rows, seed: half_up),
        Variant("rounding", "stochastic", rule=lambda rows, seed: partial(stochastic, np.random.default_rng(seed))),
        *(Variant("epsilon", name, schedule=schedule) for name, schedule in schedules().items()),
        *(Variant("initial Q", f"{value:g}", initial_q=value) for value in (0.1, 0.5, 1.0)),
        Variant("reward", "full for the last row", {"full_last_reward": True}),
        Variant("reward", "unshaped: the last row's only", {"full_last_reward": True}, rule=unshaped),
        *(Variant("alpha", f"{alpha:g}", {"alpha": alpha}) for alpha in (0.05, 0.1, 0.5, 1.0)),
        *(Variant("gamma", f"{gamma:g}", {"gamma": gamma}) for gamma in (0.0, 0.5, 0.9, 1.0)),
    )


def schedules() -> dict[str, tuple[float, ...]]:
    """Schedules other than the published one, over as many iterations, by name."""
    n = len(published_schedule())
    return {
        "linear, 1 to 0": tuple(np.linspace(1.0, 0.0, n).tolist()),
        "short: 1 for 30, then to 0 within 90": tuple(np.clip(1 - (np.arange(n) - 30) / 90, 0, 1).tolist()),
        "constant 0.1": (0.1,) * n,
        "constant 0.3": (0.3,) * n,
        "always 1": (1.0,) * n,
    }


def truncated(old: Ints, reward: Ints, following: Ints, alpha: int, coef_frac: int, row: int) -> Ints:
    """`updated`, but rounded towards minus infinity."""
    del row
    return _with_offset(old, reward, following, alpha, coef_frac, 0)


def half_up(old: Ints, reward: Ints, following: Ints, alpha: int, coef_frac: int, row: int) -> Ints:
    """`updated`, but with a tie going up in every row."""
    del row
    return _with_offset(old, reward, following, alpha, coef_frac, 1 << GUARD - 1)


def stochastic(
    rng: np.random.Generator, old: Ints, reward: Ints, following: Ints, alpha: int, coef_frac: int, row: int
) -> Ints:
    """`updated`, but rounded up with the probability of what is cut off."""
    del row
    return _with_offset(old, reward, following, alpha, coef_frac, rng.integers(0, 1 << GUARD, old.shape))


def unshaped(rows: int, seed: int) -> Rule:
    """An update rule that rewards only the last of ``rows`` rows."""
    del seed

    def rule(old: Ints, reward: Ints, following: Ints, alpha: int, coef_frac: int, row: int) -> Ints:
        return updated(old, reward if row == rows - 1 else 0 * reward, following, alpha, coef_frac, row)

    return rule


def _with_offset(old: Ints, reward: Ints, following: Ints, alpha: int, coef_frac: int, offset: int | Ints) -> Ints:
    """A Q-value's exact new value with ``offset``, in units of 2**-GUARD of its own, added before the rest is cut."""
    step = alpha * (reward - old)
    step = step >> coef_frac - GUARD if coef_frac >= GUARD else step << GUARD - coef_frac
    return np.asarray(((old << GUARD) + step + following + offset) >> GUARD, dtype=np.int64)
