"""The arithmetic of docs/understand/arithmetic.md on integers; works on Python ints and on NumPy int64 arrays alike."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rtl.spec.params import DISCOUNT_FRAC, GUARD, LFSR_TAPS

IntLike = TypeVar("IntLike", int, "npt.NDArray[np.int64]")


def round_half_even(value: IntLike, shift: int) -> IntLike:
    """``value / 2**shift`` rounded to the nearest integer, ties to the even one.

    >>> [round_half_even(v, 1) for v in (-3, -1, 1, 3)]
    [-2, 0, 0, 2]
    """
    if shift == 0:
        return value
    quotient = value >> shift
    remainder = value - (quotient << shift)
    half = 1 << (shift - 1)
    up = (remainder > half) | ((remainder == half) & (quotient & 1 == 1))
    rounded: IntLike = quotient + up
    return rounded


def round_half_up(value: IntLike, shift: int) -> IntLike:
    """``value / 2**shift`` rounded to the nearest integer, ties upwards; ``shift`` above 0.

    >>> [round_half_up(v, 1) for v in (-3, -1, 1, 3)]
    [-1, 0, 1, 2]
    """
    rounded: IntLike = (value + (1 << shift - 1)) >> shift
    return rounded


def divide_half_even(value: IntLike, divisor: int) -> IntLike:
    """``value / divisor`` rounded to the nearest integer, ties to the even one; ``divisor`` above 0.

    >>> [divide_half_even(v, 2) for v in (-3, -1, 1, 3)]
    [-2, 0, 0, 2]
    """
    quotient = value // divisor
    twice = 2 * (value - quotient * divisor)
    rounded: IntLike = quotient + ((twice > divisor) | ((twice == divisor) & (quotient & 1 == 1)))
    return rounded


def discount(alpha: int, gamma: int, coef_frac: int) -> int:
    """The update's coefficient ``alpha gamma``, in units of ``2**-DISCOUNT_FRAC``, ties upwards.

    >>> discount(8192, 32440, 15), discount(4096, 1, 15)
    (32440, 1)
    """
    shift = 2 * coef_frac - DISCOUNT_FRAC
    return alpha * gamma + (1 << shift - 1) >> shift if shift > 0 else alpha * gamma << -shift


def updated(old: IntLike, reward: IntLike, following: IntLike, alpha: int, coef_frac: int, row: int) -> IntLike:
    """A Q-value's new value, not yet saturated: ``old + alpha (reward - old) + following``, rounded.

    ``following`` is what the next row adds, in units of ``2**-GUARD`` of a Q-value's unit. Ties go up in rows of
    even number, down in rows of odd number.

    >>> [updated(0, 1, 0, 1 << 14, 15, row) for row in (0, 1)]
    [1, 0]
    """
    step = alpha * (reward - old)
    step = step >> coef_frac - GUARD if coef_frac >= GUARD else step << GUARD - coef_frac
    half = (1 << GUARD - 1) - (row & 1)
    new: IntLike = ((old << GUARD) + step + following + half) >> GUARD
    return new


def to_fixed(value: float, frac: int) -> int:
    """The integer nearest to ``value * 2**frac``, ties to the even one (exact in binary floating point).

    >>> to_fixed(0.25, 15)
    8192
    """
    return round(value * (1 << frac))


def explore_limit(epsilon: int, coef_frac: int, lfsr_width: int) -> int:
    """Number of LFSR states that explore, for ``epsilon`` in coefficient format.

    0 for 0, all ``2**lfsr_width - 1`` for 1.0, and in between the nearest number, ties upwards.
    """
    return (epsilon * ((1 << lfsr_width) - 1) + (1 << (coef_frac - 1))) >> coef_frac


@cache
def _leap_tables(width: int) -> tuple[tuple[int, ...], ...]:
    """For each byte of the state, the contribution of each of its 256 values to the state one draw later."""
    taps = sum(1 << (tap - 1) for tap in LFSR_TAPS[width])

    def shifted(state: int) -> int:
        for _ in range(width):
            state = (state << 1 | ((state & taps).bit_count() & 1)) & ((1 << width) - 1)
        return state

    return tuple(tuple(shifted(byte << 8 * k) for byte in range(256)) for k in range(width // 8))


def next_draw(state: int, width: int) -> int:
    """The next number of an LFSR of ``width`` bits: its state ``width`` shifts later (1..2**width - 1).

    >>> next_draw(1, 8)
    28
    """
    result = 0
    for k, table in enumerate(_leap_tables(width)):
        result ^= table[state >> 8 * k & 0xFF]
    return result


def next_draws(states: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    """`next_draw` of every element."""
    result = np.zeros_like(states)
    for k, table in enumerate(_leap_arrays(width)):
        result ^= table[states >> 8 * k & 0xFF]
    return result


@cache
def _leap_arrays(width: int) -> tuple[npt.NDArray[np.int64], ...]:
    return tuple(np.array(table, dtype=np.int64) for table in _leap_tables(width))
