"""Integer programmes for SciPy's `milp` (HiGHS)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: `status` of scipy.optimize.milp.
_SOLVED, _NO_SOLUTION = 0, 2


def solved(
    objective: Floats, constraints: Sequence[Any], bounds: Any, integrality: NDArray[np.generic]
) -> Floats | None:
    """The variables of the lowest objective; ``None`` if constraints contradict each other.

    Args:
        objective, constraints, bounds, integrality: as `scipy.optimize.milp` takes them.

    Raises:
        RuntimeError: if HiGHS gives up.
    """
    from scipy.optimize import milp

    with _silent_output():
        answer = milp(
            objective, constraints=list(constraints), bounds=bounds, integrality=integrality,
            options={"mip_rel_gap": 0.0},
        )  # fmt: skip
    if answer.status not in (_SOLVED, _NO_SOLUTION):
        raise RuntimeError(f"the integer programme was not solved: {answer.message}")
    found: Floats | None = answer.x
    return found


@contextlib.contextmanager
def _silent_output() -> Iterator[None]:
    """Nothing is printed: HiGHS writes to standard output now and then, which may be somebody's JSON."""
    sys.stdout.flush()
    try:
        before = os.dup(1)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
